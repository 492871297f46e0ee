"""Certificates for servers that listen on tls:HOST:PORT."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Sequence

import programs

# Kinds of keys.
ELLIPTIC = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
RSA = ("rsa:2048",)

WITHOUT_TLS = not shutil.which("openssl") or b"without TLS" in subprocess.run(
    [programs.path_of("filexfer-client") or "true", "--server", "tls:localhost:1", "list"],
    capture_output=True).stderr
WHY_WITHOUT_TLS = "the programs were built without TLS, or there is no openssl command"


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def issue(path: str, authority: str, days: int = 2) -> None:
    """Makes `path`.crt for this host, signed with `authority`.key, and `path`.key. It has expired
    if `days` is negative."""
    with open(path + ".extensions", "w") as file:
        file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    _openssl("req", "-newkey", *ELLIPTIC, "-nodes", "-subj", "/CN=" + os.path.basename(path),
             "-keyout", path + ".key", "-out", path + ".csr")
    _openssl("x509", "-req", "-in", path + ".csr", "-CA", authority + ".crt",
             "-CAkey", authority + ".key", "-CAcreateserial", "-days", str(days),
             "-extfile", path + ".extensions", "-out", path + ".crt")


def certificate(path: str, *alternatives: str, key: Sequence[str] = ELLIPTIC) -> None:
    """Makes `path`.crt, signed by itself, and `path`.key."""
    _openssl("req", "-x509", "-newkey", *key, "-nodes", "-days", "2", "-subj", "/CN=" + os.path.basename(path),
             "-addext", "subjectAltName=" + ",".join(alternatives), "-keyout", path + ".key",
             "-out", path + ".crt")
