#!/usr/bin/env python3
"""Servers whose store is a pool of a real Ceph cluster: transfers, removals, damage, full pools.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they, or Ceph's, are absent.
"""
# ctest: COST 240

import os
import random
import signal
import subprocess
import threading
import time

import programs
from addresses import unused_address
from contents import HELLO, HELLO_ID, KIB, MIB, NAMES, make_data
from exit_codes import BROKEN, DONE, LOCAL_FILE, REFUSED, USAGE, WRONG_DIGEST
from peer import escape, md5
from rados_case import CHUNK, POOL, RadosCase, run_rados_tests
from relays import HoldingRelay
from simulated import check_simulation
from trees import Trees
from waiting import TIMEOUT, wait_until

SECOND = 10**9


class Transfers(RadosCase):
    def test_a_file_is_listed_and_comes_back_by_its_id(self):
        server = self.serve_pool()
        self.assertEqual(self.listed(server), [])
        data = make_data(100_000)
        self.write("file", data)
        out = self.client(server, "upload", "file").decode()
        self.assertEqual(out, "Success  %s  file\n" % md5(data))
        self.assertEqual(self.listed(server), ["%s;file;100000" % md5(data)])
        out = self.client(server, "download", md5(data), "-o", "copy").decode()
        self.assertEqual(out, "Success  %s  copy\n" % md5(data))
        self.assertEqual(self.read("copy"), data)
        self.client(server, "download", md5(b"another"), "-o", "none", expect=REFUSED)
        self.assertIn("not-found", self.stderr)

    def test_the_simulation_shows_all_steps_and_equal_digests(self):
        server = self.serve_pool()
        for name, data in (("image;1 %.png", make_data(50_000)), ("empty", b"")):
            self.write(name, data)
            out = self.client(server, "simulate", name, "-o", "copy")
            check_simulation(self, out, name, len(data), md5(data), range(3, 23))
            self.assertEqual(self.read("copy"), data)
            os.remove(self.path("copy"))

    def test_files_of_all_sizes_are_objects_whose_bytes_hash_to_the_ids(self):
        server = self.serve_pool()
        other = self.serve_pool()
        sizes = (0, 1, CHUNK, CHUNK + 1, 30_000_000)
        files = {"%d bytes" % size: make_data(size) for size in sizes}
        for name, data in files.items():
            self.write("tree/" + name, data)
        self.client(server, "upload", "tree")
        self.assertEqual(self.listed(other), sorted(
            "%s;%s;%d" % (md5(data), name, len(data)) for name, data in files.items()))
        self.client(other, "download", "--all", "-o", "copy")
        for name, data in files.items():
            self.assertEqual(self.read("copy/" + name), data, name)
        chunks = self.chunks()
        self.assertEqual({md5(self.stored_bytes(*item)): item[1] for item in chunks.items()},
                         {md5(data): -(-len(data) // CHUNK) for data in files.values() if data})
        self.assertEqual(self.verify(), ([], "5 files, %d bytes verified, 0 damaged" % sum(sizes)))

    def test_a_range_may_begin_and_end_at_any_byte_of_an_object(self):
        data = make_data(2 * CHUNK + 5)
        with self.serve_pool() as server, server.client(TIMEOUT) as client:
            client.features()
            client.upload("file", data)
            for offset, length in ((0, 1), (CHUNK - 1, 2), (CHUNK, CHUNK), (1, 2 * CHUNK),
                                   (2 * CHUNK + 4, 1), (2 * CHUNK + 5, 7), (CHUNK + 1, None)):
                found = client.download(md5(data), offset=offset, length=length)
                end = len(data) if length is None else offset + length
                self.assertEqual(found.data, data[offset:end], (offset, length))

    def test_times_and_the_executable_bit_come_back(self):
        times = {"tree/script": 1_234_567_890 * SECOND + 500_000_000, "tree/old": -5 * SECOND}
        for name, when in times.items():
            path = self.write(name, name.encode())
            os.chmod(path, 0o755 if name == "tree/script" else 0o644)
            os.utime(path, ns=(0, when))
        server = self.serve_pool()
        for number in range(2):
            self.client(server, "upload", "--skip-existing", "tree")
            copy = "copy%d" % number
            self.client(server, "download", "--all", "-o", copy)
            for name, when in times.items():
                status = os.stat(self.path(copy, name[5:]))
                self.assertEqual(status.st_mtime_ns, when, name)
                self.assertEqual(status.st_mode & 0o111, 0o111 if name == "tree/script" else 0)
            # The same bytes again, with another time.
            times["tree/script"] += SECOND
            os.utime(self.path("tree/script"), ns=(0, times["tree/script"]))

    def test_files_with_special_names_come_back(self):
        server = self.serve_pool("--allow-remove")
        for name in NAMES:
            self.write("tree/" + name, name.encode())
            self.write("tree/same bytes/" + name, HELLO)
        self.client(server, "upload", "tree")
        self.client(server, "download", "--all", "-o", "copy")
        result = subprocess.run(["diff", "-r", "tree", "copy"], cwd=self.folder,
                                capture_output=True)
        self.assertEqual((result.returncode, result.stdout), (0, b""))
        for name in NAMES[::3]:
            self.client(server, "remove", "--", "same bytes/" + name)
        left = [name for number, name in enumerate(NAMES) if number % 3]
        self.assertEqual([line for line in self.listed(server) if line.startswith(HELLO_ID)],
                         sorted("%s;%s;5" % (HELLO_ID, escape("same bytes/" + name).decode())
                                for name in left))

    def test_a_name_that_conflicts_with_another_of_the_file_is_refused(self):
        server = self.serve_pool()
        self.write("hello", HELLO)
        self.client(server, "upload", "hello", "--name", "a/b")
        for name in ("a", "a/b/c"):
            self.client(server, "upload", "hello", "--name", name, expect=REFUSED)
            self.assertIn("bad-name", self.stderr)
        self.client(server, "upload", "hello", "--name", "a/c")
        self.assertEqual(self.listed(server),
                         ["%s;a/b;5" % HELLO_ID, "%s;a/c;5" % HELLO_ID])

    def test_ids_are_sha256_if_the_server_says_so(self):
        data = make_data(CHUNK + 1)
        self.write("large", data)
        self.write("hello", HELLO)
        server = self.serve_pool("--digest", "sha256")
        self.client(server, "upload", "large", "hello")
        ids = {id for id, _, _ in self.check_listed_files(server)}
        self.assertIn("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", ids)
        server.stop()
        self.assertEqual(self.verify()[0], [])
        self.assertEqual(self.verify("--digest", "sha256")[1],
                         "2 files, %d bytes verified, 0 damaged" % (CHUNK + 6))
        self.verify_fails("--digest", "md5")
        self.server_fails(LOCAL_FILE, "--store", self.store, "--ceph-conf", self.cluster.conf)
        self.assertIn("another --digest", self.stderr)

    def verify_fails(self, *arguments, expect=LOCAL_FILE):
        self.run_program("filexfer-server", "verify", "--store", self.store, "--ceph-conf",
                         self.cluster.conf, *arguments, expect=expect)

    def server_fails(self, expect, *arguments):
        self.run_program("filexfer-server", "--listen", "127.0.0.1:0", *arguments, expect=expect)


class ManyFiles(Trees, RadosCase):
    def test_a_folder_of_2000_files_goes_up_once_and_comes_back(self):
        files = self.write_many(2000)
        server = self.serve_pool()
        out = self.client(server, "upload", "tree").decode()
        self.assertEqual(out.count("Success  "), 2000)
        entries = sorted("%s;%s;%d" % (md5(data), name, len(data)) for name, data in files.items())
        self.assertEqual(self.listed(server), entries)
        relay = HoldingRelay(server.address)
        self.addCleanup(relay.close)
        out = self.client(relay, "upload", "--skip-existing", "tree").decode()
        self.assertEqual(out.count("Already there  "), 2000)
        self.assertLess(relay.bytes_by_direction["up"], 2000 * 500)
        self.client(self.serve_pool(), "download", "--all", "-o", "copy")
        self.assert_same_trees("tree", "copy")
        self.assertEqual(self.listed(server), entries)
        self.assertEqual(self.verify()[1], "2000 files, %d bytes verified, 0 damaged"
                         % sum(map(len, files.values())))


class Removals(RadosCase):
    def test_names_and_files_are_removed_for_all_servers(self):
        server, other = self.serve_pool("--allow-remove"), self.serve_pool()
        self.write("hello", HELLO)
        self.write("x", b"x")
        self.client(server, "upload", "hello", "x")
        self.client(other, "upload", "hello", "--name", "again")
        out = self.client(server, "remove", "hello").decode()
        self.assertEqual(out, "Removed  %s  hello\n" % HELLO_ID)
        left = ["%s;again;5" % HELLO_ID, "%s;x;1" % md5(b"x")]
        self.assertEqual(self.listed(other), sorted(left))
        self.client(server, "remove", "hello", expect=REFUSED)
        self.client(other, "remove", "x", expect=REFUSED)  # it does not allow that
        self.client(server, "remove", HELLO_ID)
        self.assertEqual(self.listed(other), left[1:])
        self.client(other, "download", HELLO_ID, "-o", "none", expect=REFUSED)
        self.client(other, "upload", "hello")
        self.assertEqual(self.client(server, "download", HELLO_ID, "-o", "-"), HELLO)

    def test_a_download_of_a_file_that_is_removed_meanwhile_ends_well(self):
        # More than the server reads ahead, and than sockets hold, behind the first bytes.
        data = make_data(48 * MIB)
        self.write("large", data)
        server, other = self.serve_pool(), self.serve_pool("--allow-remove")
        self.client(server, "upload", "large")
        relay = HoldingRelay(server.address)
        self.addCleanup(relay.close)
        held = relay.hold("down", 8 * MIB)
        download = self.start_client(relay, "--limit-rate", "20M", "download", md5(data), "-o",
                                     "copy")
        self.assertTrue(held.settled.wait(TIMEOUT))
        self.client(other, "remove", "large")
        self.assertEqual(self.listed(server), [])
        held.release()
        out, = self.finish(download)
        self.assertEqual(out, "Success  %s  copy\n" % md5(data))
        self.assertEqual(self.read("copy"), data)


class Resume(RadosCase):
    SIZE = 60_000_000
    SENT = 40_000_000
    KEPT = SENT // CHUNK  # objects

    def setUp(self):
        super().setUp()
        self.data = make_data(self.SIZE)
        self.write("large", self.data)
        self.server = self.serve_pool()
        # One address for all runs, as the server's is part of what names an upload.
        self.relay = HoldingRelay(self.server.address)
        self.addCleanup(self.relay.close)

    def begin(self):
        """Starts an upload; returns it once what whole objects hold of SENT bytes is stored."""
        held = self.relay.hold("up", self.SENT)
        client = self.start_client(self.relay, "upload", "large")
        self.assertTrue(held.settled.wait(TIMEOUT))
        wait_until(lambda: list(self.chunks().values()) == [self.KEPT], "the objects")
        return client, held

    def check_resumes(self):
        """The same command again, by another server."""
        bytes_name, = self.chunks()
        self.relay.server_address = self.serve_pool().address
        self.relay.bytes_by_direction["up"] = 0
        out = self.client(self.relay, "upload", "large").decode()
        self.assertEqual(out, "Success  %s  large\n" % md5(self.data))
        self.assertLess(self.relay.bytes_by_direction["up"],
                        self.SIZE - self.KEPT * CHUNK + 64 * KIB)
        self.assertEqual(self.chunks(), {bytes_name: -(-self.SIZE // CHUNK)})
        self.assertEqual(self.check_listed_files(self.relay),
                         [[md5(self.data), "large", str(self.SIZE)]])

    def test_an_upload_goes_on_after_its_client_was_killed(self):
        client, held = self.begin()
        client.kill()
        client.wait()
        held.cut()
        self.check_resumes()

    def test_an_upload_goes_on_after_its_server_was_killed(self):
        client, held = self.begin()
        self.server.kill()
        held.release()
        self.finish(client, expect=BROKEN)
        self.check_resumes()

    def test_an_upload_whose_server_was_killed_is_retried_at_another(self):
        self.retry_options = ("--retry-for", "1m")
        client, held = self.begin()
        self.relay.server_address = self.serve_pool().address
        self.server.kill()
        held.release()
        out, = self.finish(client)
        self.assertEqual(out, "Success  %s  large\n" % md5(self.data))
        self.assertLess(self.relay.bytes_by_direction["up"],
                        self.SENT + self.SIZE - self.KEPT * CHUNK + MIB)
        self.check_listed_files(self.relay)

    def test_a_changed_file_is_not_mixed_with_what_was_kept(self):
        client, held = self.begin()
        self.server.kill()
        held.cut()
        self.finish(client, expect=BROKEN)
        self.data = self.data[::-1]
        self.write("large", self.data)
        self.relay.server_address = self.serve_pool().address
        self.client(self.relay, "upload", "large")
        self.assertEqual([id for id, _, _ in self.check_listed_files(self.relay)],
                         [md5(self.data)])


class SharedNamespace(RadosCase):
    SECONDS = 10

    def setUp(self):
        super().setUp()
        self.files = {"small": make_data(50_000), "large": make_data(2 * CHUNK + 7)}
        for name, data in self.files.items():
            self.write(name, data)
        self.servers = [self.serve_pool("--allow-remove") for _ in range(2)]
        self.failures = []

    def run_client(self, server, *arguments, expect=(DONE,)):
        result = subprocess.run(
            [programs.path_of("filexfer-client"), "--server", server.address, "--retry-for", "0",
             *arguments], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=4 * TIMEOUT)
        if result.returncode not in expect:
            self.failures.append((arguments, result))

    def work(self, number, end):
        """Uploads, removes and downloads what all others do, too."""
        rng = random.Random(number)
        mine = "mine %d" % number
        self.write(mine, make_data(1000 + number))
        while time.monotonic() < end:
            server = rng.choice(self.servers)
            shared = rng.choice(list(self.files))
            act = rng.randrange(7)
            if act == 0:  # the same id under the same name
                self.run_client(server, "upload", shared)
            elif act == 1:  # the same id under different names
                self.run_client(server, "upload", shared, "--name", "as %d" % number)
            elif act == 2:  # different ids under the same name
                self.run_client(server, "upload", mine, "--name", "small")
            elif act == 3:
                self.run_client(server, "upload", "--skip-existing", shared, "--name",
                                "too %d" % rng.randrange(4))
            elif act == 4:  # several files may have the name, or none
                self.run_client(server, "remove", "small", "large",
                                expect=(DONE, USAGE, REFUSED))
            elif act == 5:
                self.run_client(server, "remove", md5(self.files[shared]),
                                expect=(DONE, REFUSED))
            else:
                self.run_client(server, "download", md5(self.files[shared]), "-o",
                                "got %d" % number, "--force", expect=(DONE, REFUSED))

    def test_clients_of_two_servers_that_change_the_same_files_leave_no_file_unreadable(self):
        end = time.monotonic() + self.SECONDS
        workers = [threading.Thread(target=self.work, args=(number, end)) for number in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.assertEqual(self.failures, [])
        first, second = self.servers
        self.assertEqual(self.listed(first), self.listed(second))
        listed = self.check_listed_files(second)
        self.assertEqual(self.verify()[0], [])
        # No bytes are kept but those of listed files, and those of removed ones for a while.
        used = {self.record(id)[0] for id in {entry[0] for entry in listed}}
        self.assertEqual(set(self.chunks()), used | set(self.omap_keys("garbage")))
        self.assertEqual(used & set(self.omap_keys("garbage")), set())
        self.client(first, "upload", "small", "large", "--skip-existing")
        self.check_listed_files(second)

    def test_servers_that_are_started_at_once_make_one_store(self):
        self.name_space += " new"
        servers = [self.serve_pool(held=True) for _ in range(4)]
        for server in servers:
            os.waitid(os.P_PID, server.process.pid, os.WSTOPPED | os.WNOWAIT)
        for server in servers:
            server.process.send_signal(signal.SIGCONT)
        for number, server in enumerate(servers):
            server.read_addresses()
            self.client(server, "upload", "small", "--name", "name %d" % number)
        for server in servers:
            self.assertEqual(self.listed(server), [
                "%s;name %d;50000" % (md5(self.files["small"]), number) for number in range(4)])

    def test_all_names_that_clients_give_at_once_are_there(self):
        clients = [self.start_client(self.servers[number % 2], "upload", "large", "--name",
                                     "name %d" % number) for number in range(8)]
        self.finish(*clients)
        self.assertEqual(self.listed(self.servers[0]), [
            "%s;name %d;%d" % (md5(self.files["large"]), number, 2 * CHUNK + 7)
            for number in range(8)])
        self.assertEqual(list(self.chunks().values()), [3])


class Damage(RadosCase):
    def setUp(self):
        super().setUp()
        self.server = self.serve_pool()
        self.data = make_data(2 * CHUNK + 1000)
        self.write("large", self.data)
        self.write("hello", HELLO)
        self.client(self.server, "upload", "large", "hello")
        self.client(self.server, "upload", "large", "--name", "photos/b")
        self.bytes_name = self.record(md5(self.data))[0]
        self.assertEqual(self.chunks()[self.bytes_name], 3)

    def check_is_found_and_healed(self):
        """The large file is damaged."""
        lines, totals = self.verify(expect=WRONG_DIGEST)
        self.assertEqual(len(lines), 1)
        self.assertRegex(lines[0], r"^Damaged  %s  (large|photos/b)$" % md5(self.data))
        self.assertRegex(totals, r"^2 files, \d+ bytes verified, 1 damaged$")
        self.assertRegex(self.stderr, r"%s.*set aside" % md5(self.data))
        hello = "%s;hello;5" % HELLO_ID
        self.assertEqual(self.listed(self.server), [hello])
        self.client(self.server, "download", md5(self.data), "-o", "none", expect=REFUSED)
        self.assertIn("not-found", self.stderr)
        self.assertEqual(self.verify()[0], [])
        # By a client that asks first, and so must not be told that it is there.
        out = self.client(self.server, "upload", "--skip-existing", "large").decode()
        self.assertEqual(out, "Success  %s  large\n" % md5(self.data))
        self.check_brought_back()

    def check_brought_back(self):
        self.assertIn("%s;large;%d" % (md5(self.data), len(self.data)), self.listed(self.server))
        self.check_listed_files(self.server)
        self.assertNotEqual(self.record(md5(self.data))[0], self.bytes_name)
        self.assertEqual(self.verify()[0], [])

    def test_an_object_with_other_bytes_is_found(self):
        damaged = bytearray(self.data[CHUNK:2 * CHUNK])
        damaged[12345] ^= 1
        self.rados("put", self.bytes_name + ".1", "-", input=bytes(damaged))
        self.client(self.server, "download", "large", "-o", "none", expect=WRONG_DIGEST)
        self.check_is_found_and_healed()

    def test_the_gate_of_a_file_with_other_bytes_is_found(self):
        self.rados("put", self.bytes_name + ".0", "-", input=self.data[1:CHUNK + 1])
        self.check_is_found_and_healed()

    def test_an_object_that_is_too_short_is_found(self):
        self.rados("put", self.bytes_name + ".2", "-", input=self.data[2 * CHUNK:-1])
        self.check_is_found_and_healed()

    def test_an_object_that_is_missing_is_found(self):
        for number in (2, 1, 0):
            with self.subTest(number=number):
                self.rados("rm", "%s.%d" % (self.bytes_name, number))
                self.check_is_found_and_healed()
                self.client(self.server, "upload", "large", "--name", "photos/b")
                self.bytes_name = self.record(md5(self.data))[0]

    def test_an_upload_heals_what_nobody_has_found_yet(self):
        self.rados("put", self.bytes_name + ".1", "-", input=bytes(CHUNK))
        self.client(self.server, "upload", "large")
        self.check_brought_back()

    def test_a_server_that_scrubs_finds_damage(self):
        self.rados("rm", self.bytes_name + ".1")
        server = self.serve_pool("--scrub", "1G")
        wait_until(lambda: "scrub: 2 files" in server.log(), "the end of the first round")
        self.assertIn("1 damaged", server.log())
        self.assertEqual(self.listed(self.server), ["%s;hello;5" % HELLO_ID])


class FullPool(RadosCase):
    def wait_until_full(self):
        self.cluster.wait_until(lambda: b"full_quota" in self.cluster.ceph("osd", "dump"),
                                "the quota to take effect")

    def test_the_bytes_of_removed_files_are_freed_although_the_pool_is_full(self):
        self.pool = "removed"
        self.cluster.create_pool(self.pool, 1)
        server = self.serve_pool("--allow-remove")
        for number, name in enumerate(("removed", "new", "kept")):
            self.write(name, make_data(3 * CHUNK, number))
        self.client(server, "upload", "removed", "new", "kept")
        removed, new, kept = [self.record(md5(self.read(name)))[0]
                              for name in ("removed", "new", "kept")]
        self.client(server, "remove", "removed", "new")
        self.assertEqual(set(self.omap_keys("garbage")), {removed, new})
        server.stop()
        # As if the one had been removed long ago.
        self.rados("getomapval", "garbage", removed, self.path("note"))
        _, rest = self.read("note").decode().split(" ", 1)
        self.rados("setomapval", "garbage", removed, "%d %s" % (time.time() - 16 * 60, rest))
        self.cluster.ceph("osd", "pool", "set-quota", self.pool, "max_bytes", str(2 * MIB))
        self.wait_until_full()
        self.serve_pool()  # looks after a minute
        self.cluster.wait_until(lambda: self.omap_keys("garbage") == [new]
                                and self.chunks() == {new: 3, kept: 3},
                                "the bytes of a removed file to be freed", 100)

    def test_a_full_pool_refuses_uploads_and_keeps_nothing_of_them(self):
        self.pool = "small"
        self.cluster.create_pool(self.pool, 1)
        server = self.serve_pool("--allow-remove")
        self.cluster.ceph("osd", "pool", "set-quota", self.pool, "max_bytes", str(3 * MIB))
        # The quota takes effect some seconds after it was exceeded.
        kept = self.upload_until_refused(server, "small", MIB)
        kept += self.upload_until_refused(server, "large", 2 * CHUNK + 5)
        with self.subTest("in time"):
            self.assertLess(self.took, 15, "the refusal waited for the cluster's limit")
        self.assertGreaterEqual(len(kept), 3)
        self.assertEqual(self.listed(server), sorted(kept))
        self.check_listed_files(server)
        self.assertEqual(len(self.chunks()), len(kept))
        self.assertEqual(self.verify()[0], [])
        # What needs no space goes on.
        self.client(server, "remove", "small 0")
        self.assertEqual(len(self.listed(server)), len(kept) - 1)
        self.cluster.ceph("osd", "pool", "set-quota", self.pool, "max_bytes", "0")
        self.write("later", make_data(CHUNK + 1, 1))
        wait_until(lambda: self.upload(server, "later") == DONE, "the end of the quota")
        self.check_listed_files(server)

    def upload(self, server, name):
        """Returns the exit code."""
        begin = time.monotonic()
        process = self.start_client(server, "upload", name)
        _, self.err = process.communicate(timeout=TIMEOUT)
        self.took = time.monotonic() - begin
        self.assertIn(process.returncode, (DONE, REFUSED), self.err)
        return process.returncode

    def upload_until_refused(self, server, name, size):
        """Uploads files of that size until one is refused; returns the entries of the others."""
        entries = []

        def is_refused():
            data = make_data(size, len(entries))
            file = "%s %d" % (name, len(entries))
            self.write(file, data)
            if self.upload(server, file) == REFUSED:
                return True
            entries.append("%s;%s;%d" % (md5(data), file, size))
            return False

        wait_until(is_refused, "the quota to take effect")
        self.assertIn(b"no-space", self.err)
        return entries


class Arguments(RadosCase):
    def fails(self, expect, *arguments):
        for command in ((), ("verify",)):
            with self.subTest(command=command, arguments=arguments):
                self.run_program("filexfer-server", *command, *arguments, expect=expect)

    def test_wrong_arguments_and_pools_that_are_not_there_are_reported(self):
        conf = ("--ceph-conf", self.cluster.conf)
        for store in ("rados:", "rados:/x", "rados:%s/" % POOL):
            self.fails(USAGE, "--store", store, *conf)
        self.fails(LOCAL_FILE, "--store", "rados:nowhere", *conf)
        self.assertIn("rados:nowhere", self.stderr)
        self.fails(LOCAL_FILE, "--store", "rados:" + POOL, "--ceph-conf", self.path("none"))
        for option in (("--quota", "1G"), ("--max-files", "3"), ("--min-free", "1%"),
                       ("--fsync", "off")):
            self.run_program("filexfer-server", "--store", self.store, *conf, *option,
                             expect=USAGE)
        self.assertEqual(self.objects(), [])

    def test_a_cluster_that_does_not_answer_is_reported_in_time(self):
        with open(self.cluster.conf, encoding="utf-8") as file:
            lines = file.read().splitlines()
        closed = ["mon_host = v2:" + unused_address() if line.startswith("mon_host") else line
                  for line in lines]
        self.write("closed.conf", "\n".join(closed).encode())
        begin = time.monotonic()
        started = [self.start_program("filexfer-server", *command, "--store", self.store,
                                      "--ceph-conf", "closed.conf")
                   for command in (("--listen", "127.0.0.1:0"), ("verify",))]
        for process in started:
            _, err = process.communicate(timeout=TIMEOUT)
            self.assertEqual(process.returncode, LOCAL_FILE, err)
            self.assertIn(self.store.encode(), err)
        self.assertLess(time.monotonic() - begin, 45)


if __name__ == "__main__":
    run_rados_tests()
