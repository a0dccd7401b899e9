"""Distillation for a team's own networks: a student, a report on who gains and who pays, and an ONNX file that ran."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab import nets
from edgelab.convert.onnx import OnnxExport, export
from edgelab.data.dataset import Dataset
from edgelab.engines import open_engine
from edgelab.engines.base import OperatorTime
from edgelab.errors import BadInput
from edgelab.files import expanded
from edgelab.measure import quality
from edgelab.measure.inspect import inspect_model
from edgelab.measure.losses import GroupLosses, Loss
from edgelab.nets.trainer import History
from edgelab.reading import Cell, Reading, Table
from edgelab.slim.distill_training import Recipe, ask, teach


class TeacherFile(nn.Module):
    """A model file as a teacher: what a team has may be an ONNX or .tflite file from elsewhere.

    It gives logits and no features, so a recipe with layers does not fit it. Its runtime stays open until `close`, or
    the end of the ``with`` block.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 1) -> None:
        super().__init__()
        self.path = expanded(path)
        self.engine = open_engine(path, threads=threads, fresh=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The file's logits (N, classes) of float32 inputs (N, ...)."""
        return torch.from_numpy(np.array(self.engine.predict(np.ascontiguousarray(x.numpy()))))

    def close(self) -> None:
        """Close the runtime."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Report:
    """What a student became, on the test split.

    Attributes
    ----------
    teacher, student
        Accuracy in percent; the student's as its file gives it on ONNX Runtime.
    agreement
        Percent of the items on which both give the same answer, right or wrong.
    against_teacher
        Points that each group loses from the teacher to the student; below 0 it gains. None without groups.
    against_before
        The same from the student as it came in to the student as it is now, if it was trained already.
    parameters
        Of the teacher and of the student; where the teacher is a file, of the two files.
    labels_seen
        How many labels the student saw.
    images_without_label
        How many items it saw with the teacher's answer alone.
    teacher_labels
        How many labels the teacher was trained on; None if the caller did not say.
    operators
        What ONNX Runtime executed, and in which type.
    """

    teacher: Reading
    student: Reading
    agreement: Reading
    against_teacher: GroupLosses | Loss
    against_before: GroupLosses | Loss | None
    parameters: tuple[int, int]
    labels_seen: int
    images_without_label: int
    teacher_labels: int | None
    operators: tuple[OperatorTime, ...] = field(repr=False)
    recipe: Recipe = field(default_factory=Recipe)

    @property
    def privilege(self) -> str:
        """What the teacher saw and the student did not, as a sentence."""
        own = f"the student saw {self.labels_seen:,} labels"
        if self.images_without_label:
            own += f", and {self.images_without_label:,} more items with the teacher's answer alone"
        if self.teacher_labels is None:
            return (
                f"{own[0].upper()}{own[1:]}; how many the teacher saw was not said (`teacher_labels`), and it may have "
                "learnt from data that the student alone would not have."
            )
        more = self.teacher_labels - self.labels_seen
        end = f": {more:,} labels reach the student through the teacher alone" if more > 0 else ""
        return f"The teacher was trained on {self.teacher_labels:,} labels, {own}{end}."

    def table(self) -> Table:
        """Teacher and student side by side."""
        small, large = self.parameters[1], self.parameters[0]
        rows: list[tuple[Cell, ...]] = [
            ("teacher", large, self.teacher, None),
            ("student", small, self.student, self.agreement),
        ]
        columns = ("network", "parameters", "accuracy", "same answer as the teacher")
        return Table(f"{large / small:.1f} times fewer parameters", columns, rows, self.privilege)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        before = self.against_before
        return {
            "teacher": self.teacher.to_dict(),
            "student": self.student.to_dict(),
            "agreement": self.agreement.to_dict(),
            "against_teacher": self.against_teacher.to_dict(),
            "against_before": None if before is None else before.to_dict(),
            "parameters": {"teacher": self.parameters[0], "student": self.parameters[1]},
            "labels_seen": self.labels_seen,
            "images_without_label": self.images_without_label,
            "teacher_labels": self.teacher_labels,
            "privilege": self.privilege,
            "operators": [{"name": o.name, "type": o.type, "ran_in": o.ran_in} for o in self.operators],
            "recipe": self.recipe.to_dict(),
        }

    def _repr_markdown_(self) -> str:
        parts = [self.table()._repr_markdown_(), self.against_teacher._repr_markdown_()]
        return "\n\n".join(parts)


@dataclass(frozen=True)
class Distilled:
    """The student, how it was trained, what came of it, and its file."""

    network: nn.Module = field(repr=False)
    history: History = field(repr=False)
    report: Report
    file: OnnxExport

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, without the network."""
        return {"history": self.history.to_dict(), "report": self.report.to_dict(), "file": self.file.to_dict()}

    def _repr_markdown_(self) -> str:
        return f"{self.report._repr_markdown_()}\n\n{self.file._repr_markdown_()}"


def distill(
    teacher: nn.Module,
    student: nn.Module,
    dataset: Dataset,
    path: str | os.PathLike[str],
    recipe: Recipe | None = None,
    *,
    labelled: NDArray[np.bool_] | None = None,
    teacher_labels: int | None = None,
    trained_before: bool = False,
    **training: Any,
) -> Distilled:
    """Train ``student`` in place from ``teacher``, write it as ONNX, and report on the test split.

    Parameters
    ----------
    teacher, student
        Your networks: float32 inputs, channels first, logits (N, classes) of the same classes.
    dataset
        Your data, for example of `edgelab.data.from_npz`; the groups of its test split are compared.
    path
        The .onnx file.
    recipe
        What to learn, with which weights; None takes soft targets at temperature 4.
    labelled
        Which training items (N,) have a label that the student may see; None lets it see all.
    teacher_labels
        How many labels the teacher was trained on, for the report.
    trained_before
        Whether the student comes in trained: then the report also says who gains and who pays by the distillation.
    training
        Further arguments of `edgelab.nets.train`: epochs, learning_rate, seed, augment, ...

    Raises
    ------
    BadInput
        If the networks' classes differ, a layer does not exist, the labels are of one class, or a value is NaN.
    BadFile
        If the file cannot be written.
    """
    path = expanded(path)
    if path.suffix != ".onnx":
        raise BadInput(f"{path.name} is no name of an ONNX file; it ends in .onnx.")
    test, recipe = dataset.test, Recipe() if recipe is None else recipe
    theirs = ask(teacher, test.x).logits.numpy()
    before = ask(student, test.x).logits.numpy().argmax(axis=1) == test.y if trained_before else None
    history = teach(teacher, student, dataset, recipe, labelled=labelled, **training)
    file = export(student, test.x[:1], path)
    with open_engine(path, threads=1, fresh=False) as engine:
        ours = engine.predict(test.x)
        operators = tuple(engine.profile(test.x[:1], 3))
    right = {"teacher": theirs.argmax(axis=1) == test.y, "student": ours.argmax(axis=1) == test.y}
    same = theirs.argmax(axis=1) == ours.argmax(axis=1)
    seen = len(dataset.train) if labelled is None else int(np.sum(labelled))
    report = Report(
        teacher=quality.accuracy_reading(right["teacher"], "PyTorch, the teacher"),
        student=quality.accuracy_reading(right["student"], "ONNX Runtime, the student"),
        agreement=quality.accuracy_reading(same, "same answer as the teacher"),
        against_teacher=_losses(right["teacher"], right["student"], dataset),
        against_before=None if before is None else _losses(before, right["student"], dataset),
        parameters=_parameters(teacher, student, path),
        labels_seen=seen if recipe.alpha < 1 else 0,
        images_without_label=len(dataset.train) - (seen if recipe.alpha < 1 else 0),
        teacher_labels=teacher_labels,
        operators=operators,
        recipe=recipe,
    )
    return Distilled(student, history, report, file)


def _parameters(teacher: nn.Module, student: nn.Module, file: Path) -> tuple[int, int]:
    """Of like and like: a file has its batch norms folded, a network has not."""
    if not isinstance(teacher, TeacherFile):
        return nets.count_parameters(teacher), nets.count_parameters(student)
    return inspect_model(teacher.path).parameters, inspect_model(file).parameters


def _losses(before: NDArray[np.bool_], after: NDArray[np.bool_], dataset: Dataset) -> GroupLosses | Loss:
    groups = dict(dataset.test.groups)
    return quality.group_differences(before, after, groups) if groups else quality.difference(before, after)
