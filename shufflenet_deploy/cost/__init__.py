"""What an inference costs in instructions of a virtual ARM CPU: a figure that does not move.

    count(plan, ...) -> Result               # on deterministic boards, one per CPU
    Lock.read(path), compare(lock, counts)   # the regression gate

Instructions are not cycles; see docs/virtual-board.md for what the figure means.
"""

from shufflenet_deploy.cost.counting import Plan, Profiled, Result, count
from shufflenet_deploy.cost.lock import (
    Change,
    Comparison,
    Count,
    Lock,
    Verdict,
    compare,
)

__all__ = [
    "Change",
    "Comparison",
    "Count",
    "Lock",
    "Plan",
    "Profiled",
    "Result",
    "Verdict",
    "compare",
    "count",
]
