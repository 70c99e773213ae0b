"""Row strides of planar maps: values that one flat loop walks share a stride."""

from __future__ import annotations

from shufflenet_deploy.codegen.ir.window_geometry import (
    WindowGeometry,
    is_pointwise,
    is_wide_depthwise,
    supports_direct_3x3,
)
from shufflenet_deploy.network.graph import (
    AdaptiveAveragePool,
    Add,
    Clip,
    Concat,
    Conv,
    Elementwise,
    Elu,
    Graph,
    LeakyRelu,
    LocalResponseNorm,
    Multiply,
    Normalize,
    Pool,
    Power,
    Shuffle,
    Slice,
)


def assign_row_strides(graph: Graph) -> dict[str, int]:
    """The row stride of each map: one for all values that flat loops walk together."""
    parent = {value: value for value in graph.shapes}

    def root(value: str) -> str:
        while parent[value] != value:
            parent[value] = parent[parent[value]]
            value = parent[value]
        return value

    needed = {value: shape[2] if len(shape) == 3 else 1 for value, shape in graph.shapes.items()}
    shapes = graph.shapes
    for layer in graph.layers:
        match layer:
            case Conv() | Pool() if supports_direct_3x3(
                layer, shapes[layer.inputs[0]], shapes[layer.output]
            ):
                continue
            case Conv() if is_wide_depthwise(layer):
                continue
            case Conv() | Pool() if isinstance(layer, Pool) or not is_pointwise(layer):
                windows = WindowGeometry.of(layer, shapes[layer.inputs[0]], shapes[layer.output])
                needed[layer.output] = max(needed[layer.output], windows.min_row_stride)
            case Concat() if layer.axis > 0:
                continue
            case Slice() if layer.axis > 0 or layer.step > 1:
                continue
            case (
                Conv()
                | Add()
                | Concat()
                | Shuffle()
                | Slice()
                | Elementwise()
                | LeakyRelu()
                | Elu()
                | Clip()
                | LocalResponseNorm()
                | Normalize()
                | Power()
            ):
                for value in layer.inputs:
                    parent[root(value)] = root(layer.output)
            case Multiply():
                for value in layer.inputs:
                    if shapes[value] == shapes[layer.output]:
                        parent[root(value)] = root(layer.output)
            case AdaptiveAveragePool() if shapes[layer.inputs[0]] == shapes[layer.output]:
                parent[root(layer.inputs[0])] = root(layer.output)
            case _:
                continue
    longest: dict[str, int] = {}
    for value in parent:
        at = root(value)
        longest[at] = max(longest.get(at, 0), needed[value])
    return {value: longest[root(value)] for value in parent}
