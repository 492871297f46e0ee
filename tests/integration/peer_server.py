"""A threaded server on 127.0.0.1, with its files in memory, by default without FEATURES.

It notes each breach of a client in `violations`, and breaks the protocol itself where its
Behaviour says so.
"""

from __future__ import annotations

import select
import socket
import threading
from typing import List, Optional, Tuple

from peer_behaviour import Behaviour
from peer_session import Session
from peer_store import Store


class Server:
    """Serves until stopped: `with Server() as server: ... server.address`."""

    def __init__(self, features: bool = False, max_size: Optional[int] = None,
                 behaviour: Optional[Behaviour] = None, timeout: float = 20):
        self.features = features
        self.max_size = max_size
        self.behaviour = behaviour or Behaviour()
        self.timeout = timeout
        self.store = Store()
        self.violations: List[str] = []
        self.log: List[Tuple[str, object]] = []  # ("command", line), ("details", line), ...
        self.stalled = threading.Event()
        self.release = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._wake, self._waker = socket.socketpair()
        self._lock = threading.Lock()
        self._sessions: List[Tuple[threading.Thread, Session]] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    @property
    def address(self) -> str:
        return "127.0.0.1:%d" % self.port

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End every connection and wait for its thread."""
        self.release.set()
        self._waker.close()
        self._acceptor.join()
        for _, session in self._sessions:
            session.abort()
        self.wait()
        self._listener.close()
        self._wake.close()

    def wait(self) -> None:
        """Wait until every connection so far has ended; violations and log are then complete."""
        with self._lock:
            sessions = list(self._sessions)
        for thread, _ in sessions:
            thread.join()

    def logged(self, kind: str) -> List[object]:
        return [value for name, value in self.log if name == kind]

    def _accept(self) -> None:
        while True:
            ready, _, _ = select.select([self._listener, self._wake], [], [])
            if self._wake in ready:
                return
            sock, _ = self._listener.accept()
            sock.settimeout(self.timeout)
            session = Session(self, sock)
            thread = threading.Thread(target=session.run, daemon=True)
            with self._lock:
                self._sessions.append((thread, session))
            thread.start()
