"""Relays between a client and a server that count, cut, hold or delay the bytes.

Relay          forwards bytes, and closes each connection after a given number of them.
HoldingRelay   stops at a given byte until the test releases or cuts the connection.
LockstepRelay  forwards only when both ends are silent, and counts the rounds.
DelayingRelay  delays every byte by a given time.
"""

from __future__ import annotations

import collections
import select
import socket
import threading
import time
from typing import Deque, List, Optional, Tuple

from addresses import connect
from contents import KIB


class Relay:
    """Forwards bytes both ways, and closes each connection after a given number in total."""

    receive_buffer: Optional[int] = 64 * KIB  # for bytes from the client; None: system default

    def __init__(self, server_address: str, path: Optional[str] = None):
        """Listens on the Unix socket `path`, or else on a loopback port."""
        self.server_address = server_address
        self.cut_after: List[int] = []  # for the next connections in turn; later ones are not cut
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
            self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited
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
                server = connect(self.server_address)
            except OSError:
                return
            with server:
                self.forward_both(client, server, plan)

    def forward_both(self, client, server, plan) -> None:
        back = threading.Thread(target=self.forward, args=(server, client, "down", plan),
                                daemon=True)
        back.start()
        self.forward(client, server, "up", plan)
        back.join()

    def forward(self, source, target, direction, plan) -> None:
        try:
            while True:
                max_size = self.allowance(direction, plan)
                data = source.recv(max_size) if max_size > 0 else b""
                if not data:
                    break
                self.count(direction, plan, len(data))  # before the receiver can read them
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    # The plan of a connection

    def plan(self):
        return [self.cut_after.pop(0) if self.cut_after else None]

    def allowance(self, direction, plan) -> int:
        """How many bytes may be forwarded now; 0 closes the connection."""
        return 64 * KIB if plan[0] is None else min(64 * KIB, plan[0])

    def count(self, direction, plan, size) -> None:
        self.passed += size
        if plan[0] is not None:
            plan[0] -= size


class Hold:
    """A point in a connection: `size` bytes forwarded "up" (to the server) or "down"."""

    def __init__(self, direction: str, size: int):
        self.direction, self.left = direction, size
        self.held = False
        self.settled = threading.Event()  # the point was reached, or the connection ended before it
        self.decided = threading.Event()
        self.cut_requested = False

    def release(self) -> None:
        self.decided.set()

    def cut(self) -> None:
        self.cut_requested = True
        self.decided.set()


class HoldingRelay(Relay):
    """Stops forwarding in one direction at a given byte, and reads no more from the sender."""

    def __init__(self, server_address: str, path: Optional[str] = None):
        self.holds: List[Hold] = []  # for the next connections in turn; later ones are not held
        self.bytes_by_direction = {"up": 0, "down": 0}
        super().__init__(server_address, path)

    def hold(self, direction: str, size: int) -> Hold:
        """Adds a hold for the next connection that has none."""
        self.holds.append(Hold(direction, size))
        return self.holds[-1]

    def plan(self):
        return self.holds.pop(0) if self.holds else None

    def forward_both(self, client, server, plan) -> None:
        super().forward_both(client, server, plan)
        if plan:
            plan.settled.set()

    def allowance(self, direction, plan) -> int:
        if not plan or plan.direction != direction:
            return 64 * KIB
        if plan.left > 0:
            return min(64 * KIB, plan.left)
        plan.held = True
        plan.settled.set()
        plan.decided.wait()
        return 0 if plan.cut_requested else 64 * KIB

    def count(self, direction, plan, size) -> None:
        self.bytes_by_direction[direction] += size
        if plan and plan.direction == direction and not plan.held:
            plan.left -= size


class LockstepRelay(Relay):
    """Forwards nothing until both ends have sent all that they can, as with unlimited latency.

    `rounds` counts how often bytes of the client were forwarded, that is, how often it had to wait
    for a reply. An end that pauses for longer than `quiet_time` seconds is taken to be waiting, so
    there may be more rounds than necessary, never fewer. After `max_rounds` of them bytes are
    forwarded at once, and rounds are still counted.
    """

    receive_buffer = None

    def __init__(self, server_address: str, quiet_time: float, max_rounds: int):
        self.quiet_time, self.max_rounds = quiet_time, max_rounds
        self.rounds = 0
        super().__init__(server_address)

    def forward_both(self, client, server, plan) -> None:
        other = {client: server, server: client}
        received = {client: bytearray(), server: bytearray()}
        passing = {client: bytearray(), server: bytearray()}
        ended = set()  # ends that have shut down their sending side
        notified = set()  # ends whose shutdown was forwarded
        for end in other:
            end.setblocking(False)
        try:
            while len(notified) < 2:
                idle = (not any(received.values()) and not any(passing.values())
                        and ended == notified)
                timeout = None if idle else self.quiet_time if self.rounds < self.max_rounds else 0
                readable, writable, _ = select.select(
                    [end for end in other if end not in ended],
                    [other[end] for end in other if passing[end]], [], timeout)
                for end in readable:
                    data = end.recv(1024 * KIB)
                    received[end] += data
                    if not data:
                        ended.add(end)
                for end in writable:
                    sent = end.send(passing[other[end]])
                    del passing[other[end]][:sent]
                if readable or writable or any(passing.values()):
                    continue
                self.rounds += bool(received[client])
                passing, received = received, passing
                for end in ended - notified:
                    if not passing[end]:
                        other[end].shutdown(socket.SHUT_WR)
                        notified.add(end)
        except OSError:
            pass  # one end closed; the other is closed by the caller


class DelayingRelay(Relay):
    """Delays every byte by `seconds`; any number of bytes may be in flight."""

    receive_buffer = None

    def __init__(self, server_address: str, seconds: float):
        self.seconds = seconds
        super().__init__(server_address)

    def forward_both(self, client, server, plan) -> None:
        client.setblocking(False)
        server.setblocking(False)
        super().forward_both(client, server, plan)

    def forward(self, source, target, direction, plan) -> None:
        due: Deque[Tuple[float, memoryview]] = collections.deque()  # (arrival, data); no data: end
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
                    [] if ended else [source], [target] if arrived else [], [],
                    None if arrived else pause)
                if readable:
                    data = source.recv(1024 * KIB)
                    due.append((time.monotonic() + self.seconds, memoryview(data)))
                    ended = not data
                if writable:
                    when, data = due.popleft()
                    sent = target.send(data)
                    self.passed += sent
                    if sent < len(data):
                        due.appendleft((when, data[sent:]))
        except OSError:
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
