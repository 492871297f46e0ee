"""What stands between a client and a server, and counts, cuts or holds what passes.

Relay     passes on what comes, and cuts each connection after so many octets.
Holding   stops at an octet, until the test tells it how to go on.
"""

from __future__ import annotations

import socket
import threading
from typing import List, Optional

KIB = 1024


def connect(address: str) -> socket.socket:
    """To HOST:PORT or unix:PATH."""
    if address.startswith("unix:"):
        end = socket.socket(socket.AF_UNIX)
        end.connect(address[len("unix:"):])
        return end
    host, port = address.rsplit(":", 1)
    end = socket.create_connection((host, int(port)))
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return end


class Relay:
    """Passes on what comes, both ways, and cuts each connection after so many octets in all."""

    receive_buffer: Optional[int] = 64 * KIB  # of what the client sends; None is the system's own choice

    def __init__(self, to: str, path: Optional[str] = None):
        """Leads to that address. Listens on the Unix socket `path`, or on a port of the loopback."""
        self.to = to
        self.cut_after: List[int] = []  # of the connections to come; then none is cut
        self.passed = 0
        self.connections = 0
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.listener.listen()
            self.address = "unix:" + path
        else:
            self.listener = socket.create_server(("127.0.0.1", 0))
            if self.receive_buffer:
                self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
            self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # its connections', too
            self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(client, self.plan()), daemon=True).start()

    def close(self) -> None:
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # accept() returns
        except OSError:
            pass
        self.listener.close()

    def serve(self, client, plan) -> None:
        with client:
            try:
                server = connect(self.to)
            except OSError:
                return
            with server:
                self.talk(client, server, plan)

    def talk(self, client, server, plan) -> None:
        back = threading.Thread(target=self.move, args=(server, client, "down", plan), daemon=True)
        back.start()
        self.move(client, server, "up", plan)
        back.join()

    def move(self, source, target, way, plan) -> None:
        try:
            while True:
                most = self.room(way, plan)
                octets = source.recv(most) if most > 0 else b""
                if not octets:
                    break
                self.count(way, plan, len(octets))  # before anybody can have them
                target.sendall(octets)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    # What is planned for a connection

    def plan(self):
        return [self.cut_after.pop(0) if self.cut_after else None]

    def room(self, way, plan) -> int:
        """How many octets may pass now; 0 cuts the connection."""
        return 64 * KIB if plan[0] is None else min(64 * KIB, plan[0])

    def count(self, way, plan, octets) -> None:
        self.passed += octets
        if plan[0] is not None:
            plan[0] -= octets


class Hold:
    """A place in a connection: `octets` have passed, which way is "up" (to the server) or "down"."""

    def __init__(self, way: str, octets: int):
        self.way, self.left = way, octets
        self.held = False
        self.settled = threading.Event()  # the place was reached, or the connection has ended before it
        self.told = threading.Event()
        self.cuts = False

    def go_on(self) -> None:
        self.told.set()

    def cut(self) -> None:
        self.cuts = True
        self.told.set()


class Holding(Relay):
    """Stops the octets that go one way at a place in it, and takes no more from their sender."""

    def __init__(self, to: str, path: Optional[str] = None):
        self.holds: List[Hold] = []  # of the connections to come; then none is held
        self.went = {"up": 0, "down": 0}
        super().__init__(to, path)

    def hold(self, way: str, octets: int) -> Hold:
        """In the next connection for which none is planned."""
        self.holds.append(Hold(way, octets))
        return self.holds[-1]

    def plan(self):
        return self.holds.pop(0) if self.holds else None

    def talk(self, client, server, plan) -> None:
        super().talk(client, server, plan)
        if plan:
            plan.settled.set()

    def room(self, way, plan) -> int:
        if not plan or plan.way != way:
            return 64 * KIB
        if plan.left > 0:
            return min(64 * KIB, plan.left)
        plan.held = True
        plan.settled.set()
        plan.told.wait()
        return 0 if plan.cuts else 64 * KIB

    def count(self, way, plan, octets) -> None:
        self.went[way] += octets
        if plan and plan.way == way and not plan.held:
            plan.left -= octets
