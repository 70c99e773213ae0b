"""Versions of TFLite's operations, the runtimes that know them, and their tables of options."""

from __future__ import annotations

from shufflenet_deploy.export.tflite.program import TfliteOperation, TfliteProgram

#: The first TensorFlow whose runtime knows every operation and version that is not listed below.
_ALL_ELSE_SINCE = (1, 15, 0)
_SINCE = {
    ("CONV_2D", 6): (2, 9, 0),
    ("DEPTH_TO_SPACE", 1): (2, 1, 0),
    ("DEPTH_TO_SPACE", 2): (2, 5, 0),
    ("DIV", 2): (2, 3, 0),
    ("GELU", 1): (2, 9, 0),
    ("GELU", 2): (2, 9, 0),
    ("MAXIMUM", 3): (2, 3, 0),
    ("MINIMUM", 3): (2, 3, 0),
    ("MIRROR_PAD", 2): (2, 3, 0),
    ("RESIZE_BILINEAR", 3): (2, 2, 0),
    ("RESIZE_NEAREST_NEIGHBOR", 3): (2, 3, 0),
    ("SLICE", 5): (2, 5, 0),
    ("STRIDED_SLICE", 4): (2, 2, 0),
    ("SUB", 3): (2, 3, 0),
    ("TRANSPOSE", 4): (2, 3, 0),
    ("TRANSPOSE", 6): (2, 12, 0),
    ("TRANSPOSE_CONV", 3): (2, 3, 0),
}

_INT8_VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEPTH_TO_SPACE": 2,
    "DEQUANTIZE": 2,
    "FULLY_CONNECTED": 4,
    "GATHER": 2,
    "GELU": 2,
    "LOGISTIC": 2,
    "MAXIMUM": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MINIMUM": 2,
    "MIRROR_PAD": 2,
    "MUL": 2,
    "PAD": 2,
    "PADV2": 2,
    "QUANTIZE": 2,
    "REDUCE_MAX": 2,
    "RELU": 2,
    "RELU6": 2,
    "RESIZE_BILINEAR": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "SLICE": 2,
    "SOFTMAX": 2,
    "SPACE_TO_DEPTH": 2,
    "STRIDED_SLICE": 2,
    "SUB": 2,
    "SUM": 2,
    "TANH": 2,
    "TRANSPOSE": 2,
}

#: Versions with more than four axes, batch included.
_DEEP_VERSIONS = {
    "DIV": 2,
    "MAXIMUM": 3,
    "MINIMUM": 3,
    "SLICE": 5,
    "STRIDED_SLICE": 4,
    "SUB": 3,
    "TRANSPOSE": 4,
}
_SHALLOW_AXES = 4
_MOST_TRANSPOSED_AXES = 5

#: The options table of each operation; activations such as RELU have none.
OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "DIV": "DivOptions",
    "EXP": "ExpOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GATHER": "GatherOptions",
    "GELU": "GeluOptions",
    "HARD_SWISH": "HardSwishOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "LOCAL_RESPONSE_NORMALIZATION": "LocalResponseNormalizationOptions",
    "LOG_SOFTMAX": "LogSoftmaxOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MIRROR_PAD": "MirrorPadOptions",
    "MUL": "MulOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "POW": "PowOptions",
    "QUANTIZE": "QuantizeOptions",
    "REDUCE_MAX": "ReducerOptions",
    "RESHAPE": "ReshapeOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SLICE": "SliceOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPACE_TO_DEPTH": "SpaceToDepthOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
    "TRANSPOSE": "TransposeOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
}

#: Options whose values are members of an enumeration of the schema.
ENUMERATIONS = {
    "padding": "Padding",
    "fusedActivationFunction": "ActivationFunctionType",
    "mode": "MirrorPadMode",
}


def version(operation: TfliteOperation, program: TfliteProgram) -> int:
    """The lowest version of an operation that has what is used, so that old runtimes take it."""
    source = program.tensors[operation.inputs[0]]
    special = _special_version(operation, program)
    int8 = _INT8_VERSIONS.get(operation.code, 1) if source.dtype == "int8" else 1
    axes = max(len(program.tensors[name].shape) for name in operation.inputs)
    deep = _DEEP_VERSIONS.get(operation.code, 1) if axes > _SHALLOW_AXES else 1
    if operation.code == "TRANSPOSE" and axes > _MOST_TRANSPOSED_AXES:
        deep = 6
    return max(special, int8, deep)


def _special_version(operation: TfliteOperation, program: TfliteProgram) -> int:
    """The version that an option asks for; a bias of TRANSPOSE_CONV is one."""
    options = operation.options
    if operation.code == "CONV_2D":
        source, weight = (program.tensors[name] for name in operation.inputs[:2])
        return 6 if source.shape[3] != weight.shape[3] else 1
    if operation.code == "DEPTHWISE_CONV_2D":
        return 2 if "dilationHFactor" in options else 1
    if operation.code in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
        aligned = options["alignCorners"] and operation.code == "RESIZE_NEAREST_NEIGHBOR"
        return 3 if options["halfPixelCenters"] or aligned else 1
    return 3 if operation.code == "TRANSPOSE_CONV" else 1


def least_runtime(program: TfliteProgram) -> str:
    """The first TensorFlow whose runtime takes the whole program, as its metadata state it."""
    used = ((one.code, version(one, program)) for one in program.operations)
    needed = (_SINCE.get(key, _ALL_ELSE_SINCE) for key in used)
    return ".".join(map(str, max(needed, default=_ALL_ELSE_SINCE)))
