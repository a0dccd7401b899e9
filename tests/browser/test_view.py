"""`edgelab view` in a real browser: the graph is drawn, and nothing is asked of another host."""

import pytest

from edgelab import data, nets
from edgelab.convert.onnx import export
from edgelab.toolbox.viewer import viewing


def test_the_graph_of_a_model_is_drawn(page, tmp_path):
    pytest.importorskip("netron")
    model = export(nets.load("digits_mlp"), data.load("digits").test.x[:1], tmp_path / "digits.onnx")
    with viewing(model.path) as url:
        page.goto(url)
        page.wait_for_selector("g.node")
        drawn = page.locator("#canvas").text_content()
        page.goto("about:blank")
    assert drawn.count("Gemm") >= 2
    assert "Relu" in drawn
