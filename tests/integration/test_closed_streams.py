#!/usr/bin/env python3
"""The programs when the parent process has closed standard streams, as cron and daemons do.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import itertools
import os
import signal
import subprocess

import programs
from addresses import refuses
from contents import HELLO, HELLO_ID
from exit_codes import BROKEN, DONE, LOCAL_FILE
from program_case import Case
from waiting import TIMEOUT, wait_until

STDIN, STDOUT, STDERR = range(3)
MIXES = [mix for count in (1, 2, 3) for mix in itertools.combinations(range(3), count)]


class ClosedStreams(Case):
    def start(self, closed, name, *arguments):
        """Starts a program with these streams closed, an empty input, and pipes."""
        def close():
            programs.restore_signals()
            for stream in closed:
                os.close(stream)

        process = subprocess.Popen(self.command_line(name, arguments), cwd=self.folder,
                                   env=self.environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   preexec_fn=close)
        self.addCleanup(self.end_process, process)
        return process

    def finish(self, process, expect):
        """Returns stdout and stderr."""
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, expect, (process.args, out, err))
        return out.decode(), err.decode()

    def run_closed(self, closed, *command, expect):
        with self.subTest(closed=closed, command=command):
            out, err = self.finish(self.start(closed, *command), expect)
            self.assertEqual(os.listdir(self.temporary), [], "left in TMPDIR")
            if expect == LOCAL_FILE and STDERR not in closed:
                self.assertRegex(err, "standard (input|output): |missing: ")
            self.assertEqual(self.read("hello.txt"), HELLO)
            return out

    def test_each_command_of_the_client_works_or_says_what_it_could_not_read_or_write(self):
        self.write("hello.txt", HELLO)
        server = self.serve(store="store")
        self.client(server, "upload", "hello.txt")
        stored = self.files_below("store")
        local = ("--server", server.address)
        pipe = ("--via", "'%s' --listen stdio --quiet --store store"
                % programs.path_of("filexfer-server"))
        for closed in MIXES:
            written = LOCAL_FILE if STDOUT in closed else DONE
            read = LOCAL_FILE if STDIN in closed else written
            for expect, *job in (
                    (written, "list"), (written, "--json", "list"), (written, "list", "--md5sum"),
                    (written, "upload", "hello.txt"), (LOCAL_FILE, "upload", "missing", "hello.txt"),
                    (read, "upload", "-", "--name", "empty"),
                    (read, "upload", "-", "--name", "empty", "--size", "0"),
                    (LOCAL_FILE, "upload", "-", "--size", "5"),
                    (written, "verify", "hello.txt"), (written, "simulate", "hello.txt"),
                    (written, "download", "hello.txt", "-o", "copy"),
                    (written, "--checksum-cache", "cache", "download", "--all", "-o", "copies"),
                    (written, "download", HELLO_ID, "-o", "-"), (written, "--help")):
                for where in (local, pipe):
                    self.run_closed(closed, "filexfer-client", *where, *job, expect=expect)
                if "copy" in job:
                    self.assertEqual(self.read("copy"), HELLO)
                    os.remove(self.path("copy"))
            self.assertEqual(self.read("copies/hello.txt"), HELLO)
        self.assertLessEqual(set(stored), set(self.files_below("store")))
        self.assertEqual(self.read("store/%s/hello.txt" % HELLO_ID), HELLO)
        self.assertEqual(self.client(server, "verify", "hello.txt").decode(),
                         "Held  %s  hello.txt\n" % HELLO_ID)

    def test_a_server_serves_although_nobody_reads_its_address(self):
        self.write("hello.txt", HELLO)
        for number, closed in enumerate(MIXES):
            with self.subTest(closed=closed):
                socket, store = "s%d" % number, "store%d" % number
                process = self.start(closed, "filexfer-server", "--listen", "unix:" + socket,
                                     "--store", store)
                address = "unix:" + self.path(socket)
                wait_until(lambda: process.poll() is not None
                           or os.path.exists(self.path(socket)) and not refuses(address),
                           "the server to listen")
                self.client(address, "upload", "hello.txt")
                for stream in closed if os.path.isdir("/proc/self/fd") else ():
                    # What it writes there must not go to a client, or into a file of the store.
                    self.assertEqual(os.readlink("/proc/%d/fd/%d" % (process.pid, stream)),
                                     "/dev/null")
                process.send_signal(signal.SIGTERM)
                self.finish(process, DONE)
                self.assertEqual(self.read("%s/%s/hello.txt" % (store, HELLO_ID)), HELLO)

    def test_a_server_on_standard_streams_needs_both(self):
        for closed in MIXES:
            with self.subTest(closed=closed):
                # Without input there is no client.
                expect = BROKEN if STDOUT in closed and STDIN not in closed else DONE
                out, err = self.finish(self.start(closed, "filexfer-server", "--listen", "stdio",
                                                  "--store", "store"), expect)
                self.assertEqual(out, "")
                if expect == BROKEN and STDERR not in closed:
                    self.assertIn("standard output: is closed", err)

    def test_a_simulation_needs_standard_output_only(self):
        self.write("hello.txt", HELLO)
        for closed in MIXES:
            expect = LOCAL_FILE if STDOUT in closed else DONE
            self.run_closed(closed, "filexfer-simulation", "hello.txt", "--transport", "memory",
                            "--transport", "tcp", "--transport", "unix", expect=expect)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client", "filexfer-simulation")
