#!/usr/bin/env python3
"""mutants.py [--floor wire|flows|stores] [--sample N] [--seed S] [--jobs N] [--only REGEX]

Changes one operator, condition or statement at a time, and checks that the unit tests of that floor
fail. Prints what survived, and how many of those that compile were killed; fails below 90 %.

A mutant is one line of a header, put before the include path; the floor's tests are built as one
source without optimisation. A mutant that hangs counts as killed. 100 of a floor take about half an
hour on two cores; a sample of all is the same for the same seed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests/unit"
HEADERS = ROOT / "include/filexfer"
COMPILER = ["clang++", "-std=c++20", "-O0", "-g0", "-w", "-DASIO_STANDALONE",
            "-DASIO_HAS_STD_ALIGNED_ALLOC=1", '-DFILEXFER_SANITIZE=""',
            '-DFILEXFER_BUILD_TYPE="Debug"']
TIMEOUT = 300  # of a test run, in seconds
# What a test has mounted is gone with it, also if it was killed.
NAMESPACE = ["unshare", "--mount"] if shutil.which("unshare") else []
if NAMESPACE and subprocess.run([*NAMESPACE, "true"], stderr=subprocess.DEVNULL).returncode:
    NAMESPACE = []

# A floor's headers, and its tests.
FLOORS: Dict[str, Tuple[List[str], List[str]]] = {
    "wire": (["names.hpp", "fields.hpp", "features.hpp", "entry.hpp", "refusal.hpp", "protocol.hpp",
              "printable.hpp"], ["wire/*.cpp"]),
    "flows": (["detail/flow/*.hpp"],
              ["flows/*.cpp", "one_connection/client.cpp", "one_connection/session.cpp",
               "one_connection/removals.cpp", "one_connection/session_overlap.cpp",
               "one_connection/batch_overlap.cpp"]),
    "stores": (["directory_store.hpp", "memory_store.hpp", "file.hpp", "publication.hpp",
                "detail/store/*.hpp"], ["places/*.cpp"]),
}

# What is replaced, by what. Operators stand between spaces, so that templates are left alone.
REPLACEMENTS = [(re.compile(pattern), new) for pattern, new in [
    (r" == ", " != "), (r" != ", " == "), (r" < ", " <= "), (r" <= ", " < "), (r" > ", " >= "),
    (r" >= ", " > "), (r" && ", " || "), (r" \|\| ", " && "), (r" \+ ", " - "), (r" - ", " + "),
    (r" \+= ", " -= "), (r" -= ", " += "), (r"\+\+(?=\w)", "--"), (r"\btrue\b", "false"),
    (r"\bfalse\b", "true"), (r"\bif \((?!constexpr)(?=.*\))", "if (!"), (r"(?<=[(&|] )!(?=\w)", ""),
]]
STATEMENT = re.compile(r"^ +(co_await )?[\w:.>-]+\(.*\);$|^ +[\w.>()-]+ [-+|]?= .*;$|^ +[-+]{2}\w+;$")
# Lines that say nothing at run time.
LEFT_ALONE = re.compile(r"^\s*(#|//|\*|template|requires|concept|static_assert|assert\(|using |friend )"
                        r"|operator|= default|= delete|\bconcept\b|^ *\w+ = \d+,")


class Mutant(NamedTuple):
    header: pathlib.Path
    line: int  # from 1
    text: str  # what the line is now

    def __str__(self) -> str:
        return "%s:%d: %s" % (self.header.relative_to(ROOT), self.line, self.text.strip() or "(removed)")


def code_of(line: str) -> str:
    """The line with its strings and its comment blanked out, of the same length."""
    line = re.sub(r'"(\\.|[^"\\])*"|\'(\\.|[^\'\\])\'', lambda found: "_" * len(found[0]), line)
    return re.sub(r"//.*", lambda found: " " * len(found[0]), line)


def negated(line: str, code: str, begin: int) -> Optional[str]:
    """The line with its `if (condition)` negated, if the condition ends on it."""
    depth = 0
    for end in range(begin, len(code)):
        depth += (code[end] == "(") - (code[end] == ")")
        if depth == 0 and code[end] == ")":
            if ";" in code[begin:end]:  # it declares something
                return None
            return line[:begin] + "(!" + line[begin:end + 1] + ")" + line[end + 1:]
    return None


def mutants_of(header: pathlib.Path) -> Iterator[Mutant]:
    previous = ""
    for number, line in enumerate(header.read_text().splitlines(), 1):
        code = code_of(line)
        # A statement that begins on a line before stays whole.
        begins = previous.endswith((";", "{", "}", ":", "else")) or not previous
        if code.strip():
            previous = code.rstrip()
        if LEFT_ALONE.search(code):
            continue
        for pattern, new in REPLACEMENTS:
            for found in pattern.finditer(code):
                if new == "if (!":
                    text = negated(line, code, found.end() - 1)
                    if text is not None:
                        yield Mutant(header, number, text)
                else:
                    yield Mutant(header, number, line[:found.start()] + new + line[found.end():])
        if begins and STATEMENT.match(code.rstrip()):
            yield Mutant(header, number, "")


def all_mutants(floor: str) -> List[Mutant]:
    return [mutant for pattern in FLOORS[floor][0] for header in sorted(HEADERS.glob(pattern))
            for mutant in mutants_of(header)]


class Tests:
    """A floor's tests, built against a mutant and run."""

    def __init__(self, floor: str, folder: pathlib.Path) -> None:
        self.folder = folder
        self.source = folder / (floor + ".cpp")
        sources = [TESTS / "main.cpp"]
        for pattern in FLOORS[floor][1]:
            sources += sorted(TESTS.glob(pattern))
        self.source.write_text("".join('#include "%s"\n' % source for source in sources))

    def outcome(self, mutant: Optional[Mutant]) -> str:
        """Such as `killed`."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            folder = pathlib.Path(name)
            if mutant:
                lines = mutant.header.read_text().splitlines()
                lines[mutant.line - 1] = mutant.text
                changed = folder / mutant.header.relative_to(ROOT / "include")
                changed.parent.mkdir(parents=True)
                changed.write_text("\n".join(lines) + "\n")
            program = folder / "tests"
            built = subprocess.run([*COMPILER, "-I", folder, "-I", ROOT / "include", "-I", TESTS,
                                    self.source, "-o", program, "-lcryptopp", "-lpthread"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if built.returncode:
                return "does not compile"
            try:
                ran = subprocess.run([*NAMESPACE, program, "--abort-after=1"], cwd=folder,
                                     timeout=TIMEOUT,
                                     env={"TMPDIR": name, "PATH": "/usr/bin:/bin"},
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
            except subprocess.TimeoutExpired:
                return "killed (hangs)"
            return "killed" if ran.returncode else "survived"


def examine(floor: str, sample: int, options: argparse.Namespace) -> bool:
    """Prints one line per survivor and one for the floor; whether enough were killed."""
    mutants = [mutant for mutant in all_mutants(floor) if re.search(options.only, str(mutant))]
    total = len(mutants)
    random.Random(options.seed).shuffle(mutants)
    counts: Dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="filexfer-mutants-") as name:
        tests = Tests(floor, pathlib.Path(name))
        if tests.outcome(None) != "survived":
            sys.exit("mutants.py: the tests of %s fail without a mutant" % floor)
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            outcomes = pool.map(tests.outcome, mutants[:sample])
            for mutant, outcome in zip(mutants, outcomes):
                counts[outcome] = counts.get(outcome, 0) + 1
                if outcome == "survived" or options.verbose:
                    print("%s: %s" % (mutant, outcome), flush=True)
    killed = counts.get("killed", 0) + counts.get("killed (hangs)", 0)
    compiled = killed + counts.get("survived", 0)
    print("%s: %d of %d mutants tried, %d compile, %d killed (%.0f %%)"
          % (floor, sum(counts.values()), total, compiled, killed, 100 * killed / max(compiled, 1)),
          flush=True)
    return killed >= 0.9 * compiled


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    parser.add_argument("--floor", choices=sorted(FLOORS), action="append")
    parser.add_argument("--sample", type=int, default=100, help="mutants of a floor (100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="mutants whose line matches, file name included")
    parser.add_argument("--verbose", action="store_true", help="those that were killed, too")
    options = parser.parse_args()
    outcomes = [examine(floor, options.sample, options) for floor in options.floor or FLOORS]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
