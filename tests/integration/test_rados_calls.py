#!/usr/bin/env python3
"""Kills a server of a pool at each of its calls of librados, and lets each of them fail: nothing that
a client was told is lost, nothing that is listed is damaged, and what is tried again works.

The server does an act: it receives a large file and small ones, one of which it has already, adds a
name, sends a file, and removes a name. The calls are counted once. With FILEXFER_FULL in the
environment each of them is tried in each way, else some. FILEXFER_BIN is the folder of the programs;
exits with 77 where they, librados-faults or Ceph's are absent.
"""
# ctest: COST 200

import os
import random
import sys

import programs
from contents import MIB, make_data
from peer import Refused, Violation, md5
from peer_wire import EndOfStream
from rados_case import RadosCase, run_rados_tests
from waiting import TIMEOUT

LIBRARY = "libfilexfer-rados-faults.so"
KINDS = "kill", "fail", "lie"
POINTS = 12  # of each kind, unless all are tried
FAILURES = OSError, EndOfStream, Refused, Violation


class Act:
    """What is done with one server, and what its client was told."""

    def __init__(self, number, held):
        self.held = held  # bytes that the store has, under the name "held"
        self.large = make_data(9 * MIB) + b"%d" % number
        self.small = {"small %d" % i: b"%d %d" % (number, i) for i in range(8)}
        self.told = set()  # (id, name) of what was reported as stored
        self.removed = False

    def files(self):
        return {"large": self.large, "again": self.held, **self.small}

    def perform(self, case, server):
        """Stops at the first failure, as the server may be gone."""
        folder = case.path("act")
        os.makedirs(folder, exist_ok=True)
        for name, data in self.files().items():
            case.write("act/" + name, data)
        printed = case.client(server, "upload", "act", expect=tuple(range(256))).decode()
        for line in printed.splitlines():
            word, id, name = line.split("  ", 2)
            if word == "Success":
                self.told.add((id, name))
        try:
            with server.client(TIMEOUT) as client:
                client.features()
                client.upload("added", self.held, id=md5(self.held))
                self.told.add((md5(self.held), "added"))
                case.assertEqual(client.download(md5(self.held)).data, self.held)
                client.send_line(b"REMOVE")
                client.words()
                client.send_line(md5(self.held).encode() + b";held")
                client.reply()
                self.removed = True
        except FAILURES as failure:
            return failure
        return None


class RadosCalls(RadosCase):
    # A server that was killed does not come back.
    retry_options = "--retry-for", "0"

    def serve_with(self, fault=""):
        counted = self.path("calls")
        self.write("calls", b"")
        return self.serve_pool("--allow-remove", wrapper=(
            "env", "LD_PRELOAD=" + programs.path_of(LIBRARY), "FILEXFER_RADOS_CALLS=" + counted,
            "FILEXFER_RADOS_FAULT=" + fault))

    def calls(self):
        return int(self.read("calls"))

    def begin(self, clean, number):
        held = make_data(5 * MIB) + b"held %d" % number
        with clean.client(TIMEOUT) as client:
            client.upload("held", held)
        return Act(number, held)

    def end(self, clean, act, what):
        """Checks what the act has left, by a server without faults, and removes it."""
        listed = set()
        with clean.client(TIMEOUT) as client:
            client.features()
            listed = {(entry.id, entry.name.decode()) for entry in client.list_files()}
            for id, name in listed:
                self.assertEqual(md5(client.download(id).data), id, what)
        self.assertEqual(act.told - listed, set(), what)
        expected = {(md5(data), name) for name, data in act.files().items()}
        expected |= {(md5(act.held), "added"), (md5(act.held), "held")}
        self.assertEqual(listed - expected, set(), what)
        if act.removed:
            self.assertNotIn((md5(act.held), "held"), listed, what)
        self.client(clean, "upload", "act")
        with clean.client(TIMEOUT) as client:
            client.features()
            for data in act.files().values():
                self.assertEqual(client.download(md5(data)).data, data, what)
            for entry in client.list_files():
                client.send_line(b"REMOVE")
                client.words()
                client.send_line(entry.id.encode() + b";" + entry.name)
                client.reply()
            self.assertEqual(client.list_files(), [], what)

    def test_a_call_that_fails_or_ends_the_server_loses_nothing(self):
        clean = self.serve_pool("--allow-remove")
        act = self.begin(clean, 0)
        with self.serve_with() as server:
            started = self.calls()
            self.assertIsNone(act.perform(self, server))
            calls = self.calls()
        self.assertEqual(len(act.told), len(act.files()) + 1)
        self.end(clean, act, "without a fault")
        self.assertGreater(calls - started, 30)
        print("%d calls, the first %d of them at the start" % (calls, started), file=sys.stderr)

        numbers = range(started + 1, calls + 1)
        chosen = random.Random(os.environ.get("FILEXFER_SEED", "1"))
        struck = 0
        for number, kind in enumerate(KINDS):
            full = os.environ.get("FILEXFER_FULL")
            for point in numbers if full else sorted(chosen.sample(numbers, POINTS)):
                what = "%s:%d" % (kind, point)
                with self.subTest(what):
                    act = self.begin(clean, 1000 * number + point)
                    server = self.serve_with(what)
                    act.perform(self, server)
                    server.kill()
                    struck += self.calls() >= point
                    self.end(clean, act, what)
        self.assertGreater(struck, 2 * POINTS)


if __name__ == "__main__":
    if not programs.path_of(LIBRARY):
        print("skipped: %s was not built" % LIBRARY)
        sys.exit(77)
    run_rados_tests()
