"""A real sshd on a loopback port that accepts the current user with a key made for the test."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import unittest
from typing import Optional

from addresses import unused_address
from waiting import TIMEOUT, wait_until

PROGRAMS = "ssh", "ssh-keygen", "sshd"

# sshd needs this folder if root starts it; its package's service creates it, too.
PRIVILEGE_SEPARATION = "/run/sshd"


def found(name: str) -> Optional[str]:
    """The absolute path: sshd needs one to re-execute itself for each connection."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin",
                                                    "/usr/local/sbin")))


class Sshd:
    """`command` is an ssh command line for a shell, to which the remote command is appended."""

    def __init__(self, folder: str):
        """Raises SkipTest where no login is possible. `folder` must be empty and outlive this."""
        missing = [name for name in PROGRAMS if not found(name)]
        if missing:
            raise unittest.SkipTest("there is no " + ", ".join(missing))
        self.folder = folder
        for key in ("host", "user"):
            subprocess.run([found("ssh-keygen"), "-q", "-t", "ed25519", "-N", "",
                            "-f", self.path(key)], check=True)
        try:
            if os.geteuid() == 0:
                os.makedirs(PRIVILEGE_SEPARATION, 0o755, exist_ok=True)
        except OSError as error:
            raise unittest.SkipTest("sshd's folder: %s" % error) from None
        # Without PAM a locked account, as root's may be, can't log in.
        errors = []
        for pam in ("no", "yes"):
            self.start(pam)
            login = subprocess.run(self.command + "true", shell=True, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   timeout=TIMEOUT)
            if login.returncode == 0:
                return
            self.stop()
            errors.append("UsePAM %s: %s%s" % (pam, login.stderr.decode(), self.log()))
        raise unittest.SkipTest("no login over ssh here: " + "\n".join(errors))

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def log(self) -> str:
        with open(self.path("log"), encoding="utf-8", errors="backslashreplace") as file:
            return file.read()

    def start(self, pam: str) -> None:
        port = unused_address().rsplit(":", 1)[1]
        with open(self.path("config"), "w", encoding="utf-8") as file:
            file.write("\n".join((
                "ListenAddress 127.0.0.1:" + port, "HostKey " + self.path("host"), "PidFile none",
                "UsePAM " + pam,
                "AuthorizedKeysFile " + self.path("user.pub"), "StrictModes no",
                "PermitRootLogin yes", "")))
        with open(self.path("log"), "wb") as log:
            self.process = subprocess.Popen([found("sshd"), "-D", "-e", "-f", self.path("config")],
                                            stdin=subprocess.DEVNULL, stderr=log)
        wait_until(lambda: "Server listening" in self.log() or self.process.poll() is not None,
                   "sshd")
        self.command = " ".join((
            "ssh", "-F", "none", "-p", port, "-i", shlex.quote(self.path("user")),
            "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
            "127.0.0.1", ""))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
