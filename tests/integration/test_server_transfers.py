#!/usr/bin/env python3
"""filexfer-server and an independent client: files of every size and name are listed and returned.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import hashlib

import peer
import programs
from contents import HELLO, HELLO_ID, MIB, make_data
from peer import md5
from store_cases import STORED_NAMES, DirectoryStore, MemoryStore

UNKNOWN_ID = "0" * 32

# Two files with the same MD5 (Wang and Yu, 2004).
COLLISION_ID = "79054025255fb1a26e4bc422aef54eb4"
COLLISION_1 = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70")
COLLISION_2 = bytes(byte ^ 0x80 if position in (19, 45, 59, 83, 109, 123) else byte
                    for position, byte in enumerate(COLLISION_1))

SIZES = (0, 1, 5, 65535, 65536, 65537, MIB - 1, MIB, MIB + 1, 3 * MIB)


class Transfers:
    """Tests for every kind of store."""

    # LIST_FILES

    def test_an_empty_store_lists_nothing(self):
        client = self.connect(self.start_fresh(), ask=False)
        client.send_line(b"LIST_FILES")
        self.assertEqual(client.line(), peer.EMPTY_STORE_WORDS)
        self.assertEqual(client.line(), b"")
        self.assertEqual(client.list_files(), [])

    def test_the_four_list_commands_are_equivalent(self):
        self.store_hello()
        lists = [sorted(map(str, self.client.list_files(command)))
                 for command in peer.LIST_COMMANDS]
        self.assertEqual(lists, [lists[0]] * 4)
        self.assertNotEqual(lists[0], [])

    def test_an_id_can_have_two_names_and_a_name_two_ids(self):
        client = self.connect(self.start_fresh())
        for name, data in (("one", b"x"), ("two", b"x"), ("one", b"y"), ("one", b"x")):
            self.assertEqual(client.upload(name, data).id, md5(data))
        self.assertEqual(self.pairs(client), sorted([
            (b"one", md5(b"x"), 1), (b"two", md5(b"x"), 1), (b"one", md5(b"y"), 1)]))
        self.assertIn(client.download(md5(b"x")).entry.name, (b"one", b"two"))
        self.assertEqual(client.download(md5(b"y")).data, b"y")

    # UPLOAD and DOWNLOAD of every size and name

    def test_files_of_every_size_are_returned_unchanged(self):
        for size in SIZES:
            with self.subTest(size=size):
                data = make_data(size)
                uploaded = self.client.upload("size %d" % size, data)
                self.assertEqual(uploaded.id, md5(data))
                self.assertIn((b"size %d" % size, md5(data), size), self.pairs(self.client))
                downloaded = self.connect().download(uploaded.id)
                self.assertEqual(downloaded.data, data)
                self.assertEqual(downloaded.entry.size, size)
                self.assertEqual(downloaded.entry.parameters, {})

    def test_no_content_ends_a_byte_stream_early(self):
        for data in (b"EOF", b"DONE\n", b"\n", b"\r\n\r\n", b"LIST_FILES\nUPLOAD\n", b"\0", b"\x1a",
                     b"\x04",
                       b"ERROR io\n", b"a" * 70000 + b"\nEOF\n"):
            with self.subTest(data=data[:20]):
                self.assertEqual(self.client.upload("bytes", data).id, md5(data))
                self.assertEqual(self.client.download(md5(data)).data, data)

    def test_every_name_is_kept_byte_by_byte(self):
        client = self.connect(self.start_fresh())
        for number, name in enumerate(STORED_NAMES):
            with self.subTest(name=name):
                data = b"content %d" % number
                client.upload(name, data)
                self.assertEqual(client.download(md5(data)).entry.name, name.encode())
        self.assertEqual(self.pairs(client), sorted(
            (name.encode(), md5(b"content %d" % number), len(b"content %d" % number))
            for number, name in enumerate(STORED_NAMES)))

    def test_a_name_has_up_to_1024_bytes_and_255_in_each_component(self):
        folder = "f" * 255
        longest = "/".join([folder, folder, folder, "n" * 252, "nnn"])
        for name in ("n" * 255, ";" * 255, "\u00e9" * 127 + "n", "/".join("n" * 128), longest,
                     longest.replace("n", ";")):
            data = b"long " + name.encode()
            with self.subTest(name=name[:4]):
                self.client.upload(name, data)
                self.assertEqual(self.client.download(md5(data)).entry.name, name.encode())

    def test_escapes_are_accepted_in_either_case_and_sent_in_upper_case(self):
        client = self.connect(self.start_fresh())
        for wire, name in ((b"a%3bb", b"a;b"), (b"a%3Bc", b"a;c"), (b"%64", b"d"),
                           (b"%c3%a9", b"\xc3\xa9"),
                           (b"f%2fg", b"f/g"), (b"h%0a", b"h\n"), (b"i%2525", b"i%25")):
            with self.subTest(wire=wire):
                self.send_details(client, wire + b";0")
                client.read_ready(0, False)
                client.read_id()
                self.assertIn(name, [entry.name for entry in client.list_files()])

    def test_ids_are_accepted_in_either_case_and_sent_in_lower_case(self):
        data = b"either case"
        self.client.upload("case", data, id=md5(data).upper())
        for id in (md5(data).upper(), md5(data).title(), md5(data)):
            self.assertEqual(self.client.download(id).data, data)
        self.assertEqual(self.client.upload("case", data, id=md5(data).upper()).offset, len(data))

    # Parameters

    def test_unknown_parameters_are_ignored(self):
        for command in (b"LIST_FILES;x", b"LIST_FILES;x=1;y-2=a=b", b"LIST FILES;zz=%;z=\xff"):
            self.client.list_files(command)
        self.client.send_line(b"FEATURES;x=1")
        while self.client.reply():
            pass
        self.client.send_line(b"UPLOAD;x;y=2")
        self.client.words()
        self.client.send_line(b"parameters;5;x;y=2;x-1=a b")
        self.client.read_ready(5, False)
        self.client.send(HELLO)
        self.assertEqual(self.client.read_id(), HELLO_ID)
        self.client.send_line(b"DOWNLOAD;x;y=2")
        self.client.words()
        self.client.send_line(HELLO_ID + ";y=2;x")
        self.assertEqual(self.client.read_download(HELLO_ID.encode()).data, HELLO)
        self.assert_synchronized(self.client)

    def test_features_announce_the_version_and_the_digest(self):
        features = self.connect(ask=False).features()
        self.assertIsNotNone(features)
        self.assertEqual(features.get(b"version"), b"1")
        self.assertEqual(features.get(b"digest"), b"md5")

    def test_a_declared_id_is_compared_with_the_bytes(self):
        data = b"declared and true"
        uploaded = self.client.upload("declared", data, id=md5(data))
        self.assertEqual((uploaded.id, uploaded.sent), (md5(data), len(data)))
        for wrong, declared in ((b"declared and false", md5(b"something else")),
                                (b"another size", md5(data)),
                                (b"", md5(data)), (make_data(200000, 9), UNKNOWN_ID)):
            with self.subTest(wrong=wrong[:20]):
                self.assert_refused("mismatch", self.client.upload, "not declared", wrong,
                                    id=declared)
                names = [entry.name for entry in self.client.list_files()]
                self.assertNotIn(b"not declared", names)
                self.assert_refused("not-found", self.client.download, md5(wrong))

    def test_a_stored_file_is_not_sent_again(self):
        for data in (b"held already", b"", make_data(100000, 3)):
            self.client.upload("held", data)
            for name in ("held", "held again"):
                uploaded = self.client.upload(name, data, id=md5(data))
                self.assertEqual((uploaded.id, uploaded.sent), (md5(data), 0))
                self.assertEqual(uploaded.offset, len(data))
                self.assertIn((name.encode(), md5(data), len(data)), self.pairs(self.client))
            # Without id= the bytes are sent.
            uploaded = self.client.upload("held", data)
            self.assertEqual((uploaded.offset, uploaded.sent), (None, len(data)))
            self.assertEqual(self.client.download(md5(data)).data, data)

    def test_a_download_can_be_limited_to_a_range(self):
        data = make_data(200001, 5)
        size = len(data)
        id = self.client.upload("range", data).id
        for offset, length in ((0, None), (1, None), (size, None), (size - 1, None), (None, 0),
                               (None, 1), (None, size), (None, size + 1), (0, size), (65535, 2),
                               (65536, 65536), (size, 0), (size, 5), (size - 3, 10),
                               (100, 2**63 - 1), (None, 2**63 - 1)):
            with self.subTest(offset=offset, length=length):
                downloaded = self.client.download(id, offset, length)
                start = offset or 0
                end = size if length is None else min(size, start + length)
                self.assertEqual(downloaded.data, data[start:end])
                self.assertEqual(downloaded.entry.size, size)
                expected = {}
                if offset is not None:
                    expected[b"offset"] = b"%d" % start
                if length is not None:
                    expected[b"length"] = b"%d" % (end - start)
                self.assertEqual(downloaded.entry.parameters, expected)

    # Collisions

    def test_the_first_of_two_files_with_one_md5_is_kept(self):
        self.assertEqual([hashlib.md5(data).hexdigest() for data in (COLLISION_1, COLLISION_2)],
                         [COLLISION_ID] * 2)
        self.assertNotEqual(COLLISION_1, COLLISION_2)
        self.assertEqual(self.client.upload("first", COLLISION_1).id, COLLISION_ID)
        for name in ("second", "first"):
            self.assert_refused("collision", self.client.upload, name, COLLISION_2)
            self.assertEqual(self.client.download(COLLISION_ID).data, COLLISION_1)
        self.assertEqual([entry.name for entry in self.client.list_files()
                          if entry.id == COLLISION_ID], [b"first"])
        # Where no bytes are sent the server can't detect it.
        self.assertEqual(self.client.upload("third", COLLISION_2, id=COLLISION_ID).sent, 0)
        self.assertEqual(self.client.download(COLLISION_ID).data, COLLISION_1)


class TransfersInMemory(Transfers, MemoryStore):
    pass


class TransfersInFolder(Transfers, DirectoryStore):
    pass


if __name__ == "__main__":
    programs.run_tests("filexfer-server")
