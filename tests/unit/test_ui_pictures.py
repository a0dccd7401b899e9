"""Pictures: well-formed, with words, in the palette's colours alone, and true to the numbers they are given."""

import base64
import io
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from edgelab import ui
from edgelab.errors import BadInput
from edgelab.ui.palette import TOKENS
from edgelab.ui.pictures.canvas import Canvas

PATCH = [[0.0, 0.7, 1.3], [2.4, 0.31, 1.9], [0.55, 0.9, 2.08]]
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(12, 3, 3, 3)) * np.exp(RNG.normal(size=(12, 1, 1, 1)) * 2)
IMAGES = RNG.random((12, 3, 8, 8))
TRUTH = np.arange(12) % 3
NAMES = ["stop", "yield", "a < b & 'c'"]

LIVES = {"image": (0, 1), "a <b>": (1, 4), "score": (4, 4)}
SIZES = {"image": 80, "a <b>": 48, "score": 16}

DRAWN = {
    "range_to_integers": lambda: ui.range_to_integers(PATCH, 0.16, 0, 4),
    "range_to_integers 8 bits": lambda: ui.range_to_integers(PATCH, 2.4 / 255, 3, 8),
    "range_to_integers signed": lambda: ui.range_to_integers([-1.0, 0.2, 9.0], 0.25, -2, 3, signed=True),
    "scale_per_channel": lambda: ui.scale_per_channel(WEIGHTS, 4, layer="stem & <more>"),
    "scale_per_channel 8 bits": lambda: ui.scale_per_channel(WEIGHTS, 8),
    "calibration_flow": lambda: ui.calibration_flow(samples=200, ranges={"stem <1>": (-1.0, 3.0)}),
    "standard": lambda: ui.convolution("standard", in_channels=8, out_channels=16),
    "depthwise": lambda: ui.convolution("depthwise", in_channels=8),
    "pointwise": lambda: ui.convolution("pointwise", in_channels=1, out_channels=1),
    "tensor_lives": lambda: ui.tensor_lives(LIVES, SIZES, operators=("a < b",)),
    "tensor_lives many": lambda: ui.tensor_lives(
        {f"t{i}": (i, i) for i in range(20)}, {f"t{i}": 9**5 for i in range(20)}
    ),
    "memory_map": lambda: ui.memory_map(SIZES, LIVES, {"image": 0, "a <b>": 80}, bound=100),
    "memory_ribbon": lambda: ui.memory_ribbon([(0, 64, "c & d", "taken"), (80, 96, "", "lost")], 160, "A & B"),
    "thin_product": lambda: ui.thin_product(8, 12, 2),
    "thin_product of full rank": lambda: ui.thin_product(512, 64, 64, title="A & B"),
    "halving": lambda: ui.halving([(4, False), (6, True), (5, True)], 8),
    "fixed_point_multiply": lambda: ui.fixed_point_multiply(13, 10, 4, -1),
    "fixed_point_multiply of zero": lambda: ui.fixed_point_multiply(0, 9, 5, 0),
    "smlad": lambda: ui.smlad((3, -2), (7, 5), 100),
    "smlad at its ends": lambda: ui.smlad((-32768, 32767), (-32768, -32768), -5),
    "turns": lambda: ui.turns({"in a row": "AABB", "in turn & <so>": ["A", "B", "B", "A"]}, "A & B", busy=(0, 2)),
    "pipeline": lambda: ui.pipeline([("PyTorch", "a < b"), "ONNX", "file", "runtime", "device"], "A & B"),
}
HTML = {
    "worked_table": lambda: ui.worked_table([{"x": 0.7, "note": "a < b"}, {"x": 1, "note": "c"}], "Two", marked=0),
    "images_by": lambda: ui.images_by(IMAGES, TRUTH, NAMES),
    "images_by group": lambda: ui.images_by(IMAGES, TRUTH, NAMES, np.where(np.arange(12) < 6, "day", "glare")),
    "side_by_side": lambda: ui.side_by_side(IMAGES, TRUTH, (TRUTH + (np.arange(12) < 4)) % 3, TRUTH, names=NAMES),
    "soft_targets": lambda: ui.soft_targets(IMAGES, np.full((12, len(NAMES)), 1 / len(NAMES)), TRUTH, NAMES, most=2),
}
EVERY = DRAWN | HTML


def parsed(picture):
    """The figure as XML; HTML's void tag is closed."""
    closed = re.sub(r"(<img [^>]*)>", r"\1/>", picture.html())
    return ET.fromstring(f"<div>{closed}</div>")  # noqa: S314  our own


def texts(picture):
    return " ".join(t.strip() for t in parsed(picture).find("figure").itertext())


@pytest.mark.parametrize("name", EVERY)
def test_a_picture_is_well_formed_and_has_words(name):
    picture = EVERY[name]()
    figure = parsed(picture).find("figure")
    assert figure.find("figcaption").text == picture.caption
    assert figure.find("details/p").text == picture.alt
    assert len(picture.alt) > 20
    for image in figure.iter("img"):
        assert image.get("alt")
    data = picture._repr_mimebundle_()
    assert picture.alt in data["text/plain"]
    json.dumps(data)


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawing_names_itself_and_stands_as_a_file(name):
    picture = DRAWN[name]()
    svg = ET.fromstring(picture.svg)  # noqa: S314  our own
    space = "{http://www.w3.org/2000/svg}"
    assert svg.get("role") == "img"
    assert picture.alt in svg.get("aria-label")
    assert svg.find(f"{space}title").text == picture.caption
    assert svg.find(f"{space}desc").text == picture.alt
    width, height = (float(n) for n in svg.get("viewBox").split()[2:])
    for shape in svg.iter():  # nothing is drawn outside the sheet
        for key, end in (("x", width), ("y", height), ("x1", width), ("y2", height), ("cx", width), ("cy", height)):
            if shape.get(key) is not None:
                assert -1 <= float(shape.get(key)) <= end + 1, ET.tostring(shape)
    assert picture._repr_mimebundle_()["image/svg+xml"] == picture.svg


@pytest.mark.parametrize("name", EVERY)
def test_no_colour_is_fixed_outside_the_palette(name):
    picture = EVERY[name]()
    known = {colour for tokens in TOKENS.values() for colour in tokens.values()}
    markup = re.sub(r"data:image/png;base64,[^\"]*|&#x?[0-9a-f]+;", "", picture.html() + picture.svg)
    assert set(re.findall(r"#[0-9a-fA-F]{3,8}\b", markup)) <= known
    assert not re.search(r"\b(rgb|rgba|hsl)\(|(fill|stroke|color)[=:]\"?(white|black)", markup)
    body = picture.body.split("</style>")[-1]
    assert not re.search(r"#[0-9a-f]{6}", re.sub(r"base64,[^\"]*", "", body)), "a shape has a colour of its own"
    assert not re.search(r'(fill|stroke)="', body)


def test_a_colour_that_the_palette_lacks_is_no_colour():
    with pytest.raises(KeyError):
        Canvas(10).text(0, 0, "words", colour="red")


def test_the_worked_example_of_the_lesson():
    picture = ui.range_to_integers(PATCH, scale=0.16, bits=4)
    assert "0.7 becomes 4 and comes back as 0.64" in picture.alt
    assert "2.4 becomes 15 and comes back as 2.4" in picture.alt
    assert "largest error is 0.07, of 0.55" in picture.alt
    assert "16 integers" in picture.caption
    assert "0.55 → 3 → 0.48" in texts(picture)


def test_an_outlier_moves_the_error():
    picture = ui.range_to_integers([[0.0, 0.7], [1.3, 50.0]], scale=50 / 15, bits=4)
    assert "0.7 becomes 0 and comes back as 0" in picture.alt
    clipped = ui.range_to_integers([0.0, 0.7, 50.0], scale=0.16, bits=4)
    assert "50 becomes 15 and comes back as 2.4" in clipped.alt
    assert "1 values lie beyond" not in clipped.alt
    assert "1 value lies beyond the range and is clipped" in clipped.alt


def test_integers_round_halves_to_even_and_hold_the_zero_point():
    picture = ui.range_to_integers([-0.25, 0.25, 0.75], scale=0.5, zero_point=3, bits=3)
    assert "−0.25 becomes 3" in picture.alt
    assert "0.75 becomes 5" in picture.alt


def test_channels_are_counted_over_all_their_weights():
    weights = np.array([np.linspace(-0.01, 0.01, 50), np.linspace(-1, 1, 50)])
    picture = ui.scale_per_channel(weights, 4, channels=2)
    assert "channel 0: 1 of 15 integers under the common scale, 15 of 15 under its own" in picture.alt
    assert "channel 1: 15 of 15 integers under the common scale, 15 of 15 under its own" in picture.alt
    assert picture.caption.startswith("The smallest channel uses 1 of 15")


@pytest.mark.parametrize(
    ("kind", "outputs", "weights", "macs"),
    [("standard", 16, 3 * 3 * 8 * 16, 72 * 16 * 256), ("depthwise", 8, 72, 72 * 256), ("pointwise", 4, 32, 32 * 256)],
)
def test_convolutions_are_counted_as_pytorch_counts_them(kind, outputs, weights, macs):
    torch = pytest.importorskip("torch")
    groups, side = (8 if kind == "depthwise" else 1), (1 if kind == "pointwise" else 3)
    layer = torch.nn.Conv2d(8, outputs, side, padding="same", groups=groups, bias=False)
    count = ui.convolution_count(kind, 8, outputs, 1 if kind == "pointwise" else 3, 16, 16)
    assert count.weights == weights == layer.weight.numel()
    assert count.macs == macs
    picture = ui.convolution(kind, in_channels=8, out_channels=outputs)
    assert f"= {weights:,}" in texts(picture)
    assert f"= {macs:,}" in texts(picture)


def test_calibration_shows_the_scale_that_follows_from_a_range():
    picture = ui.calibration_flow(samples=1200, ranges={"stem": (-1.0, 1.55), "head": (0.5, 5.1)}, bits=8)
    assert "stem: scale 0.01, zero point 100" in picture.alt
    assert "head: scale 0.02, zero point 0" in picture.alt  # widened to hold 0
    assert "1,200 representative samples" in texts(picture)
    assert "scale" not in ui.calibration_flow().alt.replace("a scale and a zero point", "")


def test_stages_stand_in_their_order():
    picture = ui.pipeline(["a", ("b", "c"), "d"], "t", marked=["d"])
    assert picture.alt == "Stages in order: a, then b (c), then d. Marked: d."


def test_a_table_marks_by_a_word_and_aligns_numbers():
    picture = ui.worked_table([{"x": -0.7, "q": 4}, {"x": 1234.5, "q": 1}], "t", marked=1, mark="worst")
    rows = [["".join(cell.itertext()) for cell in row] for row in parsed(picture).iter("tr")]
    assert rows == [["x", "q", ""], ["−0.7", "4", ""], ["1,234", "1", "◀ worst"]]
    assert "worst" in picture.alt


def images_in(picture):
    found = re.findall(r'alt="([^"]*)" src="data:image/png;base64,([^"]*)"', picture.html())
    return [(alt, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))) for alt, data in found]


def test_images_are_the_ones_given():
    one = IMAGES[:1]
    ((alt, pixels),) = images_in(ui.images_by(one, [1], NAMES))
    assert alt == "yield"
    assert pixels == pytest.approx(np.moveaxis(255 * one[0], 0, -1), abs=1)
    grey = np.linspace(-1, 1, 64).reshape(1, 1, 8, 8)  # not between 0 and 1: from the lowest to the highest
    ((_, pixels),) = images_in(ui.images_by(grey, [0], NAMES))
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_groups_are_rows_and_show_the_same_classes():
    group = np.where(np.arange(12) < 6, "day", "glare")
    picture = ui.images_by(IMAGES, TRUTH, NAMES[:3], group, classes=["yield", "stop"])
    assert [alt for alt, _ in images_in(picture)] == ["yield, day", "stop, day", "yield, glare", "stop, glare"]
    assert "day: yield, stop; glare: yield, stop" in picture.alt
    picture = ui.images_by(IMAGES, TRUTH, NAMES[:3], group, classes=["stop"], rows=["glare", "day"])
    assert [alt for alt, _ in images_in(picture)] == ["stop, glare", "stop, day"]


def test_lost_and_gained_are_told_without_colour():
    before, after = TRUTH.copy(), TRUTH.copy()
    after[0] = 1
    before[4] = 2
    picture = ui.side_by_side(IMAGES, before, after, TRUTH, names=NAMES, labels=("float32", "4 bits"))
    assert "1 lost, 1 gained, of 12" in picture.alt
    assert "stop: float32 right, 4 bits wrong (yield)" in picture.alt
    words = texts(picture)
    assert words.count("✗ wrong") == 2
    assert words.count("✓ right") == 2
    logits = np.eye(3)[after]
    assert ui.side_by_side(IMAGES, before, logits, TRUTH, names=NAMES, labels=("float32", "4 bits")) == picture


def test_many_losses_leave_room_for_what_was_gained():
    before, after = TRUTH.copy(), (TRUTH + 1) % 3
    before[:2], after[:2] = (TRUTH[:2] + 1) % 3, TRUTH[:2]
    picture = ui.side_by_side(IMAGES, before, after, TRUTH, names=NAMES, most=4)
    assert "10 lost, 2 gained, of 12; 4 of 12 changes are shown" in picture.alt
    assert picture.alt.count("before wrong") == 2
    same = ui.side_by_side(IMAGES, TRUTH, TRUTH, TRUTH, names=NAMES)
    assert "0 lost, 0 gained" in same.alt
    assert len(images_in(same)) == 4


BAD = {
    "no values": lambda: ui.range_to_integers([], 0.1),
    "many values": lambda: ui.range_to_integers(np.zeros(26), 0.1),
    "a cube": lambda: ui.range_to_integers(np.zeros((2, 2, 2)), 0.1),
    "NaN": lambda: ui.range_to_integers([np.nan], 0.1),
    "no scale": lambda: ui.range_to_integers([1.0], 0.0),
    "bits": lambda: ui.range_to_integers([1.0], 0.1, bits=9),
    "zero point": lambda: ui.range_to_integers([1.0], 0.1, 16, 4),
    "one channel": lambda: ui.scale_per_channel([[1.0]]),
    "no dimension": lambda: ui.scale_per_channel([1.0, 2.0]),
    "zeros": lambda: ui.scale_per_channel(np.zeros((2, 2))),
    "range": lambda: ui.calibration_flow(ranges={"a": (1.0, 1.0)}),
    "kind": lambda: ui.convolution("grouped", in_channels=3),
    "outputs": lambda: ui.convolution("depthwise", in_channels=3, out_channels=4),
    "size": lambda: ui.convolution("standard", in_channels=0),
    "one stage": lambda: ui.pipeline(["a"], "t"),
    "stranger": lambda: ui.pipeline(["a", "b"], "t", marked=["c"]),
    "no caption": lambda: ui.pipeline(["a", "b"], " "),
    "no rows": lambda: ui.worked_table([], "t"),
    "headings": lambda: ui.worked_table([{"a": 1}, {"b": 1}], "t"),
    "row": lambda: ui.worked_table([{"a": 1}], "t", marked=1),
    "flat images": lambda: ui.images_by(np.zeros((2, 3)), [0, 1], NAMES),
    "no name": lambda: ui.images_by(IMAGES, TRUTH + 1, NAMES),
    "lengths": lambda: ui.images_by(IMAGES, TRUTH[1:], NAMES),
    "group": lambda: ui.images_by(IMAGES, TRUTH, NAMES, ["day"]),
    "class": lambda: ui.images_by(IMAGES, TRUTH, NAMES, np.arange(12), classes=["other"]),
    "floats": lambda: ui.images_by(IMAGES, TRUTH + 0.5, NAMES),
    "answers": lambda: ui.side_by_side(IMAGES, TRUTH[1:], TRUTH, TRUTH, names=NAMES),
}


@pytest.mark.parametrize("name", BAD)
def test_what_makes_no_picture_is_refused_in_one_sentence(name):
    with pytest.raises(BadInput) as error:
        BAD[name]()
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


def test_soft_targets_name_the_highest_and_refuse_what_is_no_probability():
    rows = np.eye(len(NAMES))[TRUTH] * 0.7
    picture = ui.soft_targets(IMAGES[:2], rows[:2], TRUTH[:2], NAMES, most=1)
    assert picture.alt == "; ".join(f"{NAMES[c]}: {NAMES[c]} 0.70" for c in TRUTH[:2]) + "."
    with pytest.raises(BadInput, match="between 0 and 1"):
        ui.soft_targets(IMAGES[:2], rows[:2] * 2, TRUTH[:2], NAMES)
    with pytest.raises(BadInput, match="one row each"):
        ui.soft_targets(IMAGES[:2], rows[:1], TRUTH[:2], NAMES)


def test_lives_add_up_at_each_step_and_the_peak_is_named():
    picture = ui.tensor_lives(LIVES, SIZES)
    assert picture.alt.endswith("Bytes alive at each step: 80, 128, 48, 48, 64.")
    assert picture.caption == "Most is alive at step 1: 128 bytes"
    assert ui.tensor_lives(LIVES, SIZES, sums=False).caption == "a <b> lives longest, from step 1 to step 4"


def test_a_map_says_how_far_it_is_from_the_bound():
    assert ui.memory_map(SIZES, LIVES, {"image": 0, "a <b>": 80}, bound=128).caption == "128 bytes, as few as can be"
    assert "fewer than 100" in ui.memory_map(SIZES, LIVES, {"image": 0, "a <b>": 80}, bound=100).caption


def test_a_ribbon_shows_what_is_free_between_its_ranges():
    picture = ui.memory_ribbon([(80, 128, "a", "taken"), (0, 64, "c", "chosen")], 160, "Gaps")
    assert picture.alt == "0 to 64 c (placed here); 64 to 80 free; 80 to 128 a (taken); 128 to 160 free."


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: ui.tensor_lives({}, {}), "1 to 24 tensors"),
        (lambda: ui.tensor_lives({"a": (0, 1)}, {}), "each with its size"),
        (lambda: ui.tensor_lives({"a": (2, 1)}, {"a": 1}), "from its first step to its last"),
        (lambda: ui.memory_map(SIZES, LIVES, {}), "needs addresses"),
        (lambda: ui.memory_ribbon([(0, 64, "c", "taken"), (32, 80, "a", "taken")], 160, "x"), "overlaps another"),
        (lambda: ui.memory_ribbon([(0, 64, "c", "odd")], 160, "x"), "of no known kind"),
        (lambda: ui.halving([], 8), "1 to 24 attempts"),
        (lambda: ui.thin_product(8, 12, 9), "from 1 to the smaller side"),
        (lambda: ui.thin_product(0, 12, 1), "from 1 to the smaller side"),
    ],
)
def test_a_memory_that_makes_no_picture_is_refused(draw, words):
    with pytest.raises(BadInput, match=words):
        draw()


def test_a_fixed_point_multiply_is_worked_out_bit_by_bit():
    from edgelab.mcu import plain_arithmetic as plain

    for total, mantissa, bits, shift in [(13, 10, 4, -1), (100, 80, 7, -1), (0, 9, 5, 0), (27, 21, 5, -2)]:
        picture = ui.fixed_point_multiply(total, mantissa, bits, shift)
        kept = plain.high_multiply(total, mantissa, bits)
        result = plain.rounding_shift(kept, -shift)
        assert picture.caption.endswith(f"in integers: {result:,}")
        assert f"is {kept:,}: the high multiply" in picture.alt
        assert f"rounded down, is {result:,}. Exactly" in picture.alt


@pytest.mark.parametrize(
    "wrong",
    [
        (-1, 10, 4, -1),
        (13, 16, 4, -1),
        (13, 10, 4, 1),
        (5000, 30, 5, -1),
        (1023, 700, 10, -1),
        (13, 0, 4, 0),
        (1.5, 10, 4, -1),
    ],
)
def test_a_fixed_point_multiply_that_cannot_be_drawn(wrong):
    with pytest.raises(BadInput, match="fixed_point_multiply"):
        ui.fixed_point_multiply(*wrong)


@pytest.mark.parametrize("wrong", [((1, 2, 3), (1, 2)), ((1, 2), (1, 40000)), ((1, 2.5), (1, 2))])
def test_an_smlad_that_cannot_be_drawn(wrong):
    with pytest.raises(BadInput, match="two pairs of signed 16-bit numbers"):
        ui.smlad(*wrong, 0)


def test_the_turns_of_a_race_and_whom_the_disturbance_hits():
    picture = ui.turns(
        {"in a row": "AAABBB", "in turn": "ABABAB"}, "Two races", busy=(0, 2), disturbance="an update runs"
    )
    assert "In a row: A A A B B B; an update runs during 2 turns of A and 0 of B." in picture.alt
    assert "In turn: A B A B A B; 1 turn of A and 1 of B." in picture.alt
    assert "in turn; disturbed: 1 turn of A, 1 turn of B" in texts(picture)
    assert ui.turns({"race": ["A", "B"]}, "Plain").alt == "Race: A B."


@pytest.mark.parametrize(
    ("lanes", "busy"),
    [({}, None), ({"a": ""}, None), ({"a": "A" * 41}, None), ({"a": "AB"}, (1, 3)), ({"a": "AB"}, (1, 1))],
)
def test_turns_that_cannot_be_drawn_are_refused(lanes, busy):
    with pytest.raises(BadInput, match=r"turns\(\)"):
        ui.turns(lanes, "No race", busy=busy)
