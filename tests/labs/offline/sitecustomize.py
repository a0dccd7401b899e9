"""Refuse every connection but to this machine, in a process that starts with this folder on PYTHONPATH.

It catches what Python code does; `without_network.py` also takes the network from native code, where it may.
"""

import ipaddress
import os
import socket

REFUSED = "the network is off for this test"


def _is_local(address):
    if not isinstance(address, tuple):  # a Unix socket's path
        return True
    host = address[0]
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _guarded(method, position):
    def guarded(self, *arguments):
        if not _is_local(arguments[position]):
            raise OSError(REFUSED)
        return method(self, *arguments)

    return guarded


def _switch_off():
    socket.socket.connect = _guarded(socket.socket.connect, 0)
    socket.socket.connect_ex = _guarded(socket.socket.connect_ex, 0)
    socket.socket.sendto = _guarded(socket.socket.sendto, -1)
    look_up = socket.getaddrinfo

    def local_look_up(host, *arguments, **named):
        if host is not None and not _is_local((host.decode() if isinstance(host, bytes) else host,)):
            raise socket.gaierror(socket.EAI_NONAME, REFUSED)
        return look_up(host, *arguments, **named)

    socket.getaddrinfo = local_look_up


if os.environ.get("EDGELAB_TEST_OFFLINE"):
    _switch_off()
