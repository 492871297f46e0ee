"""Names and bytes of the files that the tests transfer."""

from __future__ import annotations

import random

from peer import md5

KIB = 2**10
MIB = 2**20

HELLO = b"hello"
HELLO_ID = md5(HELLO)

# Files of one folder.
NAMES = ("plain.txt", "a b", " leading", "trailing ", "a;b%c", "100%;", "%41", "été.txt", "日本語.txt",
         "line\nfeed", "carriage\rreturn", "tab\there", "escape\x1b[31m", "c1 \u009b31m",
         "turn \u202e round", "a\x7fb", "back\\slash", "C:\\x", "'quoted \"", "$HOME `id`",
         ".hidden", "...", "-dash", "--force", "ERROR io", "EOF", "[brackets]", "[a,b]", "[]", "{}",
         "{a,b}", "list", "memory", "unix:x", "0" * 31, "n" * 255)


def make_data(size: int, seed: int = 0) -> bytes:
    """Bytes that look random, always the same for a size and a seed."""
    return random.Random("%d %d" % (size, seed)).getrandbits(8 * size).to_bytes(size, "little")
