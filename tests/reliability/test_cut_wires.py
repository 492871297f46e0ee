#!/usr/bin/env python3
"""Cuts real TCP connections at each byte, and checks the server meanwhile and afterwards.

A point DIRECTION:HOW:N is after N bytes `up`, to the server, or `down`, in all connections of an
act together. HOW is `fin`: the client ends its sending side and reads what is left, or, if the cut
is on the way down, closes; or `rst`: a reset. Whatever the server lists then, while the connection
stands still and after it has ended, is whole, and what it acknowledged is listed; it keeps no
descriptor and nothing temporary; the same act succeeds. For a client a relay cuts its connection.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are missing.
"""
# ctest: COST 60

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import struct
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

import integration_path  # noqa: F401
import programs
from addresses import connect
from exit_codes import DONE
from harness import WORKERS, Harness, NotReached, SelfTest, Wrong, main, wrong_at_server
from peer import Client, EndOfStream
from peer_wire import CHUNK, Channel
from scenarios import SOUND, ClientScenario, Launch, Scenario, ServerRun, Talk
from tracing import Strace, why_not_strace

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets


class Wire:
    """The bytes that may still pass in one direction; those of all are counted."""

    def __init__(self, direction: str = "", how: str = "", size: int = 0,
                 at_cut: Callable[[], None] = lambda: None):
        self.direction, self.how, self.left = direction, how, size
        self.at_cut = at_cut
        self.passed = {"up": 0, "down": 0}
        self.is_cut = False
        self.channel: Optional[Channel] = None  # the one that was cut
        self.rest = b""  # what came after the cut
        self.wrong: List[str] = []

    def allowance(self, direction: str) -> int:
        return self.left if direction == self.direction else CHUNK

    def count(self, direction: str, size: int) -> bool:
        """Whether the wire is to be cut now."""
        self.passed[direction] += size
        if direction != self.direction or self.is_cut:
            return False
        self.left -= size
        return self.left == 0


class CutChannel(Channel):
    """The client's end of a wire."""

    def __init__(self, sock: socket.socket, wire: Wire):
        super().__init__(sock)
        self.wire = wire

    def send(self, data: bytes) -> None:
        part = data[:self.wire.allowance("up")] if self.wire.direction == "up" else data
        self.sock.sendall(part)
        if self.wire.count("up", len(part)):
            self.cut()

    def fill(self) -> bool:
        if self.wire.direction == "down" and self.wire.left == 0:
            self.cut()
        data = self.sock.recv(max(1, self.wire.allowance("down")))
        self.buffer += data
        if self.wire.count("down", len(data)):
            self.cut()
        return bool(data)

    def cut(self) -> None:
        self.wire.is_cut = True
        self.wire.channel = self
        self.wire.at_cut()
        if self.wire.how == "rst":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.sock.close()
        elif self.wire.direction == "down":
            self.sock.close()
        else:
            self.end_sending()
            self.drain()
        raise EndOfStream

    def drain(self) -> None:
        """Reads up to the end, which the server must make soon."""
        try:
            while True:
                data = self.sock.recv(CHUNK)
                if not data:
                    break
                self.buffer += data
        except socket.timeout:
            self.wire.wrong.append("the server did not close the connection")
        except OSError:
            pass
        self.wire.rest = bytes(self.buffer)


def client_on(address: str, wire: Wire) -> Client:
    client = Client(address)
    client.channel = CutChannel(client.channel.sock, wire)
    return client


class CuttingRelay:
    """Cuts the first connection; others pass."""

    def __init__(self, server_address: str, wire: Wire):
        self.server_address, self.wire = server_address, wire
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        wire = self.wire
        while True:
            try:
                client, _ = self.listener.accept()
                server = connect(self.server_address)
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client, server, wire), daemon=True).start()
            wire = Wire()

    def serve(self, client: socket.socket, server: socket.socket, wire: Wire) -> None:
        with client, server, contextlib.suppress(OSError):
            others = {client: (server, "up"), server: (client, "down")}
            open_ends = [client, server]
            cut = wire.direction and wire.left == 0
            while open_ends and not cut:
                for end in select.select(open_ends, [], [])[0]:
                    other, direction = others[end]
                    data = end.recv(min(CHUNK, wire.allowance(direction)))
                    if data:
                        other.sendall(data)
                    else:
                        open_ends.remove(end)
                        other.shutdown(socket.SHUT_WR)
                    cut = wire.count(direction, len(data))
                    if cut:
                        break
            if cut:
                wire.is_cut = True
                wire.at_cut()
                if wire.how == "rst":
                    for end in (client, server):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # accept() returns
        self.listener.close()


class CutWires(Harness):
    name = "cut_wires"
    sides = ("server", "client")
    size = 60
    tries = 40

    def __init__(self, launch: Launch = SOUND, skipped: Sequence[str] = ()):
        super().__init__(launch)
        self.skipped = skipped  # calls that the server does not do

    def points(self, scenario: Scenario, folder: str) -> List[str]:
        place = os.path.join(folder, "counted")
        scenario.copy_to(place)
        wire = Wire()
        with self.disturbed(scenario, place, wire) as run:
            run.act()
        if not run.finished:
            raise AssertionError("%s does not succeed: %s" % (scenario.name, run.error))
        return ["%s:%s:%d" % (direction, how, n) for direction, count in wire.passed.items()
                for how in ("fin", "rst") for n in range(count + 1)]

    @contextlib.contextmanager
    def disturbed(self, scenario: Scenario, place: str, wire: Wire) -> Iterator:
        if isinstance(scenario, ClientScenario):
            relay = CuttingRelay(scenario.address, wire)
            try:
                with scenario.begin(place, self.launch, relay.address) as run:
                    yield run
            finally:
                relay.close()
        else:
            with scenario.begin(place, self.launch) as run:
                run.talk.connect = lambda: client_on(run.server.address, wire)
                yield run

    def try_point(self, scenario: Scenario, folder: str, point: str) -> List[str]:
        """Of a client."""
        place = os.path.join(folder, "place")
        scenario.copy_to(place)
        direction, how, size = point.split(":")
        wrong: List[str] = []
        wire = Wire(direction, how, int(size),
                    lambda: wrong.extend(scenario.wrong_files(place)))
        with self.disturbed(scenario, place, wire) as run:
            run.act()
        if not wire.is_cut:
            raise NotReached
        code = run.process.returncode
        if code < 0 or (code == DONE) != run.finished:
            wrong.append("the client ended with %d: %s" % (code, run.error))
        return wrong + scenario.check(place, run.talk)

    def try_points(self, scenario: Scenario, folder: str,
                   points: List[str]) -> Tuple[int, List[Wrong]]:
        if isinstance(scenario, ClientScenario):
            return super().try_points(scenario, folder, points)
        parts = [(points[i::WORKERS], os.path.join(folder, "place%d" % i))
                 for i in range(WORKERS)]
        with ThreadPoolExecutor(WORKERS) as pool:
            results = list(pool.map(lambda part: self.try_on_one_server(scenario, *part),
                                    [part for part in parts if part[0]]))
        return sum(reached for reached, _ in results), [w for _, wrong in results for w in wrong]

    def try_on_one_server(self, scenario: Scenario, points: List[str],
                          place: str) -> Tuple[int, List[Wrong]]:
        """The store is as before again for each of the points."""
        reached, wrong = 0, []
        scenario.copy_to(place)
        with scenario.begin(place, self.launch) as run, contextlib.ExitStack() as stack:
            if self.skipped:
                stack.enter_context(Strace([run.process.pid], ["-f", "-o", os.devnull, "-e",
                                    "inject=%s:retval=0" % ",".join(self.skipped)]))
            descriptors = run.server.descriptors()  # without connections
            for point in points:
                if self.is_found:
                    break
                found = self.try_on(scenario, place, run, point, descriptors)
                if found is not None:
                    reached += 1
                    self.note(found)
                    wrong += [Wrong(point, text) for text in found]
                self.restore(scenario, place)
        return reached, wrong

    def try_on(self, scenario: Scenario, place: str, run: ServerRun, point: str,
               descriptors: int) -> Optional[List[str]]:
        """What is wrong; None if the point was not reached."""
        direction, how, size = point.split(":")
        wrong: List[str] = []
        run.talk = Talk(lambda: client_on(run.server.address, wire))
        wire = Wire(direction, how, int(size), lambda: wrong.extend(
            scenario.wrong_list(run.server, run.talk, False)))
        if wire.left == 0 and direction == "up":  # before the first byte
            with contextlib.suppress(EndOfStream):
                with run.talk.connect() as client:
                    client.channel.cut()
        else:
            run.act()
        if not wire.is_cut:
            return None
        answers = wire.rest.split(b"\n")
        for client, file in list(run.talk.unanswered):
            if client.channel is wire.channel and file.id.encode() in answers:
                run.talk.acknowledge(client, file)
        wrong += wire.wrong
        return wrong + wrong_at_server(scenario, place, run, descriptors, "the cut")

    def restore(self, scenario: Scenario, place: str) -> None:
        store = scenario.store(place)
        for name in os.listdir(store):
            if name != ".incoming":
                shutil.rmtree(os.path.join(store, name)) if not name.startswith(".") else [
                    os.remove(os.path.join(store, name, file))
                    for file in os.listdir(os.path.join(store, name))]
        subprocess.run(["cp", "-a", scenario.store(scenario.prepared) + "/.", store], check=True)

    def self_tests(self) -> Iterator[SelfTest]:
        if programs.path_of("filexfer-broken-server"):
            for defect, expected in {"published-when-cut": "should not be",
                                     "temporary-kept": "is left after the cut"}.items():
                yield SelfTest(defect, expected,
                               CutWires(Launch("filexfer-broken-server", (defect,))))
        if not why_not_strace():
            harness = CutWires(skipped=("close",))
            harness.tries = 8
            yield SelfTest("close that does nothing", "descriptors after", harness)


if __name__ == "__main__":
    main(CutWires())
