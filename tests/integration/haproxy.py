"""A real HAProxy that forwards connections of 127.0.0.1 to a server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import unittest
from typing import Dict

from waiting import TIMEOUT, wait_until

# What it connects from, and where its clients' addresses must not come from.
SOURCE = "127.0.0.3"


class Haproxy:
    """`address` is where its clients connect to."""

    def __init__(self, folder: str, server: str, *options: str):
        """`server` is HOST:PORT, `options` are those of HAProxy's line `server`. Raises SkipTest
        where there is no HAProxy. `folder` must outlive this."""
        program = shutil.which("haproxy", path=os.pathsep.join(
            (os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin")))
        if not program:
            raise unittest.SkipTest("there is no haproxy")
        self.control = os.path.join(folder, "haproxy.socket")
        config = os.path.join(folder, "haproxy.cfg")
        self.log_file = os.path.join(folder, "haproxy.log")
        with socket.create_server(("127.0.0.1", 0)) as listener, open(self.log_file, "wb") as log:
            self.address = "127.0.0.1:%d" % listener.getsockname()[1]
            with open(config, "w", encoding="utf-8") as file:
                file.write("\n".join((
                    "global", "  stats socket %s" % self.control,
                    "defaults", "  mode tcp", "  timeout connect 10s", "  timeout client 60s",
                    "  timeout server 60s",
                    "listen filexfer", "  bind fd@%d" % listener.fileno(),
                    "  server one %s source %s %s" % (server, SOURCE, " ".join(options)), "")))
            self.process = subprocess.Popen([program, "-db", "-f", config],
                                            pass_fds=(listener.fileno(),),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until(self.answers, "haproxy")
        except BaseException:
            self.stop()
            raise

    def log(self) -> str:
        with open(self.log_file, encoding="utf-8", errors="backslashreplace") as file:
            return file.read()

    def answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError("haproxy ended; its log:\n" + self.log())
        try:
            self.server_state()
        except (FileNotFoundError, ConnectionError):
            return False
        return True

    def server_state(self) -> Dict[str, str]:
        """What it knows of the server: a row of its statistics."""
        with socket.socket(socket.AF_UNIX) as end:
            end.settimeout(TIMEOUT)
            end.connect(self.control)
            end.sendall(b"show stat\n")
            lines = end.makefile(encoding="utf-8").read().lstrip("# ").splitlines()
        names = lines[0].split(",")
        rows = [dict(zip(names, line.split(","))) for line in lines[1:] if line]
        return next(row for row in rows if row["svname"] == "one")

    def wait_for_status(self, status: str) -> None:
        wait_until(lambda: self.server_state()["status"] == status, "status " + status)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
