"""How large TFLM's tensor arena is for a model, and why: every byte of it, for a host and for Cortex-M.

The arena's head holds what a planner places (activations and scratch buffers), its tail what stays (structs,
quantization parameters, kernels' data). Both are computed here as TFLM's allocator does it, allocation by allocation,
so that the figures are those of the interpreter, to the byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgelab.mcu.kernels import Needs, operator_needs
from edgelab.mcu.layout import Build, Struct, build
from edgelab.mcu.model import Model, Operator, Tensor
from edgelab.mcu.plans import Buffer, Heuristic, Plan, plan_buffers
from edgelab.reading import How, Table

ALIGNMENT = 16
"""Of the arena, of each planned buffer and of what kernels allocate (TFLM's kBufferAlignment)."""
_HANDLE_BYTES = 4
# Operators whose result may take its operand's place: each element is written after that of its place is read.
IN_PLACE = frozenset(
    {
        *("ADD", "SUB", "MUL", "RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "HARD_SWISH", "LOGISTIC", "TANH"),
        *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "QUANTIZE"),
    }
)


@dataclass(frozen=True)
class TailItem:
    """One allocation of the tail.

    ``kind`` is what it is for, ``operator`` the operator that it belongs to (None: the model), ``padding_bytes`` what
    alignment adds below it, ``align_bytes`` the alignment that it asks for.
    """

    kind: str
    operator: int | None
    size_bytes: int
    padding_bytes: int
    align_bytes: int = 1


@dataclass(frozen=True)
class Arena:
    """The arena of a model on one build of TFLM, in bytes.

    ``total`` is what the interpreter reports as used after loading; ``min_workable`` the smallest arena, in steps of
    16 bytes, that it accepts: preparing and planning need room of their own, which for small networks is more.
    ``unknown`` names operators whose needs the table does not hold; with any, the figures are too small. ``deduced``
    names those whose sizes on this build follow from measurements on another.
    """

    target: str
    how: How
    by: str
    head: int
    tail: int
    min_workable: int | None
    limited_by: str = ""
    """What sets ``min_workable``: ``"the plan"``, ``"planning"`` or an operator while its kernel prepares."""
    items: tuple[TailItem, ...] = ()
    plan: Plan | None = None
    unknown: tuple[str, ...] = ()
    deduced: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Head and tail together."""
        return self.head + self.tail

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready data: target, how, head, tail, total, min_workable."""
        keys = ("target", "how", "head", "tail", "total", "min_workable")
        return {key: getattr(self, key) for key in keys}

    def kinds(self) -> dict[str, int]:
        """Bytes of the tail by what they are for, padding included, in the order in which they are allocated."""
        sums: dict[str, int] = {}
        for item in self.items:
            sums[item.kind] = sums.get(item.kind, 0) + item.size_bytes + item.padding_bytes
        return sums

    def table(self) -> Table:
        """Where each byte goes."""
        rows: list[tuple[str, int]] = [("head: planned tensors and scratch buffers", self.head)]
        rows += [(f"tail: {kind}", size) for kind, size in self.kinds().items()]
        rows += [("total", self.total)]
        note = f"{self.how}: {self.by}; the smallest arena that works has {self.min_workable} bytes"
        note += f"; sizes of {', '.join(self.deduced)} are deduced from the host's" if self.deduced else ""
        note += f"; without {', '.join(self.unknown)}, which the table does not hold" if self.unknown else ""
        return Table(f"Arena of {self.target}", ("what", "bytes"), rows, note)

    def __str__(self) -> str:
        return self.table().text()

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def plan_arena(model: Model, target: str, *, heuristic: Heuristic = "greedy") -> Arena:
    """Size the arena of a model on one build of TFLM.

    The figures hold for an arena whose size is a multiple of 16; in others alignment moves them by a few bytes.

    Parameters
    ----------
    model
        From `edgelab.mcu.model.read_model`.
    target
        ``"x86_64-wheel"``: the interpreter of the tflite-micro package; ``"cortex-m-reference"``: a Cortex-M4 with
        TFLM's reference kernels; ``"cortex-m-cmsis-nn"``: with the kernels of CMSIS-NN for cores with DSP instructions.
    heuristic
        ``"greedy"``: TFLM's planner. ``"best"``: what the head would be with the best plan found, with results written
        in place of operands that are not needed any more.

    Raises
    ------
    BadInput
        If the target is not one of these.
    """
    runtime = build(target)
    operators = model.all_operators
    needs = [operator_needs(model, index, runtime) for index in range(len(operators))]
    plan = plan_buffers(planned_buffers(model, needs, in_place=heuristic == "best"), heuristic, alignment=ALIGNMENT)
    tail = _Tail()
    _start(tail, model, runtime, needs)
    peaks = [("loading", 0)]
    requests = 0
    for operator, entry in zip(operators, needs, strict=True):
        before = tail.used
        for size in entry.persistent:
            tail.add("per-channel and other buffers of kernels", Struct(size, ALIGNMENT), operator.index)
        head = runtime.request.size * (requests + runtime.requests_in_reserve)
        head = _temporaries(head, [model.tensors[i] for i in entry.temps], runtime)
        # The tail's allocator does not look where temporaries end. A buffer that comes after them may lie over the
        # end of the last, where nothing is read any more: its zero points and the dimension that they belong to.
        over = 8 + runtime.pointer if entry.buffers_last else 0
        peaks.append((f"operator {operator.index}, {operator.code}", head + max(before, tail.used - over)))
        requests += len(entry.scratch)
    if requests:
        tail.add("scratch handles", Struct(runtime.handle.size * requests, runtime.handle.align))
    for tensor in model.tensors:
        if tensor.variable:
            tail.add("variable tensors", Struct(tensor.size_bytes, ALIGNMENT))
    peaks.append(("planning", _planning(model, requests, len(plan.buffers), tail.used, runtime)))
    for border in (model.inputs, model.outputs):
        _add_border(tail, [model.tensors[i] for i in border], runtime)
    peaks.append(("the plan", plan.size_bytes + tail.used))
    limited_by, most = max(reversed(peaks), key=lambda entry: entry[1])
    return Arena(
        target=target,
        how="modelled",
        by=f"the allocator of {runtime.version}",
        head=plan.size_bytes,
        tail=tail.used,
        min_workable=_up(most, ALIGNMENT),
        limited_by=limited_by,
        items=tuple(tail.items),
        plan=plan,
        unknown=tuple(sorted({o.code for o, n in zip(operators, needs, strict=True) if not n.known})),
        deduced=tuple(sorted({o.code for o, n in zip(operators, needs, strict=True) if n.deduced})),
    )


def planned_buffers(model: Model, needs: Sequence[Needs] = (), *, in_place: bool = False) -> list[Buffer]:
    """The buffers that a planner places, in TFLM's order: tensors, then the scratch buffers of each operator.

    Parameters
    ----------
    model
        The model.
    needs
        Of each operator; without them there are no scratch buffers.
    in_place
        Let results share the memory of operands of elementwise operators that are not needed any more.

    Returns
    -------
    list
        Names are the tensors' with their index, ``"3 conv1"``, and ``"scratch 0 of 2 CONV_2D"``. Step 0 is the inputs',
        operator i runs at step i + 1, in a model without control flow.
    """
    lifetimes = _Lifetimes(model)
    handles = model.variables
    buffers = []
    for tensor in model.tensors:
        size = tensor.size_bytes
        if tensor.dtype == "resource" and tensor.index not in handles:  # the number of a variable, handed to a graph
            size = _HANDLE_BYTES
        if tensor.data is None and not tensor.variable and size:
            offline = model.offline_offsets[tensor.index] if model.offline_offsets is not None else -1
            buffers.append(
                Buffer(
                    _name(tensor),
                    size,
                    # TFLM also places what no operator touches, at a step before the first.
                    lifetimes.first.get(tensor.index, -1),
                    lifetimes.last.get(tensor.index, -1),
                    offline if offline >= 0 else None,
                )
            )
    if in_place:
        buffers = _sharing(model, buffers)
    steps = steps_of(model)
    for operator, entry in zip(model.all_operators, needs, strict=False):
        for k, size in enumerate(entry.scratch):
            begin, end = steps.get(operator.index, (-1, -1))
            buffers.append(Buffer(f"scratch {k} of {operator.index} {operator.code}", size, begin, end))
    return buffers


def steps_of(model: Model) -> dict[int, tuple[int, int]]:
    """The first and the last step of each operator, by its index: of one of control flow all that its graphs take."""
    return _Lifetimes(model).steps


class _Lifetimes:
    """The steps of all operators, and of each tensor that is an input, an output or an operand the first and last.

    Operators of a graph take a step each. One of control flow takes those of the graphs that it runs, too; each of them
    begins with a step for its inputs.
    """

    def __init__(self, model: Model) -> None:
        self.first: dict[int, int] = dict.fromkeys(model.inputs, 0)
        self.last = dict(self.first)
        self.steps: dict[int, tuple[int, int]] = {}
        self._model = model
        self._step = 0
        self._run(model.operators, model.outputs)

    def _run(self, operators: Sequence[Operator], outputs: Sequence[int]) -> None:
        for operator in operators:
            self._step += 1
            begin = self._step
            for index in operator.outputs:
                self.first.setdefault(index, begin)
            for graph in self._model.called(operator):
                self._step += 1
                for index in graph.inputs:
                    self.first.setdefault(index, self._step)
                    self.last[index] = self._step
                self._run(graph.operators, graph.outputs)
            self.last |= dict.fromkeys((i for i in (*operator.inputs, *operator.outputs) if i >= 0), self._step)
            self.steps.setdefault(operator.index, (begin, self._step))
        for index in outputs:
            self.first.setdefault(index, 0)
            self.last[index] = self._step


class _Tail:
    """The tail as it grows down from the arena's end: each allocation ends at a multiple of its alignment."""

    def __init__(self) -> None:
        self.used = 0
        self.items: list[TailItem] = []

    def add(self, kind: str, struct: Struct, operator: int | None = None) -> None:
        below = _up(self.used + struct.size, struct.align)
        self.items.append(TailItem(kind, operator, struct.size, below - self.used - struct.size, struct.align))
        self.used = below


def _start(tail: _Tail, model: Model, runtime: Build, needs: Sequence[Needs]) -> None:
    """What is there before the first kernel prepares."""
    for name in ("allocator", "planner", "micro_allocator"):
        tail.add("allocators and planner", getattr(runtime, name))
    variables = len(set(model.variables.values()))
    if variables:
        tail.add("list of variables", Struct(runtime.variables.size, ALIGNMENT))
        tail.add("list of variables", Struct(runtime.variable.size * variables, ALIGNMENT))
    tail.add("allocators and planner", runtime.builtin_allocator)
    tail.add("allocators and planner", _many(runtime.subgraph, model.graphs))
    tail.add("tensor structs", _many(runtime.eval_tensor, len(model.tensors)))
    operators = model.all_operators
    tail.add("operator structs", _many(runtime.node, len(operators)))
    for operator, entry in zip(operators, needs, strict=True):
        if entry.params is not None:
            tail.add("operators' options", entry.params, operator.index)
    for operator, entry in zip(operators, needs, strict=True):
        if entry.data_bytes:
            tail.add("kernels' data", Struct(entry.data_bytes, ALIGNMENT), operator.index)


def _temporaries(head: int, tensors: Sequence[Tensor], runtime: Build) -> int:
    """Where the head ends when these tensors are built up on it, each with its quantization."""
    for tensor in tensors:
        for struct in (runtime.tensor, *_quantization(tensor, runtime)):
            head = _up(head, struct.align) + struct.size
    return head


def _planning(model: Model, requests: int, buffers: int, tail: int, runtime: Build) -> int:
    """What the planner needs: the scratch requests, an allocation info a buffer, and lists of its own."""
    infos = len(model.tensors) + requests
    head = runtime.request.size * (requests + runtime.requests_in_reserve)
    head = _up(head, runtime.pointer) + runtime.pointer * model.graphs
    head = _up(head, runtime.allocation_info.align) + runtime.allocation_info.size * infos
    return _up(head, ALIGNMENT) + runtime.planner_bytes_per_buffer * buffers + _up(tail, ALIGNMENT)


def _add_border(tail: _Tail, tensors: Sequence[Tensor], runtime: Build) -> None:
    """The model's inputs or outputs: an array of pointers, and for each a tensor with its quantization."""
    tail.add("input and output tensors", Struct(runtime.pointer * len(tensors), ALIGNMENT))
    for tensor in tensors:
        for struct in (runtime.tensor, *_quantization(tensor, runtime)):
            tail.add("input and output tensors", struct)


def _quantization(tensor: Tensor, runtime: Build) -> tuple[Struct, ...]:
    quantization = tensor.quantization
    if quantization is None or not quantization.zero_points:
        return ()
    return runtime.affine, Struct(4 + 4 * len(quantization.scales), 4)


def _sharing(model: Model, buffers: Sequence[Buffer]) -> list[Buffer]:
    names = {b.name: b for b in buffers}
    shared = {}
    for operator in model.operators:
        if operator.code not in IN_PLACE or not operator.outputs:
            continue
        result = _name(model.tensors[operator.outputs[0]])
        operands = [_name(model.tensors[i]) for i in operator.inputs if i >= 0]
        if result in names:
            shared[result] = tuple(
                name
                for name in dict.fromkeys(operands)
                if name in names
                and names[name].size_bytes == names[result].size_bytes
                and names[name].last == operator.index + 1 == names[result].first
            )
    return [replace(b, may_share_with=shared.get(b.name, ())) for b in buffers]


def _name(tensor: Tensor) -> str:
    return f"{tensor.index} {tensor.name}"


def _many(struct: Struct, count: int) -> Struct:
    return Struct(struct.size * count, struct.align)


def _up(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
