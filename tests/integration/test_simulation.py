#!/usr/bin/env python3
"""The simulation of the dialogue, with files that are difficult to transfer.

An image, an empty file, one of 1 GiB, one that ends in EOF, and names with blanks, `;`,
`%` and non-ASCII letters: each is uploaded and downloaded over a pipe in memory, TCP and a
Unix socket, in one process and against a server. Each time the output must show all steps
and three equal digests, and the copy must equal the file.
"""

import filecmp
import hashlib
import os
import random
import shutil
import struct
import zlib

import peer
import programs
from contents import MIB
from peer import md5
from places import folder_with_space
from program_case import Case
from simulated import check_simulation
from waiting import SANITIZED

GIB = 2**30


def png(width=300, height=200):
    """A valid image: noise on a ramp."""
    def chunk(kind, data):
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))

    noise = random.Random(1)
    rows = (b"\0" + bytes((x + noise.randrange(32)) % 256 for x in range(3 * width))
            for _ in range(height))
    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b""))


FILES = {
    "image.png": png(),
    "empty": b"",
    "ends in EOF": b"The original design ended files so.\nEOF",
    "EOF twice": b"EOF\n" + bytes(100_000) + b"\nEOF\nEOF",
    "semi;colon": b"a;b;c\n",
    "100% %3B %41.txt": b"%00",
    "Grüße, 世界; 50% Ελλάδα.txt": "Grüße\n".encode() * 20_000,
    " blanks  around ": b" ",
}


class Simulations(Case):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("files"))
        for name, data in FILES.items():
            self.write("files/" + name, data)

    def test_a_simulation_in_one_process_shows_all_steps_and_equal_digests(self):
        for name, data in FILES.items():
            for transport in ("memory", "tcp", "unix"):
                with self.subTest(name=name, transport=transport):
                    out = self.run_program("filexfer-simulation", "--transport", transport,
                                           "files/" + name)
                    check_simulation(self, out, name, len(data), md5(data), range(1, 23))

    def test_a_simulation_against_a_server_returns_the_file(self):
        for store in ("memory", "store"):
            server = self.serve(store=store, listen=("127.0.0.1:0", "unix:socket"))
            for name, data in FILES.items():
                for address in server.addresses:
                    with self.subTest(name=name, store=store, address=address):
                        out = self.client(address, "simulate", "files/" + name, "-o", "copy")
                        check_simulation(self, out, name, len(data), md5(data),
                                   range(3, 23))
                        self.assertEqual(self.read("copy"), data)
                        os.remove(self.path("copy"))
            listed = [line.split(b";")[1] for line in self.client(server, "list").splitlines()]
            self.assertEqual(sorted(listed), sorted(peer.escape(name) for name in FILES))
            server.stop()
        self.check_no_temporaries()


class Large(Case):
    """1 GiB: more than any buffer, and half of the range of a signed 32-bit integer."""

    SIZE = GIB // 16 if SANITIZED else GIB

    def setUp(self):
        super().setUp()
        # The copy and the stored file need space; the original is sparse.
        folder = folder_with_space(3 * self.SIZE)
        if not folder:
            self.skipTest("no folder with 3 GiB free")
        self.addCleanup(shutil.rmtree, folder)
        self.folder = folder
        self.temporary = self.path("tmp")
        os.mkdir(self.temporary)
        self.environment["TMPDIR"] = self.temporary
        with open(self.path("large;1 GiB"), "wb") as file:
            file.truncate(self.SIZE)
            for position in range(0, self.SIZE, 50_000_017):
                file.seek(position)
                file.write(b"bytes at %d" % position)
            file.seek(self.SIZE - 4)
            file.write(b"\nEOF")
        self.id = hashlib.md5()
        with open(self.path("large;1 GiB"), "rb") as file:
            while chunk := file.read(MIB):
                self.id.update(chunk)
        self.id = self.id.hexdigest()

    def test_a_file_of_1_gib_is_returned_unchanged(self):
        for transport in ("memory", "tcp", "unix"):
            with self.subTest(transport=transport):
                out = self.run_program("filexfer-simulation", "--transport", transport,
                                       "large;1 GiB")
                check_simulation(self, out, "large;1 GiB", self.SIZE, self.id, range(1, 23))
        out = self.client(self.serve(store="store"), "simulate", "large;1 GiB", "-o", "copy")
        check_simulation(self, out, "large;1 GiB", self.SIZE, self.id, range(3, 23))
        self.assertTrue(filecmp.cmp(self.path("large;1 GiB"), self.path("copy"), shallow=False))


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client", "filexfer-simulation")
