"""The programs of this project, in the folder FILEXFER_BIN, and servers that run."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import unittest
from typing import Callable, List, Optional, Sequence

from peer import Client
from waiting import TIMEOUT


def path_of(name: str) -> str:
    """The path of a program, "" if it was not built."""
    folder = os.environ.get("FILEXFER_BIN")
    path = os.path.abspath(os.path.join(folder, name)) if folder else ""
    return path if path and os.access(path, os.X_OK) else ""


def restore_signals() -> None:
    # A test run in the background may have been started with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def run_tests(*needed: str, limit: float = 500) -> None:
    """unittest.main for a script that needs these programs; exits with 77 (skipped) without."""
    missing = [name for name in needed if not path_of(name)]
    if missing:
        print("skipped: %s not found, FILEXFER_BIN names no folder with it" % ", ".join(missing))
        sys.exit(77)
    # A test that hangs prints a traceback before ctest ends it.
    faulthandler.dump_traceback_later(limit, exit=True)
    unittest.main(module="__main__", verbosity=2)


# Stops itself, and runs the command behind it once it gets SIGCONT.
HOLD = ("sh", "-c", 'kill -STOP $$; exec "$@"', "hold")


class ServerProcess:
    """A running filexfer-server, or another program with its options, on a free port of 127.0.0.1.

    `lines` are those that it printed, `addresses` what they name, `address` the first.
    """

    def __init__(self, *arguments: str, store: Optional[str] = "memory",
                 listen: Sequence[str] = ("127.0.0.1:0",), name: str = "filexfer-server",
                 cwd: Optional[str] = None, prepare: Optional[Callable[[], object]] = None,
                 held: bool = False, wrapper: Sequence[str] = ()):
        """`prepare` is called in the new process. None as the store leaves out the option. One that
        is `held` is stopped before it runs, until it gets SIGCONT: read_addresses() is left to do.
        `wrapper` is a command that executes the program in its own process, such as strace -D."""
        def before() -> None:
            restore_signals()
            if prepare:
                prepare()

        command = [*(HOLD if held else ()), *wrapper, path_of(name)]
        for address in listen:
            command += ["--listen", address]
        if store is not None:
            command += ["--store", store]
        self.log_file = tempfile.TemporaryFile()
        # Unbuffered, so that select() sees each line.
        self.process = subprocess.Popen([*command, *arguments], cwd=cwd, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, bufsize=0, stderr=self.log_file,
                                        preexec_fn=before)
        self.listens_on = len(listen)
        if not held:
            self.read_addresses()

    def read_addresses(self) -> None:
        self.lines = [self._read_line() for _ in range(self.listens_on)]
        self.addresses = [line[len("listening on "):-1] for line in self.lines]
        self.address = self.addresses[0]

    def _read_line(self) -> str:
        assert self.process.stdout
        readable, _, _ = select.select([self.process.stdout], [], [], TIMEOUT)
        line = self.process.stdout.readline().decode() if readable else ""
        if not re.fullmatch(r"listening on (\S+:[1-9]\d*|unix:.+)\n", line):
            self.kill()
            raise AssertionError("the server printed %r instead of an address; its log:\n%s"
                                 % (line, self.log()))
        return line

    def client(self, timeout: float = 15) -> Client:
        return Client(self.address, timeout=timeout)

    def log(self) -> str:
        self.log_file.seek(0)
        return self.log_file.read().decode("utf-8", "surrogateescape")

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def open_files(self) -> List[str]:
        """The paths of the files that it has open."""
        folder = "/proc/%d/fd" % self.process.pid
        paths = []
        for number in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # if it was closed meanwhile
                paths.append(os.readlink(os.path.join(folder, number)))
        return paths

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """The exit code; raises AssertionError unless it printed only its addresses."""
        try:
            rest, _ = self.process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the server does not end; its log:\n" + self.log()) from None
        if rest:
            raise AssertionError("the server printed %r" % rest)
        return self.process.returncode

    def stop(self) -> None:
        """SIGTERM; raises AssertionError unless it exits with 0 and printed only its addresses."""
        self.terminate()
        code = self.wait()
        if code != 0:
            raise AssertionError("the server exited with %d; its log:\n%s" % (code, self.log()))

    def close(self) -> None:
        """Stops it, unless its end was waited for already."""
        try:
            if self.process.returncode is None:
                self.stop()
        finally:
            self.log_file.close()

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None and self.process.returncode is None:
            self.kill()
        self.close()
