#!/usr/bin/env python3
"""64 concurrent clients transfer files of 0 to 64 MiB through one server, and no byte differs.

All clients start at the same time. Each uploads a file of its own and then downloads it
again, so that small and large uploads and downloads run concurrently.
"""
# ctest: PROCESSORS 2

import contextlib
import filecmp
import os
import random
import shutil

import programs
from contents import MIB
from exit_codes import DONE
from peer import md5
from places import folder_with_space
from program_case import Case
from waiting import SANITIZED, TIMEOUT, wait_until

CLIENTS = 64
LARGE = (64, 64, 64, 48, 32, 32, 32, 24, 16, 16, 16, 8)
# Around the sizes of a small file and of a chunk.
EDGES = (0, 1, 65535, 65536, 65537, 262143, 262144, 262145)
SCALE = 16 if SANITIZED else 1


def sizes():
    """Sizes of the clients' files; most are small."""
    rng = random.Random(64)
    chosen = [size * MIB // SCALE for size in LARGE] + list(EDGES)
    while len(chosen) < CLIENTS:
        chosen.append(int(2 ** rng.uniform(0, 21)))
    rng.shuffle(chosen)
    return chosen


class ManyClients(Case):
    def setUp(self):
        super().setUp()
        # Each file exists three times: original, stored and downloaded.
        needed = 3 * sum(sizes()) + 256 * MIB
        folder = folder_with_space(needed)
        if not folder:
            self.skipTest("no folder with %d MiB free" % (needed // MIB))
        self.addCleanup(shutil.rmtree, folder)
        self.folder = folder

    def write_files(self):
        """Writes files that differ: parts of one sequence, from different offsets."""
        data = memoryview(random.Random(1).randbytes(max(sizes()) + CLIENTS))
        os.mkdir(self.path("mine"))
        os.mkdir(self.path("back"))
        for number, size in enumerate(sizes()):
            self.write("mine/%d" % number, data[number:number + size])

    def start_waiting(self, server, number, start):
        """A client that starts when the other end of the pipe `start` is closed."""
        client = [programs.path_of("filexfer-client"), "--server", server.address]
        script = ('read -r start; "$0" "$1" "$2" upload "mine/$3"'
                  ' && "$0" "$1" "$2" download "$3" -o "back/$3"')
        return self.start_command(["sh", "-c", script, *client, str(number)], stdin=start)

    def test_64_concurrent_clients_transfer_their_files_intact(self):
        self.write_files()
        server = self.serve("--threads", "4", store="store")
        descriptors_before = server.descriptors() if os.path.isdir("/proc/self/fd") else None

        waiting, start = os.pipe()
        with contextlib.closing(os.fdopen(start, "wb")), \
                contextlib.closing(os.fdopen(waiting, "rb")):
            processes = [self.start_waiting(server, number, waiting) for number in range(CLIENTS)]
        for number, process in enumerate(processes):
            out, err = process.communicate(timeout=4 * TIMEOUT)
            self.assertEqual(process.returncode, DONE, err)
            id = md5(self.read("mine/%d" % number))
            self.assertEqual(out.decode(),
                             "Success  %s  %d\nSuccess  %s  back/%d\n" % (id, number, id, number))
            stored = self.path("store", id, str(number))
            self.assertTrue(filecmp.cmp(self.path("mine", str(number)), stored, shallow=False),
                            stored)
            back = self.path("back", str(number))
            self.assertTrue(filecmp.cmp(self.path("mine", str(number)), back, shallow=False), back)

        # There are no temporary files among them.
        self.assertEqual(len(os.listdir(self.path("back"))), CLIENTS)
        self.assertIsNone(server.process.poll())
        self.assertEqual(len(self.client(server, "list").splitlines()), CLIENTS)
        self.check_no_temporaries()
        if descriptors_before is not None:
            wait_until(lambda: server.descriptors() == descriptors_before,
                       "the server to close what it opened")
        server.terminate()
        self.assertEqual(server.wait(), DONE)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
