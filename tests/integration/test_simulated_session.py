#!/usr/bin/env python3
"""The simulated session: its steps, and how it fails.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os

import programs
from contents import HELLO, HELLO_ID, make_data
from exit_codes import BROKEN, LOCAL_FILE, WRONG_DIGEST
from peer import md5
from program_case import Case
from simulated import check_simulation


class Simulation(Case):
    def files(self):
        """Pairs of a name and the bytes of the file."""
        yield "image.png", b"\x89PNG\r\n\x1a\n" + make_data(200000)
        yield "empty", b""
        yield "ends in EOF", make_data(1000) + b"\nEOF"
        yield "EOF", b"EOF"
        yield "dialogue", b"LIST_FILES\nDONE\n\nUPLOAD\nERROR io\n" * 5000
        yield "a b;c%41 \u00e9\u65e5.txt", make_data(65537)
        yield "line\nfeed \x1b[31m", b"x"

    def check(self, out, name, data, steps):
        check_simulation(self, out, name, len(data), md5(data), steps)

    def test_a_simulation_in_one_process_shows_all_steps(self):
        for name, data in self.files():
            self.write("files/" + name, data)
            for transport in ("memory", "tcp", "unix"):
                with self.subTest(name=name, transport=transport):
                    out = self.run_program("filexfer-simulation", "files/" + name,
                                           "--transport", transport)
                    self.check(out, name, data, range(1, 23))
        out = self.run_program("filexfer-simulation", "files/image.png").decode()
        self.assertEqual(out.count("\nSuccess\n"), 2)
        self.assertIn("memory", out)
        self.assertIn("127.0.0.1:", out)

    def test_a_simulation_against_a_server_shows_steps_3_to_22(self):
        server = self.serve(store="store")
        for name, data in self.files():
            self.write(name, data)
            for _ in range(2):  # the second time the file is already stored
                out = self.client(server, "simulate", name)
                self.check(out, name, data, range(3, 23))
        self.assertIn(b" 4  server says: No files available at the moment\n",
                      self.client(self.serve(), "simulate", "EOF"))
        self.client(server, "simulate", "EOF", "-o", "copy")
        self.assertEqual(self.read("copy"), b"EOF")
        self.client(server, "simulate", "EOF", "-o", "copy", expect=LOCAL_FILE)
        os.mkdir(self.path("folder"))
        self.client(server, "simulate", "EOF", "-o", "folder")
        self.assertEqual(self.read("folder/EOF"), b"EOF")

    def test_a_simulation_shows_only_some_of_the_stored_files(self):
        server = self.serve()
        for number in range(30):
            self.write("file %d" % number, b"%d" % number)
        self.client(server, "upload", *("file %d" % number for number in range(30)))
        self.write("one more", HELLO)
        out = self.client(server, "simulate", "one more")
        self.check(out, "one more", HELLO, range(3, 23))
        self.assertLess(out.count(b"\n"), 60)

    def test_a_simulation_fails_if_the_file_is_damaged(self):
        for faults, expect in (({"wrong_id": True}, WRONG_DIGEST), ({"flip_byte": 0}, WRONG_DIGEST),
                               ({"truncate_download": 1}, BROKEN)):
            server = self.start_peer(**faults)
            self.write("a", HELLO)
            out = self.client(server, "simulate", "a", expect=expect).decode()
            self.assertTrue(out.endswith("\nFail\n"), out)
            self.assertIn(HELLO_ID, out)

    def test_a_simulation_uses_one_connection(self):
        self.write("a", HELLO)
        self.client(self.serve("--max-connections", "1"), "simulate", "a")


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client", "filexfer-simulation")
