"""The base of the tests that run the programs: a working folder, and clients and servers in it."""

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import unittest

import programs
from exit_codes import DONE, INTERRUPTED, WRONG_DIGEST
from peer import Behaviour, Server
from places import folder_with_space, temporary_files
from programs import ServerProcess
from relays import Relay
from waiting import TIMEOUT, wait_until


def address_of(server):
    """`server` is its address, or whatever has one: a server or a relay."""
    return server if isinstance(server, str) else server.address


def unread(pipe):
    """How many bytes the reader of the pipe has not read yet."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))[0]


# For tests that interrupt a client while it waits for its standard input.
skip_with_tsan = unittest.skipIf(
    "thread" in os.environ.get("FILEXFER_SANITIZE", ""),
    "ThreadSanitizer does not deliver a signal to a thread that waits in read() or poll()")


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
        # Clients note unfinished uploads here, not in the home of whoever runs the tests.
        self.state = tempfile.mkdtemp(prefix="filexfer-state-")
        self.addCleanup(shutil.rmtree, self.state)
        self.environment = dict(os.environ, TMPDIR=self.temporary, HOME=self.state,
                                XDG_STATE_HOME=self.state)

    # Files

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

    def files_below(self, folder=""):
        return sorted(os.path.relpath(os.path.join(path, name), self.path(folder))
                      for path, _, names in os.walk(self.path(folder)) for name in names)

    def check_no_temporaries(self, store="store"):
        self.assertEqual(temporary_files(self.path(store)), [])

    def incoming_size(self, store="store"):
        """Size of the temporary files of the store."""
        try:
            return sum(os.stat(file).st_size for file in temporary_files(self.path(store)))
        except FileNotFoundError:
            return 0

    # Servers

    def serve(self, *arguments, **keywords):
        """A filexfer-server, with ServerProcess's arguments."""
        server = ServerProcess(*arguments, cwd=self.folder, **keywords)
        self.addCleanup(server.close)
        return server

    def start_peer(self, features=False, max_size=None, **behaviour):
        """The server of peer.py, which breaks the protocol as Behaviour's fields say."""
        server = Server(features=features, max_size=max_size, behaviour=Behaviour(**behaviour))
        self.addCleanup(server.stop)
        return server

    def start_relay(self, server, *cut_after):
        """A relay to the server, which cuts its connections after these numbers of bytes."""
        relay = Relay(address_of(server))
        self.addCleanup(relay.close)
        relay.cut_after = list(cut_after)
        return relay

    # Programs that run to their end

    def command_line(self, name, arguments):
        options = self.retry_options if name == "filexfer-client" else ()
        return [programs.path_of(name), *options, *arguments]

    def run_program(self, name, *arguments, expect=DONE, stdin=b"", **keywords):
        """Returns stdout; stderr is in `self.stderr`. `expect` is an exit code or several."""
        result = subprocess.run(self.command_line(name, arguments), cwd=self.folder, input=stdin,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT,
                                env=self.environment, preexec_fn=programs.restore_signals,
                                **keywords)
        self.stderr = result.stderr.decode("utf-8", "surrogateescape")
        self.assertIn(result.returncode, expect if isinstance(expect, tuple) else (expect,),
                      "%s %s\n%s\n%s" % (name, arguments, result.stdout.decode("utf-8", "replace"),
                                         self.stderr))
        if result.returncode in (DONE, WRONG_DIGEST):
            self.assertNotIn("terminate", self.stderr)
        else:
            self.assertNotEqual(self.stderr, "", "no message")
        self.assertEqual(os.listdir(self.temporary), [], "left in TMPDIR")
        return result.stdout

    def client(self, server, *arguments, **keywords):
        return self.run_program("filexfer-client", "--server", address_of(server), *arguments,
                                **keywords)

    # Programs that run beside the test

    def start_program(self, name, *arguments, **keywords):
        return self.start_command(self.command_line(name, arguments), **keywords)

    def start_command(self, command, **keywords):
        keywords = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE,
                    "stderr": subprocess.PIPE, **keywords}
        process = subprocess.Popen(command, cwd=self.folder, env=self.environment,
                                   preexec_fn=programs.restore_signals, **keywords)
        self.addCleanup(self.end_process, process)
        return process

    def start_client(self, server, *arguments, stdin=subprocess.DEVNULL, **keywords):
        return self.start_program("filexfer-client", "--server", address_of(server), *arguments,
                                  stdin=stdin, **keywords)

    @staticmethod
    def end_process(process):
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream and not stream.closed:
                stream.close()
        if process.poll() is None:
            process.kill()
            process.wait()

    def interrupt(self, server, process):
        """Interrupts a client as soon as the peer stalls; returns its stdout and stderr."""
        self.assertTrue(server.stalled.wait(TIMEOUT))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, INTERRUPTED, out + err)
        self.assertEqual(os.listdir(self.temporary), [], "left in TMPDIR")
        return out, err

    def interrupt_reading(self, process):
        """Interrupts a client that waits for the rest of its standard input."""
        process.stdin.write(b"12345")
        process.stdin.flush()
        wait_until(lambda: unread(process.stdin) == 0, "the client to read its input")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(TIMEOUT), INTERRUPTED)
        self.assertEqual(os.listdir(self.temporary), [], "left in TMPDIR")
