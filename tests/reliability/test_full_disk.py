#!/usr/bin/env python3
"""Lets the disk become full at each page and at each inode, and checks what comes of it.

A point `pages:N` is a tmpfs of 256 KiB on which N pages are free when the act begins, `inodes:N`
one on which N files can still be made. The server must answer `no-space` or succeed, list nothing that
is not whole, and leave nothing behind; once there is space, the same act succeeds.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they, or root, are missing.
"""

from __future__ import annotations

import contextlib
import os
from typing import Iterator, List

import integration_path  # noqa: F401
import programs
from disks import enter_namespaces, mounted, why_not_mounts
from exit_codes import DONE, LOCAL_FILE
from harness import Harness, SelfTest, kept, main
from scenarios import Launch, Scenario, ServerRun, wait_until_held

OPTIONS = {"pages": "size=256k", "inodes": "size=4m,nr_inodes=64"}
PAGE = os.sysconf("SC_PAGE_SIZE")


class FullDisk(Harness):
    name = "full_disk"
    size = 60_000
    tries = 12

    def why_not(self) -> str:
        return why_not_mounts()

    def points(self, scenario: Scenario, folder: str) -> List[str]:
        # As much as the greediest scenario needs, and a little more.
        pages = 2 * self.size // PAGE + 6
        return ["pages:%d" % n for n in range(pages)] + ["inodes:%d" % n for n in range(12)]

    def try_point(self, scenario: Scenario, folder: str, point: str) -> List[str]:
        kind, free = point.split(":")
        with mounted(os.path.join(folder, "disk"), "-t", "tmpfs", "-o", OPTIONS[kind],
                     "tmpfs") as disk:
            place = os.path.join(disk, "place")
            scenario.copy_to(place)
            scenario.may_lack_neighbours = True
            with scenario.begin(place, self.launch) as run:
                if run.held:
                    wait_until_held(run.process)
                with self.ballast(disk, kind, int(free)):
                    run.act()
                    if isinstance(run, ServerRun) and not run.held:
                        wrong = self.after_dialogue(scenario, place, run)
                    else:
                        wrong = self.after_program(run)
                if isinstance(run, ServerRun) and not run.held and not wrong:
                    wrong += scenario.check_again(place, run.server)
            return wrong + scenario.check(place, run.talk)

    @contextlib.contextmanager
    def ballast(self, disk: str, kind: str, free: int) -> Iterator[None]:
        """Fills the disk meanwhile, but for so much."""
        made = []
        status = os.statvfs(disk)
        if kind == "pages":
            made.append(os.path.join(disk, "ballast"))
            with open(made[0], "wb") as file:
                file.write(bytes(max(0, status.f_bavail * status.f_frsize - free * PAGE)))
        else:
            for i in range(status.f_ffree - free):
                made.append(os.path.join(disk, "ballast%d" % i))
                with open(made[-1], "wb"):
                    pass
        try:
            yield
        finally:
            for path in made:
                os.remove(path)

    def after_dialogue(self, scenario: Scenario, place: str, run: ServerRun) -> List[str]:
        if run.process.poll() is not None:
            return ["the server ended with %d" % run.process.returncode]
        wrong = []
        if not run.finished and getattr(run.error, "code", "") != "no-space":
            wrong.append("it ended with %r" % run.error)
        left = kept(scenario, place)
        if left:
            wrong.append("%s is left on the full disk" % ", ".join(left))
        return wrong + scenario.wrong_list(run.server, run.talk, False)

    def after_program(self, run) -> List[str]:
        code = run.process.poll()
        if code not in (None, DONE, LOCAL_FILE) or (code == DONE) != run.finished:
            if not (code is None and run.finished):
                return ["the program ended with %r: %s" % (code, run.error)]
        return []

    def self_tests(self) -> Iterator[SelfTest]:
        if programs.path_of("filexfer-broken-server"):
            yield SelfTest("temporary-kept", "is left on the full disk",
                           FullDisk(Launch("filexfer-broken-server", ("temporary-kept",))))


if __name__ == "__main__":
    enter_namespaces()
    main(FullDisk())
