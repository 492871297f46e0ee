#!/usr/bin/env python3
"""Traces filexfer-server during uploads, and checks the order of its system calls.

An acknowledged upload survives a power cut only if, before the first byte of the id line,
all of this was on the disk, in this order:

    the bytes  <  their flush  <  the name  <  the flush of each folder, leaf to root

The cases are a new file, a second name, a file that is already stored, and a name that is
added without sending bytes. Then each flush is removed from the trace, or moved behind the
reply: the check must fail each time. It must also fail for servers whose stores are broken
on purpose.

Exits with 77 where strace is missing or may not attach.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
import unittest
from typing import Callable, List, NamedTuple, Optional

import peer
from peer import Client, ServerProcess, md5
from tracing import Call, Strace, calls_in, skip_without_strace

BYTES = b"bytes of a file\n" * 20_000
ID = md5(BYTES)


class Step(NamedTuple):
    """The effect of a call on the store or the client; `path` is absolute."""

    kind: str  # "write", "flush", "commit", "reply"
    path: str
    call: Call
    source: str = ""  # of a committed file


def path_of(descriptor: str) -> str:
    """The path in `7</a/b>`, as strace -y writes it."""
    match = re.match(r"(?:\d+|AT_FDCWD)<(.*)>$", descriptor.strip())
    return match.group(1) if match else ""


def step_of(call: Call) -> Optional[Step]:
    fields = re.findall(r'"(?:[^"\\]|\\.)*"|(?:\d+|AT_FDCWD)<[^>]*>+|[^,]+', call.arguments)
    fields = [field.strip() for field in fields if field.strip()]
    if call.result.startswith("-1") or not fields:
        return None
    if call.name in ("fsync", "fdatasync"):
        return Step("flush", path_of(fields[0]), call)
    if call.name in ("linkat", "renameat", "renameat2"):
        names = [field.strip('"') for field in fields if field.startswith('"')]
        folders = [path_of(field) for field in fields if "<" in field]
        return Step("commit", folders[1] + "/" + names[1], call, folders[0] + "/" + names[0])
    if call.name in ("write", "writev", "pwrite64", "sendto", "sendmsg"):
        if ID in re.sub("<[^>]*>", "", call.arguments):  # in the bytes, not in the path
            return Step("reply", path_of(fields[0]), call)
        return Step("write", path_of(fields[0]), call)
    return None


def breaches(steps: List[Step], store: str, name: str, sends: bool, commits: bool) -> List[str]:
    """The errors in the trace of an upload that `sends` bytes and `commits` a name, or does not."""
    wrong: List[str] = []
    replies = [step for step in steps if step.kind == "reply"]
    if len(replies) != 1:
        return ["there are %d id lines" % len(replies)]
    reply = replies[0].call
    target = os.path.join(store, ID, name)

    def first(kind: str, path: str, since: int = -1) -> Optional[Call]:
        found = [step.call for step in steps
                 if step.kind == kind and step.path == path and step.call.begin > since]
        return found[0] if found else None

    commit_steps = [step for step in steps if step.kind == "commit" and step.path == target]
    if len(commit_steps) != (1 if commits else 0):
        return ["the name is added %d times" % len(commit_steps)]

    since = -1
    written = [step for step in steps if step.kind == "write" and "/.incoming/" in step.path]
    if bool(written) != sends:
        wrong.append("bytes are%s written" % ("" if written else " not"))
    if commits:
        source = commit_steps[0].source
        write_ends = [step.call.end for step in written if step.path == source]
        # A file that is already renamed is flushed under its new path.
        flushed = (first("flush", source, max(write_ends, default=-1))
                   or first("flush", target, max(write_ends, default=-1)))
        if flushed is None:
            wrong.append("the file is not flushed after its bytes are written")
        elif not flushed.end < commit_steps[0].call.begin:
            wrong.append("the file is shown before it is flushed")
        since = commit_steps[0].call.end
    else:
        # The file may have been found under another of its names.
        flushed_files = [step.path for step in steps
                         if step.kind == "flush" and os.path.isfile(step.path)]
        flushed = (first("flush", flushed_files[0])
                   if flushed_files and os.path.samefile(flushed_files[0], target) else None)
        if flushed is None or not flushed.end < reply.begin:
            wrong.append("the file that was found is not flushed before the reply")

    folder = os.path.dirname(target)
    while len(folder) >= len(store):
        flushed = first("flush", folder, since)
        if flushed is None:
            wrong.append("%s is not flushed after what changed in it" % folder)
            since = reply.begin
        else:
            since = flushed.end
        folder = os.path.dirname(folder)
    if not since < reply.begin:
        wrong.append("the id is sent before the last flush")
    return wrong


class Case(NamedTuple):
    title: str
    name: str
    sends: bool
    commits: bool
    run: Callable[[Client, str], object]


def upload_plain(client: Client, name: str) -> object:
    return client.upload(name, BYTES)


def upload_with_id(client: Client, name: str) -> object:
    client.features()
    return client.upload(name, BYTES, id=ID)


# Run in this order, on one store.
CASES = [
    Case("a new file", "folder/below/file", True, True, upload_plain),
    Case("a file that was found there", "folder/below/file", True, False, upload_plain),
    Case("a second name", "other/name", True, True, upload_plain),
    Case("a name that is added without bytes", "third", False, True, upload_with_id),
    Case("a name that is there, without bytes", "third", False, False, upload_with_id),
]


def trace_upload(server: ServerProcess, case: Case, folder: str) -> List[Step]:
    trace = os.path.join(folder, "trace")
    # -f: the server may still be starting its threads.
    options = ["-f", "-y", "-s", "100", "-o", trace,
               "-e", "trace=write,writev,pwrite64,sendto,sendmsg,"
               "fsync,fdatasync,linkat,renameat,renameat2"]

    def steps() -> List[Step]:
        with open(trace) as file:
            return [step for step in map(step_of, calls_in(file.read())) if step]

    with server.client() as client:
        with Strace([server.process.pid], options):
            case.run(client, case.name)
            # The client may have the reply before strace has recorded the end of the call.
            deadline = time.monotonic() + 60
            while all(s.kind != "reply" for s in steps()) and time.monotonic() < deadline:
                time.sleep(0.01)
    return steps()


class FlushOrderTest(unittest.TestCase):
    def check_edited_traces(self, steps: List[Step], store: str, case: Case) -> int:
        """Checks traces without each flush, and with it behind the reply; returns their number."""
        checked = 0
        for i, step in enumerate(steps):
            if step.kind != "flush":
                continue
            late = step._replace(call=step.call._replace(begin=10**9, end=10**9))
            for edited in (steps[:i] + steps[i + 1:], steps[:i] + [late] + steps[i + 1:]):
                self.assertTrue(breaches(edited, store, case.name, case.sends, case.commits),
                                "%s: nothing is missed without the flush of %s"
                                % (case.title, step.path))
                checked += 1
        return checked

    def test_files_and_folders_are_flushed_before_the_reply(self) -> None:
        with tempfile.TemporaryDirectory(prefix="filexfer-order-") as folder:
            store = os.path.realpath(os.path.join(folder, "store"))
            with ServerProcess(store=store) as server:
                for case in CASES:
                    with self.subTest(case.title):
                        steps = trace_upload(server, case, folder)
                        self.assertEqual([], breaches(steps, store, case.name, case.sends,
                                                      case.commits))
                        edited = self.check_edited_traces(steps, store, case)
                        print("%s: in order; %d traces with a flush out of order are not"
                              % (case.title, edited), flush=True)
                        commits = [step for step in steps if step.kind == "commit"]
                        for step in commits:
                            early = step._replace(call=step.call._replace(begin=-1, end=-1))
                            self.assertTrue(breaches([early if s is step else s for s in steps],
                                                     store, case.name, case.sends, case.commits))

    # Defects of the store, each with the expected error; the same store without one has none.
    DEFECTS = {
        "none": None,
        "no-flush-of-file": "the file is not flushed after its bytes are written",
        "no-flush-of-folders": "is not flushed after what changed in it",
        "shown-before-flush": "the file is shown before it is flushed",
        "written-in-place": "the name is added 0 times",
        "acknowledged-before-commit": "the name is added 0 times",
    }

    @unittest.skipUnless(peer.program("filexfer-broken-server"),
                         "filexfer-broken-server was not built")
    def test_broken_stores_are_detected(self) -> None:
        for defect, expected in self.DEFECTS.items():
            with self.subTest(defect), \
                    tempfile.TemporaryDirectory(prefix="filexfer-order-") as folder:
                store = os.path.realpath(os.path.join(folder, "store"))
                case = CASES[0]
                with ServerProcess(defect, store=store, name="filexfer-broken-server") as server:
                    steps = trace_upload(server, case, folder)
                wrong = breaches(steps, store, case.name, case.sends, case.commits)
                if expected is None:
                    self.assertEqual([], wrong)
                else:
                    self.assertTrue(any(expected in text for text in wrong), wrong)


if __name__ == "__main__":
    skip_without_strace()
    peer.run_tests("filexfer-server")
