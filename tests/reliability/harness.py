"""What the harnesses have in common: points to try in each scenario, and how they are reported.

A harness is a script of its own, which tries a sample of its points, and its self-tests:

    test_NAME.py [--full] [--scenario NAME] [--point POINT] [--no-self-tests]

All of them in full are run by run.py. Exits with 77 where something is lacking that it needs.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterator, List, NamedTuple, Sequence, Tuple, Type

import integration_path  # noqa: F401
import programs
from scenarios import SCENARIOS, SOUND, Launch, NewUpload, Scenario, ServerRun
from waiting import SANITIZED

WORKERS = 2 * (os.cpu_count() or 1)
SHOWN = 20  # messages about a scenario
ENOUGH = 200  # seconds, after which the short form tries less, as on a machine under load


class KnownFailure(NamedTuple):
    """What the product does wrong: reported, counted apart, and no reason to fail by."""

    harnesses: Sequence[str]
    scenarios: Sequence[str]
    point: str  # an expression
    text: str  # an expression
    reason: str


KNOWN_FAILURES: List[KnownFailure] = [
]


def is_known(harness: str, scenario: str, wrong: Wrong) -> bool:
    return any(harness in known.harnesses and scenario in known.scenarios
               and re.fullmatch(known.point, wrong.point) and re.search(known.text, wrong.text)
               for known in KNOWN_FAILURES)


class Wrong(NamedTuple):
    point: str
    text: str


class Tally(NamedTuple):
    points: int  # that the scenario has
    tried: int
    wrong: List[Wrong]
    known: List[Wrong]  # of these, what KNOWN_FAILURES has


def points_of(wrong: List[Wrong]) -> int:
    """At how many points something is wrong; there may be more than one thing."""
    return len({w.point for w in wrong})


class SelfTest(NamedTuple):
    """A defect that is planted in what the harness tests, and what the harness must say of it."""

    defect: str
    expected: str  # an expression
    harness: "Harness"
    scenario: Type[Scenario] = NewUpload


class Harness:
    """Tries a scenario at points, which have names."""

    name = ""
    sides: Sequence[str] = ("server", "start", "client")
    size = 300_000  # bytes of an upload
    tries = 8  # of a scenario, in the short form
    needs: Sequence[str] = ("filexfer-server", "filexfer-client")

    def __init__(self, launch: Launch = SOUND):
        self.launch = launch
        self.wanted = ""  # an expression; what has it is enough, and the rest is left out
        self.is_found = False

    def why_not(self) -> str:
        """Why it can't run here; empty if it can."""
        return "" if os.path.exists("/proc/self/stat") else "there is no /proc"

    def points(self, scenario: Scenario, folder: str) -> List[str]:
        raise NotImplementedError

    def try_point(self, scenario: Scenario, folder: str, point: str) -> List[str]:
        """What is wrong after it; raises NotReached if the act did not get there."""
        raise NotImplementedError

    def unreached(self) -> List[str]:
        """What it should have broken in the scenarios, all of them, and has not."""
        return []

    def self_tests(self) -> Iterator[SelfTest]:
        return iter(())

    # What follows is for all

    def sample(self, points: List[str]) -> List[str]:
        """Some of the points, as far apart as they can be, and the last one."""
        if len(points) <= self.tries:
            return points
        stride = len(points) / self.tries
        return [points[len(points) - 1 - int(i * stride)] for i in range(self.tries)][::-1]

    def note(self, wrong: List[str]) -> None:
        """Looks whether what is wanted is among it."""
        if self.wanted and any(re.search(self.wanted, text) for text in wrong):
            self.is_found = True

    def try_points(self, scenario: Scenario, folder: str,
                   points: List[str]) -> Tuple[int, List[Wrong]]:
        """How many were reached, and what was wrong."""

        def attempt(point: str) -> Tuple[int, List[Wrong]]:
            if self.is_found:
                return 0, []
            with tempfile.TemporaryDirectory(dir=folder) as own:
                try:
                    wrong = self.try_point(scenario, own, point)
                    self.note(wrong)
                    return 1, [Wrong(point, text) for text in wrong]
                except NotReached:
                    return 0, []
                except Exception:
                    return 1, [Wrong(point, traceback.format_exc())]

        with ThreadPoolExecutor(WORKERS) as pool:
            results = list(pool.map(attempt, points))
        return sum(reached for reached, _ in results), [w for _, wrong in results for w in wrong]

    def sweep(self, kind: Type[Scenario],
              choose: Callable[[List[str]], List[str]] = lambda points: points) -> Tally:
        with tempfile.TemporaryDirectory(prefix=self.name, dir=".") as folder:
            folder = os.path.realpath(folder)
            with kind(self.size).opened(folder) as scenario:
                points = self.points(scenario, folder)
                tried, wrong = self.try_points(scenario, folder, choose(points))
        known = [w for w in wrong if is_known(self.name, scenario.name, w)]
        return Tally(len(points), tried, [w for w in wrong if w not in known], known)

    def scenarios(self) -> List[Type[Scenario]]:
        return [kind for kind in SCENARIOS if kind.side in self.sides]


def soon(condition: Callable[[], object]) -> bool:
    """Whether it becomes true while a server finishes what it does after its reply."""
    end = time.monotonic() + 15
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def kept(scenario: Scenario, place: str) -> List[str]:
    """Temporary files that a server keeps though its connections have ended."""
    def left() -> List[str]:
        return [path for path in scenario.leftovers(place) if not path.startswith(".partial")]

    return [] if soon(lambda: not left()) else left()


def wrong_at_server(scenario: Scenario, place: str, run: ServerRun, descriptors: int,
                    disturbance: str) -> List[str]:
    """What is wrong with a server that goes on after a disturbance; `descriptors` it had before."""
    if run.process.poll() is not None:
        return ["the server ended with %d" % run.process.returncode]
    wrong = []
    if not soon(lambda: run.server.descriptors() <= descriptors):
        wrong.append("%d descriptors after %d" % (run.server.descriptors(), descriptors))
    left = kept(scenario, place)
    if left:
        wrong.append("%s is left after %s" % (", ".join(left), disturbance))
    return (wrong + scenario.wrong_files(place) + scenario.wrong_list(run.server, run.talk, False)
            + scenario.check_again(place, run.server))


class NotReached(Exception):
    """The act ended before the point."""


def replay(harness: Harness, kind: Type[Scenario], point: str) -> str:
    return ("tests/reliability/run.sh --harness %s --scenario %s --point '%s'"
            % (harness.name, kind.name, point))


def report(harness: Harness, kind: Type[Scenario], tally: Tally, seconds: float) -> None:
    print("%-12s %-20s %5d of %5d points tried, %d violations%s, %.1f s"
          % (harness.name, kind.name, tally.tried, tally.points, points_of(tally.wrong),
             " and %d known ones" % points_of(tally.known) if tally.known else "", seconds),
          flush=True)
    for wrong in [*tally.wrong[:SHOWN], *tally.known[:1]]:
        print("  %s%s: %s\n    %s" % ("known: " if wrong in tally.known else "", wrong.point,
                                      wrong.text, replay(harness, kind, wrong.point)), flush=True)
    if len(tally.wrong) > SHOWN:
        print("  and %d more" % (len(tally.wrong) - SHOWN), flush=True)


def run_self_tests(harness: Harness) -> int:
    """Prints what was found of each defect; returns how many were not found.

    To be called after all scenarios: what these have not reached counts as not found.
    """
    missed = 0
    for text in harness.unreached():
        print("%-12s NOT REACHED: %s" % (harness.name, text), flush=True)
        missed += 1
    for test in harness.self_tests():
        test.harness.wanted, test.harness.is_found = test.expected, False
        tally = test.harness.sweep(test.scenario, test.harness.sample)
        wrong = tally.wrong + tally.known
        found = [w for w in wrong if re.search(test.expected, w.text)]
        missed += not found
        print("%-12s the defect %s: %s" % (
            harness.name, test.defect,
            "found, %s: %s" % found[0] if found else "NOT FOUND: %r" % wrong), flush=True)
    return missed


def run_scenarios(harness: Harness, full: bool = False, scenario: str = "",
                  point: str = "") -> Iterator[Tuple[Type[Scenario], Tally]]:
    """Reports each as it ends."""
    def choose(points: List[str]) -> List[str]:
        return [point] if point else points if full else harness.sample(points)

    started = time.monotonic()
    for kind in harness.scenarios():
        if scenario in ("", kind.name):
            begin = time.monotonic()
            if begin > started + ENOUGH:
                harness.tries = 1
            tally = harness.sweep(kind, choose)
            report(harness, kind, tally, time.monotonic() - begin)
            yield kind, tally


def exit_on_signals() -> None:
    """So that temporary files are removed, and disks are unmounted."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))


def main(harness: Harness) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--scenario", default="")
    parser.add_argument("--point", default="")
    parser.add_argument("--no-self-tests", action="store_true")
    arguments = parser.parse_args()
    missing = [name for name in harness.needs if not programs.path_of(name)]
    reason = ("FILEXFER_BIN names no folder with " + ", ".join(missing) if missing
              else harness.why_not())
    if reason:
        print("skipped: " + reason)
        sys.exit(77)
    exit_on_signals()
    faulthandler.dump_traceback_later(7200 if arguments.full else 590, exit=True)
    wrong = sum(len(tally.wrong) for _, tally in run_scenarios(
        harness, arguments.full, arguments.scenario, arguments.point))
    if not arguments.no_self_tests and not arguments.scenario and not arguments.point:
        wrong += run_self_tests(harness)
    faulthandler.cancel_dump_traceback_later()
    sys.exit(1 if wrong else 0)
