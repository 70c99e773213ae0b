"""Checks of a whole suite before anything is connected, exported or measured."""

from __future__ import annotations

from collections.abc import Collection

from shufflenet_deploy import zoo
from shufflenet_deploy.bench.cross_check import BENCHMARK_MODEL_FORMAT
from shufflenet_deploy.bench.suite import Suite
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import formats
from shufflenet_deploy.records import Metric
from shufflenet_deploy.runtime import benchmark_model


def check_models(suite: Suite) -> Suite:
    """Resolve aliases, cards, code and files: the suite with each model under its own name.

    Nobody's code is run.

    Raises:
        UsageError: there is no such model, or weights are for one that is not measured.
    """
    given = [*suite.models, *([suite.baseline] if suite.baseline else [])]
    given = [name for name in given if name not in suite.files]
    for name in suite.weights:
        if name not in given:
            raise UsageError(f"--weights {name}=...: {name} is not measured; add --model {name}")
    taken = {name: suite.cards.get(name, name) for name in given}
    references = zoo.references(taken.values())
    own = {name: zoo.architecture(text).name for name, text in taken.items()}
    own |= {name: name for name in suite.files}
    return suite.model_copy(
        update={
            "models": tuple(dict.fromkeys(own[name] for name in suite.models)),
            "baseline": own[suite.baseline] if suite.baseline else None,
            "weights": {own[name]: file for name, file in suite.weights.items()},
            "cards": {
                name: text for name, text in references.items() if not zoo.is_plain_name(text)
            },
        }
    )


def check_code(suite: Suite, named: Collection[str]) -> None:
    """Refuse a suite that would run code which its user did not name himself.

    A suite comes from a file or a journal, which anybody may have written; ``named`` are the
    references of models that the user gave.

    Raises:
        UsageError: a model is code, and not among them.
    """
    for name, reference in suite.cards.items():
        code = zoo.code_of(reference)
        if code is not None and reference not in named:
            raise UsageError(
                f"the suite would run the code {code} for its model {name}: if you trust it, name "
                f"it yourself: --model {code}"
            )


def check_files(suite: Suite) -> None:
    """Refuse files that no runtime of the suite runs.

    Raises:
        UsageError: there is one; the message names a runtime for it.
    """
    measured = {cell.model for cell in suite.cells()}
    for name, file in suite.files.items():
        if name not in measured:
            fitting = formats.get(file.format).runtime
            raise UsageError(
                f"{name} is {file.format}, which {', '.join(suite.runtime_names)} cannot run: add "
                f"--runtime {fitting}"
            )


def check_extras(suite: Suite) -> None:
    """Refuse additional measurements that do not fit the suite's metric or runtimes.

    Raises:
        UsageError: a measurement of time with a clock of instructions, one that takes no open
            shapes with a file that has them, or ``benchmark_model`` without a runtime of TFLite
            files, its arguments without it.
    """
    check_files(suite)
    if suite.spec.metric is Metric.INSTRUCTIONS:
        for option, given in _of_time(suite).items():
            if given:
                raise UsageError(f"{option} measures time: leave --metric instructions out")
    if suite.sustained_secs is not None and any(one.shapes for one in suite.files.values()):
        raise UsageError("--sustained takes files of static shapes: leave it or --shape out")
    _check_benchmark_model(suite)


def _of_time(suite: Suite) -> dict[str, bool]:
    """Options that mean nothing where instructions are counted, and whether they were given."""
    return {
        "--rate": suite.rate_hz is not None,
        "--background-load": suite.spec.background_load > 0,
        "--energy": suite.spec.energy,
        "--sustained": suite.sustained_secs is not None,
        "--benchmark-model": suite.benchmark_model is not None,
    }


def _check_benchmark_model(suite: Suite) -> None:
    if suite.benchmark_model is None:
        if suite.benchmark_model_args:
            raise UsageError("--benchmark-model-arg is for a program: add --benchmark-model FILE")
        return
    for argument in suite.benchmark_model_args:
        if argument.removeprefix("--").partition("=")[0] in benchmark_model.PROTOCOL:
            raise UsageError(
                f"--benchmark-model-arg={argument}: bench sets it from its own options"
            )
    if not any(cell.format == BENCHMARK_MODEL_FORMAT for cell in suite.cells()):
        raise UsageError("--benchmark-model runs TFLite files only: add --runtime litert")
