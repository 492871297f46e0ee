#!/usr/bin/env python3
"""The programs over what is no plain socket: standard input and output, and what leads there.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import fcntl
import os
import signal
import socket
import subprocess
import unittest

import peer
from peer import md5
from test_programs import BROKEN, DONE, HELLO, HELLO_ID, LOCAL_FILE, PATIENCE, USAGE, Case, octets_of, until

UPLOAD = b"UPLOAD\nhello.txt;5;nowait\nhello"
UPLOADED = b"Please send the file name and file size\nReady to receive the file\n%s\n" % HELLO_ID.encode()


class Stdio(Case):
    """filexfer-server --listen stdio."""

    def start(self, *arguments, store="memory", **keywords):
        keywords = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **keywords}
        process = subprocess.Popen(
            [peer.program("filexfer-server"), "--listen", "stdio", "--store", store, *arguments], cwd=self.folder,
            preexec_fn=peer.restore_signals, **keywords)
        self.addCleanup(self.end, process)
        return process

    def finish(self, process, expect, octets=None):
        """What it wrote to stdout; what went to stderr is in `self.said`."""
        out, said = process.communicate(octets, timeout=PATIENCE)
        self.said = (said or b"").decode()
        self.assertEqual(process.returncode, expect, self.said)
        return out

    def test_one_client_is_served_and_nothing_else_is_said(self):
        out = self.finish(self.start(), DONE, UPLOAD + b"LIST_FILES\n")
        self.assertEqual(out, UPLOADED + b"%s;hello.txt;5\n\n" % HELLO_ID.encode())
        self.assertRegex(self.said, r' stdio UPLOAD "hello.txt" 5 octets ')
        self.assertEqual(self.finish(self.start("--quiet"), DONE, UPLOAD), UPLOADED)
        self.assertEqual(self.said, "")

    def test_a_socket_a_file_and_tiny_pipes(self):
        octets = octets_of(1000000)
        dialogue = b"UPLOAD\nx;%d;nowait\n%sDOWNLOAD\n%s\n" % (len(octets), octets, md5(octets).encode())
        self.write("dialogue", dialogue)
        with open(self.path("dialogue"), "rb") as stdin, open(self.path("replies"), "wb") as stdout:
            self.finish(self.start(stdin=stdin, stdout=stdout), DONE)
        replies = self.read("replies")
        self.assertTrue(replies.endswith(octets))
        near, far = socket.socketpair()
        with near:
            with far:
                process = self.start(stdin=far, stdout=far)
            near.sendall(dialogue)
            near.shutdown(socket.SHUT_WR)
            self.assertEqual(near.makefile("rb").read(), replies)
        self.finish(process, DONE)
        process = self.start()
        for end in (process.stdin, process.stdout):
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
        self.assertEqual(self.finish(process, DONE, dialogue), replies)

    def test_nobody_there(self):
        self.assertEqual(self.finish(self.start(stdin=subprocess.DEVNULL), DONE), b"")
        shell = ["/bin/sh", "-c", 'exec "$0" --listen stdio --store store <&-', peer.program("filexfer-server")]
        result = subprocess.run(shell, cwd=self.folder, capture_output=True, timeout=PATIENCE)
        self.assertEqual((result.returncode, result.stdout), (DONE, b""), result.stderr)
        shell[2] = shell[2].replace("<&-", ">&-")
        result = subprocess.run(shell, cwd=self.folder, capture_output=True, input=UPLOAD, timeout=PATIENCE)
        self.assertEqual(result.returncode, BROKEN, result.stderr)

    def test_what_a_broken_connection_comes_to(self):
        for octets in (b"UPLOAD\na;5\nhe", b"GET / HTTP/1.1\n", b"x" * 5000):
            self.finish(self.start(), BROKEN, octets)
            self.assertIn("stdio: ", self.said)
        process = self.start("--idle-timeout", "100ms")
        self.assertTrue(process.stdout.read().startswith(b"ERROR timeout"))
        self.finish(process, BROKEN)

    def test_the_store_cannot_be_opened(self):
        self.write("file", HELLO)
        self.assertEqual(self.finish(self.start(store="file"), LOCAL_FILE), b"")

    def test_it_is_not_one_of_several(self):
        for more in ("stdio", "127.0.0.1:0", "unix:x"):
            for listen in (("stdio", more), (more, "stdio")):
                words = [word for address in listen for word in ("--listen", address)]
                self.run_program("filexfer-server", *words, expect=USAGE)
                self.assertIn("stdio", self.said)

    def test_the_descriptors_keep_their_modes(self):
        for flags in (0, os.O_NONBLOCK):
            ends = [*os.pipe(), *os.pipe()]
            near_in, near_out = ends[1], ends[2]
            far = ends[0], ends[3]
            for end in far:
                fcntl.fcntl(end, fcntl.F_SETFL, fcntl.fcntl(end, fcntl.F_GETFL) | flags)
            before = [fcntl.fcntl(end, fcntl.F_GETFL) for end in far]
            process = self.start(stdin=far[0], stdout=far[1])
            os.write(near_in, b"LIST_FILES\n")
            self.assertTrue(os.read(near_out, 100))
            self.assertEqual([fcntl.fcntl(end, fcntl.F_GETFL) for end in far], before)
            os.close(near_in)
            self.finish(process, DONE)
            self.assertEqual([fcntl.fcntl(end, fcntl.F_GETFL) for end in far], before)
            for end in (near_out, *far):
                os.close(end)

    def test_its_end_is_seen_though_the_process_goes_on(self):
        # Whoever breaks the protocol is answered, sees the end, and may take a while to close.
        process = self.start()
        process.stdin.write(b"GET / HTTP/1.1\n")
        process.stdin.flush()
        self.assertTrue(process.stdout.read().startswith(b"ERROR bad-request"))
        self.assertIsNone(process.poll())
        self.finish(process, BROKEN)

    def test_signals(self):
        for name in (signal.SIGTERM, signal.SIGINT):
            process = self.start()
            process.stdin.write(UPLOAD)
            process.stdin.flush()
            self.assertEqual(process.stdout.read(len(UPLOADED)), UPLOADED)
            process.send_signal(name)
            self.assertTrue(process.stdout.readline().startswith(b"ERROR shutting-down"))
            self.finish(process, DONE)
        octets = octets_of(1000000)
        for grace, signals in (("1h", 1), ("200ms", 1), ("1h", 2)):
            process = self.start("--grace", grace, store="store")
            process.stdin.write(b"UPLOAD\nx;%d;nowait\n" % len(octets) + octets[:500000])
            process.stdin.flush()
            until(lambda: self.arriving() > 0, "octets at the server")
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
                self.assertIn(b"Z ", process.stderr.readline())
            if (grace, signals) == ("1h", 1):
                self.assertIn(md5(octets).encode(), self.finish(process, DONE, octets[500000:]))
            else:
                self.assertEqual(process.wait(PATIENCE), DONE)  # though more could come
                self.assertNotIn(md5(octets).encode(), self.finish(process, DONE))
            self.no_temporaries()

    def test_a_signal_as_the_client_leaves(self):
        for _ in range(5):
            process = self.start()
            process.stdin.write(UPLOAD)
            process.stdin.flush()
            self.assertEqual(process.stdout.read(len(UPLOADED)), UPLOADED)
            process.send_signal(signal.SIGSTOP)  # so that it finds both at once
            process.send_signal(signal.SIGTERM)
            process.stdin.close()
            process.send_signal(signal.SIGCONT)
            self.assertEqual(process.wait(PATIENCE), DONE)


if __name__ == "__main__":
    peer.run_tests("filexfer-server", "filexfer-client")
