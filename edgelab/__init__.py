"""edgelab: learn edge AI by measuring it.

Importing this package loads no framework. The names below are the ground floor; everything else is
imported from the room that holds it, for example ``from edgelab.measure import latency``.
"""

from edgelab.errors import EdgelabError
from edgelab.reading import Reading, Table, record

__version__ = "0.1.0"
__all__ = ["EdgelabError", "Reading", "Table", "__version__", "record"]
