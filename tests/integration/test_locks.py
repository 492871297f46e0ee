#!/usr/bin/env python3
"""A lock in the store that somebody else holds: only requests that need it wait, and no thread.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import fcntl
import os

import programs
from contents import HELLO, HELLO_ID
from exit_codes import DONE
from program_case import Case
from waiting import TIMEOUT


class Locks(Case):
    def lock(self, *parts):
        """Locks a folder as another server on the same store would that was stopped."""
        handle = os.open(self.path(*parts), os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        return handle

    def test_a_held_lock_delays_only_the_files_that_need_it(self):
        self.write("hello.txt", HELLO)
        self.write("other.txt", b"other")
        server = self.serve("--threads", "1", "--disk-threads", "1",
                            store="store")
        self.client(server, "upload", "hello.txt")
        held = self.lock("store", HELLO_ID)
        jobs = [("upload", "hello.txt", "--name", "name %d" % n) for n in range(4)]
        jobs.append(("upload", "--skip-existing", "hello.txt", "--name", "linked"))
        waiting = [self.start_client(server, *job) for job in jobs]
        # Not one of them has been answered, and everything else is.
        for n in range(3):
            self.client(server, "upload", "other.txt", "--name", "other %d" % n)
            self.assertEqual(self.client(server, "list").count(b";other %d;" % n), 1)
            self.client(server, "download", HELLO_ID, "-o", "copy %d" % n)
            self.assertEqual(self.read("copy %d" % n), HELLO)
        for process in waiting:
            self.assertIsNone(process.poll())
        os.close(held)
        for process in waiting:
            out, err = process.communicate(timeout=TIMEOUT)
            self.assertEqual(process.returncode, DONE, out + err)
        listed = self.client(server, "list")
        for name in (b"name 0", b"name 1", b"name 2", b"name 3", b"linked"):
            self.assertIn(b";" + name + b";", listed)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
