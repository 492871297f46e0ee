#!/usr/bin/env python3
"""The independent client and server of peer.py against each other, without our programs."""

from __future__ import annotations

import os
import tempfile
import unittest
from typing import Callable, Tuple

import programs
from peer import (CHUNK, Behaviour, Client, DigestMismatch, EndOfStream, Refused, Server, Violation,
                  md5)


class PeersTest(unittest.TestCase):
    def start(self, **arguments) -> Tuple[Server, Client]:
        server = Server(**arguments)
        self.addCleanup(server.stop)
        client = Client("127.0.0.1", server.port, timeout=10)
        self.addCleanup(client.close)
        return server, client

    def start_misbehaving(self, features: bool = True, **faults) -> Client:
        server, client = self.start(features=features, behaviour=Behaviour(**faults))
        server.store.add("a", b"hello")
        server.store.add("b", b"world")
        if features:
            client.supported = frozenset({b"id", b"offset", b"length"})
        return client

    def assert_refused(self, code: str, call: Callable[..., object], *arguments,
                       **keywords) -> None:
        with self.assertRaises(Refused) as caught:
            call(*arguments, **keywords)
        self.assertEqual(caught.exception.code, code)

    def test_files_are_returned_unchanged(self) -> None:
        for features in (False, True):
            server, client = self.start(features=features)
            self.assertEqual(client.features() is not None, features)
            self.assertEqual(client.list_files(), [])
            for size in (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7):
                data = os.urandom(size)
                name = "size %d;%%\x01" % size
                uploaded = client.upload(name, data)
                self.assertEqual(uploaded.id, uploaded.digest)
                self.assertEqual(uploaded.sent, size)
                downloaded = client.download(uploaded.id)
                self.assertEqual(downloaded.data, data)
                self.assertEqual(downloaded.entry.name, name.encode())
            self.assertEqual(len(client.list_files(b"LIST FILE")), 6)
            client.close()
            server.wait()
            self.assertEqual(server.violations, [])

    def test_a_file_object_can_be_uploaded(self) -> None:
        _, client = self.start()
        data = os.urandom(200000)
        with tempfile.TemporaryFile() as file:
            file.write(data)
            self.assertEqual(client.upload("f", file).id, md5(data))

    def test_a_stored_file_is_not_sent_again(self) -> None:
        server, client = self.start(features=True)
        client.features()
        first = client.upload("one", b"hello")
        second = client.upload("two", b"hello", id=first.id)
        self.assertEqual((second.id, second.sent, second.offset), (first.id, 0, 5))
        self.assertEqual(sorted(server.store.content()), [b"one", b"two"])
        self.assert_refused("mismatch", client.upload, "three", b"longer than that", id=first.id)
        self.assertEqual(len(client.list_files()), 2)
        client.close()
        server.wait()

    def test_a_download_can_be_limited_to_a_range(self) -> None:
        _, client = self.start(features=True)
        client.features()
        id = client.upload("digits", b"0123456789").id
        for offset, length, data in ((0, None, b"0123456789"), (4, None, b"456789"),
                                     (None, 3, b"012"), (8, 9, b"89"), (10, None, b""),
                                     (3, 0, b"")):
            self.assertEqual(client.download(id, offset, length).data, data)
        self.assert_refused("bad-range", client.download, id, 11)

    def test_the_maximum_size_is_announced_and_enforced(self) -> None:
        _, client = self.start(features=True, max_size=4)
        self.assertEqual((client.features() or {}).get(b"max-size"), b"4")
        client.upload("four", b"four")
        self.assert_refused("too-large", client.upload, "five", b"fives")

    def test_a_server_without_features_ignores_parameters(self) -> None:
        server, client = self.start()
        client.supported = frozenset({b"id", b"offset"})
        self.assertEqual(client.upload("a", b"hello", id=md5(b"other")).id, md5(b"hello"))
        self.assertEqual(client.download(md5(b"hello"), offset=2).data, b"hello")
        client.close()
        server.wait()
        self.assertEqual(len(server.violations), 2)

    def test_the_server_answers_and_records_each_breach(self) -> None:
        id = md5(b"hello").encode()
        upload = b"UPLOAD\n"
        download = b"DOWNLOAD\n"
        cases = (
            (b"LIST_FILES\r\n", None), (b"LIST_FILES;x\n", None),
            (b"\n", "unknown-command"), (b"HELLO\n", "unknown-command"),
            (b"A" * 4095 + b"\n", "unknown-command"), (b"A" * 4096, "line-too-long"),
            (b"GET / HTTP/1.1\r\n", "bad-request"), (b"LIST_FILES;\n", "bad-request"),
            (b"LIST_FILES\t\n", "bad-request"),
            (upload + b"a\n", "bad-request"), (upload + b"a;01\n", "bad-size"),
            (upload + b"a;9223372036854775808\n", "bad-size"), (upload + b"../a;1\n", "bad-name"),
            (upload + b"a%0;1\n", "bad-name"), (upload + b"\xff;1\n", "bad-name"),
            (upload + b"a%00;1\n", "bad-name"), (upload + b"a%2F..;1\n", "bad-name"),
            (upload + b"a" * 256 + b";1\n", "bad-name"), (upload + b"a;1;id=x\n", "bad-id"),
            (upload + b"a;1;id\n", "bad-request"), (upload + b"a;1;x;x\n", "bad-request"),
            (upload + b"a%3b;0\n", None), (upload + b"%61;0\n", None),
            (upload + b"b;1\nbc", "unknown-command"), (download + b"x\n", "bad-id"),
            (download + id.upper() + b"\n", None), (download + id + b";offset=x\n", "bad-range"),
            (download + id + b";offset=6\n", "bad-range"),
        )
        for data, code in cases:
            with self.subTest(data=data[:60]):
                with Server(features=True) as server, Client(server.address, timeout=10) as client:
                    server.store.add("a", b"hello")
                    client.features()
                    client.send(data + (b"" if len(data) > 4095 else b"\n" * data.endswith(b"bc")))
                    client.end_sending()
                    answer = client.rest()
                    server.wait()
                    self.assertNotEqual(server.violations, [])
                    if code:
                        self.assertIn(b"ERROR " + code.encode(), answer)
                    else:
                        self.assertNotIn(b"ERROR", answer)

    def test_bytes_before_the_ready_line_are_recorded(self) -> None:
        server, client = self.start(features=True)
        client.features()
        client.send(b"UPLOAD\na;5\nhello")
        client.end_sending()
        self.assertTrue(client.rest().endswith(md5(b"hello").encode() + b"\n"))
        server.wait()
        self.assertEqual(len(server.violations), 1)

    def test_the_client_detects_each_breach(self) -> None:
        hello = md5(b"hello")
        for faults in ({"crlf": True}, {"upper_ids": True}, {"extra_parameters": b";x=1"},
                       {"hostile_name": b"../x"}, {"hostile_name": b"a%3b"},
                       {"hostile_name": b"%61"}, {"hostile_name": b"a\tb"},
                       {"overlong_at": "list-entry"},
                       {"rewrite": lambda point, line: b"" if point == "list-entry" else line},
                       {"rewrite": lambda point, line: line.replace(b";5", b";05")},
                       {"rewrite": lambda point, line: b"ERROR" if point == "list-end" else line},
                       {"rewrite": lambda point, line: (
                           b"ERROR odd" if point == "list-end" else line)},
                       {"rewrite": lambda point, line: line or b"words"},
                       {"hostile_name": b"same", "rewrite": lambda point, line: line.replace(
                        md5(b"world").encode(), hello.encode())}):
            with self.subTest(faults=faults):
                self.assertRaises(Violation, self.start_misbehaving(**faults).list_files)
        for faults in ({"wrong_entry_id": True}, {"overlong_at": "entry"},
                       {"overlong_at": "download-prompt"}, {"extra_parameters": b";offset=1"}):
            with self.subTest(faults=faults):
                self.assertRaises(Violation, self.start_misbehaving(**faults).download, hello)
        for faults in ({"extra_parameters": b";offset=0"}, {"upper_ids": True},
                       {"extra_parameters": b";x"},
                       {"rewrite": lambda point, line: (
                           line + b";" if point == "upload-prompt" else line)}):
            with self.subTest(faults=faults):
                self.assertRaises(Violation, self.start_misbehaving(**faults).upload, "c", b"bytes")

    def test_a_wrong_id_and_a_flipped_byte_are_detected(self) -> None:
        uploaded = self.start_misbehaving(wrong_id=True).upload("c", b"bytes")
        self.assertNotEqual(uploaded.id, uploaded.digest)
        self.assertRaises(DigestMismatch, self.start_misbehaving(flip_byte=3).download,
                          md5(b"hello"))

    def test_a_truncated_file_or_list_is_an_error(self) -> None:
        client = self.start_misbehaving(truncate_download=3)
        self.assertRaises(EndOfStream, client.download, md5(b"hello"))
        for point in ("list-entry", "list-end"):
            self.assertRaises(EndOfStream, self.start_misbehaving(cut_at=point).list_files)
            self.assertRaises(EndOfStream, self.start_misbehaving(close_at=point).list_files)
        self.assertRaises((EndOfStream, OSError),
                          self.start_misbehaving(close_at="connect").list_files)

    def test_errors_are_recognized_at_every_point(self) -> None:
        self.assert_refused("busy", self.start_misbehaving(busy=True).reply)
        self.assert_refused("io", self.start_misbehaving(fail_list_after=1).list_files)
        client = self.start_misbehaving(fail_upload_after=1000)
        self.assert_refused("no-space", client.upload, "c", bytes(32 * 1024 * 1024))
        client = self.start_misbehaving(refuse_download=b"not-found")
        self.assert_refused("not-found", client.download, md5(b"hello"))
        self.assertEqual(len(client.list_files()), 2)

    def test_a_stalled_download_continues_when_released(self) -> None:
        server, client = self.start(behaviour=Behaviour(stall_download_after=2, byte_by_byte=True))
        server.store.add("a", b"hello")
        client.send_line(b"DOWNLOAD")
        client.words()
        client.send_line(md5(b"hello"))
        self.assertTrue(server.stalled.wait(10))
        server.release.set()
        self.assertEqual(client.read_download(md5(b"hello").encode()).data, b"hello")


if __name__ == "__main__":
    programs.run_tests()
