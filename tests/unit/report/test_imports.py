"""Every module of ``report`` can be the first to be imported."""

from __future__ import annotations

import subprocess
import sys

#: Prints the modules that only import after others.
ONE_BY_ONE = """\
import importlib, pkgutil, sys
package = "shufflenet_deploy.report"
names = [one.name for one in pkgutil.iter_modules(importlib.import_module(package).__path__)]
for name in names:
    for loaded in [one for one in sys.modules if one.startswith(package)]:
        del sys.modules[loaded]
    try:
        importlib.import_module(f"{package}.{name}")
    except ImportError as error:
        print(name, error)
print(len(names))
"""


def test_any_module_may_be_the_first():
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE], capture_output=True, text=True, check=True
    )
    (count,) = done.stdout.splitlines()
    assert int(count) > 20
