"""Distillation's losses against numpy and closed forms, and a student's training."""

import numpy as np
import pytest
import torch

from edgelab import nets
from edgelab.errors import BadInput
from edgelab.slim import distill
from edgelab.slim.distill_training import Distillation, Recipe, ask, teach
from tests.distill_networks import Small, toy

RNG = np.random.default_rng(3)


def tensor(*shape, scale=1.0):
    return torch.from_numpy((scale * RNG.standard_normal(shape)).astype(np.float32))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_kd_gradient_is_the_closed_form(temperature):
    z, t = tensor(6, 5, scale=3).requires_grad_(), tensor(6, 5, scale=3)
    distill.kd_loss(z, t, temperature).backward()
    a, b = (v.detach().numpy().astype(np.float64) / temperature for v in (z, t))
    np.testing.assert_allclose(z.grad.numpy(), temperature * (softmax(a) - softmax(b)) / 6, atol=2e-6)


def test_kd_gradient_is_autograds():
    z, t = tensor(3, 4).double().requires_grad_(), tensor(3, 4).double()
    assert torch.autograd.gradcheck(lambda v: distill.kd_loss(v, t, 3.0), (z,))


def test_kd_loss_is_torchs_kl_div_and_numpys():
    z, t = tensor(7, 5, scale=4), tensor(7, 5, scale=4)
    log = torch.nn.functional.log_softmax
    theirs = 9 * torch.nn.functional.kl_div(log(z / 3, 1), log(t / 3, 1), reduction="batchmean", log_target=True)
    p, q = softmax(t.numpy() / 3), softmax(z.numpy() / 3)
    ours = distill.kd_loss(z, t, 3.0)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert ours.item() == pytest.approx(9 * float((p * np.log(p / q)).sum(axis=1).mean()), rel=1e-4)


def test_no_gradient_reaches_the_teacher():
    z, t = tensor(4, 3).requires_grad_(), tensor(4, 3).requires_grad_()
    distill.kd_loss(z, t).backward()
    assert t.grad is None


def test_high_temperature_matches_centred_logits():
    """Hinton, Vinyals and Dean 2015, equation 4."""
    z, t = tensor(5, 6).double().requires_grad_(), tensor(5, 6).double()
    distill.kd_loss(z, t, 1e4).backward()
    centred = [v.detach() - v.detach().mean(dim=1, keepdim=True) for v in (z, t)]
    torch.testing.assert_close(z.grad, (centred[0] - centred[1]) / 6 / 5, rtol=1e-3, atol=1e-6)


def test_mixed_loss_is_the_weighted_sum_and_items_without_a_label_are_left_out():
    z, t, y = tensor(4, 3), tensor(4, 3), torch.tensor([0, 2, 1, 1])
    hard = torch.nn.functional.cross_entropy(z, y)
    expected = 0.7 * distill.kd_loss(z, t, 2.0) + 0.3 * hard
    torch.testing.assert_close(distill.distillation_loss(z, t, y, 2.0, 0.7), expected)
    each = torch.nn.functional.cross_entropy(z, y, reduction="none")
    some = distill.distillation_loss(z, t, torch.tensor([0, -1, -1, 1]), 2.0, 0.0)
    torch.testing.assert_close(some, (each[0] + each[3]) / 4)
    assert distill.distillation_loss(z, t, torch.full((4,), -1), 2.0, 0.0).item() == 0


def test_hint_and_attention_against_numpy():
    s, t = tensor(3, 4, 6, 6), tensor(3, 5, 6, 6)
    regressor = distill.make_regressor(s, t)
    mapped = np.einsum("oc,nchw->nohw", regressor.weight.detach().numpy()[:, :, 0, 0], s.numpy())
    mapped += regressor.bias.detach().numpy()[None, :, None, None]
    assert distill.hint_loss(s, t, regressor).item() == pytest.approx(
        float(((mapped - t.numpy()) ** 2).mean()), rel=1e-5
    )
    maps = [(v.numpy() ** 2).sum(axis=1).reshape(3, -1) for v in (s, t)]
    maps = [m / np.linalg.norm(m, axis=1, keepdims=True) for m in maps]
    np.testing.assert_allclose(distill.attention_map(s).numpy(), maps[0], rtol=1e-5)
    expected = float(((maps[0] - maps[1]) ** 2).sum(axis=1).mean())
    assert distill.attention_loss(s, t).item() == pytest.approx(expected, rel=1e-5)


def test_maps_of_different_sizes_are_averaged_to_the_smaller():
    s = tensor(2, 3, 4, 4)
    t = s.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert distill.hint_loss(s, t).item() == pytest.approx(0, abs=1e-10)
    assert distill.attention_loss(s, t).item() == pytest.approx(0, abs=1e-6)


def test_relations_against_numpy():
    x, y = (tensor(6, 4).numpy(), tensor(6, 9).numpy())

    def pairs(v):
        d = np.linalg.norm(v[:, None] - v[None], axis=2)
        return d / d[~np.eye(len(v), dtype=bool)].mean()

    def cosines(v):
        out = np.zeros((len(v),) * 3)
        for j in range(len(v)):
            for i in range(len(v)):
                for k in range(len(v)):
                    a, b = v[i] - v[j], v[k] - v[j]
                    if j not in (i, k):
                        out[j, i, k] = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        return out

    def huber(a, b):
        e = np.abs(a - b)
        return float(np.where(e < 1, e * e / 2, e - 0.5).mean())

    a, b = torch.from_numpy(x), torch.from_numpy(y)
    np.testing.assert_allclose(distill.distances(a).numpy(), pairs(x), atol=1e-5)
    np.testing.assert_allclose(distill.angles(a).numpy(), cosines(x), atol=1e-5)
    assert distill.relational_distance_loss(a, b).item() == pytest.approx(huber(pairs(x), pairs(y)), rel=1e-4)
    assert distill.relational_angle_loss(a, b).item() == pytest.approx(huber(cosines(x), cosines(y)), rel=1e-4)


@pytest.mark.parametrize("loss", [distill.relational_distance_loss, distill.relational_angle_loss])
def test_relations_of_equal_items_have_a_finite_gradient(loss):
    x = torch.ones(4, 3)
    x[2:] += 1
    x.requires_grad_()
    loss(x, tensor(4, 3)).backward()
    assert torch.isfinite(x.grad).all()


def test_a_student_learns_from_the_teacher_alone_and_the_teacher_stays():
    data = toy()
    torch.manual_seed(0)
    teacher, student = Small(16), Small(4)
    nets.train(teacher, data, epochs=12, learning_rate=0.02, progress=False)
    before = [p.detach().clone() for p in teacher.parameters()]
    teacher.train()
    none = np.zeros(200, dtype=bool)
    recipe = Recipe(
        alpha=1.0,
        hint=0.1,
        attention=0.5,
        distance=1.0,
        angle=1.0,
        layers=("conv", "conv"),
        embeddings=("flatten", "flatten"),
    )
    history = teach(teacher, student, data, recipe, labelled=none, epochs=12, learning_rate=0.02, progress=False)
    assert teacher.training
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))
    same = nets.predict_logits(student, data.test.x).argmax(1) == nets.predict_logits(teacher, data.test.x).argmax(1)
    assert same.mean() > 0.75
    assert history.train_loss[-1] < history.train_loss[0]
    assert not any(layer._forward_hooks for layer in (*student.modules(), *teacher.modules()))


def test_with_augmentation_the_teacher_sees_the_same_batch():
    data, teacher, student = toy(), Small(8), Small(4)
    seen = []
    teacher.register_forward_hook(lambda _, given, __: seen.append(given[0].clone()))
    batches = []
    student.conv.register_forward_hook(lambda m, given, _: batches.append(given[0].clone()) if m.training else None)
    teach(teacher, student, data, augment=lambda x, g: x + torch.rand(1, generator=g), epochs=1, progress=False)
    assert len(batches) > 5
    assert all(any(a.shape == b.shape and torch.equal(a, b) for b in seen) for a in batches)


def test_kept_answers_are_those_of_the_teacher_and_used_by_item():
    data, teacher, student = toy(), Small(8), Small(4)
    answers = ask(teacher, data.train.x, ("conv",))
    criterion = Distillation(teacher, student, data, Recipe(alpha=1.0), np.ones(200, bool), answers)
    index = torch.tensor([7, 150, 3])
    criterion.before(index, torch.from_numpy(data.train.x[index.numpy()]))
    torch.testing.assert_close(
        criterion.now.logits, torch.from_numpy(nets.predict_logits(teacher, data.train.x[[7, 150, 3]]))
    )
    z = tensor(3, 3)
    torch.testing.assert_close(criterion(z, torch.tensor([0, 1, 2])), distill.kd_loss(z, criterion.now.logits, 4.0))


def poisoned():
    net = Small(4)
    with torch.no_grad():
        net.conv.weight[0] = float("nan")
    return net


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: teach(Small(4, 5), Small(4), toy()), "layer 'head' gives 5 outputs for the 3 classes"),
        (lambda: teach(Small(), Small(), toy(), Recipe(hint=1.0, layers=("block9", "conv"))), "no layer 'block9'"),
        (
            lambda: teach(Small(), Small(), toy(), Recipe(hint=1.0, layers=("conv", "block8"))),
            "student has no layer 'block8'",
        ),
        (lambda: teach(poisoned(), Small(), toy()), "layer 'head' gives NaN"),
        (lambda: teach(Small(), Small(), toy(), labelled=toy().train.y == 1), "all 'b'"),
        (lambda: teach(Small(), Small(), toy(), labelled=np.ones(3, bool)), "one for each of 200"),
        (lambda: Recipe(hint=1.0), "name them"),
        (lambda: Recipe(angle=-1.0), "angle=-1.0"),
        (lambda: distill.kd_loss(tensor(2, 3), tensor(2, 4)), "classes the same"),
        (lambda: distill.kd_loss(tensor(2, 1), tensor(2, 1)), "one class"),
        (lambda: distill.kd_loss(tensor(2, 3), tensor(2, 3), 0.0), "temperature=0"),
        (lambda: distill.distillation_loss(tensor(2, 3), tensor(2, 3), torch.tensor([0, 1]), 1.0, 2.0), "alpha=2"),
        (lambda: distill.hint_loss(tensor(2, 3, 4, 4), tensor(2, 4, 4, 4)), "regressor"),
        (lambda: distill.attention_map(tensor(2, 3)), "no places"),
        (lambda: distill.distances(tensor(1, 3)), "batch of one"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(BadInput) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
