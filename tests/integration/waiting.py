"""How long the tests wait for other processes."""

from __future__ import annotations

import os
import time
from typing import Callable

# Sanitizers make everything slow.
SANITIZED = bool(os.environ.get("FILEXFER_SANITIZE"))
TIMEOUT = 120 if SANITIZED else 60


def wait_until(condition: Callable[[], object], event: str) -> None:
    """Waits for an effect of another process."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain: " + event)
        time.sleep(0.005)
