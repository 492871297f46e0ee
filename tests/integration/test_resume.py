#!/usr/bin/env python3
"""Resumed uploads: what a server keeps, who may resume it, and when it is removed."""

import os
import shutil
import socket
import struct
import time

import programs
from addresses import connect
from contents import KIB, make_data
from exit_codes import DONE
from peer import md5
from program_case import Case
from waiting import wait_until

TOKEN = "token-of-this-upload"


class Dialogue:
    """A connection driven by hand."""

    def __init__(self, server):
        self.socket = connect(server.address, 30)
        self.lines = self.socket.makefile("rb")

    def send(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode() + b"\n")

    def read_line(self):
        return self.lines.readline().decode().rstrip("\n")

    def upload(self, details):
        """The reply to a details line."""
        self.send("UPLOAD")
        self.read_line()
        self.send(details)
        return self.read_line()

    def offset(self, details):
        ready = self.upload(details)
        if ready.startswith("ERROR"):
            raise AssertionError(ready)
        return int(ready.partition(";offset=")[2] or 0)

    def close(self):
        self.lines.close()
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class Resume(Case):
    def setUp(self):
        super().setUp()
        self.data = make_data(2000 * KIB)
        self.id = md5(self.data)
        self.details = "file;%d;resume=%s" % (len(self.data), TOKEN)
        self.resume_details = self.details + ";id=" + self.id

    def connect(self, server):
        client = Dialogue(server)
        self.addCleanup(client.close)
        return client

    def partials(self):
        folder = self.path("store", ".partial")
        return os.listdir(folder) if os.path.isdir(folder) else []

    def kept(self):
        return sum(os.stat(self.path("store", ".partial", name)).st_size
                   for name in self.partials())

    def wait_until_kept(self, count):
        """Waits until `count` bytes are stored; the server writes whole chunks of 256 KiB."""
        wait_until(lambda: self.kept() >= count, "the server has written %d bytes" % count)

    def interrupt_upload(self, server, count, details=None):
        """Starts an upload, and breaks it after `count` bytes."""
        client = self.connect(server)
        begin = client.offset(details or self.details)
        client.send(self.data[begin:count])
        client.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(client.read_line(), "")  # the server has closed
        self.assertEqual(self.kept(), count)

    def finish(self, client, offset):
        client.send(self.data[offset:])
        self.assertEqual(client.read_line(), self.id)
        self.assertEqual(self.read("store/%s/file" % self.id), self.data)
        self.assertEqual(self.partials(), [])
        self.check_no_temporaries()

    def test_a_broken_upload_resumes_where_it_stopped(self):
        server = self.serve(store="store")
        self.interrupt_upload(server, 700 * KIB)
        client = self.connect(server)
        offset = client.offset(self.resume_details)
        self.assertEqual(offset, 700 * KIB)
        client.send("")  # the empty line is stored as a byte of the file
        client.close()
        client = self.connect(server)
        # That byte is wrong, which is detected only at the end.
        offset = client.offset(self.resume_details)
        client.send(self.data[offset:])
        self.assertTrue(client.read_line().startswith("ERROR mismatch"))
        self.assertEqual(self.partials(), [])
        self.assertEqual(client.offset(self.resume_details), 0)
        self.finish(client, 0)

    def test_a_nowait_upload_starts_over_and_discards_the_partial_one(self):
        for known in ("", ";id=" + self.id):
            server = self.serve(store="store")
            self.interrupt_upload(server, 700 * KIB)
            client = self.connect(server)
            client.send("UPLOAD\n" + self.details + known + ";nowait")
            client.send(self.data)
            client.read_line()
            self.assertEqual(client.read_line(), "Ready to receive the file")
            self.assertEqual(client.read_line(), self.id)
            self.assertEqual(self.read("store/%s/file" % self.id), self.data)
            self.assertEqual(self.partials(), [])
            self.check_no_temporaries()
            shutil.rmtree(self.path("store", self.id))

    def test_a_broken_nowait_upload_can_be_resumed(self):
        server = self.serve(store="store")
        client = self.connect(server)
        client.send("UPLOAD\n" + self.details + ";nowait")
        client.send(self.data[:900 * KIB])
        client.socket.shutdown(socket.SHUT_WR)
        self.assertTrue(client.read_line() and client.read_line())
        self.assertEqual(client.read_line(), "")
        client = self.connect(server)
        offset = client.offset(self.resume_details)
        self.assertEqual(offset, 900 * KIB)
        self.finish(client, offset)

    def test_repeated_breaks_send_no_byte_twice(self):
        server = self.serve(store="store")
        self.interrupt_upload(server, 1)
        sent = 1
        for count in (2, 300 * KIB, 300 * KIB + 1, 1999 * KIB, 2000 * KIB):
            client = self.connect(server)
            offset = client.offset(self.resume_details)
            self.assertEqual(offset, sent)
            client.send(self.data[offset:count])
            sent = count
            if count < len(self.data):
                client.socket.shutdown(socket.SHUT_WR)
                self.assertEqual(client.read_line(), "")
                client.close()
        self.assertEqual(client.read_line(), self.id)
        self.assertEqual(self.read("store/%s/file" % self.id), self.data)

    def test_a_partial_upload_survives_a_kill(self):
        server = self.serve(store="store")
        self.interrupt_upload(server, 900 * KIB)
        client = self.connect(server)
        client.offset(self.resume_details)
        server.kill()
        server = self.serve(store="store")
        client = self.connect(server)
        self.finish(client, client.offset(self.resume_details))

    def test_a_partial_upload_survives_a_shutdown(self):
        server = self.serve("--grace", "0s", store="store")
        client = self.connect(server)
        client.offset(self.details)
        client.send(self.data[:900 * KIB])
        self.wait_until_kept(768 * KIB)
        server.terminate()
        self.assertEqual(server.wait(), DONE)
        server = self.serve(store="store")
        client = self.connect(server)
        offset = client.offset(self.resume_details)
        self.assertGreaterEqual(offset, 768 * KIB)
        self.finish(client, offset)

    def test_a_partial_upload_is_resumed_only_with_its_token_and_size_and_an_id(self):
        server = self.serve(store="store")
        self.interrupt_upload(server, 500 * KIB)
        other = self.connect(server)
        self.assertEqual(other.offset("file;%d;resume=%s;id=%s"
                                      % (len(self.data), TOKEN + "x", self.id)), 0)
        other.reset()
        shorter = self.connect(server)
        self.assertEqual(shorter.offset("file;600000;resume=%s;id=%s" % (TOKEN, self.id)), 0)
        shorter.reset()
        restarted = self.connect(server)
        self.assertEqual(restarted.offset(self.details), 0)
        restarted.send(self.data)
        self.assertEqual(restarted.read_line(), self.id)

    def test_the_newest_connection_takes_over_an_upload(self):
        server = self.serve(store="store")
        older = self.connect(server)
        older.offset(self.details)
        older.send(self.data[:400 * KIB])
        self.wait_until_kept(256 * KIB)
        newer = self.connect(server)
        offset = newer.offset(self.resume_details)
        self.assertGreaterEqual(offset, 256 * KIB)
        self.assertTrue(older.read_line().startswith("ERROR superseded"))
        self.assertEqual(older.read_line(), "")
        self.finish(newer, offset)

    def test_a_stored_file_is_not_sent_again(self):
        server = self.serve(store="store")
        client = self.connect(server)
        client.offset(self.details)
        self.finish(client, 0)
        self.assertEqual(client.offset(self.resume_details), len(self.data))
        self.assertEqual(client.read_line(), self.id)

    def test_old_partial_uploads_are_removed(self):
        server = self.serve(store="store")
        self.interrupt_upload(server, 500 * KIB)
        server.stop()
        long_ago = time.time() - 7200
        for name in self.partials():
            os.utime(self.path("store", ".partial", name), (long_ago, long_ago))
        self.serve("--partial-age", "3h", store="store").stop()
        self.assertEqual(self.kept(), 500 * KIB)
        self.serve("--partial-age", "1h", store="store").stop()
        self.assertEqual(self.partials(), [])

    def test_a_bad_token_is_refused_and_the_connection_stays_open(self):
        server = self.serve(store="store")
        client = self.connect(server)
        for token in ("short", "x" * 65, "with/a/slash/in/it", "=" * 16):
            self.assertTrue(client.upload("f;1;resume=" + token).startswith("ERROR bad-request"),
                            token)
        self.assertEqual(client.offset(self.details), 0)

    def test_a_store_in_memory_keeps_no_partial_uploads(self):
        server = self.serve(store="memory")
        client = self.connect(server)
        client.send("FEATURES")
        features = []
        while not features or features[-1]:
            features.append(client.read_line())
        self.assertNotIn("resume", features)
        client.offset(self.details)
        client.send(self.data[:1000])
        client.reset()
        self.assertEqual(self.connect(server).offset(self.resume_details), 0)


if __name__ == "__main__":
    programs.run_tests("filexfer-server")
