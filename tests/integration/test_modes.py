#!/usr/bin/env python3
"""The modes of all that the programs create, under a umask that takes nothing, some, or all.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import shutil
import stat
import subprocess

import programs
from contents import HELLO, HELLO_ID, MIB, make_data
from exit_codes import BROKEN, DONE
from peer import md5
from places import temporary_files
from program_case import Case
from relays import HoldingRelay
from waiting import TIMEOUT, wait_until

UMASKS = (0o000, 0o022, 0o077)


class Modes(Case):
    def mode(self, *parts):
        return stat.S_IMODE(os.lstat(self.path(*parts)).st_mode)

    def only_file(self, *folder):
        """The path of the only file in a folder."""
        (name,) = os.listdir(self.path(*folder))
        return os.path.join(*folder, name)

    def serve_with(self, mask):
        self.mask = mask
        return self.serve(store="store", listen=("127.0.0.1:0", "unix:socket"),
                          prepare=lambda: os.umask(mask))

    def run_client(self, server, *arguments, **keywords):
        return self.client(server, *arguments, umask=self.mask, **keywords)

    def check_each_umask(self, check):
        """Calls `check(server, mask)`, each time in empty folders."""
        for mask in UMASKS:
            with self.subTest(umask=oct(mask)):
                server = self.serve_with(mask)
                check(server, mask)
                server.stop()
            for folder in (self.folder, self.state):
                for name in os.listdir(folder):
                    path = os.path.join(folder, name)
                    shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)

    def test_what_a_store_keeps_has_what_the_umask_leaves(self):
        def check(server, mask):
            os.chmod(self.write("text", HELLO), 0o600)
            os.chmod(self.write("script", b"#!/bin/sh\n"), 0o700)
            self.run_client(server, "upload", "text", "--name", "a/b/text")
            self.run_client(server, "upload", "script")
            self.assertEqual(self.mode("socket"), 0o777 & ~mask)
            for folder in (".", ".incoming", ".partial", HELLO_ID, HELLO_ID + "/a",
                           HELLO_ID + "/a/b"):
                self.assertEqual(self.mode("store", folder), 0o777 & ~mask, folder)
            self.assertEqual(self.mode("store", HELLO_ID, "a/b/text"), 0o444 & ~mask)
            self.assertEqual(self.mode("store", md5(b"#!/bin/sh\n"), "script"), 0o555 & ~mask)
            # A damaged file is moved aside, with its mode.
            os.chmod(self.path("store", HELLO_ID, "a/b/text"), 0o640)
            self.write("store/%s/a/b/text" % HELLO_ID, b"damag")
            self.run_client(server, "upload", "text")
            damaged = self.only_file("store/.damaged")
            for folder in ("store/.damaged", damaged, damaged + "/a/b"):
                self.assertEqual(self.mode(folder), 0o777 & ~mask, folder)
            self.assertEqual(self.mode(damaged, "a/b/text"), 0o640)

        self.check_each_umask(check)

    def test_what_is_being_uploaded_belongs_to_its_owner_alone(self):
        def check(server, mask):
            process = self.start_client(server, "upload", "-", "--size", str(4 * MIB),
                                        stdin=subprocess.PIPE)
            process.stdin.write(bytes(2 * MIB))
            process.stdin.flush()
            wait_until(lambda: self.incoming_size() > 0, "bytes at the server")
            for file in temporary_files(self.path("store")):
                self.assertEqual(stat.S_IMODE(os.stat(file).st_mode), 0o600)
            process.communicate(bytes(2 * MIB), timeout=TIMEOUT)
            self.assertEqual(process.returncode, DONE)
            # An upload that is cut off, and what the next run needs to resume it.
            self.write("large", make_data(12 * MIB))
            relay = HoldingRelay(server.address)
            self.addCleanup(relay.close)
            held = relay.hold("up", 6 * MIB)
            # By default in the home folder, where the folders above may be missing.
            self.environment.pop("XDG_STATE_HOME", None)
            client = self.start_client(relay, "upload", "large", umask=mask)
            self.assertTrue(held.settled.wait(TIMEOUT))
            wait_until(lambda: os.listdir(self.path("store/.partial")), "bytes at the server")
            held.cut()
            self.assertEqual(client.wait(TIMEOUT), BROKEN)
            self.assertEqual(self.mode(self.only_file("store/.partial")), 0o600)
            folders = (".local", ".local/state", ".local/state/filexfer")
            for folder in folders:
                self.assertEqual(self.mode(self.state, folder), 0o700, folder)
            noted = os.listdir(os.path.join(self.state, folders[-1]))
            self.assertEqual(len(noted), 3)  # the secret, the locks, the upload
            for name in noted:
                self.assertEqual(self.mode(self.state, folders[-1], name), 0o600, name)

        self.check_each_umask(check)

    def test_what_is_downloaded_has_what_the_umask_leaves_once_it_is_whole(self):
        def check(server, mask):
            data = make_data(3 * MIB)
            self.write("tree/a/large", data)
            os.chmod(self.write("tree/script", b"#!/bin/sh\n"), 0o700)
            self.run_client(server, "upload", "tree")
            relay = self.start_relay(server, 2 * MIB)
            self.run_client(relay, "download", md5(data), "-o", "large", expect=BROKEN)
            self.assertEqual(self.mode(".filexfer-%s.part" % md5(data)), 0o600)
            self.run_client(server, "download", md5(data), "-o", "large")
            self.assertEqual(self.mode("large"), 0o666 & ~mask)
            self.run_client(server, "--checksum-cache", "cache", "download", "--all", "-o", "copy")
            self.assertEqual(self.mode("cache"), 0o600)
            for name, mode in (("", 0o777), ("a", 0o777), ("a/large", 0o666), ("script", 0o777)):
                self.assertEqual(self.mode("copy", name), mode & ~mask, name)

        self.check_each_umask(check)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
