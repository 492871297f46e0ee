#!/usr/bin/env python3
"""filexfer-client --via COMMAND: the server is what a command starts, over ssh for example.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""
# ctest: COST 80

import hashlib
import os
import shlex
import signal
import subprocess
import sys

import programs
from contents import HELLO, MIB, make_data
from exit_codes import BROKEN, DONE, INTERRUPTED, REFUSED, USAGE
from peer import md5
from program_case import Case
from sshd import Sshd
from waiting import TIMEOUT, wait_until


class Via(Case):
    def command(self, *arguments, store="store"):
        return " ".join([programs.path_of("filexfer-server"), "--listen", "stdio", "--store", store,
                         *arguments])

    def via(self, command, *arguments, **keywords):
        return self.run_program("filexfer-client", "--via", command, *arguments, **keywords)

    def start(self, command, *arguments, **keywords):
        return self.start_program("filexfer-client", "--via", command, *arguments, **keywords)

    def test_the_commands_work_through_via(self):
        data = make_data(3000001)
        self.write("large", data)
        self.write("small", HELLO)
        for digest, ids in (("md5", md5), ("sha256", lambda o: hashlib.sha256(o).hexdigest())):
            command = self.command("--digest", digest)
            self.assertEqual(self.via(command, "list"), b"")
            out = self.via(command, "upload", "large", "small").decode()
            self.assertEqual(out, "Success  %s  large\nSuccess  %s  small\n"
                             % (ids(data), ids(HELLO)))
            self.assertEqual(len(self.via(command, "list").splitlines()), 2)
            self.via(command, "download", "large", ids(HELLO), "-o", ".", "--force")
            self.assertEqual(self.read("large"), data)
            self.assertEqual(self.via(command, "download", "small", "-o", "-"), HELLO)
            self.assertEqual(self.via(command, "upload", "-", stdin=b"x").split()[1].decode(),
                             ids(b"x"))
            self.assertIn(b"22  client", self.via(command, "simulate", "large"))
        self.via(self.command(), "download", "none", expect=REFUSED)
        self.check_no_temporaries()

    def test_small_pipes_do_not_change_the_bytes(self):
        tiny = self.write("tiny.py", b"""
import fcntl, os, sys
for end in (0, 1):
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
os.execv(sys.argv[1], sys.argv[1:])
""")
        command = "%s %s %s" % (shlex.quote(sys.executable), shlex.quote(tiny), self.command())
        data = make_data(1000000)
        self.write("a", data)
        self.via(command, "upload", "a")
        self.assertEqual(self.via(command, "download", "a", "-o", "-"), data)
        # More pipes, which cut the bytes elsewhere.
        piped = "cat | %s | dd bs=1000 status=none" % self.command()
        self.assertEqual(self.via(piped, "download", "a", "-o", "-"), data)

    def test_a_command_that_ends_before_it_answers_is_reported_with_its_status(self):
        self.write("a", HELLO)
        for command, status in (("no-such-command-anywhere", "exit status 127"),
                                ("exit 3", "exit status 3"),
                                ("true", "exit status 0"), ("kill -9 $$", "signal 9"),
                                ("head -c 9 >&2; exit 4", "exit status 4"),
                                ("sleep 0.2; exit 255", "exit status 255")):
            for arguments in (("list",), ("upload", "a"), ("download", "a"), ("simulate", "a")):
                self.via(command, *arguments, expect=BROKEN)
                self.assertIn("the command ended (%s) before it replied" % status, self.stderr)
        self.via("read x; echo Welcome", "list", expect=BROKEN)
        self.assertIn('the command ended (exit status 0) after "Welcome"', self.stderr)

    def test_a_command_that_ends_during_a_transfer_leaves_no_file(self):
        self.write("large", make_data(3000000))
        self.via(self.command(), "upload", "large")
        half = self.command() + " | dd bs=1000 count=100 status=none; exit 7"
        self.via(half, "download", "large", "-o", "copy", expect=BROKEN)
        self.assertIn("the command ended (exit status 7); it is safe to retry", self.stderr)
        self.assertFalse(os.path.exists(self.path("copy")))
        self.write("other", make_data(3000000, 1))
        self.via("dd bs=1000 count=100 status=none | " + self.command(), "upload", "other",
                 expect=BROKEN)
        self.assertEqual(len(self.via(self.command(), "list").splitlines()), 1)

    def test_the_client_waits_for_the_command_to_end(self):
        slow = self.command() + "; sleep 0.3; echo ended >ended"
        self.via(slow, "list")
        self.assertEqual(self.read("ended"), b"ended\n")
        os.remove(self.path("ended"))
        # A command that does not end gets SIGTERM after a while.
        stubborn = ("trap 'echo told >told; exit' TERM; %s; while :; do sleep 0.1; done"
                    % self.command())
        self.via(stubborn, "list")
        self.assertEqual(self.read("told"), b"told\n")

    def test_the_command_starts_with_default_signal_handling(self):
        # The client ignores SIGPIPE; a `yes` that inherited that would print an error.
        self.via("yes | head -n 1 >&2; " + self.command("--quiet"), "list")
        self.assertEqual(self.stderr, "y\n")
        # With SIGCHLD ignored, as by this parent, a child can't be waited for.
        shell = ["/bin/sh", "-c", 'trap "" CHLD; exec "$0" --via "exit 3" list',
                 programs.path_of("filexfer-client")]
        result = subprocess.run(shell, capture_output=True, timeout=TIMEOUT)
        self.assertIn(b"(exit status 3)", result.stderr)

    def test_a_broken_pipe_does_not_kill_the_client(self):
        self.write("large", bytes(3000000))
        deaf = 'read x; printf "version=1\\ndigest=md5\\n\\n"; exec <&-; sleep 0.5; exit 9'
        self.via(deaf, "upload", "large", expect=BROKEN)
        self.assertIn("exit status 9", self.stderr)

    def test_an_interruption_reaches_the_client_and_the_command(self):
        process = self.start("trap 'echo told >told' INT; %s; true" % self.command(), "upload", "-",
                             "--size", str(4 * MIB), start_new_session=True)
        process.stdin.write(bytes(2 * MIB))
        process.stdin.flush()
        wait_until(lambda: self.incoming_size() >= MIB, "the upload")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        self.assertEqual(process.wait(TIMEOUT), INTERRUPTED)
        wait_until(lambda: os.path.exists(self.path("told")), "the command to be told")
        wait_until(lambda: self.incoming_size() == 0,
                   "the server to drop what was not finished")

    def test_via_and_server_exclude_each_other(self):
        for arguments in (("--via", "true", "--server", "127.0.0.1:1"),
                          ("--server", "127.0.0.1:1", "--via", "true"), ("--via", ""), ("--via",)):
            self.run_program("filexfer-client", *arguments, "list", expect=USAGE)

    def test_a_server_that_exits_between_files_is_started_again(self):
        self.write("a", HELLO)
        command = self.command("--idle-timeout", "200ms")
        process = self.start(command, "upload", "a", "-")
        err = b""
        while err.count(b"\n") < 2 and b"silent" not in err and b"timeout" not in err:
            err += process.stderr.readline()
        out, _ = process.communicate(b"more", timeout=TIMEOUT)
        self.assertEqual(process.returncode, DONE)
        self.assertEqual(out.count(b"Success"), 2)


class Ssh(Case):
    def test_a_file_is_transferred_over_ssh(self):
        os.mkdir(self.path("sshd"))
        daemon = Sshd(self.path("sshd"))
        self.addCleanup(daemon.stop)
        command = daemon.command + "%s --listen stdio --store %s" % (
            programs.path_of("filexfer-server"), self.path("store"))
        data = make_data(3000000)
        self.write("a", data)
        self.run_program("filexfer-client", "--via", command, "upload", "a")
        self.assertEqual(self.run_program("filexfer-client", "--via", command, "download", "a",
                                          "-o", "-"), data)
        self.run_program("filexfer-client", "--via", daemon.command + "exit 5", "list",
                         expect=BROKEN)
        self.assertIn("exit status 5", self.stderr)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
