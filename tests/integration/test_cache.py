#!/usr/bin/env python3
"""The digest cache of the client, and how it handles wrong digests in it.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import unittest

import peer
import programs
from contents import HELLO, make_data
from exit_codes import DONE, LOCAL_FILE, WRONG_DIGEST
from peer import md5
from program_case import Case
from waiting import SANITIZED

# b has the size of a, and large is not pipelined.
FILES = {"a": HELLO, "b": b"other", "longer": b"a longer one", "large": make_data(3000000),
         "empty": b""}


class Cache(Case):
    @classmethod
    def setUpClass(cls):
        """Creates old files for each test: their ctime can't be set back."""
        cls.all_files = tempfile.mkdtemp(prefix="filexfer-")
        cls.addClassCleanup(shutil.rmtree, cls.all_files)
        for test in unittest.defaultTestLoader.getTestCaseNames(cls):
            os.mkdir(os.path.join(cls.all_files, test))
            for name, data in FILES.items():
                path = os.path.join(cls.all_files, test, name)
                with open(path, "wb") as file:
                    file.write(data)
                os.utime(path, (0, 1000))
        time.sleep(2.1)

    def setUp(self):
        super().setUp()
        self.old = os.path.join(self.all_files, self._testMethodName)

    def client_with_cache(self, server, *arguments, **keywords):
        return self.client(server, "--checksum-cache", "cache", *arguments, **keywords).decode()

    def cache_lines(self):
        return self.read("cache").decode().splitlines()

    def cached_digests(self):
        return sorted(line.split()[0] for line in self.cache_lines())

    def replace_digest(self, data, other_data):
        """Replaces the digest of `data` in the cache by that of other bytes."""
        lines = []
        for line in self.cache_lines():
            words = line.split(" ")
            if words[0] == md5(data):
                words[0] = md5(other_data)
            words[-1] = md5((" ".join(words[:-1]) + " ").encode())
            lines.append(" ".join(words) + "\n")
        self.write("cache", "".join(lines).encode())

    def count_reads(self, server, *arguments):
        """How many read calls the client makes on the old files."""
        if (SANITIZED or not shutil.which("strace")
                or subprocess.run(["strace", "-o", os.devnull, "true"]).returncode):
            self.skipTest("nothing can be traced here")
        paths = [word for name in FILES for word in ("-P", os.path.join(self.old, name))]
        result = subprocess.run(
            ["strace", "-f", "-o", self.path("trace"),
             "-e", "trace=read,readv,pread64,preadv,mmap,sendfile", *paths,
             programs.path_of("filexfer-client"), "--server", server.address,
             "--checksum-cache", "cache", *arguments],
            cwd=self.folder, capture_output=True, env=self.environment)
        self.assertEqual(result.returncode, DONE, result)
        return sum(b"resumed" not in line and b"(" in line
                   for line in self.read("trace").splitlines())

    def test_a_second_run_does_not_read_the_files(self):
        server = self.serve()
        self.client(server, "upload", self.old)
        for command in (("verify", self.old), ("upload", "--skip-existing", self.old),
                        ("upload", "--parallel", "3", "--skip-existing", self.old),
                        ("download", "--all", "-o", self.old),
                        ("download", "a", "b", "-o", self.old)):
            self.write("cache", b"")
            self.assertGreater(self.count_reads(server, *command), 0, command)
            self.assertEqual(self.count_reads(server, *command), 0, command)

    def test_files_that_are_not_read_do_not_count_as_progress(self):
        server = self.serve()
        self.client(server, "upload", self.old)
        for moved in (sum(map(len, FILES.values())), 0):
            events = [json.loads(line)
                      for line in self.client_with_cache(server, "--json", "verify",
                                                         self.old).splitlines()]
            self.assertEqual((events[-1]["files"], events[-1]["bytes"]), (len(FILES), moved))

    def test_cached_digests_are_used(self):
        server = self.serve()
        self.client(server, "upload", self.old)
        self.assertNotIn("Lacks", self.client_with_cache(server, "verify", self.old))
        self.assertEqual(self.cached_digests(), sorted(map(md5, FILES.values())))
        self.replace_digest(FILES["a"], FILES["b"])
        self.assertIn("Lacks  %s  a\n" % md5(FILES["b"]),
                      self.client_with_cache(server, "verify", self.old, expect=WRONG_DIGEST))
        self.assertNotIn("Lacks", self.client(server, "verify", self.old).decode())

    def test_a_file_changed_in_place_is_read_again(self):
        server = self.serve()
        self.client(server, "upload", self.old)
        self.client_with_cache(server, "verify", self.old)
        with open(os.path.join(self.old, "a"), "r+b") as file:
            file.write(b"HELLO")
        os.utime(os.path.join(self.old, "a"), (0, 1000))
        self.assertIn("Lacks  %s  a\n" % md5(b"HELLO"),
                      self.client_with_cache(server, "verify", self.old, expect=WRONG_DIGEST))
        self.assertIn("Success  %s  a\n" % md5(b"HELLO"),
                      self.client_with_cache(server, "upload", "--skip-existing", self.old))
        self.assertNotIn(md5(b"HELLO"), self.cached_digests())

    def test_a_recently_changed_file_is_not_cached(self):
        server = self.serve()
        os.utime(self.write("young", b"young"), (0, 1000))
        os.utime(self.write("of tomorrow", b"of tomorrow"), (0, time.time() + 86400))
        old = os.path.join(self.old, "a")
        os.link(old, self.path("linked"))  # changes its ctime, not its bytes
        self.client_with_cache(server, "upload", "--skip-existing", "young", "of tomorrow", old,
                               os.path.join(self.old, "b"))
        self.assertEqual(self.cached_digests(), [md5(FILES["b"])])

    def test_unrecognized_lines_are_ignored_and_kept(self):
        server = self.serve()
        self.client(server, "upload", self.old)
        self.client_with_cache(server, "verify", self.old)
        good = self.cache_lines()
        foreign = ["", " ", "#", "a comment", "x" * 100000, "\0" * 50, md5(HELLO),
                   "d41d8cd98f00b204e9800998ecf8427e  a",
                   *(line.replace(" md5 ", " sha1 ") for line in good),
                   *(line + " 1" for line in good), *(md5(b"damaged") + line[32:] for line in good)]
        torn = good.pop()
        for cut in (0, 20, 40, len(torn) - 40, len(torn) - 1):
            text = "\n".join([*good, *foreign, torn[:cut]])
            self.write("cache", text.encode())
            self.assertNotIn("Lacks", self.client_with_cache(server, "verify", self.old))
            self.assertEqual(self.cache_lines(), text.splitlines() + [torn])
        # The last line lacks only its line end.
        self.write("cache", "\n".join([*good, torn]).encode())
        self.client_with_cache(server, "verify", self.old)
        self.assertEqual(self.cache_lines(), [*good, torn, torn])

    def test_a_wrong_cached_digest_does_not_prevent_an_upload(self):
        for name, other in (("a", b"HELLO"), ("a", FILES["longer"]), ("longer", FILES["a"]),
                            ("large", make_data(3000000, 1)),
                            ("large", FILES["a"]), ("empty", FILES["a"])):
            for words in ((), ("--parallel", "2")):
                with self.subTest(name=name, other=other[:20], words=words):
                    server = self.serve(store="store")
                    self.client(server, "upload",
                                *(os.path.join(self.old, stored) for stored in ("a", "longer")
                                  if stored != name))
                    self.client_with_cache(server, "verify", self.old, expect=WRONG_DIGEST)
                    self.replace_digest(FILES[name], other)
                    out = self.client_with_cache(server, "upload", "--skip-existing", *words,
                                                 self.old)
                    self.assertIn("  %s  %s\n" % (md5(FILES[name]), name), out)
                    self.assertEqual(len(out.splitlines()), len(FILES))
                    self.assertEqual(self.cached_digests().count("-"), 1, "not forgotten")
                    for stored, data in FILES.items():
                        self.assertEqual(self.read("store/%s/%s" % (md5(data), stored)), data)
                    # The right digest is cached now, and for the next run.
                    self.assertNotIn("Lacks", self.client_with_cache(server, "verify", self.old))
                    self.check_no_temporaries()
                    server.stop()
                    shutil.rmtree(self.path("store"))
                    os.remove(self.path("cache"))

    def test_a_wrong_cached_digest_is_harmless_with_a_server_without_features(self):
        with peer.Server() as server:
            path = os.path.join(self.old, "a")
            self.client_with_cache(server.address, "upload", "--skip-existing", path)
            self.replace_digest(FILES["a"], b"HELLO")
            self.assertEqual(self.client_with_cache(server.address, "upload",
                                                    "--skip-existing", path),
                             "Success  %s  a\n" % md5(FILES["a"]))

    def test_md5_and_sha256_digests_are_both_cached(self):
        for _ in range(2):
            for digest in ("md5", "sha256"):
                server = self.serve("--digest", digest)
                self.client_with_cache(server, "upload", "--skip-existing", self.old)
                out = self.client_with_cache(server, "verify", self.old)
                self.assertIn("Held  %s  a\n" % hashlib.new(digest, FILES["a"]).hexdigest(), out)
        self.assertEqual(len(self.cache_lines()), 2 * len(FILES))

    def test_an_unusable_cache_file_is_an_error(self):
        server = self.serve()
        os.mkdir(self.path("folder"))
        os.mkfifo(self.path("fifo"))
        for cache in ("folder", "fifo", "no/such", ""):
            for command in (("verify", self.old), ("upload", "--skip-existing", self.old),
                            ("download", "--all", "-o", "out")):
                self.assertEqual(self.client(server, "--checksum-cache", cache, *command,
                                             expect=LOCAL_FILE), b"")
                self.assertIn("--checksum-cache %s: " % cache, self.stderr)
        self.assertEqual(self.client(server, "list"), b"")


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
