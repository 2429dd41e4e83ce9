"""No network: what a machine does that has none (see sitecustomize.py).

Every attempt to look up or reach another machine is written to the file that
SOCKET_LOG names, and fails. The machine itself may be reached: Jupyter needs that.
"""

import os
import socket

LOCAL = ("localhost", "127.", "::1", "0.0.0.0")
look_up = socket.getaddrinfo
connect = socket.socket.connect
connect_ex = socket.socket.connect_ex


def refuse_others(host: object) -> None:
    """Write down and refuse every host but this one."""
    if isinstance(host, bytes):
        host = host.decode()
    if not host or str(host).startswith(LOCAL):
        return
    if log := os.environ.get("SOCKET_LOG"):
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{host}\n")
    raise OSError(f"the test blocks the network: {host}")


def guarded_look_up(host, *args, **kwargs):
    """`socket.getaddrinfo` for this machine only."""
    refuse_others(host)
    return look_up(host, *args, **kwargs)


def guarded_connect(self, address):
    """`socket.socket.connect` for this machine only; Unix sockets have no host."""
    if isinstance(address, tuple):
        refuse_others(address[0])
    return connect(self, address)


def guarded_connect_ex(self, address):
    """`socket.socket.connect_ex` for this machine only."""
    if isinstance(address, tuple):
        refuse_others(address[0])
    return connect_ex(self, address)


socket.getaddrinfo = guarded_look_up
socket.socket.connect = guarded_connect
socket.socket.connect_ex = guarded_connect_ex
