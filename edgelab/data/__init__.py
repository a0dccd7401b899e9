"""Data sets: offline by default, real ones downloaded with a checksum when asked, and a learner's own."""

from edgelab.data.dataset import Dataset, Split

__all__ = ["Dataset", "Split"]
