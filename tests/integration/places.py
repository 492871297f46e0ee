"""Temporary folders for tests that need much space."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Optional


def folder_with_space(size: int) -> Optional[str]:
    """Creates a folder with `size` bytes free, in memory if possible; None if there is none."""
    for place in ("/dev/shm", tempfile.gettempdir()):
        try:
            if os.access(place, os.W_OK) and shutil.disk_usage(place).free >= size:
                return tempfile.mkdtemp(prefix="filexfer-", dir=place)
        except OSError:
            pass
    return None
