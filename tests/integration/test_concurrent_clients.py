#!/usr/bin/env python3
"""Many clients at once, which upload and download the same files.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""
# ctest: COST 40

import filecmp
import os
import random

import programs
from contents import MIB, make_data
from exit_codes import DONE
from peer import md5
from program_case import Case
from waiting import SANITIZED, TIMEOUT


class Many(Case):
    def test_concurrent_clients_transfer_their_files_intact(self):
        clients = 16 if SANITIZED else 64
        server = self.serve("--threads", "4", store="store")
        sizes = (0, 1, 65536, 65537, 262144, 1000003, 3 * MIB)
        shared = {"shared %d" % size: make_data(size, 99) for size in sizes}
        for name, data in shared.items():
            self.write(name, data)
        self.client(server, "upload", *shared)
        rng = random.Random(1)
        processes = []
        for number in range(clients):
            os.mkdir(self.path("out %d" % number))
            mine = "mine %d" % number
            data = make_data(rng.choice(sizes) + number, number)
            self.write(mine, data)
            # Each uploads a file of its own and a shared one, or downloads all shared ones.
            processes.append((self.start_client(server, "upload", mine, rng.choice(list(shared))),
                              None))
            processes.append((self.start_client(server, "download", *shared,
                                                "-o", "out %d" % number), None))
        for process, _ in processes:
            _, err = process.communicate(timeout=4 * TIMEOUT)
            self.assertEqual(process.returncode, DONE, err)
        downloads = [self.start_client(server, "download", "mine %d" % number,
                                       "-o", "out %d" % number)
                     for number in range(clients)]
        for process in downloads:
            _, err = process.communicate(timeout=4 * TIMEOUT)
            self.assertEqual(process.returncode, DONE, err)
        for number in range(clients):
            for name in [*shared, "mine %d" % number]:
                self.assertTrue(filecmp.cmp(self.path(name), self.path("out %d" % number, name),
                                            shallow=False), name)
        self.assertEqual(len(self.client(server, "list").splitlines()), clients + len(sizes))
        server.terminate()
        self.assertEqual(server.wait(), DONE)
        self.check_no_temporaries()
        for folder, _, files in os.walk(self.path("store")):
            for name in files:
                self.assertEqual(md5(self.read(os.path.join(folder, name))),
                                 os.path.basename(folder))


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
