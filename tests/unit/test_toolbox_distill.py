"""Distillation of a team's own networks: the network, the report, the file."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from edgelab import nets, toolbox
from edgelab.ahead import distill_figures as figures
from edgelab.convert.onnx import export
from edgelab.engines import open_engine
from edgelab.errors import BadInput
from edgelab.measure.inspect import inspect_model
from edgelab.slim.distill_training import Recipe
from tests.distill_networks import Small, toy


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    teacher = Small(16)
    nets.train(teacher, toy(), epochs=12, learning_rate=0.02, progress=False)
    return teacher


def test_a_teams_own_student(trained, tmp_path):
    data, student = toy(), Small(4)
    labelled = np.arange(200) < 50
    made = toolbox.distill(
        trained, student, data, tmp_path / "student.onnx", labelled=labelled, teacher_labels=200, trained_before=True,
        epochs=8, learning_rate=0.02, progress=False,
    )  # fmt: skip
    assert made.network is student
    with open_engine(made.file.path) as engine:
        hits = engine.predict(data.test.x).argmax(axis=1) == data.test.y
    assert made.report.student.value == pytest.approx(100 * hits.mean())
    assert {g.name for g in made.report.against_teacher.groups} == {"bright", "dark"}
    overall = made.report.against_teacher.overall.loss.value
    assert overall == pytest.approx(made.report.teacher.value - made.report.student.value)
    assert made.report.against_before is not None
    assert "150 labels reach the student through the teacher alone" in made.report.privilege
    assert made.report.images_without_label == 150
    assert made.report.parameters[0] > made.report.parameters[1]
    assert made.report.agreement.value > 50
    assert any("Conv" in operator.type for operator in made.report.operators)
    json.dumps(made.to_dict())
    assert "times fewer parameters" in made._repr_markdown_()


def test_without_labels_and_groups_it_says_so(trained, tmp_path):
    data = toy()
    bare = replace(data, **{part: replace(split, groups={}) for part, split in data.splits.items()})
    made = toolbox.distill(trained, Small(4), bare, tmp_path / "s.onnx", Recipe(alpha=1.0), epochs=1, progress=False)
    assert made.report.labels_seen == 0
    assert "was not said" in made.report.privilege
    assert made.report.against_teacher.items == 100
    with pytest.raises(BadInput, match=r"\.onnx"):
        toolbox.distill(trained, Small(4), bare, tmp_path / "s.tflite")


def test_a_file_may_be_the_teacher(trained, tmp_path):
    data = toy()
    file = export(trained, data.test.x[:1], tmp_path / "teacher.onnx")
    with toolbox.TeacherFile(file.path) as teacher:
        made = toolbox.distill(teacher, Small(4), data, tmp_path / "s.onnx", epochs=2, progress=False)
    expected = nets.predict_logits(trained, data.test.x).argmax(axis=1) == data.test.y
    assert made.report.teacher.value == pytest.approx(100 * expected.mean())
    counted = [sum(layer.parameters for layer in inspect_model(p).layers) for p in (file.path, made.file.path)]
    assert made.report.parameters == tuple(counted)
    assert counted[0] > counted[1] > 0
    assert f"{counted[0] / counted[1]:.1f} times fewer parameters" in made._repr_markdown_()
    with toolbox.TeacherFile(file.path) as teacher, pytest.raises(BadInput, match="no layer 'conv'"):
        toolbox.distill(teacher, Small(4), data, tmp_path / "t.onnx", Recipe(hint=1.0, layers=("conv", "conv")))


def test_the_plan_of_the_figures_and_its_data():
    runs = figures.plan()
    assert len({run.key for run in runs}) == len(runs)
    assert {run.seed for run in runs} == set(figures.SEEDS)
    first, again = figures.new_student(3), figures.new_student(3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert nets.count_parameters(first) == 7522


def test_wrong_labels_are_as_many_as_asked_for_and_few_are_hidden():
    bench = figures.Bench("vibration")
    noisy, mask, _ = bench.seen(figures.Run("vibration", "wrong labels", "hard", 1))
    assert mask is None
    assert (noisy.train.y != bench.dataset.train.y).mean() == pytest.approx(figures.WRONG, abs=1e-3)
    whole, mask, _ = bench.seen(figures.Run("vibration", "few labels", figures.UNLABELLED, 1))
    assert (len(whole.train), mask.sum()) == (3600, figures.TASKS["vibration"].few)
    few, mask, _ = bench.seen(figures.Run("vibration", "few labels", "soft", 1))
    assert (len(few.train), mask) == (figures.TASKS["vibration"].few, None)


def test_the_pruned_teacher_has_the_students_size():
    pytest.importorskip("torch_pruning")
    pruned = figures.prune_to_size("vibration")
    assert nets.count_parameters(pruned) == nets.count_parameters(figures.new_student(0, "vibration"))
    assert pruned(torch.zeros(2, 1, 1024)).shape == (2, 5)
    assert all(parameter.requires_grad for parameter in pruned.parameters())
