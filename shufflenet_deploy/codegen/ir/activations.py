"""Sets of activations that the code generator treats alike."""

from __future__ import annotations

from shufflenet_deploy.network.graph import Activation

#: Activations that clamp: they never fall, so that maxima may be taken before them.
CLAMPS = frozenset({Activation.NONE, Activation.RELU, Activation.RELU6})
#: Activations that every kernel applies to its results in registers.
FUSED = CLAMPS | {Activation.HARD_SWISH}
