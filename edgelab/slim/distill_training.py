"""A student's training: the teacher's answers, computed once and kept, and the weighted sum of what to learn from them.

The student learns with the trainer of every other network here; only the criterion differs. Where a batch is augmented,
the teacher sees the same augmented batch, because an answer to another image would be a wrong one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab.data.dataset import Dataset
from edgelab.errors import BadInput
from edgelab.nets.inspection import evaluating
from edgelab.nets.trainer import Augment, History, train
from edgelab.slim import distill

KEPT_BYTES = 600_000_000
"""Features of a teacher that take more than this are computed anew for each batch."""
_BATCH = 250


@dataclass(frozen=True)
class Recipe:
    """What the student learns from its teacher, and with which weights.

    Parameters
    ----------
    temperature, alpha
        Of `edgelab.slim.distill.distillation_loss`; ``alpha=0`` trains with the labels alone.
    hint, attention
        Weights of `hint_loss` and `attention_loss` between ``layers``, teacher's first.
    distance, angle
        Weights of the relational losses between the ``embeddings``, teacher's layer first.
    layers, embeddings
        Names of layers as ``named_modules`` gives them.

    Examples
    --------
    >>> Recipe(attention=5.0, layers=("pointwise5", "pointwise5")).uses_features
    True
    """

    temperature: float = 4.0
    alpha: float = 0.9
    hint: float = 0.0
    attention: float = 0.0
    distance: float = 0.0
    angle: float = 0.0
    layers: tuple[str, str] | None = None
    embeddings: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        for name in ("hint", "attention", "distance", "angle"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise BadInput(f"{name}={getattr(self, name)}: a weight is a number from 0 upwards.")
        if (self.hint or self.attention) and self.layers is None:
            raise BadInput("hint and attention compare two layers: name them, as in layers=('block2', 'block1').")
        if (self.distance or self.angle) and self.embeddings is None:
            raise BadInput("distance and angle compare embeddings: name their layers, as in ('flatten', 'flatten').")

    @property
    def uses_features(self) -> bool:
        """Whether it needs more of the teacher than its logits."""
        return bool(self.hint or self.attention or self.distance or self.angle)

    @property
    def pairs(self) -> dict[str, tuple[str, str]]:
        """The layers that are compared, teacher's first, by what they serve."""
        wanted = {
            "layers": self.layers if self.hint or self.attention else None,
            "embeddings": self.embeddings if self.distance or self.angle else None,
        }
        return {use: pair for use, pair in wanted.items() if pair is not None}

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Answers:
    """What a teacher says about items (N, ...): its logits (N, classes), and features (N, ...) by layer."""

    logits: torch.Tensor = field(repr=False)
    features: dict[str, torch.Tensor] = field(repr=False)


def ask(teacher: nn.Module, x: NDArray[np.float32], layers: tuple[str, ...] = (), *, half: bool = False) -> Answers:
    """A teacher's answers to items (N, ...), in evaluation mode, without changing it.

    ``half`` keeps the features in 16 bits, which takes half of the memory.

    Raises
    ------
    BadInput
        If it has no such layer, does not take the items, or answers with NaN.
    """
    inputs = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
    logits: list[torch.Tensor] = []
    features: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    with evaluating(teacher), capturing(teacher, layers) as seen:
        for part in torch.split(inputs, _BATCH):
            try:
                logits.append(teacher(_layout(part)).float().clone())
            except RuntimeError as error:
                line = " ".join(str(error).split())[:160].rstrip(".")
                raise BadInput(f"The teacher does not take items of shape {tuple(part.shape[1:])}: {line}.") from None
            for name in layers:
                features[name].append(seen[name].half() if half else seen[name].clone())
    answers = Answers(torch.cat(logits), {name: torch.cat(parts) for name, parts in features.items()})
    for name, values in {output_layer(teacher): answers.logits, **answers.features}.items():
        bad = ~torch.isfinite(values.flatten(1)).all(dim=1)
        if bad.any():
            item = int(bad.nonzero()[0])
            raise BadInput(f"The teacher's layer '{name}' gives NaN or infinity for item {item}: it cannot teach it.")
    return answers


class Distillation(nn.Module):
    """The criterion: soft targets, labels, and the comparisons of features that a recipe weighs."""

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        dataset: Dataset,
        recipe: Recipe,
        labelled: NDArray[np.bool_],
        answers: Answers | None,
    ) -> None:
        super().__init__()
        self.recipe, self.labelled, self.answers = recipe, torch.from_numpy(labelled), answers
        self.__dict__["teacher"] = teacher  # not a part: its weights are not trained and not saved
        self.seen: dict[str, torch.Tensor] = {}
        self.index, self.now = torch.zeros(0, dtype=torch.long), Answers(torch.zeros(0), {})
        self.regressor: nn.Module | None = None
        if "layers" in recipe.pairs and recipe.hint:
            theirs, ours = recipe.pairs["layers"]
            two = dataset.train.x[:2]
            features = ask(student, two, (ours,)).features[ours], ask(teacher, two, (theirs,)).features[theirs]
            self.regressor = distill.make_regressor(*features)

    def before(self, index: torch.Tensor, batch: torch.Tensor) -> None:
        """Take note of which items the batch holds, and of the teacher's answers to them."""
        self.index = index
        if self.answers is None:
            layers = tuple(dict.fromkeys(pair[0] for pair in self.recipe.pairs.values()))
            self.now = ask(self.__dict__["teacher"], batch.numpy(), layers)
        else:
            kept = {name: values[index].float() for name, values in self.answers.features.items()}
            self.now = Answers(self.answers.logits[index], kept)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The weighted sum for the student's logits (N, classes) and the labels (N,)."""
        r = self.recipe
        known = torch.where(self.labelled[self.index], labels, -1)
        loss = distill.distillation_loss(logits, self.now.logits, known, r.temperature, r.alpha)
        if pair := r.pairs.get("layers"):
            theirs, ours = self.now.features[pair[0]], self.seen[pair[1]]
            if r.hint:
                loss = loss + r.hint * distill.hint_loss(ours, theirs, self.regressor)
            if r.attention:
                loss = loss + r.attention * distill.attention_loss(ours, theirs)
        if pair := r.pairs.get("embeddings"):
            theirs, ours = self.now.features[pair[0]], self.seen[pair[1]]
            if r.distance:
                loss = loss + r.distance * distill.relational_distance_loss(ours, theirs)
            if r.angle:
                loss = loss + r.angle * distill.relational_angle_loss(ours, theirs)
        return loss


def teach(
    teacher: nn.Module,
    student: nn.Module,
    dataset: Dataset,
    recipe: Recipe | None = None,
    *,
    labelled: NDArray[np.bool_] | None = None,
    answers: Answers | None = None,
    augment: Augment | None = None,
    **training: Any,
) -> History:
    """Train ``student`` in place from ``teacher`` on the training split.

    Parameters
    ----------
    teacher, student
        Networks of the same inputs and classes; the teacher is left as it is.
    recipe
        What to learn from it; None takes soft targets at temperature 4 with nine tenths of the weight.
    labelled
        Which training items (N,) have a label that the student may see; None lets it see all. The others count by the
        teacher's answer alone.
    answers
        The teacher's answers to the training items, of `ask`, where several students share them.
    augment
        Changes a batch with a seeded generator; the teacher then answers to each changed batch.
    training
        Further arguments of `edgelab.nets.train`.

    Raises
    ------
    BadInput
        If the networks' classes differ, a layer does not exist, the labels are of one class, or a value is NaN.
    """
    recipe = Recipe() if recipe is None else recipe
    items = len(dataset.train)
    labelled = np.ones(items, dtype=bool) if labelled is None else np.asarray(labelled)
    if labelled.shape != (items,) or labelled.dtype != bool:
        raise BadInput(f"labelled has the shape {labelled.shape}; it must be boolean, one for each of {items} items.")
    if recipe.alpha < 1:
        refuse_one_class(dataset.train.y[labelled], dataset)
    for role, net, layers in (("teacher", teacher, _side(recipe, 0)), ("student", student, _side(recipe, 1))):
        refuse_missing_layers(role, net, layers)
    refuse_other_classes(teacher, student, dataset)
    if answers is None and augment is None and recipe_bytes(teacher, dataset, recipe) <= KEPT_BYTES:
        answers = ask(teacher, dataset.train.x, _side(recipe, 0), half=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(training.get("seed", 0)))
        criterion = Distillation(teacher, student, dataset, recipe, labelled, None if augment is not None else answers)
    with capturing(student, _side(recipe, 1), into=criterion.seen):
        return train(student, dataset, augment=augment, criterion=criterion, before=criterion.before, **training)


@contextmanager
def capturing(
    net: nn.Module, layers: tuple[str, ...], into: dict[str, torch.Tensor] | None = None
) -> Iterator[dict[str, torch.Tensor]]:
    """Inside the block, each pass leaves the output of the named layers in the dictionary that it gives.

    Raises
    ------
    BadInput
        If there is no layer of such a name.
    """
    refuse_missing_layers("network", net, layers)
    seen: dict[str, torch.Tensor] = {} if into is None else into
    parts = dict(net.named_modules())

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: torch.Tensor) -> None:
            seen[name] = output

        return hook

    hooks = [parts[name].register_forward_hook(keep(name)) for name in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def recipe_bytes(teacher: nn.Module, dataset: Dataset, recipe: Recipe) -> int:
    """What the teacher's features for the training split would take in 16 bits."""
    one = ask(teacher, dataset.train.x[:1], _side(recipe, 0)).features
    return sum(2 * values.numel() * len(dataset.train) for values in one.values())


def output_layer(net: nn.Module) -> str:
    """The name of the last layer with weights, which gives the logits."""
    named = [name for name, layer in net.named_modules() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)]
    return named[-1] if named and named[-1] else type(net).__name__


def refuse_missing_layers(role: str, net: nn.Module, layers: tuple[str, ...]) -> None:
    """Raise BadInput that names the first of the layers which the network does not have."""
    there = [name for name, _ in net.named_modules() if name]
    for name in layers:
        if name not in there:
            some = ", ".join([n for n in there if "." not in n][:12]) or "none with a name"
            raise BadInput(f"The {role} has no layer '{name}'; it has {some}.")


def refuse_other_classes(teacher: nn.Module, student: nn.Module, dataset: Dataset) -> None:
    """Raise BadInput unless both networks give a logit for each class of the data."""
    for role, net in (("teacher", teacher), ("student", student)):
        logits = ask(net, dataset.train.x[:2]).logits
        if logits.ndim != 2 or logits.shape[1] != dataset.classes:
            raise BadInput(
                f"The {role}'s layer '{output_layer(net)}' gives {logits.shape[-1]} outputs for the {dataset.classes} "
                f"classes of '{dataset.name}'; teacher and student must know the same classes."
            )


def refuse_one_class(labels: NDArray[np.int64], dataset: Dataset) -> None:
    """Raise BadInput unless the labels that the student sees are of two classes or more."""
    classes = np.unique(labels)
    if len(classes) < 2:
        what = f"all '{dataset.class_names[classes[0]]}'" if len(classes) else "none"
        raise BadInput(
            f"The labels that the student sees are {what}: there is nothing to tell apart. Give labels of two "
            "classes or more, or alpha=1 to learn from the teacher alone."
        )


def _side(recipe: Recipe, side: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(pair[side] for pair in recipe.pairs.values()))


def _layout(x: torch.Tensor) -> torch.Tensor:
    return x.to(memory_format=torch.channels_last) if x.ndim == 4 else x
