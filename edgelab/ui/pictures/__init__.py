"""Pictures of ideas, drawn from data: SVG that follows the theme, with words for those who cannot see it."""

from edgelab.ui.pictures.convolution import convolution, convolution_count
from edgelab.ui.pictures.fixed_point import fixed_point_multiply, smlad
from edgelab.ui.pictures.flow import calibration_flow, pipeline
from edgelab.ui.pictures.images import images_by, side_by_side
from edgelab.ui.pictures.memory import halving, memory_map, memory_ribbon, tensor_lives
from edgelab.ui.pictures.picture import Picture
from edgelab.ui.pictures.quantizer import range_to_integers
from edgelab.ui.pictures.scales import scale_per_channel
from edgelab.ui.pictures.table import worked_table
from edgelab.ui.pictures.targets import soft_targets
from edgelab.ui.pictures.thin import thin_product
from edgelab.ui.pictures.turns import turns

__all__ = [
    "Picture",
    "calibration_flow",
    "convolution",
    "convolution_count",
    "fixed_point_multiply",
    "halving",
    "images_by",
    "memory_map",
    "memory_ribbon",
    "pipeline",
    "range_to_integers",
    "scale_per_channel",
    "side_by_side",
    "smlad",
    "soft_targets",
    "tensor_lives",
    "thin_product",
    "turns",
    "worked_table",
]
