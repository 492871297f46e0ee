"""Addresses on this machine: connecting to them, and whether anybody listens there."""

from __future__ import annotations

import socket
import unittest
from typing import Optional


def connect(address: str, timeout: Optional[float] = None) -> socket.socket:
    """Connects to HOST:PORT or unix:PATH; a timeout is also that of each later operation."""
    if address.startswith("unix:"):
        end = socket.socket(socket.AF_UNIX)
        end.settimeout(timeout)
        end.connect(address[len("unix:"):])
        return end
    host, port = address.rsplit(":", 1)
    end = socket.create_connection((host, int(port)), timeout)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return end


def unused_address() -> str:
    """A HOST:PORT at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return "127.0.0.1:%d" % listener.getsockname()[1]


def refuses(address: str) -> bool:
    """Whether nobody listens there any more."""
    try:
        connect(address).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass  # it is being closed
    return False


def skip_without_ipv6() -> None:
    """Raises SkipTest where there is no IPv6 loopback address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        raise unittest.SkipTest("no IPv6 here: %s" % error) from None
