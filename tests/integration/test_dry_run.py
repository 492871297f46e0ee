#!/usr/bin/env python3
"""--dry-run of filexfer-client's upload and download.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import json
import os

import programs
from contents import HELLO, HELLO_ID
from exit_codes import BROKEN, DONE, LOCAL_FILE, REFUSED, USAGE
from trees import Trees


class DryRun(Trees):
    def dry_run(self, server, *words, **keywords):
        """Returns the lines of output. Nothing may change, here or at the server."""
        def state():
            here = {name: os.stat(self.path(name)) for name in self.files_below()
                    if not name.startswith("store/")}
            return (sorted(os.walk(self.folder)),
                    {name: (s.st_ino, s.st_size, s.st_mtime_ns) for name, s in here.items()})
        before = state()
        out = self.client(server, *words, "--dry-run", **keywords).decode().splitlines()
        error = self.stderr
        self.assertEqual(state(), before)
        self.stderr = error
        return out

    def events(self, lines):
        return [event for event in map(json.loads, lines) if event["event"] == "file"]

    def test_an_upload_tells_what_it_would_send(self):
        for name in ("tree/a", "tree/sub/b", "c"):
            self.write(name, HELLO)
        os.symlink("a", self.path("tree/link"))
        server = self.serve(store="store")
        self.assertEqual(self.dry_run(server, "upload", "tree", "c", "--exclude", "sub/"),
                         ["Would send  a", "Would send  c"])
        self.assertIn("tree/link: skipped", self.stderr)
        events = self.events(self.dry_run(server, "--json", "upload", "c"))
        self.assertEqual(events, [{"event": "file", "outcome": "would-send", "name": "c",
                                   "path": "c", "size": len(HELLO)}])
        self.assertEqual(self.client(server, "list"), self.client(self.serve(), "list"))

    def test_an_upload_that_skips_what_exists_compares_with_the_list(self):
        server = self.serve(store="store")
        self.client(server, "upload", self.write("tree/same", HELLO))
        self.write("tree/other name", HELLO)
        self.write("tree/new", b"new")
        listed = self.client(server, "list")
        lines = self.dry_run(server, "upload", "--skip-existing", "tree")
        self.assertEqual(sorted(lines),
                         ["Would add name  other name", "Would send  new", "Would skip  same"])
        events = self.events(self.dry_run(server, "--json", "upload", "--skip-existing", "tree"))
        self.assertEqual({event["name"]: event["outcome"] for event in events},
                         {"same": "would-skip", "other name": "would-add-name",
                          "new": "would-send"})
        self.assertEqual({event["id"] for event in events if event["name"] != "new"}, {HELLO_ID})
        self.assertEqual(self.client(server, "list"), listed)
        # The upload does what was foretold.
        out = self.client(server, "upload", "--skip-existing", "tree").decode()
        self.assertEqual(sorted(line.split("  ")[0] for line in out.splitlines()),
                         ["Already there", "Already there", "Success"])

    def test_failures_that_are_known_beforehand_set_the_exit_code(self):
        server = self.serve()
        self.write("a", HELLO)
        for options in ((), ("--skip-existing",)):
            lines = self.dry_run(server, "upload", *options, "missing", "a", expect=LOCAL_FILE)
            self.assertEqual(lines, ["Would send  a"])
            self.assertIn("missing: ", self.stderr)
            self.dry_run("unix:nobody", "upload", *options, "a", expect=BROKEN)
            self.dry_run(server, "upload", *options, "--name", "../x", "a", expect=USAGE)
            self.dry_run(server, "upload", *options, "-", expect=USAGE)
        self.dry_run(server, "download", "a", "-o", "-", expect=USAGE)
        self.dry_run("unix:nobody", "download", "a", expect=BROKEN)
        self.dry_run(server, "download", "a", "0" * 32, "b*", expect=REFUSED)

    def test_a_download_tells_what_it_would_fetch(self):
        server = self.serve(store="store")
        self.client(server, "upload", self.write("from/a", HELLO), self.write("from/b", b"b"),
                    "--parallel", "1")
        for words in (("a",), (HELLO_ID,), ("[a]",), ("--all", "a")):
            self.assertEqual(self.dry_run(server, "download", *words), ["Would fetch  ./a"])
        self.assertEqual(self.dry_run(server, "download", "a", "-o", "copy"),
                         ["Would fetch  copy"])
        self.assertEqual(self.dry_run(server, "download", "--all", "-o", "new"),
                         ["Would fetch  new/a", "Would fetch  new/b"])
        self.dry_run(server, "download", "--all", "-o", "no/such", expect=LOCAL_FILE)
        os.mkdir(self.path("out"))
        os.utime(self.write("out/a", HELLO), (0, 0))
        self.write("out/b", b"differs")
        lines = self.dry_run(server, "download", "--all", "-o", "out", expect=LOCAL_FILE)
        self.assertEqual(lines, ["Would skip  out/a"])
        self.assertIn("out/b: already exists", self.stderr)
        lines = self.dry_run(server, "--json", "download", "--all", "--force", "-o", "out")
        self.assertEqual([(event["outcome"], event["path"]) for event in self.events(lines)],
                         [("would-skip", "out/a"), ("would-fetch", "out/b")])
        self.client(server, "download", "--all", "--force", "-o", "out", expect=DONE)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
