"""Files in memory, for the server in peer_server.py."""

from __future__ import annotations

import threading
from typing import Dict, List, Optional, Tuple

from peer_wire import Malformed, Text, md5, to_bytes


class Store:
    """Files in memory: bytes by id, and the pairs (name, id) that the list shows."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.data: Dict[bytes, bytes] = {}
        self.names: List[Tuple[bytes, bytes]] = []

    def add(self, name: Text, data: bytes) -> bytes:
        """Store bytes; raises Malformed `collision` if other bytes have the same id."""
        id = md5(data).encode("ascii")
        with self.lock:
            if self.data.setdefault(id, data) != data:
                raise Malformed("collision", "other bytes have this id")
            self._name(to_bytes(name), id)
        return id

    def add_name(self, name: bytes, id: bytes, size: int) -> bool:
        """Add a name to a stored file; False if it is not stored."""
        with self.lock:
            if id not in self.data or len(self.data[id]) != size:
                return False
            self._name(name, id)
            return True

    def _name(self, name: bytes, id: bytes) -> None:
        if (name, id) not in self.names:
            self.names.append((name, id))

    def entries(self) -> List[Tuple[bytes, bytes, int]]:
        with self.lock:
            return [(id, name, len(self.data[id])) for name, id in self.names]

    def find(self, id: bytes) -> Optional[Tuple[bytes, bytes]]:
        """One of the names, and the bytes; None if the id is unknown."""
        with self.lock:
            for name, named in self.names:
                if named == id:
                    return name, self.data[id]
        return None

    def content(self) -> Dict[bytes, bytes]:
        """Bytes by name, for stores in which each name occurs once."""
        with self.lock:
            return {name: self.data[id] for name, id in self.names}
