"""Landlock, on which the server's sandbox stands."""

import ctypes
import os

_CREATE_RULESET = 444
_RETURN_VERSION = 1


def version() -> int:
    """The version of the kernel's interface; -1, and errno, if it has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _RETURN_VERSION)


def why_no_sandbox() -> str:
    """Why a server can't have a sandbox here; empty if it can."""
    found = version()
    if found < 0:
        return "this kernel has no Landlock: " + os.strerror(ctypes.get_errno())
    return "" if found >= 2 else "this kernel's Landlock is too old: version %d" % found
