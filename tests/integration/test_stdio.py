#!/usr/bin/env python3
"""filexfer-server --listen stdio: one session over standard input and output.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import fcntl
import os
import signal
import socket
import subprocess

import programs
from contents import HELLO, HELLO_ID, make_data
from exit_codes import BROKEN, DONE, LOCAL_FILE, USAGE
from peer import md5
from program_case import Case
from waiting import TIMEOUT, wait_until

UPLOAD = b"UPLOAD\nhello.txt;5;nowait\nhello"
UPLOADED = (b"Please send the file name and file size\nReady to receive the file\n%s\n"
            % HELLO_ID.encode())


class Stdio(Case):
    def start(self, *arguments, store="memory", **keywords):
        return self.start_program("filexfer-server", "--listen", "stdio", "--store", store,
                                  *arguments, **keywords)

    def finish(self, process, expect, data=None):
        """Returns stdout; stderr is in `self.stderr`."""
        out, err = process.communicate(data, timeout=TIMEOUT)
        self.stderr = (err or b"").decode()
        self.assertEqual(process.returncode, expect, self.stderr)
        return out

    def test_one_client_is_served_and_stdout_has_only_the_replies(self):
        out = self.finish(self.start(), DONE, UPLOAD + b"LIST_FILES\n")
        self.assertEqual(out, UPLOADED + b"%s;hello.txt;5\n\n" % HELLO_ID.encode())
        self.assertRegex(self.stderr, r' stdio UPLOAD "hello.txt" 5 bytes ')
        self.assertEqual(self.finish(self.start("--quiet"), DONE, UPLOAD), UPLOADED)
        self.assertEqual(self.stderr, "")

    def test_stdio_can_be_a_file_a_socket_or_small_pipes(self):
        data = make_data(1000000)
        dialogue = b"UPLOAD\nx;%d;nowait\n%sDOWNLOAD\n%s\n" % (len(data), data, md5(data).encode())
        self.write("dialogue", dialogue)
        with open(self.path("dialogue"), "rb") as stdin, open(self.path("replies"), "wb") as stdout:
            self.finish(self.start(stdin=stdin, stdout=stdout), DONE)
        replies = self.read("replies")
        self.assertTrue(replies.endswith(data))
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

    def test_a_closed_stdin_is_an_empty_session_and_a_closed_stdout_an_error(self):
        self.assertEqual(self.finish(self.start(stdin=subprocess.DEVNULL), DONE), b"")
        shell = ["/bin/sh", "-c", 'exec "$0" --listen stdio --store store <&-',
                 programs.path_of("filexfer-server")]
        result = subprocess.run(shell, cwd=self.folder, capture_output=True, timeout=TIMEOUT)
        self.assertEqual((result.returncode, result.stdout), (DONE, b""), result.stderr)
        shell[2] = shell[2].replace("<&-", ">&-")
        result = subprocess.run(shell, cwd=self.folder, capture_output=True, input=UPLOAD,
                                timeout=TIMEOUT)
        self.assertEqual(result.returncode, BROKEN, result.stderr)

    def test_a_broken_session_sets_the_exit_code(self):
        for data in (b"UPLOAD\na;5\nhe", b"GET / HTTP/1.1\n", b"x" * 5000):
            self.finish(self.start(), BROKEN, data)
            self.assertIn("stdio: ", self.stderr)
        process = self.start("--idle-timeout", "100ms")
        self.assertTrue(process.stdout.read().startswith(b"ERROR timeout"))
        self.finish(process, BROKEN)

    def test_a_store_that_cannot_be_opened_is_an_error(self):
        self.write("file", HELLO)
        self.assertEqual(self.finish(self.start(store="file"), LOCAL_FILE), b"")

    def test_stdio_cannot_be_combined_with_other_endpoints(self):
        for more in ("stdio", "127.0.0.1:0", "unix:x"):
            for listen in (("stdio", more), (more, "stdio")):
                words = [word for address in listen for word in ("--listen", address)]
                self.run_program("filexfer-server", *words, expect=USAGE)
                self.assertIn("stdio", self.stderr)

    def test_the_descriptors_keep_their_flags(self):
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

    def test_the_end_of_the_output_is_visible_before_the_process_exits(self):
        # A client that breaks the protocol gets a reply and the end, and may close later.
        process = self.start()
        process.stdin.write(b"GET / HTTP/1.1\n")
        process.stdin.flush()
        self.assertTrue(process.stdout.read().startswith(b"ERROR bad-request"))
        self.assertIsNone(process.poll())
        self.finish(process, BROKEN)

    def test_a_signal_ends_an_idle_session_and_lets_a_transfer_finish(self):
        for name in (signal.SIGTERM, signal.SIGINT):
            process = self.start()
            process.stdin.write(UPLOAD)
            process.stdin.flush()
            self.assertEqual(process.stdout.read(len(UPLOADED)), UPLOADED)
            process.send_signal(name)
            self.assertTrue(process.stdout.readline().startswith(b"ERROR shutting-down"))
            self.finish(process, DONE)
        data = make_data(1000000)
        for grace, signals in (("1h", 1), ("200ms", 1), ("1h", 2)):
            process = self.start("--grace", grace, store="store")
            process.stdin.write(b"UPLOAD\nx;%d;nowait\n" % len(data) + data[:500000])
            process.stdin.flush()
            wait_until(lambda: self.incoming_size() > 0, "bytes at the server")
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
                self.assertIn(b"Z ", process.stderr.readline())
            if (grace, signals) == ("1h", 1):
                self.assertIn(md5(data).encode(), self.finish(process, DONE, data[500000:]))
            else:
                self.assertEqual(process.wait(TIMEOUT), DONE)  # although its input is still open
                self.assertNotIn(md5(data).encode(), self.finish(process, DONE))
            self.check_no_temporaries()

    def test_a_signal_while_the_client_disconnects_exits_0(self):
        for _ in range(5):
            process = self.start()
            process.stdin.write(UPLOAD)
            process.stdin.flush()
            self.assertEqual(process.stdout.read(len(UPLOADED)), UPLOADED)
            process.send_signal(signal.SIGSTOP)  # so that it sees both at once
            process.send_signal(signal.SIGTERM)
            process.stdin.close()
            process.send_signal(signal.SIGCONT)
            self.assertEqual(process.wait(TIMEOUT), DONE)


if __name__ == "__main__":
    programs.run_tests("filexfer-server")
