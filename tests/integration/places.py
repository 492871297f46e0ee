"""Room for tests that move much."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Optional


def folder_with(size: int) -> Optional[str]:
    """A new folder where so many bytes are free, in memory if it can be; else None."""
    for place in ("/dev/shm", tempfile.gettempdir()):
        try:
            if os.access(place, os.W_OK) and shutil.disk_usage(place).free >= size:
                return tempfile.mkdtemp(prefix="filexfer-", dir=place)
        except OSError:
            pass
    return None
