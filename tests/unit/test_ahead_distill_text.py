"""The text figures that were made ahead: complete, said as they are, and the networks that go with them."""

import numpy as np
import pytest
import torch

from edgelab import data, nets
from edgelab.ahead import distill_text
from edgelab.ahead.distill_readings import UNLABELLED, MadeAhead
from edgelab.files import read_json
from edgelab.slim.distill_training import Answers

STORED = read_json(distill_text.FILE)


def test_nothing_is_missing_and_what_held_follows_from_the_runs():
    assert distill_text.complete(STORED)
    assert STORED["held"] == MadeAhead(STORED).held_by_task()
    assert STORED["recipe"]["seeds"] == list(distill_text.SEEDS)
    assert {STORED["date"], STORED["machine"]}.isdisjoint({""})


def test_the_kept_networks_are_those_of_the_figures():
    logs = data.device_logs(seed=0)
    condition, method, seed = distill_text.KEPT
    student = STORED["runs"][f"{distill_text.TASK}, {condition} | {method} | {seed}"]
    halved = next(s for s in STORED["fewer_heads"]["trained on"] if s["heads"] == distill_text.HEADS_LEFT)
    wanted = {"teacher": STORED["teachers"][distill_text.TASK], "student": student, "heads": halved}
    for name, net in distill_text.networks().items():
        hits = nets.predict_logits(net, logs.test.x).argmax(axis=1) == logs.test.y
        assert 100 * hits.mean() == pytest.approx(wanted[name]["test"], abs=0.3)
        assert nets.count_parameters(net) == wanted[name]["parameters"]


def test_fewer_heads_make_a_smaller_file():
    assert set(STORED["fewer_heads"]) == {"as it stands", "trained on"}
    for steps in STORED["fewer_heads"].values():
        assert [step["heads"] for step in steps] == [8, 7, 6, 5, 4, 3, 2]
        sizes = [step["bytes"] for step in steps]
        assert sizes == sorted(set(sizes), reverse=True)


def test_what_a_student_sees():
    logs = data.device_logs(train=2000, validation=60, test=60)
    answers = Answers(torch.arange(2000.0)[:, None].repeat(1, 6), {})
    whole, mask, theirs = distill_text.seen_by(logs, answers, "all labels", "soft", 1)
    assert (whole is logs, mask, theirs is answers) == (True, None, True)
    few, mask, theirs = distill_text.seen_by(logs, answers, "few labels", "soft", 1)
    assert (len(few.train), mask) == (distill_text.LABELLED, None)
    np.testing.assert_array_equal(few.train.x, logs.train.x[theirs.logits[:, 0].long().numpy()])
    whole, mask, _ = distill_text.seen_by(logs, answers, "few labels", UNLABELLED, 1)
    assert len(whole.train) == 2000
    np.testing.assert_array_equal(np.flatnonzero(mask), theirs.logits[:, 0].long().numpy())
