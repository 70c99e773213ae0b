"""An ONNX file -> Graph: constants are evaluated, every other node goes to its operator's reader.

Shapes are exact from the first node on, so that the arithmetic on shapes that exporters write
(Shape, Gather, Concat, Reshape) is made of constants, as are folded weights.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from shufflenet_deploy.network.frontends.file_builder import INPUT_NAME, FileBuilder, Value
from shufflenet_deploy.network.frontends.onnx import (
    constants,
    elementwise,
    movement,
    names,
    normalisation,
    windows,
)
from shufflenet_deploy.network.frontends.onnx.model_file import ModelFile, image_shape
from shufflenet_deploy.network.frontends.onnx.node import Array, Node, Tensor, settled
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.passes.simplify import simplify
from shufflenet_deploy.records import Resolution

#: The reader of each operator: a node's outputs from its inputs.
READERS = {
    **windows.READERS,
    **elementwise.READERS,
    **movement.READERS,
    **normalisation.READERS,
}


def read_onnx(
    path: Path,
    *,
    resolution: Resolution | None = None,
    shape: tuple[int, int, int, int] | None = None,
    name: str = "",
) -> Graph:
    """The network of an ONNX file, simplified as every other.

    Args:
        path: the ``.onnx`` file; weights that it keeps in other files lie in its folder.
        resolution: height and width where the file leaves them open; must agree where it does not.
        shape: the whole input (1, channels, H, W) instead, where channels are open, too.
        name: the graph's name; the file's by default.

    Raises:
        UsageError: the file cannot be read, is damaged, or holds what no graph can say; the
            message names file, operator and node.
        ExportError: the network cannot be simplified to layers that exist.
    """
    reader = OnnxReader(path, resolution=resolution, shape=shape)
    return reader.builder.tidied(simplify(reader.read(name or path.stem)))


class OnnxReader:
    """The values of a file by name, in the order of its nodes; arguments as of ``read_onnx``."""

    def __init__(
        self,
        path: Path,
        *,
        resolution: Resolution | None = None,
        shape: tuple[int, int, int, int] | None = None,
    ) -> None:
        if shape is None and resolution is not None:
            shape = (0, 0, resolution.height, resolution.width)
        self._file = file = ModelFile(path)
        image = image_shape(file, shape)
        self.builder = FileBuilder(str(path), image)
        self._known: dict[str, Tensor | Array] = dict(file.initializers())
        self._known[file.inputs[0].name] = settled(
            self.builder, Value(INPUT_NAME, image), (1, *image)
        )
        self._weights = set(self._known)

    def read(self, name: str) -> Graph:
        """The network as it is written."""
        for proto in self._file.nodes:
            self.builder.what = f"{proto.op_type} '{proto.name or ', '.join(proto.output)}'"
            self.builder.name = names.layer_name(proto, self._weights)
            with self.builder.malformed():
                values = self._computed(proto)
            for output, value in zip(proto.output, values, strict=False):
                if output in self._known:
                    self.builder.fail(f"makes '{output}', which is there already")
                self._known[output] = value
        return self.builder.graph(name, self._outputs())

    def _outputs(self) -> list[Value]:
        values: list[Value] = []
        for name in self._file.outputs:
            self.builder.what = f"the output '{name}'"
            found = self._known.get(name)
            if not isinstance(found, Tensor):
                self.builder.fail("does not depend on the image")
            values.append(found.value)
        if not values:
            self._file.refuse("it has no output")
        return values

    def _computed(self, proto: onnx.NodeProto) -> tuple[Tensor | Array, ...]:
        inputs = [self._input(name) for name in proto.input]
        node = Node(self.builder, proto, inputs, self._file.opset)
        if proto.op_type == "Constant":
            return (constants.of_node(node, self._file),)
        if proto.op_type in {"Shape", "Size"} and any(isinstance(one, Tensor) for one in inputs):
            return (constants.of_shape(node, node.tensor().shape),)
        if not any(isinstance(one, Tensor) for one in inputs):
            return constants.folded(node)
        reader = READERS.get(proto.op_type)
        if reader is None:
            self.builder.fail(
                "is an operator that no layer here computes: export without it, or measure the "
                "file as it is (bench --file)"
            )
        found = reader(node)
        several = found if isinstance(found, tuple) else (found,)
        return tuple(
            settled(self.builder, one.value, one.shape) if isinstance(one, Tensor) else one
            for one in several
        )

    def _input(self, name: str) -> Tensor | Array | None:
        if not name:
            return None
        if name not in self._known:
            self.builder.fail(f"reads '{name}', which is neither stored nor made before it")
        return self._known[name]
