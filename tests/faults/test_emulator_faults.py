"""Firmware that misbehaves on the emulated core: each fault is one sentence with its place, and this process lives."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgelab.emulator import zig
from edgelab.emulator.elf import read_elf
from edgelab.engines import open_engine
from edgelab.errors import BadFile, EdgelabError, EngineCrash, MissingFramework
from edgelab.mcu.compiler import compile_firmware

SPEC = importlib.util.spec_from_file_location(
    "emulator_tests", Path(__file__).parents[1] / "oracle" / "test_emulator.py"
)
EMULATOR = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(EMULATOR)
ROW = [np.zeros((2, 8), np.int8)]
HELPER = "static __attribute__((noinline)) void broken(volatile int8_t *p);\n"
FAULTS = {
    "read": ("*(volatile int *)0x60000000;", r"a read from 0x60000000, where no memory is,"),
    "write": ("*(volatile int *)0x60000000 = 1;", r"a write to 0x60000000, where no memory is,"),
    "flash": ("*(volatile int *)0x40 = 1;", r"a write to flash at 0x00000040"),
    "null call": ("((void (*)(void))0x30000001)();", r"a jump to 0x30000000"),
    "data call": ("((void (*)(void))((unsigned)p | 1))();", r"a jump into data at 0x2000"),
    "undefined": ('__asm volatile(".hword 0xde00");', r"an undefined instruction"),
    "arm": ("((void (*)(void))0x100)();", r"an undefined instruction|a jump outside code"),
    "breakpoint": ('__asm volatile("bkpt 0");', r"a breakpoint"),
    "supervisor": ('__asm volatile("svc 3");', r"a supervisor call"),
    "overflow": ("volatile int8_t big[300]; big[0] = *p; broken(big); big[1] = *p;", r"a stack overflow \(a write to"),
    "wild": ("for (volatile int8_t *q = p;; q += 64) *q = 1;", r"a write to 0x2000[0-9a-f]{4}, where no memory is,"),
}


def broken(path, statement, core="cortex-m4"):
    """The dense layer of the other tests, whose second layer calls a function that does this."""
    body = f"{HELPER}static __attribute__((noinline)) void broken(volatile int8_t *p)\n{{ {statement} (void)*p; }}\n"
    call = "arena[0] == 100 ? (void)0 : broken(arena);"
    model = EMULATOR.DENSE.replace("static int32_t calls = 5;", f"static int32_t calls = 5;\n{body}")
    model = model.replace(
        "for (int o = 0; o < 4; o++)\n        arena[24", f"{call}\n    for (int o = 0; o < 4; o++)\n        arena[24"
    )
    return EMULATOR.build(path, core, model=model)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_names_address_function_and_layer(tmp_path, name):
    statement, words = FAULTS[name]
    with open_engine(broken(tmp_path / "m.elf", statement)) as engine:
        with pytest.raises(EngineCrash, match=words) as caught:
            engine.invoke_raw(ROW)
        said = str(caught.value)
        assert "\n" not in said
        assert said.startswith("The emulated Cortex-M4 with ")
        assert "in layer 1" in said
        if name not in ("null call", "data call", "arm"):  # there the program counter is lost
            assert "broken+0x" in said
        # the core was switched off and on: it answers again, from the beginning
        y, calls = engine.invoke_raw([np.full((1, 8), 100, np.int8)])
        np.testing.assert_array_equal(y, EMULATOR.answers(np.full((1, 8), 100)))
        assert calls.tolist() == [[6]]
        with pytest.raises(EngineCrash, match=words):
            engine.predict(np.zeros((1, 2, 2, 2), np.float32))
        with pytest.raises(EngineCrash, match=words):
            engine.trace(ROW)


def test_a_program_that_never_ends_is_stopped(tmp_path):
    file = broken(tmp_path / "m.elf", "for (;;) (void)*p;")
    with (
        open_engine(file, max_seconds=0.3, timeout=20) as engine,
        pytest.raises(EngineCrash, match=r"did not end within 0\.3 s.* in layer 1"),
    ):
        engine.invoke_raw(ROW)
    elf = read_elf(file)
    machine = EMULATOR.Machine(elf, EMULATOR.find_core("m4"), [e["function"] for e in elf.metadata["layers"]])
    with pytest.raises(EngineCrash, match=r"more basic blocks than it was allowed .* broken\+0x.* in layer 1"):
        machine.traced_call("edgelab_invoke", doing="testing", seconds=30, max_blocks=100_000)


def test_an_interrupt_or_a_fault_at_the_start_is_told(tmp_path):
    main = "int main(void) { return 0; }\n__attribute__((constructor)) void f(void) {}\n"
    files = {"model.c": EMULATOR.DENSE, "model.h": EMULATOR.HEADER, "main.c": main}
    files["description.c"] = EMULATOR.description(EMULATOR.about("cortex-m4"))
    files["startup.c"] = """
int main(void);
extern unsigned _estack[];
void _start(void) { *(volatile int *)0x70000000 = 1; main(); for (;;) {} }
__attribute__((section(".vectors"), used)) const void *const vectors[2] = {_estack, _start};
"""
    with pytest.raises(EngineCrash, match=r"while starting: a write to 0x70000000, .* _start\+0x"):
        open_engine(compile_firmware(files, "m4", tmp_path / "m.elf"))
    files["startup.c"] = files["startup.c"].replace("{_estack,", "{(void *)0x20009000,")
    with pytest.raises(BadFile, match="stack pointer at 0x20009000"):
        open_engine(compile_firmware(files, "m4", tmp_path / "m.elf"))


def test_firmware_for_a_larger_core_does_not_pass_on_a_smaller_one(tmp_path):
    file = EMULATOR.build(tmp_path / "m.elf", "cortex-m4")
    with open_engine(file, core="cortex-m0plus") as engine, pytest.raises(EngineCrash, match="does not have"):
        engine.trace(ROW)


def test_damaged_files_are_sentences(tmp_path):
    """Every byte of the headers and tables, changed: never a traceback, a hang or a dead caller."""
    whole = bytearray(EMULATOR.build(tmp_path / "m.elf").read_bytes())
    rng = np.random.default_rng(0)
    damaged, sentences = tmp_path / "damaged.elf", []
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(int(rng.integers(1, 6))):
            content[int(rng.integers(0, len(content)))] = int(rng.integers(0, 256))
        if rng.random() < 0.3:
            del content[int(rng.integers(20, len(content))) :]
        damaged.write_bytes(content)
        try:
            elf = read_elf(damaged)
        except BadFile as error:
            sentences.append(str(error))
            continue
        elf.function_at(elf.entry)
    for _ in range(12):
        content = bytearray(whole)
        for _ in range(8):
            content[int(rng.integers(0, len(content)))] = int(rng.integers(0, 256))
        damaged.write_bytes(content)
        try:
            with open_engine(damaged, max_seconds=2, timeout=30) as engine:
                engine.invoke_raw([np.zeros((1, *(int(n or 1) for n in engine.inputs[0].shape)), np.int8)])
        except EdgelabError as error:
            sentences.append(str(error))
    assert len(sentences) > 20
    assert not any("\n" in sentence for sentence in sentences)


def test_without_the_compiler_the_sentence_says_how_to_add_it(tmp_path, monkeypatch):
    zig.zig_program.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    try:
        with pytest.raises(MissingFramework, match="uv pip install ziglang"):
            EMULATOR.build(tmp_path / "m.elf")
    finally:
        zig.zig_program.cache_clear()
    assert list(tmp_path.iterdir()) == []


def test_without_the_counter_in_c_python_counts(tmp_path):
    """A cache folder that cannot be written, and a library that is none."""
    file = EMULATOR.build(tmp_path / "m.elf")
    code = f"""
from edgelab.engines import open_engine
import numpy as np
with open_engine({str(file)!r}) as engine:
    print(engine.trace([np.zeros((1, 8), np.int8)]).instructions)
"""
    counts = []
    cache = tmp_path / "cache"
    cache.write_text("a file where a folder should be", encoding="utf-8")
    for setting in ({}, {"EDGELAB_CACHE": str(cache)}, {"EDGELAB_NATIVE_COUNTER": "off"}):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **setting}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-500:]
        counts.append(int(done.stdout))
    assert len(set(counts)) == 1
