"""Interface of an engine, which drives one runtime, and how a model is opened with it."""

import os
import time

from .failures import Failed, kind_of, one_line


class Engine:
    """A runtime with one model loaded. A module of ``engines`` defines one and names it ``ENGINE``.

    Its class states, for all models: ``name`` (of ``--runtime``), ``module`` (imported before the
    model is loaded, and timed apart), ``distribution`` (whose version is reported), ``timed`` (what
    a sample is, in words), ``environment`` (variables to set before the import, as pairs),
    ``failure_signs`` (kinds of failure with parts of the runtime's messages; see ``failures``), and
    ``profile``: None, or a static function like those of ``profile_operators.PROFILERS``.

    An instance has ``version``, ``details`` (settings, for the record), and ``inputs`` and
    ``outputs``: tensors as {"name", "shape", "dtype"}, quantised ones with "scale" and
    "zero_point"; an open size is None. ``arena_bytes`` is what the runtime reserved for
    activations, None where it does not say.
    """

    name = module = distribution = timed = ""
    environment = ()
    failure_signs = ()
    profile = None
    arena_bytes = None

    def __init__(self, path, threads):
        """Load the model at ``path``; every exception is a failure of the model."""
        raise NotImplementedError

    def set_shapes(self, shapes):  # noqa: ARG002 - for engines that can
        """Settle the shapes of open inputs, by name."""
        raise Failed("unsupported", "%s runs files of static shapes only" % self.name)

    def bind_inputs(self, arrays):
        """Copy the inputs into memory of the runtime, where they stay between inferences."""
        raise NotImplementedError

    def invoker(self):
        """The call that is timed: no arguments, and nothing in it but one inference."""
        raise NotImplementedError

    def read_output(self):
        """The first output of the last inference, a numpy array."""
        return self.read_outputs()[0]

    def read_outputs(self):
        """Every output of the last inference; an engine defines this or ``read_output``."""
        return [self.read_output()]

    def delegation(self):
        """What a delegate took, as protocol.json's "delegation"; None where it does not say."""
        return


def open_model(engine_class, path, threads):
    """Load a model, with the runtimes' many exceptions sorted into a few kinds.

    Returns the engine, the time to import the runtime and the time to load the model, in ns.
    """
    if not os.path.isfile(path):
        raise Failed("model-missing", "%s is not a file" % path)
    began = time.perf_counter_ns()
    try:
        __import__(engine_class.module)
    except ImportError as error:
        reason = (engine_class.distribution, error)
        message = "%s cannot be imported on this machine: %s" % reason
        raise Failed("runtime-missing", message) from error
    imported = time.perf_counter_ns()
    try:
        engine = engine_class(path, threads)
    except (Failed, MemoryError):
        raise
    except Exception as error:  # every runtime has a tree of its own
        message = "%s: %s" % (os.path.basename(path), one_line(error))
        raise Failed(kind_of(error, engine_class.failure_signs), message) from error
    return engine, imported - began, time.perf_counter_ns() - imported
