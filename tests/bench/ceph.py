#!/usr/bin/env python3
"""ceph.py [--rounds N]: a store in a pool of Ceph, beside the command rados with the same bytes.

Starts a cluster of three OSDs on this machine, with a server of its pool, and measures, in turns:
1 GiB up and down (rados has objects of at most 128 MiB: eight of these); 2,000 files of 4 KiB up, one
at a time and as many together as the client sends; the same down; and a list of 100,000 ids. Prints
the median of each, and the ratios. BIN is the folder of the programs. Needs 16 GiB of disk.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / "integration"))

from ceph_cluster import CephCluster  # noqa: E402
from peer import Client  # noqa: E402

programs = pathlib.Path(os.environ.get("BIN", here.parent.parent / "build/release/bin")).resolve()
MIB = 1 << 20
PARTS, PART = 8, 128 * MIB
FILES, BYTES = 2000, 4096
IDS = 100_000


class Bench:
    def __init__(self, folder, cluster):
        self.folder, self.cluster = folder, cluster
        self.server = subprocess.Popen(
            [programs / "filexfer-server", "--listen", "127.0.0.1:0", "--quiet", "--allow-remove",
             "--store", "rados:filexfer/bench", "--ceph-conf", cluster.conf],
            stdout=subprocess.PIPE, text=True)
        self.address = self.server.stdout.readline().split()[-1]
        self.seconds = {}

    def measure(self, name, call):
        begin = time.monotonic()
        call()
        self.seconds.setdefault(name, []).append(time.monotonic() - begin)

    def client(self, *arguments):
        subprocess.run([programs / "filexfer-client", "--server", self.address, "--quiet",
                        *arguments], cwd=self.folder, check=True, stdout=subprocess.DEVNULL)

    def rados(self, *arguments):
        subprocess.run(["rados", "-c", self.cluster.conf, "-p", "filexfer", "-N", "peer",
                        *arguments], cwd=self.folder, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def remove(self):
        """So that each round stores anew. The objects go later."""
        with Client(self.address, timeout=600) as client:
            client.features()
            for entry in client.list_files():
                client.send_line(b"REMOVE")
                client.words()
                client.send_line(entry.id.encode() + b";" + entry.name)
                client.reply()

    def large(self, number):
        part = os.urandom(PART)
        with open(os.path.join(self.folder, "large"), "wb") as file:
            for i in range(PARTS):
                file.write(b"%08d %08d" % (number, i) + part[17:])
        with open(os.path.join(self.folder, "part"), "wb") as file:
            file.write(part)
        del part
        numbers = [str(i) for i in range(PARTS)]
        self.measure("1 GiB up", lambda: self.client("upload", "large"))
        self.measure("rados put", lambda: [self.rados("put", i, "part") for i in numbers])
        self.measure("1 GiB down", lambda: self.client("download", "--all", "--fsync", "off", "-o",
                                                       "copy"))
        self.measure("rados get", lambda: [self.rados("get", i, "out") for i in numbers])
        subprocess.run(["cmp", "large", "copy/large"], cwd=self.folder, check=True)
        shutil.rmtree(os.path.join(self.folder, "copy"))
        self.remove()
        for i in numbers:
            self.rados("rm", i)

    def small(self, number):
        def make(folder):
            os.mkdir(os.path.join(self.folder, folder))
            for i in range(FILES):
                with open(os.path.join(self.folder, folder, str(i)), "wb") as file:
                    file.write(os.urandom(BYTES))

        def one_at_a_time():
            with Client(self.address, timeout=600) as client:
                client.features()
                for i in range(FILES // 4):
                    client.upload("%d" % i, os.urandom(BYTES))

        make("small")
        self.measure("a quarter of the small files up, one at a time", one_at_a_time)
        self.remove()
        self.measure("small files up", lambda: self.client("upload", "small"))
        self.measure("small files up again, --skip-existing",
                     lambda: self.client("upload", "--skip-existing", "small"))
        self.measure("small files down", lambda: self.client("download", "--all", "--fsync", "off",
                                                             "-o", "copy"))
        subprocess.run(["diff", "-r", "small", "copy"], cwd=self.folder, check=True)
        for name in "small", "copy":
            shutil.rmtree(os.path.join(self.folder, name))
        self.remove()

    def listing(self):
        with Client(self.address, timeout=600) as client:
            client.features()
            for begin in range(0, IDS, 500):
                for i in range(begin, min(begin + 500, IDS)):
                    client.send_line(b"UPLOAD")
                    client.send_line(b"%d;%d;nowait" % (i, len(b"%d" % i)))
                    client.send(b"%d" % i)
                for i in range(begin, min(begin + 500, IDS)):
                    client.words()
                    client.words()
                    client.reply()
        for _ in range(3):
            self.measure("a list of 100,000", lambda: self.client("list"))

    def print_results(self):
        medians = {name: statistics.median(times) for name, times in self.seconds.items()}
        for name, seconds in medians.items():
            print("%-50s %8.2f s  %s" % (name, seconds, " ".join(
                "%.2f" % each for each in self.seconds[name])))
        for ours, peer in (("1 GiB up", "rados put"), ("1 GiB down", "rados get")):
            print("%s: %.2f times as fast as %s" % (ours, medians[peer] / medians[ours], peer))
        print("small files up: %.1f times as fast as one at a time" % (
            4 * medians["a quarter of the small files up, one at a time"]
            / medians["small files up"]))
        if "a list of 100,000" in medians:
            print("list: %.0f entries/s" % (IDS / medians["a list of 100,000"]))

    def close(self):
        self.server.terminate()
        self.server.communicate()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-list", action="store_true", help="leave out the list")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with CephCluster(os.path.join(folder, "ceph")) as cluster:
            cluster.create_pool("filexfer")
            bench = Bench(folder, cluster)
            try:
                for number in range(options.rounds):
                    bench.large(number)
                    bench.small(number)
                if not options.no_list:
                    bench.listing()
                bench.print_results()
            finally:
                bench.close()


if __name__ == "__main__":
    main()
