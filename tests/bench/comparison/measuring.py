"""Runs commands, and measures their time, and the CPU time and memory of both ends."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Set

TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A contestant could not do its job."""


def read(path: str) -> str:
    """What is in a file; empty if it is gone, as those of a process in /proc."""
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def tree(pids: Iterable[int]) -> Set[int]:
    """The processes, and those that they have started."""
    found: Set[int] = set()
    left = list(pids)
    while left:
        pid = left.pop()
        found.add(pid)
        try:
            threads = os.listdir("/proc/%d/task" % pid)
        except OSError:
            continue
        for thread in threads:
            left += map(int, read("/proc/%d/task/%s/children" % (pid, thread)).split())
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """What the processes, and those that they have started and waited for, have used so far."""
    ticks = 0
    for pid in tree(pids):
        status = read("/proc/%d/stat" % pid)
        if status:
            ticks += sum(map(int, status[status.rindex(")") + 2:].split()[11:15]))
    return ticks / TICK


def memory_mib(pids: Iterable[int]) -> float:
    """Memory of the processes, pages that they share counted once (PSS)."""
    kib = 0
    for pid in tree(pids):
        for line in read("/proc/%d/smaps_rollup" % pid).splitlines():
            if line.startswith("Pss:"):
                kib += int(line.split()[1])
    return kib / 1024


class Sampler(threading.Thread):
    """The most memory that groups of processes had, looked at every 10 ms."""

    def __init__(self, groups: Dict[str, Sequence[int]]):
        super().__init__(daemon=True)
        self.groups, self.peak = groups, {name: 0.0 for name in groups}
        self.is_done = threading.Event()

    def run(self) -> None:
        while True:
            for name, pids in self.groups.items():
                self.peak[name] = max(self.peak[name], memory_mib(pids))
            if self.is_done.wait(0.01):
                return

    def stop(self) -> Dict[str, float]:
        self.is_done.set()
        self.join()
        return self.peak


@dataclasses.dataclass
class Measured:
    """One run of a command."""

    seconds: float
    client_cpu: float
    server_cpu: float
    client_mib: float = 0  # only if memory was sampled
    server_mib: float = 0


def start(command: Sequence[str], environment: Dict[str, str], log: str) -> int:
    """Starts a command in a process group of its own, with its output in `log`."""
    actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
               (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
               (os.POSIX_SPAWN_DUP2, 1, 2)]
    return os.posix_spawnp(command[0], command, environment, file_actions=actions, setpgroup=0)


def measure(command: Sequence[str], environment: Dict[str, str], log: str, servers: Sequence[int],
            limit: float = 600, samples: bool = False) -> Measured:
    """Runs the command to its end. `servers` are the processes that serve it."""
    processes, before = tree(servers), cpu_seconds(servers)
    begin = time.perf_counter()
    pid = start(command, environment, log)
    timer = threading.Timer(limit, lambda: os.killpg(pid, signal.SIGKILL))
    timer.start()
    sampler = Sampler({"client": [pid], "server": servers}) if samples else None
    try:
        if sampler:
            sampler.start()
        _, status, used = os.wait4(pid, 0)
        seconds = time.perf_counter() - begin
    except BaseException:  # such as an interruption
        os.killpg(pid, signal.SIGKILL)
        raise
    finally:
        timer.cancel()
    peak = sampler.stop() if sampler else {"client": 0.0, "server": 0.0}
    if status:
        last = (read(log).strip().splitlines() or [""])[-1]
        raise Failed("exit code %d: %s" % (os.waitstatus_to_exitcode(status), last[:160]))
    for _ in range(200):  # until the server has waited for the processes that it has started
        if tree(servers) <= processes:
            break
        time.sleep(0.005)
    return Measured(seconds, used.ru_utime + used.ru_stime, cpu_seconds(servers) - before,
                    peak["client"], peak["server"])


@dataclasses.dataclass
class Contestant:
    """A way to do a job."""

    name: str
    command: Sequence[str]  # or shell(...)
    servers: Callable[[], Sequence[int]] = tuple  # its processes, when they run
    reset: Callable[[], None] = lambda: None  # before each run, untimed
    check: Callable[[bool], None] = lambda deep: None  # after each run; raises Failed
    kind: str = "peer"  # "ours", "peer" or "reference"
    note: str = ""
    runs: List[Measured] = dataclasses.field(default_factory=list)
    sampled: Optional[Measured] = None
    failure: str = ""


@dataclasses.dataclass
class Job:
    """What several contestants do in turns. One table, and one panel of a plot."""

    family: str
    title: str
    unit: str  # "MB/s", "files/s", "s" or "ms"
    amount: float  # bytes or files, for a rate
    contestants: List[Contestant]
    repeats: int = 1  # of a short command, in each round

    def value(self, seconds: float) -> float:
        if self.unit == "MB/s":
            return self.amount / seconds / 1e6
        if self.unit == "files/s":
            return self.amount / seconds
        return seconds * 1000 if self.unit == "ms" else seconds

    def run(self, rounds: int, environment: Dict[str, str], log: str,
            tell: Callable[[str], None]) -> None:
        """The first round is not timed: it samples memory, and compares all bytes that arrive."""
        for number in range(rounds + 1):
            for contestant in self.contestants:
                if contestant.failure:
                    continue
                try:
                    for _ in range(self.repeats if number else 1):
                        contestant.reset()
                        measured = measure(contestant.command, environment, log,
                                           contestant.servers(), samples=number == 0)
                        contestant.check(number == 0)
                        if number:
                            contestant.runs.append(measured)
                        else:
                            contestant.sampled = measured
                except (Failed, OSError) as error:
                    contestant.failure = str(error)
                    tell("%s: %s: %s" % (self.title, contestant.name, error))


def shell(text: str) -> List[str]:
    return ["bash", "-o", "pipefail", "-c", text]
