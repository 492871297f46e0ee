"""Temporary folders for tests that need much space, and the temporary files of stores."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import List, Optional


def folder_with_space(size: int) -> Optional[str]:
    """Creates a folder with `size` bytes free, in memory if possible; None if there is none."""
    for place in ("/dev/shm", tempfile.gettempdir()):
        try:
            if os.access(place, os.W_OK) and shutil.disk_usage(place).free >= size:
                return tempfile.mkdtemp(prefix="filexfer-", dir=place)
        except OSError:
            pass
    return None


def temporary_files(store: str) -> List[str]:
    """Paths of the files that arrive in a store: those in .incoming, and those without a name."""
    incoming = os.path.join(os.path.abspath(store), ".incoming")
    found = [os.path.join(incoming, name) for name in os.listdir(incoming)]
    for process in filter(str.isdigit, os.listdir("/proc")):
        folder = os.path.join("/proc", process, "fd")
        try:
            for descriptor in os.listdir(folder):
                path = os.path.join(folder, descriptor)
                if os.readlink(path).startswith(incoming + "/#"):
                    found.append(path)
        except OSError:  # it has ended or belongs to somebody else, or the file was closed
            pass
    return found
