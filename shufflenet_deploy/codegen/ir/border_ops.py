"""Ops between int8 NHWC maps and planar floats: the borders of float segments."""

from __future__ import annotations

from dataclasses import dataclass

from shufflenet_deploy.codegen.ir.int8 import PixelView
from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.codegen.ir.planar import PlanarView


@dataclass(frozen=True, kw_only=True)
class BorderOp(Op[PixelView | PlanarView]):
    """Every element of ``value``, a value of the graph, in the other form.

    ``extents`` are those of its axes; along each, elements are ``byte_steps`` bytes apart in the
    map of bytes and ``float_steps`` elements apart in that of floats.
    """

    value: str
    extents: tuple[int, ...]
    byte_steps: tuple[int, ...]
    float_steps: tuple[int, ...]

    @property
    def byte_view(self) -> PixelView:
        """The map of bytes."""
        (found,) = (view for view in (self.source, self.target) if isinstance(view, PixelView))
        return found

    @property
    def float_view(self) -> PlanarView:
        """The planes of floats."""
        (found,) = (view for view in (self.source, self.target) if isinstance(view, PlanarView))
        return found


@dataclass(frozen=True, kw_only=True)
class Dequantize(BorderOp):
    """``(byte - zero_point) * scale``."""


@dataclass(frozen=True, kw_only=True)
class Quantize(BorderOp):
    """``round(x * inverse) + zero_point``, saturated."""

    inverse: float
