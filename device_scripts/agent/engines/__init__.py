"""Engines: one module per runtime, found by themselves. A new one is one more file here."""

import importlib
import pkgutil


def _found():
    """Every engine class by the runtime's name; their modules import no runtime."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module("%s.%s" % (__name__, name)) for name in names]
    return {module.ENGINE.name: module.ENGINE for module in modules}


ENGINES = _found()
