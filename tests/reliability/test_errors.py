#!/usr/bin/env python3
"""Lets each call on a file fail once, in each way that it can, and checks what comes of it.

A point CALL:N:ERROR is the Nth such call of an act: `write:2:ENOSPC`, or `write:2:short` for one
that writes half of its bytes. The server must answer with an ERROR or succeed, list nothing that is
not whole, leave nothing behind, keep no descriptor, and go on: another connection, and the same
act again, work at once, and after a restart.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they, or the library that injects
the errors (faults.cpp), are missing.
"""
# ctest: COST 120

from __future__ import annotations

import errno
import mmap
import os
import struct
from typing import Iterator, List, Sequence

import integration_path  # noqa: F401
import programs
from exit_codes import DONE
from harness import Harness, NotReached, SelfTest, main, wrong_at_server
from scenarios import Download, Launch, Run, Scenario, ServerRun, wait_until_held

# In the order of the enumeration in faults.cpp; each with the errors that are tried.
SPACE = ("ENOSPC", "EDQUOT", "EIO")
CALLS = {"write": (*SPACE, "EINTR", "short"), "pread": ("EIO", "EINTR", "short"),
         "fsync": (*SPACE, "EINTR"), "open": (*SPACE, "EMFILE", "EINTR"),
         "close": (*SPACE, "EINTR"), "mkdir": (*SPACE, "EINTR"), "link": (*SPACE, "EMLINK"),
         "rename": SPACE, "unlink": ("EIO",), "ftruncate": (*SPACE, "EINTR"), "fchmod": ("EIO",),
         "futimens": ("EIO",), "stat": ("EIO",), "flock": ("EINTR", "ENOLCK"),
         "readdir": ("EIO",), "lseek": ("EIO",), "epoll_wait": ()}
NAMES = list(CALLS)

EVERY, NONE = 0, -1  # instead of a number

LIBRARY = "libfilexfer-faults.so"


class Faults:
    """What the library in a process shares with this one."""

    def __init__(self, folder: str):
        self.path = os.path.join(folder, "faults")
        size = 4 * (5 + len(CALLS))
        with open(self.path, "wb+") as file:
            file.truncate(size)
            self.shared = mmap.mmap(file.fileno(), size)

    def preload(self) -> None:
        """In a new process, before its program is run."""
        os.environ.update(LD_PRELOAD=programs.path_of(LIBRARY), FILEXFER_FAULTS=self.path)

    def arm(self, call: str, number: int, error: str) -> None:
        code = {"short": 0, "lie": -1}.get(error) or getattr(errno, error, 0)
        struct.pack_into("4i", self.shared, 4, NAMES.index(call), number, code, 0)
        struct.pack_into("i", self.shared, 0, 1)

    def disarm(self) -> None:
        struct.pack_into("i", self.shared, 0, 0)

    def struck(self) -> bool:
        return struct.unpack_from("i", self.shared, 16)[0] != 0

    def counts(self) -> Sequence[int]:
        return struct.unpack_from("%di" % len(CALLS), self.shared, 20)


class Errors(Harness):
    name = "errors"
    tries = 24

    def __init__(self, lies: Sequence[str] = ()):
        super().__init__()
        self.lies = lies  # the points, for a self-test

    def why_not(self) -> str:
        if os.environ.get("FILEXFER_SANITIZE"):
            return "a sanitizer's own library must be the first one"
        return "" if programs.path_of(LIBRARY) else LIBRARY + " was not built"

    def points(self, scenario: Scenario, folder: str) -> List[str]:
        if self.lies:
            return list(self.lies)
        place = os.path.join(folder, "counted")
        scenario.copy_to(place)
        faults = Faults(folder)
        with scenario.begin(place, Launch(prepare=faults.preload)) as run:
            faults.arm("write", NONE, "short")
            run.act()
            faults.disarm()
        if not run.finished:
            raise AssertionError("%s does not succeed: %s" % (scenario.name, run.error))
        return ["%s:%d:%s" % (call, n + 1, error) for call, count in zip(NAMES, faults.counts())
                for n in range(count) for error in CALLS[call]]

    def try_point(self, scenario: Scenario, folder: str, point: str) -> List[str]:
        call, number, error = point.split(":")
        place = os.path.join(folder, "place")
        scenario.copy_to(place)
        faults = Faults(folder)
        with scenario.begin(place, Launch(prepare=faults.preload)) as run:
            if run.held:
                wait_until_held(run.process)
                faults.arm(call, int(number), error)
                run.act()
                faults.disarm()
                wrong = self.after_program(run)
            else:
                assert isinstance(run, ServerRun)
                with run.server.client() as other:
                    other.list_files()
                    descriptors = run.server.descriptors()
                    faults.arm(call, int(number), error)
                    run.act()
                    faults.disarm()
                    wrong = self.after_dialogue(scenario, place, run, descriptors)
                    if run.process.poll() is None:
                        other.list_files()
            if not faults.struck():
                raise NotReached
        if call == "fsync" and error != "EINTR" and run.finished and not run.held:
            wrong.append("it is acknowledged though a flush has failed")
        wrong += scenario.check(place, run.talk)
        if call == "unlink" and error != "lie":  # then something stays, until the next start
            wrong = [text for text in wrong if "left" not in text or "start" in text]
        return wrong

    def after_program(self, run: Run) -> List[str]:
        """A start that failed, or a client, ends with a code and says why."""
        code = run.process.poll()
        if code is not None and (code < 0 or (code == DONE) != run.finished):
            return ["the program ended with %d: %s" % (code, run.error)]
        return []

    def after_dialogue(self, scenario: Scenario, place: str, run: ServerRun,
                       descriptors: int) -> List[str]:
        wrong = []
        if not run.finished and getattr(run.error, "code", "") not in ("io", "no-space"):
            wrong.append("it ended with %r" % run.error)
        return wrong + wrong_at_server(scenario, place, run, descriptors, "the error")

    # Points where the library does not do what it says, as code would that ignores an error.
    DEFECTS = {"a short write that is taken for a whole one": ("write:1:lie", "has the digest"),
               "a descriptor that is not closed": ("close:1:lie", "descriptors after")}

    def self_tests(self) -> Iterator[SelfTest]:
        for defect, (point, expected) in self.DEFECTS.items():
            yield SelfTest(defect, expected, Errors([point]))
        yield SelfTest("a client that takes a short write for a whole one", "is not complete",
                       Errors(["write:1:lie"]), Download)


if __name__ == "__main__":
    main(Errors())
