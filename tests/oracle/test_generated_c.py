"""The C generated for the oracle's models and the test networks is byte for byte what was recorded."""

import json

import pytest

from tests import generated_c
from tests.mcu_networks import NETWORKS


@pytest.fixture(scope="module")
def recorded():
    return json.loads(generated_c.RECORDED.read_text(encoding="utf-8"))


def test_generated_c_is_byte_identical(recorded, tmp_path):
    changed = generated_c.differing(generated_c.digests(tmp_path), recorded)
    assert changed == [], "meant? then record them anew: uv run python -m tests.generated_c"


def test_the_record_holds_every_network_in_every_way(recorded):
    models = json.loads((generated_c.DATA / "mcu_oracle" / "oracle.json").read_text(encoding="utf-8"))
    oracle = [generated_c.key_of(name) for name in models]
    assert set(recorded) >= {*NETWORKS, *oracle}
    ways = {f"{kernels} {minimise}" for kernels, minimise in generated_c.WAYS}
    assert all(set(recorded[name]) == ways | {"model.h"} for name in (*NETWORKS, *oracle))


def test_a_changed_byte_is_named(recorded):
    name = next(iter(NETWORKS))
    other = {**recorded, name: {**recorded[name], "model.h": "0" * generated_c.DIGITS}}
    assert generated_c.differing(other, recorded) == [f"{name}: model.h"]
    assert f"{name}: dsp ram" in generated_c.differing({}, recorded)
