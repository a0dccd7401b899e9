"""What a lab shows: figures and pictures with words, live panels, predictions."""

from edgelab.ui.bars import bars, grouped_bars
from edgelab.ui.controls import choice, slider, toggle
from edgelab.ui.figures import heatmap, histogram, lines, scatter, stairs
from edgelab.ui.live import LivePlot
from edgelab.ui.memory import arena_figure, lifetime_figure, lifetime_words
from edgelab.ui.panel import Panel
from edgelab.ui.pictures import (
    Picture,
    calibration_flow,
    convolution,
    convolution_count,
    fixed_point_multiply,
    halving,
    images_by,
    memory_map,
    memory_ribbon,
    pipeline,
    range_to_integers,
    scale_per_channel,
    side_by_side,
    smlad,
    soft_targets,
    tensor_lives,
    thin_product,
    turns,
    worked_table,
)
from edgelab.ui.predict import Prediction, predict
from edgelab.ui.rollouts import evidence_figure, rollout_words, waves_figure
from edgelab.ui.staircase import staircase
from edgelab.ui.theme import house
from edgelab.ui.words import show

__all__ = [
    "LivePlot",
    "Panel",
    "Picture",
    "Prediction",
    "arena_figure",
    "bars",
    "calibration_flow",
    "choice",
    "convolution",
    "convolution_count",
    "evidence_figure",
    "fixed_point_multiply",
    "grouped_bars",
    "halving",
    "heatmap",
    "histogram",
    "house",
    "images_by",
    "lifetime_figure",
    "lifetime_words",
    "lines",
    "memory_map",
    "memory_ribbon",
    "pipeline",
    "predict",
    "range_to_integers",
    "rollout_words",
    "scale_per_channel",
    "scatter",
    "show",
    "side_by_side",
    "slider",
    "smlad",
    "soft_targets",
    "staircase",
    "stairs",
    "tensor_lives",
    "thin_product",
    "toggle",
    "turns",
    "waves_figure",
    "worked_table",
]
