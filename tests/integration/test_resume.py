#!/usr/bin/env python3
"""Uploads that go on where a broken one stopped: what a server keeps, for whom, and what it drops."""

import hashlib
import os
import shutil
import socket
import struct
import time

import peer
from test_programs import Case, make_data, until

KIB = 1024
TOKEN = "token-of-this-upload"


class Dialogue:
    """A connection that is spoken to by hand."""

    def __init__(self, server):
        host, port = server.address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.lines = self.socket.makefile("rb")

    def say(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode() + b"\n")

    def hear(self):
        return self.lines.readline().decode().rstrip("\n")

    def upload(self, details):
        """The reply to a details line."""
        self.say("UPLOAD")
        self.hear()
        self.say(details)
        return self.hear()

    def offset(self, details):
        ready = self.upload(details)
        if ready.startswith("ERROR"):
            raise AssertionError(ready)
        return int(ready.partition(";offset=")[2] or 0)

    def leave(self):
        self.lines.close()
        self.socket.close()

    def break_off(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.leave()


class Resume(Case):
    def setUp(self):
        super().setUp()
        self.data = make_data(2000 * KIB)
        self.id = hashlib.md5(self.data).hexdigest()
        self.plain = "file;%d;resume=%s" % (len(self.data), TOKEN)
        self.again = self.plain + ";id=" + self.id

    def talk(self, server):
        one = Dialogue(server)
        self.addCleanup(one.leave)
        return one

    def partials(self):
        folder = self.path("store", ".partial")
        return os.listdir(folder) if os.path.isdir(folder) else []

    def kept(self):
        return sum(os.stat(self.path("store", ".partial", name)).st_size for name in self.partials())

    def until_kept(self, count):
        """A server writes whole chunks of 256 KiB."""
        until(lambda: self.kept() >= count, "the server has written %d bytes" % count)

    def broken(self, server, count, details=None):
        """An upload of which `count` bytes arrive."""
        one = self.talk(server)
        begin = one.offset(details or self.plain)
        one.say(self.data[begin:count])
        one.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(one.hear(), "")  # the server has closed
        self.assertEqual(self.kept(), count)

    def finish(self, one, offset):
        one.say(self.data[offset:])
        self.assertEqual(one.hear(), self.id)
        self.assertEqual(self.read("store/%s/file" % self.id), self.data)
        self.assertEqual(self.partials(), [])
        self.no_temporaries()

    def test_it_goes_on_where_it_stopped(self):
        server = self.serve(store="store")
        self.broken(server, 700 * KIB)
        one = self.talk(server)
        offset = one.offset(self.again)
        self.assertEqual(offset, 700 * KIB)
        one.say("")  # an empty line is a part of the file now
        one.leave()
        one = self.talk(server)
        # What the line brought is wrong, and nobody can know before the end.
        offset = one.offset(self.again)
        one.say(self.data[offset:])
        self.assertTrue(one.hear().startswith("ERROR mismatch"))
        self.assertEqual(self.partials(), [])
        self.assertEqual(one.offset(self.again), 0)
        self.finish(one, 0)

    def test_bytes_that_follow_at_once_begin_afresh_and_drop_what_was_left(self):
        for known in ("", ";id=" + self.id):
            server = self.serve(store="store")
            self.broken(server, 700 * KIB)
            one = self.talk(server)
            one.say("UPLOAD\n" + self.plain + known + ";nowait")
            one.say(self.data)
            one.hear()
            self.assertEqual(one.hear(), "Ready to receive the file")
            self.assertEqual(one.hear(), self.id)
            self.assertEqual(self.read("store/%s/file" % self.id), self.data)
            self.assertEqual(self.partials(), [])
            self.no_temporaries()
            shutil.rmtree(self.path("store", self.id))

    def test_what_came_of_bytes_that_followed_at_once_can_be_gone_on_with(self):
        server = self.serve(store="store")
        one = self.talk(server)
        one.say("UPLOAD\n" + self.plain + ";nowait")
        one.say(self.data[:900 * KIB])
        one.socket.shutdown(socket.SHUT_WR)
        self.assertTrue(one.hear() and one.hear())
        self.assertEqual(one.hear(), "")
        one = self.talk(server)
        offset = one.offset(self.again)
        self.assertEqual(offset, 900 * KIB)
        self.finish(one, offset)

    def test_many_breaks_send_nothing_twice(self):
        server = self.serve(store="store")
        self.broken(server, 1)
        sent = 1
        for count in (2, 300 * KIB, 300 * KIB + 1, 1999 * KIB, 2000 * KIB):
            one = self.talk(server)
            offset = one.offset(self.again)
            self.assertEqual(offset, sent)
            one.say(self.data[offset:count])
            sent = count
            if count < len(self.data):
                one.socket.shutdown(socket.SHUT_WR)
                self.assertEqual(one.hear(), "")
                one.leave()
        self.assertEqual(one.hear(), self.id)
        self.assertEqual(self.read("store/%s/file" % self.id), self.data)

    def test_a_killed_server_has_kept_it(self):
        server = self.serve(store="store")
        self.broken(server, 900 * KIB)
        one = self.talk(server)
        one.offset(self.again)
        server.kill()
        server = self.serve(store="store")
        one = self.talk(server)
        self.finish(one, one.offset(self.again))

    def test_a_stopped_server_has_kept_it(self):
        server = self.serve("--grace", "0s", store="store")
        one = self.talk(server)
        one.offset(self.plain)
        one.say(self.data[:900 * KIB])
        self.until_kept(768 * KIB)
        server.terminate()
        self.assertEqual(server.wait(), 0)
        server = self.serve(store="store")
        one = self.talk(server)
        offset = one.offset(self.again)
        self.assertGreaterEqual(offset, 768 * KIB)
        self.finish(one, offset)

    def test_what_is_kept_is_for_the_same_token_and_size_and_with_an_id(self):
        server = self.serve(store="store")
        self.broken(server, 500 * KIB)
        other = self.talk(server)
        self.assertEqual(other.offset("file;%d;resume=%s;id=%s" % (len(self.data), TOKEN + "x", self.id)), 0)
        other.break_off()
        shorter = self.talk(server)
        self.assertEqual(shorter.offset("file;600000;resume=%s;id=%s" % (TOKEN, self.id)), 0)
        shorter.break_off()
        afresh = self.talk(server)
        self.assertEqual(afresh.offset(self.plain), 0)
        afresh.say(self.data)
        self.assertEqual(afresh.hear(), self.id)

    def test_the_newest_takes_over(self):
        server = self.serve(store="store")
        older = self.talk(server)
        older.offset(self.plain)
        older.say(self.data[:400 * KIB])
        self.until_kept(256 * KIB)
        newer = self.talk(server)
        offset = newer.offset(self.again)
        self.assertGreaterEqual(offset, 256 * KIB)
        self.assertTrue(older.hear().startswith("ERROR superseded"))
        self.assertEqual(older.hear(), "")
        self.finish(newer, offset)

    def test_what_the_server_holds_is_not_sent(self):
        server = self.serve(store="store")
        one = self.talk(server)
        one.offset(self.plain)
        self.finish(one, 0)
        self.assertEqual(one.offset(self.again), len(self.data))
        self.assertEqual(one.hear(), self.id)

    def test_old_ones_are_dropped(self):
        server = self.serve(store="store")
        self.broken(server, 500 * KIB)
        server.stop()
        long_ago = time.time() - 7200
        for name in self.partials():
            os.utime(self.path("store", ".partial", name), (long_ago, long_ago))
        self.serve("--partial-age", "3h", store="store").stop()
        self.assertEqual(self.kept(), 500 * KIB)
        self.serve("--partial-age", "1h", store="store").stop()
        self.assertEqual(self.partials(), [])

    def test_a_bad_token_is_refused_and_the_dialogue_goes_on(self):
        server = self.serve(store="store")
        one = self.talk(server)
        for token in ("short", "x" * 65, "with/a/slash/in/it", "=" * 16):
            self.assertTrue(one.upload("f;1;resume=" + token).startswith("ERROR bad-request"), token)
        self.assertEqual(one.offset(self.plain), 0)

    def test_a_store_in_memory_keeps_nothing(self):
        server = self.serve(store="memory")
        one = self.talk(server)
        one.say("FEATURES")
        told = []
        while not told or told[-1]:
            told.append(one.hear())
        self.assertNotIn("resume", told)
        one.offset(self.plain)
        one.say(self.data[:1000])
        one.break_off()
        self.assertEqual(self.talk(server).offset(self.again), 0)


if __name__ == "__main__":
    peer.run_tests("filexfer-server")
