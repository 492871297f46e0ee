#!/usr/bin/env python3
"""Files that change while they are read: nobody calls a mixture of two versions a success, or keeps one.

Between client and server stands a relay, which stops at a byte. Then the file is changed, and the relay
goes on, or cuts the connection, so that the client tries again. Over Unix sockets, whose buffers are small,
so that little has been read ahead.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""
# ctest: COST 300

import os
import shutil

import peer
from peer import md5
from relays import Holding
from test_programs import DONE, LOCAL_FILE, PATIENCE, Case, make_data, until

KIB = 1024
CHUNK = 256 * KIB  # in which a file is read
TIME = 1234567890123456789  # of as many digits in each details line
OTHER = bytes(byte ^ 0xFF for byte in range(256))


def in_place(path, data):
    """Other bytes, everywhere, and as many."""
    os.chmod(path, 0o600)
    with open(path, "r+b", buffering=0) as file:
        file.write(data.translate(OTHER))


def in_place_and_dated_back(path, data):
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
    """By another file, renamed to its name, of the same size and time."""
    before = os.stat(path)
    with open(path + ".new", "wb") as file:
        file.write(data[::-1])
    os.utime(path + ".new", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.rename(path + ".new", path)


def removed(path, _):
    os.remove(path)


CHANGES = in_place, in_place_and_dated_back, growing, shrinking, replaced


def cases(instants, changes=CHANGES):
    """Each change at each instant, after which the connection goes on; and one of them before it is cut."""
    for number, (way, after) in enumerate(instants):
        for change in changes:
            yield way, after, change, "go_on"
        yield way, after, changes[number % len(changes)], "cut"


class Changes(Case):
    patience = ()
    in_memory = 256 * 2**20

    def setUp(self):
        super().setUp()
        self.server = self.serve(store="store", listen=("unix:" + self.path("server"),))
        self.relay = Holding(self.server.address, self.path("relay"))
        self.addCleanup(self.relay.close)
        # Each way, until the client has been told of the server's features.
        up, down = self.bytes_sent_by("list")
        self.greeting = {"up": up - len("LIST_FILES\n"), "down": down - len(peer.EMPTY_STORE_WORDS) - 2}

    def file(self, name, data):
        """Writes it anew, at a time that is over when this returns, as far as the file system tells times."""
        path = self.path(name)
        if os.path.exists(path):
            os.remove(path)
        self.write(name, data)
        os.utime(path, ns=(TIME, TIME))
        changed = os.stat(path).st_ctime_ns

        def over():
            return os.stat(self.write("now", b"")).st_ctime_ns > changed

        until(over, "the file system's clock")
        return path

    def bytes_sent_by(self, *command):
        """Each way, when nothing is held."""
        self.relay.went = {"up": 0, "down": 0}
        self.client(self.relay, *command)
        return self.relay.went["up"], self.relay.went["down"]

    def empty_the_store(self):
        self.relay.holds.clear()
        for name in os.listdir(self.path("store")):
            if not name.startswith("."):
                shutil.rmtree(self.path("store", name))

    def change_at(self, hold, change, path, data, then, *command):
        """The exit code and both outputs of the client's command, during which that happens."""
        client = self.start_client(self.relay, *command)
        self.assertTrue(hold.settled.wait(PATIENCE), "the relay waits in vain")
        self.assertTrue(hold.held, "there are not so many bytes")
        change(path, data)
        getattr(hold, then)()
        out, said = client.communicate(timeout=PATIENCE)
        return client.returncode, out.decode(), said.decode()


class Uploads(Changes):
    def check_upload(self, ended, name, versions):
        """What the server has under that name is whole, and was the file's content at some time."""
        code, out, said = ended
        ids = {md5(data): data for data in versions}
        listed = [line.split(";") for line in self.client(self.server, "list").decode().splitlines()]
        found = [entry[0] for entry in listed if entry[1] == name]
        for id in found:
            self.assertIn(id, list(ids), "neither version")
            self.assertEqual(self.read("store/%s/%s" % (id, name)), ids[id])
        if code == DONE:
            self.assertRegex(out, r"(^|\n)(Success|Already there)  (%s)  %s\n" % ("|".join(found) or "none", name))
        else:
            self.assertEqual(code, LOCAL_FILE, said)
            self.assertIn(name + ": changed while it was being sent; send it again\n", said)
            self.assertNotIn("  %s\n" % name, out)

    def sweep(self, data, instants, *how):
        """Codes of how they ended."""
        codes = set()
        for way, after, change, then in cases(instants):
            if then == "cut" and after <= self.greeting[way]:
                continue  # who has never been answered does not try again
            with self.subTest(way=way, after=after, change=change.__name__, then=then):
                self.empty_the_store()
                path = self.file("file", data)
                ended = self.change_at(self.relay.hold(way, after), change, path, data, then, "upload", "file", *how)
                self.check_upload(ended, "file", (data, self.read("file")))
                codes.add(ended[0])
        return codes

    def instants(self, data, *how):
        """Before each line, around chunks, before the last byte, and in the reply."""
        self.file("file", data)
        up, down = self.bytes_sent_by("upload", "file", *how)
        first = up - len(data)
        lines = 0, len("FEATURES\n"), len("FEATURES\nUPLOAD\n"), first - 1, first
        chunks = [first + number * CHUNK + off for number in (1, 2, 4, 8, 12) for off in (-1, 0, 1)]
        reply = len(md5(b"") + "\n")
        return ([("up", after) for after in (*lines, first + 1, *chunks, up - 64 * KIB, up - 1) if after < up] +
                [("down", after) for after in (0, down - reply, down - 1)])

    def test_an_upload_of_a_file_that_changes_at_any_instant_stores_a_whole_version_or_nothing(self):
        data = make_data(12 * CHUNK + 1)
        self.assertEqual(self.sweep(data, self.instants(data)), {DONE, LOCAL_FILE})

    def test_so_does_one_that_hashes_first(self):
        data = make_data(12 * CHUNK + 1, 1)
        self.sweep(data, self.instants(data, "--skip-existing")[::3], "--skip-existing")

    def test_a_file_that_changes_while_the_server_is_asked_for_it_is_there_as_it_was_or_fails(self):
        data = make_data(CHUNK + 1, 2)
        self.file("file", data)
        self.client(self.server, "upload", "file")
        up, down = self.bytes_sent_by("upload", "file", "--skip-existing")
        self.assertLess(up, 1000)
        for way, total in (("up", up), ("down", down)):
            for after in range(0, total, 30):
                for change in CHANGES:
                    with self.subTest(way=way, after=after, change=change.__name__):
                        self.empty_the_store()
                        path = self.file("file", data)
                        self.client(self.server, "upload", "file")
                        ended = self.change_at(self.relay.hold(way, after), change, path, data, "go_on",
                                               "upload", "file", "--skip-existing")
                        self.check_upload(ended, "file", (data, self.read("file")))

    def test_a_change_during_the_second_attempt_is_seen_too(self):
        data = make_data(12 * CHUNK + 1, 3)
        for way, after in (("up", 0), ("up", 9), ("up", 16), ("up", 200), ("up", 2 * CHUNK), ("down", 0), ("down", 60)):
            for change in (in_place, replaced):
                with self.subTest(way=way, after=after, change=change.__name__):
                    self.empty_the_store()
                    path = self.file("file", data)
                    first = self.relay.hold("up", 5 * CHUNK)
                    second = self.relay.hold(way, after)
                    first.cut()
                    ended = self.change_at(second, change, path, data, "go_on", "upload", "file")
                    self.assertIn("trying again", ended[2])
                    self.check_upload(ended, "file", (data, self.read("file")))

    def test_a_small_file_in_a_folder(self):
        contents = {name: make_data(4 * KIB, seed) for seed, name in enumerate("abc")}
        for name, data in contents.items():
            self.file("tree/" + name, data)
        up, down = self.bytes_sent_by("upload", "tree")
        codes = set()
        instants = [(way, after) for way, total in (("up", up), ("down", down))
                    for after in range(self.greeting[way] + 1, total, total // 9)]
        for way, after, change, then in cases(instants):
            with self.subTest(way=way, after=after, change=change.__name__, then=then):
                self.empty_the_store()
                path = self.file("tree/b", contents["b"])
                ended = self.change_at(self.relay.hold(way, after), change, path, contents["b"], then, "upload", "tree")
                for name in "ac":
                    self.check_upload((DONE, *ended[1:]), name, (contents[name],))
                self.check_upload(ended, "b", (contents["b"], self.read("tree/b")))
                codes.add(ended[0])
        # It is opened when it is its turn, anew for each attempt: a change may well be none during the attempt.
        self.assertIn(DONE, codes)


class Downloads(Changes):
    """A stored file that somebody changes behind the server's back."""

    def test_a_download_is_of_the_file_asked_for_or_no_success(self):
        data = make_data(12 * CHUNK + 1)
        id = md5(data)
        tcp = self.serve(store="store")
        over_tcp = Holding(tcp.address)
        self.addCleanup(over_tcp.close)
        for self.relay in (self.relay, over_tcp):
            self.store(data)
            self.remove_copy()
            _, down = self.bytes_sent_by("download", id, "-o", "copy")
            first = down - len(data)
            chunks = [first + number * CHUNK + 1 for number in (1, 4, 9)]
            instants = [("down", after) for after in (0, first, *chunks, down - 64 * KIB, down - 1)]
            codes = set()
            for _, after, change, then in cases(instants, (*CHANGES, removed)):
                with self.subTest(relay=self.relay.address, after=after, change=change.__name__, then=then):
                    codes.add(self.download(id, data, after, change, then))
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

    def download(self, id, data, after, change, then):
        stored = self.store(data)
        self.remove_copy()
        hold = self.relay.hold("down", after)
        code, out, said = self.change_at(hold, change, stored, data, then, "download", id, "-o", "copy")
        if code == DONE:
            self.assertEqual(out, "Success  %s  copy\n" % id)
        else:
            self.assertNotEqual(said, "")
            self.assertNotIn("Success", out)
            self.assertFalse(os.path.exists(self.path("copy")))
            # What is left of it spoils nothing.
            self.store(data)
            self.client(self.server, "download", id, "-o", "copy")
        self.assertEqual(md5(self.read("copy")), id)
        return code


if __name__ == "__main__":
    peer.run_tests("filexfer-server", "filexfer-client")
