#!/usr/bin/env python3
"""The executable bit of files: from the disk to the server, there, and back."""

import json
import os
import unittest

import programs
from contents import HELLO, HELLO_ID
from program_case import Case


class Executables(Case):
    def setUp(self):
        super().setUp()
        self.write("tree/script", b"#!/bin/sh\n")
        self.write("tree/text", HELLO)
        os.chmod(self.path("tree/script"), 0o6755)
        os.chmod(self.path("tree/text"), 0o640)

    def mode(self, *parts):
        return os.stat(self.path(*parts)).st_mode & 0o7777

    def servers(self):
        yield self.serve()
        yield self.serve(store=self.path("store"))

    def test_a_file_is_executable_after_the_download_if_it_was_before_the_upload(self):
        for number, server in enumerate(self.servers()):
            self.client(server, "upload", "tree")
            for mask, script, text in ((0o022, 0o755, 0o644), (0o077, 0o700, 0o600)):
                target = "copy%d%o" % (number, mask)
                self.client(server, "download", "--all", "-o", target, umask=mask)
                self.assertEqual(self.mode(target, "script"), script)
                self.assertEqual(self.mode(target, "text"), text)
            self.client(server, "download", "script", "-o", "one%d" % number)
            self.assertEqual(self.mode("one%d" % number) & 0o111, 0o111)
            events = [json.loads(line)
                      for line in self.client(server, "--json", "list").splitlines()[:-1]]
            self.assertEqual({event["name"]: event["exec"] for event in events},
                             {"script": True, "text": False})

    def test_the_stored_file_has_the_bit_and_no_other(self):
        server = self.serve(store=self.path("store"))
        self.client(server, "upload", "tree")
        modes = {name: os.stat(os.path.join(folder, name)).st_mode & 0o7777
                 for folder, _, names in os.walk(self.path("store")) for name in names}
        self.assertEqual(modes["script"] & 0o7111, 0o111)
        self.assertEqual(modes["text"] & 0o7111, 0)

    def test_a_changed_bit_is_carried_although_the_server_has_the_file(self):
        for server in self.servers():
            self.client(server, "upload", "tree/text")
            os.chmod(self.path("tree/text"), 0o755)
            for options in ((), ("--skip-existing",)):
                self.client(server, "upload", *options, "tree/text")
                self.client(server, "download", "--force", "--all", "-o", "copy")
                self.assertEqual(self.mode("copy/text") & 0o111, 0o111)
                os.chmod(self.path("tree/text"), 0o644)
                self.client(server, "upload", *options, "tree/text")
                self.client(server, "download", "--all", "-o", "copy")  # is already there
                self.assertEqual(self.mode("copy/text") & 0o111, 0)
                os.chmod(self.path("tree/text"), 0o755)
            os.chmod(self.path("tree/text"), 0o644)

    def test_names_of_one_file_can_differ(self):
        server = self.serve(store=self.path("store"))
        self.client(server, "upload", "tree/text")
        os.chmod(self.path("tree/text"), 0o755)
        self.client(server, "upload", "tree/text", "--name", "program")
        entries = sorted(self.client(server, "list").decode().split())
        self.assertEqual(entries, [HELLO_ID + ";program;5", HELLO_ID + ";text;5"])
        self.client(server, "download", "--all", "-o", "copy")
        self.assertEqual(self.mode("copy/text") & 0o111, 0)
        self.assertEqual(self.mode("copy/program") & 0o111, 0o111)

    def test_a_server_without_the_feature_is_sent_nothing_of_it(self):
        for features in (False, True):
            peer = self.start_peer(features)
            self.client(peer, "upload", "tree")
            self.client(peer, "download", "--all", "-o", "copy%d" % features)
            self.assertEqual(self.mode("copy%d" % features, "script") & 0o111, 0)


if __name__ == "__main__":
    programs.run_tests("filexfer-client", "filexfer-server")
