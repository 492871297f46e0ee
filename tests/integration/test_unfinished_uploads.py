#!/usr/bin/env python3
"""Uploads that were stopped, and what the next run of the same command resumes.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import signal
import stat
import tempfile
import time

import programs
from contents import MIB, make_data
from exit_codes import BROKEN, INTERRUPTED, REFUSED
from peer import md5
from program_case import Case
from relays import HoldingRelay
from waiting import TIMEOUT, wait_until

SIZE = 32 * MIB
SENT = 16 * MIB


class UnfinishedUploads(Case):
    def setUp(self):
        super().setUp()
        self.data = make_data(SIZE)
        self.write("large", self.data)
        self.server = self.serve(store="store")
        # One address for all runs, as the server's is part of what names an upload.
        self.relay = HoldingRelay(self.server.address)
        self.addCleanup(self.relay.close)

    def partial_size(self):
        folder = self.path("store", ".partial")
        try:
            return sum(os.stat(os.path.join(folder, name)).st_size for name in os.listdir(folder))
        except FileNotFoundError:
            return 0

    def markers(self, state=None):
        folder = os.path.join(state or self.state, "filexfer")
        try:
            return [name for name in os.listdir(folder) if name not in ("secret", "locks")]
        except FileNotFoundError:
            return []

    def stop_upload(self, *arguments, how=signal.SIGKILL, file="large"):
        """Ends an upload of which about half has arrived. Returns its standard error."""
        held = self.relay.hold("up", SENT)
        client = self.start_client(self.relay, "upload", file, *arguments)
        self.assertTrue(held.settled.wait(TIMEOUT))
        wait_until(lambda: self.partial_size() >= SENT - MIB, "the server to store the bytes")
        client.send_signal(how)
        _, err = client.communicate(timeout=TIMEOUT)
        held.cut()
        return err.decode()

    def bytes_of_upload(self, *arguments, file="large"):
        """Uploads the file. Returns how many bytes the client has sent."""
        self.relay.bytes_by_direction["up"] = 0
        self.client(self.relay, "upload", file, *arguments)
        return self.relay.bytes_by_direction["up"]

    def check_resumes(self, *arguments):
        self.assertLess(self.bytes_of_upload(*arguments), SIZE - SENT + 2 * MIB)
        self.assertEqual(self.read("store/%s/large" % md5(self.data)), self.data)
        self.assertEqual(self.markers(), [])
        self.assertEqual(self.partial_size(), 0)

    def test_a_killed_upload_is_resumed_by_the_same_command(self):
        self.stop_upload()
        self.assertEqual(len(self.markers()), 1)
        self.check_resumes()

    def test_an_upload_in_a_folder_is_resumed_and_the_others_are_not_hashed_first(self):
        os.mkdir(self.path("files"))
        os.rename(self.path("large"), self.path("files", "large"))
        self.write("files/small", b"abc")
        self.stop_upload(file="files")
        self.assertLess(self.bytes_of_upload(file="files"), SIZE - SENT + 2 * MIB)
        self.assertEqual(self.client(self.server, "list").count(b"\n"), 2)
        self.assertEqual(self.markers(), [])

    def test_an_upload_of_what_is_missing_is_resumed(self):
        self.stop_upload("--skip-existing")
        self.check_resumes("--skip-existing")

    def test_an_interrupted_upload_is_resumed_more_than_once(self):
        for how in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            err = self.stop_upload(how=how)
            self.assertEqual(err, "large: interrupted; the server may keep the bytes that arrived "
                             "for its --partial-age; the same command goes on\n")
            self.assertEqual(len(self.markers()), 1)
            self.check_resumes()
            os.unlink(self.path("store", md5(self.data), "large"))
            os.rmdir(self.path("store", md5(self.data)))

    def test_a_lost_connection_is_resumed_by_the_next_run(self):
        held = self.relay.hold("up", SENT)
        client = self.start_client(self.relay, "upload", "large")
        self.assertTrue(held.settled.wait(TIMEOUT))
        wait_until(lambda: self.partial_size() >= SENT - MIB, "the server to store the bytes")
        held.cut()
        client.communicate(timeout=TIMEOUT)
        self.assertEqual(client.returncode, BROKEN)
        self.check_resumes()

    def test_a_changed_file_is_sent_from_the_beginning(self):
        self.stop_upload()
        self.data = make_data(SIZE)[::-1]
        self.write("large", self.data)
        sent = self.bytes_of_upload()
        self.assertGreater(sent, SIZE)
        self.assertLess(sent, SIZE + MIB)  # with the old token the rest would be sent before
        self.assertEqual(self.read("store/%s/large" % md5(self.data)), self.data)

    def test_another_name_or_another_users_state_does_not_resume(self):
        self.stop_upload()
        self.assertGreater(self.bytes_of_upload("--name", "other"), SIZE)
        os.unlink(self.path("store", md5(self.data), "other"))
        os.rmdir(self.path("store", md5(self.data)))
        with tempfile.TemporaryDirectory() as other:
            self.environment["XDG_STATE_HOME"] = other
            self.assertGreater(self.bytes_of_upload(), SIZE)

    def test_without_partial_nothing_is_noted_or_resumed(self):
        err = self.stop_upload("--no-partial", how=signal.SIGINT)
        self.assertEqual(err, "large: interrupted before the server confirmed it; the server may "
                         "keep the bytes that arrived for its --partial-age\n")
        self.assertEqual(os.listdir(self.state), [])
        self.assertGreater(self.bytes_of_upload(), SIZE)

    def test_the_state_is_private_and_small_files_leave_none(self):
        self.write("small", bytes(MIB - 1))
        self.bytes_of_upload(file="small")
        self.assertEqual(os.listdir(self.state), [])
        self.bytes_of_upload()
        folder = os.path.join(self.state, "filexfer")
        self.assertEqual(stat.S_IMODE(os.stat(folder).st_mode), 0o700)
        secret = os.stat(os.path.join(folder, "secret"))
        self.assertEqual((stat.S_IMODE(secret.st_mode), secret.st_size), (0o600, 32))
        self.assertEqual(self.markers(), [])

    def test_a_refused_upload_leaves_no_marker(self):
        server = self.serve("--max-size", "20M", store="other")
        self.client(server, "upload", "large", expect=REFUSED)
        self.assertEqual(self.markers(), [])

    def test_a_state_that_others_can_read_or_that_is_not_there_is_not_used(self):
        folder = os.path.join(self.state, "filexfer")

        def spoil_folder():
            os.chmod(folder, 0o750)

        def spoil_secret():
            os.chmod(os.path.join(folder, "secret"), 0o640)

        def spoil_size():
            os.truncate(os.path.join(folder, "secret"), 31)

        def be_no_folder():
            self.environment["XDG_STATE_HOME"] = "/dev/null"

        def have_no_home():
            for name in ("XDG_STATE_HOME", "HOME"):
                self.environment.pop(name)

        environment, state = dict(self.environment), self.state
        for spoil in (spoil_folder, spoil_secret, spoil_size, be_no_folder, have_no_home):
            with self.subTest(spoil.__name__):
                self.state = tempfile.mkdtemp(prefix="state", dir=state)
                self.environment = dict(environment, XDG_STATE_HOME=self.state)
                folder = os.path.join(self.state, "filexfer")
                self.stop_upload()
                self.assertEqual(len(self.markers()), 1)
                spoil()
                self.assertGreater(self.bytes_of_upload(), SIZE)
                self.assertEqual(self.stderr, "")
                self.assertEqual(len(self.markers()), 1)
                os.unlink(self.path("store", md5(self.data), "large"))
                os.rmdir(self.path("store", md5(self.data)))

    def test_two_runs_at_a_time_do_not_take_each_others_upload_over(self):
        first = self.relay.hold("up", SENT)
        client = self.start_client(self.relay, "upload", "large")
        self.assertTrue(first.settled.wait(TIMEOUT))
        self.assertGreater(self.bytes_of_upload(), SIZE)
        first.release()
        out, err = client.communicate(timeout=TIMEOUT)
        self.assertEqual((client.returncode, err), (0, b""))
        self.assertIn(md5(self.data).encode(), out)
        self.assertEqual(self.markers(), [])

    def test_old_markers_are_removed(self):
        self.stop_upload()
        marker = os.path.join(self.state, "filexfer", self.markers()[0])
        long_ago = time.time() - 49 * 3600
        os.utime(marker, (long_ago, long_ago))
        self.write("small", b"abc")
        self.bytes_of_upload(file="small")
        self.assertEqual(self.markers(), [])


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
