#!/usr/bin/env python3
"""filexfer-client against an independent server: transfers, and what it must accept of a server.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""
# ctest: COST 40

import os
import shutil
import subprocess
import unittest

import peer
import programs
from client_case import ClientCase
from contents import HELLO, HELLO_ID, MIB, NAMES, make_data
from exit_codes import LOCAL_FILE, REFUSED, USAGE
from peer import md5

SIZES = (0, 1, 5, 65535, 65536, 65537, 3 * MIB + 1)


class Transfers(ClientCase):
    """Against servers that keep to the protocol."""

    def servers(self):
        for features in (False, True):
            server = self.start_peer(features)
            yield server
            self.assert_no_violations(server)

    def test_files_of_every_size_are_uploaded(self):
        for server in self.servers():
            for size in SIZES:
                data = make_data(size)
                name = "size-%d" % size
                self.write(name, data)
                out = self.run_client(server, "upload", name)
                self.assertIn("Success  %s  %s" % (md5(data), name), out.decode().splitlines())
                self.assertEqual(server.store.content()[name.encode()], data)

    def test_files_of_every_size_are_downloaded(self):
        for server in self.servers():
            for size in SIZES:
                data = make_data(size, server.features)
                name = "size-%d-%d" % (size, server.features)
                id = server.store.add(name, data).decode()
                self.run_client(server, "download", id)
                self.assertEqual(self.read(name), data)
        self.assertEqual(len(os.listdir(self.folder)), 2 * len(SIZES))

    def test_one_run_transfers_several_files(self):
        for server in self.servers():
            files = {"many-%d" % number: make_data(1000, number) for number in range(5)}
            for name, data in files.items():
                self.write(name, data)
            out = self.run_client(server, "upload", *files)
            self.assertEqual(out.decode().splitlines(),
                             ["Success  %s  %s" % (md5(data), name)
                              for name, data in files.items()])
            os.mkdir(self.path("out-%d" % server.features))
            self.run_client(server, "download", "many-0", md5(files["many-1"]), "many-4",
                            "-o", "out-%d" % server.features)
            self.assertEqual({name: self.read("out-%d/%s" % (server.features, name))
                              for name in os.listdir(self.path("out-%d" % server.features))},
                             {name: files[name] for name in ("many-0", "many-1", "many-4")})

    def test_the_first_failure_sets_the_exit_code_and_the_other_files_are_tried(self):
        for server in self.servers():
            self.write("here", HELLO)
            self.run_client(server, "upload", "missing", "here", expect=LOCAL_FILE)
            self.assertIn("Success  %s  here" % HELLO_ID, self.output)
            self.assertEqual(server.store.content(), {b"here": HELLO})
            os.remove(self.path("here"))
            self.run_client(server, "download", "nowhere", "here", expect=REFUSED)
            self.assertEqual(self.read("here"), HELLO)
            os.remove(self.path("here"))

    def test_a_stored_file_can_be_uploaded_again(self):
        for server in self.servers():
            for name in ("one", "two", "one"):
                self.write(name, HELLO)
                out = self.run_client(server, "upload", name)
                self.assertIn("Success  %s  %s" % (HELLO_ID, name), out.decode().splitlines())
            self.assertEqual(sorted(name for _, name, _ in server.store.entries()),
                             [b"one", b"two"])

    def test_files_with_special_names_are_uploaded(self):
        for server in self.servers():
            for number, name in enumerate(NAMES):
                self.write(name, b"content %d" % number)
            self.run_client(server, "upload", "--", *NAMES)
            self.assertEqual(server.store.content(),
                             {name.encode(): b"content %d" % number
                              for number, name in enumerate(NAMES)})

    def test_files_with_special_names_are_downloaded(self):
        for server in self.servers():
            os.mkdir(self.path("%d" % server.features))
            for number, name in enumerate(NAMES):
                server.store.add(name, b"content %d" % number)
            self.run_client(server, "download",
                            *(md5(b"content %d" % number) for number in range(len(NAMES))),
                            "-o", "%d" % server.features)
            self.assertEqual(
                {name: self.read("%d/%s" % (server.features, name))
                 for name in os.listdir(self.path("%d" % server.features))},
                {name: b"content %d" % number for number, name in enumerate(NAMES)})

    def test_an_upload_can_be_given_a_name(self):
        for server in self.servers():
            self.write("local", HELLO)
            self.run_client(server, "upload", "local", "--name", "photos/2021/a;b.jpg")
            self.assertEqual(server.store.content(), {b"photos/2021/a;b.jpg": HELLO})

    def test_a_path_is_uploaded_under_its_last_component(self):
        for server in self.servers():
            path = self.write("sub/local.txt", HELLO)
            self.run_client(server, "upload", path)
            self.assertEqual(server.store.content(), {b"local.txt": HELLO})

    def test_stdin_is_uploaded(self):
        for server in self.servers():
            for number, data in enumerate((b"", b"from a pipe\n", make_data(300000))):
                before = self.tree()
                name = "stdin %d" % number
                out = self.run_client(server, "upload", "-", "--name", name, stdin=data)
                self.assertIn("Success  %s  %s" % (md5(data), name), out.decode().splitlines())
                self.assertEqual(server.store.content()[name.encode()], data)
                self.assertEqual(self.tree(), before)
            self.run_client(server, "upload", "-", "--name", "sized", "--size", "5", stdin=HELLO)
            self.assertEqual(server.store.content()[b"sized"], HELLO)

    def test_stdin_shorter_than_its_size_stores_nothing(self):
        for features in (False, True):
            server = self.start_peer(features)
            self.run_client(server, "upload", "-", "--name", "sized", "--size", "6", stdin=HELLO,
                            expect=LOCAL_FILE)
            server.wait()
            self.assertEqual(server.store.content(), {})

    def test_the_list_of_an_empty_store_is_empty(self):
        for server in self.servers():
            self.assertEqual(self.run_client(server, "list"), b"")
            self.assertEqual(self.run_client(server, "list", "--md5sum"), b"")

    def test_a_list_in_a_pipe_has_the_lines_that_the_server_sent(self):
        for server in self.servers():
            lines = []
            for number, name in enumerate(NAMES + ("photos/2021/cat.jpg",)):
                data = bytes(number)
                server.store.add(name, data)
                lines.append(b"%s;%s;%d" % (md5(data).encode(), peer.escape(name), number))
            server.store.add("second name", b"")
            lines.append(b"%s;second name;0" % md5(b"").encode())
            out = self.run_client(server, "list")
            self.assertTrue(out.endswith(b"\n"))
            self.assertEqual(sorted(out[:-1].split(b"\n")), sorted(lines))

    @unittest.skipUnless(shutil.which("md5sum"), "there is no md5sum")
    def test_md5sum_accepts_the_list(self):
        for server in self.servers():
            for number, name in enumerate(NAMES + ("photos/2021/cat.jpg",)):
                self.write(name, b"content %d" % number)
                server.store.add(name, b"content %d" % number)
            sums = self.run_client(server, "list", "--md5sum")
            command = ["md5sum", "--check", "--strict", "--quiet"]
            checked = subprocess.run(command, cwd=self.folder, input=sums, capture_output=True,
                                     timeout=60)
            self.assertEqual(checked.returncode, 0, checked)
            self.assertEqual(sums.count(b"\n"), len(NAMES) + 1)
            # It also detects a difference.
            self.write("line\nfeed", b"other content")
            checked = subprocess.run(command, cwd=self.folder, input=sums, capture_output=True,
                                     timeout=60)
            self.assertNotEqual(checked.returncode, 0)

    def test_a_file_can_be_downloaded_by_name_or_id(self):
        for server in self.servers():
            server.store.add("by name.txt", HELLO)
            for word in ("by name.txt", HELLO_ID, HELLO_ID.upper()):
                self.run_client(server, "download", word)
                self.assertEqual(self.read("by name.txt"), HELLO)
                os.remove(self.path("by name.txt"))

    def test_a_name_with_several_ids_is_an_error_that_lists_them(self):
        for server in self.servers():
            server.store.add("twice", HELLO)
            server.store.add("twice", b"other")
            self.assert_fails(server, "download", "twice", expect=USAGE)
            self.assertIn(HELLO_ID, self.output)
            self.assertIn(md5(b"other"), self.output)
            self.run_client(server, "download", HELLO_ID)
            self.assertEqual(self.read("twice"), HELLO)
            os.remove(self.path("twice"))

    def test_an_unknown_name_or_id_is_refused(self):
        for server in self.servers():
            server.store.add("hello.txt", HELLO)
            self.assert_fails(server, "download", "no such name", expect=REFUSED)
            self.assert_fails(server, "download", "hello.tx", expect=REFUSED)
            self.assert_fails(server, "download", "HELLO.TXT", expect=REFUSED)
            self.assert_fails(server, "download", "0" * 32, expect=REFUSED)
            self.assertIn("not-found", self.output)

    def test_a_file_can_be_downloaded_to_a_file_a_folder_or_stdout(self):
        data = make_data(100000)
        for server in self.servers():
            id = server.store.add("wire name", data).decode()
            self.run_client(server, "download", id, "-o", "chosen")
            self.assertEqual(self.read("chosen"), data)
            os.mkdir(self.path("into"))
            self.run_client(server, "download", id, "-o", "into")
            self.assertEqual(self.read("into/wire name"), data)
            self.assertEqual(sorted(os.listdir(self.folder)), ["chosen", "into"])
            before = self.tree()
            self.assertEqual(self.run_client(server, "download", id, "-o", "-"), data)
            self.assertEqual(self.tree(), before)
            shutil.rmtree(self.path("into"))
            os.remove(self.path("chosen"))

    def test_a_name_with_folders_is_created_below_the_target_folder(self):
        for server in self.servers():
            id = server.store.add("photos/2021/cat.jpg", HELLO).decode()
            into = "into %d" % server.features
            os.mkdir(self.path(into))
            self.run_client(server, "download", id, "-o", into)
            files = {path: data for path, data in self.tree().items()
                     if data is not None and into in path}
            self.assertEqual(files, {"folder/%s/photos/2021/cat.jpg" % into: HELLO})

    def test_an_existing_file_is_replaced_only_with_force(self):
        for server in self.servers():
            id = server.store.add("mine", HELLO).decode()
            self.write("mine", b"my own")
            self.assert_fails(server, "download", id, expect=LOCAL_FILE)
            self.assert_fails(server, "download", id, "-o", "mine", expect=LOCAL_FILE)
            self.run_client(server, "download", id, "--force")
            self.assertEqual(self.read("mine"), HELLO)
            self.write("mine", b"my own")
            self.run_client(server, "download", id, "-o", "mine", "--force")
            self.assertEqual(self.read("mine"), HELLO)
            self.assertEqual(os.listdir(self.folder), ["mine"])

    def test_a_local_file_that_cannot_be_read_or_written_is_an_error(self):
        for server in self.servers():
            id = server.store.add("here", HELLO).decode()
            self.assert_fails(server, "upload", "missing", expect=LOCAL_FILE)
            self.assert_fails(server, "upload", "--name", "folder", ".", expect=LOCAL_FILE)
            self.assert_fails(server, "download", id, "-o", "no/such/folder/file",
                              expect=LOCAL_FILE)
            self.assertEqual(list(server.store.content()), [b"here"])

    def test_an_invalid_name_is_refused(self):
        self.write("local", HELLO)
        for features in (False, True):
            server = self.start_peer(features)
            for name in ("../x", "/x", "a//b", "", "x/.", "n" * 256):
                self.assert_fails(server, "upload", "local", "--name", name,
                                  expect=(USAGE, REFUSED))
            self.assertEqual(server.store.content(), {})

    def test_simulate_uploads_and_downloads_a_file(self):
        for server in self.servers():
            data = make_data(100000)
            server.store.add("there before", HELLO)
            self.write("image.jpg", data)
            before = self.tree()
            self.run_client(server, "simulate", "image.jpg")
            self.assertIn("Success", self.output)
            self.assertIn(md5(data), self.output)
            self.assertEqual(self.tree(), before)
            self.assertEqual(server.store.content()[b"image.jpg"], data)
            self.run_client(server, "simulate", "image.jpg", "-o", "copy.jpg")
            self.assertEqual(self.read("copy.jpg"), data)
            os.remove(self.path("copy.jpg"))


class Variety(ClientCase):
    """Against servers with variations that a client must accept."""

    def test_the_client_accepts_any_words_line_ends_id_case_and_segmentation(self):
        data = make_data(3000)
        for faults in ({"other_words": True}, {"crlf": True}, {"upper_ids": True},
                       {"byte_by_byte": True}, {"extra_parameters": b";later=1;and-more"},
                       {"extra_features": (b"later", b"more=2", b"version-2=x;y", b"0dd")}):
            for features in (False, True):
                with self.subTest(features=features, faults=faults):
                    server = self.start_peer(features, **faults)
                    self.assertEqual(self.run_client(server, "list"), b"")
                    self.write("local", data)
                    out = self.run_client(server, "upload", "local")
                    self.assertIn("Success  %s  local" % md5(data), out.decode().splitlines())
                    self.assertEqual(server.store.content(), {b"local": data})
                    self.run_client(server, "download", "local", "-o", "copy")
                    self.assertEqual(self.read("copy"), data)
                    self.assertEqual(self.run_client(server, "list"),
                                     b"%s;local;3000\n" % md5(data).encode())
                    os.remove(self.path("copy"))
                    self.assert_no_violations(server)


if __name__ == "__main__":
    programs.run_tests("filexfer-client")
