"""Idle connections: the memory that they take, and what they cost others."""

from __future__ import annotations

import contextlib
import dataclasses
import resource
import socket
import statistics
import struct
import time
from typing import Iterator, List

from .measuring import cpu_seconds, memory_mib
from .peers import Peers

NO_LINGER = struct.pack("ii", 1, 0)  # closing sends a reset


@dataclasses.dataclass
class Kind:
    """A server, and how a client speaks to it."""

    name: str
    kind: str
    port: int
    pids: List[int]
    request: bytes
    end_of_reply: bytes


def kinds_of(peers: Peers) -> List[Kind]:
    ours = peers.store("idle", "--max-connections", "30000")
    kinds = [Kind("filexfer-server", "ours", ours.port, ours.pids(), b"LIST_FILES\n", b"\n")]
    if peers.nginx:
        peers.places.file("tiny", peers.places.sizes.small_size)
        kinds.append(Kind("nginx", "peer", peers.nginx.port, peers.nginx.pids(),
                          b"HEAD /tiny HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n\r\n"))
    return kinds


def connect(kind: Kind) -> socket.socket:
    """A connection that has done one request."""
    connection = socket.create_connection(("127.0.0.1", kind.port), timeout=30)
    connection.sendall(kind.request)
    reply = b""
    while not reply.endswith(kind.end_of_reply):
        got = connection.recv(4096)
        if not got:
            raise OSError("%s has closed a connection: %r" % (kind.name, reply[:80]))
        reply += got
    return connection


def raise_descriptor_limit() -> int:
    """How many connections this process may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - 200


@contextlib.contextmanager
def connections(kind: Kind, count: int) -> Iterator[None]:
    held: List[socket.socket] = []
    try:
        for _ in range(count):
            held.append(connect(kind))
        time.sleep(0.5)
        yield
    finally:
        for one in held:
            one.close()
        time.sleep(0.5)


@dataclasses.dataclass
class Idle:
    """What `count` idle connections of a server cost."""

    name: str
    kind: str
    count: int
    kib: float = 0  # memory of each
    total_mib: float = 0  # of the server with all of them
    alone_ms: float = 0  # another client's connection and request, without them
    beside_ms: float = 0  # with them
    resets: int = 0
    resets_alone: float = 0  # CPU seconds of connections that are reset at once, without them
    resets_beside: float = 0
    failure: str = ""


def milliseconds(kind: Kind) -> float:
    """Of a connection, a request, and its reply: the median of many."""
    times = []
    for _ in range(200):
        begin = time.perf_counter()
        connect(kind).close()
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)


def reset_cost(kind: Kind, count: int) -> float:
    """CPU seconds that the server spends on connections that are reset at once."""
    before = cpu_seconds(kind.pids)
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", kind.port), timeout=30) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    time.sleep(0.5)
    return cpu_seconds(kind.pids) - before


def measure_idle(peers: Peers, rounds: int) -> List[Idle]:
    sizes = peers.places.sizes
    count = min(sizes.idle, raise_descriptor_limit())
    results = []
    for kind in kinds_of(peers):
        result = Idle(kind.name, kind.kind, count, resets=sizes.connects)
        samples: List[Idle] = []
        try:
            for _ in range(rounds):
                samples.append(measure_one(kind, result))
        except OSError as error:
            peers.tell("idle connections: %s: %s" % (kind.name, error))
            result.failure = str(error)
        if samples:
            result.kib = samples[0].kib  # later, the server has memory left that it has freed
            for field in ("total_mib", "alone_ms", "beside_ms", "resets_alone", "resets_beside"):
                setattr(result, field, statistics.median(getattr(one, field) for one in samples))
        results.append(result)
    return results


def measure_one(kind: Kind, like: Idle) -> Idle:
    now = dataclasses.replace(like)
    now.alone_ms = milliseconds(kind)
    now.resets_alone = reset_cost(kind, like.resets)
    before = memory_mib(kind.pids)
    with connections(kind, like.count):
        now.total_mib = memory_mib(kind.pids)
        now.kib = (now.total_mib - before) * 1024 / like.count
        now.beside_ms = milliseconds(kind)
        now.resets_beside = reset_cost(kind, like.resets)
    return now
