"""The C file of a network, in floats or in bytes: what stands around its kernels."""

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
from shufflenet_deploy.export.metadata import Metadata
from shufflenet_deploy.export.native import stages
from shufflenet_deploy.export.native.machine import Machine
from shufflenet_deploy.export.native.steps import Program, Step
from shufflenet_deploy.export.native.text import Unit


@dataclass(frozen=True, kw_only=True)
class Source:
    """A network as C. ``weights`` is what the code expects at 64-byte alignment.

    ``input_shape`` and ``output_shape`` are without the batch of one, in floats.
    """

    name: str
    machine: Machine
    c: str
    header: str
    weights: bytes
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    arena_bytes: int
    description: str
    """The JSON that ``net_metadata`` is."""

    def with_metadata(self, metadata: Metadata) -> Source:
        """The same with how to feed it and read its scores, in ``net_metadata`` and ``net.h``."""
        described = json.dumps(
            {**json.loads(self.description), "metadata": metadata.model_dump(mode="json")}
        )
        old, new = (_declared(text) for text in (self.description, described))
        names = ",\n    ".join(_string(name) for name in metadata.class_names)
        table = f"\nconst char *const net_class_names[] = {{\n    {names}}};" if names else ""
        return replace(
            self,
            c=self.c.replace(old, new + table, 1),
            header=self.header.replace(_ABOUT, f"{_preprocessing(metadata)}\n{_ABOUT}", 1),
            description=described,
        )

    @property
    def sha256(self) -> str:
        """Of the weights."""
        return hashlib.sha256(self.weights).hexdigest()


#: In ``net.h``, above the declaration of ``net_metadata``.
_ABOUT = (
    "/* JSON: name, shapes, machine, precision, layers and their cost, sha256 of the weights. */"
)

#: The least arena that is asked to be in large pages: two of them, wherever it begins.
_LARGE_BYTES = 6 << 20


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What differs around the kernels of one kind of numbers and another.

    ``precision`` is fp32, fp16 or int8, ``layout`` says how values lie in memory, ``prelude`` is
    what kernels need, ``element`` the C type of weights, ``memory`` the static arrays, the arena
    ``A`` among them, and ``poison`` what fills it to show what is read before it is written.
    """

    precision: str
    layout: str
    prelude: str
    element: str
    memory: str
    poison: int


def framed(program: Program[Any], unit: Unit, arena_bytes: int, frame: Frame) -> Source:
    """A unit whose kernels and calls are written, as a whole."""
    weights = bytes(unit.blob)
    return Source(
        name=program.name,
        machine=unit.machine,
        c=_file(program, unit, weights, arena_bytes, frame),
        header=_header(program, unit, arena_bytes),
        weights=weights,
        input_shape=program.input_shape,
        output_shape=program.output_shape,
        arena_bytes=arena_bytes,
        description=_metadata(program, unit.machine, frame.precision, weights),
    )


def _declared(description: str) -> str:
    return f"const char net_metadata[] = {json.dumps(description)};"


def _preprocessing(metadata: Metadata) -> str:
    """The part of ``net.h`` that says how an image becomes an input, and what the output is."""
    low, high = metadata.value_range
    names = "extern const char *const net_class_names[NET_OUTPUT_FLOATS];\n"
    return f"""\
/* Scale the image so that the centre crop takes NET_CROP_FRACTION of its tighter side, crop, and
   for each byte and channel: (NET_RANGE_LOW + byte / 255 * (NET_RANGE_HIGH - NET_RANGE_LOW) -
   mean) / std. The output are logits: softmax makes probabilities of them. */
#define NET_INPUT_LAYOUT "{metadata.input_layout}"
#define NET_CHANNEL_ORDER "{metadata.channel_order}"
#define NET_CROP_FRACTION {_literal(metadata.crop_fraction)}
#define NET_RANGE_LOW {_literal(low)}
#define NET_RANGE_HIGH {_literal(high)}
#define NET_MEAN {", ".join(map(_literal, metadata.mean))}
#define NET_STD {", ".join(map(_literal, metadata.std))}
{names if metadata.class_names else ""}"""


def _string(text: str) -> str:
    """A string constant of C, UTF-8 whatever the compiler takes its files for."""
    safe = re.compile(r"[A-Za-z0-9 ,.;:'()_+*/=<>&-]")
    written = "".join(
        chr(byte) if safe.fullmatch(chr(byte)) else f"\\{byte:03o}" for byte in text.encode()
    )
    return f'"{written}"'


def _literal(value: float) -> str:
    """A float constant of C that is the nearest to ``value``."""
    return f"{float(np.float32(value))!r}f"


def _header(program: Program[Any], unit: Unit, arena: int) -> str:
    """``net.h``; sizes are in bytes."""
    machine, weights = unit.machine, len(unit.blob)
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
#define NET_MACHINE "{machine.name}"
#define NET_INPUT_SHAPE {written[0]}
#define NET_OUTPUT_SHAPE {written[1]}
#define NET_INPUT_FLOATS {inputs}
#define NET_OUTPUT_FLOATS {outputs}
#define NET_ARENA_BYTES {arena}
#define NET_WEIGHTS_BYTES {weights}

{_ABOUT}
extern const char net_metadata[];
extern const unsigned net_input_floats, net_output_floats;

/* Give the weights: NET_WEIGHTS_BYTES bytes at 64-byte alignment that outlive every run, or NULL
   for those linked in. Returns 0, or -1 when NULL is given and none are linked in. */
int net_init(const void *weights);

/* One inference: a picture, channels first, to scores. Not reentrant: the memory is static. */
void net_run(const float *input, float *output);

/* One inference by several threads, which the caller brings: stages 0 to NET_STAGES - 1, one after
   the other, and in each of them every part from 0 to parts - 1 once, by any thread, at any time.
   All parts of a stage must have returned before one of the next begins. 1 <= parts <=
   NET_MOST_PARTS, the same for all of a stage. The scores are those of net_run to the last bit. */
#define NET_STAGES {len(stages.staged(unit.portions))}
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


def _file(program: Program[Any], unit: Unit, weights: bytes, arena_bytes: int, frame: Frame) -> str:
    machine, pages, asked = unit.machine, "", ""
    if arena_bytes >= _LARGE_BYTES:
        pages = Path(__file__).with_name("pages.h").read_text(encoding="utf-8")
        asked = "    large_pages();\n"
    kernels = "\n".join(text.replace("@(", f"{name}(", 1) for text, name in unit.kernels.items())
    portions = "\n".join(one.define(number) for number, one in enumerate(unit.portions))
    layers = "\n".join(
        f'    {{{json.dumps(step.name)}, "{_kind(step)}"}},' for step in program.steps
    )
    metadata = _metadata(program, machine, frame.precision, weights)
    title = f"{_comment(program.name)}, {frame.precision}, for {machine.name}"
    return f"""\
/* {title}: generated by shufflenet-deploy; do not edit.
   {frame.layout}; one arena; equal layers share a function. */
#include "net.h"

{frame.prelude}
{_declared(metadata)}
const unsigned net_input_floats = NET_INPUT_FLOATS, net_output_floats = NET_OUTPUT_FLOATS;

#ifdef NET_WEIGHTS_FILE
__asm__(".section .rodata\\n.balign 64\\nnet_linked_weights:\\n.incbin \\"" NET_WEIGHTS_FILE
        "\\"\\n.previous\\n");
extern const {frame.element} net_linked_weights[] __attribute__((visibility("hidden")));
#endif
#ifdef NET_PROBE
void (*net_probe)(int layer);
const struct net_layer net_layers[] = {{
{layers}
}};
const unsigned net_layer_count = {len(program.steps)};
const struct net_stage net_stages[] = {{
{stages.layers_of(stages.staged(unit.portions))}
}};
#define PROBE(layer)          \\
    if (__builtin_expect(net_probe != NULL, 0)) \\
    net_probe(layer)
#else
#define PROBE(layer)
#endif
static const {frame.element} *W;
{frame.memory}
{pages}
{stages.prelude()}
{kernels}
{portions}
int net_init(const void *weights)
{{
{asked}#ifdef NET_WEIGHTS_FILE
    W = weights ? (const {frame.element} *)weights : net_linked_weights;
#else
    W = (const {frame.element} *)weights;
#endif
#ifdef NET_POISON
    memset(A, {frame.poison:#x}, sizeof A);
#endif
    return W ? 0 : -1;
}}

void net_run(const float *input, float *output)
{{
{stages.whole(unit.portions)}
}}

void net_run_part(int stage, int part, int parts, const float *input, float *output)
{{
    (void)parts; /* where nothing is worth sharing */
{stages.shared(unit.portions)}
}}
"""


def _metadata(program: Program[Any], machine: Machine, precision: str, weights: bytes) -> str:
    """What a program says of itself, as JSON: ``inspect`` finds it by its first key."""
    return json.dumps(
        {
            "made_by": f"shufflenet-deploy {shufflenet_deploy.__version__}",
            "name": program.name,
            "machine": machine.name,
            "precision": precision,
            "input": list(program.input_shape),
            "output": list(program.output_shape),
            "layers": Counter(map(_kind, program.steps)),
            "multiply_adds": sum(step.multiply_adds for step in program.steps),
            "parameters": sum(step.parameters for step in program.steps),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
        }
    )


def _kind(step: Step[Any]) -> str:
    return type(step).__name__.lower()


def _comment(text: str) -> str:
    """A text that ends no comment."""
    return re.sub(r"[^\w .,()+-]", "_", text)
