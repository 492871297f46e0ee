#!/usr/bin/env python3
"""Traces filexfer-server during uploads, and looks at the order of its system calls.

What was answered with its id survives a power cut only if, before the first byte of
the id line, all of this was on the disk, in this order:

    the bytes  <  their flush  <  the name  <  the flush of each folder, leaf to root

Looked at are a new file, a second name, a file that was found there, and a name that
is added without sending bytes. Then each flush is taken out of the trace, and each is
moved behind the reply: every time the check must complain. So it must about servers
whose stores are broken on purpose.

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
    """What a call does to the store or to the client; `path` is absolute."""

    kind: str  # "write", "flush", "show", "reply"
    path: str
    call: Call
    source: str = ""  # of a file that is shown


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
        return Step("show", folders[1] + "/" + names[1], call, folders[0] + "/" + names[0])
    if call.name in ("write", "writev", "pwrite64", "sendto", "sendmsg"):
        if ID in re.sub("<[^>]*>", "", call.arguments):  # in what is written, not in where
            return Step("reply", path_of(fields[0]), call)
        return Step("write", path_of(fields[0]), call)
    return None


def breaches(steps: List[Step], store: str, name: str, sends: bool, shows: bool) -> List[str]:
    """What is out of order in an upload of `name` that sends bytes, and that shows a name."""
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

    shown = [step for step in steps if step.kind == "show" and step.path == target]
    if len(shown) != (1 if shows else 0):
        return ["the name is added %d times" % len(shown)]

    since = -1
    written = [step for step in steps if step.kind == "write" and "/.incoming/" in step.path]
    if bool(written) != sends:
        wrong.append("bytes are%s written" % ("" if written else " not"))
    if shows:
        source = shown[0].source
        own = [step.call.end for step in written if step.path == source]
        # A file that was renamed already is flushed under its new path.
        flushed = first("flush", source, max(own, default=-1)) or first("flush", target, max(own, default=-1))
        if flushed is None:
            wrong.append("the file is not flushed after its bytes are written")
        elif not flushed.end < shown[0].call.begin:
            wrong.append("the file is shown before it is flushed")
        since = shown[0].call.end
    else:
        # It may have been found under another of its names.
        held = [step.path for step in steps if step.kind == "flush" and os.path.isfile(step.path)]
        flushed = first("flush", held[0]) if held and os.path.samefile(held[0], target) else None
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
    shows: bool
    run: Callable[[Client, str], object]


def plain(client: Client, name: str) -> object:
    return client.upload(name, BYTES)


def with_id(client: Client, name: str) -> object:
    client.features()
    return client.upload(name, BYTES, id=ID)


# In this order, on one store.
CASES = [
    Case("a new file", "folder/below/file", True, True, plain),
    Case("a file that was found there", "folder/below/file", True, False, plain),
    Case("a second name", "other/name", True, True, plain),
    Case("a name that is added without bytes", "third", False, True, with_id),
    Case("a name that is there, without bytes", "third", False, False, with_id),
]


def traced(server: ServerProcess, case: Case, folder: str) -> List[Step]:
    trace = os.path.join(folder, "trace")
    # -f: the server may still be making its threads.
    options = ["-f", "-y", "-s", "100", "-o", trace, "-e", "trace=write,writev,pwrite64,sendto,sendmsg,"
               "fsync,fdatasync,linkat,renameat,renameat2"]

    def steps() -> List[Step]:
        with open(trace) as file:
            return [step for step in map(step_of, calls_in(file.read())) if step]

    with server.client() as client:
        with Strace([server.process.pid], options):
            case.run(client, case.name)
            # The client may have the reply before strace has seen its call end.
            patience = time.monotonic() + 60
            while all(s.kind != "reply" for s in steps()) and time.monotonic() < patience:
                time.sleep(0.01)
    return steps()


class FlushOrderTest(unittest.TestCase):
    def without_any_flush(self, steps: List[Step], store: str, case: Case) -> int:
        """Takes each flush out, then moves each behind the reply; the number of tries."""
        needed = 0
        for i, step in enumerate(steps):
            if step.kind != "flush":
                continue
            late = step._replace(call=step.call._replace(begin=10**9, end=10**9))
            for edited in (steps[:i] + steps[i + 1:], steps[:i] + [late] + steps[i + 1:]):
                self.assertTrue(breaches(edited, store, case.name, case.sends, case.shows),
                                "%s: nothing is missed without the flush of %s" % (case.title, step.path))
                needed += 1
        return needed

    def test_the_order_of_flushes(self) -> None:
        with tempfile.TemporaryDirectory(prefix="filexfer-order-") as folder:
            store = os.path.realpath(os.path.join(folder, "store"))
            with ServerProcess(store=store) as server:
                for case in CASES:
                    with self.subTest(case.title):
                        steps = traced(server, case, folder)
                        self.assertEqual([], breaches(steps, store, case.name, case.sends, case.shows))
                        edited = self.without_any_flush(steps, store, case)
                        print("%s: in order; %d traces with a flush out of order are not"
                              % (case.title, edited), flush=True)
                        shows = [step for step in steps if step.kind == "show"]
                        for step in shows:
                            early = step._replace(call=step.call._replace(begin=-1, end=-1))
                            self.assertTrue(breaches([early if s is step else s for s in steps], store,
                                                     case.name, case.sends, case.shows))

    # Of servers whose stores are broken in one way, and of the same store without a defect.
    DEFECTS = {
        "none": None,
        "no-flush-of-file": "the file is not flushed after its bytes are written",
        "no-flush-of-folders": "is not flushed after what changed in it",
        "shown-before-flush": "the file is shown before it is flushed",
        "written-in-place": "the name is added 0 times",
        "acknowledged-before-commit": "the name is added 0 times",
    }

    @unittest.skipUnless(peer.program("filexfer-broken-server"), "filexfer-broken-server was not built")
    def test_defects_are_found(self) -> None:
        for defect, expected in self.DEFECTS.items():
            with self.subTest(defect), tempfile.TemporaryDirectory(prefix="filexfer-order-") as folder:
                store = os.path.realpath(os.path.join(folder, "store"))
                case = CASES[0]
                with ServerProcess(defect, store=store, name="filexfer-broken-server") as server:
                    steps = traced(server, case, folder)
                wrong = breaches(steps, store, case.name, case.sends, case.shows)
                if expected is None:
                    self.assertEqual([], wrong)
                else:
                    self.assertTrue(any(expected in text for text in wrong), wrong)


if __name__ == "__main__":
    skip_without_strace()
    peer.run_tests("filexfer-server")
