#!/usr/bin/env python3
"""filexfer-client list for people: -l, and --sort.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import json
import os

import programs
from exit_codes import USAGE
from peer import md5
from trees import Trees

# Names, sizes, times.
FILES = (("b", 3, 1_000_000_000), ("a", 1536, 1_600_000_000), ("c", 1_048_575, 1_234_567_890.5),
         ("d", 1023, -1), ("e", 200 * 1024, 0))


class List(Trees):
    def setUp(self):
        super().setUp()
        self.environment["TZ"] = "UTC-2"  # two hours east
        self.server = self.serve()
        for name, size, time in FILES:
            os.utime(self.write("tree/" + name, name.encode() * size), (time, time))
        self.client(self.server, "upload", "tree")

    def listed(self, *options):
        return self.client(self.server, "list", *options).decode().splitlines()

    def test_a_long_list_shows_sizes_in_units_and_local_times(self):
        header, *rows = self.listed("-l")
        self.assertEqual(header.split(), ["ID", "SIZE", "MODIFIED", "NAME"])
        expected = [("a", "1.5 KiB", "2020-09-13 14:26:40"), ("b", "3 B", "2001-09-09 03:46:40"),
                    ("c", "1.0 MiB", "2009-02-14 01:31:30"), ("d", "1023 B", "1970-01-01 01:59:59"),
                    ("e", "200 KiB", "1970-01-01 02:00:00")]
        sizes = {name: size for name, size, _ in FILES}
        for row, (name, size, time) in zip(rows, expected):
            self.assertEqual(row, "%s  %7s  %s  %s" % (md5(name.encode() * sizes[name]), size, time,
                                                       name))
        self.assertEqual(len(rows), len(expected))

    def test_a_list_can_be_sorted(self):
        for order, names in (("name", "abcde"), ("size", "ceadb"), ("time", "acbed")):
            self.assertEqual("".join(line.split(";")[1] for line in self.listed("--sort", order)),
                             names)
            self.assertEqual("".join(line[-1] for line in self.listed("-l", "--sort", order)[1:]),
                             names)
            self.assertEqual("".join(line[-1] for line in self.listed("--md5sum", "--sort", order)),
                             names)
            events = map(json.loads, self.client(self.server, "--json", "list", "--sort",
                                                 order).splitlines())
            self.assertEqual("".join(event["name"] for event in events
                                     if event["event"] == "entry"), names)
        # The order changes no line.
        self.assertEqual(sorted(self.listed("--sort", "time")), sorted(self.listed()))

    def test_of_a_server_without_times_a_dash_is_shown(self):
        peer = self.start_peer()
        peer.store.add("file", b"x")
        rows = self.client(peer, "list", "-l").decode().splitlines()
        self.assertEqual(rows[1].split()[1:], ["1", "B", "-", "file"])

    def test_an_empty_list_is_shown_as_on_a_terminal(self):
        self.assertEqual(len(self.listed("-l", "nothing")), 1)

    def test_what_contradicts_a_long_list_is_a_usage_error(self):
        for options in (("list", "-l", "--md5sum"), ("list", "--sort", "id"),
                        ("--json", "list", "-l")):
            self.client(self.server, *options, expect=USAGE)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
