#!/usr/bin/env python3
"""What slow and hostile clients do to the requests of another one.

    tests/bench/crowds.py                     # all scenarios: about a minute and a half
    tests/bench/crowds.py --seconds 2         # that all of it works
    tests/bench/crowds.py --only resets

In each scenario a filexfer-server of FILEXFER_BIN (build/release/bin) serves a crowd, which has its
own process, and another client that connects, asks for the list and disconnects, again and again.
Prints a table in Markdown: how long that took from the connect to the end of the list, the server's
CPU time, and the most threads that it had. Compare with `alone` in the same run. Crowd and client
compete with the server for the cores: what they cost it is in its CPU time.

Stores are in RAM (/dev/shm) if it has room; addresses are free ports of 127.0.0.1.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import itertools
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import statistics
import sys
import threading
import time
from typing import Any, Callable, Iterator, List, NoReturn, Optional, Sequence, Tuple

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
sys.path.append(os.path.join(HERE, "..", "integration"))

from comparison.connections import (NO_LINGER, Kind, connections,  # noqa: E402
                                    raise_descriptor_limit)
from comparison.measuring import cpu_seconds, memory_mib  # noqa: E402
from peer import Client, EndOfStream, Refused, md5  # noqa: E402
from places import folder_with_space  # noqa: E402
from programs import ServerProcess, path_of  # noqa: E402
from tracing import threads_of, why_not_strace  # noqa: E402
from waiting import wait_until  # noqa: E402

CROWD = 1000
IDLE = 10000
LARGE = 64 << 20
SLOW = 64 << 10  # takes hours at a byte a second, and is the most that is received in one piece
UPLOADERS = 8
DESCRIPTORS, HELD = 64, 200
FLUSH_SECONDS = 2
PAUSE = 0.005  # between requests: closed connections keep their ports for a minute
TIMEOUT = 60  # seconds, of a request

Address = Tuple[str, int]
Act = Callable[[Address, Any, Any], None]  # with an event to set once all are there, and a counter


@dataclasses.dataclass
class Row:
    """What another client and the server saw in a scenario."""

    times: List[float] = dataclasses.field(default_factory=list)  # of requests, in seconds
    failures: int = 0
    cpu: float = 0  # seconds of the server
    threads: int = 0  # the most that it had
    note: str = ""


def address_of(server: ServerProcess) -> Address:
    host, _, port = server.address.rpartition(":")
    return host, int(port)


@contextlib.contextmanager
def serving(*options: str, prepare: Optional[Callable[[], object]] = None,
            wrapper: Sequence[str] = ()) -> Iterator[ServerProcess]:
    """A server on an empty store; an AssertionError at the end unless it stops as it should."""
    folder = folder_with_space(2 * max(LARGE, CROWD * SLOW))
    if not folder:
        raise OSError("there is no room for a store")
    try:
        with ServerProcess("--max-connections", "30000", *options, prepare=prepare,
                           store=os.path.join(folder, "store"), wrapper=wrapper) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def crowd(act: Act, server: ServerProcess) -> Iterator[Any]:
    """Runs `act` in a process of its own, which is killed at the end; returns its counter."""
    def check() -> None:
        if not process.is_alive():
            raise OSError("the crowd has failed")

    context = multiprocessing.get_context("fork")
    ready, count = context.Event(), context.Value("q", 0, lock=False)
    process = context.Process(target=act, args=(address_of(server), ready, count), daemon=True)
    process.start()
    try:
        while not ready.wait(0.1):
            check()
        yield count
        check()
    finally:
        process.kill()
        process.join()


def answers(server: ServerProcess) -> bool:
    """Whether a client that connects gets the list."""
    try:
        with server.client(TIMEOUT) as client:  # it switches Nagle's algorithm off
            client.list_files()
        return True
    except (OSError, EndOfStream, Refused):
        return False


def measure(server: ServerProcess, seconds: float) -> Row:
    """Another client's requests for so long."""
    row, pid = Row(), server.process.pid
    before, end = cpu_seconds([pid]), time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        if answers(server):
            row.times.append(time.perf_counter() - begin)
        else:
            row.failures += 1
        row.threads = max(row.threads, len(threads_of(pid)))
        time.sleep(PAUSE)
    row.cpu = cpu_seconds([pid]) - before
    return row


def alone(seconds: float) -> Row:
    """nobody else"""
    with serving() as server:
        return measure(server, seconds)


def connect_and_send(address: Address, command: bytes) -> socket.socket:
    """A client that does not read. Without segments as of Ethernet and a small buffer the system
    buffers 2 MB of each download over loopback, and a crowd takes all memory of TCP."""
    client = socket.socket()
    client.settimeout(TIMEOUT)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.connect(address)
    client.sendall(command)
    return client


def trickle(commands: Sequence[bytes]) -> Act:
    """Clients that send a command, and then a byte a second, for ever: those that the server has
    disconnected notice it by that, connect again, and are counted."""
    def act(address: Address, ready: Any, count: Any) -> None:
        clients = [connect_and_send(address, command) for command in commands]
        ready.set()
        while True:
            for number, command in enumerate(commands):
                time.sleep(1 / len(commands))
                try:
                    clients[number].sendall(b"x")
                except OSError:
                    clients[number].close()
                    clients[number] = connect_and_send(address, command)
                    count.value += 1

    return act


def measure_beside(commands: Sequence[bytes], server: ServerProcess, seconds: float) -> Row:
    before = memory_mib([server.process.pid])
    with crowd(trickle(commands), server) as count:
        row = measure(server, seconds)
        taken = memory_mib([server.process.pid]) - before
    row.note = "%.0f KiB of memory each" % (taken * 1024 / len(commands))
    if count.value:
        row.note += "; %d were disconnected, and came again" % count.value
    return row


def tricklers(seconds: float) -> Row:
    """1,000 uploads at a byte a second"""
    commands = [b"UPLOAD\nslow-%d;%d;nowait\n" % (number, SLOW) for number in range(CROWD)]
    with serving() as server:
        return measure_beside(commands, server, seconds)


def readers(seconds: float) -> Row:
    """1,000 downloads of 64 MiB that are not read"""
    content = os.urandom(LARGE)
    with serving() as server:
        with server.client(TIMEOUT) as client:
            client.upload("large", content)
        commands = [b"DOWNLOAD\n%s\n" % md5(content).encode()] * CROWD
        return measure_beside(commands, server, seconds)


def reset(address: Address, ready: Any, count: Any) -> None:
    ready.set()
    while True:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            connection.connect(address)
        count.value += 1


def resets(seconds: float) -> Row:
    """connections that are reset at once, as fast as they go"""
    with serving() as server, crowd(reset, server) as count:
        before = count.value
        row = measure(server, seconds)
        done = max(count.value - before, 1)
        row.note = "%d resets, %.0f µs of CPU time each" % (done, row.cpu * 1e6 / done)
        return row


def upload_files(address: Address, ready: Any, count: Any) -> None:
    numbers, lock = itertools.count(), threading.Lock()

    def upload() -> None:
        with Client(*address, timeout=10 * TIMEOUT) as client:
            for number in numbers:
                client.upload("small-%d" % number, b"%d" % number)
                with lock:
                    count.value += 1

    for _ in range(UPLOADERS):
        threading.Thread(target=upload).start()
    ready.set()


def flushes(seconds: float) -> Row:
    """8 clients that upload small files to a disk where each flush takes 2 s"""
    reason = why_not_strace()
    if reason:
        return Row(note="left out: " + reason)
    # Other calls are as fast as ever in a thread that has made one of these: set_robust_list is a
    # thread's first.
    strace = ("strace", "-D", "-f", "--seccomp-bpf", "-o", os.devnull,
              "-e", "trace=fsync,fdatasync,set_robust_list",
              "-e", "inject=fsync,fdatasync:delay_exit=%d" % (FLUSH_SECONDS * 1000000))
    with serving(wrapper=strace) as server, crowd(upload_files, server) as count:
        row = measure(server, seconds)
        row.note = "%d were stored" % count.value
        return row


def descriptors(seconds: float) -> Row:
    """200 connections to a server that may have 64 descriptors"""
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (DESCRIPTORS,) * 2)
    with serving("--idle-timeout", "1h", prepare=limit) as server:
        row, pid = Row(), server.process.pid
        with contextlib.ExitStack() as held:
            for _ in range(HELD):
                held.enter_context(socket.create_connection(address_of(server), TIMEOUT))
            wait_until(lambda: server.descriptors() == DESCRIPTORS, "the descriptors to run out")
            before = cpu_seconds([pid])
            time.sleep(seconds)
            row.cpu, row.threads = cpu_seconds([pid]) - before, len(threads_of(pid))
        begin = time.perf_counter()
        while not answers(server):
            row.failures += 1
        row.note = ("%.0f ms of CPU time; a request is answered %.0f ms after they are closed"
                    % (row.cpu * 1000, (time.perf_counter() - begin) * 1000))
        return row


def idle(seconds: float) -> Row:
    """connections that have made a request, and are idle"""
    count = min(IDLE, raise_descriptor_limit())
    with serving("--idle-timeout", "1h") as server:
        pid, port = server.process.pid, address_of(server)[1]
        answers(server)  # what the first request allocates is not the connections'
        before = memory_mib([pid])
        with connections(Kind("server", "ours", port, [pid], b"LIST_FILES\n", b"\n\n"), count):
            taken = memory_mib([pid]) - before
            row = measure(server, seconds)
        row.note = "%d connections, %.1f KiB of memory each" % (count, taken * 1024 / count)
        return row


SCENARIOS = (alone, tricklers, readers, resets, flushes, descriptors, idle)


def cells(scenario: Callable[[float], Row], row: Row) -> List[str]:
    times = [1000 * one for one in row.times]
    note = row.note + ("; %d requests failed" % row.failures if row.failures else "")
    return ["`%s`: %s" % (scenario.__name__, scenario.__doc__), str(len(times) or "–"),
            "%.2f" % statistics.median(times) if times else "–",
            "%.1f" % max(times) if times else "–",
            "%.2f" % row.cpu if row.threads else "–", str(row.threads or "–"), note]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of each scenario [10]")
    parser.add_argument("--only", choices=[one.__name__ for one in SCENARIOS], help="one scenario")
    arguments = parser.parse_args()
    os.environ.setdefault("FILEXFER_BIN", PROJECT + "/build/release/bin")
    if not path_of("filexfer-server"):
        parser.error("%s has no filexfer-server: build it, or set FILEXFER_BIN"
                     % os.environ["FILEXFER_BIN"])
    signal.signal(signal.SIGTERM, stop)
    raise_descriptor_limit()  # the servers inherit it
    print("| crowd | requests | median ms | worst ms | server CPU s | threads | more |")
    print("| --- | --: | --: | --: | --: | --: | --- |", flush=True)
    for scenario in SCENARIOS:
        if arguments.only in (None, scenario.__name__):
            print("| %s |" % " | ".join(cells(scenario, scenario(arguments.seconds))), flush=True)


def stop(_: int, __: object) -> NoReturn:
    sys.exit(130)


if __name__ == "__main__":
    main()
