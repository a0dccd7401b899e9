"""The front end in C on the emulated core against its numpy twin, bit for bit, and the twin against floating point."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edgelab.errors import BadInput
from edgelab.mcu import fixed_fft
from edgelab.mcu.custom import Buffer, build_custom, embedded
from edgelab.mcu.emulator import run_firmware
from edgelab.mcu.fixed_fft import real_fft
from edgelab.mcu.frontend import FrontEnd, Spectrum, band_edges, to_counts

SCALE, ZERO = 0.171, -103


def windows(n: int) -> np.ndarray:
    """Silence, noise from a whisper to clipping, tones, and the loudest that 16 bits hold in several rhythms."""
    rng = np.random.default_rng(n)
    i = np.arange(n)
    noise = [np.clip(np.rint(rng.normal(size=n) * a), -32768, 32767) for a in (0, 0.4, 2, 90, 3000, 20000, 1e6)]
    squares = [np.where(i % p < p // 2, 32767, -32768) for p in (2, 4, 16, n)]
    tones = [np.rint(32767 * np.cos(2 * np.pi * i * k / n)) for k in (1, n // 8, n // 4 + 0.5)]
    steps = [np.full(n, 32767), np.full(n, -32768), np.where(i == 0, 32767, -32768), np.where(i == n // 2, 1, 0)]
    return np.stack([*noise, *squares, *tones, *steps]).astype(np.int16)


def front_end_of(n: int) -> FrontEnd:
    return FrontEnd(n, (Spectrum(band_edges(1, n // 2, 9)), Spectrum(tuple(range(1, n // 4)), envelope=True)))


def build(front_end: FrontEnd, folder: Path, core: str) -> Path:
    return build_custom(
        front_end.c_files(SCALE, ZERO),
        folder / "frontend.elf",
        inputs=[Buffer("samples", (front_end.samples,), "int16")],
        outputs=[Buffer("features", (front_end.size,), "int8", SCALE, ZERO)],
        calls=["frontend_run(samples, features);"],
        layers=front_end.c_functions(),
        core=core,
    )


@pytest.mark.parametrize(
    ("n", "core"),
    [(16, "cortex-m4"), (64, "cortex-m0plus"), (512, "cortex-m33"), (1024, "cortex-m4"), (4096, "cortex-m7")],
)
def test_the_device_computes_what_the_twin_computes(tmp_path, n, core):
    front_end, x = front_end_of(n), windows(n)
    run = run_firmware(build(front_end, tmp_path, core), [x])
    np.testing.assert_array_equal(run.outputs[0], front_end.quantized(x, SCALE, ZERO))
    assert [layer.layer for layer in run.trace.layers] == list(front_end.c_functions())
    assert all(layer.instructions for layer in run.trace.layers)


def test_the_fft_is_that_of_numpy_up_to_its_rounding():
    n = 1024
    rng, i = np.random.default_rng(3), np.arange(n)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * i / n)
    for amplitude in (3, 100, 3000, 26000):
        tone = amplitude * np.sin(2 * np.pi * 100.3 * i / n) + 0.1 * amplitude * rng.normal(size=n)
        x = np.rint(tone).astype(np.int64)[None]
        re, im, exponent = real_fft(x)
        found = (re + 1j * im) / 2 * 2.0 ** exponent[:, None]
        right = np.fft.rfft((x - x.mean()) * hann)[:, : n // 2]
        # The mean is taken off as a whole number, which the window leaves in bin 1.
        error = (found - right)[:, 2:]
        snr_db = 10 * np.log10((np.abs(right[:, 2:]) ** 2).sum() / (np.abs(error) ** 2).sum())
        assert snr_db > 60, amplitude


def test_nothing_overflows_at_full_scale(monkeypatch):
    seen = []
    inner = fixed_fft._stage

    def watched(re, im, half, table):
        made = inner(re, im, half, table)
        seen.append(max(np.abs(made[0]).max(), np.abs(made[1]).max()))
        return made

    monkeypatch.setattr(fixed_fft, "_stage", watched)
    rng = np.random.default_rng(1)
    extreme = rng.choice(np.array([-32768, 32767]), size=(400, 256))
    for x in (windows(256).astype(np.int64), extreme, np.abs(np.diff(extreme, prepend=extreme[:, :1]))):
        real_fft(x)
    assert 2**14 < max(seen) <= 32767


def test_a_butterfly_stays_inside_16_bits_at_every_threshold():
    table = fixed_fft.cosines(1024).astype(np.int64)
    for peak in (fixed_fft.NO_SHIFT - 1, fixed_fft.ONE_SHIFT - 1, 32767):
        for half in (1, 8, 256):
            for signs in range(16):
                value = [peak if signs >> bit & 1 else -peak - 1 for bit in range(4)]
                re = np.tile(np.repeat(value[:2], half), 256 // half)[:, None]
                im = np.tile(np.repeat(value[2:], half), 256 // half)[:, None]
                for made in fixed_fft._stage(re, im, half, table)[:2]:
                    assert made.max() <= 32767
                    assert made.min() >= -32768


def test_features_are_logarithms_of_energies():
    n, front_end = 512, front_end_of(512)
    x = np.random.default_rng(5).normal(scale=900, size=(20, n)).round().astype(np.int16)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    right = []
    for spectrum in front_end.spectra:
        signal = np.abs(np.diff(x.astype(int), prepend=x[:, :1])) if spectrum.envelope else x
        power = np.abs(np.fft.rfft((signal - signal.mean(axis=1, keepdims=True)) * hann)) ** 2
        right += [power[:, a:b].sum(axis=1) for a, b in zip(spectrum.edges, spectrum.edges[1:], strict=False)]
    gap = front_end.features(x) - np.log2(np.stack(right, axis=1))
    assert np.median(gap) == pytest.approx(-0.06, abs=0.03)  # of the linear logarithm, on average
    assert np.quantile(np.abs(gap), 0.98) < 0.12


def test_the_logarithm_is_at_most_a_twelfth_too_small():
    energy = np.unique(np.geomspace(1, 2**46, 4000).astype(np.int64))
    gap = fixed_fft.log2(energy) / 256 - np.log2(energy)
    assert gap.max() <= 1e-9
    assert gap.min() > -0.0901
    assert fixed_fft.log2(np.array([0, 1, 2, 1 << 46])).tolist() == [0, 0, 256, 46 * 256]


def test_louder_by_two_is_higher_by_two_doublings_of_energy():
    front_end = front_end_of(256)
    x = np.random.default_rng(6).normal(scale=500, size=(8, 256)).round().astype(np.int16)
    gap = front_end.features((4 * x).astype(np.int16)) - front_end.features(x)
    assert np.quantile(np.abs(gap - 4), 0.9) < 0.05


def test_front_end_and_network_in_one_firmware(tmp_path):
    import torch

    from edgelab.convert.tflite import export_int8
    from edgelab.engines.tflm import TFLMEngine
    from edgelab.mcu.cgen import generate
    from edgelab.mcu.model import read_model

    front_end = front_end_of(64)
    x = np.concatenate([windows(64), np.random.default_rng(2).normal(scale=800, size=(40, 64)).astype(np.int16)])
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(front_end.size, 12), torch.nn.ReLU(), torch.nn.Linear(12, 3))
    made = export_int8(net, front_end.features(x), tmp_path / "net.tflite")
    sources = generate(read_model(made.path))
    path = build_custom(
        {**front_end.c_files(made.input_scale, made.input_zero_point), **embedded(sources.files, "network")},
        tmp_path / "both.elf",
        inputs=[Buffer("samples", (64,), "int16")],
        outputs=[Buffer("answer", (3,), "int8", made.output_scale, made.output_zero_point)],
        calls=[
            "frontend_run(samples, network_input(0));",
            "network_invoke();",
            "for (int i = 0; i < 3; i++) answer[i] = network_output(0)[i];",
        ],
        layers=[*front_end.c_functions(), *sources.layers],
    )
    with TFLMEngine(made.path) as engine:
        (right,) = engine.invoke_raw([front_end.quantized(x, made.input_scale, made.input_zero_point)])
    np.testing.assert_array_equal(run_firmware(path, [x]).outputs[0], right)


def test_names_and_edges():
    front_end = FrontEnd(64, (Spectrum((1, 4, 5)), Spectrum((2, 4), envelope=True)))
    assert front_end.names() == ("samples 1-3", "samples 4", "envelope 2-3")
    assert front_end.size == 3
    edges = band_edges(1, 512, 16)
    assert edges[0] == 1
    assert edges[-1] == 512
    assert all(a < b for a, b in pairwise(edges))


def test_counts_are_rounded_and_held():
    assert to_counts(np.array([0.0, 1.0, -0.0003, 9.0, -9.0]), 4096).tolist() == [0, 4096, -1, 32767, -32768]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: FrontEnd(1000, (Spectrum((1, 2)),)), "power of two"),
        (lambda: FrontEnd(8192, (Spectrum((1, 2)),)), "4,096"),
        (lambda: FrontEnd(64, ()), "at least one spectrum"),
        (lambda: FrontEnd(64, (Spectrum((0, 2)),)), "edges must rise"),
        (lambda: FrontEnd(64, (Spectrum((1, 33)),)), "at most 32"),
        (lambda: FrontEnd(64, (Spectrum((3, 3)),)), "edges must rise"),
        (lambda: front_end_of(64).features(np.zeros((2, 64), np.float32)), "takes int16"),
        (lambda: front_end_of(64).features(np.zeros((2, 32), np.int16)), "takes int16"),
        (lambda: front_end_of(64).c_files(0.0, 0), "quantization"),
        (lambda: front_end_of(64).c_files(0.1, 300), "quantization"),
        (lambda: front_end_of(64).c_files(0.1, 0, "my front"), "prefix"),
        (lambda: band_edges(4, 4, 3), "band_edges"),
    ],
)
def test_what_cannot_be_is_a_sentence(make, says):
    with pytest.raises(BadInput, match=says):
        make()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"inputs": []}, "at least one input"),
        ({"inputs": [Buffer("y", (1,))]}, "same name"),
        ({"files": {"app.c": ""}}, "is taken"),
        ({"calls": ["y[0] = nothing;"]}, "do not compile.*nothing"),
        ({"core": "cortex-a53"}, "not a core"),
    ],
)
def test_custom_firmware_that_cannot_be_is_a_sentence(tmp_path, change, says):
    given = {"files": {}, "inputs": [Buffer("x", (1,))], "outputs": [Buffer("y", (1,))], "calls": ["y[0] = x[0];"]}
    given |= change
    with pytest.raises(BadInput, match=says):
        build_custom(given.pop("files"), tmp_path / "x.elf", **given)


def test_buffers_and_prefixes_that_cannot_be():
    for make in (
        lambda: Buffer("1st", (1,)),
        lambda: Buffer("x", (0,)),
        lambda: Buffer("x", (1,), "int64"),
        lambda: embedded({}, "edgelab"),
        lambda: embedded({}, "a-b"),
    ):
        with pytest.raises(BadInput):
            make()
