#!/usr/bin/env python3
"""The programs from outside: their arguments, output, files and exit codes.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""
# ctest: COST 120

import errno
import fcntl
import filecmp
import hashlib
import os
import pty
import random
import re
import resource
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import termios
import threading
import time
import unittest

import peer
from peer import Behaviour, md5
from places import folder_with_space

DONE, WRONG_DIGEST, USAGE, REFUSED, BROKEN, LOCAL_FILE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

# Sanitizers make everything slow.
SANITIZED = bool(os.environ.get("FILEXFER_SANITIZE"))
TIMEOUT = 120 if SANITIZED else 60

HELLO = b"hello"
HELLO_ID = md5(HELLO)

NAMES = ("plain.txt", "a b", " leading", "trailing ", "a;b%c", "100%;", "%41", "été.txt", "日本語.txt",
         "line\nfeed", "carriage\rreturn", "tab\there", "escape\x1b[31m", "c1 \u009b31m",
         "turn \u202e round", "a\x7fb", "back\\slash", "'quoted \"", "$HOME `id`", ".hidden", "...",
         "-dash", "--force", "ERROR io", "EOF", "[brackets]", "[a,b]", "[]", "{}", "{a,b}", "list",
         "memory", "unix:x", "0" * 31, "n" * 255)


def make_data(size, seed=0):
    return random.Random("%d %d" % (size, seed)).getrandbits(8 * size).to_bytes(size, "little")


def wait_until(condition, event):
    """Waits for an effect of another process."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain: " + event)
        time.sleep(0.005)


def unread(pipe):
    """Bytes that the reader of the pipe has not read yet."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))[0]


class Server:
    """A filexfer-server with any arguments; `addresses` are the ones it printed."""

    def __init__(self, *arguments, cwd, listen=("127.0.0.1:0",), prepare=None):
        def before():
            peer.restore_signals()
            if prepare:
                prepare()

        command = [peer.program("filexfer-server")]
        for address in listen:
            command += ["--listen", address]
        self.log_file = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command + list(arguments), cwd=cwd,
                                        stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=self.log_file,
                                        preexec_fn=before)
        self.lines = [self.process.stdout.readline().decode() for _ in listen or ("the default",)]
        self.addresses = [line[len("listening on "):].rstrip("\n") for line in self.lines]
        self.address = self.addresses[0]

    def log(self):
        self.log_file.seek(0)
        return self.log_file.read().decode("utf-8", "surrogateescape")

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        """The exit code; checks that only the addresses were printed."""
        try:
            rest, _ = self.process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the server does not end; its log:\n" + self.log()) from None
        if rest:
            raise AssertionError("the server printed %r" % rest)
        return self.process.returncode

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def stop(self):
        if self.process.returncode is None:
            self.terminate()
            self.wait()


class Case(unittest.TestCase):
    """A working folder, and a TMPDIR for the programs that must be empty when they exit."""

    # No retries: failures here are permanent. test_retries.py tests retries.
    retry_options = ("--retry-for", "0")

    # Space for tests of many files in memory, where a flush is cheap; 0 is a folder on disk.
    space_in_memory = 0

    def setUp(self):
        self.folder = (self.space_in_memory and folder_with_space(self.space_in_memory)
                       or tempfile.mkdtemp(prefix="filexfer-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.temporary = tempfile.mkdtemp(prefix="filexfer-tmp-")
        self.addCleanup(shutil.rmtree, self.temporary)
        self.environment = dict(os.environ, TMPDIR=self.temporary)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, name, data):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "wb") as file:
            file.write(data)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def serve(self, *arguments, store="memory", **keywords):
        server = Server("--store", store, *arguments, cwd=self.folder, **keywords)
        self.addCleanup(server.log_file.close)
        self.addCleanup(server.stop)
        return server

    def run_program(self, name, *arguments, expect=DONE, stdin=b"", **keywords):
        """Returns stdout; stderr is in `self.stderr`."""
        if name == "filexfer-client":
            arguments = (*self.retry_options, *arguments)
        result = subprocess.run([peer.program(name), *arguments], cwd=self.folder, input=stdin,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT,
                                env=self.environment, preexec_fn=peer.restore_signals, **keywords)
        self.stderr = result.stderr.decode("utf-8", "surrogateescape")
        self.assertEqual(result.returncode, expect, "%s %s\n%s\n%s" % (
            name, arguments, result.stdout.decode("utf-8", "replace"), self.stderr))
        if expect in (DONE, WRONG_DIGEST):
            self.assertNotIn("terminate", self.stderr)
        else:
            self.assertNotEqual(self.stderr, "", "no message")
        self.assertEqual(os.listdir(self.temporary), [], "left in TMPDIR")
        return result.stdout

    def client(self, server, *arguments, **keywords):
        address = server if isinstance(server, str) else server.address
        return self.run_program("filexfer-client", "--server", address, *arguments, **keywords)

    def start_client(self, server, *arguments, **keywords):
        keywords = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                    "stderr": subprocess.PIPE, **keywords}
        process = subprocess.Popen([peer.program("filexfer-client"), "--server", server.address,
                                    *self.retry_options, *arguments],
                                   cwd=self.folder, env=self.environment,
                                   preexec_fn=peer.restore_signals, **keywords)
        self.addCleanup(self.end_process, process)
        return process

    @staticmethod
    def end_process(process):
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream and not stream.closed:
                stream.close()
        if process.poll() is None:
            process.kill()
            process.wait()

    def check_no_temporaries(self, store="store"):
        self.assertEqual(os.listdir(self.path(store, ".incoming")), [])

    def incoming_size(self, store="store"):
        """Size of the temporary files of the store."""
        folder = self.path(store, ".incoming")
        try:
            return sum(os.stat(os.path.join(folder, name)).st_size for name in os.listdir(folder))
        except FileNotFoundError:
            return 0


class Usage(Case):
    def test_wrong_arguments_are_usage_errors(self):
        self.write("a", HELLO)
        wrong = {
            "filexfer-server": (
                ("extra",), ("--nonsense",), ("--listen",), ("--listen", "nowhere"),
                ("--listen", "127.0.0.1"), ("--listen", "127.0.0.1:"),
                ("--listen", "127.0.0.1:65536"), ("--listen", "::1:0"), ("--listen", ":0"),
                ("--listen", "unix:"), ("--max-size", "1X"), ("--max-size", "-1"),
                ("--max-size", ""), ("--max-size", "1.5K"), ("--max-size", "9999999999G"),
                ("--max-connections", "0"), ("--threads", "0"), ("--threads", "many"),
                ("--idle-timeout", "0"), ("--idle-timeout", "1 year"), ("--grace", "s"),
                ("--read-only=perhaps",)),
            "filexfer-client": (
                (), ("nonsense",), ("--nonsense",), ("list", "--nonsense"), ("list", "a", "extra"),
                ("upload",), ("download",), ("verify",), ("simulate",), ("simulate", "a", "a"),
                ("--server", "nowhere", "list"), ("upload", "--parallel", "0", "a"),
                ("upload", "--parallel", "65", "a"), ("download", "--parallel", "x", "a"),
                ("list", "--parallel", "2"), ("upload", "a", "a", "--name", "one"),
                ("upload", "a", "--size", "5"), ("upload", "-", "--size", "x"),
                ("upload", "-", "--size", "5", "--skip-existing"),
                ("upload", "-", "a", "--size", "5"), ("download", "a", "b", "-o", "-"),
                ("list", "list", "list")),
            "filexfer-simulation": ((), ("a", "a"), ("a", "--transport", "pigeon"),
                                    ("a", "--nonsense")),
        }
        for program, all_arguments in wrong.items():
            for arguments in all_arguments:
                with self.subTest(program=program, arguments=arguments):
                    self.assertEqual(self.run_program(program, *arguments, expect=USAGE), b"")

    def test_help_and_version_are_printed(self):
        for program in ("filexfer-server", "filexfer-client", "filexfer-simulation"):
            self.assertIn(b"Exit codes", self.run_program(program, "--help"))
            self.assertRegex(self.run_program(program, "--version"), rb"filexfer \d+\.\d+\.\d+\n")
        for command in ("list", "upload", "download", "verify", "simulate"):
            text = self.run_program("filexfer-client", command, "--help")
            self.assertIn(b"130", text)
        self.assertIn(b"verified", self.run_program("filexfer-client", "download", "--help"))

    def test_an_unknown_or_missing_command_is_reported(self):
        self.run_program("filexfer-client", "nonsense", expect=USAGE)
        self.assertIn("nonsense", self.stderr)
        self.run_program("filexfer-client", expect=USAGE)
        self.assertIn("list, upload, download, verify or simulate", self.stderr)

    def test_a_missing_temporary_folder_is_an_error(self):
        server = self.serve()
        self.write("a", HELLO)
        for folder in ("nowhere", "a"):
            # Another TMPDIR than the one that run_program checks.
            environment = ["env", "TMPDIR=" + self.path(folder)]
            for command in ((peer.program("filexfer-simulation"), "a"),
                            (peer.program("filexfer-client"), "--server", server.address,
                             "simulate", "a")):
                result = subprocess.run([*environment, *command], cwd=self.folder,
                                        capture_output=True, timeout=TIMEOUT)
                self.assertEqual(result.returncode, LOCAL_FILE, result)
                self.assertIn(b"TMPDIR", result.stderr)
                self.assertNotIn(b"terminate", result.stderr)

    def test_an_unreachable_server_is_reported_with_its_address(self):
        self.write("a", HELLO)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = "127.0.0.1:%d" % listener.getsockname()[1]
        for unreachable in (address, "unix:nobody", "unix:" + "x" * 200):
            for arguments in (("list",), ("upload", "a"), ("download", "a"), ("simulate", "a")):
                self.client(unreachable, *arguments, expect=BROKEN)
                self.assertIn(unreachable, self.stderr)


class Listening(Case):
    def test_the_server_prints_a_line_for_each_endpoint(self):
        server = self.serve(listen=("127.0.0.1:0", "unix:socket", "127.0.0.1:0"))
        self.assertRegex(server.lines[0], r"^listening on 127\.0\.0\.1:[1-9]\d*\n$")
        self.assertEqual(server.lines[1], "listening on unix:socket\n")
        self.assertNotEqual(server.lines[0], server.lines[2])
        self.write("a", HELLO)
        for address in server.addresses:
            self.client(address, "upload", "a", "--name", address.replace("/", "_"))
        self.assertEqual(len(self.client(server, "list").splitlines()), 3)
        server.terminate()
        self.assertEqual(server.wait(), DONE)
        self.assertFalse(os.path.exists(self.path("socket")))

    def test_the_server_listens_on_ipv6(self):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            self.skipTest("no IPv6 here: %s" % error)
        server = self.serve(listen=("[::1]:0",))
        self.assertRegex(server.address, r"^\[::1\]:\d+$")
        self.write("a", HELLO)
        self.client(server, "upload", "a")
        self.assertIn(server.address.rsplit(":", 1)[0], server.log())

    def test_a_host_can_be_given_by_name(self):
        server = self.serve(listen=("localhost:0",))
        self.client("localhost:" + server.address.rsplit(":", 1)[1], "list")
        self.client("no.such.host.invalid:1", "list", expect=BROKEN)
        self.run_program("filexfer-server", "--listen", "no.such.host.invalid:0",
                         "--store", "memory", expect=BROKEN)

    def test_a_port_in_use_is_an_error(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = "127.0.0.1:%d" % listener.getsockname()[1]
            self.run_program("filexfer-server", "--listen", address, "--store", "memory",
                             expect=BROKEN)
            self.assertIn(address, self.stderr)
        self.run_program("filexfer-server", "--listen", "192.0.2.1:1", "--store", "memory",
                         expect=BROKEN)

    def test_only_a_stale_unix_socket_is_replaced(self):
        first = self.serve(listen=("unix:socket",))
        self.run_program("filexfer-server", "--listen", "unix:socket", "--store", "memory",
                         expect=BROKEN)
        self.client(first, "list")
        first.kill()
        self.assertTrue(os.path.exists(self.path("socket")))
        second = self.serve(listen=("unix:socket",))
        self.client(second, "list")
        self.write("file", HELLO)
        self.run_program("filexfer-server", "--listen", "unix:file", "--store", "memory",
                         expect=BROKEN)
        self.assertEqual(self.read("file"), HELLO)
        self.run_program("filexfer-server", "--listen", "unix:no/folder", "--store", "memory",
                         expect=BROKEN)

    def test_a_store_is_in_memory_or_in_the_given_folder(self):
        self.write("a", HELLO)
        self.write("file", HELLO)
        memory = self.serve(store="memory")
        self.client(memory, "upload", "a")
        self.assertEqual(sorted(os.listdir(self.folder)), ["a", "file"])
        folder = self.serve(store="./memory")
        self.client(folder, "upload", "a")
        self.assertEqual(self.read("memory/%s/a" % HELLO_ID), HELLO)
        default = Server(cwd=self.folder)
        self.addCleanup(default.log_file.close)
        self.addCleanup(default.stop)
        self.client(default, "upload", "a")
        self.assertEqual(self.read("filexfer-store/%s/a" % HELLO_ID), HELLO)
        for store in ("file", "file/store", "/proc/store", ""):
            self.run_program("filexfer-server", "--listen", "127.0.0.1:0", "--store", store,
                             expect=LOCAL_FILE)

    def test_files_survive_a_restart(self):
        server = self.serve(store="store")
        self.write("a", HELLO)
        self.client(server, "upload", "a")
        server.stop()
        server = self.serve("--read-only", store="store")
        self.client(server, "download", "a", "-o", "b")
        self.assertEqual(self.read("b"), HELLO)


class Limits(Case):
    def test_a_read_only_server_refuses_uploads(self):
        self.write("a", HELLO)
        self.client(self.serve(store="store"), "upload", "a")
        server = self.serve("--read-only", store="store")
        self.client(server, "upload", "a", expect=REFUSED)
        self.assertIn("read-only", self.stderr)
        self.client(server, "simulate", "a", expect=REFUSED)
        self.client(server, "download", "a", "-o", "b")

    def test_a_file_over_max_size_is_refused(self):
        server = self.serve("--max-size", "1K")
        self.write("fits", bytes(1024))
        self.write("too large", bytes(1025))
        self.client(server, "upload", "fits")
        self.client(server, "upload", "too large", expect=REFUSED)
        self.assertIn("too-large", self.stderr)
        self.assertIn("1024", self.stderr)
        out = self.client(server, "upload", "too large", "fits", expect=REFUSED)
        self.assertIn(b"Success", out)

    def test_a_connection_over_the_limit_is_refused_as_busy(self):
        server = self.serve("--max-connections", "1")
        host, port = server.address.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as idle:
            idle.sendall(b"LIST_FILES\n")
            idle.recv(1)
            self.client(server, "list", expect=REFUSED)
            self.assertIn("busy", self.stderr)
        wait_until(lambda: self.start_client(server, "list").wait() == DONE,
                   "a place for a connection")

    def test_an_idle_connection_times_out_and_the_client_reconnects(self):
        server = self.serve("--idle-timeout", "200ms")
        host, port = server.address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=TIMEOUT) as idle:
            self.assertTrue(idle.makefile("rb").read().startswith(b"ERROR timeout"))
        # A client whose connection timed out while it waited for its input reconnects.
        self.write("a", HELLO)
        process = self.start_client(server, "upload", "a", "-", stdin=subprocess.PIPE)
        wait_until(lambda: server.log().count("timeout") + server.log().count("silent") >= 2,
                   "the second timeout")
        _, err = process.communicate(b"more")
        self.assertEqual(process.returncode, DONE, err)
        self.assertIn(md5(b"more"), self.client(server, "list").decode())

    def test_the_log_has_a_line_for_each_transfer_unless_quiet(self):
        name = 'a "b\x1b[31m'
        self.write(name, HELLO)
        server = self.serve()
        self.client(server, "upload", name)
        self.client(server, "download", "0" * 32, expect=REFUSED)
        wait_until(lambda: server.log().count("\n") >= 2, "two lines in the log")
        first, second = server.log().splitlines()[:2]
        self.assertRegex(first, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ 127\.0\.0\.1:\d+ UPLOAD "
                         r'"a \\"b\\x1b\[31m" 5 bytes %s [0-9.]+ s [0-9.]+ MB/s$' % HELLO_ID)
        self.assertRegex(second, r"DOWNLOAD 0{32} failed: .*id")
        quiet = self.serve("--quiet", store="store")
        self.client(quiet, "upload", name)
        quiet.stop()
        self.assertEqual(quiet.log(), "")

    def limit_file_size(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))

    def test_a_file_size_limit_does_not_end_the_server(self):
        server = self.serve(store="store", prepare=self.limit_file_size)
        self.write("large", bytes(300000))
        self.write("small", HELLO)
        out = self.client(server, "upload", "large", "small", expect=REFUSED)
        self.assertIn("no-space", self.stderr)
        self.assertIn(b"Success", out)
        self.check_no_temporaries()

    def test_a_file_size_limit_of_the_client_is_an_error(self):
        server = self.serve()
        self.write("large", bytes(300000))
        self.client(server, "upload", "large")
        before = os.listdir(self.folder)
        result = subprocess.run([peer.program("filexfer-client"), "--server", server.address,
                                 "download", "large",
                                 "-o", "copy"], cwd=self.folder, capture_output=True,
                                preexec_fn=self.limit_file_size)
        self.assertEqual(result.returncode, LOCAL_FILE, result.stderr)
        self.assertEqual(os.listdir(self.folder), before)

    @unittest.skipUnless(os.geteuid() == 0, "only root mounts a full disk")
    def test_a_full_disk_is_reported_and_leaves_no_files(self):
        disk = self.path("disk")
        os.mkdir(disk)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk],
                          capture_output=True).returncode:
            self.skipTest("no tmpfs can be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", disk])
        self.write("large", make_data(600000))
        self.write("small", make_data(60000))
        into_disk = self.serve(store="disk/store")
        self.client(into_disk, "upload", "large", expect=REFUSED)
        self.assertIn("no-space", self.stderr)
        self.check_no_temporaries("disk/store")
        self.client(into_disk, "upload", "small")
        into_disk.stop()
        elsewhere = self.serve()
        self.client(elsewhere, "upload", "large")
        before = sorted(os.listdir(disk))
        self.client(elsewhere, "download", "large", "-o", "disk", expect=LOCAL_FILE)
        self.assertIn("large", self.stderr)
        self.client(elsewhere, "download", "large", "-o", "disk/x", expect=LOCAL_FILE)
        self.assertEqual(sorted(os.listdir(disk)), before)
        self.environment["TMPDIR"] = disk
        # It is refused by its own server.
        self.run_program("filexfer-simulation", "large", expect=REFUSED)
        self.client(elsewhere, "upload", "-", stdin=bytes(600000), expect=LOCAL_FILE)
        self.assertEqual(sorted(os.listdir(disk)), before)


class Files(Case):
    def test_files_of_every_size_are_returned_unchanged(self):
        server = self.serve(store="store")
        sizes = (0, 1, 65535, 65536, 65537, 262144, 262145, 3000001)
        for size in sizes:
            self.write("size %d" % size, make_data(size))
        names = ["size %d" % size for size in sizes]
        out = self.client(server, "upload", *names).decode().splitlines()
        self.assertEqual(out, ["Success  %s  size %d" % (md5(make_data(size)), size)
                               for size in sizes])
        os.mkdir(self.path("out"))
        out = self.client(server, "download", *names, "-o", "out").decode().splitlines()
        self.assertEqual(out, ["Success  %s  out/size %d" % (md5(make_data(size)), size)
                               for size in sizes])
        for name in names:
            self.assertEqual(self.read("out/" + name), self.read(name))
        self.check_no_temporaries()

    @unittest.skipUnless(shutil.which("md5sum"), "there is no md5sum")
    def test_files_with_special_names_are_returned_unchanged(self):
        server = self.serve(store="store")
        for number, name in enumerate(NAMES):
            self.write(name, b"content %d" % number)
        self.client(server, "upload", "--", *NAMES)
        os.mkdir(self.path("out"))
        self.client(server, "download", "-o", "out", "--", *NAMES)
        self.assertEqual(sorted(os.listdir(self.path("out"))), sorted(NAMES))
        sums = self.client(server, "list", "--md5sum")
        checked = subprocess.run(["md5sum", "--check", "--strict"], cwd=self.path("out"),
                                 input=sums, capture_output=True)
        self.assertEqual(checked.returncode, 0, checked)
        self.assertEqual(checked.stdout.count(b": OK\n"), len(NAMES))
        self.assertEqual(sorted(self.client(server, "list").splitlines()), sorted(
            b"%s;%s;%d"
            % (md5(b"content %d" % number).encode(), peer.escape(name), len("content %d" % number))
            for number, name in enumerate(NAMES)))
        raw = set(server.log()) - {"\n"}
        self.assertFalse([c for c in raw if not c.isprintable()])

    def test_an_invalid_name_is_a_usage_error(self):
        server = self.serve()
        self.write("a", HELLO)
        with open(os.path.join(os.fsencode(self.folder), b"latin \xe9"), "wb") as file:
            file.write(HELLO)
        for name in ("", ".", "..", "../x", "/x", "a//b", "a/", "n" * 256):
            self.client(server, "upload", "a", "--name", name, expect=USAGE)
            self.assertTrue(self.stderr.startswith((name or '""') + ": "), self.stderr)
        self.client(server, "upload", b"latin \xe9", expect=USAGE)
        self.client(server, "upload", b"latin \xe9", "--name", "latin")
        self.run_program("filexfer-simulation", b"latin \xe9", expect=USAGE)

    def test_a_file_that_cannot_be_read_is_an_error(self):
        server = self.serve()
        os.mkfifo(self.path("fifo"))
        self.write("a", HELLO)
        for file in ("missing", ".", "fifo", "a/b"):
            if file != ".":  # upload sends the files of a folder
                self.client(server, "upload", file, expect=LOCAL_FILE)
                self.assertIn(file, self.stderr)
            self.client(server, "simulate", file, expect=LOCAL_FILE)
            self.run_program("filexfer-simulation", file, expect=LOCAL_FILE)
        out = self.client(server, "upload", "missing", "a", "fifo", expect=LOCAL_FILE)
        self.assertEqual(out.decode(), "Success  %s  a\n" % HELLO_ID)

    def test_an_existing_file_is_replaced_only_with_force(self):
        server = self.serve()
        self.write("a", HELLO)
        self.client(server, "upload", "a")
        self.write("a", b"mine")
        self.client(server, "download", "a", expect=LOCAL_FILE)
        self.assertIn("--force", self.stderr)
        for words in (("a",), (HELLO_ID,), ("a", "-o", "a"), (HELLO_ID, "-o", "./a")):
            self.client(server, "download", *words, expect=LOCAL_FILE)
            self.assertEqual(self.read("a"), b"mine")
        self.client(server, "download", HELLO_ID, "--force")
        self.assertEqual(self.read("a"), HELLO)
        # The same file twice to one target, and another file to it.
        self.write("other/a", b"other")
        self.client(server, "upload", "other/a", "--name", "b/a")
        os.mkdir(self.path("out"))
        out = self.client(server, "download", "a", "a", "-o", "out").decode().splitlines()
        self.assertEqual(out, [outcome + "  %s  out/a" % HELLO_ID
                               for outcome in ("Success", "Already there")])
        self.client(server, "download", md5(b"other"), "-o", "out/a", expect=LOCAL_FILE)
        self.assertEqual(self.read("out/a"), HELLO)
        # Targets in missing folders, and targets that are folders.
        for target in ("no/such", "no/", "a/b", "/proc/x", "out/a/"):
            self.client(server, "download", "a", "-o", target, expect=LOCAL_FILE)
            self.assertTrue(self.stderr.startswith(target + ": "), self.stderr)
        for target in ("a", "no"):
            self.client(server, "download", "a", HELLO_ID, "-o", target, expect=LOCAL_FILE)
        self.client(server, "download", "b/a", "-o", "out")
        self.assertEqual(self.read("out/b/a"), b"other")
        os.mkdir(self.path("out/dir"))
        self.client(server, "upload", "a", "--name", "dir")
        self.client(server, "download", "dir", "-o", "out", "--force", expect=LOCAL_FILE)

    def test_a_link_or_fifo_as_target_is_not_written_through(self):
        server = self.serve()
        self.write("a", HELLO)
        self.client(server, "upload", "a")
        os.mkfifo(self.path("fifo"))
        self.write("elsewhere", b"mine")
        os.symlink("elsewhere", self.path("link"))
        os.symlink("nowhere", self.path("dangling"))
        for target in ("fifo", "link", "dangling"):
            self.client(server, "download", "a", "-o", target, expect=LOCAL_FILE)
        self.client(server, "download", "a", "-o", "fifo", "--force", expect=LOCAL_FILE)
        self.assertTrue(stat.S_ISFIFO(os.stat(self.path("fifo")).st_mode))
        # The link is replaced, not its target.
        self.client(server, "download", "a", "-o", "link", "--force")
        self.assertFalse(os.path.islink(self.path("link")))
        self.assertEqual(self.read("elsewhere"), b"mine")

    def test_no_name_leads_out_of_the_folder(self):
        server = self.serve()
        self.write("a", HELLO)
        self.client(server, "upload", "a", "--name", "photos/2021/a")
        os.makedirs(self.path("out"))
        os.makedirs(self.path("outside/2021"))
        os.symlink("../outside", self.path("out/photos"))
        for words in (("photos/2021/a",), (HELLO_ID,), (HELLO_ID, "--force")):
            self.client(server, "download", *words, "-o", "out", expect=LOCAL_FILE)
            self.assertEqual(os.listdir(self.path("outside/2021")), [])
        os.remove(self.path("out/photos"))
        self.write("out/photos", b"a file")
        self.client(server, "download", HELLO_ID, "-o", "out", expect=LOCAL_FILE)
        # A folder that is given as the target may be a link.
        os.symlink("outside", self.path("link"))
        self.client(server, "download", HELLO_ID, "-o", "link")
        self.assertEqual(self.read("outside/photos/2021/a"), HELLO)

    def test_a_file_can_be_downloaded_by_name_or_id(self):
        server = self.serve()
        for number, data in enumerate((b"one", b"two")):
            self.write("f%d" % number, data)
            self.client(server, "upload", "f%d" % number, "--name", "same")
        self.write("hex", b"hex")
        self.client(server, "upload", "hex", "--name", md5(b"one"))
        self.client(server, "download", "same", expect=USAGE)
        self.assertIn(md5(b"one"), self.stderr)
        self.assertIn(md5(b"two"), self.stderr)
        for data in (b"one", b"two"):
            self.assertEqual(self.client(server, "download", md5(data).upper(), "-o", "-"), data)
        self.client(server, "download", "Same", expect=REFUSED)
        self.client(server, "download", "0" * 32, expect=REFUSED)
        self.assertIn("not-found", self.stderr)
        out = self.client(server, "download", "nowhere", "same", md5(b"two"), "-o", ".",
                          expect=REFUSED)
        self.assertIn(b"Success", out)
        self.assertEqual(self.read("same"), b"two")

    def test_stdin_is_uploaded_if_it_has_the_given_size(self):
        server = self.serve(store="store")
        for data in (b"", HELLO, make_data(300000)):
            for arguments in ((), ("--name", "x/y"), ("--size", str(len(data)))):
                name = "x/y" if "--name" in arguments else "stdin"
                out = self.client(server, "upload", "-", *arguments, stdin=data)
                self.assertEqual(out.decode(), "Success  %s  %s\n" % (md5(data), name))
        listed = self.client(server, "list")
        for size, data in ((6, HELLO), (4, HELLO), (0, HELLO), (300001, make_data(300000)),
                             (299999, make_data(300000))):
            self.client(server, "upload", "-", "--size", str(size), stdin=data, expect=LOCAL_FILE)
            self.assertIn("standard input", self.stderr)
        self.assertEqual(self.client(server, "list"), listed)
        wait_until(lambda: self.incoming_size() == 0, "the server drops what was not finished")
        self.client(server, "upload", "-", "--size", "1K", stdin=bytes(1024))
        # The second time it is empty.
        out = self.client(server, "upload", "-", "-", stdin=HELLO).decode().splitlines()
        self.assertEqual([line.split()[1] for line in out], [HELLO_ID, md5(b"")])

    def test_a_failed_write_to_stdout_is_an_error(self):
        server = self.serve()
        data = make_data(300000)
        self.write("a", data)
        self.client(server, "upload", "a")
        self.assertEqual(self.client(server, "download", "a", "-o", "-"), data)
        with open("/dev/full", "wb") as full:
            for arguments in (("list",), ("download", "a", "-o", "-"), ("upload", "a")):
                process = self.start_client(server, *arguments, stdout=full)
                _, err = process.communicate(timeout=TIMEOUT)
                self.assertEqual(process.returncode, LOCAL_FILE, (arguments, err))
            for command in (("filexfer-simulation", "a"), ("filexfer-simulation", "--help"),
                            ("filexfer-client", "--help"), ("filexfer-server", "--version")):
                result = subprocess.run([peer.program(command[0]), *command[1:]], cwd=self.folder,
                                        stdout=full, stderr=subprocess.PIPE, timeout=TIMEOUT)
                self.assertEqual(result.returncode, LOCAL_FILE, command)
                self.assertIn(b"standard output", result.stderr)
        process = self.start_client(server, "download", "a", "-o", "-")
        process.stdout.close()
        self.assertEqual(process.wait(TIMEOUT), LOCAL_FILE)

    def test_a_file_that_grows_while_it_is_sent_is_not_stored(self):
        server = self.serve(store="store")
        path = self.write("growing", bytes(64 * 2**20))
        stop = threading.Event()

        def grow():
            with open(path, "ab") as file:
                while not stop.is_set():
                    file.write(b"x")
                    file.flush()

        thread = threading.Thread(target=grow)
        thread.start()
        try:
            self.client(server, "upload", "growing", expect=LOCAL_FILE)
        finally:
            stop.set()
            thread.join()
        self.assertIn("changed", self.stderr)
        self.assertEqual(self.client(server, "list"), b"")
        wait_until(lambda: self.incoming_size() == 0, "the server drops what was not finished")


class Terminal(Case):
    """The client on a pseudo-terminal."""

    def on_terminal(self, server, *arguments, feed=None, when=None):
        """Returns the output. `when` is a pattern and a function to call once it was printed."""
        master, slave = pty.openpty()
        try:
            process = self.start_client(server, *arguments, stdin=subprocess.PIPE, stdout=slave,
                                        stderr=slave)
            os.close(slave)
            if feed:
                feed(process.stdin)
            process.stdin.close()
            shown = b""
            while True:
                try:
                    chunk = os.read(master, 65536)
                except OSError as error:
                    if error.errno != errno.EIO:
                        raise
                    chunk = b""
                if not chunk:
                    break
                shown += chunk
                if when and re.search(when[0], shown.decode("utf-8", "replace")):
                    when[1]()
                    when = None
        finally:
            os.close(master)
        self.assertEqual(process.wait(TIMEOUT), DONE, shown)
        self.assertIsNone(when, shown)
        return shown.decode()

    def test_a_list_on_a_terminal_is_a_sorted_table(self):
        server = self.serve()
        self.assertEqual(self.on_terminal(server, "list"), "No files available at the moment\r\n")
        for name, size in (("zebra", 1), ("escape\x1b[31m", 12345), ("apple\n", 0)):
            self.write(name, bytes(size))
            self.client(server, "upload", name)
        header, *rows = self.on_terminal(server, "list").splitlines()
        self.assertEqual(header.split(), ["ID", "BYTES", "NAME"])
        self.assertEqual([row.split() for row in rows], [
            [md5(b""), "0", "apple\\x0a"], [md5(bytes(12345)), "12345", "escape\\x1b[31m"],
            [md5(bytes(1)), "1", "zebra"]])
        self.assertEqual(len({len(row) - len(row.split()[2]) for row in rows}), 1, "columns")
        self.assertNotIn("\x1b", self.on_terminal(server, "list", "--md5sum"))

    def test_an_upload_on_a_terminal_shows_progress_unless_quiet(self):
        def slowly(stdin):
            for _ in range(5):
                stdin.write(bytes(100000))
                stdin.flush()
                time.sleep(0.25)

        server = self.serve()
        shown = self.on_terminal(server, "upload", "-", "--size", "500000", "--name", "slow\x07",
                                 feed=slowly)
        self.assertRegex(shown, r"\r[0-9.]+ MB of 0\.5 MB  [0-9.]+ MB/s  \d+:\d\d left\x1b\[K")
        self.assertRegex(shown, r"\r\x1b\[KSuccess  [0-9a-f]{32}  slow")
        self.assertNotIn("\x07", shown)
        quiet = self.on_terminal(server, "--quiet", "upload", "-", "--size", "500000", feed=slowly)
        self.assertRegex(quiet, r"^Success  [0-9a-f]{32}  stdin\r\n$")
        self.write("a", HELLO)
        self.assertEqual(self.on_terminal(server, "upload", "a"), "Success  %s  a\r\n" % HELLO_ID)

    def test_progress_is_one_line_for_all_files(self):
        sizes = {"a": 100000, "b": 300000, "c": 100000}  # the server stops in the second
        files = {name: make_data(size) for name, size in sizes.items()}
        for name, data in files.items():
            self.write("tree/" + name, data)
        for job in (("upload", "tree"), ("upload", "tree/a", "tree/b", "tree/c"),
                    ("download", "--all", "-o", "copy")):
            server = peer.Server(features=True,
                                 behaviour=Behaviour(stall_upload_after=200000,
                                                     stall_download_after=200000))
            self.addCleanup(server.stop)
            for name, data in files.items() if job[0] == "download" else ():
                server.store.add(name, data)
            shown = self.on_terminal(server, *job,
                                     when=(r"\r1 of 3 files  0\.\d MB of 0\.5 MB  [0-9.]+ MB/s",
                                           server.release.set))
            # The line is erased before each result and at the end.
            self.assertEqual(re.sub(r"\r[^\r\n]*\x1b\[K", "", shown), "".join(
                "Success  %s  %s\r\n"
                % (md5(data), ("copy/" if job[0] == "download" else "") + name)
                for name, data in files.items()))
            self.assertNotRegex(shown, r"MB[^\r]*\x1b\[K(?!\r)")


class Digests(Case):
    """Digests and other properties of files: the ids of a server are MD5 or SHA-256."""

    def test_a_server_can_use_sha256_ids(self):
        self.write("a", HELLO)
        id = hashlib.sha256(HELLO).hexdigest()
        for store in ("memory", "store"):
            server = self.serve("--digest", "sha256", store=store)
            self.assertIn(id, self.client(server, "upload", "a").decode())
            self.assertEqual(self.client(server, "list").decode(), "%s;a;5\n" % id)
            self.assertEqual(self.client(server, "list", "--md5sum").decode(), id + "  a\n")
            for word in (id, id.upper(), "a"):
                self.assertIn(id, self.client(server, "download", word, "-o", "copy",
                                              "--force").decode())
                self.assertEqual(self.read("copy"), HELLO)
            self.assertIn("SHA-256 of the copy", self.client(server, "simulate", "a").decode())
        self.assertEqual(self.read("store/" + id + "/a"), HELLO)

    def test_a_list_can_be_limited_to_a_prefix(self):
        server = self.serve()
        for name in ("a", "ab", "b", "a;b"):
            self.write(name, HELLO)
            self.client(server, "upload", name)
        for prefix, names in (("a", {"a", "ab", "a%3Bb"}), ("a;", {"a%3Bb"}), ("c", set()),
                              ("", {"a", "ab", "a%3Bb", "b"})):
            lines = self.client(server, "list", prefix).decode().splitlines()
            self.assertEqual({line.split(";")[1] for line in lines}, names)

    def test_modification_times_are_kept(self):
        times = {"old": -1_500_000_000, "new": 1_700_000_000_123_456_789}
        for name, mtime in times.items():
            self.write(name, HELLO)  # one file under two names
            os.utime(os.path.join(self.folder, name), ns=(0, mtime))
        for store in ("memory", "store"):
            server = self.serve(store=store)
            self.client(server, "upload", *times)
            os.makedirs(os.path.join(self.folder, store + "-copies"))
            self.client(server, "download", *times, "-o", store + "-copies")
            for name, mtime in times.items():
                copy = os.path.join(self.folder, store + "-copies", name)
                self.assertEqual(os.stat(copy).st_mtime_ns, mtime)
            self.client(server, "download", HELLO_ID, "-o", store + "-by-id")
            by_id = os.path.join(self.folder, store + "-by-id")
            self.assertIn(os.stat(by_id).st_mtime_ns, times.values())
        stored = os.path.join(self.folder, "store", HELLO_ID, "old")
        self.assertEqual(os.stat(stored).st_mtime_ns, times["old"])

    def test_a_simulation_uses_one_connection(self):
        self.write("a", HELLO)
        self.client(self.serve("--max-connections", "1"), "simulate", "a")

    def test_an_id_of_the_other_digest_is_refused(self):
        for kind, id, digits in (("md5", "0" * 64, "32"), ("sha256", "0" * 32, "64")):
            server = self.serve("--digest", kind)
            self.client(server, "download", id, expect=REFUSED)
            self.assertIn("ids have %s digits" % digits, self.stderr)

    def test_a_store_lists_only_the_files_of_its_digest(self):
        self.write("a", HELLO)
        for kind in ("md5", "sha256"):
            server = self.serve("--digest", kind, store="store")
            self.assertEqual(self.client(server, "list"), b"")
            self.client(server, "upload", "a")
            self.assertEqual(len(self.client(server, "list").splitlines()), 1)


class Signals(Case):
    def begin_upload(self, server, size):
        """Starts a client that has sent half of its file and waits for the rest of its input."""
        process = self.start_client(server, "upload", "-", "--size", str(size),
                                    stdin=subprocess.PIPE)
        process.stdin.write(bytes(size // 2))
        process.stdin.flush()
        wait_until(lambda: self.incoming_size() > 0, "bytes at the server")
        return process

    @staticmethod
    def write_rest(process, data):
        try:
            process.stdin.write(data)
            process.stdin.close()
        except BrokenPipeError:
            pass  # the client has exited already

    def test_sigterm_lets_a_transfer_finish(self):
        for name in (signal.SIGTERM, signal.SIGINT):
            server = self.serve(store="store")
            process = self.begin_upload(server, 4 * 2**20)
            server.process.send_signal(name)
            wait_until(lambda: self.refuses(server), "the server to stop accepting")
            out, err = process.communicate(bytes(2 * 2**20), timeout=TIMEOUT)
            self.assertEqual(process.returncode, DONE, err)
            self.assertIn(md5(bytes(4 * 2**20)).encode(), out)
            self.assertEqual(server.wait(), DONE)
            self.check_no_temporaries()
            self.assertEqual(self.read("store/%s/stdin" % md5(bytes(4 * 2**20))), bytes(4 * 2**20))
            shutil.rmtree(self.path("store"))

    @staticmethod
    def refuses(server):
        host, port = server.address.rsplit(":", 1)
        try:
            socket.create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            pass  # it is being closed
        return False

    def test_the_grace_period_or_a_second_signal_aborts_a_transfer(self):
        for arguments, signals in ((("--grace", "300ms"), 1), (("--grace", "1h"), 2)):
            server = self.serve(*arguments, store="store")
            process = self.begin_upload(server, 4 * 2**20)
            for _ in range(signals):
                server.terminate()
                wait_until(lambda: self.refuses(server), "the server to stop accepting")
            self.assertEqual(server.wait(), DONE)
            self.check_no_temporaries()
            self.write_rest(process, bytes(2 * 2**20))
            self.assertEqual(process.wait(TIMEOUT), BROKEN)

    def test_an_idle_connection_does_not_delay_the_shutdown(self):
        server = self.serve("--grace", "1h")
        host, port = server.address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=TIMEOUT) as idle:
            idle.sendall(b"LIST_FILES\n")
            stream = idle.makefile("rb")
            stream.readline(), stream.readline()
            server.terminate()
            self.assertTrue(stream.readline().startswith(b"ERROR shutting-down"))
        self.assertEqual(server.wait(), DONE)

    def test_a_restarted_server_removes_temporary_files(self):
        server = self.serve(store="store")
        process = self.begin_upload(server, 4 * 2**20)
        server.kill()
        self.assertGreater(self.incoming_size(), 0)
        self.write_rest(process, bytes(2 * 2**20))
        self.assertEqual(process.wait(TIMEOUT), BROKEN)
        server = self.serve(store="store")
        self.check_no_temporaries()
        self.assertEqual(self.client(server, "list"), b"")

    def test_a_broken_download_leaves_at_most_a_part_file(self):
        server = peer.Server(behaviour=Behaviour(truncate_download=200000))
        self.addCleanup(server.stop)
        id = server.store.add("a/b/large", make_data(300000)).decode()
        part = ".filexfer-%s.part" % id
        for arguments, left in ((("a/b/large",), ["a/b/" + part]), ((id,), []),
                                ((id, "-o", "x"), [part])):
            self.client(server, "download", *arguments, expect=BROKEN)
            found = [os.path.relpath(os.path.join(path, name), self.folder)
                     for path, _, names in os.walk(self.folder) for name in names]
            self.assertEqual(found, left)
            shutil.rmtree(self.folder)
            os.mkdir(self.folder)

    def interrupt(self, server, process):
        self.assertTrue(server.stalled.wait(TIMEOUT))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, INTERRUPTED, err)
        self.assertEqual(os.listdir(self.temporary), [])

    def test_an_interrupted_client_leaves_no_files(self):
        data = make_data(300000)
        for arguments in (("download", "a/b/large"), ("download", md5(data)),
                          ("download", md5(data), "-o", "x"),
                          ("download", md5(data), "-o", "-"), ("simulate", "/etc/passwd")):
            server = peer.Server(behaviour=Behaviour(
                stall_download_after=200000 if "simulate" not in arguments else 1))
            self.addCleanup(server.stop)
            server.store.add("a/b/large", data)
            with self.subTest(arguments=arguments):
                self.interrupt(server, self.start_client(server, *arguments))
                self.assertEqual(os.listdir(self.folder), [])
        self.write("large", bytes(64 * 2**20))
        server = peer.Server(behaviour=Behaviour(stall_upload_after=200000))
        self.addCleanup(server.stop)
        self.interrupt(server, self.start_client(server, "upload", "large"))

    @unittest.skipIf("thread" in os.environ.get("FILEXFER_SANITIZE", ""),
                     "ThreadSanitizer does not deliver a signal to a thread that waits in read()")
    def test_an_interruption_ends_the_wait_for_stdin(self):
        server = self.serve()
        for arguments in (("upload", "-"), ("upload", "-", "--size", "10"),
                          ("upload", "-", "--size", "10000000")):
            process = self.start_client(server, *arguments, stdin=subprocess.PIPE)
            process.stdin.write(b"12345")
            process.stdin.flush()
            wait_until(lambda: unread(process.stdin) == 0, "the client to read its input")
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(TIMEOUT), INTERRUPTED)
            self.assertEqual(os.listdir(self.temporary), [])
        self.assertEqual(self.client(server, "list"), b"")


class Simulation(Case):
    def files(self):
        """Pairs of a name and the bytes of the file."""
        yield "image.png", b"\x89PNG\r\n\x1a\n" + make_data(200000)
        yield "empty", b""
        yield "ends in EOF", make_data(1000) + b"\nEOF"
        yield "EOF", b"EOF"
        yield "dialogue", b"LIST_FILES\nDONE\n\nUPLOAD\nERROR io\n" * 5000
        yield "a b;c%41 \u00e9\u65e5.txt", make_data(65537)
        yield "line\nfeed \x1b[31m", b"x"

    def check(self, out, data, steps):
        text = out.decode()
        numbers = [int(number)
                   for number in re.findall(r"^ ?(\d+)  (?:client|server) ", text, re.M)]
        self.assertEqual(sorted(set(numbers)), list(steps))
        self.assertEqual(numbers, sorted(numbers), "in order")
        self.assertEqual(len(re.findall(r"^MD5 .* %s$" % md5(data), text, re.M)), 3)
        self.assertTrue(text.rstrip("\n").endswith("\nSuccess"))
        self.assertNotIn("Fail", text)
        self.assertNotIn("\x1b", text)
        self.assertIn(" 5  client says: UPLOAD\n", text)
        self.assertIn(" 9  client sends the file: %d bytes\n" % len(data), text)
        self.assertIn("19  server sends the file: %d bytes\n" % len(data), text)

    def test_a_simulation_in_one_process_shows_all_steps(self):
        for name, data in self.files():
            self.write("files/" + name, data)
            for transport in ("memory", "tcp", "unix"):
                with self.subTest(name=name, transport=transport):
                    out = self.run_program("filexfer-simulation", "files/" + name,
                                           "--transport", transport)
                    self.check(out, data, range(1, 23))
        out = self.run_program("filexfer-simulation", "files/image.png").decode()
        self.assertEqual(out.count("\nSuccess\n"), 2)
        self.assertIn("memory", out)
        self.assertIn("127.0.0.1:", out)

    def test_a_simulation_against_a_server_shows_steps_3_to_22(self):
        server = self.serve(store="store")
        for name, data in self.files():
            self.write(name, data)
            for _ in range(2):  # the second time the file is already stored
                out = self.client(server, "simulate", name)
                self.check(out, data, range(3, 23))
        self.assertIn(b" 4  server says: No files available at the moment\n",
                      self.client(self.serve(), "simulate", "EOF"))
        self.client(server, "simulate", "EOF", "-o", "copy")
        self.assertEqual(self.read("copy"), b"EOF")
        self.client(server, "simulate", "EOF", "-o", "copy", expect=LOCAL_FILE)
        os.mkdir(self.path("folder"))
        self.client(server, "simulate", "EOF", "-o", "folder")
        self.assertEqual(self.read("folder/EOF"), b"EOF")

    def test_a_simulation_shows_only_some_of_the_stored_files(self):
        server = self.serve()
        for number in range(30):
            self.write("file %d" % number, b"%d" % number)
        self.client(server, "upload", *("file %d" % number for number in range(30)))
        self.write("one more", HELLO)
        out = self.client(server, "simulate", "one more")
        self.check(out, HELLO, range(3, 23))
        self.assertLess(out.count(b"\n"), 60)

    def test_a_simulation_fails_if_the_file_is_damaged(self):
        for faults, expect in (({"wrong_id": True}, WRONG_DIGEST), ({"flip_byte": 0}, WRONG_DIGEST),
                               ({"truncate_download": 1}, BROKEN)):
            server = peer.Server(behaviour=Behaviour(**faults))
            self.addCleanup(server.stop)
            self.write("a", HELLO)
            out = self.client(server, "simulate", "a", expect=expect).decode()
            self.assertTrue(out.endswith("\nFail\n"), out)
            self.assertIn(HELLO_ID, out)


class Dialogues(Case):
    """Dialogues through nc, whose input is sent as a whole."""

    @unittest.skipUnless(shutil.which("nc"), "there is no nc")
    def test_a_dialogue_through_nc_is_answered(self):
        server = self.serve()
        host, port = server.address.rsplit(":", 1)
        for sent, expected in (
                (b"LIST_FILES\n", b"No files available at the moment\n\n"),
                (b"UPLOAD\r\nhello.txt;5\r\nhelloLIST FILES\r\n",
                 b"Please send the file name and file size\nReady to receive the file\n"
                 b"%s\n%s;hello.txt;5\n\n"
                 % (HELLO_ID.encode(), HELLO_ID.encode())),
                (b"DOWNLOAD\n%s\n" % HELLO_ID.encode(),
                 b"Please send a file ID\n%s;hello.txt;5\nhello" % HELLO_ID.encode()),
                (b"", b"")):
            with self.subTest(sent=sent):
                # Its input stays open until the reply is complete: some nc exit at its end.
                with subprocess.Popen(["nc", host, port], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE) as nc:
                    nc.stdin.write(sent)
                    nc.stdin.flush()
                    received = b""
                    while (len(received) < len(expected)
                           and select.select([nc.stdout], [], [], TIMEOUT)[0]):
                        received += os.read(nc.stdout.fileno(), 65536) or b"(the end)"
                    nc.kill()
                self.assertEqual(received, expected)


class Many(Case):
    def test_concurrent_clients_transfer_their_files_intact(self):
        clients = 16 if SANITIZED else 64
        server = self.serve("--threads", "4", store="store")
        sizes = (0, 1, 65536, 65537, 262144, 1000003, 3 * 2**20)
        shared = {"shared %d" % size: make_data(size, 99) for size in sizes}
        for name, data in shared.items():
            self.write(name, data)
        self.client(server, "upload", *shared)
        rng = random.Random(1)
        processes = []
        for number in range(clients):
            os.mkdir(self.path("out %d" % number))
            mine = "mine %d" % number
            data = make_data(rng.choice(sizes) + number, number)
            self.write(mine, data)
            # Each uploads a file of its own and a shared one, or downloads all shared ones.
            processes.append((self.start_client(server, "upload", mine, rng.choice(list(shared))),
                              None))
            processes.append((self.start_client(server, "download", *shared,
                                                "-o", "out %d" % number), None))
        for process, _ in processes:
            _, err = process.communicate(timeout=4 * TIMEOUT)
            self.assertEqual(process.returncode, DONE, err)
        downloads = [self.start_client(server, "download", "mine %d" % number,
                                       "-o", "out %d" % number)
                     for number in range(clients)]
        for process in downloads:
            _, err = process.communicate(timeout=4 * TIMEOUT)
            self.assertEqual(process.returncode, DONE, err)
        for number in range(clients):
            for name in [*shared, "mine %d" % number]:
                self.assertTrue(filecmp.cmp(self.path(name), self.path("out %d" % number, name),
                                            shallow=False), name)
        self.assertEqual(len(self.client(server, "list").splitlines()), clients + len(sizes))
        server.terminate()
        self.assertEqual(server.wait(), DONE)
        self.check_no_temporaries()
        for folder, _, files in os.walk(self.path("store")):
            for name in files:
                with open(os.path.join(folder, name), "rb") as file:
                    self.assertEqual(hashlib.md5(file.read()).hexdigest(), os.path.basename(folder))


if __name__ == "__main__":
    peer.run_tests("filexfer-server", "filexfer-client", "filexfer-simulation")
