#!/usr/bin/env python3
"""What the client shows on a terminal: tables and progress.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import pty
import re
import subprocess
import time

import programs
from contents import HELLO, HELLO_ID, make_data
from exit_codes import DONE
from peer import md5
from program_case import Case
from terminals import chunks_from
from waiting import TIMEOUT


class Terminal(Case):
    """The client on a pseudo-terminal."""

    def on_terminal(self, server, *arguments, feed=None, when=None):
        """Returns the output. `when` is a pattern and a function to call once it was printed."""
        master, slave = pty.openpty()
        try:
            process = self.start_client(server, *arguments, stdin=subprocess.PIPE, stdout=slave,
                                        stderr=slave)
            os.close(slave)
            if feed:
                feed(process.stdin)
            process.stdin.close()
            shown = b""
            for chunk in chunks_from(master):
                shown += chunk
                if when and re.search(when[0], shown.decode("utf-8", "replace")):
                    when[1]()
                    when = None
        finally:
            os.close(master)
        self.assertEqual(process.wait(TIMEOUT), DONE, shown)
        self.assertIsNone(when, shown)
        return shown.decode()

    def test_a_list_on_a_terminal_is_a_sorted_table(self):
        server = self.serve()
        self.assertEqual(self.on_terminal(server, "list"), "No files available at the moment\r\n")
        for name, size in (("zebra", 1), ("escape\x1b[31m", 12345), ("apple\n", 0)):
            self.write(name, bytes(size))
            self.client(server, "upload", name)
        header, *rows = self.on_terminal(server, "list").splitlines()
        self.assertEqual(header.split(), ["ID", "BYTES", "NAME"])
        self.assertEqual([row.split() for row in rows], [
            [md5(b""), "0", "apple\\x0a"], [md5(bytes(12345)), "12345", "escape\\x1b[31m"],
            [md5(bytes(1)), "1", "zebra"]])
        self.assertEqual(len({len(row) - len(row.split()[2]) for row in rows}), 1, "columns")
        self.assertNotIn("\x1b", self.on_terminal(server, "list", "--md5sum"))

    def test_an_upload_on_a_terminal_shows_progress_unless_quiet(self):
        def slowly(stdin):
            for _ in range(5):
                stdin.write(bytes(100000))
                stdin.flush()
                time.sleep(0.25)

        server = self.serve()
        shown = self.on_terminal(server, "upload", "-", "--size", "500000", "--name", "slow\x07",
                                 feed=slowly)
        self.assertRegex(shown, r"\r[0-9.]+ MB of 0\.5 MB  [0-9.]+ MB/s  \d+:\d\d left")
        self.assertRegex(shown, r"\r +\rSuccess  [0-9a-f]{32}  slow")
        self.assertNotIn("\x07", shown)
        quiet = self.on_terminal(server, "--quiet", "upload", "-", "--size", "500000", feed=slowly)
        self.assertRegex(quiet, r"^Success  [0-9a-f]{32}  stdin\r\n$")
        self.write("a", HELLO)
        self.assertEqual(self.on_terminal(server, "upload", "a"), "Success  %s  a\r\n" % HELLO_ID)

    def test_progress_is_one_line_for_all_files(self):
        sizes = {"a": 100000, "b": 300000, "c": 100000}  # the server stops in the second
        files = {name: make_data(size) for name, size in sizes.items()}
        for name, data in files.items():
            self.write("tree/" + name, data)
        for job in (("upload", "tree"), ("upload", "tree/a", "tree/b", "tree/c"),
                    ("download", "--all", "-o", "copy")):
            server = self.start_peer(features=True, stall_upload_after=200000,
                                     stall_download_after=200000)
            for name, data in files.items() if job[0] == "download" else ():
                server.store.add(name, data)
            shown = self.on_terminal(server, *job,
                                     when=(r"\r1 of 3 files  0\.\d MB of 0\.5 MB  [0-9.]+ MB/s",
                                           server.release.set))
            # The line is erased before each result and at the end.
            self.assertEqual(re.sub(r"\r[^\r\n]*(?=\r(?!\n))|\r(?!\n)", "", shown), "".join(
                "Success  %s  %s\r\n"
                % (md5(data), ("copy/" if job[0] == "download" else "") + name)
                for name, data in files.items()))
            self.assertNotIn("\x1b", shown)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
