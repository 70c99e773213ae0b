"""The generated C file: preamble, kernels, tasks, and the public functions of ``net.h``."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import shufflenet_deploy
from shufflenet_deploy.codegen import preprocess
from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.ir.int8 import Requantization
from shufflenet_deploy.codegen.ir.op import Op, Program
from shufflenet_deploy.codegen.schedule import parallel_schedule
from shufflenet_deploy.network.metadata import Metadata


@dataclass(frozen=True, kw_only=True)
class GeneratedC:
    """A network as C; ``weights`` are read at 64-byte alignment.

    ``input_shape`` and ``output_shape`` are without the batch of one, in fp32 elements.
    """

    name: str
    cpu: CpuTarget
    c: str
    header: str
    weights: bytes
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    arena_bytes: int
    description: str
    """The JSON that ``net_metadata`` is."""
    float_layers: tuple[str, ...] = ()
    """Layers of int8 that are in fp32, in order."""
    preprocess_c: str = ""
    """``net_preprocess.c``; empty unless it was asked for."""

    def with_preprocessing(self, metadata: Metadata) -> GeneratedC:
        """The same with ``net_preprocess`` in a file of its own, declared in ``net.h``."""
        include = "#include <stddef.h>\n#include <stdint.h>\n\n#ifdef __cplusplus"
        header = self.header.replace("#ifdef __cplusplus", include, 1)
        header = header.replace(_ABOUT, f"{preprocess.DECLARATION}\n{_ABOUT}", 1)
        return replace(self, header=header, preprocess_c=preprocess.source(metadata))

    def with_metadata(self, metadata: Metadata) -> GeneratedC:
        """The same with how to feed it and read its logits, in ``net_metadata`` and ``net.h``."""
        described = json.dumps(
            {**json.loads(self.description), "metadata": metadata.model_dump(mode="json")}
        )
        old, new = (_declaration(text) for text in (self.description, described))
        names = ",\n    ".join(_string_literal(name) for name in metadata.class_names)
        table = f"\nconst char *const net_class_names[] = {{\n    {names}}};" if names else ""
        return replace(
            self,
            c=self.c.replace(old, new + table, 1),
            header=self.header.replace(_ABOUT, f"{_preprocessing(metadata)}\n{_ABOUT}", 1),
            description=described,
        )

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights, in hexadecimal."""
        return hashlib.sha256(self.weights).hexdigest()


#: In ``net.h``, above the declaration of ``net_metadata``.
_ABOUT = (
    "/* JSON: name, shapes, machine, precision, layers and their cost, sha256 of the weights. */"
)
#: The least arena that is asked to be in large pages: two of them, wherever it begins.
_HUGE_PAGE_MIN_BYTES = 6 << 20


@dataclass(frozen=True, kw_only=True)
class Preamble:
    """The part of a C file that depends on its precision.

    ``precision`` is fp32, fp16 or int8, ``layout`` describes feature maps for readers, ``prelude``
    has the types and macros of kernels, ``element`` is the C type of weights, ``memory`` declares
    the static arrays, the arena ``A`` among them, and ``poison`` is the byte that fills it in
    tests.
    """

    precision: str
    layout: str
    prelude: str
    element: str
    memory: str
    poison: int
    second: str = ""
    """Kernels of another data type, with their own prelude."""


def assemble(
    program: Program[Any],
    unit: TranslationUnit,
    arena_bytes: int,
    preamble: Preamble,
    float_layers: tuple[str, ...] = (),
) -> GeneratedC:
    """The whole C file of a unit whose kernels and calls are written."""
    weights = bytes(unit.blob)
    return GeneratedC(
        name=program.name,
        cpu=unit.cpu,
        c=_file(program, unit, weights, arena_bytes, preamble),
        header=_header(program, unit, arena_bytes),
        weights=weights,
        input_shape=program.input_shape,
        output_shape=program.output_shape,
        arena_bytes=arena_bytes,
        description=_metadata(program, unit.cpu, preamble.precision, weights),
        float_layers=float_layers,
    )


def _kernels(unit: TranslationUnit) -> str:
    return "\n".join(text.replace("@(", f"{name}(", 1) for text, name in unit.kernels.items())


def _declaration(description: str) -> str:
    return f"const char net_metadata[] = {json.dumps(description)};"


def _preprocessing(metadata: Metadata) -> str:
    """The part of ``net.h`` that says how an image becomes an input, and what the output is."""
    low, high = metadata.value_range
    output = (
        "The output are logits: softmax makes probabilities of them."
        if metadata.output == "logits"
        else "The output is a feature map in the layout of the input."
    )
    names = "extern const char *const net_class_names[NET_OUTPUT_FLOATS];\n"
    return f"""\
/* Scale the image so that the centre crop takes NET_CROP_FRACTION of its tighter side, crop, and
   for each byte and channel: (NET_RANGE_LOW + byte / 255 * (NET_RANGE_HIGH - NET_RANGE_LOW) -
   mean) / std. {output} */
#define NET_INPUT_LAYOUT "{metadata.input_layout}"
#define NET_CHANNEL_ORDER "{metadata.channel_order}"
#define NET_CROP_FRACTION {_float_literal(metadata.crop_fraction)}
#define NET_RANGE_LOW {_float_literal(low)}
#define NET_RANGE_HIGH {_float_literal(high)}
#define NET_MEAN {", ".join(map(_float_literal, metadata.mean))}
#define NET_STD {", ".join(map(_float_literal, metadata.std))}
{names if metadata.class_names else ""}"""


def _string_literal(text: str) -> str:
    """A string constant of C, UTF-8 whatever the compiler takes its files for."""
    safe = re.compile(r"[A-Za-z0-9 ,.;:'()_+*/=<>&-]")
    written = "".join(
        chr(byte) if safe.fullmatch(chr(byte)) else f"\\{byte:03o}" for byte in text.encode()
    )
    return f'"{written}"'


def _float_literal(value: float) -> str:
    """A float constant of C that is the nearest to ``value``."""
    return f"{float(np.float32(value))!r}f"


def _header(program: Program[Any], unit: TranslationUnit, arena: int) -> str:
    """``net.h``: the public interface; sizes are in bytes."""
    cpu, weights = unit.cpu, len(unit.blob)
    shapes = (program.input_shape, program.output_shape)
    inputs, outputs = (int(np.prod(one)) for one in shapes)
    written = [", ".join(map(str, (1, *one))) for one in shapes]
    return f"""\
/* {_comment(program.name)}: generated by shufflenet-deploy; do not edit. */
#ifndef NET_H
#define NET_H

#ifdef __cplusplus
extern "C" {{
#endif

#define NET_NAME "{_comment(program.name)}"
#define NET_MACHINE "{cpu.name}"
#define NET_INPUT_SHAPE {written[0]}
#define NET_OUTPUT_SHAPE {written[1]}
#define NET_INPUT_FLOATS {inputs}
#define NET_OUTPUT_FLOATS {outputs}
#define NET_ARENA_BYTES {arena}
#define NET_WEIGHTS_BYTES {weights}
{_output_macros(program)}
{_ABOUT}
extern const char net_metadata[];
extern const unsigned net_input_floats, net_output_floats;

/* Give the weights: NET_WEIGHTS_BYTES bytes at 64-byte alignment that outlive every run, or NULL
   for those linked in. Returns 0, or -1 when NULL is given and none are linked in. */
int net_init(const void *weights);

/* One inference: a image, channels first, to logits. Not reentrant: the memory is static. */
void net_run(const float *input, float *output);

/* One inference by several threads, which the caller brings: stages 0 to NET_STAGES - 1, one after
   the other, and in each of them every part from 0 to parts - 1 once, by any thread, at any time.
   All parts of a stage must have returned before one of the next begins. 1 <= parts <=
   NET_MOST_PARTS, the same for all of a stage. The logits are those of net_run to the last bit. */
#define NET_STAGES {len(parallel_schedule.plan_phases(unit.tasks))}
#ifndef NET_MOST_PARTS
#define NET_MOST_PARTS 64
#endif
void net_run_part(int stage, int part, int parts, const float *input, float *output);

#ifdef NET_PROBE
/* Called after each layer, with its number, while it is not NULL. */
extern void (*net_probe)(int layer);
struct net_layer {{
    const char *name, *step;
}};
extern const struct net_layer net_layers[];
extern const unsigned net_layer_count;
/* The layers that are done when all parts of a stage are: none if last < first. */
struct net_stage {{
    int first, last;
}};
extern const struct net_stage net_stages[];
#endif

#ifdef __cplusplus
}}
#endif
#endif
"""


def _file(
    program: Program[Any],
    unit: TranslationUnit,
    weights: bytes,
    arena_bytes: int,
    preamble: Preamble,
) -> str:
    cpu, pages, asked = unit.cpu, "", ""
    if arena_bytes >= _HUGE_PAGE_MIN_BYTES:
        pages = _text("c/huge_pages.h")
        asked = "    request_huge_pages();\n"
    kernels = _kernels(unit)
    kernels += preamble.second
    tasks = "\n".join(one.define(number) for number, one in enumerate(unit.tasks))
    layers = "\n".join(f'    {{{json.dumps(op.name)}, "{_kind(op)}"}},' for op in program.ops)
    metadata = _metadata(program, cpu, preamble.precision, weights)
    title = f"{_comment(program.name)}, {preamble.precision}, for {cpu.name}"
    return f"""\
/* {title}: generated by shufflenet-deploy; do not edit.
   {preamble.layout}; one arena; equal layers share a function. */
#include "net.h"

{preamble.prelude}
{_declaration(metadata)}
const unsigned net_input_floats = NET_INPUT_FLOATS, net_output_floats = NET_OUTPUT_FLOATS;

#ifdef NET_WEIGHTS_FILE
__asm__(".section .rodata\\n.balign 64\\nnet_linked_weights:\\n.incbin \\"" NET_WEIGHTS_FILE
        "\\"\\n.previous\\n");
extern const {preamble.element} net_linked_weights[] __attribute__((visibility("hidden")));
#endif
#ifdef NET_PROBE
void (*net_probe)(int layer);
const struct net_layer net_layers[] = {{
{layers}
}};
const unsigned net_layer_count = {len(program.ops)};
const struct net_stage net_stages[] = {{
{parallel_schedule.completed_layer_rows(parallel_schedule.plan_phases(unit.tasks))}
}};
#define PROBE(layer)          \\
    if (__builtin_expect(net_probe != NULL, 0)) \\
    net_probe(layer)
#else
#define PROBE(layer)
#endif
static const {preamble.element} *W;
{preamble.memory}
{pages}
{_text("c/work_split.h")}
{kernels}
{tasks}
int net_init(const void *weights)
{{
{asked}#ifdef NET_WEIGHTS_FILE
    W = weights ? (const {preamble.element} *)weights : net_linked_weights;
#else
    W = (const {preamble.element} *)weights;
#endif
#ifdef NET_POISON
    memset(A, {preamble.poison:#x}, sizeof A);
#endif
    return W ? 0 : -1;
}}

void net_run(const float *input, float *output)
{{
{parallel_schedule.serial_body(unit.tasks)}
}}

void net_run_part(int stage, int part, int parts, const float *input, float *output)
{{
    (void)parts; /* where nothing is worth sharing */
{parallel_schedule.phase_body(unit.tasks)}
}}
"""


def _metadata(program: Program[Any], cpu: CpuTarget, precision: str, weights: bytes) -> str:
    """The metadata embedded in a program, as JSON; ``inspect`` finds it by its first key."""
    return json.dumps(
        {
            "made_by": f"shufflenet-deploy {shufflenet_deploy.__version__}",
            "name": program.name,
            "machine": cpu.name,
            "precision": precision,
            "input": list(program.input_shape),
            "output": list(program.output_shape),
            **_described_outputs(program),
            "layers": Counter(map(_kind, program.ops)),
            "multiply_adds": sum(op.multiply_adds for op in program.ops),
            "parameters": sum(op.parameters for op in program.ops),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
        }
    )


def _described_outputs(program: Program[Any]) -> dict[str, Any]:
    """The metadata of several outputs."""
    if not program.outputs:
        return {}
    return {
        "outputs": [
            {"name": one.name, "shape": list(one.shape), "offset": one.offset}
            for one in program.outputs
        ]
    }


def _output_macros(program: Program[Any]) -> str:
    """The part of ``net.h`` that tells several outputs apart."""
    if not program.outputs:
        return ""
    lines = [
        "/* The outputs, one after the other: names, shapes, and where they begin, in floats. */",
        f"#define NET_OUTPUTS {len(program.outputs)}",
    ]
    for at, one in enumerate(program.outputs):
        shape = ", ".join(map(str, (1, *one.shape)))
        lines += [
            f'#define NET_OUTPUT_{at}_NAME "{_comment(one.name)}"',
            f"#define NET_OUTPUT_{at}_SHAPE {shape}",
            f"#define NET_OUTPUT_{at}_OFFSET {one.offset}",
        ]
    return "\n".join([*lines, ""])


def _kind(op: Op[Any]) -> str:
    return type(op).__name__.lower()


def _comment(text: str) -> str:
    """A text without characters that could end a C comment."""
    return re.sub(r"[^\w .,()+-]", "_", text)


def fp_preamble(unit: TranslationUnit, elements: int) -> Preamble:
    """The preamble of fp32 and fp16 kernels over an arena of so many ``elements``."""
    cpu, n = unit.cpu, unit.cpu.lanes
    names = ("LOAD", "STORE", "SPLAT", "MAX", "MIN", "EVEN", "ODD")
    macros = "\n".join(f"#define {name} {name}{n}" for name in names)
    fp16 = cpu.is_fp16
    kind = "#define FP16\n" if fp16 else ""
    texts = "\n".join(map(_text, ("c/prelude.h", *unit.headers)))
    return Preamble(
        precision="fp16" if fp16 else "fp32",
        layout=f"Planes of pixels, {n} to a vector",
        prelude=f"{kind}#define LANES {n}\n#define vf v{n}\n{macros}\n{texts}",
        element="real",
        memory=f"static real A[{elements}] __attribute__((aligned(64)));",
        poison=0xFF,
    )


def int8_preamble(
    unit: Int8Unit, arithmetic: Requantization, arena_bytes: int, header: str
) -> Preamble:
    """The preamble of int8 kernels; ``header`` is that of their instruction set, if it has one."""
    headers = [
        "portable/int8_types.h",
        "portable/int8_arithmetic.h",
        *([header] if header else []),
        "portable/int8_elementwise.h",
        *unit.headers,
    ]
    prelude = "\n".join(map(_text, headers))
    define = "#define FLOAT_REQUANTIZATION\n" if arithmetic is Requantization.FLOAT else ""
    scratch = max(unit.scratch_bytes, 1) + 128
    own = -(-(max(unit.thread_scratch_bytes, 1) + 128) // 64) * 64
    return Preamble(
        precision="int8",
        layout="Pixels of bytes, channels side by side",
        prelude=define + prelude,
        element="int8_t",
        memory=f"static byte A[{arena_bytes}] __attribute__((aligned(64)));\n"
        f"static byte T[{scratch}] __attribute__((aligned(64), unused));\n"
        f"static byte P[NET_MOST_PARTS][{own}] __attribute__((aligned(64), unused));",
        poison=0x55,
        second=_float_kernels(unit.reals) if unit.reals.kernels else "",
    )


def _float_kernels(unit: TranslationUnit) -> str:
    """The kernels of float segments; what theirs and int8 kernels name alike is defined anew."""
    prelude = fp_preamble(unit, 0).prelude
    names = dict.fromkeys(re.findall(r"^#define (\w+)", prelude, re.MULTILINE))
    undefined = "\n".join(f"#undef {name}" for name in names)
    arena = "#define REAL_A ((real *)(void *)A)\n#define REAL_W ((const real *)(const void *)W)"
    return f"\n/* Layers in float. */\n{undefined}\n{prelude}\n{arena}\n{_kernels(unit)}\n"


def _text(name: str) -> str:
    """A C header of the emitters, which is pasted into the generated file."""
    return (Path(__file__).parent / "emit" / name).read_text(encoding="utf-8")
