#!/usr/bin/env python3
"""Files that change while they are read: a mixture of two versions is neither accepted nor kept.

A relay between client and server stops at a given byte. Then the file is changed, and the relay
continues, or cuts the connection, so that the client retries. The connections are Unix sockets,
whose buffers are small, so that little has been read ahead.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""
# ctest: COST 300

import os
import shutil
import signal

import peer
import programs
from contents import KIB, MIB, make_data
from exit_codes import DONE, LOCAL_FILE
from peer import md5
from program_case import Case
from relays import HoldingRelay
from waiting import TIMEOUT, wait_until

CHUNK = 256 * KIB  # the unit in which a file is read
TIME = 1234567890123456789  # so that the details line always has the same length
OTHER = bytes(byte ^ 0xFF for byte in range(256))


def in_place(path, data):
    """Changes every byte, and keeps the size."""
    os.chmod(path, 0o600)
    with open(path, "r+b", buffering=0) as file:
        file.write(data.translate(OTHER))


def in_place_with_old_time(path, data):
    before = os.stat(path)
    in_place(path, data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def growing(path, data):
    os.chmod(path, 0o600)
    with open(path, "ab", buffering=0) as file:
        file.write(data[:1000])


def shrinking(path, data):
    os.truncate(path, len(data) // 2)


def replaced(path, data):
    """Renames another file of the same size and time to its name."""
    before = os.stat(path)
    with open(path + ".new", "wb") as file:
        file.write(data[::-1])
    os.utime(path + ".new", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.rename(path + ".new", path)


def removed(path, _):
    os.remove(path)


CHANGES = in_place, in_place_with_old_time, growing, shrinking, replaced


def cases(instants, changes=CHANGES):
    """Each change at each instant, after which the relay continues; and one before a cut."""
    for number, (direction, after) in enumerate(instants):
        for change in changes:
            yield direction, after, change, "release"
        yield direction, after, changes[number % len(changes)], "cut"


class Changes(Case):
    retry_options = ()
    space_in_memory = 256 * MIB

    def setUp(self):
        super().setUp()
        self.server = self.serve(store="store", listen=("unix:" + self.path("server"),))
        self.relay = HoldingRelay(self.server.address, self.path("relay"))
        self.addCleanup(self.relay.close)
        # Bytes in each direction until the client has the server's features.
        up, down = self.bytes_sent_by("list")
        self.greeting = {"up": up - len("LIST_FILES\n"),
                         "down": down - len(peer.EMPTY_STORE_WORDS) - 2}

    def file(self, name, data):
        """Writes a new file, and waits until the file system's clock is past its ctime."""
        path = self.path(name)
        if os.path.exists(path):
            os.remove(path)
        self.write(name, data)
        os.utime(path, ns=(TIME, TIME))
        changed = os.stat(path).st_ctime_ns

        def clock_advanced():
            return os.stat(self.write("now", b"")).st_ctime_ns > changed

        wait_until(clock_advanced, "the file system's clock")
        return path

    def bytes_sent_by(self, *command):
        """In each direction, without a hold."""
        self.relay.bytes_by_direction = {"up": 0, "down": 0}
        self.client(self.relay, *command)
        return self.relay.bytes_by_direction["up"], self.relay.bytes_by_direction["down"]

    def empty_the_store(self):
        self.relay.holds.clear()
        for name in os.listdir(self.path("store")):
            if not name.startswith("."):
                shutil.rmtree(self.path("store", name))

    def change_at(self, hold, change, path, data, action, *command):
        """Runs a client, changes the file at the hold; returns exit code, stdout and stderr.

        The client is stopped meanwhile: a file that it opens in the middle of a long write has the
        time of that write's beginning already, and keeps it, so that nothing tells of the rest.
        """
        client = self.start_client(self.relay, *command)
        self.assertTrue(hold.settled.wait(TIMEOUT), "the relay waits in vain")
        self.assertTrue(hold.held, "there are not so many bytes")
        client.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, client.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        change(path, data)
        client.send_signal(signal.SIGCONT)
        getattr(hold, action)()
        out, err = client.communicate(timeout=TIMEOUT)
        return client.returncode, out.decode(), err.decode()


class Uploads(Changes):
    def check_upload(self, result, name, versions):
        """Checks that the server's file of that name is one of the versions, complete."""
        code, out, err = result
        ids = {md5(data): data for data in versions}
        listed = [line.split(";")
                  for line in self.client(self.server, "list").decode().splitlines()]
        found = [entry[0] for entry in listed if entry[1] == name]
        for id in found:
            self.assertIn(id, list(ids), "neither version")
            self.assertEqual(self.read("store/%s/%s" % (id, name)), ids[id])
        if code == DONE:
            self.assertRegex(out, r"(^|\n)(Success|Already there)  (%s)  %s\n"
                             % ("|".join(found) or "none", name))
        else:
            self.assertEqual(code, LOCAL_FILE, err)
            self.assertIn(name + ": changed while it was being sent; send it again\n", err)
            self.assertNotIn("  %s\n" % name, out)

    def sweep(self, data, instants, *options):
        """Uploads with each change at each instant; returns the exit codes."""
        codes = set()
        for direction, after, change, action in cases(instants):
            if action == "cut" and after <= self.greeting[direction]:
                continue  # a client without any reply does not retry
            with self.subTest(direction=direction, after=after, change=change.__name__,
                              action=action):
                self.empty_the_store()
                path = self.file("file", data)
                result = self.change_at(self.relay.hold(direction, after), change, path, data,
                                        action, "upload", "file", *options)
                self.check_upload(result, "file", (data, self.read("file")))
                codes.add(result[0])
        return codes

    def instants(self, data, *options):
        """Before each line, around chunks, before the last byte, and in the reply."""
        self.file("file", data)
        up, down = self.bytes_sent_by("upload", "file", *options)
        first = up - len(data)
        lines = 0, len("FEATURES\n"), len("FEATURES\nUPLOAD\n"), first - 1, first
        chunks = [first + number * CHUNK + off for number in (1, 2, 4, 8, 12) for off in (-1, 0, 1)]
        reply = len(md5(b"") + "\n")
        return ([("up", after) for after in (*lines, first + 1, *chunks, up - 64 * KIB, up - 1)
                 if after < up] +
                [("down", after) for after in (0, down - reply, down - 1)])

    def test_an_upload_of_a_changing_file_stores_a_whole_version_or_nothing(self):
        data = make_data(12 * CHUNK + 1)
        self.assertEqual(self.sweep(data, self.instants(data)), {DONE, LOCAL_FILE})

    def test_an_upload_that_hashes_first_stores_a_whole_version_or_nothing(self):
        data = make_data(12 * CHUNK + 1, 1)
        self.sweep(data, self.instants(data, "--skip-existing")[::3], "--skip-existing")

    def test_a_file_that_changes_during_the_lookup_is_stored_whole_or_fails(self):
        data = make_data(CHUNK + 1, 2)
        self.file("file", data)
        self.client(self.server, "upload", "file")
        up, down = self.bytes_sent_by("upload", "file", "--skip-existing")
        self.assertLess(up, 1000)
        for direction, total in (("up", up), ("down", down)):
            for after in range(0, total, 30):
                for change in CHANGES:
                    with self.subTest(direction=direction, after=after, change=change.__name__):
                        self.empty_the_store()
                        path = self.file("file", data)
                        self.client(self.server, "upload", "file")
                        result = self.change_at(self.relay.hold(direction, after), change, path,
                                                data, "release",
                                                "upload", "file", "--skip-existing")
                        self.check_upload(result, "file", (data, self.read("file")))

    def test_a_change_during_a_retry_stores_a_whole_version_or_nothing(self):
        data = make_data(12 * CHUNK + 1, 3)
        for direction, after in (("up", 0), ("up", 9), ("up", 16), ("up", 200), ("up", 2 * CHUNK),
                                 ("down", 0), ("down", 60)):
            for change in (in_place, replaced):
                with self.subTest(direction=direction, after=after, change=change.__name__):
                    self.empty_the_store()
                    path = self.file("file", data)
                    first = self.relay.hold("up", 5 * CHUNK)
                    second = self.relay.hold(direction, after)
                    first.cut()
                    result = self.change_at(second, change, path, data, "release", "upload", "file")
                    self.assertIn("retrying", result[2])
                    self.check_upload(result, "file", (data, self.read("file")))

    def test_a_changing_file_in_a_folder_does_not_affect_the_others(self):
        contents = {name: make_data(4 * KIB, seed) for seed, name in enumerate("abc")}
        for name, data in contents.items():
            self.file("tree/" + name, data)
        up, down = self.bytes_sent_by("upload", "tree")
        codes = set()
        instants = [(direction, after) for direction, total in (("up", up), ("down", down))
                    for after in range(self.greeting[direction] + 1, total, total // 9)]
        for direction, after, change, action in cases(instants):
            with self.subTest(direction=direction, after=after, change=change.__name__,
                              action=action):
                self.empty_the_store()
                path = self.file("tree/b", contents["b"])
                result = self.change_at(self.relay.hold(direction, after), change, path,
                                        contents["b"], action, "upload", "tree")
                for name in "ac":
                    self.check_upload((DONE, *result[1:]), name, (contents[name],))
                self.check_upload(result, "b", (contents["b"], self.read("tree/b")))
                codes.add(result[0])
        # A file is opened anew for each attempt, so that a change may precede the attempt.
        self.assertIn(DONE, codes)


class Downloads(Changes):
    """A stored file is changed without the server's knowledge."""

    def test_a_download_returns_the_requested_file_or_fails(self):
        data = make_data(12 * CHUNK + 1)
        id = md5(data)
        tcp = self.serve(store="store")
        over_tcp = HoldingRelay(tcp.address)
        self.addCleanup(over_tcp.close)
        for self.relay in (self.relay, over_tcp):
            self.store(data)
            self.remove_copy()
            _, down = self.bytes_sent_by("download", id, "-o", "copy")
            first = down - len(data)
            chunks = [first + number * CHUNK + 1 for number in (1, 4, 9)]
            instants = [("down", after) for after in (0, first, *chunks, down - 64 * KIB, down - 1)]
            codes = set()
            for _, after, change, action in cases(instants, (*CHANGES, removed)):
                with self.subTest(relay=self.relay.address, after=after, change=change.__name__,
                                  action=action):
                    codes.add(self.download(id, data, after, change, action))
            self.assertIn(DONE, codes)
            self.assertGreater(len(codes), 1)

    def store(self, data):
        self.empty_the_store()
        os.utime(self.write("file", data), ns=(TIME, TIME))
        self.client(self.server, "upload", "file")
        return self.path("store", md5(data), "file")

    def remove_copy(self):
        if os.path.exists(self.path("copy")):
            os.remove(self.path("copy"))

    def download(self, id, data, after, change, action):
        stored = self.store(data)
        self.remove_copy()
        hold = self.relay.hold("down", after)
        code, out, err = self.change_at(hold, change, stored, data, action, "download", id,
                                        "-o", "copy")
        if code == DONE:
            self.assertEqual(out, "Success  %s  copy\n" % id)
        else:
            self.assertNotEqual(err, "")
            self.assertNotIn("Success", out)
            self.assertFalse(os.path.exists(self.path("copy")))
            # A remaining part file does no harm.
            self.store(data)
            self.client(self.server, "download", id, "-o", "copy")
        self.assertEqual(md5(self.read("copy")), id)
        return code


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
