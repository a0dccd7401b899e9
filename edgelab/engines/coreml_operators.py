"""The operators of a Core ML program (MIL), one function each, in PyTorch.

Arguments carry the names that Apple's specification gives them
(https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html). Values are float32, int32 or
bool tensors; what a program computes in float16 is rounded by `edgelab.engines.coreml_program` after each operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

Operator = Callable[..., Any]
Tensor = torch.Tensor

OPERATORS: dict[str, Operator] = {}


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Enter the decorated function under the names that a program calls it by (its own if none is given)."""

    def enter(function: Operator) -> Operator:
        for name in names or (function.__name__.removesuffix("_"),):
            OPERATORS[name] = function
        return function

    return enter


def whole_numbers(value: Any) -> list[int]:
    """A constant argument as a list of Python integers."""
    return [int(n) for n in torch.as_tensor(value).reshape(-1).tolist()]


def number(value: Any) -> float:
    """A constant argument as one Python number."""
    return float(value.item()) if isinstance(value, Tensor) else float(value)


_UNARY: dict[str, Operator] = {
    "abs": torch.abs,
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "floor": torch.floor,
    "identity": lambda x: x,
    "logical_not": torch.logical_not,
    "relu": torch.relu,
    "relu6": functional.relu6,
    "round": torch.round,
    "sigmoid": torch.sigmoid,
    "sign": torch.sign,
    "silu": functional.silu,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "softplus": functional.softplus,
    "softsign": functional.softsign,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}
_BINARY: dict[str, Operator] = {
    "add": torch.add,
    "equal": torch.eq,
    "floor_div": lambda x, y: torch.div(x, y, rounding_mode="floor"),
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mod": torch.remainder,
    "mul": torch.mul,
    "not_equal": torch.ne,
    "pow": torch.pow,
    "sub": torch.sub,
}
for _name, _function in _UNARY.items():
    OPERATORS[_name] = lambda x, _function=_function: _function(x)
for _name, _function in _BINARY.items():
    OPERATORS[_name] = lambda x, y, _function=_function: _function(torch.as_tensor(x), torch.as_tensor(y))


@operator()
def real_div(x: Tensor, y: Tensor) -> Tensor:
    """Quotient; of two whole numbers a whole number, as the specification says."""
    quotient = torch.div(x, y)
    return quotient if x.is_floating_point() else torch.trunc(quotient).to(x.dtype)


@operator()
def log(x: Tensor, epsilon: Any = 1e-45) -> Tensor:
    """Natural logarithm of x + epsilon."""
    return torch.log(x + number(epsilon))


@operator()
def rsqrt(x: Tensor, epsilon: Any = 1e-12) -> Tensor:
    """1 / sqrt(x + epsilon)."""
    return torch.rsqrt(x + number(epsilon))


@operator()
def inverse(x: Tensor, epsilon: Any = 1e-4) -> Tensor:
    """1 / (x + epsilon)."""
    return torch.reciprocal(x + number(epsilon))


@operator()
def clip(x: Tensor, alpha: Any, beta: Any) -> Tensor:
    """X held between alpha and beta."""
    return torch.clamp(x, number(alpha), number(beta))


@operator()
def threshold(x: Tensor, alpha: Any) -> Tensor:
    """The larger of x and alpha."""
    return torch.clamp(x, min=number(alpha))


@operator()
def elu(x: Tensor, alpha: Any) -> Tensor:
    """X where positive, alpha (exp(x) - 1) elsewhere."""
    return functional.elu(x, number(alpha))


@operator()
def leaky_relu(x: Tensor, alpha: Any) -> Tensor:
    """X where positive, alpha x elsewhere."""
    return functional.leaky_relu(x, number(alpha))


@operator()
def thresholded_relu(x: Tensor, alpha: Any) -> Tensor:
    """X where at least alpha, 0 elsewhere."""
    return torch.where(x >= number(alpha), x, torch.zeros_like(x))


@operator()
def linear_activation(x: Tensor, alpha: Any, beta: Any) -> Tensor:
    """Alpha x + beta."""
    return number(alpha) * x + number(beta)


@operator()
def scaled_tanh(x: Tensor, alpha: Any, beta: Any) -> Tensor:
    """Alpha tanh(beta x)."""
    return number(alpha) * torch.tanh(number(beta) * x)


@operator()
def sigmoid_hard(x: Tensor, alpha: Any, beta: Any) -> Tensor:
    """Alpha x + beta held between 0 and 1."""
    return torch.clamp(number(alpha) * x + number(beta), 0.0, 1.0)


@operator()
def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """X where positive, alpha x elsewhere; one alpha a channel."""
    slope = alpha.reshape(1, -1, *[1] * (x.ndim - 2))
    return torch.where(x > 0, x, slope * x)


@operator()
def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Alpha log(1 + exp(beta x)), one pair a channel."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    return alpha.reshape(shape) * functional.softplus(beta.reshape(shape) * x)


@operator()
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    """Gaussian error linear unit, exact or by one of the two approximations of the specification."""
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return functional.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


@operator()
def softmax(x: Tensor, axis: Any = -1) -> Tensor:
    """Shares that add up to 1 along an axis."""
    return torch.softmax(x, int(number(axis)))


@operator()
def cast(x: Tensor, dtype: str) -> Tensor:
    """X in another type; float16 stays float32 here and is rounded afterwards."""
    kinds = {"bool": torch.bool, "fp16": torch.float32, "fp32": torch.float32}
    return x.to(kinds.get(dtype, torch.int32))


@operator()
def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """A where the condition holds, b elsewhere."""
    return torch.where(cond, a, b)


# Linear algebra


@operator()
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X times the transposed weight, plus the bias."""
    return functional.linear(x, weight, bias)


@operator()
def matmul(x: Tensor, y: Tensor, transpose_x: Any = False, transpose_y: Any = False) -> Tensor:
    """Matrix product of the last two axes, either turned first."""
    x = x.transpose(-1, -2) if transpose_x else x
    return torch.matmul(x, y.transpose(-1, -2) if transpose_y else y)


@operator()
def einsum(values: Sequence[Tensor], equation: str) -> Tensor:
    """Products and sums as the equation says."""
    return torch.einsum(equation, *values)


@operator()
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """Softmax(q k^T / sqrt(d)) v."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if attn_mask is not None:
        masked = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
        scores = masked
    return torch.softmax(scores, -1) @ value


# Normalisation


@operator()
def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Any = 1e-5,
) -> Tensor:
    """Channels scaled by stored means and variances."""
    return functional.batch_norm(x, mean, variance, gamma, beta, False, 0.0, number(epsilon))


@operator()
def instance_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: Any = 1e-5) -> Tensor:
    """Each channel of each item with mean 0 and variance 1, then scaled."""
    axes = tuple(range(2, x.ndim))
    shape = (1, -1, *[1] * (x.ndim - 2))
    y = _standardised(x, axes, number(epsilon))
    y = y if gamma is None else y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


@operator()
def layer_norm(
    x: Tensor, axes: Any = None, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: Any = 1e-5
) -> Tensor:
    """Mean 0 and variance 1 over the named axes, then scaled."""
    over = sorted(a % x.ndim for a in (range(x.ndim) if axes is None else whole_numbers(axes)))
    shape = [x.shape[a] if a in over else 1 for a in range(x.ndim)]
    y = _standardised(x, tuple(over), number(epsilon))
    y = y if gamma is None else y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


@operator()
def l2_norm(x: Tensor, epsilon: Any = 1e-6) -> Tensor:
    """The last three axes divided by their length."""
    return x / torch.sqrt(x.square().sum((-3, -2, -1), keepdim=True) + number(epsilon))


@operator()
def local_response_norm(x: Tensor, size: Any, alpha: Any = 1e-4, beta: Any = 0.75, k: Any = 1.0) -> Tensor:
    """Channels divided by the power of their neighbours."""
    return functional.local_response_norm(x, int(number(size)), number(alpha), number(beta), number(k))


def _standardised(x: Tensor, axes: tuple[int, ...], epsilon: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + epsilon)
