#!/usr/bin/env python3
"""promises.py [--only P7] [--check]: takes out what gives each promise; its test must fail then.

A test that passes without the mechanism that it tests is worth nothing. Each row names a promise
(README.md, "Promises", and what follows from them), its mechanism, a change that takes it out, and
the test that must fail then, and passes before. The changes are made in a copy of the sources.

With --check it only looks whether each change can be made.

What needs a killed process, a disk or a wire is not here: the harnesses of reliability/ take their
mechanisms out themselves (`self_tests`), by injection.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import List, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Promise(NamedTuple):
    name: str
    text: str
    mechanism: str
    file: str
    old: str
    new: str
    test: str  # a file of tests/unit, or a test of tests/integration: SCRIPT.CLASS.TEST
    program: str = ""  # with such a test: the one that has the mechanism


INCLUDE = "include/filexfer/"
UNIT = "tests/unit/"
INTEGRATION = "tests/integration/"

PROMISES = [
    Promise("P3", "the bytes behind an id never change",
            "other bytes with the same digest are refused",
            INCLUDE + "detail/store/stored_bytes.hpp",
            "return comparison::collision;", "return comparison::damaged;",
            UNIT + "places/directory_store_damage.cpp"),
    Promise("P4", "no path outside the store or the target folder, by a name",
            "a name has no component `..`",
            INCLUDE + "names.hpp", ' || component == ".."', "", UNIT + "wire/fields_names.cpp"),
    Promise("P4", "no path outside the store or the target folder, by a link",
            "no symbolic link is followed",
            INCLUDE + "detail/posix/descriptor.hpp",
            "O_RDONLY | O_DIRECTORY | O_NOFOLLOW", "O_RDONLY | O_DIRECTORY",
            UNIT + "places/directory_store.cpp"),
    Promise("P6", "memory per connection is bounded",
            "a list is sent in batches",
            INCLUDE + "detail/flow/session_flow.hpp",
            "out_.size() < reply_buffer_size && ++seen <= list_batch_entries", "++seen > 0",
            UNIT + "flows/session_flow.cpp"),
    Promise("P7", "a connection without progress ends in time",
            "deadlines",
            INCLUDE + "detail/driver/read_write_runner.hpp",
            "} else if (deadline_.passed()) {", "} else if (false) {",
            UNIT + "drivers/async_run_deadline.cpp"),
    Promise("P8", "running out of descriptors neither spins nor wedges",
            "accepting pauses",
            INCLUDE + "detail/server/server_state.hpp",
            "pause.expires_after(options.accept_pause);", "pause.expires_after(std::chrono::milliseconds{0});",
            UNIT + "one_connection/server_exhaustion.cpp"),
    Promise("P9", "no peer ends the server",
            "SIGPIPE is blocked while a library function writes",
            INCLUDE + "detail/posix/sigpipe.hpp",
            "::pthread_sigmask(SIG_BLOCK, &sigpipe_, &old_mask_);",
            "::pthread_sigmask(SIG_BLOCK, nullptr, &old_mask_);",
            UNIT + "streams/pipe_stream_sigpipe.cpp"),
    Promise("P10", "no file that stalls delays another client",
            "the store is called on the blocking executor",
            INCLUDE + "detail/driver/flow_runner.hpp",
            "if (executors_[queue] && !cancelled_ &&", "if (false && executors_[queue] &&",
            UNIT + "one_connection/server_store_threads.cpp"),
    Promise("P10", "no lock that somebody holds delays another client",
            "locks are tried, never waited for in a thread",
            INCLUDE + "detail/store/id_folder.hpp",
            "try_lock(folder, ec);", "lock(folder, ec, std::chrono::hours{1});",
            UNIT + "places/directory_store_sharing.cpp"),
    Promise("P11", "a download that ends well is whole",
            "it is committed only if the digests match",
            INCLUDE + "detail/flow/client_downloads.hpp",
            "if (result.local_digest != result.file.id) {", "if (false) {",
            UNIT + "flows/client_flows_hostile.cpp"),
    Promise("P12", "no control byte of a peer reaches a terminal or a log",
            "what is displayed is escaped",
            INCLUDE + "printable.hpp",
            "!detail::is_terminal_control(point.value)", "true", UNIT + "wire/printable.cpp"),
    Promise("P13", "sessions leave descriptors and memory as they were",
            "a descriptor is closed by its owner",
            INCLUDE + "detail/posix/descriptor.hpp",
            "if (fd_ >= 0) ::close(std::exchange(fd_, -1));", "", UNIT + "places/file.cpp"),
    Promise("P14", "a start removes nothing of another process that runs",
            "a temporary file is locked while it is in use",
            INCLUDE + "detail/posix/temporary.hpp",
            "  if (!ec) try_lock(file.get(), ec);\n  if (!ec && names_file(", "  if (!ec && names_file(",
            UNIT + "places/directory_store_leftovers.cpp"),
    Promise("P16", "what a transfer goes on from is its own",
            "a part has one link",
            INCLUDE + "detail/posix/regular_file.hpp",
            " && status.st_nlink == 1", "", UNIT + "places/private_parts.cpp"),
    Promise("P17", "the programs behave the same whatever standard stream is closed",
            "descriptors 0 to 2 are filled first",
            "examples/common/process.hpp",
            "if (::fcntl(stream, F_GETFD) != -1) continue;", "continue;",
            INTEGRATION + "test_closed_streams.ClosedStreams"
            ".test_each_command_of_the_client_works_or_says_what_it_could_not_read_or_write",
            "filexfer-client"),
]


def run(command: List[str], **options: object) -> bool:
    """Whether it succeeds. A test that hangs fails."""
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              timeout=900, **options).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def changed(path: pathlib.Path, promise: Promise) -> str:
    """The text of that file without what gives the promise."""
    text = path.read_text(encoding="utf-8")
    if text.count(promise.old) != 1:
        sys.exit("%s: no single place with %r" % (promise.file, promise.old))
    return text.replace(promise.old, promise.new)


class Sources:
    """A copy of the sources, to be changed."""

    def __init__(self, folder: str):
        self.root = pathlib.Path(folder)
        for name in ("include", "examples", "tests", "cmake"):
            shutil.copytree(ROOT / name, self.root / name)
        for name in ("CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md"):
            shutil.copy(ROOT / name, self.root / name)

    def change(self, promise: Promise) -> None:
        path = self.root / promise.file
        path.write_text(changed(path, promise), encoding="utf-8")

    def passes(self, promise: Promise) -> bool:
        if promise.test.startswith(UNIT):
            return self.unit_test_passes(promise.test)
        return self.integration_test_passes(promise.test, promise.program)

    def unit_test_passes(self, test: str) -> bool:
        program = str(self.root / "unit-test")
        built = run(["c++", "-std=c++20", "-O0", "-DASIO_STANDALONE",
                     "-DASIO_HAS_STD_ALIGNED_ALLOC=1", '-DFILEXFER_SANITIZE=""',
                     '-DFILEXFER_BUILD_TYPE="Release"', "-I", str(self.root / "include"),
                     "-I", str(self.root / UNIT), str(self.root / UNIT / "main.cpp"),
                     str(self.root / test), "-lcryptopp", "-lpthread", "-o", program])
        if not built:
            sys.exit("%s does not compile" % test)
        return run(["timeout", "120", program])

    def integration_test_passes(self, test: str, program: str) -> bool:
        """Builds the program, and at first the server, without optimisation and debug symbols."""
        build = self.root / "build"
        programs = [program]
        if not build.exists():
            programs.append("filexfer-server")
            if not run(["cmake", "-S", str(self.root), "-B", str(build), "-G", "Ninja",
                        "-DCMAKE_BUILD_TYPE=None", "-DFILEXFER_BUILD_TESTS=OFF",
                        "-DFILEXFER_INSTALL=OFF"]):
                sys.exit("the build can't be configured")
        if not run(["cmake", "--build", str(build), "--target", *programs]):
            sys.exit("%s does not build" % " or ".join(programs))
        environment = dict(os.environ, FILEXFER_BIN=str(build / "bin"),
                           FILEXFER_SOURCE_DIR=str(self.root), FILEXFER_BUILD_TYPE="None",
                           FILEXFER_SANITIZE="")
        # Ends with the first failure, as without the mechanism much waits until its time is over.
        return run([sys.executable, "-m", "unittest", "--failfast", test[len(INTEGRATION):]],
                   env=environment, cwd=self.root / INTEGRATION)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", help="only this promise, such as P7")
    parser.add_argument("--check", action="store_true", help="look for the places to change only")
    options = parser.parse_args()
    if options.check:
        for promise in PROMISES:
            changed(ROOT / promise.file, promise)
        return 0
    blind = 0
    print("| promise | without | test | |")
    print("| --- | --- | --- | --- |")
    for promise in PROMISES:
        if options.only not in (None, promise.name):
            continue
        with tempfile.TemporaryDirectory(prefix="filexfer-promises-") as folder:
            sources = Sources(folder)
            before = sources.passes(promise)
            sources.change(promise)
            outcome = ("does not pass before" if not before
                       else "PASSES" if sources.passes(promise) else "fails")
        blind += outcome != "fails"
        print("| %s: %s | %s | `%s` | %s |" % (promise.name, promise.text, promise.mechanism,
                                               promise.test, outcome), flush=True)
    return 1 if blind else 0


if __name__ == "__main__":
    sys.exit(main())
