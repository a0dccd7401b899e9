"""Losses with which a small network learns from a large one.

All take logits (N, classes) or features (N, C, ...) as tensors and give a tensor of one value, through which gradients
flow to the student. The teacher's side is data: no gradient reaches it.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as f

from edgelab.errors import BadInput

Tensor = torch.Tensor


def soft_targets(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Probabilities (N, classes) of logits divided by a temperature (Hinton, Vinyals and Dean 2015).

    Raises
    ------
    BadInput
        If the temperature is not above 0.

    Examples
    --------
    >>> soft_targets(torch.tensor([[4.0, 2.0, 0.0]]), 2.0).round(decimals=2)
    tensor([[0.6700, 0.2400, 0.0900]])
    """
    return f.softmax(logits / _temperature(temperature), dim=1)


def kd_loss(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """T squared times the Kullback-Leibler divergence from teacher to student at temperature T, mean over the items.

    The gradient with respect to a student's logit is T (softmax(z/T) - softmax(t/T)) / N: the factor keeps it of the
    size of the gradient of hard labels whatever T is (Hinton, Vinyals and Dean 2015, section 2).

    Parameters
    ----------
    student, teacher
        Logits (N, classes).
    temperature
        Above 0; 1 leaves the probabilities as they are.

    Raises
    ------
    BadInput
        If the shapes differ.

    Examples
    --------
    >>> kd_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])).item()
    0.0
    """
    same_classes(student, teacher)
    t = _temperature(temperature)
    ours, theirs = f.log_softmax(student / t, dim=1), f.log_softmax(teacher.detach() / t, dim=1)
    return t * t * (theirs.exp() * (theirs - ours)).sum(dim=1).mean()


def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float = 4.0, alpha: float = 0.9
) -> Tensor:
    """``alpha`` of `kd_loss` and ``1 - alpha`` of the cross-entropy with the labels (N,).

    Items whose label is -1 have none: they count in the soft part alone.

    Raises
    ------
    BadInput
        If ``alpha`` lies outside 0 to 1, or the shapes differ.

    Examples
    --------
    >>> logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> loss = distillation_loss(logits, logits, labels, alpha=0.0)
    >>> bool(loss == f.cross_entropy(logits, labels))
    True
    """
    if not 0 <= alpha <= 1:
        raise BadInput(f"alpha={alpha}: the share of the soft targets lies between 0 and 1.")
    soft = kd_loss(student, teacher, temperature) if alpha > 0 else student.sum() * 0
    labelled = labels >= 0
    # the sum over the labelled ones, divided by all: an item without a label must not make the others louder
    hard = f.cross_entropy(student[labelled], labels[labelled], reduction="sum") / len(labels)
    return alpha * soft + (1 - alpha) * hard


def hint_loss(student: Tensor, teacher: Tensor, regressor: nn.Module | None = None) -> Tensor:
    """Mean squared difference of two layers' features, the student's first passed through a regressor.

    Parameters
    ----------
    student, teacher
        Features (N, C, ...). A regressor (a 1x1 convolution, see `make_regressor`) brings the student's channels to
        the teacher's; None where they agree. Where the student's map is of another size, the larger map is averaged.

    Raises
    ------
    BadInput
        If the channels differ after the regressor.

    Notes
    -----
    FitNets (Romero et al. 2015) with the mean in place of half the sum, so that its size does not hang on the layer.

    Examples
    --------
    >>> hint_loss(torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)).item()
    1.0
    """
    ours = student if regressor is None else regressor(student)
    ours, theirs = same_size(ours, teacher.detach())
    if ours.shape != theirs.shape:
        raise BadInput(
            f"The student's features have the shape {tuple(ours.shape[1:])} and the teacher's {tuple(theirs.shape[1:])}"
            ": a regressor brings the channels together."
        )
    return f.mse_loss(ours, theirs)


def make_regressor(student: Tensor, teacher: Tensor) -> nn.Module:
    """A trainable 1x1 layer from the student's channels to the teacher's, for features (N, C, ...) of equal rank.

    Examples
    --------
    >>> make_regressor(torch.zeros(1, 4, 8, 8), torch.zeros(1, 6, 8, 8))
    Conv2d(4, 6, kernel_size=(1, 1), stride=(1, 1))
    """
    kinds: dict[int, type[nn.Module]] = {2: nn.Linear, 3: nn.Conv1d, 4: nn.Conv2d}
    if student.ndim != teacher.ndim or student.ndim not in kinds:
        raise BadInput(
            f"Features of shapes {tuple(student.shape)} and {tuple(teacher.shape)} cannot be matched by a 1x1 layer."
        )
    channels = student.shape[1], teacher.shape[1]
    return kinds[student.ndim](*channels) if student.ndim == 2 else kinds[student.ndim](*channels, 1)


def attention_map(features: Tensor) -> Tensor:
    """Where a layer looks: its features (N, C, ...) squared, summed over channels, as rows (N, places) of length 1.

    Zagoruyko and Komodakis 2017.

    Raises
    ------
    BadInput
        If the features have no places (N, C).

    Examples
    --------
    >>> attention_map(torch.tensor([[[3.0, 0.0], [0.0, 0.0]]]))
    tensor([[1., 0.]])
    """
    return f.normalize(_energy(features).flatten(1), dim=1)


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of two layers' attention maps, mean over the items; channels may differ.

    Where the maps differ in size, the squares of the larger are averaged down to the smaller.

    Examples
    --------
    >>> attention_loss(torch.ones(1, 2, 4, 4), torch.ones(1, 8, 4, 4)).item()
    0.0
    """
    ours, theirs = same_size(_energy(student), _energy(teacher.detach()))
    return (f.normalize(ours.flatten(1), dim=1) - f.normalize(theirs.flatten(1), dim=1)).pow(2).sum(dim=1).mean()


def distances(embeddings: Tensor) -> Tensor:
    """Euclidean distances (N, N) between the items (N, ...), divided by the mean of those between different items.

    Examples
    --------
    >>> distances(torch.tensor([[0.0], [1.0], [2.0]]))[0].tolist()
    [0.0, 0.75, 1.5]
    """
    flat = _several(embeddings)
    squared = (flat[:, None] - flat[None]).pow(2).sum(dim=2)
    apart = ~torch.eye(len(flat), dtype=torch.bool)
    # the root has no derivative at 0: where two items are one, the distance is 0 and stays so
    far = torch.where(squared > 0, squared.clamp_min(1e-12).sqrt(), torch.zeros_like(squared))
    return far / far[apart].mean().clamp_min(1e-12)


def relational_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss between the two networks' `distances`, mean over the pairs (Park et al. 2019, RKD-D).

    Examples
    --------
    >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    >>> relational_distance_loss(10 * x, x).item() < 1e-6
    True
    """
    return f.smooth_l1_loss(distances(student), distances(teacher.detach()))


def angles(embeddings: Tensor) -> Tensor:
    """Cosines (N, N, N) of the angle at item j between items i and k, as ``[j, i, k]``; 0 where two of them are one.

    Examples
    --------
    >>> round(angles(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]))[1, 0, 2].item(), 3)
    0.447
    """
    flat = _several(embeddings)
    towards = f.normalize(flat[None] - flat[:, None], dim=2, eps=1e-12)
    return torch.bmm(towards, towards.transpose(1, 2))


def relational_angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss between the two networks' `angles`, mean over the triplets (Park et al. 2019, RKD-A).

    Examples
    --------
    >>> relational_angle_loss(torch.eye(3), 5 * torch.eye(3)).item() < 1e-6
    True
    """
    return f.smooth_l1_loss(angles(student), angles(teacher.detach()))


def same_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two layers' features (N, C, ...) on maps of one size: the larger is averaged down."""
    if a.ndim != b.ndim or a.ndim < 3 or a.shape[2:] == b.shape[2:]:
        return a, b
    sides = tuple(min(pair) for pair in zip(a.shape[2:], b.shape[2:], strict=True))
    pool = f.adaptive_avg_pool1d if len(sides) == 1 else f.adaptive_avg_pool2d
    return pool(a, sides), pool(b, sides)  # type: ignore[arg-type]  # the number of sides fits the pool


def same_classes(student: Tensor, teacher: Tensor) -> None:
    """Raise BadInput unless both logits are (N, classes) with two classes or more."""
    if student.ndim != 2 or student.shape != teacher.shape:
        raise BadInput(
            f"The student's logits have the shape {tuple(student.shape)} and the teacher's {tuple(teacher.shape)}; "
            "both must be (items, classes), and the classes the same."
        )
    if student.shape[1] < 2:
        raise BadInput("The networks have one class: their soft targets are 1 for every item and teach nothing.")


def _temperature(value: float) -> float:
    if not value > 0 or value == float("inf"):
        raise BadInput(f"temperature={value}: it must be a number above 0.")
    return float(value)


def _energy(features: Tensor) -> Tensor:
    """The squares of features (N, C, ...), summed over the channels: (N, 1, ...)."""
    if features.ndim < 3:
        raise BadInput(f"Features of shape {tuple(features.shape)} have no places to look at; (N, C, ...) is wanted.")
    return features.pow(2).sum(dim=1, keepdim=True)


def _several(embeddings: Tensor) -> Tensor:
    flat = embeddings.flatten(1)
    if len(flat) < 2:
        raise BadInput("Relations are between items: a batch of one has none.")
    return flat
