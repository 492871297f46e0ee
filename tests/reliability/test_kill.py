#!/usr/bin/env python3
"""Kills the process of a scenario after each of its system calls on files, and checks the rest.

A point N is the Nth call. strace stops the process there, and it is killed; what it has left is
what a next server, or a next run of filexfer-client, must cope with: see scenarios.py.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they or strace are missing.
"""
# ctest: COST 50

from __future__ import annotations

import os
from typing import Iterator, List

import integration_path  # noqa: F401
import programs
from harness import Harness, NotReached, SelfTest, main
from scenarios import Launch, Scenario
from stepping import CALLS, since_of, stepper_of
from tracing import why_not_strace


class Kill(Harness):
    name = "kill"

    def why_not(self) -> str:
        return why_not_strace()

    def points(self, scenario: Scenario, folder: str) -> List[str]:
        place = os.path.join(folder, "counted")
        scenario.copy_to(place)
        with scenario.begin(place, self.launch) as run:
            count = stepper_of(run, CALLS, folder).run(run.act, lambda _: None,
                                                       since_of(run, place))
        if not run.finished:
            raise AssertionError("%s does not succeed: %s" % (scenario.name, run.error))
        return [str(n + 1) for n in range(count)]

    def try_point(self, scenario: Scenario, folder: str, point: str) -> List[str]:
        place = os.path.join(folder, "place")
        scenario.copy_to(place)
        with scenario.begin(place, self.launch) as run:
            stepper = stepper_of(run, CALLS, folder)

            def kill(count: int) -> None:
                if count == int(point):
                    stepper.let_client_read(run)
                    run.process.kill()
                    run.process.wait()

            if stepper.run(run.act, kill, since_of(run, place)) < int(point):
                raise NotReached
        return ["killed after %s: %s" % (stepper.last_call, text)
                for text in scenario.check(place, run.talk, self.launch)]

    # Each with what must be said of it.
    DEFECTS = {"written-in-place": "has the digest",
               "acknowledged-before-commit": "acknowledged, and is not listed",
               "temporary-kept": "left after the same has succeeded",
               "no-clean-up": "left after the next start"}

    def self_tests(self) -> Iterator[SelfTest]:
        if programs.path_of("filexfer-broken-server"):
            for defect, expected in self.DEFECTS.items():
                broken = Kill(Launch("filexfer-broken-server", (defect,)))
                broken.tries = 1000
                yield SelfTest(defect, expected, broken)


if __name__ == "__main__":
    main(Kill())
