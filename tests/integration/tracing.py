"""strace, attached to a running program; used by tests/reliability."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from typing import Dict, List, NamedTuple, Sequence


def why_not_strace() -> str:
    """Why strace can't be used; empty if it can."""
    if os.environ.get("FILEXFER_SANITIZE"):
        return "the system calls of a sanitizer's own would be traced too"
    if not shutil.which("strace"):
        return "strace is not installed"
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        with Strace([sleeper.pid], ["-o", os.devnull]):
            return ""
    except AssertionError as error:
        return "strace may not attach to a process here: %s" % error
    finally:
        sleeper.kill()
        sleeper.wait()


def threads_of(pid: int) -> List[int]:
    """The thread ids of a process, the main thread first, although ids can wrap around."""
    return sorted((int(tid) for tid in os.listdir("/proc/%d/task" % pid)),
                  key=lambda tid: (tid != pid, tid))


class Strace:
    """strace, attached to these threads only, and detached at the end."""

    def __init__(self, tids: Sequence[int], options: Sequence[str]):
        attach = [word for tid in tids for word in ("-p", str(tid))]
        self.process = subprocess.Popen(["strace", *options, *attach], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert self.process.stderr
        messages = []
        for _ in tids:
            messages.append(self.process.stderr.readline())
            if b" attached" not in messages[-1]:
                self.process.kill()
                self.process.wait()
                self.process.stderr.close()
                raise AssertionError(b"".join(messages).decode("ascii", "replace").strip())
        # strace would block on a full pipe.
        self.drain = threading.Thread(target=self.process.stderr.read, daemon=True)
        self.drain.start()

    def __enter__(self) -> "Strace":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(15)
        self.drain.join()
        assert self.process.stderr
        self.process.stderr.close()


class Call(NamedTuple):
    """A system call: the trace lines where it begins and ends, and its details."""

    begin: int
    end: int
    thread: int
    name: str
    arguments: str
    result: str


_WHOLE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (.*)$")
_UNFINISHED = re.compile(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (.*)$")


def calls_in(trace: str) -> List[Call]:
    """The calls in a trace of several threads, in the order of their ends."""
    calls = []
    open_calls: Dict[int, Call] = {}
    for number, line in enumerate(trace.splitlines()):
        match = _UNFINISHED.match(line)
        if match:
            thread = int(match.group(1))
            open_calls[thread] = Call(number, -1, thread, match.group(2), match.group(3), "")
            continue
        match = _RESUMED.match(line)
        if match:
            begun = open_calls.pop(int(match.group(1)), None)
            if begun:
                calls.append(begun._replace(end=number, arguments=begun.arguments + match.group(3),
                                            result=match.group(4)))
            continue
        match = _WHOLE.match(line)
        if match:
            calls.append(Call(number, number, int(match.group(1)), match.group(2), match.group(3),
                              match.group(4)))
    return calls
