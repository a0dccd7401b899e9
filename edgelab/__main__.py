"""``python -m edgelab`` is the command ``edgelab``."""

import sys

from edgelab.cli import main

if __name__ == "__main__":
    sys.exit(main())
