"""Ports of 127.0.0.1: choosing one to keep, and saying who holds one that is taken."""

from __future__ import annotations

import random
import socket

import psutil

from analytics_pipelines.errors import PipelinesError

HOST = "127.0.0.1"

# What to do about a kept port that is taken.
NEW_PORTS = "stop it, or remove {home}/connection.json: `pipelines up` then chooses other ports, the data are kept"

# Below the ports that Linux (32768) and macOS (49152) hand to outgoing connections, any of which could be using a kept
# port at the moment its server starts.
_CANDIDATES = range(15000, 32000)
_CONNECT_SECONDS = 2.0


def choose_port() -> int:
    """Choose a free port, at random, so that state folders made at the same time choose different ones."""
    for port in random.sample(_CANDIDATES, k=100):
        if _is_free(port):
            return port
    raise PipelinesError(f"no free port found on {HOST} between {_CANDIDATES.start} and {_CANDIDATES.stop}; free some")


def require_free(port: int, remedy: str) -> None:
    """Make sure that a server may listen on the port.

    Raises:
        PipelinesError: another program listens there; the line names it and ends with `remedy`.
    """
    if not _is_free(port):
        raise PipelinesError(f"port {port} on {HOST} is in use by another program{_holder(port)}; {remedy}")


def answers(port: int, host: str = HOST) -> bool:
    """Tell whether anything accepts connections on the port."""
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a server that has just ended do not hold its port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            # Binding alone succeeds beside a socket that is bound but was given the same option.
            probe.listen(1)
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    """Name the process that listens on the port, as far as this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid is not None:
                return f" (pid {connection.pid}, {psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass
    return ""
