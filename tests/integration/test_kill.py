#!/usr/bin/env python3
"""Kills filexfer-server at every system call of an upload, and checks the store it leaves.

One upload is traced first. Then, for each thread of the server, each kind of call and each
N, a server is killed as that thread is about to make its Nth such call since the connection
was made. Each time:

  - every regular file under an id has that digest, on the disk and in the list of the
    next server;
  - an acknowledged upload is listed;
  - the next server removes what the killed one left in .incoming;
  - the same upload then succeeds, and is listed.

The same is done to servers whose stores are broken on purpose, each in one way: the check
must find each defect.

Exits with 77 where strace is missing or may not attach.
"""
# ctest: COST 160

from __future__ import annotations

import collections
import contextlib
import fcntl
import hashlib
import os
import random
import shutil
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterator, List, NamedTuple, Tuple

import peer
from peer import ServerProcess, md5
from tracing import Strace, calls_in, skip_without_strace, threads_of

BYTES = random.Random(1).randbytes(300_000)
ID = md5(BYTES)
NAME = "folder/file.bin"


# The server that is killed: its program, and its arguments after the store.
# One thread for the network and one for the disk, so that their calls are the same in every run.
killed_program = ["filexfer-server", "--threads", "1"]


def start_server(store: str) -> ServerProcess:
    return ServerProcess(*killed_program[1:], store=store, name=killed_program[0])


@contextlib.contextmanager
def with_defect(defect: str) -> Iterator[None]:
    """Uses a server whose store has that defect meanwhile."""
    original = killed_program[:]
    killed_program[:] = ["filexfer-broken-server", defect]
    try:
        yield
    finally:
        killed_program[:] = original


def all_threads_of(server: ServerProcess) -> List[int]:
    """Its two threads; the one for the disk may start after the server printed its address."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        threads = threads_of(server.process.pid)
        if len(threads) == 2:
            return threads
        time.sleep(0.01)
    raise AssertionError("the server has the threads %r, not two" % threads)


# Checks


def wrong_files(store: str) -> List[str]:
    """Files under an id that have another digest."""
    wrong = []
    for id in os.listdir(store):
        if id.startswith("."):
            continue
        for folder, _, names in os.walk(os.path.join(store, id)):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    digest = hashlib.md5(file.read()).hexdigest()
                if digest != id:
                    wrong.append("%s/%s has the digest %s" % (id, name, digest))
    return wrong


def wrong_entries(server: ServerProcess) -> Tuple[List[str], List[Tuple[str, bytes]]]:
    """Listed files that can't be downloaded as listed, and the (id, name) pairs of the list."""
    wrong = []
    with server.client() as client:
        entries = client.list_files()
        for entry in entries:
            try:
                client.download(entry.id)
            except Exception as error:
                wrong.append("%s is listed, and downloading it failed: %r" % (entry.id, error))
                break
    return wrong, [(entry.id, entry.name) for entry in entries]


def check_store(store: str, acknowledged: bool, before: int) -> List[str]:
    """The errors in the store of a killed server; `before` files were stored before the upload."""
    pair = (ID, NAME.encode())
    wrong = wrong_files(store)
    with start_server(store) as server:
        if os.listdir(os.path.join(store, ".incoming")):
            wrong.append("what the killed server left in .incoming is still there")
        bad, entries = wrong_entries(server)
        wrong += bad
        if acknowledged and pair not in entries:
            wrong.append("the upload was acknowledged, and is not listed")
        if not before <= len(entries) <= before + 1:
            wrong.append("there are %d files after %d" % (len(entries), before))
        with server.client() as client:
            if client.upload(NAME, BYTES).id != ID:
                wrong.append("the upload does not succeed again")
        bad, entries = wrong_entries(server)
        wrong += bad
        if entries.count(pair) != 1:
            wrong.append("the upload that succeeded is not listed once")
        if os.listdir(os.path.join(store, ".incoming")):
            wrong.append("the upload that succeeded left something in .incoming")
    return wrong


# Killing


class KillPoint(NamedTuple):
    thread: int  # 0 is the main thread
    call: str
    count: int


# Calls of the store, whose number is the same in every run. Those of thread synchronization, the
# network and the allocator vary from run to run, and more so under load.
STORE_CALLS = {"fchmod", "flock", "fsync", "getdents64", "linkat", "mkdirat", "newfstatat",
               "openat", "renameat", "unlinkat"}


class Scenario(NamedTuple):
    title: str
    before: int  # files stored before
    prepare: Callable[[str], None]


def prepare_nothing(store: str) -> None:
    os.mkdir(store)


def prepare_other_name(store: str) -> None:
    with start_server(store) as server, server.client() as client:
        client.upload("another name", BYTES)


def upload(server: ServerProcess) -> bool:
    """Whether the upload was acknowledged."""
    try:
        with server.client() as client:
            return client.upload(NAME, BYTES).id == ID
    except (peer.EndOfStream, OSError):
        return False


def kill_points(folder: str) -> List[KillPoint]:
    """The system calls that one upload makes, thread by thread."""
    store = os.path.join(folder, "traced")
    shutil.copytree(os.path.join(folder, "before"), store)
    trace = os.path.join(folder, "trace")
    with start_server(store) as server:
        threads = all_threads_of(server)
        with Strace(threads, ["-o", trace]):
            assert upload(server)
        assert threads_of(server.process.pid) == threads
    with open(trace) as file:
        calls = collections.Counter((call.thread, call.name) for call in calls_in(file.read()))
    return [KillPoint(threads.index(thread), name, n + 1)
            for (thread, name), count in sorted(calls.items()) for n in range(count)]


def kill_at(point: KillPoint, folder: str, scenario: Scenario) -> Tuple[bool, List[str]]:
    """Whether the server was killed there, and the errors found then."""
    store = os.path.join(folder, "%d-%s-%d" % point)
    shutil.copytree(os.path.join(folder, "before"), store)
    with start_server(store) as server:
        thread = all_threads_of(server)[point.thread]
        inject = "inject=%s:signal=SIGKILL:when=%d" % (point.call, point.count)
        with Strace([thread], ["-o", os.devnull, "-e", "trace=" + point.call, "-e", inject]):
            acknowledged = upload(server)
            if not acknowledged:
                server.process.wait(15)
        killed = server.process.poll() is not None
        server.kill()
    wrong = check_store(store, acknowledged, scenario.before)
    shutil.rmtree(store)
    return killed, ["killed before %s number %d of thread %d: %s"
                    % (point.call, point.count, point.thread, text)
                    for text in wrong]


def kill_after_answer(folder: str, scenario: Scenario) -> Tuple[bool, List[str]]:
    """The same for a server that is killed after its reply."""
    store = os.path.join(folder, "answered")
    shutil.copytree(os.path.join(folder, "before"), store)
    with start_server(store) as server:
        acknowledged = upload(server)
        server.kill()
    return True, ["killed after the answer: " + text
                  for text in check_store(store, acknowledged, scenario.before)]


def kill_everywhere(scenario: Scenario) -> Tuple[int, List[str]]:
    """At how many calls of the store the server was killed, and the errors found after any call."""
    with tempfile.TemporaryDirectory(prefix="filexfer-kill-") as folder:
        scenario.prepare(os.path.join(folder, "before"))
        points = kill_points(folder)
        with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
            results = list(pool.map(lambda point: kill_at(point, folder, scenario), points))
        after_answer = kill_after_answer(folder, scenario)
    store_points = [(point, killed) for point, (killed, _) in zip(points, results)
                    if point.call in STORE_CALLS]
    missed = [point for point, killed in store_points if not killed]
    print("%s: %d kill points, %d of them reached"
          % (scenario.title, len(points), sum(r[0] for r in results)),
          flush=True)
    assert not missed, "these kill points were not reached: %r" % missed
    return len(store_points), [text for _, wrong in [*results, after_answer] for text in wrong]


class KillTest(unittest.TestCase):
    def killed_everywhere(self, scenario: Scenario) -> None:
        killed, wrong = kill_everywhere(scenario)
        self.assertEqual([], wrong)
        self.assertGreater(killed, 20)

    def test_a_kill_during_the_upload_of_a_new_file_leaves_a_consistent_store(self) -> None:
        self.killed_everywhere(Scenario("a new file", 0, prepare_nothing))

    def test_a_kill_while_a_second_name_is_added_leaves_a_consistent_store(self) -> None:
        self.killed_everywhere(Scenario("a second name", 1, prepare_other_name))


@unittest.skipUnless(peer.program("filexfer-broken-server"), "filexfer-broken-server was not built")
class DefectTest(unittest.TestCase):
    """Each defect must be found, and nothing in the same store without a defect."""

    DEFECTS = {
        "none": None,
        "written-in-place": "has the digest",
        "acknowledged-before-commit": "acknowledged, and is not listed",
        "temporary-kept": "left something in .incoming",
        "no-clean-up": "in .incoming is still there",
    }

    def test_broken_stores_are_detected(self) -> None:
        for defect, expected in self.DEFECTS.items():
            with self.subTest(defect), with_defect(defect):
                _, wrong = kill_everywhere(Scenario("the defect " + defect, 0, prepare_nothing))
                if expected is None:
                    self.assertEqual([], wrong)
                else:
                    self.assertTrue(any(expected in text for text in wrong), wrong)


class CheckTest(unittest.TestCase):
    """check_store finds errors."""

    def stored(self, store: str) -> None:
        with start_server(store) as server:
            self.assertTrue(upload(server))
        self.assertEqual([], check_store(store, True, 0))

    def check(self, store: str, acknowledged: bool, expected: str, before: int = 0) -> None:
        wrong = check_store(store, acknowledged, before)
        self.assertTrue(any(expected in text for text in wrong), wrong)

    def test_the_check_detects_a_broken_store(self) -> None:
        with tempfile.TemporaryDirectory(prefix="filexfer-kill-") as folder:
            store = os.path.join(folder, "store")
            self.stored(store)
            path = os.path.join(store, ID, NAME)
            os.chmod(path, 0o644)
            with open(path, "ab") as file:  # as if it had been committed before it was complete
                file.truncate(1000)
            self.check(store, True, "has the digest")
            shutil.rmtree(store)

            os.makedirs(os.path.join(store, md5(b"x"), "folder"))
            with open(os.path.join(store, md5(b"x"), "file"), "wb") as file:
                file.write(b"x")
            self.check(store, True, "acknowledged, and is not listed", before=1)
            self.check(store, False, "files after", before=4)

            # As if the next server did not remove temporary files.
            with open(os.path.join(store, ".incoming", "left"), "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                self.check(store, False, "is still there", before=2)


if __name__ == "__main__":
    skip_without_strace()
    peer.run_tests("filexfer-server")
