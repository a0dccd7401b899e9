"""From a model to ``model.c`` and ``model.h``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from edgelab.errors import BadInput
from edgelab.mcu.cgen import (
    arrange,
    arrange_ram,
    dsp_choice,
    dsp_conv,
    dsp_depthwise,
    dsp_lstm,
    dsp_shared,
    dsp_shared_plane,
    dsp_sum,
    folding,
    joining,
    lower_lstm,
    lower_pairs,
    lower_picks,
    lower_products,
    lowering,
    naming,
    portable,
    portable_lstm,
    portable_moves,
    portable_picks,
    portable_products,
    portable_shared,
    registry,
    settling,
    variables,
)
from edgelab.mcu.cgen.ctext import Program
from edgelab.mcu.cgen.lowering import Step
from edgelab.mcu.model import Model, Tensor

Kernels = Literal["portable", "dsp"]
Minimise = Literal["time", "ram"]
_MANY_CHANNELS = 700
"""Output channels of all layers beyond which their parameters are packed, to hold flash below weights plus 24 KB."""
Emitter = Callable[[Program, Any], None]


@dataclass(frozen=True)
class Sources:
    """Generated C.

    ``files`` holds ``model.c`` and ``model.h``, or those with the prefix for a name; ``layers`` the C functions in the
    order in which they run, each static and never inlined, so that instructions can be counted by function;
    ``macs_by_layer`` their multiply-accumulates. ``arena_bytes`` is the buffer for activations and scratch,
    ``state_bytes`` what the model remembers between inferences, ``weights_bytes`` the constants, tables included.
    """

    files: Mapping[str, str] = field(repr=False)
    layers: tuple[str, ...]
    macs_by_layer: tuple[int, ...]
    kernels: Kernels
    minimise: Minimise
    arena_bytes: int
    state_bytes: int
    weights_bytes: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(self.macs_by_layer)

    def to_dict(self) -> dict[str, Any]:
        """What was generated, without the text, as JSON-ready data."""
        return {
            "files": sorted(self.files),
            "layers": list(self.layers),
            "macs_by_layer": list(self.macs_by_layer),
            "macs": self.macs,
            "kernels": self.kernels,
            "minimise": self.minimise,
            "arena_bytes": self.arena_bytes,
            "state_bytes": self.state_bytes,
            "weights_bytes": self.weights_bytes,
        }


_PORTABLE: dict[type[Step], Emitter] = {
    lowering.Pool: portable.pool,
    lowering.Mean: portable_moves.mean,
    lowering.Binary: portable_moves.binary,
    lowering.Table: portable_moves.table,
    lowering.Move: portable_moves.move,
    lowering.Softmax: portable_moves.softmax,
    lowering.FromFloat: portable_moves.from_float,
    lowering.ToFloat: portable_moves.to_float,
    lowering.Svdf: portable_moves.svdf,
    lower_lstm.Lstm: portable_lstm.lstm,
    lower_picks.Pick: portable_picks.pick,
    lower_pairs.Pair: portable_picks.pair,
    lower_products.Transposed: portable_products.transposed,
    lower_products.Bilinear: portable_products.bilinear,
    lower_products.Matmul: portable_products.matmul,
}


def generate(
    model: Model, *, kernels: Kernels = "portable", minimise: Minimise = "time", prefix: str = naming.PREFIX
) -> Sources:
    """Generate C for an int8 model.

    Parameters
    ----------
    model
        A full-integer int8 model, as `edgelab.mcu.model.read_model` gives it; float32 or uint8 may stand at its
        borders.
    kernels
        ``"portable"``: C99 for any compiler; ``"dsp"``: for Cortex-M4, M7 and M33 with their DSP instructions.
    minimise
        ``"time"``, or ``"ram"``: first layers row by row, so that their activations never stand in memory whole.
    prefix
        What every name begins with, so that several models stand in one image: ``"net"`` makes ``net.c``, ``net.h``,
        ``net_invoke`` and ``NET_INPUTS``.

    Raises
    ------
    BadInput
        If an operator or a type has no kernel, the sentence names it and the mend; or the prefix is no C identifier.
    """
    naming.checked_prefix(prefix)
    if kernels not in ("portable", "dsp") or minimise not in ("time", "ram"):
        raise BadInput(f"kernels={kernels!r}, minimise={minimise!r}: take 'portable' or 'dsp', and 'time' or 'ram'.")
    given, kept = model, variables.resolved(joining.joined(folding.folded(model)))
    model = kept.model
    steps = [settling.settled(kept.apart(step)) for step in registry.lower(model)]
    choice = portable_shared.Choice()
    if kernels == "portable":
        choice = portable_shared.chosen(steps, given, streams=minimise == "ram")
    if kernels == "dsp":
        upright = [arrange.upright(step) for step in _terse(steps)]
        steps = dsp_choice.chosen(upright, given, streams=minimise == "ram")
    _check_borders(model)
    made = (arrange_ram.for_ram if minimise == "ram" else arrange.for_time)(model, steps, kernels=kernels)
    states = _states(model, steps, kept.initial)
    addresses = {**{i: f"((int8_t *)arena + {o})" for i, o in made.layout.tensors.items()}, **states.addresses}
    program = Program(
        addresses,
        {i: f"(arena + {o})" for i, o in made.scratches().items()},
        {i: places for stream in made.streams for i, places in stream.places(addresses).items()},
        terse=frozenset(step.function for step in steps if step.index in choice.small or step.shared),
    )
    for step in steps:
        if step.index in choice.shared:
            portable_shared.layer(program, step)
        else:
            _emit(program, step, made.tiles.get(step.index), kernels)
    for stream in made.streams:
        program.function(stream.function, stream.text())
    running = [step for step in steps if not isinstance(step, lowering.Alias)]
    calls = "".join(f"  {name}();\n" for name in _calls(made))
    return Sources(
        files=naming.named(
            {
                "model.c": _source(model, program, states.text, made.layout.arena_bytes, calls),
                "model.h": _header(model, made.layout.arena_bytes),
            },
            prefix,
        ),
        layers=tuple(step.function for step in running),
        macs_by_layer=tuple(step.macs for step in running),
        kernels=kernels,
        minimise=minimise,
        arena_bytes=made.layout.arena_bytes,
        state_bytes=states.size_bytes,
        weights_bytes=program.constant_bytes,
    )


def _terse(steps: Sequence[Step]) -> list[Step]:
    """The steps for DSP kernels, told to be terse where they have so many channels that flash is short."""
    layers = [step for step in steps if isinstance(step, lowering.Convolution)]
    if sum(step.window.out_channels for step in layers) <= _MANY_CHANNELS:
        return list(steps)
    return [replace(step, terse=True) if isinstance(step, lowering.Convolution) else step for step in steps]


def _calls(made: arrange.Arrangement) -> list[str]:
    """The functions that make up one inference."""
    streams = {stream.steps[0].index: stream.function for stream in made.streams}
    return [
        streams.get(group.steps[0].index, group.steps[0].function)
        for group in made.groups
        if not isinstance(group.steps[0], lowering.Alias)
    ]


def _emit(program: Program, step: Step, tile: int | None, kernels: Kernels) -> None:
    if isinstance(step, lowering.Alias):
        return
    if kernels == "dsp" and isinstance(step, lowering.Binary) and dsp_sum.fits(step):
        dsp_sum.binary(program, step)
    elif kernels == "dsp" and isinstance(step, lower_lstm.Lstm):
        dsp_lstm.lstm(program, step)
    elif not isinstance(step, lowering.Convolution):
        if step.shared and portable_shared.fits(step):
            portable_shared.layer(program, step)
        else:
            _PORTABLE[type(step)](program, step)
    elif tile is None and step.terse and portable_shared.fits(step):
        portable_shared.layer(program, step)
    elif tile is None:
        (portable.depthwise if step.depthwise else portable.convolution)(program, step)
    elif step.shared:
        (dsp_shared_plane if step.depthwise else dsp_shared).layer(program, step, tile)
    else:
        (dsp_depthwise.depthwise if step.depthwise else dsp_conv.convolution)(program, step, tile)


@dataclass(frozen=True)
class _States:
    addresses: dict[int, str]
    text: str
    size_bytes: int


def _states(model: Model, steps: Sequence[Step], variables: Mapping[int, bytes]) -> _States:
    """Memory that lasts from one inference to the next, at its zero point or first value in the beginning."""
    addresses, text, total = {}, "", 0
    for index, content in variables.items():
        name = f"variable_{index:02d}"
        values = ", ".join(str(v - 256 if v > 127 else v) for v in content)
        text += f"static int8_t {name}[{len(content)}] ALIGNED{f' = {{{values}}}' if any(content) else ''};\n"
        addresses[index] = name
        total += len(content)
    for step in steps:
        for state in step.states:
            tensor = model.tensors[state.tensor]
            name = f"{state.name or 'state'}_{step.index:02d}"
            zeros = f" = {{{', '.join([str(state.zero)] * tensor.elements)}}}" if state.zero else ""
            text += f"static {state.dtype}_t {name}[{tensor.elements}]{zeros};\n"
            addresses[state.tensor] = name
            total += tensor.size_bytes
    return _States(addresses, text, total)


def _check_borders(model: Model) -> None:
    for index in (*model.inputs, *model.outputs):
        tensor = model.tensors[index]
        if tensor.dtype not in ("int8", "uint8", "float32") or tensor.data is not None:
            raise BadInput(
                f"The input or output '{tensor.name}' of {model.path.name} is of type {tensor.dtype}; "
                "the generator takes int8, uint8 or float32 there: convert the model with int8 inputs and outputs."
            )


_HEAD = """/* Generated from {name}: do not edit. C99, no heap, no library. */
#include "model.h"

/* A function of its own for each layer, so that a profiler can tell them apart. Its loops stay loops: without the
   attribute a compiler may turn a copy into a call of memcpy, which a bare machine does not have. Functions that only
   call others are SMALL: they are not where the time goes. */
#if defined(__clang__)
#define LAYER static __attribute__((noinline, no_builtin))
#define SMALL static __attribute__((noinline, no_builtin, minsize))
#elif defined(__GNUC__)
#define LAYER static __attribute__((noinline, optimize("no-tree-loop-distribute-patterns")))
#define SMALL static __attribute__((noinline, optimize("Os", "no-tree-loop-distribute-patterns")))
#else
#define LAYER static
#define SMALL static
#endif
/* Before a loop whose copies would take flash and save no time. */
#if defined(__clang__)
#define ROLLED _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define ROLLED _Pragma("GCC unroll 1")
#else
#define ROLLED
#endif
#if defined(__cplusplus)
#define restrict __restrict
#endif
#if defined(__GNUC__)
typedef int32_t __attribute__((may_alias)) word;
#define ALIGNED __attribute__((aligned(16)))
#else
typedef int32_t word;
#define ALIGNED
#endif

/* The memory in which the model works, see the header: the application's where it names one, else one of its own. */
#ifdef EDGELAB_ARENA
extern uint8_t EDGELAB_ARENA[];
#define arena EDGELAB_ARENA
#else
#ifndef EDGELAB_ARENA_ATTRIBUTE
#define EDGELAB_ARENA_ATTRIBUTE
#endif
static uint8_t arena[{arena}] ALIGNED EDGELAB_ARENA_ATTRIBUTE;
#endif
"""
_ASSEMBLY = """/* Functions in assembly take their arguments from registers, which a compiler does not see as a use. */
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#endif
"""
_ASSEMBLY_END = """#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
"""


def _source(model: Model, program: Program, states: str, arena_bytes: int, calls: str) -> str:
    text = _HEAD.format(name=_comment(model.path.name), arena=max(arena_bytes, 1))
    body = "\n".join(program.functions)
    parts = [text, states]
    called = "\n".join([body, *program.helpers.values()])
    parts += [helper for name, helper in portable.HELPERS.items() if re.search(rf"\b{name}\(", called)]
    assembly = any("(naked," in helper for helper in program.helpers.values())
    parts += [_ASSEMBLY, *program.helpers.values(), _ASSEMBLY_END] if assembly else [*program.helpers.values()]
    parts += [*program.constants, body]
    parts.append(_accessor("int8_t *edgelab_input", [program.addresses[i] for i in model.inputs]))
    parts.append(_accessor("const int8_t *edgelab_output", [program.addresses[i] for i in model.outputs]))
    parts.append(f"void edgelab_invoke(void) {{\n{calls}}}\n")
    return _indented("\n".join(parts))


def _accessor(signature: str, addresses: Sequence[str]) -> str:
    cases = "".join(f"  if (i == {i}) return {a};\n" for i, a in enumerate(addresses))
    return f"{signature}(int i) {{\n{cases}  return 0;\n}}\n"


def _comment(name: str) -> str:
    return re.sub(r"[^\w. -]", "_", name)


def _header(model: Model, arena_bytes: int) -> str:
    lines = [
        f"/* Generated from {_comment(model.path.name)}: do not edit. */",
        "#ifndef EDGELAB_MODEL_H",
        "#define EDGELAB_MODEL_H",
        "",
        "#include <stdint.h>",
        "",
        f"#define EDGELAB_INPUTS {len(model.inputs)}",
        f"#define EDGELAB_OUTPUTS {len(model.outputs)}",
        "",
        "/* The memory in which the model works, its inputs and outputs too. To place it, compile model.c with",
        "   -D EDGELAB_ARENA_ATTRIBUTE='__attribute__((section(\".fast\")))'. Models that run one after the other may",
        "   share a buffer of yours: define one of uint8_t, aligned to 16, of the largest EDGELAB_ARENA_BYTES of them",
        '   (in C++ as extern "C"), and compile each with its name, -D EDGELAB_ARENA=my_buffer. Then read the outputs',
        "   of one before the inputs of another are filled. What a model remembers between inferences is not in it. */",
        f"#define EDGELAB_ARENA_BYTES {max(arena_bytes, 1)}",
    ]
    for kind, indices in (("INPUT", model.inputs), ("OUTPUT", model.outputs)):
        for i, index in enumerate(indices):
            lines += ["", *_border(f"EDGELAB_{kind}_{i}", model.tensors[index])]
    lines += [
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        "/* Real number = scale * (integer - zero point). Fill the inputs before each inference: their memory is used",
        "   again while the model runs. The pointer of a float32 tensor may be cast to float *, of a uint8 one to",
        "   uint8_t *. */",
        "int8_t *edgelab_input(int i);",
        "const int8_t *edgelab_output(int i);",
        "void edgelab_invoke(void);",
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        "#endif",
        "",
    ]
    return "\n".join(lines)


def _border(name: str, tensor: Tensor) -> list[str]:
    lines = [
        f"/* {_comment(tensor.name)}: {' x '.join(map(str, tensor.shape)) or 'scalar'}, {tensor.dtype} */",
        f"#define {name}_ELEMENTS {tensor.elements}",
        f"#define {name}_BYTES {tensor.size_bytes}",
    ]
    if tensor.dtype in ("int8", "uint8") and tensor.quantization is not None:
        lines.append(f"#define {name}_SCALE {tensor.quantization.scale!r}f")
        lines.append(f"#define {name}_ZERO_POINT ({tensor.quantization.zero_point})")
    return lines


def _indented(text: str) -> str:
    """Indent by braces: the emitters write blocks without caring how deep they stand."""
    depth, lines = 0, []
    for line in text.split("\n"):
        bare = line.strip()
        if bare.startswith("#") or not bare:
            lines.append(bare)
            continue
        closing = len(bare) - len(bare.lstrip("}"))
        lines.append("  " * max(depth - closing, 0) + bare)
        depth += bare.count("{") - bare.count("}")
    return "\n".join(lines)
