#!/usr/bin/env python3
"""Removes files. That removals survive kills and power cuts is checked in tests/reliability."""

import json
import os

import programs
from contents import HELLO, HELLO_ID
from exit_codes import REFUSED, USAGE
from peer import md5
from program_case import Case

X_ID = md5(b"x")


class Removals(Case):
    def setUp(self):
        super().setUp()
        self.write("hello", HELLO)
        self.write("x", b"x")

    def listed(self, server):
        return sorted(self.client(server, "list").decode().splitlines())

    def test_a_name_is_removed_and_the_others_stay(self):
        server = self.serve("--allow-remove", store=self.path("store"))
        self.client(server, "upload", "hello", "x")
        self.client(server, "upload", "hello", "--name", "a;b/c")
        out = self.client(server, "remove", "hello")
        self.assertEqual(out.decode(), "Removed  %s  hello\n" % HELLO_ID)
        self.assertEqual(self.listed(server), sorted(
            ["%s;a%%3Bb/c;%d" % (HELLO_ID, len(HELLO)), X_ID + ";x;1"]))

    def test_an_id_removes_all_names_of_its_file(self):
        server = self.serve("--allow-remove", store=self.path("store"))
        self.client(server, "upload", "hello", "x")
        self.client(server, "upload", "hello", "--name", "again")
        out = self.client(server, "remove", HELLO_ID, "--json")
        events = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(sorted((e["outcome"], e["name"]) for e in events[:-1]),
                         [("removed", "again"), ("removed", "hello")])
        self.assertEqual(self.listed(server), [X_ID + ";x;1"])
        self.assertFalse(os.path.exists(self.path("store", HELLO_ID)))

    def test_a_name_of_several_files_removes_none_of_them(self):
        server = self.serve("--allow-remove")
        self.client(server, "upload", "hello", "x")
        self.client(server, "upload", "x", "--name", "hello")
        self.client(server, "remove", "hello", "x", expect=USAGE)
        self.assertIn("several files have that name", self.stderr)
        for id in (HELLO_ID, X_ID):
            self.assertIn(id, self.stderr)
        self.assertEqual(len(self.listed(server)), 2)

    def test_a_missing_name_is_reported_and_the_rest_is_removed(self):
        server = self.serve("--allow-remove")
        self.client(server, "upload", "hello", "x")
        out = self.client(server, "remove", "nothing", md5(b"nothing"), "x", expect=REFUSED)
        self.assertEqual(out.decode(), "Removed  %s  x\n" % X_ID)
        self.assertEqual(self.stderr.count("no file of that name or id"), 2)
        self.assertEqual(len(self.listed(server)), 1)

    def test_a_server_that_does_not_allow_it_refuses(self):
        for arguments in ((), ("--read-only",)):
            server = self.serve(store=self.path("store"))
            self.client(server, "upload", "hello")
            server.stop()
            server = self.serve(*arguments, store=self.path("store"))
            self.client(server, "remove", "hello", expect=REFUSED)
            self.assertIn("read-only", self.stderr)
            self.assertEqual(len(self.listed(server)), 1)
        self.run_program("filexfer-server", "--read-only", "--allow-remove", expect=USAGE)

    def test_a_server_without_the_command_is_reported(self):
        for features in (False, True):
            peer = self.start_peer(features)
            peer.store.add("hello", HELLO)
            self.client(peer, "remove", "hello", expect=REFUSED)
            self.assertIn("unknown-command", self.stderr)


if __name__ == "__main__":
    programs.run_tests("filexfer-client", "filexfer-server")
