#!/usr/bin/env python3
"""A server whose store is removed while it runs.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import shutil

import programs
from contents import HELLO, HELLO_ID
from exit_codes import REFUSED
from program_case import Case
from waiting import wait_until


class RemovedStore(Case):
    def test_a_removed_store_is_not_an_empty_one(self):
        self.write("hello.txt", HELLO)
        for replaced in (False, True):
            server = self.serve(store="store")
            self.client(server, "upload", "hello.txt")
            shutil.rmtree(self.path("store"))
            if replaced:
                os.mkdir(self.path("store"))
            for job in (("list",), ("upload", "hello.txt"), ("download", "hello.txt"),
                        ("upload", "--skip-existing", "hello.txt"), ("verify", "hello.txt"),
                        ("download", HELLO_ID, "-o", "copy")):
                with self.subTest(replaced=replaced, job=job):
                    before = server.log()
                    self.client(server, *job, expect=REFUSED)
                    self.assertIn("ERROR io the server's store failed; its log says why",
                                  self.stderr)
                    wait_until(lambda: server.log() != before, "the log")
                    self.assertIn("(the store's folder was removed or replaced; restart the "
                                  "server)", server.log()[len(before):])
            server.stop()
            shutil.rmtree(self.path("store"), ignore_errors=True)
        self.assertEqual(self.client(self.serve(store="store"), "list"), b"")


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
