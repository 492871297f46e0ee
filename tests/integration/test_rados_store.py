#!/usr/bin/env python3
"""Runs the tests of rados_store (tests/rados) and its examples on a real Ceph cluster.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they, or Ceph's, are absent.
"""
# ctest: COST 150

import os
import subprocess
import sys

import programs
from rados_case import RadosCase, run_rados_tests


class RadosStore(RadosCase):
    def run_on_cluster(self, name, *arguments):
        program = programs.path_of(name)
        if not program:
            self.skipTest(name + " was not built")
        environment = dict(os.environ, FILEXFER_CEPH_CONF=self.cluster.conf)
        result = subprocess.run([program, *arguments], env=environment, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=400)
        output = result.stdout.decode("utf-8", "replace")
        sys.stderr.write(output[-2000:])
        self.assertEqual(result.returncode, 0, output)
        return output

    def test_the_store_passes_its_tests(self):
        self.assertNotIn("test cases:  0 ", self.run_on_cluster("filexfer-rados-tests"))

    def test_the_examples_run(self):
        output = self.run_on_cluster("filexfer-snippets", "--test-case=a store in RADOS")
        self.assertIn("1 passed", output)


if __name__ == "__main__":
    run_rados_tests()
