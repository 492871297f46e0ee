#!/usr/bin/env python3
"""Many small files over a connection of high latency: the client must not wait for each of them.

No time is measured: a relay forwards bytes only when both ends are silent, and counts how often the
client waited for a reply. tests/bench/delay.py measures times.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import peer
import programs
from contents import make_data
from relays import LockstepRelay
from trees import Trees
from waiting import SANITIZED, TIMEOUT

FILES = 500
ROUNDS = FILES // 10 + 10  # the limit: about ten files per round trip


class Rounds(Trees):
    def lockstep_relay(self, address, max_rounds=ROUNDS):
        """Its quiet time is long enough for programs that have nothing to wait for."""
        relay = LockstepRelay(address, quiet_time=0.25 if SANITIZED else 0.05,
                              max_rounds=max_rounds)
        self.addCleanup(relay.close)
        return relay

    def test_the_relay_counts_each_wait_for_a_reply(self):
        relay = self.lockstep_relay(self.serve().address)
        with peer.Client(relay.address, timeout=TIMEOUT) as client:
            for number in range(5):
                client.upload("%d" % number, make_data(100000, number))  # command, details, bytes
        self.assertGreaterEqual(relay.rounds, 15)
        # A process that is not scheduled for a while seems to wait.
        self.assertLess(relay.rounds, 30)

    def test_the_relay_counts_pipelined_lines_together(self):
        relay = self.lockstep_relay(self.serve().address)
        with peer.Client(relay.address, timeout=TIMEOUT) as client:
            client.send(b"LIST_FILES\n" * 1000)
            for _ in range(1000):
                self.assertEqual(client.read_list(), [])
        self.assertGreaterEqual(relay.rounds, 1)
        self.assertLess(relay.rounds, 10)

    def test_a_tree_of_small_files_is_transferred_in_few_round_trips(self):
        for number in range(FILES):
            self.write("tree/%d/%d" % (number % 10, number), make_data(4096, number))
        server = self.serve()
        up, again, down = (self.lockstep_relay(server.address) for _ in range(3))
        out = self.client(up, "upload", "tree")
        self.assertEqual(out.count(b"Success  "), FILES)
        out = self.client(again, "upload", "--skip-existing", "tree")
        self.assertEqual(out.count(b"Already there  "), FILES)
        out = self.client(down, "download", "--all", "-o", "copy")
        self.assertEqual(out.count(b"Success  "), FILES)
        self.assert_same_trees("tree", "copy")
        for direction, relay in (("up", up), ("up again", again), ("down", down)):
            with self.subTest(direction=direction):
                self.assertLess(relay.rounds, ROUNDS)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
