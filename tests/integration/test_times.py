#!/usr/bin/env python3
"""Modification times that nanoseconds in 64 bits can't count, before 1677 and after 2262.

They are kept where the file system keeps them, as in memory (tmpfs). Other file systems keep the
nearest that they can (ext4: 1901 to 2446), which a download reports.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import json
import os
import shutil
import tempfile

import programs
from contents import HELLO, HELLO_ID
from places import folder_with_space
from program_case import Case

SECOND = 10**9
FAR = {"past": -20_000_000_000 * SECOND, "future": 20_000_000_000 * SECOND + 250_000_000,
       "first": -(2**63 - 1) * SECOND, "last": (2**63 - 1) * SECOND}
TEXT = {"past": "-20000000000", "future": "20000000000.25",
        "first": "-9223372036854775807", "last": "9223372036854775807"}


def mtime(path):
    return os.stat(path).st_mtime_ns


def kept(folder, time):
    """What the folder's file system keeps of that time."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        os.utime(file.name, ns=(0, time))
        return mtime(file.name)


class FarTimes(Case):
    """`self.source` has files with the times FAR; the folders `self.places` are to hold copies."""

    def setUp(self):
        super().setUp()
        self.source = folder_with_space(1024)
        self.addCleanup(shutil.rmtree, self.source)
        if any(kept(self.source, time) != time for time in FAR.values()):
            self.skipTest("no file system here keeps such times")
        os.mkdir(os.path.join(self.source, "copies"))
        os.mkdir(self.path("copies"))
        self.places = (os.path.join(self.source, "copies"), self.path("copies"))
        for name, time in FAR.items():
            path = self.file(name)
            with open(path, "wb") as file:
                file.write(HELLO)
            os.utime(path, ns=(0, time))

    def file(self, name):
        return os.path.join(self.source, name)

    def upload(self, server):
        self.client(server, "upload", *map(self.file, FAR))

    def note(self, name):
        return ("%s: its time, %s s since 1970, can't be kept here; it has the nearest\n"
                % (name, TEXT[name]))

    def test_a_server_lists_and_sends_them(self):
        for store in ("memory", os.path.join(self.source, "store")):
            server = self.serve(store=store)
            self.upload(server)
            lines = self.client(server, "--json", "list").splitlines()
            events = [json.loads(line) for line in lines]
            self.assertEqual({event["name"]: event["mtime"] for event in events
                              if event["event"] == "entry"}, TEXT)
        stored = os.path.join(self.source, "store", HELLO_ID)
        self.assertEqual({name: mtime(os.path.join(stored, name)) for name in FAR}, FAR)

    def test_a_store_on_a_disk_keeps_the_nearest(self):
        server = self.serve(store="store")
        for _ in range(2):
            self.upload(server)
            self.assertEqual(self.stderr, "")
            for name, time in FAR.items():
                self.assertEqual(mtime(self.path("store", HELLO_ID, name)),
                                 kept(self.folder, time), name)

    def test_a_download_keeps_them_or_reports_them(self):
        server = self.serve()
        self.upload(server)
        for place in self.places:
            expected = {name: kept(place, time) for name, time in FAR.items()}
            notes = sorted(self.note(name) for name in FAR if expected[name] != FAR[name])
            for word in ("Success", "Already there"):
                out = self.client(server, "download", *FAR, "-o", place).decode()
                self.assertEqual(sorted(out.splitlines()),
                                 sorted("%s  %s  %s" % (word, HELLO_ID, os.path.join(place, name))
                                        for name in FAR))
                self.assertEqual(sorted(self.stderr.splitlines(keepends=True)), notes)
                self.assertEqual({name: mtime(os.path.join(place, name)) for name in FAR}, expected)
            copy = os.path.join(place, "copy")
            self.client(server, "download", "future", "-o", copy)
            self.assertEqual(mtime(copy), expected["future"])
            self.assertEqual(self.stderr, "".join(note for note in notes if "future:" in note))

    def test_the_note_is_a_json_message(self):
        server = self.serve()
        self.upload(server)
        if kept(self.folder, FAR["past"]) == FAR["past"]:
            self.skipTest("this disk keeps such times")
        lines = self.client(server, "--json", "download", "past", "-o", "copy").splitlines()
        messages = [event for event in map(json.loads, lines) if event["event"] == "message"]
        subject, text = self.note("past").rstrip("\n").split(": ", 1)
        self.assertEqual(messages, [{"event": "message", "subject": subject, "text": text,
                                     "exit_code": 0}])

    def test_a_usual_time_is_not_reported(self):
        self.write("usual", HELLO)
        os.utime(self.path("usual"), ns=(0, 1_700_000_001_999_999_999))
        server = self.serve()
        self.client(server, "upload", "usual")
        for place in self.places:
            self.client(server, "download", "usual", "-o", os.path.join(place, "usual"))
            self.assertEqual(self.stderr, "")

    def test_the_newest_of_several_files_is_fetched(self):
        server = self.serve()
        times = [-20_000_000_000, -16_000_000_000, 0, 9_000_000_000, 15_000_000_000, 20_000_000_000]
        path = self.file("same")
        # Of equally old files, one order of the contents would fetch the wrong one.
        for prefix, all_contents in (("one", "123456"), ("two", "123465")):
            for time, contents in zip(times, all_contents):
                with open(path, "w") as file:
                    file.write(contents)
                os.utime(path, (0, time))
                self.client(server, "upload", path, "--name", prefix + "/same")
        self.client(server, "download", "--all", "-o", "out")
        self.assertEqual(self.read("out/one/same"), b"6")
        self.assertEqual(self.read("out/two/same"), b"5")


if __name__ == "__main__":
    programs.run_tests("filexfer-client", "filexfer-server")
