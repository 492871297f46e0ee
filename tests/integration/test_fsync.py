#!/usr/bin/env python3
"""--fsync of filexfer-server and filexfer-client: what is flushed to the disk, and what is not.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they or strace are missing.
"""

import os
import re

import programs
from contents import HELLO, HELLO_ID, KIB, make_data
from exit_codes import USAGE
from peer import md5
from program_case import Case
from tracing import calls_in, why_not_strace

FLUSHES = "fsync,fdatasync,sync,syncfs,sync_file_range,msync"


class Flushing(Case):
    def strace(self):
        return ("strace", "-D", "-f", "-y", "-o", self.path("trace"), "-e", "trace=" + FLUSHES)

    def flushed(self):
        """The paths of the files and folders that were flushed, in that order."""
        calls = calls_in(self.read("trace").decode())
        self.assertEqual([call for call in calls if call.result != "0"], [])
        found = [re.fullmatch(r"\d+<(.*)>(?:\(deleted\))?", call.arguments) for call in calls]
        self.assertNotIn(None, found, calls)
        return [os.path.relpath(match.group(1), os.path.realpath(self.folder)) for match in found]

    def damage(self, path):
        os.chmod(self.path(path), 0o600)
        self.write(path, b"J" + HELLO[1:])

    def use_store(self, *options):
        """Every way in which a store changes: returns what the server flushes."""
        large = make_data(300 * KIB)
        self.write("tree/below/a", HELLO)
        self.write("tree/large", large)
        store = "store" + "".join(options)
        server = self.serve("--allow-remove", *options, store=store, wrapper=self.strace())
        self.client(server, "upload", "tree")
        self.client(server, "upload", "--skip-existing", "tree/below/a", "--name", "b")
        self.assertEqual(self.files_below(store), sorted(
            [HELLO_ID + "/b", HELLO_ID + "/below/a", md5(large) + "/large"]))
        self.damage(store + "/" + HELLO_ID + "/b")
        self.client(server, "upload", "tree/below/a", "--name", "b")
        self.assertEqual(len(self.files_below(store + "/.damaged")), 2)
        self.assertEqual(self.read(store + "/" + HELLO_ID + "/b"), HELLO)
        self.client(server, "remove", "large")
        server.stop()
        return self.flushed()

    def test_a_server_flushes_unless_it_is_not_to(self):
        self.assertEqual(self.use_store("--fsync=off"), [])
        for options in ((), ("--fsync=on",)):
            flushed = self.use_store(*options)
            store = "store" + "".join(options)
            for path in (store, store + "/" + HELLO_ID, store + "/" + HELLO_ID + "/below",
                         store + "/.damaged"):
                self.assertIn(path, flushed)
            # The two files that were uploaded, and the one that healed a damaged one.
            self.assertEqual(len([path for path in flushed if "/.incoming/" in path]), 3)

    def test_a_server_that_does_not_flush_says_so(self):
        self.assertIn("Nothing is flushed", self.serve("--fsync", "off", store="store").log())
        self.assertNotIn("flushed", self.serve(store="store").log())

    def download(self, *options):
        """Returns what the client flushes, when it downloads a folder and a file."""
        server = self.serve()
        self.write("tree/below/a", HELLO)
        self.write("tree/b", make_data(300 * KIB))
        self.client(server, "upload", "tree")
        flushed = []
        for job in (("--all", "-o", "copies"), ("below/a", "-o", "a"),
                    ("below/a", "--force", "--no-partial", "-o", "b")):
            self.write("b", b"replaced")
            process = self.start_command(
                [*self.strace(), programs.path_of("filexfer-client"), "--server", server.address,
                 *options, "download", *job])
            out, err = process.communicate()
            self.assertEqual((process.returncode, err), (0, b""), out)
            flushed += self.flushed()
        self.assertEqual(self.files_below("copies"), ["b", "below/a"])
        self.assertEqual((self.read("a"), self.read("b")), (HELLO, HELLO))
        for path in ("copies/b", "copies/below/a", "a"):
            os.remove(self.path(path))
        os.rmdir(self.path("copies/below"))
        return flushed

    def test_a_client_flushes_unless_it_is_not_to(self):
        self.assertEqual(self.download("--fsync", "off"), [])
        for options in ((), ("--fsync", "on")):
            flushed = self.download(*options)
            folders = [path for path in flushed
                       if not re.search(r"(^|/)(\.filexfer-.*|#\d+)$", path)]  # `#`: without a name
            self.assertEqual(sorted(folders), [".", ".", "copies", "copies", "copies/below"])
            self.assertEqual(len(flushed), 9)  # and the four files

    def test_other_arguments_are_wrong(self):
        self.run_program("filexfer-server", "--fsync", "maybe", expect=USAGE)
        self.run_program("filexfer-client", "--fsync", "", "list", expect=USAGE)
        self.run_program("filexfer-server", "--fsync", "off", "--store", "memory", expect=USAGE)


if __name__ == "__main__":
    if why_not_strace():
        print(why_not_strace())
        raise SystemExit(77)
    programs.run_tests("filexfer-server", "filexfer-client")
