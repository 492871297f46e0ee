#!/usr/bin/env python3
"""A server with 32 descriptors, and 60 connections.

It must not spin: its CPU time stays near nothing. On a connection that it has accepted the act of a
scenario is answered, perhaps with an ERROR. Once the connections are closed, service is back within
a second, the same act succeeds, and the server has as many descriptors as before.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are missing.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from typing import Iterator, List, Optional, Tuple

import integration_path  # noqa: F401
import programs
from faults import EVERY, LIBRARY, Faults
from harness import Harness, SelfTest, main, soon
from peer import EndOfStream
from scenarios import Launch, Scenario, ServerRun
from tracing import Strace, why_not_strace
from waiting import SANITIZED, wait_until

LIMIT = 32
MOST_LINES = 50  # in the log, about the same thing
CPU_SHARE = 0.3 if SANITIZED else 0.05
PAUSE = 10  # seconds, until service is back


def limit_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


def cpu_time(pid: int) -> float:
    """In seconds, of all threads."""
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Descriptors(Harness):
    name = "descriptors"
    sides = ("server",)
    size = 60_000

    def __init__(self, spoilt: str = "", spins: bool = False):
        super().__init__(Launch(prepare=limit_descriptors))
        self.spoilt = spoilt  # for strace: a call that does something else when service is back
        self.spins = spins

    def why_not(self) -> str:
        if "undefined" in os.environ.get("FILEXFER_SANITIZE", ""):
            # Without one, it reports a valid object as invalid, and ends the server.
            return "UBSan's own check of an object's type opens a pipe, and needs descriptors"
        return super().why_not()

    def points(self, scenario: Scenario, folder: str) -> List[str]:
        return ["60"]

    def sample(self, points: List[str]) -> List[str]:
        return points

    def spoil(self, pid: int) -> contextlib.AbstractContextManager:
        if not self.spoilt:
            return contextlib.nullcontext()
        return Strace([pid], ["-f", "-o", os.devnull, "-e", "inject=" + self.spoilt])

    def launch_in(self, folder: str) -> Tuple[Launch, Optional[Faults]]:
        if not self.spins:
            return self.launch, None
        faults = Faults(folder)

        def prepare() -> None:
            limit_descriptors()
            faults.preload()

        return Launch(prepare=prepare), faults

    def try_point(self, scenario: Scenario, folder: str, point: str) -> List[str]:
        place = os.path.join(folder, "place")
        scenario.copy_to(place)
        launch, faults = self.launch_in(folder)
        with scenario.begin(place, launch) as run:
            assert isinstance(run, ServerRun)
            server = run.server
            before = server.descriptors()
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(server.client()) for _ in range(int(point))]
                wait_until(lambda: server.descriptors() == LIMIT, "the last descriptor")
                if faults:
                    faults.arm("epoll_wait", EVERY, "lie")
                begin, used = time.monotonic(), cpu_time(run.process.pid)
                time.sleep(1)  # measures the CPU time used meanwhile
                used = cpu_time(run.process.pid) - used
                share = used / (time.monotonic() - begin)
                if faults:
                    faults.disarm()
                wrong = ["it used %.2f of a CPU" % share] if share > CPU_SHARE else []
                accepted = iter(clients)
                run.talk.connect = lambda: next(accepted)
                run.act()
                if not run.finished and getattr(run.error, "code", "") != "io":
                    wrong.append("it ended with %r" % run.error)
                lines = server.log().count("\n")
                if lines > MOST_LINES:
                    wrong.append("it has logged %d lines" % lines)
                if run.process.poll() is not None:
                    return [*wrong, "the server ended with %d" % run.process.returncode]
            with self.spoil(run.process.pid):
                wrong += self.when_closed(scenario, place, run, before)
        return wrong + scenario.check(place, run.talk)

    def when_closed(self, scenario: Scenario, place: str, run: ServerRun,
                    before: int) -> List[str]:
        closed = time.monotonic()
        try:
            with run.server.client(PAUSE) as client:
                client.list_files()
        except (OSError, EndOfStream) as error:
            return ["service is not back: %r" % error]
        if time.monotonic() > closed + PAUSE:
            return ["service was back after %.1f s" % (time.monotonic() - closed)]
        wrong = scenario.wrong_list(run.server, run.talk, False)
        wrong += scenario.check_again(place, run.server)
        if not soon(lambda: run.server.descriptors() <= before):
            wrong.append("%d descriptors after %d" % (run.server.descriptors(), before))
        return wrong

    def self_tests(self) -> Iterator[SelfTest]:
        if programs.path_of(LIBRARY):
            yield SelfTest("a loop that spins", "of a CPU", Descriptors(spins=True))
        if not why_not_strace():
            yield SelfTest("accepting that does not go on", "service is not back",
                           Descriptors("accept,accept4:error=EMFILE"))
            yield SelfTest("descriptors that are not closed",
                           "service is not back|descriptors after", Descriptors("close:retval=0"))


if __name__ == "__main__":
    main(Descriptors())
