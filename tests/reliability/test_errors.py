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

import os
from typing import Iterator, List, Sequence, Set

import integration_path  # noqa: F401
import programs
from exit_codes import DONE
from faults import LIBRARY, NONE, Faults
from harness import Harness, NotReached, SelfTest, main, wrong_at_server
from scenarios import Download, Launch, Run, Scenario, ServerRun, wait_until_held

# The errors that are tried.
SPACE = ("ENOSPC", "EDQUOT", "EIO")
ERRORS = {"write": (*SPACE, "EINTR", "short"), "pread": ("EIO", "EINTR", "short"),
          "fsync": (*SPACE, "EINTR"), "open": (*SPACE, "EMFILE", "EINTR"),
          "close": (*SPACE, "EINTR"), "mkdir": (*SPACE, "EINTR"), "link": (*SPACE, "EMLINK"),
          "rename": SPACE, "unlink": ("EIO",), "ftruncate": (*SPACE, "EINTR"), "fchmod": ("EIO",),
          "futimens": ("EIO",), "stat": ("EIO",), "flock": ("EINTR", "ENOLCK"),
          "getdents": ("EIO",), "lseek": ("EIO",)}


class Errors(Harness):
    name = "errors"
    tries = 24

    def __init__(self, lies: Sequence[str] = ()):
        super().__init__()
        self.lies = lies  # the points, for a self-test
        self.seen: Set[str] = set()  # calls that a scenario has made

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
        self.seen.update(call for call in ERRORS if faults.count(call) > 0)
        return ["%s:%d:%s" % (call, n + 1, error) for call, errors in ERRORS.items()
                for n in range(faults.count(call)) for error in errors]

    def unreached(self) -> List[str]:
        return ["no scenario calls " + call for call in ERRORS if call not in self.seen]

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
