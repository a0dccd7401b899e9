"""JupyterLab that does not outlive the command that started it: ``python -m edgelab.course.lab_server ARGUMENTS``.

That command holds the other end of this process's standard input and never writes to it. However the command ends, a
kill that it cannot catch among them, the system closes that end; then the server ends as on a polite kill, its kernels
with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

_GRACE_SECONDS = 10.0


def end_with_the_starter() -> None:
    """Watch standard input from a thread, and end this process once it is closed."""
    threading.Thread(target=_watch, name="end_with_the_starter", daemon=True).start()


def _watch() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    os.kill(os.getpid(), signal.SIGTERM)  # the server's own handler shuts its kernels down; Windows just ends it
    time.sleep(_GRACE_SECONDS)
    os._exit(1)


def main() -> None:
    """Serve JupyterLab with the arguments of this process until it is told to end or its starter is gone."""
    end_with_the_starter()
    from jupyterlab.labapp import main as serve

    serve()


if __name__ == "__main__":
    main()
