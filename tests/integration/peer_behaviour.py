"""How the server in peer_server.py differs from a default one."""

from __future__ import annotations

import dataclasses
from typing import Callable, Optional, Sequence


@dataclasses.dataclass
class Behaviour:
    """How a Server differs from a default one.

    A point is the line that the server is about to send: "feature", "upload-prompt",
    "ready", "id", "download-prompt", "entry", "list-words", "list-entry", "list-end".
    """

    # Variations that a client must accept.
    crlf: bool = False
    upper_ids: bool = False
    other_words: bool = False
    byte_by_byte: bool = False
    extra_features: Sequence[bytes] = ()
    extra_parameters: bytes = b""  # on the ready line and on entries

    # Errors of the protocol.
    busy: bool = False
    refuse_upload: Optional[bytes] = None  # the ERROR's code and text, to the details line
    refuse_download: Optional[bytes] = None  # the same, to the id line
    fail_upload_after: Optional[int] = None  # ERROR no-space after that many bytes, and close
    fail_list_after: Optional[int] = None  # ERROR io after that many entries

    # Breaches.
    wrong_id: bool = False  # in the last line of an upload
    wrong_entry_id: bool = False  # in the entry line of a download
    flip_byte: Optional[int] = None  # its index in the bytes of a download
    truncate_download: Optional[int] = None  # close after that many bytes
    hostile_name: Optional[bytes] = None  # as written on the wire, in every entry
    overlong_at: Optional[str] = None
    close_at: Optional[str] = None  # "connect", or in place of the line
    cut_at: Optional[str] = None  # in the middle of the line
    rewrite: Optional[Callable[[str, bytes], bytes]] = None  # (point, line) to the line sent

    # Silence after that many bytes: the server sets `stalled` and waits for `release`.
    stall_download_after: Optional[int] = None
    stall_upload_after: Optional[int] = None
