"""What stands between a client and a server, and counts, cuts, holds or delays what passes.

Relay     passes on what comes, and cuts each connection after so many bytes.
Holding   stops at a byte, until the test tells it how to go on.
Lockstep  passes on only when both ends have no more to say, and counts how often.
Delaying  makes every byte take its time.
"""

from __future__ import annotations

import collections
import select
import socket
import threading
import time
from typing import Deque, List, Optional, Tuple

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
    """Passes on what comes, both ways, and cuts each connection after so many bytes in all."""

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
                size = source.recv(most) if most > 0 else b""
                if not size:
                    break
                self.count(way, plan, len(size))  # before anybody can have them
                target.sendall(size)
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
        """How many bytes may pass now; 0 cuts the connection."""
        return 64 * KIB if plan[0] is None else min(64 * KIB, plan[0])

    def count(self, way, plan, size) -> None:
        self.passed += size
        if plan[0] is not None:
            plan[0] -= size


class Hold:
    """A place in a connection: `bytes` have passed, which way is "up" (to the server) or "down"."""

    def __init__(self, way: str, size: int):
        self.way, self.left = way, size
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
    """Stops the bytes that go one way at a place in it, and takes no more from their sender."""

    def __init__(self, to: str, path: Optional[str] = None):
        self.holds: List[Hold] = []  # of the connections to come; then none is held
        self.went = {"up": 0, "down": 0}
        super().__init__(to, path)

    def hold(self, way: str, size: int) -> Hold:
        """In the next connection for which none is planned."""
        self.holds.append(Hold(way, size))
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

    def count(self, way, plan, size) -> None:
        self.went[way] += size
        if plan and plan.way == way and not plan.held:
            plan.left -= size


class Lockstep(Relay):
    """Neither end hears anything before both have said all that they can, as if the way were endless.

    `rounds` counts how often what the client said was passed on: how often it had to wait for an answer
    before it could go on. Who pauses for longer than `quiet` seconds in the middle is taken to have
    finished, so that there may be more rounds than it needs, never fewer. After `most` of them everything
    passes at once, and they are still counted.
    """

    receive_buffer = None

    def __init__(self, to: str, quiet: float, most: int):
        self.quiet, self.most = quiet, most
        self.rounds = 0
        super().__init__(to)

    def talk(self, client, server, plan) -> None:
        other = {client: server, server: client}
        heard = {client: bytearray(), server: bytearray()}
        passing = {client: bytearray(), server: bytearray()}
        ended = set()  # whoever says no more
        told = set()  # whose end the other one knows
        for end in other:
            end.setblocking(False)
        try:
            while len(told) < 2:
                idle = not any(heard.values()) and not any(passing.values()) and ended == told
                quiet = None if idle else self.quiet if self.rounds < self.most else 0
                readable, writable, _ = select.select(
                    [end for end in other if end not in ended],
                    [other[end] for end in other if passing[end]], [], quiet)
                for end in readable:
                    size = end.recv(1024 * KIB)
                    heard[end] += size
                    if not size:
                        ended.add(end)
                for end in writable:
                    sent = end.send(passing[other[end]])
                    del passing[other[end]][:sent]
                if readable or writable or any(passing.values()):
                    continue
                self.rounds += bool(heard[client])
                passing, heard = heard, passing
                for end in ended - told:
                    if not passing[end]:
                        other[end].shutdown(socket.SHUT_WR)
                        told.add(end)
        except OSError:
            pass  # one end has gone away; the other one sees it now


class Delaying(Relay):
    """Every byte takes `seconds` from end to end, and any number of them may be on their way."""

    receive_buffer = None

    def __init__(self, to: str, seconds: float):
        self.seconds = seconds
        super().__init__(to)

    def talk(self, client, server, plan) -> None:
        client.setblocking(False)
        server.setblocking(False)
        super().talk(client, server, plan)

    def move(self, source, target, way, plan) -> None:
        due: Deque[Tuple[float, memoryview]] = collections.deque()  # when they arrive; none is the end
        ended = False
        try:
            while not ended or due:
                pause = due[0][0] - time.monotonic() if due else None
                arrived = pause is not None and pause <= 0
                if arrived and not due[0][1]:
                    due.popleft()
                    target.shutdown(socket.SHUT_WR)
                    continue
                readable, writable, _ = select.select(
                    [] if ended else [source], [target] if arrived else [], [], None if arrived else pause)
                if readable:
                    size = source.recv(1024 * KIB)
                    due.append((time.monotonic() + self.seconds, memoryview(size)))
                    ended = not size
                if writable:
                    when, size = due.popleft()
                    sent = target.send(size)
                    self.passed += sent
                    if sent < len(size):
                        due.appendleft((when, size[sent:]))
        except OSError:
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
