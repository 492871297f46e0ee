#!/usr/bin/env python3
"""Runs the harnesses, and prints what they found as a table; started by run.sh.

    run.sh [--full] [--harness NAME] [--scenario NAME] [--point POINT]

Without --full each tries a sample of its points, as by ctest. With --point only that one is tried.
The columns are harnesses, the rows scenarios, the numbers points that were tried; behind a number
stands at how many of them something was wrong, if any. Exits with 1 if there was anything but known
failures.
"""

from __future__ import annotations

import argparse
import collections
import os
import sys
import time
from typing import Dict, Iterable, List

import integration_path  # noqa: F401
import programs
from disks import enter_namespaces
from harness import (KNOWN_FAILURES, Harness, Tally, exit_on_signals, points_of, run_scenarios,
                     run_self_tests)
from scenarios import SCENARIOS
from test_cut_wires import CutWires
from test_descriptors import Descriptors
from test_errors import Errors
from test_flush_order import FlushOrder
from test_full_disk import FullDisk
from test_kill import Kill
from test_power_cut import PowerCut

HARNESSES = [Kill, PowerCut, Errors, CutWires, Descriptors, FlushOrder, FullDisk]


def cell(tally: Tally) -> str:
    parts = [str(tally.tried)]
    if tally.wrong:
        parts.append("%d wrong" % points_of(tally.wrong))
    if tally.known:
        parts.append("%d known" % points_of(tally.known))
    return ", ".join(parts)


def violations(tallies: Iterable[Tally]) -> int:
    return sum(points_of(tally.wrong) + points_of(tally.known) for tally in tallies)


def table(found: Dict[str, Dict[str, Tally]], seconds: Dict[str, float]) -> List[str]:
    """In Markdown."""
    names = list(found)
    rows = [["scenario", *names], ["---"] + ["---:"] * len(names)]
    for kind in SCENARIOS:
        if any(kind.name in column for column in found.values()):
            rows.append([kind.name, *(cell(column[kind.name]) if kind.name in column else "-"
                                      for column in found.values())])
    for title, count in (("points", lambda t: t.tried), ("violations", lambda t: violations([t]))):
        rows.append([title, *(str(sum(map(count, column.values())))
                              for column in found.values())])
    rows.append(["seconds", *("%.0f" % seconds[name] for name in names)])
    return ["| " + " | ".join(row) + " |" for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--harness", default="", choices=["", *(h.name for h in HARNESSES)])
    parser.add_argument("--scenario", default="", choices=["", *(s.name for s in SCENARIOS)])
    parser.add_argument("--point", default="")
    arguments = parser.parse_args()
    exit_on_signals()
    found: Dict[str, Dict[str, Tally]] = collections.defaultdict(dict)
    seconds: Dict[str, float] = {}
    missed, started = 0, time.monotonic()
    harnesses: List[Harness] = [kind() for kind in HARNESSES
                                if arguments.harness in ("", kind.name)]
    for harness in harnesses:
        missing = [name for name in harness.needs if not programs.path_of(name)]
        reason = ("%s was not built" % ", ".join(missing)) if missing else harness.why_not()
        if reason:
            print("%s skipped: %s" % (harness.name, reason), flush=True)
            continue
        begin = time.monotonic()
        for kind, tally in run_scenarios(harness, arguments.full, arguments.scenario,
                                         arguments.point):
            found[harness.name][kind.name] = tally
        seconds[harness.name] = time.monotonic() - begin
        if not arguments.scenario and not arguments.point:
            missed += run_self_tests(harness)
    print("\n" + "\n".join(table(found, seconds)))
    for known in KNOWN_FAILURES:
        if any(t.known for name in known.harnesses for t in found.get(name, {}).values()):
            print("\nKnown (%s): %s" % (", ".join(known.scenarios), known.reason))
    tallies = [tally for column in found.values() for tally in column.values()]
    wrong = sum(points_of(tally.wrong) for tally in tallies)
    print("\n%d points tried, %d violations and %d known ones, %d planted defects not found, %.0f s"
          % (sum(tally.tried for tally in tallies), wrong, violations(tallies) - wrong, missed,
             time.monotonic() - started))
    sys.exit(1 if wrong or missed else 0)


if __name__ == "__main__":
    if os.geteuid() == 0:
        enter_namespaces()
    main()
