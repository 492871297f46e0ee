"""What was measured, as tables in Markdown and as plots."""

from __future__ import annotations

import os
import statistics
from typing import Dict, List, Sequence

from .connections import Idle
from .measuring import Contestant, Job, Measured, read
from .plots import Bar, Panel, write_plot


def median(runs: Sequence[Measured], field: str) -> float:
    return statistics.median(getattr(run, field) for run in runs)


def number(value: float) -> str:
    """Three digits, or all before the point."""
    if value >= 100:
        return "%.0f" % value
    return "%.1f" % value if value >= 10 else "%.2f" % value


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| %s |\n" % " | ".join(line) for line in lines)


def measured(job: Job) -> List[Contestant]:
    return [one for one in job.contestants if one.runs and not one.failure]


def job_table(job: Job) -> str:
    """The times are relative to the first of ours."""
    those = measured(job)
    if not those:
        return ""
    first = median(those[0].runs, "seconds")
    rows = []
    for one in those:
        seconds = [run.seconds for run in one.runs]
        values = sorted(job.value(second) for second in seconds)
        name = "**%s**" % one.name if one.kind == "ours" else one.name
        sampled = one.sampled or one.runs[0]
        server = sampled.server_mib > 0
        rows.append([
            name, number(job.value(statistics.median(seconds))),
            "%s to %s" % (number(values[0]), number(values[-1])),
            "%.2f" % (statistics.median(seconds) / first),
            number(median(one.runs, "client_cpu")),
            number(median(one.runs, "server_cpu")) if server else "",
            number(sampled.client_mib), number(sampled.server_mib) if server else "", one.note])
    return "### %s\n\n%s\n" % (job.title, table(
        ["", job.unit, "least to most", "time", "CPU s, client", "CPU s, server", "MiB, client",
         "MiB, server", ""], rows))


def idle_table(results: Sequence[Idle]) -> str:
    rows = [[one.name, str(one.count), number(one.kib), number(one.total_mib), number(one.alone_ms),
             number(one.beside_ms), number(one.resets_alone), number(one.resets_beside)]
            for one in results if not one.failure]
    if not rows:
        return ""
    return "### Idle connections\n\n%s\n" % table(
        ["", "idle connections", "KiB each", "MiB in all", "ms for a new one and a request, alone",
         "beside them", "CPU s for %d resets, alone" % results[0].resets, "beside them"], rows)


def machine() -> str:
    model = next((line.split(":")[1].strip() for line in read("/proc/cpuinfo").splitlines()
                  if line.startswith("model name")), "unknown processor")
    kib = int(read("/proc/meminfo").split()[1])
    system = os.uname()
    return "%s, %d cores, %.0f GiB, %s %s" % (model, os.cpu_count() or 1, kib / 2**20,
                                              system.sysname, system.release)


def plot_jobs(folder: str, jobs: Sequence[Job]) -> None:
    families: Dict[str, List[Panel]] = {}
    for job in jobs:
        bars = [Bar(one.name, job.value(median(one.runs, "seconds")), one.kind)
                for one in measured(job)]
        if bars:
            better = "less is better" if job.unit in ("s", "ms") else "more is better"
            families.setdefault(job.family, []).append(
                Panel("%s, %s (%s)" % (job.title, job.unit, better), bars))
    for family, panels in families.items():
        write_plot(os.path.join(folder, family + ".svg"), panels)


def plot_idle(folder: str, results: Sequence[Idle]) -> None:
    those = [one for one in results if not one.failure]
    if not those:
        return
    write_plot(os.path.join(folder, "idle.svg"), [
        Panel("memory of each of %d idle connections, KiB (less is better)" % those[0].count,
              [Bar(one.name, one.kib, one.kind) for one in those]),
        Panel("a connection and a request of another client, ms (less is better)",
              [bar for one in those for bar in (
                  Bar(one.name + " alone", one.alone_ms, one.kind),
                  Bar("%s beside them" % one.name, one.beside_ms, one.kind))])])


def write_results(folder: str, head: str, jobs: Sequence[Job], idle: Sequence[Idle]) -> None:
    """Writes figures.md and a plot for each family of jobs."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "figures.md"), "w") as file:
        file.write("# Figures\n\n%s\n\n" % head)
        for job in jobs:
            file.write(job_table(job))
        file.write(idle_table(idle))
    plot_jobs(folder, jobs)
    plot_idle(folder, idle)
