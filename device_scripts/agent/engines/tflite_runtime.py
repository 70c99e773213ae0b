"""tflite-runtime, the last distribution with wheels for 32-bit ARM."""

from .litert import LiteRt


class TfLiteRuntime(LiteRt):
    """The same interpreter under its older name."""

    name = distribution = "tflite-runtime"
    module = "tflite_runtime.interpreter"

    def _interpreter(self, path, threads):
        from tflite_runtime.interpreter import Interpreter

        return Interpreter(model_path=path, num_threads=threads)


ENGINE = TfLiteRuntime
