"""MNN's FlatBuffers, as far as ``inspect`` reads them: who made a file, and its weights.

MNN's wheel brings no reader of its own files' fields; these few have kept their places.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from shufflenet_deploy.export.flat_tables import Table, number

#: Of a table: fields in the order of MNN's schema.
_MAKER, _EXTRA, _OPERATORS, _TYPE, _PARAMETERS = 0, 2, 3, 5, 2
#: Of what a converter adds about itself.
_VERSION = 2
#: Of a convolution's parameters, and of what all of its kinds share.
_COMMON, _QUANTISED = 0, 3
_KERNEL_X, _KERNEL_Y, _GROUPS, _OUTPUTS, _INPUTS = 2, 3, 9, 10, 11
#: MNN's numbers of the operators that hold weights.
_CONVOLUTION, _DEPTHWISE, _DECONVOLUTION = 12, 13, 14

#: Bytes of a number.
_INT = 4
_FEWEST_FIELDS, _MOST_FIELDS = 4, 40
_PRINTABLE = range(0x20, 0x7F)


class Weights(NamedTuple):
    """``parameters`` with biases; ``packed`` is True where a layer's are no float32."""

    parameters: int
    packed: bool


def looks_like_mnn(start: bytes) -> bool:
    """True if a file's first bytes may be a FlatBuffers table of MNN's, which has no identifier."""
    if len(start) < struct.calcsize("<IBBBB") or all(one in _PRINTABLE for one in start[4:8]):
        return False
    try:
        root = number(start, "<I", 0)
        fields = root - number(start, "<i", root)
        size, table = number(start, "<H", fields), number(start, "<H", fields + 2)
    except ValueError:
        return False
    count, odd = divmod(size - 4, 2)
    return not odd and _FEWEST_FIELDS <= count <= _MOST_FIELDS and 4 <= table <= len(start)


def maker(content: bytes) -> str:
    """What a file's maker wrote into it; MNN calls the field ``bizCode``.

    Raises:
        ValueError: the file is damaged.
    """
    return Table.root(content).bytes(_MAKER).decode("utf-8", "replace")


def version(content: bytes) -> str:
    """The version of the converter that wrote a file; "" where it does not say.

    Raises:
        ValueError: the file is damaged.
    """
    root = Table.root(content)
    return root.table(_EXTRA).text(_VERSION) if root.has(_EXTRA) else ""


def weights(content: bytes) -> Weights:
    """The weights of a file.

    Raises:
        ValueError: the file is damaged.
    """
    total, packed = 0, False
    for operator in Table.root(content).tables(_OPERATORS):
        kind = operator.integer(_TYPE, _INT)
        if kind not in (_CONVOLUTION, _DEPTHWISE, _DECONVOLUTION) or not operator.has(_PARAMETERS):
            continue
        parameters = operator.table(_PARAMETERS)
        if not parameters.has(_COMMON):
            continue
        common = parameters.table(_COMMON)
        outputs = common.integer(_OUTPUTS, _INT)
        inputs = 1 if kind == _DEPTHWISE else common.integer(_INPUTS, _INT)
        kernel = common.integer(_KERNEL_X, _INT, 1) * common.integer(_KERNEL_Y, _INT, 1)
        groups = 1 if kind == _DEPTHWISE else max(1, common.integer(_GROUPS, _INT, 1))
        total += outputs * inputs // groups * kernel + outputs
        packed = packed or parameters.has(_QUANTISED)
    return Weights(total, packed)
