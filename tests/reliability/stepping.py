"""Stops a process after each of its system calls, so that a harness can look, or kill it there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from typing import Callable, List, Sequence

from scenarios import Run, wait_until_held
from tracing import Strace, threads_of
from waiting import wait_until

# Calls on files, whose number is the same in every run, and replies. Those of thread
# synchronization, the allocator and the reads from the network vary, and change no file. Not every
# processor has those with a `?`.
CHANGING_CALLS = ("?mkdir", "mkdirat", "openat", "write", "pwrite64", "writev", "ftruncate",
                  "fchmod", "utimensat", "linkat", "renameat", "renameat2", "?unlink",
                  "unlinkat", "fsync", "fdatasync", "sendto", "sendmsg")
CALLS = (*CHANGING_CALLS, "close", "flock", "getdents64", "newfstatat", "lseek", "pread64")


class Stepper:
    """strace on a process and its threads, which stops all of them after each of these calls.

    Calls in `skipped` are answered with 0, and not done.
    """

    QUIET_TIME = 0.03  # seconds; after the act, a process that makes no call is done

    def __init__(self, process: subprocess.Popen, calls: Sequence[str], trace: str,
                 skipped: Sequence[str] = ()):
        self.process, self.trace = process, trace
        stop = ":signal=SIGSTOP"
        self.options = ["-f", "-y", "-s", "60", "-o", trace, "-e", "trace=" + ",".join(calls)]
        done = [call for call in calls if call not in skipped]
        self.options += ["-e", "inject=" + ",".join(done) + stop]
        for call in skipped:
            self.options += ["-e", "inject=%s:retval=0%s" % (call, stop)]
        self.last_call = ""
        self.begun = False
        self.answered = 0  # id lines that were sent

    def run(self, act: Callable[[], None], at_stop: Callable[[int], None], since: str) -> int:
        """Runs `act` in a thread, and calls `at_stop(N)` after the Nth call since one whose line in
        the trace has `since`. Returns how many calls there were. `at_stop` may kill the process.
        """
        failures: List[BaseException] = []

        def guarded() -> None:
            try:
                act()
            except BaseException as error:
                failures.append(error)

        with Strace([self.process.pid], self.options), open(self.trace) as self.lines:
            acting = threading.Thread(target=guarded)
            acting.start()
            count = self.step(acting, at_stop, since)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        acting.join()
        if failures:
            raise failures[0]
        return count

    def step(self, acting: threading.Thread, at_stop: Callable[[int], None], since: str) -> int:
        count = 0
        last = time.monotonic()
        while acting.is_alive() or time.monotonic() < last + self.QUIET_TIME:
            try:
                stopped = os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOHANG)
            except ChildProcessError:
                break
            if stopped is None:
                if self.process.poll() is not None:
                    break
                time.sleep(0.0002)
                continue
            self.read_trace(since)
            if self.begun:
                count += 1
                at_stop(count)
                if self.process.poll() is not None:
                    break
            last = time.monotonic()
            self.process.send_signal(signal.SIGCONT)
        return count

    def read_trace(self, since: str) -> None:
        for line in self.lines:
            match = re.match(r"\d+ +((?:<\.\.\. )?\w+.*)", line)
            if match and not match.group(1).startswith(("+++", "---")):
                self.last_call = match.group(1)
                self.begun = self.begun or since in line
                self.answered += len(re.findall(r'[0-9a-f]{32}\\n"', line))

    def let_client_read(self, run: Run) -> None:
        """Until the client has noted each answer, but not for long: it may await another first."""
        end = time.monotonic() + 0.3
        while (len(run.talk.acknowledged) + len(run.talk.removed) < self.answered
               and time.monotonic() < end):
            time.sleep(0.001)


def stepper_of(run: Run, calls: Sequence[str], folder: str,
               skipped: Sequence[str] = ()) -> Stepper:
    """For a run that has not acted."""
    if run.held:
        wait_until_held(run.process)
        os.waitid(os.P_PID, run.process.pid, os.WSTOPPED)  # not a stop of the stepper's
    else:
        # Some may start after the server has printed its address.
        wait_until(lambda: len(threads_of(run.process.pid)) == run.threads, "the server's threads")
    return Stepper(run.process, calls, os.path.join(folder, "trace"), skipped)


def since_of(run: Run, place: str) -> str:
    """What a program does before it comes to its place is no point."""
    return place if run.held else ""
