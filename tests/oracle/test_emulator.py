"""The emulated Cortex-M: answers, counts held against a second way of counting, sizes, the engine's protocol."""

import itertools
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from edgelab.emulator.counter import native_library
from edgelab.emulator.elf import read_elf, sizes_of
from edgelab.emulator.machine import CORES, Machine, find_core
from edgelab.emulator.thumb import Mix, classify, instructions, mix_of, runs_on_armv6m
from edgelab.engines import Engine, model_format, open_engine
from edgelab.engines.cortexm import CortexMEngine
from edgelab.errors import BadFile, BadInput
from edgelab.mcu.compiler import compile_firmware, first_complaint, linker_script
from edgelab.mcu.project import description
from edgelab.measure.compare import compare

W = np.random.default_rng(7).integers(-128, 128, (4, 8))
B = np.array([100, -2000, 30, 4000])
DENSE = f"""
#include "model.h"
static int8_t arena[64];
static const int8_t weights[4][8] = {{{", ".join("{" + ", ".join(map(str, row)) + "}" for row in W)}}};
static const int32_t bias[4] = {{{", ".join(map(str, B))}}};
static int32_t calls = 5;
static __attribute__((noinline)) int32_t scaled(int32_t a)
{{
    return (int32_t)(((int64_t)a * 1518500250 + (1 << 30)) >> 31);
}}
static __attribute__((noinline)) void layer_00_fully_connected(void)
{{
    for (int o = 0; o < 4; o++) {{
        int32_t a = bias[o];
        for (int i = 0; i < 8; i++)
            a += (arena[i] + 3) * weights[o][i];
        a = (scaled(a) + 32) >> 6;
        arena[16 + o] = (int8_t)(a > 127 ? 127 : a < -128 ? -128 : a);
    }}
}}
static __attribute__((noinline)) void layer_01_relu(void)
{{
    for (int o = 0; o < 4; o++)
        arena[24 + o] = arena[16 + o] < 2 ? 2 : arena[16 + o];
}}
int8_t *edgelab_input(int i) {{ return i == 0 ? arena : 0; }}
const int8_t *edgelab_output(int i) {{ return i == 0 ? arena + 24 : i == 1 ? (int8_t *)&calls : 0; }}
void edgelab_invoke(void)
{{
    layer_00_fully_connected();
    layer_01_relu();
    calls++;
}}
"""
HEADER = (
    "#include <stdint.h>\nint8_t *edgelab_input(int);\nconst int8_t *edgelab_output(int);\nvoid edgelab_invoke(void);\n"
)
MAIN = '#include "model.h"\nint main(void) { edgelab_invoke(); return edgelab_output(0)[0]; }\n'


def about(core, **changes):
    return {
        "edgelab": 1,
        "core": core,
        "kernels": "portable",
        "inputs": [{"name": "x", "shape": [1, 2, 2, 2], "dtype": "int8", "scale": 0.5, "zero_point": -3}],
        "outputs": [
            {"name": "y", "shape": [1, 4], "dtype": "int8", "scale": 0.25, "zero_point": 2},
            {"name": "calls", "shape": [1, 1], "dtype": "int32", "scale": None, "zero_point": None},
        ],
        "layers": [
            {"function": "layer_00_fully_connected", "operator": "FULLY_CONNECTED", "macs": 32},
            {"function": "layer_01_relu", "operator": "RELU", "macs": 0},
        ],
        **changes,
    }


def build(path, core="cortex-m4", model=DENSE, main=MAIN, **changes):
    files = {"model.c": model, "model.h": HEADER, "main.c": main, "description.c": description(about(core, **changes))}
    return compile_firmware(files, core, path)


def answers(x):
    sums = (x.reshape(-1, 8).astype(np.int64) + 3) @ W.T + B
    steps = ((sums * 1518500250 + (1 << 30)) >> 31) + 32 >> 6
    return np.maximum(np.clip(steps, -128, 127), 2)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("firmware")
    return {core: build(folder / f"{core}.elf", core) for core in CORES}


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).integers(-128, 128, (50, 2, 2, 2)).astype(np.int8)


@pytest.mark.parametrize("core", CORES)
def test_every_core_answers_as_the_arithmetic_says(files, rows, core):
    with open_engine(files[core]) as engine:
        assert isinstance(engine, CortexMEngine)
        assert isinstance(engine, Engine)
        assert find_core(core).title in engine.name
        y, calls = engine.invoke_raw([rows])
        np.testing.assert_array_equal(y, answers(rows))
        np.testing.assert_array_equal(calls[:, 0], np.arange(6, 56))
        again = engine.invoke_raw([rows[:3]], reset_each=True)[1]
    np.testing.assert_array_equal(again[:, 0], [6, 6, 6])


def test_predict_lays_out_quantizes_and_dequantizes(files):
    x = np.random.default_rng(1).normal(scale=20, size=(70, 2, 2, 2)).astype(np.float32)
    with open_engine(files["cortex-m4"]) as engine:
        y = engine.predict(x)
    q = np.clip(np.rint(x / np.float32(0.5)) - 3, -128, 127).astype(np.int8)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, (answers(np.moveaxis(q, 1, -1)) - 2) * 0.25)


@pytest.mark.parametrize("core", CORES)
def test_counts_are_those_of_a_hook_on_every_instruction(files, rows, core):
    elf = read_elf(files[core])
    layers = [entry["function"] for entry in elf.metadata["layers"]]
    machine = Machine(elf, find_core(core), layers)
    counted = machine.traced_call("edgelab_invoke", doing="testing", seconds=10, max_blocks=10**6)
    seen = []
    machine._uc.ctl_flush_tb()
    machine._uc.hook_add(machine._const.UC_HOOK_CODE, lambda _uc, address, size, _data: seen.append((address, size)))
    machine.call("edgelab_invoke", doing="testing", seconds=10)
    seen = with_skipped(machine, seen)
    total = sum(counted.layers, counted.outside)
    assert total.instructions == len(seen)
    assert total.taken == sum(a + size != b for (a, size), (b, _) in itertools.pairwise(seen))
    # what a layer calls counts for the layer
    inside = {name: elf.symbol(name) for name in (*layers, "edgelab_invoke")}
    own = {n: sum(s.address <= a < s.address + s.size for a, _ in seen) for n, s in inside.items()}
    assert counted.layers[0].instructions > own[layers[0]]
    assert counted.layers[1].instructions == own[layers[1]]
    assert counted.outside.instructions == own["edgelab_invoke"]
    code = b"".join(machine.read(a, size, "code") for a, size in seen)
    assert mix_of(code) == Mix(**{**total.to_dict(), "taken": 0})


def with_skipped(machine, seen):
    """The instructions seen, and those that an IT block skipped: a core fetches them too, the hook tells of none."""
    whole, covered = [], {}
    for address, size in seen:
        while whole and (end := sum(whole[-1])) != address and end in covered:
            whole.append((end, covered[end]))
        whole.append((address, size))
        (half,) = struct.unpack("<H", machine.read(address, 2, "code"))
        if half & 0xFF00 == 0xBF00 and half & 0xF:
            place = address + 2
            count = 5 - (half & -half).bit_length()
            for _, second in itertools.islice(instructions(machine.read(place, 16, "code")), count):
                covered[place] = 2 if second is None else 4
                place += covered[place]
    return whole


def test_both_counters_agree(files, rows):
    if sys.platform == "linux":
        assert native_library() is not None, "the counter in C was not made on this machine"
    traces = []
    for native in (None, False):
        with open_engine(files["cortex-m4"], native=native) as engine:
            traces.append(engine.trace([rows]))
            floats = engine.trace(np.ones((1, 2, 2, 2), np.float32))
            assert floats.instructions > 0
    assert traces[0] == traces[1]
    trace = traces[0]
    assert trace.instructions == sum(layer.instructions for layer in trace.layers) + trace.outside.instructions
    assert (trace.macs, trace.core, trace.kernels) == (32, "cortex-m4", "portable")
    assert trace.reading().how == "emulated"
    assert 8 <= trace.stack_bytes < 200
    assert "FULLY_CONNECTED" in str(trace)
    assert json.loads(json.dumps(trace.to_dict()))["by_layer"][0]["macs"] == 32


def test_an_older_core_needs_more_instructions(files, rows):
    counts = {}
    for core in ("cortex-m0plus", "cortex-m4"):
        with open_engine(files[core]) as engine:
            counts[core] = engine.trace([rows]).instructions
    assert counts["cortex-m0plus"] > 1.5 * counts["cortex-m4"]


def test_sizes_come_from_the_sections(files):
    elf = read_elf(files["cortex-m4"])
    sizes = sizes_of(elf)
    assert sizes.bss == 64
    assert sizes.data in (4, 16)
    assert sizes.stack == 4096
    assert sizes.rodata >= 32 + 16
    assert sizes.other_flash == 64
    assert sizes.flash_bytes == sizes.text + sizes.rodata + sizes.data + 64
    assert sizes.ram_bytes == sizes.data + 64
    loaded = sum(len(s.content) for s in elf.segments)
    assert 0 <= loaded - sizes.flash_bytes < 64, "what is loaded is what occupies flash, but for alignment"
    assert elf.where(elf.symbol("edgelab_invoke").address + 2) == "edgelab_invoke+0x2"
    assert model_format(files["cortex-m4"]) == "elf"


def test_time_is_refused_and_says_what_there_is(files):
    x = np.zeros((1, 2, 2, 2), np.float32)
    with open_engine(files["cortex-m4"]) as engine:
        for refused in (lambda: engine.time(x, 3), lambda: engine.profile(x, 3)):
            with pytest.raises(BadInput, match=r"keeps no time.*instructions exactly.*edgelab\.mcu\.timing"):
                refused()


def test_run_takes_and_gives_arrays_by_name(files):
    x = (
        np.random.default_rng(3).normal(scale=20, size=(40, 2, 2, 2)).astype(np.float32)
    )  # more rows than one call takes
    with open_engine(files["cortex-m4"]) as engine:
        (name,) = engine.input_names
        found = engine.run({name: x})
        assert list(found) == [info.name for info in engine.outputs]
        logits = engine.predict(x)
        assert any(np.array_equal(y.reshape(40, -1), logits) for y in found.values() if y.dtype == np.float32)
        for wrong, says in (
            ({}, "is missing"),
            ({name: x, "other": x}, "no input 'other'"),
            ({name: x[:, :1]}, "takes the shape"),
            ({name: x.astype(np.float64)}, "not float64"),
        ):
            with pytest.raises(BadInput, match=says):
                engine.run(wrong)


def test_compare_takes_firmware_without_times(files):
    from edgelab.feeding.arrays import Arrays

    x = np.random.default_rng(2).normal(scale=20, size=(30, 2, 2, 2)).astype(np.float32)
    data = Arrays(x, np.arange(30) % 4, None)
    report = compare(files["cortex-m4"], files["cortex-m33"], data)
    told = report.to_dict()
    assert told["reference"]["p50_ms"] is told["models"][0]["p50_ms"] is told["models"][0]["speed_up"] is None
    assert told["models"][0]["sqnr_db"] is None
    assert "was not timed" in told["note"]
    assert "untimed" in str(report)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "takes 1 inputs"),
        ([np.zeros((1, 8), np.uint8)], "rows of int8 .* not uint8"),
        ([np.zeros((1, 9), np.int8)], r"shape \(N, 2, 2, 2\)"),
        ([np.zeros((0, 8), np.int8)], "at least one row"),
        ([[1, 2, 3]], "not list"),
    ],
)
def test_raw_rows_that_do_not_fit(files, inputs, words):
    with open_engine(files["cortex-m4"]) as engine, pytest.raises(BadInput, match=words):
        engine.invoke_raw(inputs)


def test_settings_that_make_no_sense(files):
    file = files["cortex-m4"]
    for settings, words in (
        ({"threads": 2}, "one core"),
        ({"core": "m55"}, "cortex-m33"),
        ({"max_seconds": 0}, "positive"),
        ({"nonsense": 1}, "does not take this option"),
    ):
        with pytest.raises(BadInput, match=words):
            open_engine(file, **settings)
    with open_engine(file, output="nothing") as engine, pytest.raises(BadInput, match="no output 'nothing'"):
        engine.predict(np.zeros((1, 2, 2, 2), np.float32))
    for stack in (100, 1001, 2**21):
        with pytest.raises(BadInput, match="stack_bytes"):
            linker_script("m4", stack_bytes=stack)


def test_a_compile_error_is_one_sentence(tmp_path):
    with pytest.raises(BadInput, match=r"do not compile for Cortex-M4: model\.c:\d+:\d+: .*[^.]\.$") as caught:
        build(tmp_path / "m.elf", model=DENSE.replace("int32_t a = bias[o]", "int32_t a = nothing[o]"))
    assert "\n" not in str(caught.value)
    assert "nothing" in str(caught.value)
    with pytest.raises(BadInput, match="undefined symbol: sensor"):
        build(tmp_path / "m.elf", main=MAIN.replace("edgelab_invoke();", "extern void sensor(void); sensor();"))
    with pytest.raises(BadInput, match="RAM"):
        build(tmp_path / "m.elf", model=DENSE.replace("arena[64]", "arena[64 << 20]"))
    assert list(tmp_path.iterdir()) == []
    assert first_complaint("") == "no reason given"


def test_floating_point_on_a_core_without_an_fpu(tmp_path):
    """The compiler's own library brings what the core has no instruction for."""
    model = DENSE.replace("arena[24 + o] =", "arena[30] = (int8_t)((float)arena[16 + o] * 0.3f), arena[24 + o] =")
    file = build(tmp_path / "m.elf", "cortex-m0plus", model=model)
    assert read_elf(file).find("__aeabi_fmul") is not None
    with open_engine(file) as engine:
        x = np.arange(8, dtype=np.int8)[None]
        np.testing.assert_array_equal(engine.invoke_raw([x])[0], answers(x))


ASSEMBLY = [
    ("ldr r0, [r1, #4]", "load", 1), ("ldrsb r0, [r1, r2]", "load", 1), ("strh r0, [r1, r2]", "store", 1),
    ("ldr r0, [sp, #8]", "load", 1), ("str r0, [sp, #8]", "store", 1), ("push {r4-r7, lr}", "store", 5),
    ("pop {r4, pc}", "load", 2), ("stmia r0!, {r1, r2}", "store", 2), ("ldmia r0!, {r1-r3}", "load", 3),
    ("muls r0, r1, r0", "multiply", 0), ("adds r0, r1", "other", 0), ("beq 1f", "branch", 0), ("b 1f", "branch", 0),
    ("bx lr", "branch", 0), ("cbz r0, 1f", "branch", 0), ("nop", "other", 0), ("it eq\n moveq r0, r1", "other", 0),
    ("uxtb r0, r1", "other", 0), ("ldr.w r8, [r1, #400]", "load", 1), ("strb.w r8, [r1, #400]", "store", 1),
    ("ldrsh.w r8, [r1, r2, lsl #1]", "load", 1), ("pld [r1]", "other", 0), ("ldrd r0, r1, [r2]", "load", 2),
    ("strd r0, r1, [r2, #8]!", "store", 2), ("ldmdb r0!, {r1, r2, r8}", "load", 3), ("push.w {r8, r9}", "store", 2),
    ("ldrex r0, [r1]", "load", 1), ("tbb [pc, r0]", "branch", 1), ("mla r0, r1, r2, r3", "mac", 0),
    ("mls r0, r1, r2, r3", "mac", 0), ("mul r8, r1, r2", "multiply", 0), ("smlad r0, r1, r2, r3", "mac", 0),
    ("smuad r0, r1, r2", "multiply", 0), ("smlabb r0, r1, r2, r3", "mac", 0), ("smulbb r0, r1, r2", "multiply", 0),
    ("smull r0, r1, r2, r3", "multiply", 0), ("smlal r0, r1, r2, r3", "mac", 0), ("smlald r0, r1, r2, r3", "mac", 0),
    ("umaal r0, r1, r2, r3", "mac", 0), ("smmla r0, r1, r2, r3", "mac", 0), ("smmulr r0, r1, r2", "multiply", 0),
    ("sdiv r0, r1, r2", "divide", 0), ("udiv r0, r1, r2", "divide", 0), ("sxtb16 r0, r1, ror #8", "other", 0),
    ("ssat r0, #8, r1", "other", 0), ("pkhbt r0, r1, r2, lsl #16", "other", 0),
    ("add.w r0, r1, r2, lsl #3", "other", 0),
    ("movw r0, #1234", "other", 0), ("bl 1f", "branch", 0), ("b.w 1f", "branch", 0), ("beq.w 1f", "branch", 0),
    ("mrs r0, primask", "other", 0), ("dsb", "other", 0), ("vldr s0, [r0]", "load", 1), ("vstr d1, [r0]", "store", 2),
    ("vldmia r0!, {s0-s3}", "load", 4), ("vmla.f32 s0, s1, s2", "mac", 0), ("vfma.f32 s0, s1, s2", "mac", 0),
    ("vmul.f32 s0, s1, s2", "multiply", 0), ("vdiv.f32 s0, s1, s2", "divide", 0), ("vadd.f32 s0, s1, s2", "other", 0),
    ("vmov s0, r1", "other", 0), ("vmov s0, s1, r1, r2", "other", 0), ("vcvt.s32.f32 s0, s1", "other", 0),
]  # fmt: skip


def test_instructions_are_told_apart_as_the_assembler_writes_them(tmp_path):
    text = "".join(f"{line}\n nop\n1:\n" for line, _, _ in ASSEMBLY).replace("\n", "\\n")
    probe = f'__attribute__((naked, used)) void probe(void)\n{{ __asm volatile("{text}"); }}\n'
    file = build(tmp_path / "m.elf", main=probe + MAIN.replace("edgelab_invoke();", "edgelab_invoke(); probe();"))
    elf = read_elf(file)
    place = elf.symbol("probe")
    segment = next(s for s in elf.segments if s.address <= place.address < s.address + len(s.content))
    code = segment.content[place.address - segment.address :][: place.size]
    found = [classify(*pair) for pair in instructions(code)]
    expected = []
    for line, kind, registers in ASSEMBLY:
        expected += [*[(kind, registers)] * (line.count("\n") + 1), ("other", 0)]
    assert len(found) >= len(expected)
    for got, wanted, pair in zip(found, expected, instructions(code), strict=False):
        assert got == wanted, [f"{n:#x}" for n in pair if n is not None]


def test_an_m0_plus_knows_few_wide_instructions():
    assert runs_on_armv6m(0x3001, None)
    assert runs_on_armv6m(0xF000, 0xF801)  # bl
    assert runs_on_armv6m(0xF3BF, 0x8F4F)  # dsb
    assert not runs_on_armv6m(0xFBB0, 0xF0F1)  # udiv
    assert not runs_on_armv6m(0xB100, None)  # cbz
    assert not runs_on_armv6m(0xBF08, None)  # it


ARITHMETIC = """
#include <stddef.h>
#include <string.h>
volatile int64_t a, b;
volatile int64_t result[12];
volatile int32_t shift;
uint8_t bytes[64];
void compute(void)
{
    int64_t x = a, y = b;
    result[0] = x * y;
    result[1] = x / y;
    result[2] = x % y;
    result[3] = (int64_t)((uint64_t)x / (uint64_t)y);
    result[4] = (int64_t)((uint64_t)x % (uint64_t)y);
    result[5] = (int64_t)((uint64_t)x << shift);
    result[6] = (int64_t)((uint64_t)x >> shift);
    result[7] = x >> shift;
    result[8] = (int32_t)x / (int32_t)y;
    result[9] = (int32_t)x % (int32_t)y;
    result[10] = (uint32_t)x / (uint32_t)y;
    result[11] = (uint32_t)x % (uint32_t)y;
}
void move(int to, int from, int count) { memmove(bytes + to, bytes + from, (size_t)count); }
void copy(int to, int from, int count) { memcpy(bytes + to, bytes + from, (size_t)count); }
void fill(int to, int value, int count) { memset(bytes + to, value, (size_t)count); }
"""
STRING = "typedef __SIZE_TYPE__ size_t;\nvoid *memcpy(void *, const void *, size_t);\n"
STRING += "void *memmove(void *, const void *, size_t);\nvoid *memset(void *, int, size_t);\n"


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_the_runtime_computes_what_a_core_cannot(tmp_path, core):
    calls = "compute(); move(0, 1, 2); copy(0, 4, 2); fill(0, 0, 2); return"
    main = MAIN.replace("return", f"extern void compute(void), move(), copy(), fill(); {calls}")
    source = ARITHMETIC.replace("#include <string.h>", STRING).replace("#include <stddef.h>", "#include <stdint.h>")
    files = {"model.c": DENSE, "model.h": HEADER, "main.c": main, "math.c": source}
    elf = read_elf(compile_firmware(files, core, tmp_path / "m.elf"))
    machine = Machine(elf, find_core(core), [])
    rng = np.random.default_rng(3)
    values = [
        1,
        -1,
        2**31 - 1,
        -(2**31),
        2**63 - 1,
        2**32,
        10**12,
        *(int(v) for v in rng.integers(-(2**62), 2**62, 30)),
    ]
    mask, half = 2**64 - 1, 2**32 - 1

    def signed(v, bits=64):
        return (v + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)

    def divided(x, y):
        q = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        return q, x - q * y

    for number, (x, y) in enumerate(zip(values, values[1:] + values[:1], strict=True)):
        low_y = y if y & half else y + 7
        if (x == -(2**63) and low_y == -1) or (signed(x & half, 32) == -(2**31) and signed(low_y & half, 32) == -1):
            continue
        shift = number * 2 % 63 + 1
        machine.write(elf.symbol("a").address, struct.pack("<q", x), "a")
        machine.write(elf.symbol("b").address, struct.pack("<q", low_y), "b")
        machine.write(elf.symbol("shift").address, struct.pack("<i", shift), "shift")
        machine.call("compute", doing="computing", seconds=10)
        found = struct.unpack("<12q", machine.read(elf.symbol("result").address, 96, "result"))
        short = divided(signed(x & half, 32), signed(low_y & half, 32))
        expected = [
            signed(x * low_y), *divided(x, low_y), *map(signed, divmod(x & mask, low_y & mask)),
            signed(x << shift), signed((x & mask) >> shift), x >> shift,
            *short, *divmod(x & half, low_y & half),
        ]  # fmt: skip
        assert list(found) == expected, (x, low_y, shift)
    place = elf.symbol("bytes").address
    for to, source_at, count in [(0, 1, 30), (1, 0, 30), (3, 9, 0), (8, 32, 16), (5, 33, 17), (32, 16, 20)]:
        start = bytes(rng.integers(0, 256, 64).astype(np.uint8))
        for name in ("move", "copy", "fill"):
            overlaps = abs(to - source_at) < count
            if name == "copy" and overlaps:
                continue
            machine.write(place, start, "bytes")
            machine.call(name, to, source_at, count, doing="moving", seconds=10)
            wanted = bytearray(start)
            wanted[to : to + count] = bytes([source_at]) * count if name == "fill" else start[source_at:][:count]
            assert machine.read(place, 64, "bytes") == bytes(wanted), (name, to, source_at, count)


def test_firmware_of_others_is_refused(tmp_path, files):
    whole = files["cortex-m4"].read_bytes()
    cases = {
        "other processor": (whole[:18] + struct.pack("<H", 62) + whole[20:], "another processor"),
        "object": (whole[:16] + struct.pack("<H", 1) + whole[18:], "not linked firmware"),
        "cut": (whole[: len(whole) // 2], "damaged"),
        "head": (whole[:30], "damaged"),
    }
    for name, (content, words) in cases.items():
        path = tmp_path / f"{name}.elf"
        path.write_bytes(content)
        with pytest.raises(BadFile, match=words):
            open_engine(path)
    plain = compile_firmware({"model.c": DENSE, "model.h": HEADER, "main.c": MAIN}, "m4", tmp_path / "plain.elf")
    with pytest.raises(BadFile, match="does not say which model"):
        open_engine(plain)
    for changes, words in (
        ({"edgelab": 99}, "another version"),
        ({"layers": [{"function": "layer_00_fully_connected"}]}, "damaged"),
        ({"layers": [{"function": "gone", "operator": "ADD", "macs": 1}]}, "no symbol 'gone'"),
        ({"inputs": []}, "no input"),
    ):
        file = build(tmp_path / "m.elf", **changes)
        with pytest.raises(BadFile, match=words), open_engine(file) as engine:
            engine.trace([np.zeros((1, 8), np.int8)])


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    out = tmp_path / "out"
    build(out / "m.elf")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert [p.name for p in out.iterdir()] == ["m.elf"]
    assert Path.cwd().joinpath(".zig-cache").exists() is False
