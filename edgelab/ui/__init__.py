"""What a lab shows: static figures with words, live panels, predictions."""

from edgelab.ui.bars import bars, grouped_bars
from edgelab.ui.controls import choice, slider, toggle
from edgelab.ui.figures import heatmap, histogram, lines, scatter, stairs
from edgelab.ui.live import LivePlot
from edgelab.ui.memory import lifetime_figure, lifetime_words
from edgelab.ui.panel import Panel
from edgelab.ui.predict import Prediction, predict
from edgelab.ui.theme import house
from edgelab.ui.words import show

__all__ = [
    "LivePlot",
    "Panel",
    "Prediction",
    "bars",
    "choice",
    "grouped_bars",
    "heatmap",
    "histogram",
    "house",
    "lifetime_figure",
    "lifetime_words",
    "lines",
    "predict",
    "scatter",
    "show",
    "slider",
    "stairs",
    "toggle",
]
