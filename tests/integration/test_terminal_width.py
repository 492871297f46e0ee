#!/usr/bin/env python3
"""The client's progress line on terminals of several widths and kinds.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import fcntl
import os
import pty
import struct
import termios

import programs
from contents import make_data
from exit_codes import DONE
from peer import md5
from program_case import Case
from terminals import chunks_from
from waiting import TIMEOUT

STALL = 200000


def set_width(terminal, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


class Screen:
    """What a terminal without escape sequences would show, if it were wide enough."""

    def __init__(self):
        self.rows = [""]
        self.column = 0

    def show(self, text):
        for c in text:
            if c == "\r":
                self.column = 0
            elif c == "\n":
                self.rows.append("")
            else:
                row = self.rows[-1].ljust(self.column)
                self.rows[-1] = row[:self.column] + c + row[self.column + 1:]
                self.column += 1


class Width(Case):
    def upload(self, columns, next_columns=None, **variables):
        """Uploads three files, while the peer stalls. Returns the progress lines until then."""
        server = self.start_peer(features=True, stall_upload_after=STALL)
        self.environment.update(variables)
        master, slave = pty.openpty()
        try:
            set_width(slave, columns)
            process = self.start_client(server, "upload", "tree", stdout=slave, stderr=slave)
            os.close(slave)
            screen, lines = Screen(), []
            for chunk in chunks_from(master):
                self.assertNotIn(b"\x1b", chunk)
                screen.show(chunk.decode())
                line = screen.rows[-1].rstrip()
                if not line or "Success" in line or server.release.is_set():
                    continue
                lines.append(line)
                if next_columns and len(lines) == 1:
                    set_width(master, next_columns)
                    screen.rows[-1] = screen.rows[-1][:next_columns - 1]
                if len(lines) == 3:
                    server.release.set()
            self.assertEqual(process.wait(TIMEOUT), DONE)
        finally:
            os.close(master)
        self.assertEqual([row.rstrip() for row in screen.rows], [
            "Success  %s  %s" % (md5(data), name) for name, data in self.files.items()] + [""])
        return lines

    def setUp(self):
        super().setUp()
        self.files = {name: make_data(size) for name, size in
                      (("a", 100000), ("b", 300000), ("c", 100000))}
        for name, data in self.files.items():
            self.write("tree/" + name, data)

    def test_the_progress_line_fits_the_terminal(self):
        for columns, pattern in ((200, r"^1 of 3 files  0\.\d MB of 0\.5 MB  [0-9.]+ MB/s"),
                                 (0, r"^1 of 3 files  0\.\d MB of 0\.5 MB  [0-9.]+ MB/s"),
                                 (31, r"^1 of 3 files  0\.\d MB of 0\.5 MB$"),
                                 (30, r"^1 of 3 files$"), (13, r"^1 of 3 files$"),
                                 (8, r"^1 of 3$"), (2, r"^1$")):
            with self.subTest(columns=columns):
                lines = self.upload(columns)
                self.assertRegex(lines[-1], pattern)
                self.assertLess(len(lines[-1]), columns or 80)

    def test_the_progress_line_follows_a_change_of_the_width(self):
        lines = self.upload(80, next_columns=20)
        self.assertGreater(len(lines[0]), 20)
        self.assertEqual(lines[-1], "1 of 3 files")
        lines = self.upload(20, next_columns=80)
        self.assertLess(len(lines[0]), 20)
        self.assertRegex(lines[-1], "MB/s")

    def test_no_terminal_gets_escape_sequences(self):
        for variables in ({"TERM": "dumb"}, {"TERM": ""}, {"NO_COLOR": "1", "TERM": "xterm"}):
            with self.subTest(variables=variables):
                self.upload(80, **variables)


if __name__ == "__main__":
    programs.run_tests("filexfer-client")
