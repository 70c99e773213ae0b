"""One process of a cell that takes images from their bytes to their classes, on the target."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import shufflenet_deploy
from shufflenet_deploy import runtime
from shufflenet_deploy.atomic_files import read_bytes, resource, sha256_file
from shufflenet_deploy.bench import events, failures
from shufflenet_deploy.bench.prepared import BenchContext, PreparedCell
from shufflenet_deploy.errors import ConnectError, DeployError, ParseError, UsageError
from shufflenet_deploy.export import manifest
from shufflenet_deploy.records import Failure, FailureKind, Pipeline
from shufflenet_deploy.runtime import pipeline
from shufflenet_deploy.runtime.agent_file import install_agent
from shufflenet_deploy.runtime.pipeline import PipelineLog

_SCRIPT = "pipeline.py"
#: Files that Pillow decodes wherever it runs.
_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"})
#: More say no more about time, and all of them are pushed.
MOST_IMAGES = 32
_MOST_IMAGE_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of a pipeline: files here, and the sha256 of all of their bytes."""

    paths: tuple[Path, ...]
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Images:
        """One image, or the first ones of a folder in the order of their names.

        Raises:
            UsageError: there is none, or one is too large.
        """
        found = [path] if path.is_file() else sorted(_below(path))[:MOST_IMAGES]
        if not found:
            raise UsageError(f"--end-to-end {path}: no image there ({', '.join(sorted(_ENDINGS))})")
        digest = hashlib.sha256()
        for one in found:
            digest.update(read_bytes(one, what="the image", limit_bytes=_MOST_IMAGE_BYTES))
        return cls(paths=tuple(found), sha256=digest.hexdigest())


def _below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"--end-to-end {folder}: no such image or folder")
    return [one for one in folder.rglob("*") if one.suffix.lower() in _ENDINGS and one.is_file()]


def run_pipeline(
    ready: PreparedCell, context: BenchContext, images: Images, *, process: int
) -> Pipeline:
    """Measure a cell in one process; a failure is a record too.

    Raises:
        ConnectError: the target stayed out of reach.
    """
    spec = context.spec_of(ready.cell)
    started_at = datetime.now(UTC)
    stderr = ""
    found: PipelineLog | Failure
    try:
        argv, env = _command(ready, context, images)
        result = context.session.invoke(
            f"running images through {events.describe(ready.cell)}",
            argv,
            env={**ready.variables(spec), **env},
            timeout_s=spec.timeout_secs,
        )
        stderr = failures.tail(result.stderr)
        try:
            found = pipeline.parse(result.text, images=len(images.paths))
        except ParseError as error:
            found = failures.unexplained(result, error)
    except ConnectError:
        raise
    except UsageError as error:
        found = Failure(kind=FailureKind.UNSUPPORTED, message=str(error))
    except DeployError as error:
        found = failures.failure_of(error, spec.timeout_secs)
    log = found if isinstance(found, PipelineLog) else None
    return Pipeline(
        id=uuid.uuid4().hex,
        suite=context.suite_id,
        started_at=started_at,
        process=process,
        cell=ready.cell,
        artifact=ready.artifact.sha256,
        runtime_version=log.runtime_version if log else None,
        target=context.facts,
        spec=spec,
        images=len(images.paths),
        images_sha256=images.sha256,
        stages=log.stages if log else {},
        total=log.total if log else (),
        top=log.top if log else (),
        failure=found if isinstance(found, Failure) else None,
        tool={
            "version": shufflenet_deploy.__version__,
            "script_sha256": sha256_file(resource("device_scripts", _SCRIPT)),
            "stderr": stderr,
        },
    )


def _command(
    ready: PreparedCell, context: BenchContext, images: Images
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command line, and its environment; everything it needs is on the target then."""
    engine = runtime.get(ready.cell.runtime)
    known = manifest.read(ready.artifact.path)
    if known is None or known.metadata is None:
        raise UsageError(
            f"{ready.artifact.path.name} does not say how an image becomes its input: --end-to-end "
            "is for files of export"
        )
    environment = context.session.with_retry(
        "installing Pillow",
        lambda: context.target.environment(
            lambda facts: pipeline.payload(engine, facts),
            mode=context.suite.payload,
            on_stage=lambda text: context.emit(events.Stage(text=text)),
        ),
    )
    agent = context.agent[0] or install_agent(context.install)
    argv = pipeline.command(
        engine,
        python=environment.python,
        script=context.install(resource("device_scripts", _SCRIPT)),
        agent=agent,
        model=ready.remote,
        recipe=known.metadata.model_dump_json(exclude={"class_names"}),
        images=[context.install(one) for one in images.paths],
        spec=context.spec_of(ready.cell),
    )
    return argv, dict(environment.env)


def is_of(known: Pipeline, ready: PreparedCell, context: BenchContext, images: Images) -> bool:
    """True if a stored process is of this cell, here, with the same file, protocol and images."""
    return (
        (known.cell, known.artifact, known.images_sha256)
        == (ready.cell, ready.artifact.sha256, images.sha256)
        and known.target.host == context.facts.host
        and known.spec.protocol == context.spec_of(ready.cell).protocol
    )
