"""Time and energy of one inference on a device, modelled from the operators' arithmetic, with an error band.

Instructions on a Cortex-M4 with CMSIS-NN are a sum over operators, with costs fitted to the 16 emulated networks of
``tests/data/mcu_oracle``. Cycles follow by one factor a core, fitted to published MLPerf Tiny latencies. What remains
is the software stack: on the same board the slowest published one takes six times the fastest, and the band spans all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgelab.mcu.devices import Device
from edgelab.mcu.model import Model, Operator
from edgelab.reading import Reading

CYCLES_PER_INSTRUCTION = 1.25
"""Of a Cortex-M4: on four networks microTVM with CMSIS-NN took 1.1 to 1.5 times the modelled instructions."""

# Instructions of a Cortex-M4 with CMSIS-NN, by least squares on the emulated counts.
_PER_MAC = {
    "CONV_2D": 2.1,
    "DEPTHWISE_CONV_2D": 12.5,
    "FULLY_CONNECTED": 3.1,
    "TRANSPOSE_CONV": 10.0,
    "BATCH_MATMUL": 5.0,
    "SVDF": 5.0,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 5.0,
}
_PER_CONVOLVED_OUTPUT = 40.0
_PER_FUNCTION_VALUE = 570.0
_PER_BROADCAST_ELEMENT = 300.0
_PER_AVERAGED_ELEMENT = 90.0
_PER_ELEMENT = 40.0
_PER_OPERATOR = 800.0
_FUNCTIONS = frozenset({"TANH", "LOGISTIC", "ELU", "EXP", "LOG", "LOG_SOFTMAX"})
_ARITHMETIC = frozenset({"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU"})
_FREE = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
_LSTM_MATRICES = range(1, 9)  # four from the input, four from the state


@dataclass(frozen=True)
class CoreSpeed:
    """Cycles of a core for the work of one Cortex-M4 cycle, with the band of published results around it."""

    factor: float
    low: float
    high: float
    basis: str


_M4 = CoreSpeed(1.0, 0.25, 2.3, "16 MLPerf Tiny results of four software stacks on this core")
_HELIUM = "no published anchor in this project: the ratio of vector widths, so the band is wide"
_NEON = "no published anchor in this project: the peak of one core's vector unit, so the band is wide"
_SPEEDS = {
    "cortex-m0plus": CoreSpeed(3.0, 0.4, 2.5, "no published anchor in this project: it lacks the DSP instructions"),
    "cortex-m4": _M4,
    "cortex-m7": CoreSpeed(0.55, 0.25, 2.3, "4 MLPerf Tiny results, and the band of the Cortex-M4"),
    "cortex-m33": CoreSpeed(0.9, 0.25, 2.3, "4 MLPerf Tiny results, and the band of the Cortex-M4"),
    "cortex-m55": CoreSpeed(0.2, 0.3, 3.0, _HELIUM),
    "xtensa-lx6": CoreSpeed(4.0, 0.5, 3.2, "3 MLPerf Tiny results and Espressif's person detection, with ESP-NN"),
    "xtensa-lx7": CoreSpeed(0.36, 0.4, 3.0, "Espressif's person detection with ESP-NN, one result"),
    "riscv32": CoreSpeed(1.9, 0.4, 2.5, "Espressif's person detection with ESP-NN on an ESP32-C3, one result"),
    "cortex-a53": CoreSpeed(0.12, 0.3, 4.0, _NEON),
    "cortex-a72": CoreSpeed(0.07, 0.3, 4.0, _NEON),
    "cortex-a76": CoreSpeed(0.025, 0.3, 4.0, _NEON),
    "cortex-a78ae": CoreSpeed(0.025, 0.3, 4.0, _NEON),
    "cortex-x3": CoreSpeed(0.015, 0.3, 4.0, _NEON),
    "cortex-x4": CoreSpeed(0.015, 0.3, 4.0, _NEON),
    "apple-everest": CoreSpeed(0.015, 0.3, 4.0, _NEON),
}


@dataclass(frozen=True)
class Estimate:
    """Latency and energy of one inference with their bands; None, and why in ``note``, where there is no basis."""

    latency: Reading | None
    energy: Reading | None
    note: str = ""


def estimate(
    model: Model, device: Device, accelerated_ms: float = 0.0, on_core: Iterable[int] | None = None
) -> Estimate:
    """Model time and energy of one inference on one core of a device.

    Parameters
    ----------
    model
        An int8 model; for other types there is no basis.
    device
        Where it runs, with its clock and its power while active.
    accelerated_ms
        Time that an accelerator takes for its part of the network.
    on_core
        Indices of the operators that the core runs; None for all.

    Returns
    -------
    Estimate
        Both readings are modelled, with the band as their interval.
    """
    speed = _SPEEDS.get(device.core)
    if speed is None:
        return Estimate(None, None, f"There is no model of the core {device.core}.")
    if model.control_flow:
        return Estimate(None, None, f"Time is not modelled where {model.control_flow} decides what runs.")
    if not _integer(model):
        return Estimate(None, None, "Time is modelled for int8 networks alone; this one computes in another type.")
    chosen = None if on_core is None else set(on_core)
    work = sum(instructions(model, op) for op in model.operators if chosen is None or op.index in chosen)
    core_ms = work * CYCLES_PER_INSTRUCTION * speed.factor / (device.clock_mhz * 1000)
    value = core_ms + accelerated_ms
    low, high = core_ms * speed.low + accelerated_ms / 2, core_ms * speed.high + accelerated_ms * 2
    parts = []
    if work:
        parts.append(f"{device.core} at {device.clock_mhz} MHz, band: {speed.basis}")
    if accelerated_ms:
        within = "taken as right within a factor of 2"
        parts.append(f"{accelerated_ms:.3g} ms on {device.accelerator} at {device.clock_mhz} MHz by vela, {within}")
    by = "; ".join([f"{macs(model):,} multiply-accumulates", *parts])
    latency = Reading(value, "ms", "modelled", by, low, high)
    if device.active_mw is None:
        return Estimate(latency, None, "No figure for the power of this device was found.")
    if device.active_part:
        return Estimate(latency, None, f"The power of this device was found for its {device.active_part} alone.")
    power = device.active_mw / 1000
    again = ", not read again" if "active_mw" in device.unread else ""
    by_power = f"{by}; at {device.active_mw:g} mW, quoted{again} ({device.active_note})"
    return Estimate(latency, Reading(value * power, "mJ", "modelled", by_power, low * power, high * power))


def instructions(model: Model, operator: Operator) -> float:
    """Instructions of one int8 operator on a Cortex-M4 with CMSIS-NN, modelled."""
    output = sum(model.tensors[i].elements for i in operator.outputs)
    operands = [model.tensors[i] for i in operator.inputs if i >= 0]
    largest = max([output, *(t.elements for t in operands if t.data is None)])
    code = operator.code
    if code in _FREE:
        return _PER_OPERATOR
    if code in _PER_MAC:
        convolved = _PER_CONVOLVED_OUTPUT * output if code in ("CONV_2D", "TRANSPOSE_CONV") else 0.0
        return _PER_OPERATOR + _PER_MAC[code] * operator_macs(model, operator) + convolved
    if code in _FUNCTIONS:
        return _PER_OPERATOR + _PER_FUNCTION_VALUE * output
    if code == "MEAN":
        return _PER_OPERATOR + _PER_AVERAGED_ELEMENT * largest
    broadcast = code in _ARITHMETIC and len({t.elements for t in operands}) > 1
    return _PER_OPERATOR + (_PER_BROADCAST_ELEMENT if broadcast else _PER_ELEMENT) * largest


def macs(model: Model) -> int | None:
    """Multiply-accumulates of one inference, from the shapes; where IF decides, of the branch that has more.

    None where WHILE decides how often something runs.
    """
    return None if any(op.code == "WHILE" for op in model.running) else _macs(model, model.operators)


def _macs(model: Model, operators: Sequence[Operator]) -> int:
    branches = [
        max((_macs(model, graph.operators) for graph in model.called(op) if not graph.once), default=0)
        for op in operators
    ]
    return sum(branches) + sum(operator_macs(model, operator) for operator in operators)


def operator_macs(model: Model, operator: Operator) -> int:
    """Multiply-accumulates of one operator, from the shapes; 0 for operators without weights."""
    if (
        operator.code not in _PER_MAC
        or len(operator.inputs) < 2
        or not operator.outputs
        or min(operator.inputs[:2]) < 0
    ):
        return 0
    first, second = (model.tensors[i].shape for i in operator.inputs[:2])
    out = model.tensors[operator.outputs[0]].shape
    rest = [model.tensors[i] for i in operator.inputs[2:] if i >= 0]
    count = math.prod(out)
    match operator.code:
        case "CONV_2D":
            count *= math.prod(second[1:])
        case "DEPTHWISE_CONV_2D":
            count *= math.prod(second[1:3])
        case "FULLY_CONNECTED":
            count *= second[-1] if second else 0
        case "BATCH_MATMUL":
            count *= first[-1] if first else 0
        case "TRANSPOSE_CONV":
            count = rest[0].elements * math.prod(second[:3]) if rest else 0
        case "SVDF":  # the filters of features and of time
            count = (math.prod(second) + (rest[0].elements if rest else 0)) * (out[0] if out else 1)
        case _:  # an LSTM: eight matrices in each step of time of each sequence
            matrices = [operator.inputs[i] for i in _LSTM_MATRICES if i < len(operator.inputs)]
            count = math.prod(first[:-1]) * sum(model.tensors[i].elements for i in matrices if i >= 0)
    return count


def _integer(model: Model) -> bool:
    weighted = [op for op in model.operators if op.code in _PER_MAC]
    computed = weighted or model.operators
    return all(model.tensors[op.outputs[0]].dtype == "int8" for op in computed if op.outputs)
