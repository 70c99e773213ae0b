#!/usr/bin/env python3
"""Runs one exported model on this machine and prints exactly one JSON object about it.

    python3 agent.py --runtime onnxruntime --model model.onnx --threads 1

Needs Python 3.7 or newer, numpy and one runtime; nothing else, so that it can be copied to a board
and run there by hand. Times are nanoseconds of time.perf_counter_ns. Only the runtime's own call is
timed: inputs are in place before the clock is read, outputs are fetched after the last sample, and
Python's garbage collector is off.

Everything that other libraries print on standard output goes to standard error. On failure the
object has an "error" with "kind" and "message", and the exit status is 1.
"""

import argparse
import faulthandler
import gc
import glob
import json
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

SCHEMA = 1
AGENT = "shufflenet-deploy"

# Two windows of the warm-up agree when their medians differ by less than this share.
AGREEMENT = 0.02

# Plausible readings of sensors; protocol.json states the same limits for all programs and the host.
MAX_DEGREES_READING = 200
MIN_C, MAX_C = -50, 200
MIN_KHZ, MAX_KHZ = 1000, 20000000

# Readings from which the clock's resolution is derived.
CLOCK_READINGS = 2001

# Thread pools read these when they are loaded; the runtimes' own thread counts are set explicitly.
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Failed(Exception):
    """This model cannot be measured here; ``kind`` is a word that programs can rely on."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


# --- runtimes ------------------------------------------------------------------------------------


class OnnxRuntime:
    """onnxruntime on its CPU provider. Input and output memory is bound once, outside the clock."""

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
        # Workers spin between operators, as in an application that runs one image after another.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        self._session = onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._binding = self._session.io_binding()
        self.inputs = [_onnx_tensor(value) for value in self._session.get_inputs()]
        self.outputs = [_onnx_tensor(value) for value in self._session.get_outputs()]
        self.details = {
            "providers": list(self._session.get_providers()),
            "graph_optimization": "all",
            "execution": "sequential",
            "intra_op_threads": threads,
            "inter_op_threads": 1,
            "intra_op_spinning": True,
        }

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


class TfLite:
    """A TFLite interpreter: ai-edge-litert, or the older tflite-runtime, with XNNPACK."""

    timed = "Interpreter.invoke: input set beforehand, output read afterwards"
    distribution = "ai-edge-litert"

    def __init__(self, path, threads):
        interpreter = self._interpreter_class()(model_path=path, num_threads=threads)
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        self.version = _version_of(self.distribution)
        self._input_details = interpreter.get_input_details()
        self._output_details = interpreter.get_output_details()
        self.inputs = [_tflite_tensor(detail) for detail in self._input_details]
        self.outputs = [_tflite_tensor(detail) for detail in self._output_details]
        self.details = {"threads": threads}
        self.details.update(_delegation(interpreter))

    @staticmethod
    def _interpreter_class():
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter

    def set_shapes(self, shapes):
        """Settle the shapes of open inputs, by name."""
        for detail in self._input_details:
            if detail["name"] in shapes:
                self._interpreter.resize_tensor_input(detail["index"], shapes[detail["name"]])
        self._interpreter.allocate_tensors()
        self._input_details = self._interpreter.get_input_details()
        self._output_details = self._interpreter.get_output_details()
        self.inputs = [_tflite_tensor(detail) for detail in self._input_details]
        self.outputs = [_tflite_tensor(detail) for detail in self._output_details]

    def bind_inputs(self, arrays):
        """Copy the inputs into the interpreter's arena, which keeps them between inferences."""
        for detail, array in zip(self._input_details, arrays):
            self._interpreter.set_tensor(detail["index"], array)

    def invoker(self):
        """The call that is timed."""
        return self._interpreter.invoke

    def read_output(self):
        """The first output of the last inference."""
        return self._interpreter.get_tensor(self._output_details[0]["index"])


class TfLiteRuntime(TfLite):
    """The tflite-runtime distribution, the last with wheels for 32-bit ARM."""

    distribution = "tflite-runtime"

    @staticmethod
    def _interpreter_class():
        from tflite_runtime.interpreter import Interpreter

        return Interpreter


RUNTIMES = {"onnxruntime": OnnxRuntime, "litert": TfLite, "tflite-runtime": TfLiteRuntime}
MODULES = {
    "onnxruntime": ("onnxruntime", "onnxruntime"),
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
}

_ONNX_DTYPES = {
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


def _onnx_tensor(value):
    shape = [size if isinstance(size, int) else None for size in value.shape]
    if shape and shape[0] is None:
        shape[0] = 1
    if value.type not in _ONNX_DTYPES:
        raise Failed("unsupported", "tensor %s has type %s" % (value.name, value.type))
    return {"name": value.name, "shape": shape, "dtype": _ONNX_DTYPES[value.type]}


def _tflite_tensor(detail):
    import numpy as np

    tensor = {
        "name": detail["name"],
        "shape": [int(size) for size in detail["shape"]],
        "dtype": np.dtype(detail["dtype"]).name,
    }
    scale, zero_point = detail["quantization"]
    if scale:
        tensor["scale"] = float(scale)
        tensor["zero_point"] = int(zero_point)
    return tensor


def _delegation(interpreter):
    """Operator counts of the delegate; {} where the interpreter does not report them."""
    try:
        names = [operator["op_name"] for operator in interpreter._get_ops_details()]  # noqa: SLF001
    except AttributeError:
        return {}
    # Delegated operators stay listed beside the delegate's own node.
    delegates = names.count("DELEGATE")
    return {"xnnpack": delegates > 0, "delegate_nodes": delegates, "operators": len(names)}


def _version_of(distribution):
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
                head = (_read(name) or "").partition("\n\n")[0]
                found = re.search("(?mi)^name: *(.+?) *$", head)
                version = re.search("(?mi)^version: *(.+?) *$", head)
                if found and version:
                    if re.sub("[-_.]+", "-", found.group(1)).lower() == wanted:
                        return version.group(1)
                    break
    raise ImportError("%s has no metadata on the import path" % distribution)


def open_model(name, path, threads):
    """Load a model, with the runtimes' many exceptions sorted into a few kinds.

    Returns the engine, the time to import the runtime and the time to load the model, in ns.
    """
    if not os.path.isfile(path):
        raise Failed("model-missing", "%s is not a file" % path)
    module, distribution = MODULES[name]
    began = time.perf_counter_ns()
    try:
        __import__(module)
    except ImportError as error:
        message = "%s cannot be imported on this machine: %s" % (distribution, error)
        raise Failed("runtime-missing", message) from error
    imported = time.perf_counter_ns()
    try:
        engine = RUNTIMES[name](path, threads)
    except (Failed, MemoryError):
        raise
    except Exception as error:  # every runtime has a tree of its own
        message = "%s: %s" % (os.path.basename(path), _one_line(error))
        raise Failed(_kind_of(error), message) from error
    return engine, imported - began, time.perf_counter_ns() - imported


_SIGNS = (
    ("out-of-memory", ("bad_alloc", "allocate memory", "out of memory", "cannot allocate")),
    (
        "unsupported",
        (
            "notimplemented",
            "not implemented",
            "opset",
            "no op registered",
            "not a registered",
            "unsupported model ir version",
            "didn't find op",
            "unresolved custom op",
            "could not find an implementation",
            "delegate",
        ),
    ),
    (
        "model-corrupt",
        (
            "invalidprotobuf",
            "invalid_protobuf",
            "protobuf parsing failed",
            "invalidgraph",
            "model identifier",
            "could not open",
            "mmap",
            "not a valid flatbuffer",
            "not correct",
            "failed to load model",
            "no graph was found",
        ),
    ),
)


def _kind_of(error):
    text = ("%s %s" % (type(error).__name__, error)).lower()
    for kind, signs in _SIGNS:
        if any(sign in text for sign in signs):
            return kind
    return "crashed"


def _one_line(error):
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 400 else text[:400] + "..."


# --- inputs and outputs --------------------------------------------------------------------------


def input_arrays(tensors, path, seed):
    """The data of every input: a file for the only input, or seeded uniform values in [-1, 1].

    Integers of 32 bits and more are indices or lengths: they are 0 or 1, as booleans are.
    """
    import numpy as np

    if path is not None and len(tensors) != 1:
        raise Failed("usage", "--input needs a model with one input, this has %d" % len(tensors))
    generator = np.random.RandomState(seed)
    arrays = []
    for tensor in tensors:
        if None in tensor["shape"]:
            message = "input %s has the dynamic shape %s: export a static one"
            raise Failed("unsupported", message % (tensor["name"], tensor["shape"]))
        if path is None:
            values = generator.uniform(-1.0, 1.0, tensor["shape"]).astype("float32")
            dtype = np.dtype(tensor["dtype"])
            if dtype.kind == "b" or (
                dtype.kind in "iu" and dtype.itemsize >= 4 and "scale" not in tensor
            ):
                values = (values > 0).astype(dtype)
        else:
            values = _load_npy(path, tensor)
        arrays.append(np.ascontiguousarray(as_tensor(values, tensor)))
    return arrays


def bind(engine, options):
    """Give an engine its inputs: open shapes settled, then the data."""
    if options.shapes:
        engine.set_shapes(options.shapes)
    engine.bind_inputs(input_arrays(engine.inputs, options.input, options.seed))


def _load_npy(path, tensor):
    import numpy as np

    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise Failed("usage", "%s cannot be read as .npy: %s" % (path, _one_line(error))) from error
    if list(values.shape) != tensor["shape"]:
        message = "%s has shape %s, the model's input is %s"
        raise Failed("usage", message % (path, list(values.shape), tensor["shape"]))
    return values


def as_tensor(values, tensor):
    """Convert real values to the tensor's type, quantising with its scale and zero point."""
    import numpy as np

    wanted = np.dtype(tensor["dtype"])
    if values.dtype == wanted or wanted.kind == "f":
        return values.astype(wanted)
    limits = np.iinfo(wanted)
    if "scale" in tensor:
        values = np.round(values / tensor["scale"]) + tensor["zero_point"]
    elif values.dtype.kind == "f":
        # An integer input without a scale takes pixels: spread [-1, 1] over the type's range.
        values = limits.min + (values + 1.0) / 2.0 * (limits.max - limits.min)
    return np.clip(values, limits.min, limits.max).astype(wanted)


def write_output(path, values):
    """Write the output whole or not at all."""
    import numpy as np

    partial = path + ".partial"
    try:
        with open(partial, "wb") as stream:
            np.save(stream, values, allow_pickle=False)
        os.replace(partial, path)
    except OSError as error:
        raise Failed("usage", "cannot write %s: %s" % (path, error.strerror)) from error


# --- measuring -----------------------------------------------------------------------------------


def timed(invoke):
    """Duration of one inference in ns."""
    began = time.perf_counter_ns()
    invoke()
    return time.perf_counter_ns() - began


def warm_up(invoke, runs, secs, max_secs):
    """Infer until both minimums are met and two windows agree, at latest after ``max_secs``.

    Returns the samples in ns, and why it ended: "agreed", "limit", or "minimum" where no window was
    asked for (``max_secs`` not above ``secs``).
    """
    samples = []
    began = time.perf_counter_ns()
    check_at = 0
    while True:
        elapsed = (time.perf_counter_ns() - began) / 1e9
        if len(samples) >= runs and elapsed >= secs:
            if max_secs <= secs:
                return samples, "minimum"
            if elapsed >= max_secs:
                return samples, "limit"
            if len(samples) >= max(6, check_at):
                if windows_agree(samples):
                    return samples, "agreed"
                check_at = len(samples) + max(1, len(samples) // 8)
        samples.append(timed(invoke))


def windows_agree(samples):
    """Test whether the medians of the last quarter and the quarter before are within 2 %."""
    width = max(3, len(samples) // 4)
    last = median(samples[-width:])
    return abs(median(samples[-2 * width : -width]) - last) <= AGREEMENT * last


def median(values):
    """The upper median: a value that occurred."""
    return sorted(values)[len(values) // 2]


def sample(invoke, min_runs, min_secs, max_secs):
    """Infer until both minimums are met, at latest after ``max_secs``; durations in ns."""
    clock = time.perf_counter_ns
    samples = []
    keep = samples.append
    min_ns, max_ns = int(min_secs * 1e9), int(max_secs * 1e9)
    started = clock()
    while True:
        began = clock()
        invoke()
        ended = clock()
        keep(ended - began)
        elapsed = ended - started
        if (elapsed >= min_ns and len(samples) >= min_runs) or elapsed >= max_ns:
            return samples


def clock_facts():
    """The smallest step the clock was seen to make, and what reading it costs, in ns."""
    clock = time.perf_counter_ns
    readings = [clock() for _ in range(CLOCK_READINGS)]
    steps = sorted(later - earlier for earlier, later in zip(readings, readings[1:]))
    positive = [step for step in steps if step > 0]
    return {
        "resolution_ns": positive[0] if positive else 1,
        "read_ns": (readings[-1] - readings[0]) // (CLOCK_READINGS - 1),
    }


class CpuUsage:
    """CPU usage of this process and of the rest of the machine between two moments."""

    def __init__(self):
        self._wall_ns = time.perf_counter_ns()
        self._busy = _busy_secs()
        self._own = resource.getrusage(resource.RUSAGE_SELF)

    def since(self):
        """Wall and CPU time of this process, how often it was preempted, cores busy otherwise."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        wall_ns = time.perf_counter_ns() - self._wall_ns
        cpu_secs = own.ru_utime + own.ru_stime - self._own.ru_utime - self._own.ru_stime
        busy = _busy_secs()
        others = None
        # The kernel counts in ticks of 10 ms: over less than some of them the figure is noise.
        known = self._busy is not None and busy is not None and busy > self._busy
        if known and wall_ns >= 200000000:
            others = max(0.0, (busy - self._busy - cpu_secs) / (wall_ns / 1e9))
        return {
            "wall_ns": wall_ns,
            "cpu_ns": int(cpu_secs * 1e9),
            "preempted": own.ru_nivcsw - self._own.ru_nivcsw,
            "others_busy_cores": None if others is None else round(others, 3),
        }


def _busy_secs():
    """Seconds all cores together were busy since boot, stolen time included; None if unknown."""
    text = _read("/proc/stat")
    if text is None or not text.startswith("cpu "):
        return None
    fields = [int(field) for field in text.splitlines()[0].split()[1:9]]
    fields += [0] * (8 - len(fields))
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


# --- the machine ---------------------------------------------------------------------------------


def conditions():
    """State of the machine at this moment; what it does not report is left out or null."""
    memory = _meminfo()
    swap = None
    if "SwapTotal" in memory and "SwapFree" in memory:
        swap = memory["SwapTotal"] - memory["SwapFree"]
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "governors": _per_core("scaling_governor", str),
        "frequency_khz": _per_core("scaling_cur_freq", _khz),
        "temperature_c": _temperatures(),
        "throttled": _throttled(),
        "load_1min": _load(),
        "memory_available_bytes": memory.get("MemAvailable"),
        "swap_used_bytes": swap,
        "battery": _battery(),
    }


def _read(path):
    try:
        with open(path) as stream:
            return stream.read().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _per_core(name, convert):
    found = {}
    for path in sorted(glob.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/" + name)):
        text = _read(path)
        if text:
            try:
                found[path.split("/")[5][3:]] = convert(text)
            except ValueError:
                continue
    return found


def _khz(text):
    """A core's frequency in kHz; raises ValueError for one at which no core runs."""
    khz = int(text)
    if not MIN_KHZ <= khz <= MAX_KHZ:
        raise ValueError(text)
    return khz


def _celsius(reading):
    """Degrees Celsius of a thermal zone's reading; raises ValueError for a broken sensor."""
    # The kernel reports millidegrees; some phones' drivers report degrees.
    celsius = reading if abs(reading) <= MAX_DEGREES_READING else reading / 1000.0
    if celsius == 0 or not MIN_C < celsius < MAX_C:
        raise ValueError(reading)
    return celsius


def _temperatures():
    found = {}
    for zone in sorted(glob.glob("/sys/class/thermal/thermal_zone[0-9]*")):
        text = _read(zone + "/temp")
        try:
            celsius = _celsius(float(text or ""))
        except ValueError:
            continue
        name = _read(zone + "/type") or "zone"
        if name in found:
            name += "-" + zone.rsplit("zone", 1)[1]
        found[name] = celsius
    return found


def _throttled():
    """Throttle bits of a Raspberry Pi's firmware, from the program or from sysfs; else None."""
    program = shutil.which("vcgencmd")
    if program:
        try:
            text = subprocess.run(
                [program, "get_throttled"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=5,
            ).stdout.decode("ascii", "replace")
            return int(text.strip().rpartition("=")[2], 16)
        except (OSError, ValueError, subprocess.SubprocessError):
            pass
    text = _read("/sys/devices/platform/soc/soc:firmware/get_throttled")
    try:
        return int(text or "", 16)
    except ValueError:
        return None


def _load():
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _meminfo():
    found = {}
    for line in (_read("/proc/meminfo") or "").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * 1024
    return found


def _battery():
    for supply in sorted(glob.glob("/sys/class/power_supply/*")):
        if _read(supply + "/type") != "Battery":
            continue
        level = _read(supply + "/capacity")
        return {
            "percent": int(level) if level and level.isdigit() else None,
            "status": _read(supply + "/status"),
            "temperature_c": _battery_celsius(_read(supply + "/temp")),
        }
    return None


def _battery_celsius(tenths):
    try:
        celsius = int(tenths or "") / 10.0
    except ValueError:
        return None
    return celsius if celsius != 0 and MIN_C < celsius < MAX_C else None


def peak_rss_bytes():
    """Largest resident size of this process so far.

    The kernel's ru_maxrss survives exec, so that a large parent would show in it; VmHWM does not.
    """
    for line in (_read("/proc/self/status") or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def affinity():
    """The cores this process may run on; None where the system does not report them."""
    try:
        return sorted(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return None


def pin(cpus):
    """Keep this process and all threads it will start on the given cores."""
    try:
        os.sched_setaffinity(0, cpus)
    except AttributeError as error:
        message = "this system cannot pin a process to cores: leave --cpus out"
        raise Failed("usage", message) from error
    except (OSError, ValueError) as error:
        message = "cannot run on cores %s: this process may use %s of %s"
        wanted = ",".join(str(cpu) for cpu in sorted(cpus))
        raise Failed("usage", message % (wanted, affinity(), os.cpu_count())) from error


def set_oom_score():
    """Set the highest OOM score, so that the kernel kills this process, not the login service."""
    try:
        with open("/proc/self/oom_score_adj", "w") as stream:
            stream.write("1000")
    except OSError:
        pass


def platform_facts():
    """Python, numpy and machine, for the record."""
    facts = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
    }
    try:
        import numpy as np

        facts["numpy"] = np.__version__
    except ImportError:
        facts["numpy"] = None
    return facts


def list_runtimes():
    """Every runtime this program knows: its version here, or why it cannot be used."""
    found = []
    for name in sorted(MODULES):
        module, distribution = MODULES[name]
        try:
            __import__(module)
            found.append({"name": name, "available": True, "version": _version_of(distribution)})
        except ImportError as error:
            found.append({"name": name, "available": False, "reason": _one_line(error)})
    return found


# --- the program ---------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """Reports a wrong option like every other failure: as JSON."""

    def error(self, message):
        """Raise instead of printing usage and exiting."""
        raise Failed("usage", message)


def parse_arguments(argv):
    """Read the command line; raises Failed("usage") when it is wrong."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--list", action="store_true", help="print the runtimes and conditions found here")
    add("--runtime", choices=sorted(RUNTIMES))
    add("--model", metavar="FILE", help=".onnx or .tflite")
    add("--threads", type=_positive, default=1)
    add("--cpus", type=_cores, metavar="0,1,...", help="cores to run on (default: any)")
    add("--warmup-runs", type=int, default=5)
    add("--warmup-secs", type=float, default=0.5)
    add("--warmup-max-secs", type=float, default=2.0, help="limit while windows disagree")
    add("--min-runs", type=_positive, default=30)
    add("--min-secs", type=float, default=1.0)
    add("--max-secs", type=float, default=30.0)
    add("--input", metavar="FILE.npy", help="input data (default: seeded uniform values)")
    add("--output", metavar="FILE.npy", help="write the first output of the last inference")
    add("--seed", type=int, default=0)
    add("--shapes", type=_shapes, default={}, metavar="JSON", help='open inputs: {"x":[1,3,9,9]}')
    options = parser.parse_args(argv)
    if not options.list and (options.runtime is None or options.model is None):
        raise Failed("usage", "--runtime and --model are needed (or --list)")
    return options


def _positive(text):
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _cores(text):
    return frozenset(int(word) for word in text.split(","))


def _shapes(text):
    """The shapes of open inputs by name; raises ValueError for anything else."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(text)
    return {name: [_positive(size) for size in sizes] for name, sizes in found.items()}


def measure(options):
    """Measure one model; returns the report."""
    if options.cpus:
        pin(options.cpus)
    start = conditions()
    __import__("numpy")
    idle_rss = peak_rss_bytes()
    engine, import_ns, load_ns = open_model(options.runtime, options.model, options.threads)
    bind(engine, options)
    invoke = engine.invoker()
    try:
        gc.collect()
        gc.disable()
        first_ns = timed(invoke)
        first_output = engine.read_output().copy()
        warmup, ended = warm_up(
            invoke, options.warmup_runs, options.warmup_secs, options.warmup_max_secs
        )
        before = conditions()
        usage = CpuUsage()
        # Reading the conditions may have started a program: fill the caches again.
        warmup.append(timed(invoke))
        samples = sample(invoke, options.min_runs, options.min_secs, options.max_secs)
        sampling = usage.since()
        after = conditions()
        output = engine.read_output()
    except (MemoryError, Failed):
        raise
    except Exception as error:  # every runtime has a tree of its own
        raise Failed(_kind_of(error), "inference failed: " + _one_line(error)) from error
    if options.output:
        write_output(options.output, output)
    return {
        "runtime": {
            "name": options.runtime,
            "version": engine.version,
            "details": engine.details,
        },
        "model": {
            "file": os.path.basename(options.model),
            "bytes": os.path.getsize(options.model),
            "inputs": engine.inputs,
            "outputs": engine.outputs,
        },
        "timed": engine.timed,
        "threads": options.threads,
        "cpus": affinity(),
        "clock": clock_facts(),
        "import_ns": import_ns,
        "load_ns": load_ns,
        "first_ns": first_ns,
        "warmup_ns": warmup,
        "warmup_ended": ended,
        "samples_ns": samples,
        "sampling": sampling,
        "outputs_repeat": bool((output == first_output).all()),
        "idle_rss_bytes": idle_rss,
        "peak_rss_bytes": peak_rss_bytes(),
        "conditions": {"start": start, "before": before, "after": after},
    }


def report(argv, measuring):
    """The object to print, and the exit status."""
    whole = {"schema": SCHEMA, "agent": AGENT}
    try:
        options = parse_arguments(argv)
        if options.list:
            whole.update(runtimes=list_runtimes(), conditions=conditions(), cpus=affinity())
            whole.update(clock=clock_facts())
        else:
            whole.update(measuring(options))
    except Failed as error:
        whole["error"] = {"kind": error.kind, "message": str(error)}
    except MemoryError as error:
        message = "memory ran out: %s" % _one_line(error)
        whole["error"] = {"kind": "out-of-memory", "message": message}
    except ImportError as error:
        whole["error"] = {"kind": "runtime-missing", "message": _one_line(error)}
    except Exception as error:  # noqa: BLE001 - the caller reads JSON, never a traceback
        message = "%s: %s" % (type(error).__name__, _one_line(error))
        whole["error"] = {"kind": "crashed", "message": message}
    if "error" in whole:
        whole["conditions_at_failure"] = conditions()
    whole["platform"] = platform_facts()
    return whole, 1 if "error" in whole else 0


def _terminated(_number, _frame):
    raise Failed("terminated", "ended by a signal before it was done")


def main(argv, measuring=measure):
    """Keep standard output for the one object, whatever other libraries print."""
    if "-h" in argv or "--help" in argv:
        parse_arguments(["--help"])
    own_stdout = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    faulthandler.enable()
    signal.signal(signal.SIGTERM, _terminated)
    for variable in POOLS:
        os.environ.setdefault(variable, "1")
    # onnxruntime would report the model to its makers, from threads that run while we measure.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    set_oom_score()
    whole, status = report(argv, measuring)
    with os.fdopen(own_stdout, "w") as stream:
        stream.write(json.dumps(whole) + "\n")
    # Some runtimes crash while their threads are torn down; the report is out.
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
