"""The values that travel between layers and are stored: immutable, self-describing, JSON-ready.

Every record is a frozen pydantic model, built by keyword only. Statistics are not stored here:
raw samples are, and ``stats`` derives the rest.
"""

from __future__ import annotations

from shufflenet_deploy.records.artifacts import (
    Artifact,
    Attempt,
    CalibrationInfo,
    CalibrationMethod,
    Delegation,
    InputShape,
    MeasuredFile,
    Parity,
    Recipe,
    TensorSpec,
    WeightsInfo,
    WeightsKind,
)
from shufflenet_deploy.records.basics import (
    ALL,
    MAX_PIXELS,
    AskedPrecisions,
    Format,
    Metric,
    Precision,
    Record,
    Resolution,
    ResolutionText,
    RunId,
    RuntimeSpec,
    Sha256,
    SuiteId,
    first_problem,
)
from shufflenet_deploy.records.evaluations import (
    ContingencyTable,
    Evaluation,
    LabelledData,
    TopKCounts,
)
from shufflenet_deploy.records.observations import (
    Aggregate,
    CrossCheck,
    Observation,
    Sustained,
    TracePoint,
    TurnSamples,
)
from shufflenet_deploy.records.profiles import (
    LayerKind,
    LayerWork,
    OperatorTiming,
    Profile,
)
from shufflenet_deploy.records.runs import (
    SCHEDULE,
    BenchmarkSpec,
    Cell,
    Failure,
    FailureKind,
    Measurement,
    Run,
    SuiteNote,
    last_attempts,
)
from shufflenet_deploy.records.targets import (
    Conditions,
    Core,
    TargetFacts,
)

__all__ = [
    "ALL",
    "MAX_PIXELS",
    "SCHEDULE",
    "Aggregate",
    "Artifact",
    "AskedPrecisions",
    "Attempt",
    "BenchmarkSpec",
    "CalibrationInfo",
    "CalibrationMethod",
    "Cell",
    "Conditions",
    "ContingencyTable",
    "Core",
    "CrossCheck",
    "Delegation",
    "Evaluation",
    "Failure",
    "FailureKind",
    "Format",
    "InputShape",
    "LabelledData",
    "LayerKind",
    "LayerWork",
    "MeasuredFile",
    "Measurement",
    "Metric",
    "Observation",
    "OperatorTiming",
    "Parity",
    "Precision",
    "Profile",
    "Recipe",
    "Record",
    "Resolution",
    "ResolutionText",
    "Run",
    "RunId",
    "RuntimeSpec",
    "Sha256",
    "SuiteId",
    "SuiteNote",
    "Sustained",
    "TargetFacts",
    "TensorSpec",
    "TopKCounts",
    "TracePoint",
    "TurnSamples",
    "WeightsInfo",
    "WeightsKind",
    "first_problem",
    "last_attempts",
]
