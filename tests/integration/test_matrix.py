#!/usr/bin/env python3
"""The same jobs over every transport, with either digest.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""
# ctest: COST 140

import hashlib
import os
import shlex
import shutil
import tempfile

import programs
from addresses import skip_without_ipv6
from certificates import WHY_WITHOUT_TLS, WITHOUT_TLS, certificate
from contents import MIB, make_data
from exit_codes import REFUSED, WRONG_DIGEST
from sshd import Sshd
from trees import Trees

SIZES = 0, 1, 65536, 65537, 700001, 3 * MIB + 1


# Each starts a server or has the client start one, and returns the client's arguments for it.


def tcp(test):
    return "--server", test.serve("--digest", test.digest, store="store").address


def tcp_over_ipv6(test):
    skip_without_ipv6()
    return "--server", test.serve("--digest", test.digest, store="store",
                                  listen=("[::1]:0",)).address


def unix(test):
    return "--server", test.serve("--digest", test.digest, store="store",
                                  listen=("unix:socket",)).address


def tls(test):
    if WITHOUT_TLS:
        test.skipTest(WHY_WITHOUT_TLS)
    certificate(test.path("server"), "IP:127.0.0.1")
    server = test.serve("--digest", test.digest, "--cert", "server.crt", "--key", "server.key",
                        store="store", listen=("tls:127.0.0.1:0",))
    return "--server", server.address, "--ca", "server.crt"


def stdio_server(test):
    return "%s --listen stdio --digest %s --store %s" % (
        shlex.quote(programs.path_of("filexfer-server")), test.digest,
        shlex.quote(test.path("store")))


def a_command(test):
    return "--via", "sh -c " + shlex.quote(stdio_server(test))


def ssh(test):
    return "--via", test.daemon().command + shlex.quote(stdio_server(test))


class Jobs:
    """The tests for each combination of a `transport` and a `digest`."""

    def setUp(self):
        super().setUp()
        self.hash = getattr(hashlib, self.digest)
        self.connection_options = type(self).transport(self)

    @classmethod
    def daemon(cls):
        """One sshd for all tests of a combination."""
        if not hasattr(cls, "its_daemon"):
            folder = tempfile.mkdtemp(prefix="filexfer-sshd-")
            cls.addClassCleanup(shutil.rmtree, folder)
            cls.its_daemon = Sshd(folder)
            cls.addClassCleanup(cls.its_daemon.stop)
        return cls.its_daemon

    def client(self, *arguments, **keywords):
        return self.run_program("filexfer-client", *self.connection_options, *arguments, **keywords)

    def lines_of(self, outcome, names):
        return "".join("%s  %s  %s\n" % (outcome, self.hash(self.files[name]).hexdigest(), name)
                       for name in names)

    def assert_same(self, name, copy):
        self.assertEqual(self.read(copy), self.files[name])
        self.assertEqual(os.stat(self.path(copy)).st_mtime_ns, os.stat(self.path(name)).st_mtime_ns)

    def test_files_of_all_sizes_are_uploaded_once_and_downloaded_by_id_and_by_name(self):
        self.assertEqual(self.client("list"), b"")
        self.files = {"size %d" % size: make_data(size) for size in SIZES}
        for number, (name, data) in enumerate(self.files.items()):
            os.utime(self.write(name, data), ns=(0, (-1)**number * number * 123456789012345678))
        ids = {name: self.hash(data).hexdigest() for name, data in self.files.items()}
        listed = sorted("%s;%s;%d" % (ids[name], name, len(data))
                        for name, data in self.files.items())
        for outcome, options in (("Success", ()), ("Already there", ("--skip-existing",))):
            self.assertEqual(self.client("upload", *self.files, *options).decode(),
                             self.lines_of(outcome, self.files))
            self.assertEqual(sorted(self.client("list").decode().splitlines()), listed)
        os.mkdir(self.path("by id"))
        os.mkdir(self.path("by name"))
        self.client("download", *ids.values(), "-o", "by id")
        self.client("download", *ids, "-o", "by name")
        for name, data in self.files.items():
            self.assertEqual(self.read("store/%s/%s" % (ids[name], name)), data)
            self.assert_same(name, "by id/" + name)
            self.assert_same(name, "by name/" + name)
        self.check_no_temporaries()

    def test_a_downloaded_tree_equals_the_uploaded_one_and_verify_detects_a_change(self):
        self.files = self.write_tree("tree")
        self.assertEqual(self.client("upload", "tree").count(b"Success  "), len(self.files))
        self.client("download", "--all", "-o", "copy")
        self.assert_same_trees("tree", "copy")
        self.assert_same_times("tree", "copy", self.files)
        self.assertEqual(self.client("verify", "tree").count(b"Held  "), len(self.files))
        self.files["large"] = self.files["large"][:-1] + bytes([self.files["large"][-1] ^ 1])
        self.write("tree/large", self.files["large"])
        out = self.client("verify", "tree", expect=WRONG_DIGEST).decode().splitlines(keepends=True)
        self.assertEqual(len(out), len(self.files))
        self.assertEqual([line for line in out if not line.startswith("Held  ")],
                         [self.lines_of("Lacks", ["large"])])

    def test_an_unknown_id_is_refused(self):
        self.write("a", b"a")
        self.client("upload", "a")
        id = self.hash(b"b").hexdigest()
        self.client("download", id, "-o", "copy", expect=REFUSED)
        self.assertIn(id, self.stderr)
        self.assertFalse(os.path.exists(self.path("copy")))


for transport in (tcp, tcp_over_ipv6, unix, tls, a_command, ssh):
    for digest in ("md5", "sha256"):
        name = "%s_with_%s" % (transport.__name__, digest)
        globals()[name] = type(name, (Jobs, Trees), {
            "__module__": __name__, "transport": transport, "digest": digest})


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
