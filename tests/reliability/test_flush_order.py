#!/usr/bin/env python3
"""Traces each scenario, and checks the order of its system calls.

What was acknowledged survives a power cut only if, before the first byte of the id line, or of
the client's line that says Success, all of this was on the disk, in this order:

    the bytes  <  their flush  <  the name  <  the flush of each folder, leaf to root

and for a removal

    the removal of the name  <  the flush of each folder that is left, leaf to root

Then each flush is removed from a trace, or moved behind the reply: the check must fail each time.
It must also fail for servers whose stores are broken on purpose, and if flushes are not done.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they or strace are missing.
"""

from __future__ import annotations

import os
import re
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Type

import integration_path  # noqa: F401
import programs
from harness import Harness, SelfTest, main
from scenarios import (SOUND, CleanUp, ClientScenario, CollidingUpload, File, Launch, Run,
                       Scenario, SecondServer, wait_until_held)
from tracing import Call, Strace, calls_in, why_not_strace
from waiting import wait_until

TRACED = ("write,writev,pwrite64,sendto,sendmsg,fsync,fdatasync,linkat,renameat,renameat2,"
          "unlinkat,?mkdir,mkdirat,fchmod,utimensat,ftruncate")
NEVER = 10**9  # behind all lines of a trace


class Step(NamedTuple):
    """The effect of a call on the place or the client; `path` is absolute."""

    kind: str  # "write", "flush", "commit", "remove", "folder", "send", "print"
    path: str
    call: Call
    source: str = ""  # of a committed file; what is sent or printed


def path_of(descriptor: str) -> str:
    """The path in `7</a/b>`, as strace -y writes it."""
    match = re.match(r"(?:\d+|AT_FDCWD)<(.*)>$", descriptor.strip())
    return match.group(1) if match else ""


def step_of(call: Call, opened: Dict[str, str]) -> Optional[Step]:
    """`opened` has the paths of the descriptors in the calls before, and of files that got a name,
    by that name."""
    fields = re.findall(r'"(?:[^"\\]|\\.)*"|(?:\d+|AT_FDCWD)<[^>]*>+|[^,]+', call.arguments)
    fields = [field.strip() for field in fields if field.strip()]
    if call.result.startswith("-1") or "(INJECTED)" in call.result or not fields:
        return None
    names = [field.strip('"') for field in fields if field.startswith('"')]
    folders = [path_of(field) for field in fields if re.match(r"(\d+|AT_FDCWD)<", field)]
    opened.update(re.findall(r"(\d+)<([^>]*)>", call.arguments))
    if call.name in ("fsync", "fdatasync"):
        return Step("flush", folders[0], call)
    if call.name in ("linkat", "renameat", "renameat2"):
        source = os.path.join(folders[0], names[0])
        target = os.path.join(folders[1], names[1])
        if not names[0]:  # AT_EMPTY_PATH: a file without a name gets one
            source = opened[target] = folders[0]
        elif source.startswith("/proc/self/fd/"):  # likewise, before Linux 6.10
            source = opened[target] = opened.get(os.path.basename(source), source)
        return Step("commit", target, call, opened.get(source, source))
    if call.name in ("unlinkat", "mkdirat"):
        return Step("remove" if call.name == "unlinkat" else "folder",
                    os.path.join(folders[0], names[0]), call)
    if call.name == "mkdir":
        return Step("folder", os.path.join("/", names[0]), call)
    is_sent = call.name.startswith("send")
    if is_sent or fields[0].startswith("1<"):
        text = re.sub("<[^>]*>", "", call.arguments)
        return Step("send" if is_sent else "print", folders[0], call, text)
    return Step("write", folders[0], call) if folders else None


class Expected(NamedTuple):
    """A name that was acknowledged."""

    file: File
    target: str  # its path
    root: str  # the folders up to this one are flushed
    commits: bool
    rank: int  # of its reply, among those with the same id

    @property
    def id_folder(self) -> str:
        return os.path.join(self.root, self.file.id)


class Order:
    """The steps of one act, and what is wrong in them. Its replies are what it sends or prints."""

    def __init__(self, steps: List[Step], reply: str):
        self.steps, self.reply = steps, reply

    def first(self, kind: str, path: str, since: int = -1) -> Optional[Call]:
        for step in self.steps:
            if step.kind == kind and step.path == path and step.call.begin > since:
                return step.call
        return None

    def last_change(self, path: str) -> int:
        return max((step.call.end for step in self.steps
                    if step.kind == "write" and step.path == path), default=-1)

    def replies(self, text: str) -> List[Call]:
        """Once for each time that it is sent."""
        return [step.call for step in self.steps if step.kind == self.reply
                for _ in range(step.source.count(text))]

    def breaches(self, expected: Expected) -> List[str]:
        wrong: List[str] = []
        replies = self.replies(expected.file.id)
        if len(replies) <= expected.rank:
            return ["there are %d replies" % len(replies)]
        reply = replies[expected.rank]
        target = expected.target
        commits = [step for step in self.steps if step.kind == "commit" and step.path == target]
        if len(commits) != (1 if expected.commits else 0):
            return ["the name is added %d times" % len(commits)]
        since = -1
        if commits:
            source = commits[0].source
            if not source.startswith(expected.id_folder) and self.last_change(source) < 0:
                wrong.append("the bytes of a temporary file are not written")
            # A file that is already renamed is flushed under its new path.
            flushed = (self.first("flush", source, self.last_change(source))
                       or self.first("flush", target, self.last_change(source)))
            if flushed is None:
                wrong.append("the file is not flushed after its bytes are written")
            elif not flushed.end < commits[0].call.begin:
                wrong.append("the file is shown before it is flushed")
            since = commits[0].call.end
        else:
            # The file may have been found under another of its names.
            found = [step.path for step in self.steps
                     if step.kind == "flush" and os.path.isfile(step.path)
                     and os.path.samefile(step.path, target)]
            flushed = self.first("flush", found[0], self.last_change(found[0])) if found else None
            if flushed is None or not flushed.end < reply.begin:
                wrong.append("the file that was found is not flushed before the reply")
        return wrong + self.unflushed(os.path.dirname(target), expected.root, since, reply)

    def unflushed(self, folder: str, root: str, since: int, reply: Call) -> List[str]:
        """Folders up to the root that are not flushed one after the other before the reply."""
        wrong = []
        while len(folder) >= len(root):
            flushed = self.first("flush", folder, since)
            if flushed is None:
                wrong.append("%s is not flushed after what changed in it" % folder)
                since = reply.begin
            else:
                since = flushed.end
            folder = os.path.dirname(folder)
        if not since < reply.begin:
            wrong.append("the id is sent before the last flush")
        return wrong

    def removal_breaches(self, file: File, target: str, root: str) -> List[str]:
        removed = [step.call for step in self.steps
                   if step.kind == "remove" and step.path == target]
        replies = self.replies(file.id)
        if len(removed) != 1 or len(replies) != 1:
            return ["there are %d removals and %d replies" % (len(removed), len(replies))]
        folder, since = os.path.dirname(target), removed[0].end
        while not os.path.exists(folder):
            gone = self.first("remove", folder, since)
            since = gone.end if gone else since
            folder = os.path.dirname(folder)
        return self.unflushed(folder, root, since, replies[0])

    def folder_breaches(self, place: str) -> List[str]:
        """Folders that are made, whose parents are not flushed before the first reply."""
        replies = [step.call.begin for step in self.steps if step.kind == self.reply]
        wrong = []
        for step in self.steps:
            if step.kind == "folder" and step.path.startswith(place) and (
                    not os.path.basename(step.path).startswith(".")):
                flushed = self.first("flush", os.path.dirname(step.path), step.call.end)
                if flushed is None or (replies and not flushed.end < replies[-1]):
                    wrong.append("%s is made, and not flushed where it is" % step.path)
        return wrong


class FlushOrder(Harness):
    name = "flush_order"
    size = 320_000

    def __init__(self, launch: Launch = SOUND, skipped: Sequence[str] = (), edits: bool = False):
        super().__init__(launch)
        self.skipped = skipped  # calls that are not done
        self.edits = edits  # whether the points are traces that were edited

    def why_not(self) -> str:
        return why_not_strace()

    def scenarios(self) -> List[Type[Scenario]]:
        """Those whose process stores something, or removes it."""
        return [kind for kind in super().scenarios()
                if kind not in (CleanUp, CollidingUpload, SecondServer)]

    def points(self, scenario: Scenario, folder: str) -> List[str]:
        return ["whole"]

    def try_point(self, scenario: Scenario, folder: str, point: str) -> List[str]:
        place = os.path.join(folder, "place")
        scenario.copy_to(place)
        with scenario.begin(place, self.launch) as run:
            steps = self.trace(run, folder)
        if not run.finished:
            raise AssertionError("%s does not succeed: %s" % (scenario.name, run.error))
        wrong = self.breaches(steps, scenario, place, run)
        if self.edits:
            return wrong or self.unseen_edits(steps, scenario, place, run)
        return wrong

    def trace(self, run: Run, folder: str) -> List[Step]:
        trace = os.path.join(folder, "trace")
        options = ["-f", "-y", "-s", "400", "-o", trace, "-e", "trace=" + TRACED]
        if self.skipped:
            options += ["-e", "inject=%s:retval=0" % ",".join(self.skipped)]
        if run.held:
            wait_until_held(run.process)

        def steps() -> List[Step]:
            opened: Dict[str, str] = {}
            with open(trace) as file:
                return [step for call in calls_in(file.read())
                        for step in [step_of(call, opened)] if step]

        with Strace([run.process.pid], options):
            run.act()
            if run.process.poll() is None and run.finished:
                # The client may have the reply before strace has recorded the end of the call.
                known = run.talk.acknowledged | run.talk.removed
                wait_until(lambda: all(Order(steps(), "send").replies(id) for id, _ in known),
                           "the replies in the trace")
        return steps()

    def breaches(self, steps: List[Step], scenario: Scenario, place: str, run: Run) -> List[str]:
        order = Order(steps, "print" if isinstance(scenario, ClientScenario) else "send")
        wrong = []
        for expected in self.expected(order, scenario, place, run):
            wrong += ["%s: %s" % (expected.file.name, text)
                      for text in order.breaches(expected)]
        for file in scenario.before:
            if file.pair in run.talk.removed:
                store = scenario.store(place)
                wrong += order.removal_breaches(
                    file, os.path.join(store, file.id, file.name), store)
        return wrong + order.folder_breaches(place)

    def expected(self, order: Order, scenario: Scenario, place: str,
                 run: Run) -> Iterator[Expected]:
        if isinstance(scenario, ClientScenario):
            for path, file in scenario.paths.items():
                target = os.path.join(scenario.target(place), path)
                # The folder of the file; those that were made are folder_breaches()'s.
                yield Expected(file, target, os.path.dirname(target), True, 0)
            return
        store = scenario.store(place)
        names = [(file, os.path.join(store, file.id, file.name)) for file in scenario.after
                 if file.pair in run.talk.acknowledged]
        # Replies with one id come in the order in which its names were added.
        names.sort(key=lambda pair: min((step.call.end for step in order.steps
                                         if step.kind == "commit" and step.path == pair[1]),
                                        default=-1))
        ids: List[str] = []
        for file, target in names:
            rank = ids.count(file.id)
            ids.append(file.id)
            yield Expected(file, target, store, scenario.commits, rank)

    def unseen_edits(self, steps: List[Step], scenario: Scenario, place: str,
                     run: Run) -> List[str]:
        """A trace without each flush, one with it behind the reply, and one in which a name is
        added before all else."""
        edits = 0
        unseen = []
        for i, step in enumerate(steps):
            without = steps[:i] + steps[i + 1:]
            late = step._replace(call=step.call._replace(begin=NEVER, end=NEVER))
            early = step._replace(call=step.call._replace(begin=-1, end=-1))
            for edited in {"flush": (without, without + [late]),
                           "commit": ([early] + without,)}.get(step.kind, ()):
                edits += 1
                if not self.breaches(edited, scenario, place, run):
                    unseen.append("this may be out of order: %s %s" % (step.kind, step.path))
        return unseen or ["all of %d edits were seen" % edits]

    # Each with what must be said of it.
    DEFECTS = {"no-flush-of-file": "the file is not flushed after its bytes are written",
               "no-flush-of-folders": "is not flushed after what changed in it",
               "shown-before-flush": "the file is shown before it is flushed",
               "written-in-place": "the name is added 0 times",
               "acknowledged-before-commit": "the name is added 0 times"}

    def self_tests(self) -> Iterator[SelfTest]:
        for kind in self.scenarios():
            if kind.name in ("new", "second-name", "by-id", "same-again", "removed", "download"):
                yield SelfTest("a trace with a flush out of order (%s)" % kind.name,
                               "edits were seen", FlushOrder(edits=True), kind)
        yield SelfTest("no flush at all", "the file is not flushed",
                       FlushOrder(skipped=("fsync", "fdatasync")))
        if programs.path_of("filexfer-broken-server"):
            for defect, expected in self.DEFECTS.items():
                yield SelfTest(defect, expected,
                               FlushOrder(Launch("filexfer-broken-server", (defect,))))


if __name__ == "__main__":
    main(FlushOrder())
