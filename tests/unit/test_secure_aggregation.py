"""Secure aggregation: sums are exact with drop-outs, the server sees noise, and whoever cheats is refused."""

import itertools
import secrets

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from scipy import stats

from edgelab.errors import BadInput
from edgelab.privacy import masks, secure_client, shamir
from edgelab.privacy.secure_aggregation import (
    Message,
    Refused,
    SecureClient,
    SecureServer,
    neighbour_graph,
    secure_sum,
)

ROWS = np.random.default_rng(0).integers(0, 2**32, (8, 50), dtype=np.uint32)


def sum_of(rows, clients):
    return rows[list(clients)].sum(axis=0, dtype=np.uint32)


@pytest.mark.parametrize("neighbours", [None, 8])
@pytest.mark.parametrize(
    "gone",
    [{}, {2: "masked"}, {0: "keys", 5: "unmask"}, {7: "shares"}, {1: "masked", 6: "unmask"}],
)
def test_the_sum_of_the_survivors_is_exact(neighbours, gone):
    rows = np.random.default_rng(1).integers(0, 2**32, (12, 50), dtype=np.uint32)
    found = secure_sum(rows, neighbours=neighbours, drop_outs=gone)
    alive = [client for client in range(12) if gone.get(client, "unmask") == "unmask"]
    assert found.survivors == tuple(alive)
    assert np.array_equal(found.total, sum_of(rows, alive))


def test_twenty_neighbours_and_a_tenth_gone():
    rows = np.random.default_rng(2).integers(0, 2**32, (60, 20), dtype=np.uint32)
    gone = dict.fromkeys(range(0, 60, 10), "masked")
    found = secure_sum(rows, neighbours=20, drop_outs=gone)
    assert np.array_equal(found.total, sum_of(rows, found.survivors))
    assert len(found.survivors) == 54


def test_what_the_server_sees_is_uniform():
    rows = np.zeros((20, 4000), np.uint32)  # the worst case for a mask that is none
    rows[3:] = 7
    found = secure_sum(rows, neighbours=6)
    p_values = []
    for words in found.view.values():
        counts = np.bincount(words.view(np.uint8), minlength=256)
        p_values.append(stats.chisquare(counts).pvalue)
    assert stats.kstest(p_values, "uniform").pvalue > 1e-4
    assert min(p_values) > 1e-6
    plain = stats.chisquare(np.bincount(rows[5].view(np.uint8), minlength=256)).pvalue
    assert plain < 1e-12  # the test would see an update that is not hidden
    for one, other in itertools.combinations(found.view.values(), 2):
        assert (one == other).mean() < 0.01


def test_too_few_survivors_are_refused():
    with pytest.raises(Refused, match="clients survived, fewer than"):
        secure_sum(ROWS, drop_outs=dict.fromkeys(range(4), "masked"))
    with pytest.raises(Refused, match="fewer than the threshold"):
        secure_sum(ROWS, drop_outs=dict.fromkeys(range(5), "unmask"))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"threshold": 3}, "more than half"),
        ({"threshold": 8}, "at most all"),
        ({"fewest": 9}, "fewest=9"),
        ({"drop_outs": {1: "tea"}}, "the steps are"),
        ({"drop_outs": {9: "masked"}}, "Client 9"),
        ({"neighbours": 3}, "even number"),
    ],
)
def test_wrong_settings_are_one_sentence(more, says):
    with pytest.raises(BadInput, match=says):
        secure_sum(ROWS, **more)
    with pytest.raises(BadInput, match="rows of uint32"):
        secure_sum(ROWS.astype(float))
    with pytest.raises(BadInput, match="at least three"):
        neighbour_graph(2)


class Round:
    """A round of five clients up to a step, to cheat in."""

    def __init__(self, until):
        self.round_id = secrets.token_bytes(16)
        self.signing = {i: Ed25519PrivateKey.generate() for i in range(5)}
        self.enrolled = {i: key.public_key() for i, key in self.signing.items()}
        self.graph = neighbour_graph(5)
        self.server = SecureServer(self.round_id, self.enrolled, self.graph, 3, 4, 10)
        self.clients = {i: SecureClient(i, self.round_id, self.signing[i], self.enrolled, 3) for i in range(5)}
        for step in secure_client.STEPS[: secure_client.STEPS.index(until)]:
            for i in self.clients:
                self.server.receive(self.answer(i, step))
            self.server.close()

    def answer(self, i, step):
        client = self.clients[i]
        if step == "keys":
            return client.keys()
        if step == "shares":
            return client.shares(self.server.keys_for(i))
        if step == "masked":
            return client.masked(ROWS[i, :10], self.server.sealed_for(i))
        return client.unmask(*self.server.request_for(i))

    def signed(self, sender, step, body, by=None):
        message = Message(self.round_id, step, sender, body)
        signature = self.signing[sender if by is None else by].sign(message.signed_part())
        return Message(self.round_id, step, sender, body, signature)


def test_an_honest_round():
    whole = Round("unmask")
    for i in whole.clients:
        whole.server.receive(whole.answer(i, "unmask"))
    assert np.array_equal(whole.server.total(), ROWS[:5, :10].sum(axis=0, dtype=np.uint32))


@pytest.mark.parametrize("step", secure_client.STEPS)
def test_a_second_answer_is_refused(step):
    one = Round(step)
    first = one.answer(2, step)
    one.server.receive(first)
    with pytest.raises(Refused, match=f"Client 2 answered '{step}' twice"):
        one.server.receive(first)
    with pytest.raises(Refused, match="twice"):
        one.server.receive(one.signed(2, step, b"x" + first.body[1:]))
    with pytest.raises(Refused, match="each step is answered once"):
        one.answer(2, step)


def test_an_answer_for_another_is_refused():
    one = Round("masked")
    theirs = one.answer(3, "masked")
    with pytest.raises(Refused, match="in the name of client 2 was not signed by it"):
        one.server.receive(one.signed(2, "masked", theirs.body, by=3))
    with pytest.raises(Refused, match="client 2 was not signed"):
        one.server.receive(Message(one.round_id, "masked", 2, theirs.body, theirs.signature))
    with pytest.raises(Refused, match="was not signed"):
        one.server.receive(Message(one.round_id, "masked", 3, b"0" + theirs.body[1:], theirs.signature))
    with pytest.raises(Refused, match="not of this round"):
        one.server.receive(Message(secrets.token_bytes(16), "masked", 3, theirs.body, theirs.signature))
    with pytest.raises(Refused, match="not open"):
        one.server.receive(one.signed(3, "unmask", b""))


def test_who_left_does_not_come_back():
    one = Round("shares")
    for i in (0, 1, 2, 3):
        one.server.receive(one.answer(i, "shares"))
    one.server.close()
    with pytest.raises(Refused, match="Client 4 left this round"):
        one.server.receive(one.signed(4, "masked", bytes(32 + 40)))


@pytest.mark.parametrize(
    ("step", "body", "says"),
    [
        ("keys", b"short", "64 bytes"),
        ("shares", b"short", "malformed"),
        ("masked", bytes(32 + 36), "10 words"),
        ("unmask", b"short", "malformed"),
        ("unmask", b"", "asked for"),
    ],
)
def test_malformed_messages_are_refused(step, body, says):
    one = Round(step)
    with pytest.raises(Refused, match=says):
        one.server.receive(one.signed(1, step, body))
    one.server.receive(one.answer(1, step))  # the round goes on


def test_a_client_never_gives_both_shares():
    one = Round("unmask")
    with pytest.raises(Refused, match="survived and dropped out"):
        one.clients[0].unmask([1, 2, 3], [3])
    one.clients[0].unmask([1, 2, 3, 4], [])
    with pytest.raises(Refused, match="answered once"):
        one.clients[0].unmask([1, 2, 4], [3])
    with pytest.raises(Refused, match="fewer than its threshold"):
        one.clients[1].unmask([0, 2], [3, 4])
    with pytest.raises(Refused, match="does not hold"):
        one.clients[2].unmask([0, 1, 3, 9], [])


def test_false_keys_and_shares_are_refused_by_clients():
    one = Round("shares")
    keys = one.server.keys_for(0)
    forged = one.signed(1, "keys", bytes(range(64)), by=2)
    with pytest.raises(Refused, match="client 1 was not signed"):
        one.clients[0].shares([forged, *keys[1:]])
    with pytest.raises(Refused, match="fewer than its threshold"):
        one.clients[3].shares(one.server.keys_for(3)[:2])
    two = Round("masked")
    boxes = two.server.sealed_for(0)
    boxes[1] = bytes([boxes[1][0] ^ 1]) + boxes[1][1:]
    with pytest.raises(Refused, match="from client 1 to client 0 were changed"):
        two.clients[0].masked(ROWS[0, :10], boxes)


@pytest.mark.parametrize("about", ["seed", "key"])
def test_a_false_share_spoils_no_sum(about):
    one = Round("masked")
    alive = [0, 1, 2, 3] if about == "key" else [0, 1, 2, 3, 4]
    for i in alive:
        one.server.receive(one.answer(i, "masked"))
    one.server.close()
    for i in alive:
        message = one.answer(i, "unmask")
        if i == 0:
            changed = bytearray(message.body)
            changed[-1] ^= 1
            message = one.signed(0, "unmask", bytes(changed))
        one.server.receive(message)
    with pytest.raises(Refused, match="do not fit together"):
        one.server.total()


def test_shamir():
    rng = np.random.default_rng(0)
    for threshold, count in [(1, 1), (2, 3), (5, 9), (20, 20)]:
        secret = secrets.randbelow(shamir.PRIME)
        shares = shamir.split(secret, threshold, range(1, count + 1))
        for _ in range(5):
            some = rng.permutation(count)[:threshold] + 1
            assert shamir.join({int(k): shares[int(k)] for k in some}) == secret
        if threshold > 1:
            assert shamir.join({k: shares[k] for k in range(1, threshold)}) != secret
    line = shamir.split(5, 2, [1, 2])
    assert (line[2] - line[1]) % shamir.PRIME == (line[1] - 5) % shamir.PRIME  # a straight line through (0, 5)
    for bad in [(shamir.PRIME, 2, [1, 2]), (1, 3, [1, 2]), (1, 2, [0, 1]), (1, 2, [1, 1]), (-1, 1, [1])]:
        with pytest.raises(BadInput):
            shamir.split(*bad)
    with pytest.raises(BadInput):
        shamir.join({})


def test_too_few_shares_say_nothing():
    """The last bits of single shares of one secret are those of fair coins."""
    bits = [shamir.split(1, 2, [1, 2])[1] & 255 for _ in range(2000)]
    assert stats.chisquare(np.bincount(bits, minlength=256)).pvalue > 1e-6


@pytest.mark.parametrize(("bits", "addends"), [(20, 1), (20, 7), (10, 100), (4, 5000), (31, 2**20)])
def test_fixed_point_has_room_where_the_limit_just_fits(bits, addends):
    """The largest sums, at limits where a step more would wrap round and come out with the other sign."""
    limit = (2**31 - 1) / 2**bits / addends
    form = masks.FixedPoint(limit, addends)
    for sign in (1, -1):
        word = int(form.encode(np.array([sign * limit * (1 + 9e-7)]))[0])
        total = np.array([word * addends % 2**32], np.uint32)
        assert form.decode(total, addends)[0] / addends / limit == pytest.approx(sign, abs=1e-2)
    with pytest.raises(BadInput, match="can be read"):
        form.decode(total, addends + 1)
    with pytest.raises(BadInput, match="can be read"):
        form.decode(total, 0)
    for bad in (1e-300, 1e300, np.nan, np.inf, -1.0):
        with pytest.raises(BadInput, match="limit of"):
            masks.FixedPoint(bad, 3)


def test_fixed_point_is_exact_and_has_a_guard():
    form = masks.FixedPoint(0.5, 100)
    values = np.random.default_rng(0).uniform(-0.5, 0.5, (100, 30)).astype(np.float32)
    words = np.stack([form.encode(row) for row in values])
    exact = np.rint(values.astype(np.float64) * form.scale).astype(np.int64).sum(axis=0)
    assert np.array_equal(form.integers(words.sum(axis=0, dtype=np.uint32), 100), exact)
    assert np.abs(form.decode(words.sum(axis=0, dtype=np.uint32), 100) - values.sum(axis=0, dtype=float)).max() < 1e-4
    for bad, says in [(np.nan, "NaN"), (np.inf, "NaN"), (0.6, "beyond the limit")]:
        with pytest.raises(BadInput, match=says):
            form.encode(np.array([0, bad], np.float32))
    with pytest.raises(BadInput, match="does not say which"):
        form.integers(np.array([2**30], np.uint32), 3)
    with pytest.raises(BadInput):
        masks.FixedPoint(0, 3)


def test_masks_need_whole_keys():
    for length in (0, 4, 16, 31):
        with pytest.raises(BadInput, match="32 bytes"):
            masks.mask(bytes(length), 4)
    with pytest.raises(BadInput, match="public key"):
        masks.agree(X25519PrivateKey.generate(), bytes(32), b"")
    with pytest.raises(BadInput, match="public key"):
        masks.agree(X25519PrivateKey.generate(), b"short", b"")
    one, two = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    assert masks.agree(one, masks.public_bytes(two), b"a") != masks.agree(one, masks.public_bytes(two), b"b")


def test_a_copied_key_cancels_no_honest_mask():
    """A client that announces another's key must not have the same mask with a third one."""
    victim, honest = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    key, name = masks.public_bytes(honest), bytes(16)
    own = masks.pair_mask(victim, key, name, (1, 2), 8)
    assert np.array_equal(own, masks.pair_mask(honest, masks.public_bytes(victim), name, (2, 1), 8))
    assert not np.array_equal(own, masks.pair_mask(victim, key, name, (0, 1), 8))
    assert not np.array_equal(own, masks.pair_mask(victim, key, b"1" * 16, (1, 2), 8))
    one = Round("keys")
    theirs = one.answer(2, "keys")
    one.server.receive(theirs)
    copies = {"whole": theirs.body, "half": masks.public_bytes(victim) + theirs.body[32:], "own": 2 * key}
    for body in copies.values():
        with pytest.raises(Refused, match="A key is there twice"):
            one.server.receive(one.signed(3, "keys", body))
    late = Round("shares")
    keys = late.server.keys_for(0)
    with pytest.raises(Refused, match="client 3 is there twice"):
        late.clients[0].shares([*keys[:2], late.signed(3, "keys", keys[0].body), keys[3]])
    mine = late.server.keys_for(1)[0].body  # client 0's own, given back to it
    with pytest.raises(Refused, match="client 3 is there twice"):
        late.clients[0].shares([late.signed(3, "keys", mine), *keys[:2], keys[3]])
    with pytest.raises(Refused, match="client 1 twice"):
        late.clients[0].shares([keys[0], *keys])
    late.answer(0, "shares")  # what was refused left nothing behind


def test_keys_that_give_no_secret_are_refused():
    one = Round("keys")
    with pytest.raises(Refused, match="malformed: A public key"):
        one.server.receive(one.signed(1, "keys", bytes(32) + masks.public_bytes(X25519PrivateKey.generate())))
    late = Round("shares")
    keys = late.server.keys_for(0)
    with pytest.raises(Refused, match="keys of client 1 are not usable"):
        late.clients[0].shares([late.signed(1, "keys", bytes(32) + b"1" * 32), *keys[1:]])


def test_messages_of_an_earlier_round_or_of_no_step_are_refused():
    old, new = Round("unmask"), Round("shares")
    new.server._enrolled.update(old.enrolled)  # the same people, enrolled once
    for step in secure_client.STEPS[:3]:
        with pytest.raises(Refused, match="not of this round"):
            new.server.receive(old.server._got[step][1])
    with pytest.raises(Refused, match="keys of another round"):
        new.clients[0].shares([old.server._got["keys"][1], *new.server.keys_for(0)[1:]])
    with pytest.raises(Refused, match="does not exist"):
        new.server.receive(Message(new.round_id, "tea", 1, b""))


def test_a_request_out_of_turn_changes_nothing():
    one = Round("unmask")
    held = dict(one.clients[0]._shares)
    for ask in (
        lambda: one.clients[0].masked(ROWS[0, :10], dict(list(one.server.sealed_for(0).items())[:3])),
        lambda: one.clients[0].shares(one.server.keys_for(0)[:3]),
    ):
        with pytest.raises(Refused, match="out of turn"):
            ask()
    assert one.clients[0]._shares == held
    early = Round("masked")
    with pytest.raises(Refused, match="out of turn"):
        early.clients[0].unmask([1, 2, 3], [])


def test_a_threshold_of_half_is_refused_by_the_client_itself():
    """The server may not be the one who looks after it: two halves could be told different things."""
    one = Round("shares")
    one.clients[0]._threshold = 2
    with pytest.raises(Refused, match="no more than half of the 4 neighbours"):
        one.answer(0, "shares")


def test_shares_for_some_or_for_one_twice_are_refused():
    one = Round("shares")
    body = one.answer(1, "shares").body
    box = len(body) // 4
    for bad, says in [(body[box:], "one pair of shares for each"), (b"", "one pair"), (body + body[:box], "twice")]:
        with pytest.raises(Refused, match=says):
            one.server.receive(one.signed(1, "shares", bad))
    last = Round("unmask")
    told = last.answer(1, "unmask").body
    part = len(told) // 4
    too_large = told[:5] + b"\xff" * 66 + told[part:]
    other_kind = told[:4] + b"\x00" + told[5:]
    for bad, says in [(told + told[:part], "twice"), (too_large, "no share"), (other_kind, "asked for")]:
        with pytest.raises(Refused, match=says):
            last.server.receive(last.signed(1, "unmask", bad))
    for i in (0, 2, 3, 4):
        last.server.receive(last.answer(i, "unmask"))
    assert np.array_equal(last.server.total(), ROWS[:5, :10].sum(axis=0, dtype=np.uint32))  # the others are enough


def test_sealed_shares_of_another_length_are_refused():
    one = Round("masked")
    boxes = one.server.sealed_for(0)
    for plain in (b"", bytes(131), bytes(133), b"\xff" * 132):
        sealer = secure_client.ChaCha20Poly1305(one.clients[1]._channel(1, 0))
        boxes[1] = sealer.encrypt(bytes(12), plain, None)
        with pytest.raises(Refused, match="from client 1 to client 0 are malformed"):
            one.clients[0].masked(ROWS[0, :10], boxes)
    for words in (ROWS[0, :10].astype(float), ROWS[:2, :10]):
        with pytest.raises(BadInput, match="row of uint32"):
            one.clients[0].masked(words, boxes)


@pytest.mark.parametrize("step", secure_client.STEPS)
def test_everybody_gone_at_a_step_is_refused(step):
    with pytest.raises(Refused, match="fewer than"):
        secure_sum(ROWS, drop_outs=dict.fromkeys(range(8), step))


@pytest.mark.parametrize(("clients", "neighbours"), [(3, 2), (4, 2), (4, 3), (5, 2), (5, 4), (6, 4), (7, 6), (9, 20)])
def test_small_rings_are_exact(clients, neighbours):
    graph = neighbour_graph(clients, neighbours)
    assert all(one not in others and len(set(others)) == len(others) for one, others in graph.items())
    rows = ROWS[np.arange(clients) % 8]
    found = secure_sum(rows, neighbours=neighbours)
    assert np.array_equal(found.total, sum_of(rows, range(clients)))


@pytest.mark.parametrize("fewest", [5, 6])
def test_as_many_survivors_as_the_threshold_says(fewest):
    """Of eight with seven neighbours each, five are left: four can undo each mask, and a sum of five is allowed."""
    gone = dict.fromkeys((0, 3, 6), "masked")
    if fewest == 5:
        found = secure_sum(ROWS, threshold=4, fewest=5, drop_outs=gone)
        assert np.array_equal(found.total, sum_of(ROWS, [1, 2, 4, 5, 7]))
    else:
        with pytest.raises(Refused, match="5 clients survived, fewer than 6"):
            secure_sum(ROWS, threshold=4, fewest=6, drop_outs=gone)


def test_a_ring_that_is_cut_gives_no_sums_of_its_pieces(monkeypatch):
    monkeypatch.setattr("secrets.SystemRandom.shuffle", lambda _self, _x: None)  # so that the cut is where we say
    rows = np.tile(ROWS, (2, 1))
    for gap in ((0, 1, 8, 9), (0, 8), (0, 1, 2, 8, 9, 10)):
        gone = dict.fromkeys(gap, "masked")
        if len(gap) == 2:
            found = secure_sum(rows, neighbours=4, drop_outs=gone)
            assert np.array_equal(found.total, sum_of(rows, found.survivors))
        else:
            with pytest.raises(Refused):
                secure_sum(rows, neighbours=4, drop_outs=gone)
