"""Run a command with no network but this machine's own: ``python without_network.py COMMAND...``.

Linux gives the process a network namespace of its own, with nothing in it but the loopback device, so that native code
has no network either. Where that is not allowed, Python's sockets alone refuse (see offline/sitecustomize.py).
``EDGELAB_TEST_OFFLINE`` tells the command which of the two it got.
"""

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_SET_FLAGS, _UP_AND_RUNNING = 0x8914, 0x41


def isolate() -> str:
    """Leave the network if the system lets this process; "namespace" or "sockets"."""
    if sys.platform != "linux":
        return "sockets"
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_NET) != 0:
        if libc.unshare(_NEW_USER | _NEW_NET) != 0:
            return "sockets"
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        fcntl.ioctl(device, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP_AND_RUNNING))
    return "namespace"


def main() -> int:
    how = "sockets"
    with contextlib.suppress(OSError):
        how = isolate()
    search = [str(Path(__file__).with_name("offline")), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "EDGELAB_TEST_OFFLINE": how, "PYTHONPATH": os.pathsep.join(search)}
    return subprocess.run(sys.argv[1:], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
