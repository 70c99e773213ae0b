"""Versions of installed Python distributions."""

import glob
import os
import re
import sys

from .sensors import read_text


def version_of(distribution):
    """The version of an installed distribution; raises ImportError without one."""
    try:
        from importlib.metadata import version  # novm: the other way follows
    except ImportError:  # Python 3.7
        return _version_on_path(distribution)
    return version(distribution)


def _version_on_path(distribution):
    """The version of a distribution, from its metadata on the import path."""
    wanted = re.sub("[-_.]+", "-", distribution).lower()
    for folder in sys.path:
        for path in glob.glob(os.path.join(glob.escape(folder or "."), "*-info")):
            for name in (os.path.join(path, "METADATA"), os.path.join(path, "PKG-INFO"), path):
                head = (read_text(name) or "").partition("\n\n")[0]
                found = re.search("(?mi)^name: *(.+?) *$", head)
                version = re.search("(?mi)^version: *(.+?) *$", head)
                if found and version:
                    if re.sub("[-_.]+", "-", found.group(1)).lower() == wanted:
                        return version.group(1)
                    break
    raise ImportError("%s has no metadata on the import path" % distribution)
