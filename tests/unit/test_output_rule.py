"""One rule for what a command writes: nothing that is there is replaced without ``--overwrite``, never what is read.

The outputs are found from the parser, so that a new verb cannot escape: it fails here until it says how it is tried.
"""

import argparse
import ast
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgelab import cli, files
from edgelab.errors import BadFile
from edgelab.files import expanded, refuse_to_replace
from edgelab.mcu import firmware
from edgelab.models.mlpackage import writing_package

from .course_home import EXAMPLE

DATA = EXAMPLE.parents[1] / "data"
OUTPUT = re.compile(r"-o|--out|--output|--out-.*|--.*-out|--save.*|--write.*|--export.*")
# What a folder that grows is for: releases and a device's slots are added, keys and repositories never replaced.
GROWS = {"ota init --keys", "ota publish --repo", "ota publish --keys", "ota rotate --repo", "ota rotate --keys"}


def leaves(parser, words=()):
    """Every parser of a verb, with the words that lead to it."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not below:
        yield " ".join(words), parser
    for action in below:
        for name, each in action.choices.items():
            yield from leaves(each, (*words, name))


VERBS = dict(leaves(cli._parser()))
OUTPUTS = [
    (verb, option)
    for verb, parser in VERBS.items()
    for action in parser._actions
    for option in action.option_strings[:1]
    if any(OUTPUT.fullmatch(each) for each in action.option_strings)
]
# How each is tried: its words, and which file under the folder it would replace.
TRIALS = {
    ("golden make", "-o"): (["MODEL", "--data", "DATA"], "out.golden"),
    ("golden check", "--exclude-out"): (["GOLDEN", "MODEL"], "out.txt"),
    ("convert", "-o"): (["NET", "--to", "onnx", "--data", "DATA"], "out.onnx"),
    ("quantize", "-o"): (["ONNX", "--data", "DATA"], "out.onnx"),
    ("firmware", "-o"): (["TFLITE"], "out/notes.txt"),
    ("run", "-o"): (["example"], "out/example.ipynb"),
}


@pytest.fixture
def home(monkeypatch, tmp_path):
    (tmp_path / "solutions").mkdir()
    shutil.copy(EXAMPLE / "solutions" / "90_example.py", tmp_path / "solutions")
    monkeypatch.setenv("EDGELAB_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("EDGELAB_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(DATA / "cases" / "same_float.tflite", tmp_path / "m.tflite")
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 4), np.float32))
    return tmp_path


def filled(home, words):
    given = {
        "ONNX": "m.onnx",
        "MODEL": "m.tflite",
        "TFLITE": "m.tflite",
        "DATA": "d.npz",
        "GOLDEN": "g.golden",
        "NET": "net.pt2",
    }
    if "ONNX" in words:
        shutil.copy(DATA / "cases" / "ext_ok.onnx", home / "m.onnx")
        shutil.copy(DATA / "cases" / "ext_ok.bin", home / "ext_ok.bin")
    if "NET" in words:
        from .test_model_sources import write

        write(home / "net.pt2")
    if "GOLDEN" in words:
        from edgelab import golden
        from edgelab.engines import open_engine

        with open_engine(home / "m.tflite", layout="channels_first") as engine:
            shape = [n or 1 for n in engine.inputs[0].shape]
        np.savez(home / "d.npz", x=np.zeros((2, *shape[1:]), np.float32))
        golden.make("m.tflite", "d.npz", "g.golden")
    return [given.get(word, word) for word in words]


def listing(home):
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("verb", "option"), OUTPUTS, ids=" ".join)
def test_what_is_there_stays(home, capfd, verb, option):
    assert "--overwrite" in VERBS[verb].format_help(), f"{verb} writes by {option} and has no --overwrite"
    assert (verb, option) in TRIALS, f"say in TRIALS how {verb} {option} is tried"
    words, name = TRIALS[verb, option]
    words = filled(home, words)
    target = home / name
    target.parent.mkdir(exist_ok=True)
    target.write_text("mine", encoding="utf-8")
    before = listing(home)
    asked = target.parent if target.parent != home else target
    for spelling in (str(asked), f"~/{asked.relative_to(home)}"):  # the home folder is the same place
        assert cli.main([*verb.split(), *words, option, spelling]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert re.fullmatch(r".* is there already; name another (file|folder), or replace it with --overwrite\.\n", err)
        assert listing(home) == before


@pytest.mark.parametrize(("verb", "option"), OUTPUTS, ids=" ".join)
def test_what_is_read_is_never_written(home, capfd, verb, option):
    words = filled(home, TRIALS[verb, option][0])
    before = listing(home)
    for name in ["m.tflite", "m.onnx", "net.pt2", "g.golden", "d.npz", "solutions"]:
        if name in words:
            # the reason is that it is read, or that it has the wrong name or kind; it is whole afterwards
            assert cli.main([*verb.split(), *words, option, name, "--overwrite"]) == 2
            assert capfd.readouterr().err.count("\n") == 1
    if verb == "firmware":
        assert cli.main(["firmware", "m.tflite", "-o", ".", "--overwrite"]) == 2
        assert "holds one of the files that are read" in capfd.readouterr().err
    assert listing(home) == before


def test_no_trial_is_left_over():
    assert set(TRIALS) == set(OUTPUTS)


def test_folders_that_grow_say_so():
    for name in GROWS:
        verb, option = name.rsplit(" ", 1)
        assert any(option in action.option_strings for action in VERBS[verb]._actions), name
    (text,) = (
        a.help for a in cli._parser()._actions[-1].choices["ota"]._actions[-1]._choices_actions if a.dest == "init"
    )
    assert "nothing that is there is replaced" in text
    run = next(a for a in VERBS["run"]._actions if "--out" in a.option_strings)
    assert "each run replaces the last one" in run.help


def test_the_rule_itself(tmp_path):
    there = tmp_path / "a"
    there.write_text("mine")
    refuse_to_replace(tmp_path / "new", overwrite=False)
    refuse_to_replace(there, overwrite=True)
    with pytest.raises(BadFile, match="is there already"):
        refuse_to_replace(there, overwrite=False)
    with pytest.raises(BadFile, match="one of the files that are read"):
        refuse_to_replace(there, overwrite=True, inputs=[tmp_path / "x" / ".." / "a", there])
    (tmp_path / "link").symlink_to(there)
    with pytest.raises(BadFile, match="one of the files that are read"):
        refuse_to_replace(tmp_path / "link", overwrite=True, inputs=[there])
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadFile, match="is there already"):
        refuse_to_replace(tmp_path / "dangling", overwrite=False)
    with pytest.raises(BadFile, match="is a folder; name a file"):
        refuse_to_replace(tmp_path, overwrite=True)
    (tmp_path / "empty").mkdir()
    refuse_to_replace(tmp_path / "empty", overwrite=False, folder=True)
    with pytest.raises(BadFile, match="is there already"):
        refuse_to_replace(tmp_path, overwrite=False, folder=True)
    with pytest.raises(BadFile, match="holds one of the files that are read"):
        refuse_to_replace(tmp_path, overwrite=True, folder=True, inputs=[there])
    with pytest.raises(BadFile, match="is a file; name a folder"):
        refuse_to_replace(there, overwrite=True, folder=True)


@pytest.mark.parametrize("folder", [False, True])
def test_a_folder_that_takes_no_file_is_found_before_the_work(tmp_path, folder):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for below in ("file/new", "file/not/there/new", "dangling/new", "x" * 300, "x" * 300 + "/new"):
        with pytest.raises(BadFile, match=r"could not be written \(.+\); nothing was changed\.$"):
            refuse_to_replace(tmp_path / below, overwrite=True, folder=folder)
    refuse_to_replace(tmp_path / "not" / "there" / "new", overwrite=False, folder=folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]


@pytest.mark.parametrize(("verb", "option"), [key for key in OUTPUTS if key[0] != "run"], ids=" ".join)
def test_every_verb_finds_it_before_the_work(home, capfd, monkeypatch, verb, option):
    words, name = TRIALS[verb, option]
    words = filled(home, words)
    (home / "file").write_text("mine", encoding="utf-8")
    before = listing(home)
    monkeypatch.setattr(files, "writing", lambda *_: pytest.fail("the work was done before"))
    assert cli.main([*verb.split(), *words, option, f"file/{Path(name).parts[0]}"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"file/\S+ could not be written \(Not a directory: \S+\); nothing was changed\.\n", err)
    assert listing(home) == before


@pytest.mark.parametrize("writes", [firmware._appearing, writing_package])
@pytest.mark.parametrize("there", [False, True])
def test_a_link_to_a_folder_stays_a_link(tmp_path, writes, there):
    named, link = tmp_path / "disk" / "a.mlpackage", tmp_path / "a.mlpackage"
    if there:
        named.mkdir(parents=True)
    link.symlink_to(named)
    with writes(link) as folder:
        folder.mkdir(exist_ok=True)
        (folder / "part").write_text("new")
    assert link.is_symlink()
    assert (named / "part").read_text() == "new"


def test_the_home_folder_is_known_in_every_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a"
    assert expanded("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")
    files.write_json("~/a.json", [1])
    assert files.read_json(tmp_path / "a.json") == files.read_json("~/a.json") == [1]


def test_no_function_makes_a_path_of_what_it_is_given_by_itself():
    """A parameter that may be a path goes through `edgelab.files.expanded`, which knows the home folder."""
    package = Path(files.__file__).parent
    found = []
    for file in package.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        for function in ast.walk(ast.parse(text)):
            if not isinstance(function, ast.FunctionDef):
                continue
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            paths = {a.arg for a in arguments if a.annotation and "PathLike" in ast.unparse(a.annotation)}
            found += [
                f"{file.relative_to(package)}:{call.lineno}"
                for call in ast.walk(function)
                if isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id == "Path"
                and len(call.args) == 1
                and isinstance(call.args[0], ast.Name)
                and call.args[0].id in paths
            ]
        for node in ast.walk(ast.parse(text)):  # several paths at once
            if isinstance(node, ast.Call) and ast.unparse(node).startswith("map(Path,"):
                found.append(f"{file.relative_to(package)}:{node.lineno}")
    assert found == []
    for verb, parser in VERBS.items():
        assert not [a.dest for a in parser._actions if a.type is Path], verb
