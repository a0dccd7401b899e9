"""What the generator's tests share: compile generated code, run it in a child process beside the interpreter."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgelab.emulator.zig import zig_cc
from edgelab.mcu.cgen import generate
from edgelab.mcu.compiler import compile_firmware
from edgelab.mcu.model import read_model

ROOT = Path(__file__).parents[2]
ORACLE = ROOT / "tests" / "data" / "mcu_oracle"
FIGURES = json.loads((ORACLE / "oracle.json").read_text())
MODELS = sorted(FIGURES)
_MAIN = '#include "model.h"\nint main(void) { for (;;) edgelab_invoke(); }\n'
needs_interpreter = pytest.mark.skipif(
    not (sys.platform == "linux" and os.uname().machine == "x86_64"), reason="no TFLM interpreter for this machine"
)


# Whole networks that between them hold what the sixteen hold: windows of all kinds, both strides, depthwise layers,
# sums, concatenation, padding, squeeze and excite, odd shapes. `edgelab test --thorough` takes all sixteen.
SAMPLE = ("branches_concat_pad", "dscnn_49x10", "leaky_tanh", "mobilenet_avgpool", "odd_shapes", "resnet8_24")
thorough = pytest.mark.thorough


def sampled(cases, sample):
    """The cases as parameters: those outside of the sample are for `--thorough`."""
    assert set(sample) <= set(cases)
    return [
        case if case in sample else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=thorough)
        for case in cases
    ]


def asked_for(request, parameter="name"):
    """The values of a parameter in the tests of this file that were chosen, for fixtures that serve all of them."""
    calls = [
        item.callspec.params
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    ]
    return list(dict.fromkeys(params[parameter] for params in calls if parameter in params))


def covering(networks, texts):
    """Of the networks a few whose generated C holds every statement of all: numbers do not tell statements apart.

    The network with most statements that are still missing comes next, until none is missing.
    """
    number = re.compile(r"-?\b(?:0x[\da-f]+|\d+)|(?<=_)\d+")
    statements = {}
    for name, text in zip(networks, texts, strict=True):
        lines = (number.sub("#", line.strip()) for line in text.splitlines())
        statements[name] = {line for line in lines if re.search("[a-z]{2}.*[;{]$", line)}
    missing, chosen = set().union(*statements.values()), []
    while missing:
        chosen.append(max(networks, key=lambda name: len(statements[name] & missing)))
        missing -= statements[chosen[-1]]
    return chosen


def oracle(name):
    return ORACLE / f"{name}.tflite"


def native_jobs(models, folder, rows=100, **settings):
    """Generate for this machine and compile, all models into one library; strict, so that a warning fails."""
    library, jobs = folder / "models.so", []
    for number, path in enumerate(models):
        (folder / str(number)).mkdir(parents=True)
        for name, text in generate(read_model(path), **settings).files.items():
            (folder / str(number) / name).write_text(text)
        prefix = f"model_{number}_"
        renamed = "".join(f"#define edgelab_{f} {prefix}{f}\n" for f in ("input", "output", "invoke"))
        (folder / f"{prefix}.c").write_text(f'{renamed}#include "{number}/model.c"\n')
        jobs.append({"model": str(path), "code": str(library), "prefix": prefix, "rows": rows, "seed": 1})
    compile_native([f"model_{number}_.c" for number in range(len(jobs))], library)
    return jobs


def compile_native(sources, library):
    """A shared library of this machine."""
    flags = ["-std=c99", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-nostdlib", "-fno-sanitize=all"]
    said = zig_cc([*flags, *sources, "-o", library.name], library.parent)
    assert not said, said


def emulated_job(model, folder, rows=5, core="cortex-m4", **settings):
    """Generate for an emulated core and compile; with the sources' figures."""
    sources = generate(read_model(model), **settings)
    elf = compile_firmware({**sources.files, "main.c": _MAIN}, core, folder / f"{Path(model).stem}.elf")
    return {
        "model": str(model),
        "code": str(elf),
        "core": core,
        "layers": list(sources.layers),
        "rows": rows,
        "seed": 2,
        "weights": sources.weights_bytes,
        "arena": sources.arena_bytes,
        "macs": sources.macs,
    }


def emulated_jobs(models, folder, rows=8, core="cortex-m4", **settings):
    """Several models in one firmware, for answers without figures."""
    files, jobs, calls = {}, [], ""
    for number, path in enumerate(models):
        prefix = f"model_{number}_"
        renamed = "".join(f"#define edgelab_{f} {prefix}{f}\n" for f in ("input", "output", "invoke"))
        sources = generate(read_model(path), **settings)
        files[f"{prefix}.h"] = sources.files["model.h"]
        files[f"{prefix}.c"] = renamed + sources.files["model.c"].replace('"model.h"', f'"{prefix}.h"')
        calls += f"void {prefix}invoke(void), {prefix}input(int), {prefix}output(int);\n"
        job = {"model": str(path), "core": core, "layers": [], "rows": rows, "seed": 3, "prefix": prefix}
        jobs.append({**job, "code": str(folder / "models.elf")})
    body = "".join(f"  {job['prefix']}invoke(), {job['prefix']}input(0), {job['prefix']}output(0);\n" for job in jobs)
    files["main.c"] = f"{calls}int main(void) {{\n{body}  for (;;) {{}}\n}}\n"
    files["main.c"] += "void edgelab_input(void) {}\nvoid edgelab_output(void) {}\nvoid edgelab_invoke(void) {}\n"
    compile_firmware(files, core, folder / "models.elf")
    return jobs


def run(jobs):
    """What the child found, one result a job."""
    child = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("cgen_check.py"))],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=280,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    return json.loads(child.stdout)


def wrong(names, jobs):
    """The names of the jobs whose output differs from the interpreter's in some row."""
    return {name: found["wrong"] for name, found in zip(names, run(jobs), strict=True) if found["wrong"]}
