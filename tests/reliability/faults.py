"""Lets calls of a program fail or hang, by the library filexfer-faults (faults.cpp)."""

from __future__ import annotations

import errno
import mmap
import os
import struct

import integration_path  # noqa: F401
import programs

# In the order of the enumeration in faults.cpp.
CALLS = ("write", "pread", "fsync", "open", "close", "mkdir", "link", "rename", "unlink", "ftruncate",
         "fchmod", "futimens", "stat", "flock", "getdents", "lseek", "sendfile", "epoll_wait")
EVERY, NONE = 0, -1  # instead of a number
WAYS = {"short": 0, "lie": -1, "stall": -2}  # instead of an error

LIBRARY = "libfilexfer-faults.so"


class Faults:
    """What the library in a process shares with this one."""

    def __init__(self, folder: str):
        self.path = os.path.join(folder, "faults")
        size = 4 * (5 + len(CALLS))
        with open(self.path, "wb+") as file:
            file.truncate(size)
            self.shared = mmap.mmap(file.fileno(), size)
        self.times = 0  # armed

    def preload(self) -> None:
        """In a new process, before its program is run."""
        os.environ.update(LD_PRELOAD=programs.path_of(LIBRARY), FILEXFER_FAULTS=self.path)

    def arm(self, call: str, number: int, way: str) -> None:
        """From now on, the call of that number, counted from 1, ends that way."""
        code = WAYS[way] if way in WAYS else getattr(errno, way)
        self.disarm()
        struct.pack_into("%di" % (4 + len(CALLS)), self.shared, 4, CALLS.index(call), number, code,
                         0, *[0] * len(CALLS))
        self.times += 1
        struct.pack_into("i", self.shared, 0, self.times)

    def disarm(self) -> None:
        struct.pack_into("i", self.shared, 0, 0)

    def struck(self) -> bool:
        return struct.unpack_from("i", self.shared, 16)[0] != 0

    def count(self, call: str) -> int:
        return struct.unpack_from("i", self.shared, 20 + 4 * CALLS.index(call))[0]
