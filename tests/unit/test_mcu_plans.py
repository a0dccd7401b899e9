"""Plans of buffers: none overlap, none beats the bound, the greedy one is TFLM's, the best is never worse."""

import itertools
import random

import pytest

from edgelab.errors import BadInput
from edgelab.mcu.plans import Buffer, lower_bound, plan_buffers


def overlaps(plan):
    """Pairs that claim the same bytes at the same step, but for a buffer that takes another's place as it ends."""
    for a, b in itertools.combinations(plan.buffers, 2):
        together = range(max(a.first, b.first), min(a.last, b.last) + 1)
        if together and a.offset < b.end and b.offset < a.end:
            handed_over = len(together) == 1 and (a.shares_with == b.name or b.shares_with == a.name)
            if not handed_over:
                yield a, b


def random_buffers(seed, sharing=True):
    rng = random.Random(seed)
    buffers = []
    for i in range(rng.randrange(1, 30)):
        first = rng.randrange(20)
        partners = tuple({str(rng.randrange(i)) for _ in range(rng.randrange(3))}) if i and sharing else ()
        buffers.append(Buffer(str(i), rng.randrange(400), first, first + rng.randrange(6), None, partners))
    return buffers


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("heuristic", ["greedy", "best"])
def test_no_two_buffers_overlap_and_the_bound_holds(seed, heuristic):
    plan = plan_buffers(random_buffers(seed), heuristic, alignment=16 if seed % 2 else 4)
    assert list(overlaps(plan)) == []
    assert plan.size_bytes >= plan.lower_bound
    assert all(b.offset % (16 if seed % 2 else 4) == 0 for b in plan.buffers)


@pytest.mark.parametrize("seed", range(40))
def test_the_best_plan_is_never_above_the_greedy_one(seed):
    buffers = random_buffers(seed, sharing=False)
    greedy, best = plan_buffers(buffers), plan_buffers(buffers, "best")
    assert greedy.lower_bound == best.lower_bound <= best.size_bytes <= greedy.size_bytes
    assert plan_buffers(buffers, "best") == best


def test_the_best_plan_reaches_the_bound_where_greedy_does_not():
    # The middle buffer is the largest, so greedy puts it at 0 and lifts its neighbours over it one after the other.
    chain = [Buffer("a", 96, 0, 1), Buffer("b", 64, 1, 2), Buffer("c", 128, 2, 3), Buffer("d", 64, 3, 4)]
    shifted = [*chain, Buffer("e", 112, 4, 5), Buffer("f", 80, 5, 6)]
    greedy, best = plan_buffers(shifted), plan_buffers(shifted, "best")
    assert best.size_bytes == best.lower_bound == 192
    assert best.size_bytes <= greedy.size_bytes
    hard = [Buffer("0", 12288, 0, 1), Buffer("1", 8192, 1, 2), Buffer("2", 8192, 2, 3), Buffer("3", 16384, 3, 4)]
    greedy, best = plan_buffers(hard), plan_buffers(hard, "best")
    assert (greedy.size_bytes, best.size_bytes, best.lower_bound) == (32768, 24576, 24576)


def test_greedy_takes_the_later_of_two_equal_buffers_first():
    plan = plan_buffers([Buffer("first", 32, 0, 0), Buffer("second", 32, 0, 0), Buffer("small", 16, 0, 0)])
    assert plan.offsets == {"first": 32, "second": 0, "small": 64}


def test_greedy_fills_a_gap_that_suffices():
    buffers = [Buffer("large", 96, 0, 1), Buffer("gap", 48, 1, 2), Buffer("top", 64, 2, 3), Buffer("fits", 16, 2, 2)]
    plan = plan_buffers(buffers)
    assert plan.offsets["fits"] == 64
    assert list(overlaps(plan)) == []


@pytest.mark.parametrize("heuristic", ["greedy", "best"])
def test_a_fixed_address_stays(heuristic):
    buffers = [Buffer("free", 64, 0, 2), Buffer("fixed", 32, 1, 1, offset=16), Buffer("other", 16, 1, 1)]
    plan = plan_buffers(buffers, heuristic)
    assert plan.offsets["fixed"] == 16
    assert plan.offsets["other"] == 0
    assert plan.offsets["free"] >= 48


def test_a_result_takes_its_operands_place_only_where_it_may():
    x = Buffer("x", 64, 0, 1)
    allowed = plan_buffers([x, Buffer("y", 64, 1, 2, may_share_with=("x",))], "best")
    assert allowed.size_bytes == 64
    assert allowed.buffers[1].shares_with == "x"
    assert plan_buffers([x, Buffer("y", 64, 1, 2)], "best").size_bytes == 128
    assert plan_buffers([x, Buffer("y", 64, 1, 2, may_share_with=("x",))], "greedy").size_bytes == 128
    longer = [Buffer("x", 64, 0, 2), Buffer("y", 64, 1, 2, may_share_with=("x",))]
    assert plan_buffers(longer, "best").size_bytes == 128
    larger = [x, Buffer("y", 80, 1, 2, may_share_with=("x",))]
    assert plan_buffers(larger, "best").size_bytes == 144


def test_a_chain_in_place_needs_one_block():
    chain = [Buffer(str(i), 48, i, i + 1, may_share_with=(str(i - 1),) if i else ()) for i in range(6)]
    plan = plan_buffers(chain, "best")
    assert plan.size_bytes == plan.lower_bound == 48
    assert [b.shares_with for b in plan.buffers] == ["", "0", "1", "2", "3", "4"]


def test_the_lower_bound_is_the_largest_sum_alive():
    assert lower_bound([]) == 0
    assert lower_bound([Buffer("a", 5, 0, 3), Buffer("b", 7, 2, 2), Buffer("c", 6, 3, 9)]) == 12


@pytest.mark.parametrize(
    ("buffers", "message"),
    [
        ([Buffer("a", 1, 0, 0), Buffer("a", 2, 0, 0)], "occurs twice"),
        ([Buffer("a", -1, 0, 0)], "below zero"),
        ([Buffer("a", 1, 3, 2)], "ends before it starts"),
        ([Buffer("a", 1, 0, 0, may_share_with=("b",))], "not in the plan"),
    ],
)
def test_senseless_buffers_are_refused(buffers, message):
    with pytest.raises(BadInput, match=message):
        plan_buffers(buffers)


def test_other_settings_are_refused():
    with pytest.raises(BadInput, match="not one of"):
        plan_buffers([], "fastest")
    with pytest.raises(BadInput, match="alignment"):
        plan_buffers([], alignment=0)


def test_a_plan_shows_itself():
    plan = plan_buffers([Buffer("a", 20, 0, 1)])
    assert "32 bytes (greedy by size); no plan takes less than 32" in str(plan)
    assert plan.to_dict()["buffers"] == [
        {"name": "a", "offset": 0, "size_bytes": 32, "first": 0, "last": 1, "shares_with": ""}
    ]
    assert plan.steps == 2
