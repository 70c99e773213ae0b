"""Writing a native program, and running it for validation."""

from __future__ import annotations

from shufflenet_deploy import codegen
from shufflenet_deploy.codegen import CpuTarget
from shufflenet_deploy.codegen.generator import int8_program_for
from shufflenet_deploy.codegen.ir.int8 import Int8Program
from shufflenet_deploy.export import image_set
from shufflenet_deploy.export.job import Job, Written, known_ranges, prepared, ranges_of, traced
from shufflenet_deploy.export.native.executable import NativeExecutable
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.quantization.calibration import calibrate
from shufflenet_deploy.records import Artifact
from shufflenet_deploy.zoo.model import Model


def write(job: Job) -> Written:
    """Generate C and compile it to the program ``job.path``."""
    graph, core = job.prepared(), _core(job)
    ranges = known_ranges(job, graph)
    job.report("generating C")
    asked = job.recipe.float_layers
    source = codegen.generate(graph, core, ranges, asked).with_metadata(job.metadata)
    job.report(f"compiling for {core.name} (the first time for {core.arch} takes a minute)")
    codegen.compile_c(source, job.path, product=codegen.Product.PROGRAM)
    parts = tuple(f"{name}." for name in asked)
    unasked = tuple(
        name for name in source.float_layers if name not in asked and not name.startswith(parts)
    )
    return Written("native", float_layers=unasked)


def opened(job: Job) -> NativeExecutable:
    """The program that was just made, or where it cannot run its equivalent for this machine."""
    graph, core = job.prepared(), _core(job)
    return NativeExecutable(
        job.path,
        graph,
        core,
        lambda: codegen.host_equivalent(
            graph, core, known_ranges(job, graph), job.recipe.float_layers
        ),
        lambda: _int8_program(job, graph, core),
    )


def _int8_program(job: Job, graph: Graph, core: CpuTarget) -> Int8Program:
    """The program whose C was compiled."""
    return int8_program_for(graph, core, ranges_of(job, graph), job.recipe.float_layers)


def _core(job: Job) -> CpuTarget:
    return codegen.cpu_target_named(job.request.machine).for_precision(job.request.precision)


def of_artifact(artifact: Artifact, model: Model) -> NativeExecutable:
    """An exported program; where it cannot run here, the same network compiled for this machine.

    Raises:
        UsageError: the replacement needs calibration images that are not there now.
    """
    size = artifact.resolution
    machine = codegen.cpu_target_named(artifact.options["machine"]).for_precision(
        artifact.precision
    )
    graph = traced(model, size)

    def stand_in() -> codegen.GeneratedC:
        made, recipe = artifact.calibration, artifact.recipe
        if made is None or recipe is None:
            return codegen.host_equivalent(graph, machine)
        chosen = image_set.reload(made).within_budget(size)
        images = image_set.Batches(chosen, model.preprocessing, size)
        rounded = prepared(model, size, recipe)
        ranges = calibrate(rounded, images, recipe.method)
        return codegen.host_equivalent(rounded, machine, ranges, recipe.float_layers)

    return NativeExecutable(artifact.path, graph, machine, stand_in)
