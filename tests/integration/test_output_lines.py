#!/usr/bin/env python3
"""When filexfer-client writes its lines: in blocks, unless somebody watches; each at once in JSON.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import socket

import programs
from exit_codes import DONE
from program_case import Case
from waiting import TIMEOUT

COUNT = 40


class OutputLines(Case):
    def writes_of(self, *options):
        """What each write to standard output had: such a socket keeps them apart."""
        names = ["file-%d" % n for n in range(COUNT)]
        for name in names:
            self.write(name, name.encode())
        server = self.serve()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            ours.settimeout(TIMEOUT)
            client = self.start_client(server, *options, "upload", *names, stdout=theirs)
            theirs.close()
            writes = list(iter(lambda: ours.recv(65536), b""))
            _, err = client.communicate(timeout=TIMEOUT)
        self.assertEqual(client.returncode, DONE, err)
        return writes

    def test_lines_of_text_are_written_in_blocks(self):
        writes = self.writes_of()
        lines = b"".join(writes).splitlines()
        self.assertEqual(len(lines), COUNT)
        self.assertTrue(all(line.startswith(b"Success  ") for line in lines), lines)
        self.assertLess(len(writes), 5)

    def test_each_line_of_json_is_written_at_once(self):
        for write in self.writes_of("--json"):
            self.assertEqual(write.count(b"\n"), 1, write)
            self.assertTrue(write.endswith(b"\n"), write)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
