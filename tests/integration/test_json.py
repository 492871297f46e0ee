#!/usr/bin/env python3
"""filexfer-client --json: its output for programs.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import json
import os
import subprocess

import programs
from contents import HELLO, HELLO_ID, MIB, NAMES, make_data
from exit_codes import BROKEN, DONE, INTERRUPTED, LOCAL_FILE, REFUSED, USAGE, WRONG_DIGEST
from peer import md5
from program_case import Case, skip_with_tsan
from waiting import TIMEOUT

MEMBERS = {
    "entry": {"event", "id", "name", "size"},
    "file": {"event", "outcome", "id", "path", "size"},
    "message": {"event", "subject", "text", "exit_code"},
    "retry": {"event", "subject", "text"},
    "progress": {"event", "files", "files_known", "bytes", "bytes_known", "all_known", "rate"},
    "summary": {"event", "files", "failed", "symbolic_links", "special_files", "empty_folders",
                "bytes", "seconds", "exit_code"},
}
OPTIONAL = {"mtime", "exec", "name", "id_there"}


class Json(Case):
    def setUp(self):
        super().setUp()
        self.latest = []  # events without the summary

    def parse(self, out, expect):
        """The events without the summary, and the summary; checks the form of all."""
        text = out.decode()  # strictly UTF-8
        self.assertTrue(text.endswith("\n"), text)
        events = []
        for line in text[:-1].split("\n"):
            self.assertFalse([c for c in line if ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F], line)
            event = json.loads(line)
            self.assertLessEqual(MEMBERS[event["event"]], set(event), line)
            self.assertLessEqual(set(event) - MEMBERS[event["event"]], OPTIONAL, line)
            self.assertEqual(list(event)[0], "event")
            events.append(event)
        self.assertEqual([event["event"] == "summary" for event in events],
                         [False] * (len(events) - 1) + [True], text)
        self.assertEqual(events[-1]["exit_code"], expect)
        return events[:-1], events[-1]

    def client(self, server, *arguments, expect=DONE, **keywords):
        """Runs the client, and checks that nothing is written to stderr."""
        process = self.start_client(server, "--json", *arguments, **keywords)
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, expect, (out, err))
        self.assertEqual(err, b"")
        self.latest, summary = self.parse(out, expect)
        return summary

    def files(self):
        return [(event["outcome"], event["id"], event.get("name"), event["path"], event["size"])
                for event in self.latest if event["event"] == "file"]

    def messages(self):
        return [(event["subject"], event["exit_code"]) for event in self.latest
                if event["event"] == "message"]

    def test_each_command_reports_its_files(self):
        os.utime(self.write("tree/a", HELLO), ns=(0, 1_700_000_000_500_000_000))
        self.write("tree/b/c", b"other")
        server = self.serve(store="store")
        for outcome, data, options in (("success", 10, ()),
                                       ("already-there", 0, ("--skip-existing",))):
            summary = self.client(server, "upload", "tree", *options)
            self.assertEqual(self.files(), [(outcome, HELLO_ID, "a", "tree/a", 5),
                                            (outcome, md5(b"other"), "b/c", "tree/b/c", 5)])
            self.assertEqual((summary["files"], summary["bytes"]), (2, data))
        self.assertEqual(self.client(server, "list")["files"], 2)
        self.assertEqual(sorted((entry["event"], entry["id"], entry["name"], entry["size"])
                                for entry in self.latest),
                         [("entry", HELLO_ID, "a", 5), ("entry", md5(b"other"), "b/c", 5)])
        self.assertEqual([entry["mtime"] for entry in self.latest if entry["name"] == "a"],
                         ["1700000000.5"])
        self.client(server, "list", "b/")
        self.assertEqual([entry["name"] for entry in self.latest], ["b/c"])
        for outcome, data in (("success", 10), ("already-there", 0)):
            summary = self.client(server, "download", "--all", "-o", "copy")
            self.assertEqual(self.files(), [(outcome, HELLO_ID, "a", "copy/a", 5),
                                            (outcome, md5(b"other"), "b/c", "copy/b/c", 5)])
            self.assertEqual((summary["files"], summary["bytes"]), (2, data))
        self.client(server, "download", "a", md5(b"other"), "-o", "copy")
        self.assertEqual([file[:3] for file in self.files()],
                         [("already-there", HELLO_ID, "a"),
                          ("already-there", md5(b"other"), "b/c")])
        self.write("tree/d", b"new")
        self.assertEqual(self.client(server, "verify", "tree", expect=WRONG_DIGEST)["files"], 2)
        self.assertEqual([(file[0], file[2]) for file in self.files()],
                         [("held", "a"), ("held", "b/c"), ("lacks", "d")])

    def test_names_and_paths_are_always_utf8(self):
        server = self.serve()
        for name in NAMES:
            self.write("tree/" + name, HELLO)
        with open(os.path.join(os.fsencode(self.path("tree")), b"latin \xe9"), "wb") as file:
            file.write(HELLO)
        self.client(server, "upload", "tree", expect=LOCAL_FILE)
        self.assertEqual(sorted(file[2] for file in self.files()), sorted(NAMES))
        self.assertEqual(self.messages(), [("tree/latin \ufffd", LOCAL_FILE)])
        self.client(server, "list")
        self.assertEqual(sorted(entry["name"] for entry in self.latest), sorted(NAMES))

    def test_failures_are_reported_as_messages(self):
        self.write("a", HELLO)
        server = self.serve()
        os.symlink("a", self.path("link"))
        self.client(server, "upload", "missing", "a", ".", expect=LOCAL_FILE)
        self.assertEqual(self.messages(), [("missing", LOCAL_FILE), ("./link", DONE)])
        self.write("a", b"mine")
        self.client(server, "download", "nowhere", "a", expect=REFUSED)
        self.assertEqual(self.messages(), [("nowhere", REFUSED), ("./a", LOCAL_FILE)])
        self.client("unix:nobody", "list", expect=BROKEN)
        self.assertEqual(self.messages(), [("list", BROKEN)])
        damaging = self.start_peer(wrong_id=True, flip_byte=0)
        server_id = md5(b"wrong " + md5(b"mine").encode())
        self.client(damaging, "upload", "a", expect=WRONG_DIGEST)
        self.assertEqual(self.files(), [("fail", md5(b"mine"), "a", "a", 4)])
        self.assertEqual(self.latest[0]["id_there"], server_id)
        self.assertEqual(self.messages(), [("a", WRONG_DIGEST)])
        damaging.store.add("hello", HELLO)
        summary = self.client(damaging, "download", "hello", expect=WRONG_DIGEST)
        self.assertEqual(self.files(), [("fail", md5(b"iello"), "hello", "./hello", 5)])
        self.assertEqual(self.latest[0]["id_there"], HELLO_ID)
        self.assertEqual(summary["files"], 0)

    def test_incompatible_arguments_are_usage_errors(self):
        for arguments in (("download", "a", "-o", "-"), ("list", "--md5sum"), ("simulate", "a"),
                          ("nonsense",)):
            for words in (("--json", *arguments), (*arguments, "--json")):
                self.assertEqual(self.run_program("filexfer-client", *words, expect=USAGE), b"")

    def test_a_long_transfer_reports_progress_unless_quiet(self):
        for name, size in (("a", 100000), ("b", 300000), ("c", 100001)):
            self.write("tree/" + name, make_data(size))
        for options in ((), ("--quiet",)):
            server = self.start_peer(stall_upload_after=200000)
            client = self.start_client(server, "--json", *options, "upload", "tree")
            out = client.stdout.readline()
            if not options:
                while b'"progress"' not in out.splitlines()[-1]:
                    out += client.stdout.readline()
            self.assertTrue(server.stalled.wait(TIMEOUT))
            server.release.set()
            rest, err = client.communicate(timeout=TIMEOUT)
            events, summary = self.parse(out + rest, DONE)
            self.assertEqual(err, b"")
            self.assertEqual((summary["files"], summary["bytes"]), (3, 500001))
            progress = [event for event in events if event["event"] == "progress"]
            for event in progress:
                self.assertEqual((event["files_known"], event["bytes_known"], event["all_known"]),
                                 (3, 500001, True))
                self.assertLessEqual(event["bytes"], 500001)
                self.assertLessEqual(event["files"], 3)
            self.assertEqual(bool(progress), not options)

    def test_bytes_that_are_sent_again_are_counted_once(self):
        data = make_data(4 * MIB)
        self.write("file", data)
        relay = self.start_relay(self.serve(store="store"))
        self.retry_options = ("--retry-for", "30s")
        for job in (("upload", "file"), ("download", "file", "-o", "copy")):
            relay.cut_after = [1 * MIB, 1 * MIB]
            summary = self.client(relay, *job)
            self.assertEqual([event["subject"] for event in self.latest
                              if event["event"] == "retry"], ["file", "file"])
            # Bytes in a part file are not moved; bytes lost on the way were counted when read.
            self.assertLessEqual(summary["bytes"], len(data))
            self.assertGreater(summary["bytes"], 2 * MIB)

    def test_an_interrupted_job_ends_with_its_summary(self):
        self.write("large", bytes(64 * MIB))
        for stall, job in (("stall_upload_after", ("upload", "large")),
                           ("stall_download_after",
                            ("download", md5(make_data(300000)), "-o", "copy"))):
            server = self.start_peer(**{stall: 200000})
            server.store.add("file", make_data(300000))
            out, err = self.interrupt(server, self.start_client(server, "--json", *job))
            self.assertEqual(err, b"")
            self.latest, _ = self.parse(out, INTERRUPTED)
            self.assertEqual([code for _, code in self.messages()], [INTERRUPTED])
            self.assertFalse(os.path.exists(self.path("copy")))

    @skip_with_tsan
    def test_an_interruption_ends_the_wait_for_standard_input(self):
        for arguments in ((), ("--size", "10"), ("--size", "1000000")):
            client = self.start_client(self.serve(), "--json", "upload", "-", *arguments,
                                       stdin=subprocess.PIPE)
            self.interrupt_reading(client)
            self.parse(client.stdout.read(), INTERRUPTED)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
