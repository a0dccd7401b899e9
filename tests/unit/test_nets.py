"""Networks against published figures, the trainer, and the checkpoints against what their recipes state."""

import numpy as np
import pytest
import torch
from torch import nn

from edgelab import nets
from edgelab.data.dataset import Dataset, Split
from edgelab.errors import BadFile, BadInput
from edgelab.nets import checkpoints, trainer

NAMES = sorted(path.stem for path in checkpoints.FOLDER.glob("*.toml"))


def toy(items=400, features=4, seed=0, labels=None):
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((items, features)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] > 0).astype(np.int64) if labels is None else labels
    parts = [Split(x[a:b], y[a:b], {}) for a, b in ((0, 200), (200, 300), (300, 400))]
    return Dataset("toy", *parts, ("no", "yes"), "made here", "Apache-2.0", "none", "none")


def test_mobilenet_has_the_published_size():
    net = nets.mobilenet_v3_small()
    assert nets.count_parameters(net) == 2_542_856  # torchvision's model card
    cost = nets.count_macs(net, (3, 224, 224))
    assert cost.macs == pytest.approx(56.5e6, rel=0.02)  # Howard et al. 2019 give 56 million at width 1.0


def test_macs_by_kind():
    net = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
        nn.Flatten(),
        nn.Linear(128, 5),
    )
    costs = nets.count_macs(net, (4, 8, 8)).layers
    assert [c.kind for c in costs] == ["standard", "depthwise", "linear"]
    assert [c.macs for c in costs] == [64 * 8 * 4 * 9, 16 * 8 * 9, 128 * 5]


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (nets.mlp(64, 10), (1, 8, 8)),
        (nets.dscnn(), (3, 32, 32)),
        (nets.resnet(), (3, 32, 32)),
        (nets.cnn1d(6), (1, 1024)),
    ],
)
def test_a_shape_that_does_not_fit_is_one_sentence(net, shape):
    assert nets.predict_logits(net, np.zeros((3, *shape), np.float32)).shape[0] == 3
    with pytest.raises(BadInput) as caught:
        nets.predict_logits(net, np.zeros((3, 7, *shape), np.float32))
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput):
        nets.count_macs(net, (9, *shape))


def test_training_learns_repeats_and_leaves_the_global_state_alone():
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        net = nets.mlp(4, 2, (16,))
        before, threads = torch.random.get_rng_state(), torch.get_num_threads()
        history = nets.train(
            net, toy(), epochs=20, learning_rate=0.03, batch_size=32, threads=1, progress=False, seed=5
        )
        assert torch.equal(before, torch.random.get_rng_state())
        assert torch.get_num_threads() == threads
        weights.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert torch.equal(*weights)
    assert max(history.validation_accuracy) > 0.93
    data = toy()
    hits = nets.predict_logits(net, data.validation.x).argmax(axis=1) == data.validation.y
    assert float(hits.mean()) == max(history.validation_accuracy), "the network does not have its best weights"


def test_early_stop_on_validation():
    labels = np.random.default_rng(0).integers(0, 2, 400)  # nothing to learn
    history = nets.train(
        nets.mlp(4, 2, (8,)), toy(labels=labels), epochs=200, patience=3, batch_size=50, progress=False
    )
    assert history.stopped == "early"
    assert len(history.train_loss) == history.best_epoch + 3


def test_an_interrupt_keeps_the_best_so_far(monkeypatch):
    real, calls = trainer._epoch, []

    def third_is_interrupted(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(trainer, "_epoch", third_is_interrupted)
    history = nets.train(nets.mlp(4, 2), toy(), epochs=10, progress=False)
    assert history.stopped == "interrupted"
    assert len(history.train_loss) == 2


def test_a_loss_that_explodes_is_one_sentence():
    with pytest.raises(BadInput, match="no longer a number"):
        nets.train(nets.mlp(4, 2), toy(), epochs=30, learning_rate=1e30, optimizer="sgd", progress=False)


def test_wrong_settings_and_wrong_classes_are_refused():
    with pytest.raises(BadInput, match="2 classes"):
        nets.train(nets.mlp(4, 3), toy(), epochs=1, progress=False)
    with pytest.raises(BadInput, match="optimizer"):
        nets.train(nets.mlp(4, 2), toy(), epochs=1, optimizer="adam", progress=False)
    with pytest.raises(BadInput, match="schedule"):
        nets.train(nets.mlp(4, 2), toy(), epochs=1, schedule="none", progress=False)


def test_the_promised_checkpoints_ship():
    assert {"digits_mlp", "signs_dscnn", "signs_resnet", "vibration_cnn1d"} <= set(NAMES)
    assert all((checkpoints.FOLDER / f"{name}.safetensors").stat().st_size < 400_000 for name in NAMES)


@pytest.mark.parametrize("damage", ["empty", "half", "text", "foreign"])
def test_damaged_weights_are_one_sentence(tmp_path, damage):
    from safetensors.torch import save

    good = (checkpoints.FOLDER / "digits_mlp.safetensors").read_bytes()
    content = {
        "empty": b"",
        "half": good[: len(good) // 2],
        "text": b"hello" * 9,
        "foreign": save({"a": torch.zeros(2)}),
    }
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content[damage])
    with pytest.raises(BadFile) as caught:
        checkpoints.read_weights(nets.mlp(64, 10), path)
    assert "weights.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_checkpoint_names_those_that_exist():
    with pytest.raises(BadInput, match="signs_dscnn"):
        nets.load("resnet50")


def test_a_small_data_set_of_ones_own_trains_with_the_settings_as_they_are():
    draw = np.random.default_rng(0)
    y = np.arange(180) % 3
    x = draw.uniform(0, 0.5, (180, 3, 32, 32)).astype(np.float32)
    x[np.arange(180), y] += 0.35
    parts = [Split(x[a:b], y[a:b], {}) for a, b in ((0, 108), (108, 144), (144, 180))]
    mine = Dataset("mine", *parts, ("red", "green", "blue"), "made here", "Apache-2.0", "none", "none")
    torch.manual_seed(0)
    history = nets.train(nets.dscnn(classes=3), mine, threads=1, progress=False)
    assert max(history.validation_accuracy) > 0.9
