#!/usr/bin/env python3
"""Our programs beside rsync, curl with nginx, and scp, and beside what the machine allows.

    tests/bench/compare.py                    # all jobs, five rounds: most of an hour
    tests/bench/compare.py --quick            # that all of it works: a minute or two
    tests/bench/compare.py --jobs big,small --rounds 3

The contestants of a job take turns, so that noise meets all alike; one more round before is not
timed. Most is moved from and to RAM (/dev/shm), some to the disk of --disk. Writes tables and plots
to --output, .github/figures by default. Only ratios within a run carry over to other machines.

Peers are left out if they are not installed (Debian: rsync nginx curl openssh-server). They listen on
free ports of 127.0.0.1, with configurations in a temporary folder, and are stopped at the end.
"""

from __future__ import annotations

import argparse
import datetime
import os
import signal
import subprocess
import sys
from typing import List, NoReturn

from comparison.connections import Idle, measure_idle
from comparison.jobs import FAMILIES
from comparison.measuring import Job
from comparison.peers import Peers
from comparison.places import QUICK, Places, Sizes
from comparison.results import machine, write_results

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
ALL = (*FAMILIES, "idle")


def tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", default=",".join(ALL), help="some of " + ",".join(ALL))
    parser.add_argument("--rounds", type=int, help="timed rounds [5; with --quick 1]")
    parser.add_argument("--quick", action="store_true", help="small files and few of them")
    parser.add_argument("--parallel", type=int, default=2, help="connections of --parallel [2]")
    parser.add_argument("--bin", default=PROJECT + "/build/release/bin", help="the programs' folder")
    parser.add_argument("--disk", default="/var/tmp", help="a folder on a disk [/var/tmp]")
    parser.add_argument("--output", help="[.github/figures; with --quick build/figures]")
    arguments = parser.parse_args()
    arguments.jobs = arguments.jobs.split(",")
    for job in arguments.jobs:
        if job not in ALL:
            parser.error("no such job: " + job)
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 5)
    arguments.output = arguments.output or os.path.join(
        PROJECT, "build/figures" if arguments.quick else ".github/figures")
    for program in ("filexfer-client", "filexfer-server"):
        if not os.access(os.path.join(arguments.bin, program), os.X_OK):
            parser.error("%s has no %s: build it, or give --bin" % (arguments.bin, program))
    return arguments


def run(arguments: argparse.Namespace, places: Places, peers: Peers) -> None:
    begin = datetime.datetime.now(datetime.timezone.utc)
    jobs: List[Job] = []
    idle: List[Idle] = []
    for family in arguments.jobs:
        if family == "idle":
            tell("idle connections")
            idle = measure_idle(peers, arguments.rounds)
        else:
            try:
                prepared = FAMILIES[family](peers)
            except (OSError, subprocess.CalledProcessError) as error:
                tell("left out: %s: %s" % (family, error))
                continue
            for job in prepared:
                tell(job.title)
                job.run(arguments.rounds, places.environment, places.log, tell)
                jobs.append(job)
        peers.drop_stores()
    head = ("By `tests/bench/compare.py`%s on %s: %s. Medians of %d rounds; *time* is relative to "
            "the first row. Memory is the most that was seen in an untimed run."
            % (" --quick" if arguments.quick else "", begin.strftime("%Y-%m-%d"), machine(),
               arguments.rounds))
    write_results(arguments.output, head, jobs, idle)
    tell("written to %s" % arguments.output)


def main() -> None:
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, stop)
    places = Places(QUICK if arguments.quick else Sizes(), arguments.disk)
    try:
        peers = Peers(places, arguments.bin, arguments.parallel, tell)
        try:
            peers.start()
            run(arguments, places, peers)
        finally:
            peers.close()
    finally:
        places.close()


def stop(_: int, __: object) -> NoReturn:
    sys.exit(130)


if __name__ == "__main__":
    main()
