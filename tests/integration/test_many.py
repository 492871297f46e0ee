#!/usr/bin/env python3
"""64 clients at once move files of 0 to 64 MiB through one server, and no byte differs.

All clients wait for one start. Each then uploads a file of its own and, as soon as that
has succeeded, downloads it again, so that uploads and downloads, small and large, are
under way at the same time.
"""
# ctest: PROCESSORS 2

import contextlib
import filecmp
import hashlib
import os
import random
import shutil
import subprocess
import unittest

import peer
from places import folder_with
from test_programs import DONE, PATIENCE, SANITIZED, Case, until

CLIENTS = 64
MIB = 2**20
LARGE = (64, 64, 64, 48, 32, 32, 32, 24, 16, 16, 16, 8)
EDGES = (0, 1, 65535, 65536, 65537, 262143, 262144, 262145)  # about a small file and a chunk
SCALE = 16 if SANITIZED else 1


def sizes():
    """Of the clients' files; most are small."""
    some = random.Random(64)
    chosen = [size * MIB // SCALE for size in LARGE] + list(EDGES)
    while len(chosen) < CLIENTS:
        chosen.append(int(2 ** some.uniform(0, 21)))
    some.shuffle(chosen)
    return chosen


class ManyClients(Case):
    def setUp(self):
        super().setUp()
        # Each file is there three times: here, in the store, and come back.
        needed = 3 * sum(sizes()) + 256 * MIB
        roomy = folder_with(needed)
        if not roomy:
            self.skipTest("no folder with %d MiB free" % (needed // MIB))
        self.addCleanup(shutil.rmtree, roomy)
        self.folder = roomy

    def write_files(self):
        """Files that differ from each other: parts of one sequence, from different places."""
        data = memoryview(random.Random(1).randbytes(max(sizes()) + CLIENTS))
        os.mkdir(self.path("mine"))
        os.mkdir(self.path("back"))
        for number, size in enumerate(sizes()):
            self.write("mine/%d" % number, data[number:number + size])

    def start_waiting(self, server, number, start):
        """A client that waits until `start`, a pipe's end, is closed at its other end."""
        client = [peer.program("filexfer-client"), "--server", server.address]
        script = 'read -r start; "$0" "$1" "$2" upload "mine/$3" && "$0" "$1" "$2" download "$3" -o "back/$3"'
        process = subprocess.Popen(["sh", "-c", script, *client, str(number)], cwd=self.folder, env=self.environment,
                                   stdin=start, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   preexec_fn=peer.restore_signals)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def descriptors(server):
        return len(os.listdir("/proc/%d/fd" % server.process.pid))

    def test_64_clients_at_once(self):
        self.write_files()
        server = self.serve("--threads", "4", store="store")
        closed = self.descriptors(server) if os.path.isdir("/proc/self/fd") else None

        waiting, start = os.pipe()
        with contextlib.closing(os.fdopen(start, "wb")), contextlib.closing(os.fdopen(waiting, "rb")):
            processes = [self.start_waiting(server, number, waiting) for number in range(CLIENTS)]
        for number, process in enumerate(processes):
            out, said = process.communicate(timeout=4 * PATIENCE)
            self.assertEqual(process.returncode, DONE, said)
            with open(self.path("mine", str(number)), "rb") as file:
                id = hashlib.md5(file.read()).hexdigest()
            self.assertEqual(out.decode(), "Success  %s  %d\nSuccess  %s  back/%d\n" % (id, number, id, number))
            stored = self.path("store", id, str(number))
            self.assertTrue(filecmp.cmp(self.path("mine", str(number)), stored, shallow=False), stored)
            back = self.path("back", str(number))
            self.assertTrue(filecmp.cmp(self.path("mine", str(number)), back, shallow=False), back)

        self.assertEqual(len(os.listdir(self.path("back"))), CLIENTS)  # no temporary files beside them
        self.assertIsNone(server.process.poll())
        self.assertEqual(len(self.client(server, "list").splitlines()), CLIENTS)
        self.no_temporaries()
        if closed is not None:
            until(lambda: self.descriptors(server) == closed, "the server to close what it opened")
        server.terminate()
        self.assertEqual(server.wait(), DONE)


if __name__ == "__main__":
    peer.run_tests("filexfer-server", "filexfer-client")
