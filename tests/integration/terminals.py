"""What a program on a pseudo-terminal writes."""

from __future__ import annotations

import errno
import os
from typing import Iterator


def chunks_from(master: int) -> Iterator[bytes]:
    """What was written, as it comes, until nobody has the other end open."""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return
        if not chunk:
            return
        yield chunk
