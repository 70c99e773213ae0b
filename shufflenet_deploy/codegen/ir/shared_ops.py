"""Ops of every data type: their views, windows and epilogues are type parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from shufflenet_deploy.codegen.ir.epilogues import (
    Clamp,
    FactorTable,
    Requantize,
    RequantizeAreas,
    RequantizeMean,
    RequantizeSum,
    StridedWindow,
    TapOffsets,
)
from shufflenet_deploy.codegen.ir.int8 import (
    PixelView,
)
from shufflenet_deploy.codegen.ir.op import Op, V_co
from shufflenet_deploy.codegen.ir.planar import PlanarView
from shufflenet_deploy.network.graph import Activation

#: How a convolution addresses its windows, and how its results are finished.
W_co = TypeVar("W_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Convolution(Op[V_co], Generic[V_co, W_co, E_co]):
    """``target[o] = epilogue(bias[o] + sum of weight[o] times the window)``.

    ``weight`` is ``(out, in / groups, taps)`` in floating point, ``(out, in / groups, kh, kw)`` in
    int8. A second source is the residual, added before the activation.
    """

    weight: NDArray[Any]
    bias: NDArray[Any]
    groups: int
    window: W_co
    epilogue: E_co

    @property
    def weights(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Weights and biases."""
        return self.weight, self.bias


@dataclass(frozen=True, kw_only=True)
class GlobalAveragePool(Op[V_co], Generic[V_co, E_co]):
    """The mean of each channel."""

    epilogue: E_co


@dataclass(frozen=True, kw_only=True)
class AdaptivePool(Op[V_co], Generic[V_co, E_co]):
    """The mean over a grid of nearly equal windows."""

    epilogue: E_co


@dataclass(frozen=True, kw_only=True)
class Add(Op[V_co], Generic[V_co, E_co]):
    """The sum of two sources."""

    epilogue: E_co


@dataclass(frozen=True, kw_only=True)
class ChannelScale(Op[V_co], Generic[V_co, E_co]):
    """The first source times the second's element of its channel, plus a residual if given."""

    epilogue: E_co


@dataclass(frozen=True, kw_only=True)
class LocalResponseNorm(Op[V_co], Generic[V_co, E_co]):
    """Local response normalization: each channel by the squares of ``size`` channels around it.

    In int8 the upper 16 bits of the float ``1 + sum of squares``, less those of 1.0, select the
    factor.
    """

    size: int
    alpha: float
    beta: float
    k: float
    epilogue: E_co


#: The shared ops in floating point and in int8.
FpConvolution = Convolution[PlanarView, TapOffsets, Clamp]
Int8Convolution = Convolution[PixelView, StridedWindow, Requantize]
FpAdd = Add[PlanarView, Activation]
Int8Add = Add[PixelView, RequantizeSum]
FpChannelScale = ChannelScale[PlanarView, Activation]
Int8ChannelScale = ChannelScale[PixelView, FactorTable]
FpLocalResponseNorm = LocalResponseNorm[PlanarView, None]
Int8LocalResponseNorm = LocalResponseNorm[PixelView, FactorTable]
FpGlobalAveragePool = GlobalAveragePool[PlanarView, None]
Int8GlobalAveragePool = GlobalAveragePool[PixelView, RequantizeMean]
FpAdaptivePool = AdaptivePool[PlanarView, None]
Int8AdaptivePool = AdaptivePool[PixelView, RequantizeAreas]
