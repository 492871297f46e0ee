#!/usr/bin/env python3
"""Servers whose store is a pool of Ceph, while OSDs, the monitor and servers are killed or stopped.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they, or Ceph's, are absent.
"""
# ctest: COST 260

import os
import random
import threading
import time

from ceph_cluster import OSDS
from contents import HELLO, HELLO_ID, MIB, make_data
from exit_codes import DONE, REFUSED
from peer import md5
from rados_case import CHUNK, RadosCase, run_rados_tests
from waiting import TIMEOUT, wait_until

# How long a server waits for the cluster, and what a busy machine may add.
REPLY_LIMIT = 30
MARGIN = 15


class Failures(RadosCase):
    def start_transfers(self, server, count, size):
        """Starts uploads and downloads that take some seconds; returns them once bytes have passed.

        The files are "up N" and "down N".
        """
        for number in range(count):
            self.write("up %d" % number, make_data(size, number))
            self.write("down %d" % number, make_data(size, 100 + number))
        self.client(server, "upload", *("down %d" % number for number in range(count)))
        before = sum(self.chunks().values())
        started = []
        for number in range(count):
            rate = ("--limit-rate", str(size // 5))
            started.append(self.start_client(server, *rate, "upload", "up %d" % number))
            started.append(self.start_client(server, *rate, "download", "down %d" % number, "-o",
                                             "copy %d" % number))
        wait_until(lambda: sum(self.chunks().values()) >= before + count, "the first objects")
        self.assertEqual([process.poll() for process in started], [None] * len(started),
                         "too late to see anything")
        return started

    def check_transfers(self, server, started, count):
        self.finish(*started)
        for number in range(count):
            self.assertEqual(self.read("copy %d" % number), self.read("down %d" % number))
            os.remove(self.path("copy %d" % number))
        ids = {md5(self.read("%s %d" % (name, number)))
               for name in ("up", "down") for number in range(count)}
        self.assertEqual({id for id, _, _ in self.check_listed_files(server)}, ids)


class KilledOsds(Failures):
    def test_transfers_end_well_although_an_osd_is_killed(self):
        server = self.serve_pool("--allow-remove")
        for osd in (0, 2):
            with self.subTest(osd=osd):
                started = self.start_transfers(server, 3, 18 * MIB)
                self.cluster.kill_osd(osd)
                self.check_transfers(server, started, 3)
                self.client(server, "upload", self.write("later", HELLO), "--name", "later")
                self.cluster.start_osd(osd)
                self.cluster.wait_until_clean()
                self.client(server, "remove", "later", *(
                    "%s %d" % (name, number) for name in ("up", "down") for number in range(3)))
                self.assertEqual(self.listed(server), [])

    def test_what_was_a_success_survives_that_all_osds_are_killed(self):
        for number in range(300):
            self.write("tree/%03d" % number, make_data(20_000, number))
        for number in range(5):
            self.write("tree/%03d large" % (60 * number), make_data(CHUNK + 1, 1000 + number))
        server = self.serve_pool()
        with open(self.path("printed"), "wb") as printed:
            client = self.start_client(server, "--limit-rate", "10M", "upload", "tree",
                                       stdout=printed)
        wait_until(lambda: self.read("printed").count(b"\n") >= 100, "the first results")
        self.assertIsNone(client.poll(), "too late to see anything")
        for osd in range(OSDS):
            self.cluster.kill_osd(osd)
        for osd in range(OSDS):
            self.cluster.start_osd(osd)
        self.cluster.wait_until_clean()
        # A server waits for the cluster, but not for ever.
        _, err = client.communicate(timeout=4 * TIMEOUT)
        self.assertIn(client.returncode, (DONE, REFUSED), err)
        entries = {(id, name) for id, name, _ in self.check_listed_files(server)}
        for line in self.read("printed").decode().splitlines():
            word, id, name = line.split("  ", 2)
            self.assertEqual(word, "Success")
            self.assertIn((id, name), entries)
        self.assertEqual(self.verify()[0], [])
        self.client(server, "upload", "--skip-existing", "tree")
        self.assertEqual(len(self.check_listed_files(server)), 305)


class TooFewOsds(Failures):
    """Two of three OSDs are dead: fewer replicas than the pool's min_size."""

    def setUp(self):
        super().setUp()
        self.server = self.serve_pool("--allow-remove")
        self.slowest = 0.0

    def ask_features(self, stop):
        """Asks for the features again and again; notes how long the slowest answer takes."""
        while not stop.is_set():
            begin = time.monotonic()
            try:
                with self.server.client(TIMEOUT) as client:
                    client.features()
            finally:
                self.slowest = max(self.slowest, time.monotonic() - begin)
            stop.wait(0.1)

    def start_osds(self):
        for osd in (0, 1):
            if "osd.%d" % osd not in self.cluster.daemons:
                self.cluster.start_osd(osd)
        self.cluster.wait_until_clean()

    def kill_osds(self):
        self.addCleanup(self.start_osds)
        for osd in (0, 1):
            self.cluster.kill_osd(osd)

    def check_refused(self, clients, since):
        """Checks that each ends with `io` in time, and that other requests are answered."""
        stop = threading.Event()
        asking = threading.Thread(target=self.ask_features, args=(stop,))
        asking.start()
        took = {}
        try:
            left = dict(clients)
            while left and time.monotonic() < since + 6 * REPLY_LIMIT:
                for name in [name for name, client in left.items() if client.poll() is not None]:
                    took[name] = time.monotonic() - since
                    client = left.pop(name)
                    err = client.stderr.read().decode()
                    self.assertEqual(client.returncode, REFUSED, (name, err))
                    self.assertIn("ERROR io ", err, name)
                time.sleep(0.05)
        finally:
            stop.set()
            asking.join()
        self.assertEqual(list(left), [], "they hang")
        self.assertLess(self.slowest, 10)
        late = {name: "%.0f s" % seconds for name, seconds in took.items()
                if seconds > REPLY_LIMIT + MARGIN}
        with self.subTest("in time"):  # the rest is worth knowing even if this fails
            self.assertEqual(late, {}, "later than the server's limit of %d s" % REPLY_LIMIT)

    def check_works_again(self):
        self.start_osds()
        for name in ("empty", "small", "large", "before"):
            out = self.client(self.server, "upload", name).decode()
            self.assertEqual(out, "Success  %s  %s\n" % (md5(self.read(name)), name))
        self.assertEqual(len(self.check_listed_files(self.server)), 4)
        self.client(self.server, "remove", "small")
        self.assertEqual(len(self.listed(self.server)), 3)
        self.assertEqual(self.verify()[0], [])

    def test_requests_end_with_io_in_time_and_all_works_again_afterwards(self):
        files = {"empty": b"", "small": b"small", "large": make_data(5 * CHUNK, 1),
                 "before": HELLO}
        for name, data in files.items():
            self.write(name, data)
        self.client(self.server, "upload", "before")
        # One upload is in the middle.
        rate = str(2 * MIB)
        middle = self.start_client(self.server, "--limit-rate", rate, "upload", "large")
        wait_until(lambda: sum(self.chunks().values()) >= 2, "the first object")
        self.kill_osds()
        killed = time.monotonic()
        self.cluster.wait_until_down((0, 1))
        self.check_refused({
            "upload in the middle": middle,
            "upload of an empty file": self.start_client(self.server, "upload", "empty"),
            "upload of a small file": self.start_client(self.server, "upload", "small"),
            "upload of a known file": self.start_client(self.server, "upload", "--skip-existing",
                                                        "before"),
            "list": self.start_client(self.server, "list"),
            "download": self.start_client(self.server, "download", HELLO_ID, "-o", "copy"),
            "remove": self.start_client(self.server, "remove", HELLO_ID),
        }, killed)
        self.check_works_again()


class StoppedMonitor(Failures):
    def test_transfers_end_well_although_the_monitor_stops_for_20_seconds(self):
        server = self.serve_pool()
        started = self.start_transfers(server, 3, 18 * MIB)
        self.addCleanup(self.cluster.continue_monitor)
        self.cluster.stop_monitor()
        end = time.monotonic() + 20
        # Some begin while it is stopped.
        for number in range(3):
            time.sleep(5)
            self.write("up %d" % (3 + number), make_data(1000 * number, number))
            started.append(self.start_client(server, "upload", "up %d" % (3 + number)))
        self.assertGreaterEqual(len(self.listed(server)), 3)
        time.sleep(max(0.0, end - time.monotonic()))
        self.cluster.continue_monitor()
        self.finish(*started)
        self.assertEqual(len(self.check_listed_files(server)), 9)


class KilledServers(RadosCase):
    ROUNDS = 20

    def write_round(self, number):
        """Files of many sizes, that no other round has. Returns their names."""
        sizes = [2 * CHUNK + 1000, 3 * CHUNK, CHUNK, 0, *range(1000, 41_000, 2000)]
        names = ["%d %d" % (number, size) for size in sizes]
        for name, size in zip(names, sizes):
            self.write("%d/%s" % (number, name), make_data(size, number))
        return names

    def test_a_server_that_is_killed_at_any_moment_of_uploads_leaves_nothing_wrong(self):
        rng = random.Random(20)
        names = self.write_round(0)
        server = self.serve_pool("--allow-remove")
        begin = time.monotonic()
        self.client(server, "upload", "0")
        usual = time.monotonic() - begin
        for number in range(1, self.ROUNDS + 1):
            old, names = names, self.write_round(number)
            clients = (self.start_client(server, "upload", str(number)),
                       self.start_client(server, "remove", *old[:-1]))
            time.sleep(rng.uniform(0, 1.2 * usual))
            if number % 2:
                # Nothing is stored now, but what the server has sent will be.
                osd = rng.randrange(OSDS)
                self.cluster.stop_osd(osd)
                time.sleep(0.2)
            server.kill()
            if number % 2:
                self.cluster.continue_osd(osd)
            printed, _ = [client.communicate(timeout=TIMEOUT)[0] for client in clients]
            server = self.serve_pool("--allow-remove")
            entries = {(id, name) for id, name, _ in self.check_listed_files(server)}
            for line in printed.decode().splitlines():
                word, id, name = line.split("  ", 2)
                self.assertEqual(word, "Success")
                self.assertIn((id, name), entries)
            out = self.client(server, "upload", str(number)).decode()
            self.assertEqual(out.count("Success  "), len(names))
            entries = {(name, int(size)) for _, name, size in self.check_listed_files(server)}
            for name in names:
                self.assertIn((name, int(name.split()[1])), entries)
            self.client(server, "remove", *old[:-1], expect=(DONE, REFUSED))
        lines, totals = self.verify()
        self.assertEqual((lines, totals.rpartition(", ")[2]), ([], "0 damaged"))
        self.check_listed_files(server)


if __name__ == "__main__":
    run_rados_tests()
