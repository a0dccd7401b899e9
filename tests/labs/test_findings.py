"""The sentences of the labs, held against recorded readings of a fast, a slow and a busy machine.

Nothing of a lab runs here but its finding functions. ``record_readings.py`` says where the readings come from.
"""

import ast
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from edgelab.course import findings, labs
from edgelab.course.source import read_cells
from edgelab.qat import ahead as qat_ahead
from edgelab.reading import Reading

from .record_readings import MACHINES, derive, path_of

SOURCES = Path(__file__).parents[2] / "solutions"
LABS = {lab.slug: lab for lab in map(labs.read_lab, sorted(SOURCES.glob("[0-9][0-9]_*.py")))}


def functions(slug):
    """The finding functions of a lab by ID, and nothing else of it."""
    cells = [cell for cell in read_cells(LABS[slug].source) if cell.tagged("finding")]
    known = {"np": np, "math": math, **{name: getattr(findings, name) for name in findings.HELPERS}}
    for cell in cells:
        body = [node for node in cell.tree().body if isinstance(node, ast.FunctionDef)]
        exec(compile(ast.Module(body, []), slug, "exec"), known)  # noqa: S102  the labs' own functions
    return {cell.tagged("finding"): known[f"finding_{cell.tagged('finding')}"] for cell in cells}


FUNCTIONS = {slug: functions(slug) for slug in LABS}


def recorded(machine, slug):
    return json.loads(path_of(machine, slug).read_text(encoding="utf-8"))


def say(slug, identity, *arguments):
    return FUNCTIONS[slug][identity](*(findings.from_data(findings.to_data(argument)) for argument in arguments))


def sentence(machine, slug, identity):
    return say(slug, identity, *map(findings.from_data, recorded(machine, slug)["findings"][identity]["arguments"]))


def reading(value, low=None, high=None, unit="x", **more):
    return Reading(value, unit, "measured", "made up for a test", low, high, **more)


def points(value, low=None, high=None):
    return reading(value, low, high, "points")


EVERY = [(m, slug, identity) for m in MACHINES for slug in LABS for identity in FUNCTIONS[slug]]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("slug", LABS)
def test_every_finding_is_recorded_on_every_machine(machine, slug):
    if FUNCTIONS[slug]:
        assert set(recorded(machine, slug)["findings"]) == set(FUNCTIONS[slug]), "run record_readings.py again"


@pytest.mark.parametrize("slug", LABS)
def test_what_was_made_for_the_test_says_so_and_is_what_it_says(slug):
    if FUNCTIONS[slug]:
        fast = recorded("fast", slug)
        assert fast["made"][0].startswith("recorded from a run on ")
        for machine in ("slow", "busy"):
            made = recorded(machine, slug)
            assert made == json.loads(json.dumps(derive(slug, fast, machine)))
            assert made["made"][0].startswith("made for the test")
            assert "no real machine" in made["machine"]


@pytest.mark.parametrize(("machine", "slug", "identity"), EVERY)
def test_every_sentence_reads_as_one_on_every_machine(machine, slug, identity):
    text = sentence(machine, slug, identity)
    assert re.fullmatch(r"[A-Z0-9`'].*\.", text, re.DOTALL), text
    for flaw in ("None", "nan", "inf ", "inf)", "((", "))", "  ", "{", "}", " ,", "..", "-0 "):
        assert flaw not in text


# (lab, finding, machine): words that the sentence must hold, and words that it must not
SAID = [
    ("start", "budget", "fast", ["It fits the camera, if", "deadline kept", "memory kept"], ["broken", "not decided"]),
    ("quantization", "simulation", "fast", ["the two agree"], ["differ"]),
    ("quantization", "simulation", "slow", ["the two differ"], ["agree within"]),
    ("quantization", "recap_groups", "fast", ["paid", "more than the top line says"], ["no group"]),
    ("quantization", "recap_groups", "slow", ["no group paid more"], ["more than the top line"]),
    ("start", "budget", "slow", ["It does not fit", "deadline broken", "storage kept"], ["It fits"]),
    (
        "start",
        "budget",
        "busy",
        ["cannot be told yet", "deadline not decided"],
        ["fits the camera, if", "does not fit"],
    ),
    ("start", "batches", "fast", ["Batch 1: ONNX Runtime is faster"], ["PyTorch is faster, "]),
    ("start", "batches", "slow", ["Batch 1: PyTorch is faster, ONNX Runtime at 0."], ["ONNX Runtime is faster"]),
    ("start", "batches", "busy", ["Batch 1: these runs cannot tell"], ["is faster,"]),
    ("start", "meets", "slow", ["what the machine did in between"], []),
    ("start", "benchmark", "fast", ["the difference was made by how it was timed"], ["luck"]),
    ("start", "benchmark", "slow", ["had luck"], ["made by how"]),
    ("start", "answer", "fast", ["deadline kept", "It fits a camera whose"], ["does not fit", "more runs"]),
    ("start", "answer", "slow", ["deadline broken", "does not fit"], ["It fits a camera"]),
    ("start", "recap", "slow", ["was no slower than a usual one"], ["took longer"]),
    ("start", "recap", "busy", ["was not shown"], ["took longer", "no slower"]),
    ("start", "threads", "slow", ["the second thread costs time"], ["saves time"]),
    ("start", "threads", "busy", ["cannot be told"], ["saves time", "costs time"]),
    ("quantization", "speed", "fast", ["INT8 is faster here"], ["slower", "cannot be told"]),
    ("quantization", "speed", "slow", ["INT8 is slower here"], ["faster"]),
    (
        "quantization",
        "speed",
        "busy",
        ["cannot be told", "as other programs kept"],
        ["is faster here", "is slower here"],
    ),
    ("quantization", "profile", "fast", ["decide little", "which are faster"], ["slower", "work that float32 does"]),
    ("quantization", "profile", "slow", ["31.0 %", "work that float32 does not have"], ["decide little", "faster"]),
    ("quantization", "profile", "busy", ["the race cannot tell"], ["which are faster", "which are slower"]),
    ("quantization", "scales", "fast", ["for each channel it loses no more than the noise"], ["it gains"]),
    ("quantization", "scales", "slow", ["for each channel it loses 3.0"], ["no more than the noise"]),
    ("quantization", "recap_scales", "slow", ["does harm", "takes more time"], ["saves", "costs nothing"]),
    ("quantization", "recap_scales", "busy", ["saves", "was not shown"], ["takes more time:", "takes less time:"]),
    ("quantization", "backends", "fast", ["with qnnpack the network is no better than guessing"], ["apart"]),
    ("quantization", "backends", "slow", ["points apart"], ["guessing"]),
    (
        "capstone",
        "order",
        "fast",
        ["D P Q ends highest", "Distilling before pruning beats"],
        ["Pruning the teacher first"],
    ),
    (
        "capstone",
        "order",
        "slow",
        ["Pruning the teacher first beats", "even gain"],
        ["Distilling before pruning beats"],
    ),
    ("capstone", "groups", "slow", ["number of groups is counted: lighting: night"], ["no loss is beyond chance"]),
    ("capstone", "cosine", "fast", ["calibrated on normal noise loses most", "called not ready"], ["No file here"]),
    (
        "capstone",
        "cosine",
        "slow",
        ["No file here has", "called ready whatever the random"],
        ["loses most", "not ready"],
    ),
    ("capstone", "device", "fast", ["needs the least energy"], ["none of them is sure"]),
    ("capstone", "device", "slow", ["none of them is sure to keep 0.1 ms"], ["needs the least energy"]),
    ("capstone", "ran", "fast", ["every layer with weights ran in integers"], ["in spite of"]),
    ("capstone", "ran", "slow", ["in spite of the file's name: Q (2)"], ["every layer"]),
    ("capstone", "all_three", "fast", ["The floor of 85 % is reached"], ["missed", "slower"]),
    ("capstone", "all_three", "slow", ["The floor of 85 % is missed", "slower"], ["reached", "faster by"]),
    (
        "capstone",
        "all_three",
        "busy",
        ["that it is faster was not shown", "as other programs"],
        ["faster by", "slower"],
    ),
    (
        "capstone",
        "articles",
        "fast",
        ["in the range of PolyglotSoft", "Time shrank less"],
        ["neither", "Time shrank more"],
    ),
    ("capstone", "articles", "slow", ["in the range of neither", "Time shrank more"], ["Time shrank less"]),
    ("capstone", "board", "slow", ["3 of the"], ["not one"]),
    ("capstone", "remedy", "slow", ["loses, "], ["not shown to gain"]),
    ("capstone", "golden", "fast", ["Both files pass"], ["Not released"]),
    ("capstone", "golden", "slow", ["Not released: "], ["Both files pass"]),
    (
        "capstone",
        "plan",
        "fast",
        ["the gate stops the bad release after", "a good one goes through"],
        ["no gate stops"],
    ),
    ("capstone", "plan", "slow", ["no gate stops the bad release", "a good one is stopped"], ["the gate stops"]),
    ("capstone", "recap_ready", "fast", ["Called ready by its cosine", "normal noise"], ["No file was called"]),
    ("capstone", "recap_ready", "slow", ["No file was called ready"], ["more than"]),
    ("ota", "attacks", "fast", ["3 of 3 attempts were refused"], ["did not refuse"]),
    ("ota", "attacks", "slow", ["did not refuse release 1, signed again"], ["were refused, each"]),
    ("ota", "recap", "fast", ["the real updater at none", "up to 60 in a million"], ["in 4 states"]),
    ("ota", "recap", "slow", ["the real updater in 4 states"], ["at none"]),
    ("ota", "gates", "fast", ["below its level", "sooner than with Bonferroni's"], ["more than it", "no sooner"]),
    ("ota", "gates", "slow", ["more than it promises", "no sooner than with Bonferroni's"], ["below its level"]),
    ("ota", "fleet", "fast", ["The gate stopped the bad release after"], ["No gate"]),
    ("ota", "fleet", "slow", ["No gate stopped the bad release: 100%"], ["The gate stopped"]),
    ("pruning", "trained_on", "fast", ["With 80 % zeros and no training", "steps of training"], ["better than before"]),
    ("pruning", "trained_on", "slow", ["it still loses"], ["no loss can be told", "better than before"]),
    ("pruning", "torch_prune", "fast", ["chose the same weights as your mask"], ["other weights"]),
    ("pruning", "torch_prune", "slow", ["chose other weights than your mask"], ["the same weights"]),
    ("pruning", "peer", "fast", ["the more is asked, the less goes", "`stem.conv`"], ["not installed"]),
    ("pruning", "peer", "slow", ["not installed"], ["leaves"]),
    ("pruning", "files", "fast", ["1.00 times the bytes", "is faster"], ["It is faster"]),
    ("pruning", "files", "slow", ["It is faster", "and is slower"], ["No difference"]),
    (
        "pruning",
        "files",
        "busy",
        ["No difference in time can be told", "cannot be told"],
        ["and is faster", "and is slower"],
    ),
    ("pruning", "rounds", "slow", ["come out worse, -14"], ["come out better", "nothing"]),
    ("pruning", "ahead", "fast", ["11 statements", "5 of them hold"], ["0 of them"]),
    ("pruning", "ahead", "slow", ["0 of them hold"], ["5 of them"]),
    ("pruning", "recap_zeros", "fast", ["neither faster nor slower"], ["the file was faster"]),
    ("pruning", "recap_zeros", "slow", ["80 % zeros cost 1", "the file was faster"], ["nothing"]),
    ("pruning", "recap_filters", "fast", ["it is faster: "], ["slower", "whether"]),
    ("pruning", "recap_filters", "slow", ["it is slower: "], ["faster"]),
    ("pruning", "recap_filters", "busy", ["whether it is faster cannot be told"], ["it is slower"]),
    ("pruning", "recap_ticket", "slow", ["trains not as well", "a random one trains as well"], ["does not train"]),
    ("qat", "freezing", "fast", ["does not beat never freezing"], ["Freezing after 3 of 10 epochs beats"]),
    ("qat", "freezing", "slow", ["beats never freezing for every seed", "0.60 on average"], ["does not beat"]),
    ("qat", "training", "fast", ["Training wins back"], ["cannot be told", "worse"]),
    ("qat", "training", "slow", ["cannot be told"], ["wins back"]),
    ("qat", "file", "fast", ["the file keeps what was learnt", "ran in integers"], ["float32", "look for a layer"]),
    ("qat", "file", "slow", ["look for a layer", "3 ran in float32"], ["keeps what was learnt"]),
    ("qat", "relu6", "fast", ["is the cure"], ["not the slower", "cannot be told"]),
    ("qat", "relu6", "slow", ["not the slower one here"], ["is the cure"]),
    ("qat", "relu6", "busy", ["cannot be told"], ["is the cure", "not the slower"]),
    ("qat", "bits", "fast", ["held, ", "no better than guessing"], ["not held"]),
    ("qat", "bits", "slow", ["not held", "Without training 4 bits for each channel cost 5"], ["no necessity"]),
    ("qat", "closing", "fast", ["No time is given for 4 bits", "Four bits save bytes here"], ["ran in integers"]),
    ("qat", "closing", "slow", ["ran in integers"], ["No time is given"]),
    ("qat", "recap", "fast", ["The largest loss of a group", "within the noise"], ["still loses", "pays most"]),
    ("qat", "recap", "slow", ["still loses"], ["within half a point"]),
    ("qat", "closing", "fast", ["is better than float32, with a loss of -0.70", "trained longer"], ["8 bits loses"]),
    ("pruning", "widths", "busy", ["cannot be told here", "as other programs kept"], ["is faster, ", "not told apart"]),
    ("pruning", "recap_filters", "fast", ["no more than the noise explains"], ["slower"]),
    ("coreml", "agreement", "fast", ["counted against it"], ["look at those that differ"]),
    ("coreml", "agreement", "slow", ["97", "look at those that differ"], ["counted against it"]),
    ("coreml", "met", "fast", ["those of the package", "the same error"], ["Your scales differ"]),
    ("coreml", "met", "slow", ["1.40 times the error of theirs"], ["the same error"]),
    ("coreml", "palettes", "fast", ["no longer compete"], ["changes little"]),
    ("coreml", "palettes", "slow", ["changes little"], ["no longer compete"]),
    ("coreml", "recap_engine", "fast", ["fall back", "Modelled"], ["changes nothing"]),
    ("coreml", "recap_engine", "slow", ["changes nothing"], ["fall back"]),
    (
        "qat",
        "control",
        "fast",
        ["at 4 bits 0.35 points on average, better in each of 3", "average, not better in each"],
        ["costs float32"],
    ),
    ("qat", "control", "slow", ["costs float32", "at 2 bits", "not better in each"], ["float32 better"]),
    ("lowrank", "energy", "fast", ["below the break-even rank", "The answers need less"], ["need as much"]),
    ("lowrank", "energy", "slow", ["nothing would be saved", "need as much"], ["below the break-even rank"]),
    ("lowrank", "trained_on", "fast", ["bring back"], ["costs accuracy"]),
    ("lowrank", "trained_on", "slow", ["training on costs accuracy"], ["bring back"]),
    ("lowrank", "in_time", "fast", ["The largest rank tried"], ["No rank"]),
    ("lowrank", "in_time", "slow", ["No rank is within"], ["The largest rank"]),
    ("lowrank", "lora", "fast", ["The correction gains"], ["costs"]),
    ("lowrank", "lora", "slow", ["costs accuracy on the new words"], ["gains"]),
    ("lowrank", "merged", "fast", ["answer alike"], ["differently"]),
    ("lowrank", "merged", "slow", ["even takes less time", "it takes more time", "answer differently"], ["alike"]),
    ("lowrank", "tools", "fast", ["Yours reaches the best possible error"], ["Yours is"]),
    ("lowrank", "tools", "slow", ["Yours is 5 % above"], ["reaches"]),
    ("lowrank", "device", "fast", ["times smaller and faster", "as ConvInteger"], ["times smaller and slower, 1."]),
    ("lowrank", "device", "slow", ["times smaller and slower", "it loses"], ["even gains"]),
    ("lowrank", "where", "fast", ["faster: ", "linear 512 x 3,072"], ["{"]),
    ("lowrank", "where", "slow", ["slower, with half of the bytes: "], ["; faster"]),
    ("lowrank", "ahead", "fast", ["signs: at 2 times", ", shown"], ["not shown"]),
    ("lowrank", "ahead", "slow", [", not shown"], [", shown"]),
    ("lowrank", "convolutions", "fast", ["cost 10.1 points"], ["gain accuracy"]),
    ("lowrank", "convolutions", "slow", ["gain accuracy"], ["cost"]),
    ("lowrank", "recap", "fast", ["the largest layer gains time", "as a whole is faster"], ["as a whole is slower"]),
    ("lowrank", "recap", "slow", ["the largest layer loses time", "as a whole is slower"], ["gains time"]),
    ("distillation", "live", "fast", ["This is one seed"], ["{"]),
    ("distillation", "live", "slow", ["is right on fewer images"], ["more images"]),
    ("distillation", "drift", "slow", ["cannot be told"], ["has lost"]),
    ("distillation", "met", "fast", ["is PyTorch's, value and gradient"], ["differ"]),
    ("distillation", "met", "slow", ["differ: the value by 0.1"], ["but for rounding"]),
    ("distillation", "runtime", "slow", ["answers more slowly"], ["faster: "]),
    ("distillation", "runtime", "busy", ["was not shown"], ["it answers faster:", "more slowly"]),
    ("distillation", "order", "slow", ["keeps less than the opposite"], ["keeps more"]),
    ("distillation", "text_student", "fast", ["answers faster", "it loses"], ["more slowly", "even gains"]),
    ("distillation", "text_student", "slow", ["answers more slowly", "even gains"], ["answers faster", "it loses"]),
    ("distillation", "heads", "busy", ["was not shown"], ["answers faster: ", "more slowly"]),
    ("distillation", "dynamic", "slow", ["teacher loses", "student loses", "is slower"], ["not shown", "is faster"]),
    ("distillation", "few", "fast", ["vibration, all items gains", "device logs"], ["costs"]),
    ("distillation", "few", "slow", ["vibration, all items costs"], ["gains"]),
    ("distillation", "soft", "slow", ["on the signs soft targets were not shown to beat"], ["targets beat"]),
    ("distillation", "privilege", "slow", ["no gain was shown"], ["soft targets gain"]),
    ("distillation", "features", "slow", ["hint costs", "attention costs", "relations costs"], ["adds"]),
    ("distillation", "pruned", "slow", ["n the vibration the distilled student beats"], ["is better than"]),
    ("distillation", "recap", "slow", ["they cost"], ["gained"]),
    ("distillation", "recap_labels", "fast", ["gained with vibration, all items", "neither to gain"], ["lost"]),
    ("search", "counted", "fast", ["is PyTorch's"], ["and PyTorch counts"]),
    ("search", "counted", "slow", ["and PyTorch counts"], ["is PyTorch's"]),
    ("search", "predictor", "slow", ["MACs alone miss by less"], ["cannot be told"]),
    ("search", "proxies", "slow", ["SynFlow ranks the networks better than"], ["worse", "not shown"]),
    ("search", "live", "slow", ["Random search brings home better networks than evolution"], ["not shown"]),
    ("search", "costs", "fast", ["The arena is what it promised"], ["the planner finds"]),
    ("search", "costs", "slow", ["and the planner finds"], ["is what it promised"]),
    ("search", "time", "slow", ["is slower than the hand-scaled network"], ["is faster"]),
    ("search", "time", "busy", ["no difference in time was shown"], ["is faster", "is slower"]),
    ("search", "widths", "slow", ["does not explain"], ["the guess stands"]),
    ("search", "rounded", "slow", ["is slower than 1-9-18-36-3-2"], ["is faster", "not shown"]),
    ("search", "ahead", "slow", ["Random search beat evolution"], ["Evolution beat"]),
    ("search", "hand", "slow", ["what evolution found is worse than the hand-scaled network"], ["is better"]),
    ("search", "recap", "slow", ["a searched network lost"], ["gained"]),
    ("search", "recap_cheap", "slow", ["SynFlow", "ranked the networks better"], ["No proxy"]),
    ("federated", "live", "fast", ["This is one seed"], ["{"]),
    ("federated", "live", "slow", ["is ahead of the one trained in one place"], ["is behind the one"]),
    ("federated", "drift", "fast", ["20 passes a round"], ["{"]),
    ("federated", "drift", "slow", ["cost accuracy against 1", "a pull of 0.3 gains", "a pull of 1 gains"], ["costs"]),
    ("federated", "engines", "fast", ["the same, but for rounding", "vmap is faster"], ["differ by"]),
    ("federated", "engines", "slow", ["differ by up to 0.1", "vmap is slower"], ["but for rounding", "faster"]),
    ("federated", "engines", "busy", ["vmap is not shown to be faster"], ["is faster", "is slower"]),
    ("federated", "late", "fast", ["(modelled)", "clients never heard", "is not in the model"], ["every client was"]),
    ("federated", "late", "slow", ["every client was heard"], ["is not in the model"]),
    ("federated", "pays", "slow", ["0 clients gain"], ["{"]),
    ("federated", "recap", "slow", ["is ahead"], ["is behind"]),
    ("privacy", "stops", "fast", ["all the same with `one digit`, `clipped to 0.1`", "further, is what"], ["No way"]),
    ("privacy", "stops", "slow", ["No way leaves an error"], ["is what comes out with"]),
    ("privacy", "members", "slow", ["still better than a coin"], ["no longer told"]),
    ("privacy", "broken", "fast", ["The seed was found after"], ["nothing was broken"]),
    ("privacy", "broken", "slow", ["nothing was broken here"], ["was found after"]),
    ("privacy", "conflict", "slow", ["has 0 of 10 sums refused"], ["has 10 of 10"]),
    ("privacy", "dial", "fast", ["to protect one digit, from epsilon"], ["not at"]),
    ("privacy", "dial", "slow", ["to protect one digit, not at the largest budget"], ["from epsilon"]),
    ("privacy", "noise", "fast", ["right to the bit in 100%"], ["nan"]),
    ("tflite", "silent", "fast", ["Without a word: `by_cast` and `by_view`", "no message said so"], ["luck"]),
    ("tflite", "silent", "slow", ["Without a word: none", "luck"], ["no message said so"]),
    ("tflite", "files", "fast", ["int8 loses nothing that this test set can tell"], ["is even better"]),
    ("tflite", "files", "slow", ["int8 loses 4.8", "loat16 loses nothing"], ["int8 loses nothing"]),
    ("tflite", "noise", "fast", ["the file loses 1.50 points"], ["costs nothing"]),
    ("tflite", "noise", "slow", ["costs nothing that this test set can tell"], ["loses"]),
    (
        "tflite",
        "torch",
        "fast",
        ["turns 2 times", "last once", "before the dense layer", "Both answer as"],
        ["Other answers"],
    ),
    ("tflite", "torch", "slow", ["with its channels last 0 times", "PyTorch, as traced on 3"], ["What stays", "Both"]),
    ("tflite", "xnnpack", "fast", ["in float32 faster", "in int8 faster"], ["slower"]),
    ("tflite", "xnnpack", "slow", ["in float32 slower", "in int8 slower"], ["faster"]),
    ("tflite", "xnnpack", "busy", ["neither shown", "as other programs kept"], ["in float32 faster"]),
    ("tflite", "mapped", "fast", ["it is mapped", "XNNPACK packs the weights anew"], ["does not tell"]),
    ("tflite", "mapped", "slow", ["does not tell which memory"], ["mapped"]),
    ("tflite", "board", "fast", ["No board was measured", "no measurement"], ["You measured"]),
    ("tflite", "board", "slow", ["You measured 900 ms", "does not hold it"], ["No board"]),
    ("tflite", "recap", "fast", ["loses nothing that can be told", "it loses 1.5"], ["even better"]),
    ("tflite", "recap", "slow", ["full int8 loses 4.8", "is even better"], ["nothing that can be told"]),
    ("tflite", "pi", "fast", ["lies below it throughout"], ["above", "does not decide"]),
    ("tflite", "pi", "slow", ["lies above it"], ["below it throughout"]),
    ("mcu", "planner", "fast", ["as many bytes as TFLM's head"], ["does not run", "Not TFLM's"]),
    ("mcu", "planner", "slow", ["TFLM does not run"], ["as many bytes"]),
    ("mcu", "tail", "fast", ["as many bytes as TFLM's, to the byte"], ["does not run", "Not TFLM's"]),
    ("mcu", "tail", "slow", ["Not TFLM's tail on digits_mlp: up to +16 bytes"], ["as many bytes"]),
    ("mcu", "start", "fast", ["3 of 4 networks answer without having run", "says that it cannot"], ["still do"]),
    ("mcu", "start", "slow", ["Mended, 1 still do"], ["says that it cannot"]),
    ("mcu", "arena", "fast", ["digits_mlp needs 1,936 bytes and uses 1,600"], ["Every network here starts"]),
    ("mcu", "arena", "slow", ["Every network here starts"], ["would not start"]),
    ("mcu", "recap_bytes", "fast", ["each is TFLM's to the byte", "digits_mlp needs more than it uses"], ["differ"]),
    ("mcu", "recap_bytes", "slow", ["2 differ from TFLM's", "need more than they use"], ["to the byte"]),
    ("mcu", "recap_fit", "fast", ["takes it without its PADs, but not with them"], ["or without"]),
    ("mcu", "recap_fit", "slow", ["takes it, with its PADs or without them"], ["not"]),
    ("mcu", "orders", "fast", ["largest first on 6", "No order is the best on all"], ["never beaten"]),
    ("mcu", "orders", "slow", ["longest life first on 7", "one order is never beaten"], ["No order"]),
    ("mcu", "operators", "fast", ["refuses it at start-up: it has no GELU"], ["TFLM does not run"]),
    ("mcu", "operators", "slow", ["TFLM does not run", "it has no GELU"], ["refuses"]),
    ("onnx", "exporters", "fast", ["asked for opset 17, wrote opset 18", "bytes more"], ["and wrote it"]),
    ("onnx", "exporters", "slow", ["asked for opset 17 and wrote it", "bytes fewer"], ["wrote opset 18"]),
    ("onnx", "yours", "fast", ["tensors are ONNX Runtime's but for rounding", "agree as well"], ["differ"]),
    ("onnx", "yours", "slow", ["differ by more than rounding, `stem` first", "2 shapes"], ["but for rounding"]),
    ("onnx", "optimise", "fast", ["none of 2,000 answers changed", "not the same to the last bit"], ["Every logit"]),
    (
        "onnx",
        "optimise",
        "slow",
        ["2 of 2,000 answers changed", "Every logit is the same"],
        ["none of", "not the same"],
    ),
    ("onnx", "providers", "fast", ["there was no error, only a warning"], ["is there:"]),
    ("onnx", "providers", "slow", ["was asked for and is there"], ["no error", "never knows"]),
    ("onnx", "ort", "fast", ["larger than the ONNX file", "changes none of"], ["smaller"]),
    ("onnx", "ort", "slow", ["smaller than the ONNX file", "changes 1 of"], ["larger", "none"]),
    ("onnx", "frameworks", "fast", ["PyTorch, scikit-learn and Keras did"], ["Not tried", "agrees on"]),
    ("onnx", "frameworks", "slow", ["as PyTorch did", "agrees on 99.5", "Not tried here", "Keras"], ["Keras did"]),
    ("onnx", "race", "fast", ["On `signs_resnet` ONNX Runtime is faster"], ["PyTorch is faster", "cannot tell"]),
    ("onnx", "race", "slow", ["PyTorch is faster, ONNX Runtime at 0."], ["ONNX Runtime is faster"]),
    ("onnx", "race", "busy", ["these runs cannot tell"], ["is faster"]),
    ("onnx", "recap_promise", "fast", ["without an error"], ["got it"]),
    ("onnx", "recap_promise", "slow", ["got it"], ["without an error"]),
    ("onnx", "recap_speed", "fast", ["gains least on", "and most on"], ["not shown", "not always"]),
    ("onnx", "recap_speed", "slow", ["not always faster"], ["gains least"]),
    ("onnx", "recap_speed", "busy", ["was not shown"], ["gains least", "not always"]),
    ("mcu", "pads", "slow", ["they do not decide"], ["copies that they make"]),
    ("mcu", "accelerator", "fast", ["reports success", "times as long"], ["does not cost"]),
    ("mcu", "accelerator", "slow", ["ends with status 1", "does not cost time"], ["success", "times as long"]),
    ("firmware", "scratch", "fast", ["All 1,500 windows"], ["differ"]),
    ("firmware", "scratch", "slow", ["3 of 1,500 windows differ"], ["All"]),
    ("firmware", "exact", "fast", ["Bit-exact: portable and dsp"], ["Not bit-exact"]),
    ("firmware", "exact", "slow", ["Not bit-exact", "dsp kernels differ in 2"], ["portable"]),
    ("firmware", "sections", "slow", ["costs no RAM", "no less than"], ["more RAM"]),
    ("firmware", "simd", "slow", ["The larger part is SIMD"], ["the better C"]),
    ("firmware", "rounding", "slow", ["cannot tell the ways apart"], ["hardest"]),
    ("firmware", "chain", "slow", ["Not bit-exact: 4 of"], ["All"]),
    ("firmware", "awake", "slow", ["96 times"], []),
    ("firmware", "recap_exact", "fast", ["all of them give the interpreter's bytes"], ["other bytes"]),
    ("firmware", "recap_exact", "slow", ["other bytes than the interpreter's: dsp kernels in 2"], ["all of them"]),
    ("firmware", "recap_work", "fast", ["The network is the smaller part of the work: 1.0 %"], ["larger part"]),
    ("firmware", "recap_work", "slow", ["The network is the larger part of the work: 70.0 %"], ["smaller part"]),
]


@pytest.mark.parametrize(("slug", "identity", "machine", "must", "never"), SAID)
def test_a_sentence_follows_the_machine(slug, identity, machine, must, never):
    text = sentence(machine, slug, identity)
    assert all(words in text for words in must), text
    assert not any(words in text for words in never), text


def test_what_lab_qat_says_of_figures_made_ahead_is_what_they_hold():
    judged = qat_ahead.read()["judged"]
    for held in (True, False):
        text = say("qat", "freezing", held, 0.4, 0.1, 0.8)
        assert ("does not beat" in text) is not held
        limits = [{**entry, "held": held} for entry in judged if "limit" in entry]
        text = say("qat", "bits", limits, points(82.0, 80.0, 84.0), points(0.7, 0.1, 1.3))
        assert text.count("not held") == (0 if held else len(limits))
    said = recorded("fast", "qat")["findings"]
    assert said["freezing"]["arguments"][0] == next(e["held"] for e in judged if e["says"].startswith("Freezing"))
    assert findings.from_data(said["bits"]["arguments"][0]) == [entry for entry in judged if "limit" in entry]


# (lab, finding, arguments, must, never): what no recording shows
WIDE = reading(1.3, 0.8, 1.9)
MADE_UP = [
    (
        "search",
        "ahead",
        ({"evolution beats random search": True}, points(2.0, 1.0, 3.0), 24, 5),
        ["Evolution beat random search at the same number of trained networks: 2.00 points (1.00 to 3.00) for"],
        ["not shown"],
    ),
    (
        "search",
        "ahead",
        ({"evolution beats random search": False}, points(0.4, -1.0, 1.8), 24, 5),
        ["That evolution beats random search at the same number of trained networks was not shown"],
        ["Evolution beat"],
    ),
    (
        "search",
        "hand",
        ({"N1": True}, points(9.0, 7.0, 11.0), points(0.5, -1.0, 2.0), "1-9-18-36-3-2"),
        ["evolution found is better than the hand-scaled network", "found was not shown to be better"],
        ["worse"],
    ),
    (
        "search",
        "widths",
        ([0.8, 0.9, 1.1], [1.8, 2.4, 1.9]),
        ["the guess stands", "(1.80 to 2.40)", "(0.80 to 1.10)"],
        ["overlap", "other way round"],
    ),
    (
        "search",
        "widths",
        ([1.8, 2.4, 1.9], [0.8, 0.9, 1.1]),
        ["It is the other way round"],
        ["the guess stands"],
    ),
    (
        "search",
        "rounded",
        (reading(1.0, 0.9, 1.1), "1-8-16-32-3-2", "1-9-18-36-3-2"),
        ["1-8-16-32-3-2, which fits too, was not shown to differ in time from 1-9-18-36-3-2"],
        ["faster", "slower"],
    ),
    (
        "search",
        "recap_cheap",
        ({"SynFlow": reading(-0.1, -0.2, 0.1)}, "parameters"),
        ["No proxy was shown"],
        ["Of the"],
    ),
    (
        "distillation",
        "recap_labels",
        ({"the signs": points(-2.0, -3.0, -1.0), "text": points(4.0, 3.0, 5.0), "tones": points(-1.0, -2.0, 3.0)},),
        ["gained with text (4.0 points); it lost with the signs (-2.0 points); it was shown neither"],
        ["{"],
    ),
    (
        "distillation",
        "groups",
        ({"day": points(-3.0, -4.0, -2.0), "night": points(-1.0, -2.0, 0.0)},),
        ["do most for the group night"],
        ["gains"],
    ),
    ("distillation", "heads", (reading(1.2, 1.1, 1.3), points(-2.0, -3.0, -1.0), 4, 12.0), ["even gains, -2"], []),
    (
        "quantization",
        "speed",
        (WIDE,),
        ["cannot be told here: 1.30x (0.80 to 1.90)"],
        ["is faster here", "is slower here"],
    ),
    ("quantization", "profile", (WIDE, 99.0, 0.9), ["the race cannot tell"], ["which are"]),
    ("start", "batches", ({1: WIDE},), ["Batch 1: these runs cannot tell"], ["is faster,"]),
    ("start", "answer", ({"deadline": "cannot tell", "storage": "kept"},), ["more runs"], ["It fits", "does not fit"]),
    (
        "start",
        "answer",
        ({"deadline": "broken", "storage": "kept"},),
        ["does not fit a camera whose processor is no faster"],
        ["fit the camera"],
    ),
    (
        "start",
        "answer",
        ({"deadline": "cannot tell", "memory": "broken"},),
        ["does not fit the camera."],
        ["processor"],
    ),
    ("start", "meets", ({1: 2.0}, {1: reading(2.1)}), ["differ by 5 % at most, at batch 1"], ["in between"]),
    (
        "start",
        "recap",
        (reading(5.0, 4.0, 6.0), reading(1.1, 0.9, 1.3), {1: reading(2.5), 16: reading(0.9)}),
        ["took longer than a usual one, 5.00x", "cannot be told", "0.90 to 2.50 times as fast"],
        ["not shown", "no slower", "the p99 was above"],
    ),
    ("start", "stopwatch", (1.1, 1.2), ["a quiet machine"], ["starting up", "something else"]),
    ("start", "stopwatch", (9.0, 4.0), ["starting up", "something else"], ["quiet"]),
    ("start", "threads", ({"a": reading(0.6, 0.5, 0.7)},), ["a: the second thread saves time, 0.60"], ["costs"]),
    ("quantization", "profile", (reading(1.32, 1.28, 1.34), 99.0, 0.9), ["decide little", "faster"], ["slower"]),
    (
        "quantization",
        "profile",
        (reading(0.5, 0.4, 0.6), 99.0, 1.9),
        ["decide little", "slower"],
        ["faster", "work that"],
    ),
    ("quantization", "profile", (reading(1.0, 0.9, 1.1), 30.0, 2.0), ["Only 30 %"], ["integer kernels"]),
    (
        "quantization",
        "methods",
        ({"min-max": points(0.0, -0.3, 0.3)}, "min-max", "t", 1.0, points(0.0, -0.3, 0.3)),
        ["No method costs accuracy"],
        ["clip"],
    ),
    (
        "quantization",
        "methods",
        ({"MSE": points(4.0, 3.0, 5.0)}, "MSE", "t", 0.1, points(3.5, 2.5, 4.5)),
        ["not the whole reason"],
        ["did it"],
    ),
    (
        "quantization",
        "methods",
        ({"MSE": points(4.0, 3.0, 5.0)}, "MSE", "t", 0.99, points(4.0, 3.0, 5.0)),
        ["clipping is not why"],
        ["did it"],
    ),
    (
        "quantization",
        "traps",
        (points(0.0, -0.2, 0.2), {"five classes": points(3.0, 2.0, 4.0), "night only": points(0.1, -0.3, 0.5)}),
        ["five classes: costs 3.00", "night only: costs nothing that this test set can tell"],
        ["five classes: costs nothing"],
    ),
    ("quantization", "groups", ("dusk", points(5.0, -1.0, 9.0), False, points(4.0)), ["may be chance"], []),
    (
        "quantization",
        "groups",
        ("dusk", points(5.0, 2.0, 9.0), True, points(4.0)),
        ["The group dusk loses most, 5.0"],
        ["chance"],
    ),
    ("quantization", "size", (reading(3.97), reading(3.9)), ["little else than its weights"], ["graph"]),
    (
        "quantization",
        "recap_samples",
        (20, points(2.0, 1.0, 3.0), points(0.0, -1.0, 1.0)),
        ["20 calib", "cost 2.0"],
        [],
    ),
]


@pytest.mark.parametrize(("slug", "identity", "arguments", "must", "never"), MADE_UP)
def test_a_sentence_follows_what_was_read(slug, identity, arguments, must, never):
    text = say(slug, identity, *arguments)
    assert all(words in text for words in must), text
    assert not any(words in text for words in never), text
