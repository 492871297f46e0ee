"""A real sshd on a port of the loopback, which lets in whoever runs the test, with a key made for it."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import unittest
from typing import Optional

from test_programs import PATIENCE, until

PROGRAMS = "ssh", "ssh-keygen", "sshd"

# What sshd insists on when root starts it. Its package's service makes this folder, too.
PRIVILEGE_SEPARATION = "/run/sshd"


def found(name: str) -> Optional[str]:
    """The absolute path, without which sshd does not start itself again for each connection."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin")))


class Sshd:
    """`command` is what leads there, for a shell; a command for the far side stands behind it."""

    def __init__(self, folder: str):
        """Raises SkipTest where nobody can log in. `folder` is to be empty and to outlive this."""
        missing = [name for name in PROGRAMS if not found(name)]
        if missing:
            raise unittest.SkipTest("there is no " + ", ".join(missing))
        self.folder = folder
        for key in ("host", "user"):
            subprocess.run([found("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", self.path(key)], check=True)
        try:
            if os.geteuid() == 0:
                os.makedirs(PRIVILEGE_SEPARATION, 0o755, exist_ok=True)
        except OSError as error:
            raise unittest.SkipTest("sshd's folder: %s" % error) from None
        # Without PAM there is no login to an account that is locked, as root's may be.
        why = []
        for pam in ("no", "yes"):
            self.start(pam)
            login = subprocess.run(self.command + "true", shell=True, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=PATIENCE)
            if login.returncode == 0:
                return
            self.stop()
            why.append("UsePAM %s: %s%s" % (pam, login.stderr.decode(), self.log()))
        raise unittest.SkipTest("no login over ssh here: " + "\n".join(why))

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def log(self) -> str:
        with open(self.path("log"), encoding="utf-8", errors="backslashreplace") as file:
            return file.read()

    def start(self, pam: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with open(self.path("config"), "w", encoding="utf-8") as file:
            file.write("\n".join((
                "ListenAddress 127.0.0.1:%d" % port, "HostKey " + self.path("host"), "PidFile none", "UsePAM " + pam,
                "AuthorizedKeysFile " + self.path("user.pub"), "StrictModes no", "PermitRootLogin yes", "")))
        with open(self.path("log"), "wb") as log:
            self.process = subprocess.Popen([found("sshd"), "-D", "-e", "-f", self.path("config")],
                                            stdin=subprocess.DEVNULL, stderr=log)
        until(lambda: "Server listening" in self.log() or self.process.poll() is not None, "sshd")
        self.command = " ".join((
            "ssh", "-F", "none", "-p", "%d" % port, "-i", shlex.quote(self.path("user")), "-o", "IdentitiesOnly=yes",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "BatchMode=yes", "127.0.0.1", ""))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
