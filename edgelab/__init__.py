"""edgelab: learn edge AI by measuring it.

Importing this package loads no framework. The names below are the ground floor; everything else is
imported from the room that holds it, for example ``from edgelab.measure import latency``.
"""

import os

from edgelab.errors import EdgelabError
from edgelab.reading import Reading, Table, record

# ONNX Runtime from 1.29 sends usage data home unless this is set before it is imported; a learner's own setting stands.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = ["EdgelabError", "Reading", "Table", "__version__", "record"]
