#!/usr/bin/env python3
"""The filexfer-client of this project against an independent server.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""
# ctest: COST 110

import os
import random
import shutil
import signal
import subprocess
import socket
import tempfile
import unittest

import peer
from peer import Behaviour, Server, md5

DONE, WRONG_DIGEST, USAGE, REFUSED, BROKEN, LOCAL_FILE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

HELLO = b"hello"
HELLO_ID = md5(HELLO)

SIZES = (0, 1, 5, 65535, 65536, 65537, 3 * 2**20 + 1)

NAMES = ("plain.txt", "a b", " leading", "a;b%c", "100%;", "%41", "\u00e9t\u00e9.txt",
         "\u65e5\u672c\u8a9e.txt", "line\nfeed", "tab\there", "a\x7fb", "back\\slash", "C:\\x",
         "'quoted \"", "$HOME `id`", ".hidden", "...", "ERROR io", "EOF", "[brackets]", "{a,b}",
         "0" * 31)

# As written on the wire. Each is `bad-name` once decoded.
HOSTILE_NAMES = (b"../x", b"..", b".", b"/tmp/filexfer-hostile", b"a/../../x", b"a/..", b"./x",
                 b"a//x", b"x/", b"", b"%2E%2E/x", b"%2e%2e%2fx", b"..%2Fx", b"a%2F..%2F..%2Fx",
                 b"x%00y", b"%", b"x%4", b"\xff", b"%C3", b"n" * 256)


def make_data(size, seed=0):
    return random.Random("%d %d" % (size, seed)).getrandbits(8 * size).to_bytes(size, "little")


class ClientCase(unittest.TestCase):
    """Runs the client in a folder inside of another, so that an escape from it is noticed."""

    def setUp(self):
        self.outside = tempfile.mkdtemp(prefix="filexfer-")
        self.addCleanup(shutil.rmtree, self.outside)
        self.folder = os.path.join(self.outside, "folder")
        os.mkdir(self.folder)

    def serve(self, features=True, behaviour=None, **arguments):
        server = Server(features=features, behaviour=behaviour, **arguments)
        self.addCleanup(server.stop)
        return server

    def misbehaving(self, **faults):
        """A server without FEATURES, then one with them; each stores hello.txt."""
        for features in (False, True):
            server = self.serve(features, Behaviour(**faults))
            server.store.add("hello.txt", HELLO)
            yield server
            server.stop()

    def start(self, server, *arguments, **keywords):
        address = server if isinstance(server, str) else server.address
        return subprocess.Popen(
            [peer.program("filexfer-client"), "--server", address, "--retry-for", "0", *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=peer.restore_signals,
            **keywords)

    def run_client(self, server, *arguments, expect=DONE, stdin=None):
        """Returns stdout; `self.output` has stderr, too. `expect` is an exit code or several."""
        with self.start(server, *arguments,
                        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE) as process:
            try:
                out, err = process.communicate(stdin, timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        self.output = (out + err).decode("utf-8", "backslashreplace")
        self.assertIn(process.returncode, expect if isinstance(expect, tuple) else (expect,),
                      "filexfer-client %s %s said:\n%s"
                      % (arguments, self.describe(server), self.output))
        return out

    def describe(self, server):
        """How the server differs from a default one, for messages."""
        if isinstance(server, str):
            return "to " + server
        default = Behaviour()
        differences = ["%s=%r" % (key, value) for key, value in vars(server.behaviour).items()
                       if value != getattr(default, key)]
        return "to a server with %s%s" % ("FEATURES" if server.features else "none",
                                          " ".join([""] + differences))

    def write(self, name, data):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def read(self, name):
        with open(os.path.join(self.folder, name), "rb") as file:
            return file.read()

    def tree(self):
        """Bytes of every file below the outer folder, None for every folder."""
        found = {}
        for path, folders, files in os.walk(self.outside):
            for name in folders:
                found[os.path.relpath(os.path.join(path, name), self.outside)] = None
            for name in files:
                with open(os.path.join(path, name), "rb") as file:
                    found[os.path.relpath(os.path.join(path, name), self.outside)] = file.read()
        return found

    def assert_fails(self, server, *arguments, expect, stdin=None):
        """Checks that the client fails with that code, and that no file changes."""
        before = self.tree()
        out = self.run_client(server, *arguments, expect=expect, stdin=stdin)
        self.assertEqual(self.tree(), before, self.describe(server))
        self.assertNotIn("Success", self.output)
        return out

    def assert_no_violations(self, server):
        server.wait()
        self.assertEqual(server.violations, [], self.describe(server))


class Transfers(ClientCase):
    """Against servers that keep to the protocol."""

    def servers(self):
        for features in (False, True):
            server = self.serve(features)
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
            os.mkdir(os.path.join(self.folder, "out-%d" % server.features))
            self.run_client(server, "download", "many-0", md5(files["many-1"]), "many-4",
                            "-o", "out-%d" % server.features)
            self.assertEqual({name: self.read("out-%d/%s" % (server.features, name))
                              for name in os.listdir(os.path.join(self.folder,
                                                                  "out-%d" % server.features))},
                             {name: files[name] for name in ("many-0", "many-1", "many-4")})

    def test_the_first_failure_sets_the_exit_code_and_the_other_files_are_tried(self):
        for server in self.servers():
            self.write("here", HELLO)
            self.run_client(server, "upload", "missing", "here", expect=LOCAL_FILE)
            self.assertIn("Success  %s  here" % HELLO_ID, self.output)
            self.assertEqual(server.store.content(), {b"here": HELLO})
            os.remove(os.path.join(self.folder, "here"))
            self.run_client(server, "download", "nowhere", "here", expect=REFUSED)
            self.assertEqual(self.read("here"), HELLO)
            os.remove(os.path.join(self.folder, "here"))

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
            self.run_client(server, "upload", *NAMES)
            self.assertEqual(server.store.content(),
                             {name.encode(): b"content %d" % number
                              for number, name in enumerate(NAMES)})

    def test_files_with_special_names_are_downloaded(self):
        for server in self.servers():
            os.mkdir(os.path.join(self.folder, "%d" % server.features))
            for number, name in enumerate(NAMES):
                server.store.add(name, b"content %d" % number)
            self.run_client(server, "download",
                            *(md5(b"content %d" % number) for number in range(len(NAMES))),
                            "-o", "%d" % server.features)
            self.assertEqual(
                {name: self.read("%d/%s" % (server.features, name))
                 for name in os.listdir(os.path.join(self.folder, "%d" % server.features))},
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
            server = self.serve(features)
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
                os.remove(os.path.join(self.folder, "by name.txt"))

    def test_a_name_with_several_ids_is_an_error_that_lists_them(self):
        for server in self.servers():
            server.store.add("twice", HELLO)
            server.store.add("twice", b"other")
            self.assert_fails(server, "download", "twice", expect=USAGE)
            self.assertIn(HELLO_ID, self.output)
            self.assertIn(md5(b"other"), self.output)
            self.run_client(server, "download", HELLO_ID)
            self.assertEqual(self.read("twice"), HELLO)
            os.remove(os.path.join(self.folder, "twice"))

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
            os.mkdir(os.path.join(self.folder, "into"))
            self.run_client(server, "download", id, "-o", "into")
            self.assertEqual(self.read("into/wire name"), data)
            self.assertEqual(sorted(os.listdir(self.folder)), ["chosen", "into"])
            before = self.tree()
            self.assertEqual(self.run_client(server, "download", id, "-o", "-"), data)
            self.assertEqual(self.tree(), before)
            shutil.rmtree(os.path.join(self.folder, "into"))
            os.remove(os.path.join(self.folder, "chosen"))

    def test_a_name_with_folders_is_created_below_the_target_folder(self):
        for server in self.servers():
            id = server.store.add("photos/2021/cat.jpg", HELLO).decode()
            into = "into %d" % server.features
            os.mkdir(os.path.join(self.folder, into))
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
            server = self.serve(features)
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
            os.remove(os.path.join(self.folder, "copy.jpg"))


class Variety(ClientCase):
    """Against servers with variations that a client must accept."""

    def test_the_client_accepts_any_words_line_ends_id_case_and_segmentation(self):
        data = make_data(3000)
        for faults in ({"other_words": True}, {"crlf": True}, {"upper_ids": True},
                       {"byte_by_byte": True}, {"extra_parameters": b";later=1;and-more"},
                       {"extra_features": (b"later", b"more=2", b"version-2=x;y", b"0dd")}):
            for features in (False, True):
                with self.subTest(features=features, faults=faults):
                    server = self.serve(features, Behaviour(**faults))
                    self.assertEqual(self.run_client(server, "list"), b"")
                    self.write("local", data)
                    out = self.run_client(server, "upload", "local")
                    self.assertIn("Success  %s  local" % md5(data), out.decode().splitlines())
                    self.assertEqual(server.store.content(), {b"local": data})
                    self.run_client(server, "download", "local", "-o", "copy")
                    self.assertEqual(self.read("copy"), data)
                    self.assertEqual(self.run_client(server, "list"),
                                     b"%s;local;3000\n" % md5(data).encode())
                    os.remove(os.path.join(self.folder, "copy"))
                    self.assert_no_violations(server)

    def test_the_code_and_text_of_an_error_are_printed(self):
        self.write("local", HELLO)
        for code in (b"too-large at most 3 bytes; not more", b"no-space",
                     b"read-only this server takes no uploads",
                     b"collision", b"io the disk is broken", b"bad-name",
                     b"of-tomorrow unknown as yet"):
            for server in self.misbehaving(refuse_upload=code):
                self.assert_fails(server, "upload", "local", expect=REFUSED)
                for word in code.decode().split(" ", 1):
                    self.assertIn(word, self.output)
        for code in (b"not-found it was there", b"io", b"of-tomorrow"):
            for server in self.misbehaving(refuse_download=code):
                self.assert_fails(server, "download", HELLO_ID, expect=REFUSED)
                for word in code.decode().split(" ", 1):
                    self.assertIn(word, self.output)

    def test_a_file_over_max_size_is_refused(self):
        server = self.serve(max_size=4)
        self.write("local", HELLO)
        self.assert_fails(server, "upload", "local", expect=REFUSED)
        self.assertIn("too-large", self.output)
        self.assertEqual(server.store.content(), {})
        self.assert_no_violations(server)

    def test_a_busy_server_is_reported(self):
        self.write("local", HELLO)
        for server in self.misbehaving(busy=True):
            for arguments in (("list",), ("upload", "local"), ("download", HELLO_ID)):
                self.assert_fails(server, *arguments, expect=REFUSED)
                self.assertIn("busy", self.output)

    def test_an_error_in_the_middle_of_a_list_is_reported(self):
        for after in (0, 1):
            for server in self.misbehaving(fail_list_after=after):
                self.assert_fails(server, "list", expect=REFUSED)
                self.assertIn("io", self.output)
                self.assert_fails(server, "list", "--md5sum", expect=REFUSED)
                self.assert_fails(server, "download", "hello.txt", expect=REFUSED)

    def test_an_error_in_the_middle_of_an_upload_is_reported(self):
        with open(os.path.join(self.folder, "large"), "wb") as file:
            file.truncate(64 * 2**20)
        for server in self.misbehaving(fail_upload_after=100000):
            self.run_client(server, "upload", "large", expect=REFUSED)
            self.assertIn("no-space", self.output)
            self.assertNotIn("Success", self.output)


class Breaches(ClientCase):
    """Against servers that break the protocol, or damage files."""

    def test_a_wrong_id_after_an_upload_fails(self):
        self.write("local", b"bytes")
        for server in self.misbehaving(wrong_id=True):
            self.assert_fails(server, "upload", "local", expect=WRONG_DIGEST)
            self.assertIn("Fail", self.output)
            self.assertIn(md5(b"bytes"), self.output)
            self.assertIn(md5(b"wrong " + md5(b"bytes").encode()), self.output)
            self.run_client(server, "upload", "-", "--name", "stdin", stdin=b"bytes",
                            expect=WRONG_DIGEST)
            self.assert_fails(server, "simulate", "local", expect=WRONG_DIGEST)

    def test_a_changed_byte_in_a_download_fails(self):
        for server in self.misbehaving(flip_byte=0):
            for arguments in ((HELLO_ID,), ("hello.txt",), (HELLO_ID, "-o", "chosen"),
                              (HELLO_ID, "-o", ".")):
                self.assert_fails(server, "download", *arguments, expect=WRONG_DIGEST)
                self.assertIn(HELLO_ID, self.output)
                self.assertIn(md5(b"iello"), self.output)
            self.assertEqual(self.assert_fails(server, "download", HELLO_ID, "-o", "-",
                                               expect=WRONG_DIGEST), b"iello")
            self.write("hello.txt", b"my own")
            self.assert_fails(server, "download", HELLO_ID, "--force", expect=WRONG_DIGEST)
            os.remove(os.path.join(self.folder, "hello.txt"))

    def test_a_truncated_download_leaves_at_most_a_part_file(self):
        for data in (0, 1, 4):
            for server in self.misbehaving(truncate_download=data):
                for arguments in ((HELLO_ID,), (HELLO_ID, "-o", "chosen"), (HELLO_ID, "-o", "-")):
                    self.assert_leaves_part(server, *arguments)
        self.write("hello.txt", b"my own")
        for server in self.misbehaving(truncate_download=3):
            self.assert_leaves_part(server, HELLO_ID, "--force")

    def assert_leaves_part(self, server, *arguments):
        """Checks that a broken download leaves at most a part file with correct bytes."""
        before = self.tree()
        self.run_client(server, "download", *arguments, expect=BROKEN)
        after = self.tree()
        for path in [path for path in after
                     if os.path.basename(path) == ".filexfer-%s.part" % HELLO_ID]:
            self.assertTrue(HELLO.startswith(after.pop(path)))
            os.remove(os.path.join(self.outside, path))
        self.assertEqual(after, before, self.describe(server))
        self.assertNotIn("Success", self.output)

    def test_a_connection_closed_at_any_line_is_an_error(self):
        self.write("local", b"bytes")
        points = {("list",): ("connect", "list-entry", "list-end"),
                  ("upload", "local"): ("connect", "upload-prompt", "ready", "id"),
                  ("download", HELLO_ID): ("connect", "download-prompt", "entry")}
        for arguments, command_points in points.items():
            for point in command_points:
                for server in self.misbehaving(close_at=point):
                    self.assert_fails(server, *arguments, expect=BROKEN)
                if point != "connect":
                    for server in self.misbehaving(cut_at=point):
                        self.assert_fails(server, *arguments, expect=BROKEN)

    def test_a_connection_closed_during_features_is_an_error(self):
        for faults in ({"close_at": "feature"}, {"cut_at": "feature"}, {"overlong_at": "feature"}):
            server = self.serve(behaviour=Behaviour(**faults))
            self.run_client(server, "list", expect=(DONE, BROKEN))
            asked = b"FEATURES" in server.logged("command")
            self.run_client(server, "list", expect=BROKEN if asked else DONE)

    def test_a_line_longer_than_4096_bytes_is_an_error(self):
        self.write("local", b"bytes")
        points = {("list",): ("list-entry", "list-end"),
                  ("upload", "local"): ("upload-prompt", "ready", "id"),
                  ("download", HELLO_ID): ("download-prompt", "entry")}
        for arguments, command_points in points.items():
            for point in command_points:
                for server in self.misbehaving(overlong_at=point):
                    self.assert_fails(server, *arguments, expect=BROKEN)

    def test_a_name_that_leads_out_of_the_folder_is_rejected(self):
        for name in HOSTILE_NAMES:
            for server in self.misbehaving(hostile_name=name):
                self.assert_fails(server, "download", HELLO_ID, expect=BROKEN)
                self.assert_fails(server, "download", HELLO_ID, "-o", ".", expect=BROKEN)
                self.assert_fails(server, "list", expect=BROKEN)
                self.assertFalse(os.path.exists("/tmp/filexfer-hostile"))

    def test_a_malformed_entry_is_rejected(self):
        id = HELLO_ID.encode()
        good = id + b";hello.txt;5"
        for bad in (b"words", b"", id + b";hello.txt", id + b";hello.txt;", id + b";hello.txt;05",
                    id + b";hello.txt;-5", id + b";hello.txt;9223372036854775808",
                    id + b";hello.txt;5x", id[1:] + b";hello.txt;5", id + b"0;hello.txt;5",
                    b"g" + id[1:] + b";hello.txt;5", good + b";", good + b";;x", good + b";x;x",
                    good + b";X=1", good + b";x=", id + b";hel\x01lo.txt;5",
                    id + b";hello.txt;5\t"):
            for server in self.misbehaving(
                    rewrite=lambda point, line: bad if line == good else line):
                self.assert_fails(server, "download", HELLO_ID, expect=BROKEN)
                if bad not in (b"", b"words"):
                    self.assert_fails(server, "list", expect=BROKEN)
        for extra in (b"words", b"more words"):
            for server in self.misbehaving(
                    rewrite=lambda point, line: extra if point == "list-end" else line):
                self.assert_fails(server, "list", expect=BROKEN)

    def test_an_entry_with_another_id_is_rejected(self):
        for server in self.misbehaving(wrong_entry_id=True):
            self.assert_fails(server, "download", HELLO_ID, expect=BROKEN)

    def test_a_malformed_id_after_an_upload_is_rejected(self):
        self.write("local", b"bytes")
        good = md5(b"bytes").encode()
        for bad in (b"", b"Done", good[1:], good + b"0", b"g" + good[1:], good + b" ", b" " + good):
            for server in self.misbehaving(
                    rewrite=lambda point, line: bad if point == "id" else line):
                self.assert_fails(server, "upload", "local", expect=BROKEN)


class Connections(ClientCase):
    def test_an_unreachable_server_is_reported(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = "127.0.0.1:%d" % listener.getsockname()[1]
        self.write("local", HELLO)
        for arguments in (("list",), ("upload", "local"), ("download", HELLO_ID),
                          ("simulate", "local")):
            self.assert_fails(address, *arguments, expect=BROKEN)
        self.assertNotEqual(self.output, "")

    def test_a_server_that_speaks_another_protocol_is_an_error(self):
        self.write("local", HELLO)
        for greeting in (b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n",
                         b"\x15\x03\x01\0\x02\x02\x0a", b"SSH-2.0-x\r\n", b"\0" * 100000):
            for arguments in (("list",), ("upload", "local"), ("download", HELLO_ID)):
                with self.subTest(greeting=greeting[:20], arguments=arguments):
                    with socket.create_server(("127.0.0.1", 0)) as listener:
                        address = "127.0.0.1:%d" % listener.getsockname()[1]
                        with self.start(address, *arguments, stdin=subprocess.DEVNULL) as process:
                            listener.settimeout(15)
                            sock, _ = listener.accept()
                            sock.settimeout(15)
                            with sock:
                                sock.recv(1)
                                try:
                                    sock.sendall(greeting)
                                    sock.shutdown(socket.SHUT_WR)
                                except OSError:
                                    pass  # the client has closed already
                                process.communicate(timeout=60)
                        self.assertEqual(process.returncode, BROKEN)

    def test_wrong_arguments_are_usage_errors(self):
        self.write("a", HELLO)
        self.write("b", HELLO)
        with self.serve() as server:
            for arguments in ((), ("nonsense",), ("--nonsense",), ("upload",), ("download",),
                              ("list", "--nonsense"), ("upload", "a", "b", "--name", "one")):
                with self.subTest(arguments=arguments):
                    self.assert_fails(server, *arguments, expect=USAGE)
            self.assertEqual(server.store.content(), {})

    def test_help_lists_the_commands_and_exit_codes(self):
        out = self.run_client("127.0.0.1:1", "--help").decode()
        for word in ("list", "upload", "download", "simulate", "130"):
            self.assertIn(word, out)

    def interrupt(self, server, *arguments):
        with self.start(server, *arguments, stdin=subprocess.DEVNULL) as process:
            try:
                self.assertTrue(server.stalled.wait(15))
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
            finally:
                if process.poll() is None:
                    process.kill()
        self.assertEqual(process.returncode, INTERRUPTED,
                         (out + err).decode("utf-8", "backslashreplace"))

    def test_an_interrupted_download_leaves_no_files(self):
        data = make_data(300000)
        for features in (False, True):
            for arguments in ((), ("-o", "chosen"), ("-o", "mine", "--force")):
                with self.subTest(features=features, arguments=arguments):
                    server = self.serve(features, Behaviour(stall_download_after=200000))
                    server.store.add("large", data)
                    self.write("mine", b"my own")
                    before = self.tree()
                    self.interrupt(server, "download", md5(data), *arguments)
                    self.assertEqual(self.tree(), before)

    def test_an_interrupted_upload_stores_nothing(self):
        for features in (False, True):
            with self.subTest(features=features):
                server = self.serve(features, Behaviour(stall_upload_after=200000))
                with open(os.path.join(self.folder, "large"), "wb") as file:
                    file.truncate(64 * 2**20)
                before = self.tree()
                self.interrupt(server, "upload", "large")
                server.release.set()
                server.wait()
                self.assertEqual(server.store.content(), {})
                self.assertEqual(self.tree(), before)


if __name__ == "__main__":
    peer.run_tests("filexfer-client")
