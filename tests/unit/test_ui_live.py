"""Panels, predictions and text alternatives without a browser; tests/browser drives them in JupyterLab."""

import gzip
import json

import nbformat
import plotly.graph_objects as go
import pytest
from nbclient import NotebookClient
from plotly.offline import get_plotlyjs

from edgelab import Reading, ui
from edgelab.errors import BadInput
from edgelab.ui import live, words
from edgelab.ui.predict import PREDICTION_MIME
from edgelab.ui.words import PLOTLY_MIME, need_alt

WIDGET = "application/vnd.jupyter.widget-view+json"


def draw(bits, symmetric=False, method="min-max"):
    if bits == 7:
        raise ValueError("seven\nis too much")
    if bits == 8:
        return None
    return ui.bars([method], [bits + symmetric], title=f"{bits} bits", y="bits")


def panel(**changes):
    settings = {
        "alt": "One bar.",
        "title": "Bits",
        "bits": ui.slider(2, 8, 1, value=4, label="bits"),
        "symmetric": ui.toggle(False, label="symmetric"),
        "method": ui.choice(["min-max", "entropy"], label="method"),
    }
    return ui.Panel(draw, **{**settings, **changes})


def title_of(panel):
    return json.loads(panel.plot.drawing.figure)["layout"]["title"]["text"]


def test_a_move_of_any_control_repaints():
    shown = panel()
    assert title_of(shown) == "4 bits"
    shown.controls["bits"].value = 5
    assert title_of(shown) == "5 bits"
    shown.controls["symmetric"].value = True
    shown.controls["method"].value = "entropy"
    assert shown.values == {"bits": 5, "symmetric": True, "method": "entropy"}
    data = json.loads(shown.plot.drawing.figure)["data"][0]
    assert data["x"] == ["entropy"]
    assert shown.plot.current.data[0].y[0] == 6


def test_an_error_in_draw_is_one_sentence_and_the_panel_lives_on():
    shown = panel()
    shown.controls["bits"].value = 7
    assert "This setting does not work: seven (ValueError)." in shown._message.value
    assert title_of(shown) == "4 bits"
    assert "edgelab-stale" in shown.widget._dom_classes
    shown.controls["bits"].value = 8
    assert "it returned NoneType" in shown._message.value
    shown.controls["bits"].value = 6
    assert shown._message.value == ""
    assert title_of(shown) == "6 bits"
    assert "edgelab-stale" not in shown.widget._dom_classes


def test_an_error_at_the_initial_values_comes_through():
    with pytest.raises(ValueError, match="seven"):
        panel(bits=ui.slider(2, 8, value=7))


def test_markup_in_an_error_stays_text():
    def bad(n):
        if n > 1:
            raise ValueError("<script>alert(1)</script>")
        return go.Figure()

    shown = ui.Panel(bad, alt="Nothing.", n=ui.slider(1, 3))
    shown.controls["n"].value = 2
    assert "<script>" not in shown._message.value


def test_with_a_button_only_the_button_draws():
    shown = panel(button="Measure")
    shown.controls["bits"].value = 5
    assert title_of(shown) == "4 bits"
    assert "press Measure" in shown._message.value
    shown._button.click()
    assert title_of(shown) == "5 bits"
    assert shown._message.value == ""
    assert not shown._button.disabled


def test_a_slow_draw_shows_that_it_works_and_can_be_interrupted():
    seen = []

    def slow(n):
        seen.append(shown._message.value if n > 1 else "")
        if n == 3:
            raise KeyboardInterrupt
        return draw(4)

    shown = None
    shown = ui.Panel(slow, alt="A bar.", button="Measure", n=ui.slider(1, 3))
    for n in (2, 3):
        shown.controls["n"].value = n
        shown._button.click()
    assert all("<progress>" in message for message in seen[1:])
    assert "Interrupted" in shown._message.value
    assert not shown._button.disabled


def test_a_library_that_was_closed_is_sent_again():
    before = live.library()
    before.close()
    assert live.library() is not before
    assert live.library() is live.library()


def test_plotly_js_is_one_compressed_copy_for_all_plots():
    first, second = panel(), panel()
    assert first.plot.library is second.plot.library
    assert gzip.decompress(live.library().code).decode() == get_plotlyjs()
    assert len(first.plot.drawing.get_state()["figure"]) < 20_000
    assert len(str(first.plot.get_state()["_esm"])) < 10_000


def test_a_plot_of_its_own_is_one_output_with_its_still_picture():
    shown = ui.LivePlot(draw(4), "One bar.")
    data, _ = shown._repr_mimebundle_()
    assert data[WIDGET]["model_id"] == shown.model_id
    assert data[PLOTLY_MIME]["layout"]["meta"] == {"alt": "One bar.", "live": True, "title": ""}
    json.dumps(data, allow_nan=False)


def test_what_stays_of_a_panel_is_its_last_figure_and_its_settings():
    shown = panel()
    shown.controls["bits"].value = 6
    shown.controls["symmetric"].value = True
    figure, words = shown._state()
    assert figure[PLOTLY_MIME]["layout"]["title"]["text"] == "6 bits"
    assert figure[PLOTLY_MIME]["layout"]["meta"] == {"alt": "One bar.", "live": True, "title": "Bits"}
    assert "bits 6, symmetric on, method min-max." in words["text/html"]
    assert WIDGET not in figure
    json.dumps([figure, words], allow_nan=False)


def test_words_that_depend_on_the_dials_stay_true():
    shown = panel(alt=lambda bits, symmetric, method: f"One bar of {bits} by {method}.")
    shown.controls["bits"].value = 5
    assert shown.plot.drawing.alt == "One bar of 5 by min-max."
    assert "One bar of 5 by min-max." in shown._about.value
    assert "One bar of 5" in shown._state()[1]["text/plain"]


def test_a_panel_can_show_pictures():
    shown = ui.Panel(lambda bits: ui.range_to_integers([0.1, 0.9], 1 / 2**bits, 0, bits), bits=ui.slider(2, 4))
    assert "4 integers" in shown.plot.value
    shown.controls["bits"].value = 3
    assert "8 integers" in shown.plot.value
    (state,) = shown._state()
    assert "8 integers" in state["text/html"]
    assert 'class="edgelab-saved"' in state["text/html"]


def test_a_switch_between_figures_and_pictures_is_a_sentence():
    shown = ui.Panel(lambda n: draw(4) if n == 1 else ui.pipeline(["a", "b"], "t"), alt="A bar.", n=ui.slider(1, 2))
    shown.controls["n"].value = 2
    assert "must return a figure" in shown._message.value


def test_a_toggle_can_leave_the_axes_as_they_are():
    def drawn(per_channel, height):
        top = height if per_channel else 3 * height
        return ui.lines({"a": ([1, 2], [0, top])}, title="t", x="channel", y="dB")

    controls = {"per_channel": ui.toggle(False, label="many"), "height": ui.slider(1, 9, value=2)}
    free = ui.Panel(drawn, alt="A line.", **controls)
    held = ui.Panel(drawn, alt="A line.", same_axes="per_channel", **controls)
    ranges = []
    for shown in (free, held):
        before = shown.plot.current.layout.yaxis.range
        shown.controls["per_channel"].value = True
        ranges.append((before, shown.plot.current.layout.yaxis.range))
    assert ranges[0][0] != ranges[0][1]
    assert ranges[1][0] == ranges[1][1] == ranges[0][0]
    held.controls["height"].value = 8
    assert held.plot.current.layout.yaxis.range[1] >= 24
    with pytest.raises(BadInput, match="same_axes"):
        ui.Panel(drawn, alt="A line.", same_axes="height", **controls)


def test_a_prediction_has_no_answer_until_the_dial_is_moved():
    for prediction in (ui.predict("How much?", low=0, high=10), ui.predict("Which?", options=["a", "b"])):
        assert "edgelab-untouched" in prediction.widget._dom_classes
        assert prediction._commit.disabled
        with pytest.raises(BadInput, match="move the dial first"):
            prediction.commit()
        assert prediction.value is None
    assert prediction._control.value is None
    prediction._control.value = "b"
    assert not prediction._commit.disabled
    assert "edgelab-untouched" not in prediction.widget._dom_classes
    prediction._commit.click()
    assert prediction.value == "b"


def test_a_browser_that_rounds_the_dial_has_not_answered():
    prediction = ui.predict("How many times?", low=0.2, high=5.0)
    assert prediction._control.value == 2.6
    prediction._control.value = 2.6000000000000005
    assert prediction._commit.disabled
    assert "edgelab-untouched" in prediction.widget._dom_classes
    prediction._control.value = 2.65
    prediction._control.value = 2.6  # moved away and back: this is an answer
    prediction._commit.click()
    assert prediction.value == 2.6


def test_what_stays_of_a_prediction_is_its_answer():
    prediction = ui.predict("How <much>?", unit="x", low=0.5, high=10)
    assert "No prediction was made" in prediction._state()[0]["text/html"]
    prediction.commit(3.0)
    (state,) = prediction._state()
    assert "You predicted 3.00x. Run the cell to predict again." in state["text/html"]
    assert "How &lt;much&gt;?" in state["text/html"]


def test_the_text_alternative_stands_in_the_live_panel():
    texts = [child.value for child in panel().widget.children if hasattr(child, "value")]
    assert any("<summary>Text alternative</summary><p>One bar.</p>" in text for text in texts)


def test_a_wrapped_title_is_one_line_in_the_alternative():
    assert need_alt("Bars. 18 to 99<br>percent larger") == "Bars. 18 to 99 percent larger"


@pytest.mark.parametrize("alt", ["", "  \n", None])
def test_a_figure_without_words_is_refused(alt):
    figure = draw(4)
    for action in (lambda: ui.show(figure, alt), lambda: panel(alt=alt)):
        with pytest.raises(BadInput, match="text alternative"):
            action()


def test_a_wrapped_title_is_unwrapped_in_the_text_alternative():
    assert words.need_alt("struck<br>128 times\na second") == "struck 128 times a second"


@pytest.mark.parametrize("thing", [None, "figure", {"data": []}])
def test_only_figures_are_shown(thing):
    for action in (lambda: ui.show(thing, "words"), lambda: ui.LivePlot(thing)):
        with pytest.raises(BadInput, match="plotly figure"):
            action()


def test_sliders_of_whole_numbers_give_whole_numbers():
    assert isinstance(panel().values["bits"], int)
    part = ui.Panel(lambda a: draw(4 + a), alt="A bar.", a=ui.slider(0.0, 1.0, 0.05, value=0.5))
    assert part.values == {"a": 0.5}
    assert part.controls["a"].readout_format == ".2f"
    assert part.controls["a"].description == "a"


BAD_CONTROLS = {
    "falling": lambda: ui.slider(8, 2),
    "no step": lambda: ui.slider(1, 2, 0),
    "large step": lambda: ui.slider(1, 2, 5),
    "outside": lambda: ui.slider(1, 8, value=9),
    "NaN": lambda: ui.slider(1, float("nan")),
    "text": lambda: ui.slider("1", 2),
    "no option": lambda: ui.choice([]),
    "other option": lambda: ui.choice(["a"], value="b"),
    "not a bool": lambda: ui.toggle(1),
    "no control": lambda: ui.Panel(draw, alt="words"),
    "other control": lambda: ui.Panel(draw, alt="words", bits=4),
    "no question": lambda: ui.predict(" ", low=0, high=1),
    "no range": lambda: ui.predict("How many?"),
    "empty range": lambda: ui.predict("How many?", low=1, high=1),
    "no answers": lambda: ui.predict("Which?", options=[]),
}


@pytest.mark.parametrize("name", BAD_CONTROLS)
def test_controls_that_cannot_work_are_refused_in_one_sentence(name):
    with pytest.raises(BadInput) as error:
        BAD_CONTROLS[name]()
    assert str(error.value).endswith(".")


def found(value, low=None, high=None, unit="x"):
    return Reading(value, unit, "measured", "a stopwatch", low=low, high=high)


@pytest.mark.parametrize(
    ("guess", "reading", "words"),
    [
        (3.0, found(3.1, 2.9, 3.2), "within the interval"),
        (3.0, found(3.2), "less than 10 percent off"),
        (2.0, found(6.0), "3.0 times too low"),
        (9.0, found(3.0), "3.0 times too high"),
        (3.0, found(4.0), "25 percent too low"),
        (5.0, found(4.0, unit="points"), "too high by 1.00 points"),
        (5.0, found(0.0, unit="points"), "too high by 5.00 points"),
        (0.5, found(-2.0, unit="points"), "too high by 2.50 points"),
    ],
)
def test_a_guess_is_judged_in_one_sentence(guess, reading, words):
    prediction = ui.predict("How much?", unit=reading.unit, low=0.0, high=10.0)
    prediction.commit(guess)
    sentence = str(prediction.compare(reading))
    assert sentence.startswith("You predicted ")
    assert words in sentence
    assert sentence.count(". ") == 0


def test_a_commitment_stays():
    prediction = ui.predict("How much?", unit="x", low=0.5, high=10)
    prediction._control.value = 2.0
    prediction._commit.click()
    prediction.commit(9.0)
    assert prediction.value == 2.0
    assert prediction._control.disabled
    assert "You predict 2.00x" in prediction._note.value


def test_without_a_guess_the_sentence_says_so():
    assert str(ui.predict("How much?", low=0, high=1).compare(found(3.0))).startswith(
        "You made no prediction; it is 3.00x"
    )


def test_one_of_several_answers():
    prediction = ui.predict("Which is faster?", options=["LiteRT", "ONNX Runtime"])
    with pytest.raises(BadInput):
        prediction.commit("TVM")
    assert prediction.value is None
    prediction.commit("LiteRT")
    assert str(prediction.compare("LiteRT")) == "You predicted LiteRT; it is LiteRT, as you said."
    assert str(prediction.compare("ONNX Runtime")) == "You predicted LiteRT; it is ONNX Runtime."
    with pytest.raises(BadInput):
        prediction.compare(3.0)


CELLS = [
    "from edgelab import Reading, ui",
    "guess = ui.predict('How much?', unit='x', low=0.5, high=10)\nguess",
    "guess.against(Reading(4.0, 'x', 'measured', 'a stopwatch'))",
    """f = lambda n: ui.lines({'a': ([1, 2], [n, 2 * n])}, title=f'n is {n}', x='run', y='ms')
ui.show(f(1), alt='A rising line.')""",
    "ui.Panel(f, alt='A line.', title='Dial', n=ui.slider(1, 5, label='n'))",
]


@pytest.fixture(scope="module")
def executed():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return notebook


def test_a_notebook_without_a_browser_runs_through_and_holds_every_figure(executed):
    figures = [o.data[PLOTLY_MIME] for c in executed.cells for o in c.outputs if PLOTLY_MIME in o.get("data", {})]
    assert [figure["layout"]["title"]["text"] for figure in figures] == ["n is 1", "n is 1"]
    assert [figure["layout"]["meta"]["alt"] for figure in figures] == ["A rising line.", "A line."]
    nbformat.validate(executed)


def test_a_shown_figure_has_its_alternative_under_it(executed):
    figure, words = executed.cells[3].outputs
    assert PLOTLY_MIME in figure.data
    assert "<details" in words.data["text/html"]
    assert "A rising line." in words.data["text/html"]


def test_a_prediction_is_left_in_the_executed_notebook(executed):
    (output,) = executed.cells[2].outputs
    payload = output.data[PREDICTION_MIME]
    assert payload["predicted"] is None
    assert payload["found"]["value"] == 4.0
    assert output.data["text/markdown"].startswith("You made no prediction")


def test_outputs_stay_small(executed):
    assert len(json.dumps([cell.outputs for cell in executed.cells])) < 30_000


def test_a_draw_that_reports_moves_the_bar():
    seen = []

    def slow(n, report):
        for done in (0, 5, 20):
            report(done, 20)
            seen.append(shown._message.value if n > 1 else "")
        return draw(4)

    shown = None
    shown = ui.Panel(slow, alt="A bar.", button="Measure", reports=True, n=ui.slider(1, 3))
    assert shown._message.value == ""
    shown.controls["n"].value = 2
    shown._button.click()
    assert '0 of 20 <progress value="0" max="20">' in seen[3]
    assert '20 of 20 <progress value="20" max="20">' in seen[5]
    assert shown._message.value == ""
