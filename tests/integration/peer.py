"""A second implementation of the filexfer protocol, written from its text alone.

It shares nothing with the library, not even the hasher, so that a mistake that both ends of the
library make alike is found here. It needs only the standard library of Python 3.9.

Client  (peer_client.py) a blocking client that checks every byte that the protocol fixes.
Server  (peer_server.py) a threaded server that notes each breach of a client, and breaks the
        protocol itself on request.

test_peers.py runs the two against each other.
"""

# The tests import these from here.
from peer_behaviour import Behaviour  # noqa: F401
from peer_client import Client  # noqa: F401
from peer_server import Server  # noqa: F401
from peer_wire import (  # noqa: F401
    CHUNK, EMPTY_STORE_WORDS, LIST_COMMANDS, DigestMismatch, EndOfStream, Refused, Violation,
    decode_name, escape, md5)
