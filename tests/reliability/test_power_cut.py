#!/usr/bin/env python3
"""Cuts the power after each system call that changes a file, and checks what is on the disk.

The place of a scenario is on a file system in an image. strace stops the process after each call;
what the image has at that instant, before anything is unmounted, is what a power cut would leave.
Later each copy is mounted, and checked as after a kill: see scenarios.py.

A point FILESYSTEM:HOW:N is the Nth call, or `answered`, after the last reply. HOW is `plain`, or
`unrelated`: another file is flushed before the copy is made, which commits what the file system
knows of ours, but not our bytes. What a file system has handed to the disk is taken to be on it:
the cache of a disk is not simulated.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they, root, strace or mounts are
missing; a file system that can't be made or mounted here is left out.
"""
# ctest: COST 100

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, Iterator, List, NamedTuple, Sequence, Tuple

import integration_path  # noqa: F401
import programs
from disks import FILE_SYSTEMS, copy_image, enter_namespaces, why_not_mounts
from harness import WORKERS, Harness, SelfTest, Wrong, main
from scenarios import SOUND, Download, Launch, Scenario, Talk
from stepping import CHANGING_CALLS, since_of, stepper_of
from tracing import why_not_strace

HOW = ("plain", "unrelated")
ANSWERED = "answered"


class Image(NamedTuple):
    point: str
    path: str
    talk: Talk  # what was acknowledged by then
    call: str


class PowerCut(Harness):
    name = "power_cut"
    tries = 6

    def __init__(self, launch: Launch = SOUND, skipped: Sequence[str] = ()):
        super().__init__(launch)
        self.skipped = skipped  # calls that are not done
        self.file_systems: List[str] = []
        self.sampled = 0

    def why_not(self) -> str:
        reason = why_not_mounts() or why_not_strace()
        if reason:
            return reason
        for name, kind in FILE_SYSTEMS.items():
            reason = kind.why_not()
            if reason:
                print("without %s: %s" % (name, reason), flush=True)
            else:
                self.file_systems.append(name)
        return "" if self.file_systems else "no file system can be mounted"

    def points(self, scenario: Scenario, folder: str) -> List[str]:
        place = os.path.join(folder, "counted")
        scenario.copy_to(place)
        with scenario.begin(place, self.launch) as run:
            stepper = stepper_of(run, CHANGING_CALLS, folder)
            calls: List[int] = []

            def count(_: int) -> None:
                if changes(stepper.last_call):
                    calls.append(len(calls) + 1)

            stepper.run(run.act, count, since_of(run, place))
        if not run.finished:
            raise AssertionError("%s does not succeed: %s" % (scenario.name, run.error))
        return ["%s:%s:%s" % (kind, how, n) for kind in self.file_systems for how in HOW
                for n in [*calls, ANSWERED]]

    def sample(self, points: List[str]) -> List[str]:
        """Of one file system, another one each time."""
        kind = self.file_systems[self.sampled % len(self.file_systems)]
        self.sampled += 1
        chosen = []
        for how in HOW:
            own = [point for point in points if point.startswith("%s:%s:" % (kind, how))]
            chosen += super().sample(own)
        return chosen

    def try_points(self, scenario: Scenario, folder: str,
                   points: List[str]) -> Tuple[int, List[Wrong]]:
        wanted: Dict[Tuple[str, str], List[str]] = {}
        for point in points:
            kind, how, call = point.split(":")
            wanted.setdefault((kind, how), []).append(call)
        tried, wrong = 0, []
        scenario.may_lack_neighbours = True  # they flush nothing
        for (kind, how), calls in wanted.items():
            images = self.cut(scenario, folder, kind, how, calls)
            with ThreadPoolExecutor(WORKERS) as pool:
                for found in pool.map(lambda image: self.check(scenario, kind, image), images):
                    wrong += found
            tried += len(images)
        return tried, wrong

    def cut(self, scenario: Scenario, folder: str, kind: str, how: str,
            calls: List[str]) -> List[Image]:
        """The images of one run."""
        disk = os.path.join(folder, "disk")
        images: List[Image] = []
        FILE_SYSTEMS[kind].create(disk)
        with FILE_SYSTEMS[kind].mounted(disk, disk + ".mount") as mount:
            place = os.path.join(mount, "place")
            scenario.copy_to(place)
            os.sync()
            with scenario.begin(place, self.launch) as run:
                stepper = stepper_of(run, CHANGING_CALLS, folder, self.skipped)

                def take(call: str) -> None:
                    if call not in calls:
                        return
                    stepper.let_client_read(run)
                    talk = run.talk.snapshot()
                    if how == "unrelated":
                        with open(os.path.join(mount, "unrelated"), "ab") as file:
                            file.write(b"x")
                            file.flush()
                            os.fsync(file.fileno())
                    point = "%s:%s:%s" % (kind, how, call)
                    image = os.path.join(folder, point)
                    copy_image(disk, image)
                    images.append(Image(point, image, talk, stepper.last_call))

                changed = 0

                def at_stop(_: int) -> None:
                    nonlocal changed
                    if changes(stepper.last_call):
                        changed += 1
                        take(str(changed))

                stepper.run(run.act, at_stop, since_of(run, place))
                take(ANSWERED)
        os.remove(disk)
        return images

    def check(self, scenario: Scenario, kind: str, image: Image) -> List[Wrong]:
        with FILE_SYSTEMS[kind].mounted(image.path, image.path + ".mount") as mount:
            found = scenario.check(os.path.join(mount, "place"), image.talk)
        os.remove(image.path)
        return [Wrong(image.point, "the power cut after %s: %s" % (image.call, text))
                for text in found]

    # Each with what must be said of it.
    DEFECTS = {"no-flush-of-file": "has the digest",
               "no-flush-of-folders": "acknowledged, and is not listed",
               "shown-before-flush": "has the digest"}

    def self_tests(self) -> Iterator[SelfTest]:
        blind = PowerCut(skipped=("fsync", "fdatasync"))
        blind.file_systems = self.file_systems
        for _ in self.file_systems:  # each once, as samples are
            yield SelfTest("no flush at all", "acknowledged, and is not listed", blind)
        yield SelfTest("a client that flushes nothing", "is not complete|was reported, and is not",
                       blind, Download)
        if programs.path_of("filexfer-broken-server"):
            for defect, expected in self.DEFECTS.items():
                broken = PowerCut(Launch("filexfer-broken-server", (defect,)))
                broken.file_systems = self.file_systems[:1]
                broken.tries = 1000
                yield SelfTest(defect, expected, broken)


def changes(call: str) -> bool:
    """Whether a call may have changed a file; opening one does so only if it creates it."""
    return not call.startswith("openat(") or "O_CREAT" in call


if __name__ == "__main__":
    enter_namespaces()
    main(PowerCut())
