#!/usr/bin/env python3
"""Many small files over a long way: a client that waits for each of them takes for ever.

No time is measured: a relay passes on what one end says only when both have no more to say, and counts
how often the client waited for an answer. tests/bench/delay.py measures.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import subprocess

import peer
from relays import Lockstep
from test_programs import PATIENCE, SANITIZED, Case, make_data

FILES = 500
ROUNDS = FILES // 10 + 10  # what is asked of the client: tens of files for each time that it waits


class Rounds(Case):
    in_memory = 64 * 2**20

    def relay(self, address, most=ROUNDS):
        """Long enough to know that nobody speaks, for programs that have nothing to wait for."""
        relay = Lockstep(address, quiet=0.25 if SANITIZED else 0.05, most=most)
        self.addCleanup(relay.close)
        return relay

    def test_the_relay_counts_each_wait_for_an_answer(self):
        relay = self.relay(self.serve().address)
        with peer.Client(relay.address, timeout=PATIENCE) as client:
            for number in range(5):
                client.upload("%d" % number, make_data(100000, number))  # command, details, bytes
        self.assertGreaterEqual(relay.rounds, 15)
        self.assertLess(relay.rounds, 30)  # who is not run for a while seems to wait

    def test_it_counts_lines_that_are_sent_at_once_together(self):
        relay = self.relay(self.serve().address)
        with peer.Client(relay.address, timeout=PATIENCE) as client:
            client.send(b"LIST_FILES\n" * 1000)
            for _ in range(1000):
                self.assertEqual(client.read_list(), [])
        self.assertGreaterEqual(relay.rounds, 1)
        self.assertLess(relay.rounds, 10)

    def test_a_tree_of_small_files_goes_up_and_comes_down_in_few_rounds(self):
        for number in range(FILES):
            self.write("tree/%d/%d" % (number % 10, number), make_data(4096, number))
        server = self.serve()
        up, down = self.relay(server.address), self.relay(server.address)
        out = self.client(up, "upload", "tree")
        self.assertEqual(out.count(b"Success  "), FILES)
        again = self.relay(server.address)
        out = self.client(again, "upload", "--skip-existing", "tree")
        self.assertEqual(out.count(b"Already there  "), FILES)
        out = self.client(down, "download", "--all", "-o", "copy")
        self.assertEqual(out.count(b"Success  "), FILES)
        result = subprocess.run(["diff", "-r", "tree", "copy"], cwd=self.folder, capture_output=True)
        self.assertEqual((result.returncode, result.stdout), (0, b""), result)
        for way, relay in (("up", up), ("up again", again), ("down", down)):
            with self.subTest(way=way):
                self.assertLess(relay.rounds, ROUNDS)


if __name__ == "__main__":
    peer.run_tests("filexfer-server", "filexfer-client")
