"""The base of the tests of servers whose store is in a pool of a real Ceph cluster.

A script calls run_rados_tests(): one cluster for all of its cases, each of which has a namespace.
"""

import hashlib
import os
import re
import subprocess
import sys
import unittest

import programs
from ceph_cluster import CephCluster, end_with_parent, why_no_cluster
from contents import MIB
from exit_codes import DONE
from program_case import Case

POOL = "filexfer"
CHUNK = 4 * MIB  # the bytes of an object
INDEX_OBJECTS = 1024

# An object that holds bytes of a file: a random name, and its number.
CHUNK_NAME = re.compile(r"([0-9a-f]{32})\.([0-9]+)")


class RadosCase(Case):
    cluster = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if RadosCase.cluster is None:
            RadosCase.cluster = CephCluster(os.path.abspath("ceph"))
            unittest.addModuleCleanup(RadosCase.cluster.stop)
            RadosCase.cluster.start()
            RadosCase.cluster.create_pool(POOL)

    def setUp(self):
        super().setUp()
        self.cluster.check_daemons()
        self.pool, self.name_space = POOL, self._testMethodName

    # Programs

    @property
    def store(self):
        return "rados:%s/%s" % (self.pool, self.name_space)

    def serve_pool(self, *arguments, **keywords):
        """A server of the case's namespace. Several can run."""
        keywords = {"store": self.store, "prepare": end_with_parent, **keywords}
        return self.serve("--ceph-conf", self.cluster.conf, *arguments, **keywords)

    def verify(self, *arguments, expect=DONE):
        """The lines that it prints about files, and the last one with the totals."""
        *lines, totals = self.run_program(
            "filexfer-server", "verify", "--store", self.store, "--ceph-conf", self.cluster.conf,
            *arguments, expect=expect).decode().splitlines()
        return lines, totals

    def finish(self, *processes, expect=DONE):
        """Waits until these programs end; returns what they have printed."""
        printed = []
        for process in processes:
            out, err = process.communicate(timeout=240)
            self.assertEqual(process.returncode, expect, (process.args, out, err))
            printed.append(out.decode())
        return printed

    def listed(self, server):
        """The lines of the server's list."""
        return sorted(self.client(server, "list").decode().splitlines())

    def check_listed_files(self, server):
        """Checks that each file that is listed can be downloaded, and has its digest."""
        entries = [line.split(";") for line in self.listed(server)]
        out = self.client(server, "download", "--all", "--all-versions", "--force", "-o",
                          "listed").decode()
        self.assertEqual(out.count("Success  "), len(entries), out)
        hasher = hashlib.sha256 if entries and len(entries[0][0]) == 64 else hashlib.md5
        digests = sorted(hasher(self.read("listed/" + name)).hexdigest()
                         for name in self.files_below("listed"))
        self.assertEqual(digests, sorted(entry[0] for entry in entries))
        subprocess.run(["rm", "-r", "-f", self.path("listed")], check=True)
        return entries

    # The pool

    def rados(self, *arguments, **keywords):
        return self.cluster.rados(self.pool, self.name_space, *arguments, **keywords)

    def objects(self):
        return self.rados("ls").decode().splitlines()

    def chunks(self):
        """How many objects there are of each file, or of each upload, by its random name."""
        counts = {}
        for found in map(CHUNK_NAME.fullmatch, self.objects()):
            if found:
                counts[found[1]] = counts.get(found[1], 0) + 1
        return counts

    def stored_bytes(self, name, count):
        return b"".join(self.rados("get", "%s.%d" % (name, number), "-")
                        for number in range(count))

    def record(self, id):
        """What the index says of the file `id`: the random name of its bytes, its size, ..."""
        number = int(id[:4], 16) % INDEX_OBJECTS
        target = self.path("record")
        self.rados("getomapval", "index.%d" % number, id, target)
        return self.read(target).decode().split()

    def omap_keys(self, name):
        return self.rados("listomapkeys", name).decode().splitlines()


def run_rados_tests():
    """Exits with 77 (skipped) if programs of ours or of Ceph are missing, or space."""
    needed = "filexfer-server", "filexfer-client"
    reason = why_no_cluster(os.curdir)
    if not reason and all(map(programs.path_of, needed)):
        asked = subprocess.run([programs.path_of(needed[0]), "verify", "--store", "rados:x",
                                "--ceph-conf", os.devnull + "/none"], stdin=subprocess.DEVNULL,
                               capture_output=True)
        if b"built without librados" in asked.stderr:
            reason = "filexfer-server was built without librados"
    if reason:
        print("skipped: " + reason)
        sys.exit(77)
    programs.run_tests(*needed)
