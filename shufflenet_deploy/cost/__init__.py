"""Instruction counts of inferences on a virtual ARM CPU: a deterministic cost.

    count(plan, ...) -> Result               # on deterministic boards, one per CPU
    Lock.read(path), compare(lock, counts)   # the regression gate

Instructions are not cycles; see docs/virtual-board.md for what the figure means.
"""

from shufflenet_deploy.cost.baseline import (
    BaselineComparison,
    CostBaseline,
    Count,
    CountChange,
    CountStatus,
    compare,
)
from shufflenet_deploy.cost.counting import Plan, Profiled, Result, count

__all__ = [
    "BaselineComparison",
    "CostBaseline",
    "Count",
    "CountChange",
    "CountStatus",
    "Plan",
    "Profiled",
    "Result",
    "compare",
    "count",
]
