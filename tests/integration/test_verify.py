#!/usr/bin/env python3
"""Damaged files: filexfer-server verify finds them, beside servers; uploads heal them.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import signal
import subprocess

import programs
from contents import HELLO, HELLO_ID, KIB, make_data
from exit_codes import DONE, INTERRUPTED, LOCAL_FILE, USAGE, WRONG_DIGEST
from peer import md5
from program_case import Case
from tracing import calls_in, why_not_strace
from waiting import TIMEOUT, wait_until


class DamagedFiles(Case):
    def damage(self, id, name, data):
        """Changes a stored file, as a failing disk would."""
        path = self.path("store", id, name)
        os.chmod(path, 0o600)
        with open(path, "r+b") as file:
            file.write(data)
        os.chmod(path, 0o444)

    def verify(self, *arguments, expect=DONE):
        """The lines that it prints about files, and the last one with the totals."""
        *lines, totals = self.run_program("filexfer-server", "verify", "--store", "store",
                                          *arguments, expect=expect).decode().splitlines()
        return lines, totals

    def names(self, server):
        return sorted(line.split(";")[1] for line in
                      self.client(server, "list").decode().splitlines())


class Verify(DamagedFiles):
    def test_an_upload_heals_what_verify_has_set_aside_beside_a_server(self):
        server = self.serve(store="store")
        for name, data in (("a", HELLO), ("large", make_data(3000 * KIB)), ("empty", b"")):
            self.write(name, data)
        self.client(server, "upload", "a", "large", "empty")
        self.client(server, "upload", "a", "--name", "photos/b")
        self.assertEqual(self.verify(), ([], "3 files, %d bytes verified, 0 damaged"
                                         % (3000 * KIB + len(HELLO))))
        self.damage(HELLO_ID, "a", b"H")  # which is photos/b, too
        lines, totals = self.verify(expect=WRONG_DIGEST)
        self.assertEqual(len(lines), 1)
        self.assertRegex(lines[0], r"^Damaged  %s  (a|photos/b)$" % HELLO_ID)
        self.assertRegex(totals, r"^3 files, \d+ bytes verified, 1 damaged$")
        self.assertRegex(self.stderr, r"%s.*moved to \.damaged/%s\." % (HELLO_ID, HELLO_ID))
        self.assertEqual(self.names(server), ["empty", "large"])
        aside, = os.listdir(self.path("store/.damaged"))
        self.assertEqual(self.files_below("store/.damaged/" + aside), ["a", "photos/b"])
        self.assertFalse(os.path.exists(self.path("store", HELLO_ID)))
        # The same upload again, by a client that asks first, and so must not be told it is there.
        out = self.client(server, "upload", "--skip-existing", "a").decode()
        self.assertEqual(out, "Success  %s  a\n" % HELLO_ID)
        self.assertEqual(self.names(server), ["a", "empty", "large"])
        self.assertEqual(self.client(server, "download", HELLO_ID, "-o", "-"), HELLO)
        self.assertEqual(self.verify()[0], [])
        # Its other name is back once somebody gives it again.
        self.client(server, "upload", "a", "--name", "photos/b")
        self.assertEqual(self.names(server), ["a", "empty", "large", "photos/b"])

    def test_ids_of_either_digest_are_verified(self):
        for digest in ("md5", "sha256"):
            server = self.serve("--digest", digest, store="store")
            self.client(server, "upload", self.write("a", HELLO))
            server.stop()
        self.assertTrue(self.verify()[1].startswith("2 files,"))
        self.assertTrue(self.verify("--digest", "sha256")[1].startswith("1 file,"))
        self.damage(HELLO_ID, "a", b"H")
        self.assertEqual(self.verify("--digest", "sha256")[0], [])
        self.assertEqual(self.verify("--digest", "md5", "--threads", "3", expect=WRONG_DIGEST)[0],
                         ["Damaged  %s  a" % HELLO_ID])

    def test_every_damaged_file_is_found_by_several_threads(self):
        server = self.serve(store="store")
        files = ["file %d" % number for number in range(40)]
        for name in files:
            self.write(name, name.encode())
        self.client(server, "upload", *files)
        bad = {md5(name.encode()): name for name in files[::4]}
        for id, name in bad.items():
            self.damage(id, name, b"F")
        lines, totals = self.verify("--threads", "4", "--quiet", expect=WRONG_DIGEST)
        self.assertEqual(sorted(lines), sorted("Damaged  %s  %s" % item for item in bad.items()))
        self.assertIn("40 files", totals)
        self.assertIn("10 damaged", totals)
        self.assertEqual(len(self.names(server)), 30)

    def test_a_folder_that_is_no_store_is_an_error_and_not_made_one(self):
        self.write("file", HELLO)
        for store in ("none", "file", ""):
            self.run_program("filexfer-server", "verify", "--store", store, expect=LOCAL_FILE)
        self.assertFalse(os.path.exists(self.path("none")))
        self.run_program("filexfer-server", "verify", "--digest", "crc", expect=USAGE)

    def test_a_damaged_file_is_set_aside_durably(self):
        """Each folder is flushed after the rename, from the leaf's up, where the file was and where
        it is now."""
        if why_not_strace():
            self.skipTest(why_not_strace())
        with self.serve(store="store") as server, server.client() as client:
            client.upload("below/file", HELLO)
        self.damage(HELLO_ID, "below/file", b"J")
        store, trace = os.path.realpath(self.path("store")), self.path("trace")
        verified = subprocess.run(
            ["strace", "-f", "-y", "-o", trace, "-e", "trace=fsync,renameat,renameat2,unlinkat",
             programs.path_of("filexfer-server"), "verify", "--store", store, "--digest", "md5"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.assertEqual(verified.returncode, WRONG_DIGEST)
        with open(trace) as file:
            calls = [call for call in calls_in(file.read()) if call.result == "0"]
        moved, = [call for call in calls
                  if call.name.startswith("rename") and ".damaged" in call.arguments]
        removed, = [call for call in calls if call.name == "unlinkat" and HELLO_ID in call.arguments
                    and "<%s>" % store in call.arguments]

        def flushed(path, since):
            found = [call for call in calls if call.name == "fsync" and call.begin > since.end
                     and "<%s>" % path in call.arguments]
            self.assertTrue(found, "%s is not flushed after %s" % (path, since))
            return found[0]

        damaged = os.path.join(store, ".damaged")
        aside = os.path.join(damaged, *os.listdir(damaged))
        last = moved
        for path in (aside + "/below", aside, damaged, store, os.path.join(store, HELLO_ID)):
            last = flushed(path, last)
        flushed(store, removed)

    def test_verify_keeps_interrupted_uploads_of_any_age(self):
        server = self.serve(store="store")
        client = server.client()
        client.features()
        client.send_line(b"UPLOAD")
        client.words()
        client.send_line(b"name;10;resume=0123456789abcdef")
        client.words()
        client.send(b"12345")
        client.close()
        wait_until(lambda: "UPLOAD" in server.log(), "the end of the upload")
        kept, = os.listdir(self.path("store/.partial"))
        os.utime(self.path("store/.partial", kept), (0, 0))
        self.verify()
        self.assertEqual(os.listdir(self.path("store/.partial")), [kept])

    def test_verify_can_be_interrupted(self):
        large = self.write("store/%s/large" % HELLO_ID, b"")
        os.truncate(large, 64 << 30)  # A hole takes no space, but time to hash.
        process = self.start_program("filexfer-server", "verify", "--store", "store")
        tasks = "/proc/%d/task" % process.pid
        if os.path.exists(tasks):
            wait_until(lambda: len(os.listdir(tasks)) > 1, "the threads that verify")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, INTERRUPTED, err)
        self.assertEqual(out, b"0 files, 0 bytes verified, 0 damaged\n")
        self.assertIn(b"interrupted", err)
        self.assertTrue(os.path.exists(large))


class Scrub(DamagedFiles):
    def test_an_upload_heals_what_a_server_that_scrubs_has_set_aside(self):
        server = self.serve(store="store")
        for name in ("a", "b", "c"):
            self.write(name, HELLO + name.encode())
        self.client(server, "upload", "a", "b", "c")
        server.stop()
        self.damage(md5(self.read("b")), "b", b"B")
        server = self.serve("--scrub", "10M", store="store")
        wait_until(lambda: "scrub: 3 files, 18 bytes verified, 1 damaged" in server.log(),
                   "the end of the first round")
        self.assertIn("moved to .damaged", server.log())
        self.assertEqual(self.names(server), ["a", "c"])
        out = self.client(server, "upload", "b").decode()
        self.assertEqual(out, "Success  %s  b\n" % md5(self.read("b")))
        self.assertEqual(self.names(server), ["a", "b", "c"])
        self.assertEqual(self.verify(), ([], "3 files, 18 bytes verified, 0 damaged"))

    def test_a_server_that_scrubs_serves_and_stops_in_the_middle_of_a_file(self):
        large = self.write("store/%s/large" % HELLO_ID, b"")
        os.truncate(large, 64 << 30)
        for rate in ("1K", "100G"):  # It waits, or reads, for longer than this test may take.
            server = self.serve("--scrub", rate, store="store")
            if os.path.exists("/proc/self/fd"):
                wait_until(lambda: os.path.realpath(large) in server.open_files(),
                           "the file to be read")
            self.client(server, "upload", self.write("a", rate.encode()))
            server.stop()
            self.assertNotIn("scrub", server.log())

    def test_scrubbing_needs_a_folder(self):
        for option in (("--scrub", "1M"), ("--min-free", "1%")):
            self.run_program("filexfer-server", "--store", "memory", *option, expect=USAGE)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
