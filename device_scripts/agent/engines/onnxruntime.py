"""onnxruntime, on its CPU provider."""

from ..engine import Engine
from ..failures import Failed

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class OnnxRuntime(Engine):
    """A session whose input and output memory is bound once, outside the clock."""

    name = distribution = module = "onnxruntime"
    # onnxruntime would report the model to its makers, from threads that run while we measure.
    environment = (("ORT_DISABLE_TELEMETRY", "1"),)
    # Workers spin between operators, as in an application that runs one image after another.
    settings = (("session.intra_op.allow_spinning", "1"),)
    timed = "InferenceSession.run_with_iobinding: inputs and outputs bound beforehand, no copy"

    def __init__(self, path, threads, profile=None):
        import onnxruntime

        self._ort = onnxruntime
        self.version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        for setting, value in self.settings:
            options.add_session_config_entry(setting, value)
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        self._session = onnxruntime.InferenceSession(
            path, sess_options=options, providers=self._providers(onnxruntime, threads)
        )
        self._binding = self._session.io_binding()
        self.inputs = [_tensor(value) for value in self._session.get_inputs()]
        self.outputs = [_tensor(value) for value in self._session.get_outputs()]
        self.details = {
            "providers": list(self._session.get_providers()),
            "graph_optimization": "all",
            "execution": "sequential",
            "intra_op_threads": threads,
            "inter_op_threads": 1,
            "intra_op_spinning": dict(self.settings)["session.intra_op.allow_spinning"] == "1",
        }

    def _providers(self, _onnxruntime, _threads):
        return ["CPUExecutionProvider"]

    def set_shapes(self, shapes):
        """Settle the shapes of open inputs, by name."""
        for tensor in self.inputs:
            tensor["shape"] = shapes.get(tensor["name"], tensor["shape"])

    def bind_inputs(self, arrays):
        """Copy the inputs into memory of the runtime's own and reserve the outputs."""
        import numpy as np

        self._kept = []
        for tensor, array in zip(self.inputs, arrays):
            value = self._ort.OrtValue.ortvalue_from_numpy(array)
            self._binding.bind_ortvalue_input(tensor["name"], value)
            self._kept.append(value)
        for tensor in self.outputs:
            if None in tensor["shape"]:
                self._binding.bind_output(tensor["name"])
                continue
            empty = np.zeros(tensor["shape"], dtype=tensor["dtype"])
            value = self._ort.OrtValue.ortvalue_from_numpy(empty)
            self._binding.bind_ortvalue_output(tensor["name"], value)
            self._kept.append(value)

    def invoker(self):
        """The call that is timed."""
        run, binding = self._session.run_with_iobinding, self._binding
        return lambda: run(binding)

    def read_output(self):
        """The first output of the last inference."""
        return self._binding.copy_outputs_to_cpu()[0]

    def end_profiling(self):
        """The path of what a session with ``profile`` has noted of its inferences."""
        return self._session.end_profiling()


def _tensor(value):
    shape = [size if isinstance(size, int) else None for size in value.shape]
    if shape and shape[0] is None:
        shape[0] = 1
    if value.type not in _DTYPES:
        raise Failed("unsupported", "tensor %s has type %s" % (value.name, value.type))
    return {"name": value.name, "shape": shape, "dtype": _DTYPES[value.type]}


ENGINE = OnnxRuntime
