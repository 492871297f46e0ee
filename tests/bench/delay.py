#!/usr/bin/env python3
"""delay.py: a tree of small files up and down, without and with a delay of 25 ms in each direction.

    BIN=build/release/bin FILES=10000 MILLISECONDS=25 tests/bench/delay.py

Prints the seconds of each. A client that waits for a reply for every file takes at least FILES
times 50 ms longer with the delay: FILES=500 is faster. Everything is in RAM (/dev/shm), uses
loopback and free ports only, and is removed at the end.
"""

import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / "integration"))

from places import folder_with_space  # noqa: E402
from relays import DelayingRelay  # noqa: E402

programs = pathlib.Path(os.environ.get("BIN", here.parent.parent / "build/release/bin")).resolve()
files = int(os.environ.get("FILES", "10000"))
seconds = float(os.environ.get("MILLISECONDS", "25")) / 1000
BYTES = 4096


def run(folder, *arguments):
    """Runs the client; returns the seconds that it took."""
    begin = time.monotonic()
    subprocess.run([programs / "filexfer-client", "--quiet", *arguments], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def up_and_down(folder, delay):
    server = subprocess.Popen([programs / "filexfer-server", "--listen", "127.0.0.1:0", "--store",
                               "store", "--quiet"],
                              cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().split()[-1]
        relay = DelayingRelay(address, delay) if delay else None
        address = relay.address if relay else address
        up = run(folder, "--server", address, "upload", "tree")
        down = run(folder, "--server", address, "download", "--all", "-o", "copy")
        subprocess.run(["diff", "-r", "tree", "copy"], cwd=folder, check=True)
        if relay:
            relay.close()
    finally:
        server.terminate()
        server.communicate()
    shutil.rmtree(os.path.join(folder, "store"))
    shutil.rmtree(os.path.join(folder, "copy"))
    return up, down


def main():
    folder = folder_with_space(4 * files * 3 * BYTES)
    if not folder:
        sys.exit("delay.py: no room for %d files" % files)
    try:
        rng = random.Random(1)
        for number in range(files):
            path = os.path.join(folder, "tree", "%d" % (number // 100), "%d" % number)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(rng.randbytes(BYTES))
        print("%d files of %d bytes" % (files, BYTES))
        for delay in (0, seconds):
            up, down = up_and_down(folder, delay)
            print("%4.0f ms each way: %7.2f s up, %7.2f s down" % (1000 * delay, up, down),
                  flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
