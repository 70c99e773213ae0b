"""The part of Caffe's messages that networks for inference need, with Caffe's field numbers.

Networks are text, so of theirs only the names matter; weights are binary, and of them layers'
names and blobs alone are declared: whatever else a file holds is skipped. The elements of a blob
are declared as the bytes that a packed field is, which makes an array of them without a loop.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

_PACKAGE = "caffe"

_KINDS = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bool": _KINDS.TYPE_BOOL,
    "bytes": _KINDS.TYPE_BYTES,
    "float": _KINDS.TYPE_FLOAT,
    "int": _KINDS.TYPE_INT64,
    "string": _KINDS.TYPE_STRING,
}

#: Layer types of files from before 2014 by number, as their layers are called since.
V1_TYPES = {
    "ABSVAL": (35, "AbsVal"),
    "ACCURACY": (1, "Accuracy"),
    "ARGMAX": (30, "ArgMax"),
    "BNLL": (2, "BNLL"),
    "CONCAT": (3, "Concat"),
    "CONTRASTIVE_LOSS": (37, "ContrastiveLoss"),
    "CONVOLUTION": (4, "Convolution"),
    "DATA": (5, "Data"),
    "DECONVOLUTION": (39, "Deconvolution"),
    "DROPOUT": (6, "Dropout"),
    "DUMMY_DATA": (32, "DummyData"),
    "ELTWISE": (25, "Eltwise"),
    "EUCLIDEAN_LOSS": (7, "EuclideanLoss"),
    "EXP": (38, "Exp"),
    "FLATTEN": (8, "Flatten"),
    "HDF5_DATA": (9, "HDF5Data"),
    "HDF5_OUTPUT": (10, "HDF5Output"),
    "HINGE_LOSS": (28, "HingeLoss"),
    "IM2COL": (11, "Im2col"),
    "IMAGE_DATA": (12, "ImageData"),
    "INFOGAIN_LOSS": (13, "InfogainLoss"),
    "INNER_PRODUCT": (14, "InnerProduct"),
    "LRN": (15, "LRN"),
    "MEMORY_DATA": (29, "MemoryData"),
    "MULTINOMIAL_LOGISTIC_LOSS": (16, "MultinomialLogisticLoss"),
    "MVN": (34, "MVN"),
    "NONE": (0, "None"),
    "POOLING": (17, "Pooling"),
    "POWER": (26, "Power"),
    "RELU": (18, "ReLU"),
    "SIGMOID": (19, "Sigmoid"),
    "SIGMOID_CROSS_ENTROPY_LOSS": (27, "SigmoidCrossEntropyLoss"),
    "SILENCE": (36, "Silence"),
    "SLICE": (33, "Slice"),
    "SOFTMAX": (20, "Softmax"),
    "SOFTMAX_LOSS": (21, "SoftmaxWithLoss"),
    "SPLIT": (22, "Split"),
    "TANH": (23, "TanH"),
    "THRESHOLD": (31, "Threshold"),
    "WINDOW_DATA": (24, "WindowData"),
}

_ENUMS: dict[str, dict[str, int]] = {
    "Phase": {"TRAIN": 0, "TEST": 1},
    "PoolMethod": {"MAX": 0, "AVE": 1, "STOCHASTIC": 2},
    "RoundMode": {"CEIL": 0, "FLOOR": 1},
    "EltwiseOp": {"PROD": 0, "SUM": 1, "MAX": 2},
    "NormRegion": {"ACROSS_CHANNELS": 0, "WITHIN_CHANNEL": 1},
    "V1Type": {name: number for name, (number, _) in V1_TYPES.items()},
}

#: Fields as ``NAME=NUMBER:TYPE``, with ``*`` where there may be many.
_MESSAGES: dict[str, str] = {
    "BlobShape": "dim=1:int*",
    "NetStateRule": "phase=1:Phase min_level=2:int max_level=3:int stage=4:string* "
    "not_stage=5:string*",
    "InputParameter": "shape=1:BlobShape*",
    "ConvolutionParameter": "num_output=1:int bias_term=2:bool pad=3:int* kernel_size=4:int* "
    "group=5:int stride=6:int* pad_h=9:int pad_w=10:int kernel_h=11:int kernel_w=12:int "
    "stride_h=13:int stride_w=14:int axis=16:int dilation=18:int*",
    "PoolingParameter": "pool=1:PoolMethod kernel_size=2:int stride=3:int pad=4:int kernel_h=5:int "
    "kernel_w=6:int stride_h=7:int stride_w=8:int pad_h=9:int pad_w=10:int "
    "global_pooling=12:bool round_mode=13:RoundMode ceil_mode=1000:bool",
    "InnerProductParameter": "num_output=1:int bias_term=2:bool axis=5:int transpose=6:bool",
    "BatchNormParameter": "use_global_stats=1:bool eps=3:float",
    "ScaleParameter": "axis=1:int num_axes=2:int bias_term=4:bool",
    "BiasParameter": "axis=1:int num_axes=2:int",
    "ReLUParameter": "negative_slope=1:float",
    "PReLUParameter": "channel_shared=2:bool",
    "ELUParameter": "alpha=1:float",
    "ClipParameter": "min=1:float max=2:float",
    "EltwiseParameter": "operation=1:EltwiseOp coeff=2:float*",
    "ConcatParameter": "concat_dim=1:int axis=2:int",
    "SliceParameter": "slice_dim=1:int slice_point=2:int* axis=3:int",
    "SoftmaxParameter": "axis=2:int",
    "LRNParameter": "local_size=1:int alpha=2:float beta=3:float norm_region=4:NormRegion "
    "k=5:float",
    "PowerParameter": "power=1:float scale=2:float shift=3:float",
    "FlattenParameter": "axis=1:int end_axis=2:int",
    "ReshapeParameter": "shape=1:BlobShape axis=2:int num_axes=3:int",
    "PermuteParameter": "order=1:int*",
    "ShuffleChannelParameter": "group=1:int",
    "InterpParameter": "height=1:int width=2:int zoom_factor=3:int shrink_factor=4:int "
    "pad_beg=5:int pad_end=6:int",
    "UpsampleParameter": "scale=1:int",
}

#: The parameters of layers: their number in a layer and in one of before 2014 (0: none).
_PARAMETERS = {
    "concat_param": ("ConcatParameter", 104, 9),
    "convolution_param": ("ConvolutionParameter", 106, 10),
    "eltwise_param": ("EltwiseParameter", 110, 24),
    "inner_product_param": ("InnerProductParameter", 117, 17),
    "lrn_param": ("LRNParameter", 118, 18),
    "pooling_param": ("PoolingParameter", 121, 19),
    "power_param": ("PowerParameter", 122, 21),
    "relu_param": ("ReLUParameter", 123, 30),
    "softmax_param": ("SoftmaxParameter", 125, 39),
    "slice_param": ("SliceParameter", 126, 31),
    "prelu_param": ("PReLUParameter", 131, 0),
    "reshape_param": ("ReshapeParameter", 133, 0),
    "flatten_param": ("FlattenParameter", 135, 0),
    "batch_norm_param": ("BatchNormParameter", 139, 0),
    "elu_param": ("ELUParameter", 140, 0),
    "bias_param": ("BiasParameter", 141, 0),
    "scale_param": ("ScaleParameter", 142, 0),
    "input_param": ("InputParameter", 143, 0),
    "clip_param": ("ClipParameter", 148, 0),
    # Of layers that are not Caffe's own: known by their names in the text.
    "permute_param": ("PermuteParameter", 1001, 0),
    "shuffle_channel_param": ("ShuffleChannelParameter", 1002, 0),
    "interp_param": ("InterpParameter", 1003, 0),
    "upsample_param": ("UpsampleParameter", 1004, 0),
}


def _parameters(column: int) -> str:
    return " ".join(
        f"{name}={entry[column]}:{entry[0]}" for name, entry in _PARAMETERS.items() if entry[column]
    )


_MESSAGES |= {
    "Layer": "name=1:string type=2:string bottom=3:string* top=4:string* include=8:NetStateRule* "
    f"exclude=9:NetStateRule* phase=10:Phase {_parameters(1)}",
    "V1Layer": "bottom=2:string* top=3:string* name=4:string type=5:V1Type "
    f"include=32:NetStateRule* exclude=33:NetStateRule* {_parameters(2)}",
    "Net": "name=1:string layers=2:V1Layer* input=3:string* input_dim=4:int* "
    "input_shape=8:BlobShape* layer=100:Layer*",
    "Blob": "num=1:int channels=2:int height=3:int width=4:int data=5:bytes* shape=7:BlobShape "
    "double_data=8:bytes*",
    "LayerBlobs": "name=1:string blobs=7:Blob*",
    "V1LayerBlobs": "name=4:string blobs=6:Blob*",
    "Weights": "layers=2:V1LayerBlobs* layer=100:LayerBlobs*",
}


@cache
def message_class(name: str) -> Any:
    """The class of a message: ``Net`` for text, ``Weights`` for binary files."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@cache
def _pool() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="caffe", package=_PACKAGE, syntax="proto2")
    for name, values in _ENUMS.items():
        # A message around each, because names of values share the space of what is around them.
        enum = file.message_type.add(name=f"{name}Holder").enum_type.add(name=name)
        for value, number in sorted(values.items(), key=lambda item: item[1]):
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields.split():
            _add_field(message, field)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _add_field(message: Any, declaration: str) -> None:
    name, _, rest = declaration.partition("=")
    number, _, kind = rest.partition(":")
    field = message.field.add(name=name, number=int(number))
    field.label = _KINDS.LABEL_REPEATED if kind.endswith("*") else _KINDS.LABEL_OPTIONAL
    word = kind.rstrip("*")
    if word in _TYPES:
        field.type = _TYPES[word]
    else:
        enum = word in _ENUMS
        field.type = _KINDS.TYPE_ENUM if enum else _KINDS.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{f'{word}Holder.' if enum else ''}{word}"
