"""The vibration model: its physics in the spectra, its splits, and how hard it is."""

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from edgelab.data import vibration
from edgelab.data.vibration import BEARING, CLASSES, RATE_HZ, SENSORS, UNSEEN, Bearing, Windows, load_zone, simulate
from edgelab.errors import BadInput

HARMLESS = "normal"


def windows(condition, n=16, severity=1.3, load=0.8):
    return Windows(
        np.full(n, CLASSES.index(condition)),
        np.arange(n) % len(SENSORS),
        np.linspace(22, 40, n),
        np.full(n, load),
        np.full(n, 0.0 if condition == HARMLESS else severity),
    )


def envelope(x):
    """The analytic signal's modulus above 1,200 Hz, where the structure rings, and the frequencies of its spectrum."""
    n = x.shape[1]
    spectrum = np.fft.fft(x, axis=1)
    spectrum[:, np.fft.fftfreq(n, 1 / RATE_HZ) < 1200] = 0
    return abs(np.fft.ifft(2 * spectrum, axis=1)), np.fft.rfftfreq(n, 1 / RATE_HZ)


@pytest.fixture(scope="module")
def spectra():
    """Envelope spectra of four seconds of each condition: amplitudes (windows, lines) over orders of the shaft."""
    found = {}
    for condition in CLASSES:
        made = windows(condition)
        level, frequency = envelope(simulate(made, np.random.default_rng(5), samples=4 * RATE_HZ))
        level -= level.mean(axis=1, keepdims=True)
        amplitude = abs(np.fft.rfft(level * np.hanning(level.shape[1]), axis=1))
        found[condition] = (amplitude, frequency / made.shaft_hz[:, None])
    return found


def stands_out(spectrum, order):
    """For each window, the line within 1.5 percent of the order over the median of orders 2.5 to 12."""
    amplitude, orders = spectrum
    near = abs(orders / order - 1) < 0.015
    floor = [np.median(a[(o > 2.5) & (o < 12)]) for a, o in zip(amplitude, orders, strict=True)]
    return np.where(near, amplitude, 0).max(axis=1) / floor


LINES = {
    "outer race": [BEARING.bpfo, 2 * BEARING.bpfo],
    "inner race": [BEARING.bpfi - 1, BEARING.bpfi, BEARING.bpfi + 1],
    "ball": [2 * BEARING.bsf - BEARING.ftf, 2 * BEARING.bsf, 2 * BEARING.bsf + BEARING.ftf],
}


@pytest.mark.parametrize("condition", LINES)
def test_the_envelope_spectrum_shows_the_fault_that_is_there(spectra, condition):
    for order in LINES[condition]:
        assert stands_out(spectra[condition], order).min() > 8, order


@pytest.mark.parametrize("condition", CLASSES)
def test_the_envelope_spectrum_shows_no_fault_that_is_not_there(spectra, condition):
    for other, (line, *_) in {
        "outer race": [BEARING.bpfo],
        "inner race": [BEARING.bpfi],
        "ball": [2 * BEARING.bsf],
    }.items():
        if other != condition:
            assert np.median(stands_out(spectra[condition], line)) < 5, other


def test_the_highest_line_of_an_outer_race_is_the_ball_pass_frequency(spectra):
    amplitude, orders = spectra["outer race"]
    among = np.where((orders > 0.3) & (orders < 12), amplitude, 0)
    highest = orders[np.arange(len(orders)), among.argmax(axis=1)]
    np.testing.assert_allclose(highest, BEARING.bpfo, rtol=0.015)


def test_an_inner_race_is_modulated_by_the_shaft_and_a_ball_by_the_cage(spectra):
    assert stands_out(spectra["inner race"], 1.0).min() > 8
    assert stands_out(spectra["ball"], BEARING.ftf).min() > 8
    assert np.median(stands_out(spectra["outer race"], BEARING.ftf)) < 5


def test_unbalance_grows_with_the_square_of_the_speed():
    n = 40
    slow, fast = (
        Windows(np.full(n, 4), np.zeros(n, int), np.full(n, hz), np.full(n, 0.5), np.full(n, 1.0))
        for hz in (22.0, 40.0)
    )
    line = []
    for made in (slow, fast):
        x = simulate(made, np.random.default_rng(1), samples=4 * RATE_HZ)
        spectrum = abs(np.fft.rfft(x * np.hanning(x.shape[1]), axis=1))
        orders = np.fft.rfftfreq(x.shape[1], 1 / RATE_HZ) / made.shaft_hz[0]
        line.append(spectrum[:, abs(orders - 1) < 0.05].max(axis=1).mean())
    assert line[1] / line[0] == pytest.approx((40 / 22) ** 2, rel=0.1)


@pytest.mark.parametrize("sensor", range(len(SENSORS)))
def test_each_sensor_rings_at_its_own_resonance(sensor):
    n = 8
    made = Windows(np.full(n, 1), np.full(n, sensor), np.full(n, 30.0), np.full(n, 1.0), np.full(n, 5.0))
    power = abs(np.fft.rfft(simulate(made, np.random.default_rng(2), samples=RATE_HZ), axis=1)) ** 2
    frequency = np.fft.rfftfreq(RATE_HZ, 1 / RATE_HZ)
    smooth = np.convolve(power.mean(axis=0), np.ones(101) / 101, "same")
    above = frequency > 1200
    peak = frequency[above][smooth[above].argmax()]
    assert peak == pytest.approx(SENSORS[sensor].modes_hz[0], rel=0.08)


def test_orders_are_those_that_the_bearing_data_centre_publishes():
    # Case Western Reserve University, drive end bearing 6205-2RS: 5.4152, 3.5848, 0.39828, 4.7135.
    found = [BEARING.bpfi, BEARING.bpfo, BEARING.ftf, 2 * BEARING.bsf]
    np.testing.assert_allclose(found, [5.4152, 3.5848, 0.39828, 4.7135], atol=2e-4)


def test_orders_with_a_contact_angle_and_their_sums():
    bearing = Bearing(balls=12, ball_diameter_mm=10, pitch_diameter_mm=60, contact_angle_deg=40)
    assert bearing.bpfo + bearing.bpfi == pytest.approx(12)
    assert bearing.ftf == pytest.approx(0.5 * (1 - np.cos(np.radians(40)) / 6))
    assert bearing.bsf == pytest.approx(3 * (1 - (np.cos(np.radians(40)) / 6) ** 2))


def test_the_load_zone_is_one_in_the_middle_and_nothing_behind():
    angle = np.linspace(-np.pi, np.pi, 201)
    force = load_zone(angle)
    assert force.max() == force[100] == 1
    assert (force[abs(angle) > np.pi / 2] == 0).all()
    np.testing.assert_allclose(force, force[::-1], atol=1e-12)


def test_it_is_the_same_every_time_and_another_with_another_seed():
    np.testing.assert_array_equal(vibration(200).train.x, vibration(200).train.x)
    assert not np.array_equal(vibration(200).train.x, vibration(200, seed=1).train.x)


def test_the_unseen_sensor_is_in_the_test_split_alone_and_all_else_is_balanced():
    data = vibration(2000)
    for part, split in data.splits.items():
        sensors = set(split.groups["sensor"].tolist())
        assert (UNSEEN in sensors) == (part == "test")
        assert np.ptp(np.bincount(split.y)) <= 1
        for sensor in sensors:
            assert np.ptp(np.bincount(split.y[split.groups["sensor"] == sensor])) <= 1
    assert np.mean(data.test.groups["sensor"] == UNSEEN) == pytest.approx(0.25, abs=0.01)


def test_too_few_windows_are_refused():
    with pytest.raises(BadInput, match="at least 100"):
        vibration(50)


def features(x):
    """Logarithms of the envelope's spectrum up to 630 Hz, of the signal's up to 160 Hz, and of its coarse shape."""
    level, _ = envelope(x[:, 0].astype(np.float64))
    mean = level.mean(axis=1, keepdims=True)
    lines = abs(np.fft.rfft(level - mean, axis=1))[:, 1:80] / (mean * x.shape[2])
    power = np.log(abs(np.fft.rfft(x[:, 0], axis=1)) ** 2 + 1e-3)
    return np.concatenate([np.log(lines + 1e-3), power[:, 1:20], power[:, 20:500:20]], axis=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_hard_but_learnable_and_the_unseen_sensor_is_worse(seed):
    data = vibration(seed=seed)
    model = ExtraTreesClassifier(150, random_state=0).fit(features(data.train.x), data.train.y)
    right = model.predict(features(data.test.x)) == data.test.y
    unseen = data.test.groups["sensor"] == UNSEEN
    assert 0.85 < right.mean() < 0.98
    assert right[unseen].mean() < right[~unseen].mean() - 0.03
    assert right[data.test.groups["load"] == "light"].mean() < right[data.test.groups["load"] == "heavy"].mean()
