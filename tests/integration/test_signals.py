#!/usr/bin/env python3
"""The programs when a signal interrupts or ends them, or a connection breaks.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import shutil
import signal
import subprocess

import programs
from addresses import connect, refuses
from contents import MIB, make_data
from exit_codes import BROKEN, DONE
from peer import md5
from program_case import Case, skip_with_tsan
from waiting import TIMEOUT, wait_until


class Signals(Case):
    def begin_upload(self, server, size):
        """Starts a client that has sent half of its file and waits for the rest of its input."""
        process = self.start_client(server, "upload", "-", "--size", str(size),
                                    stdin=subprocess.PIPE)
        process.stdin.write(bytes(size // 2))
        process.stdin.flush()
        wait_until(lambda: self.incoming_size() > 0, "bytes at the server")
        return process

    @staticmethod
    def write_rest(process, data):
        try:
            process.stdin.write(data)
            process.stdin.close()
        except BrokenPipeError:
            pass  # the client has exited already

    def test_sigterm_lets_a_transfer_finish(self):
        for name in (signal.SIGTERM, signal.SIGINT):
            server = self.serve(store="store")
            process = self.begin_upload(server, 4 * MIB)
            server.process.send_signal(name)
            wait_until(lambda: refuses(server.address), "the server to stop accepting")
            out, err = process.communicate(bytes(2 * MIB), timeout=TIMEOUT)
            self.assertEqual(process.returncode, DONE, err)
            self.assertIn(md5(bytes(4 * MIB)).encode(), out)
            self.assertEqual(server.wait(), DONE)
            self.check_no_temporaries()
            self.assertEqual(self.read("store/%s/stdin" % md5(bytes(4 * MIB))), bytes(4 * MIB))
            shutil.rmtree(self.path("store"))

    def test_the_grace_period_or_a_second_signal_aborts_a_transfer(self):
        for arguments, signals in ((("--grace", "300ms"), 1), (("--grace", "1h"), 2)):
            server = self.serve(*arguments, store="store")
            process = self.begin_upload(server, 4 * MIB)
            for _ in range(signals):
                server.terminate()
                wait_until(lambda: refuses(server.address), "the server to stop accepting")
            self.assertEqual(server.wait(), DONE)
            self.check_no_temporaries()
            self.write_rest(process, bytes(2 * MIB))
            self.assertEqual(process.wait(TIMEOUT), BROKEN)

    def test_an_idle_connection_does_not_delay_the_shutdown(self):
        server = self.serve("--grace", "1h")
        with connect(server.address, TIMEOUT) as idle:
            idle.sendall(b"LIST_FILES\n")
            stream = idle.makefile("rb")
            stream.readline(), stream.readline()
            server.terminate()
            self.assertTrue(stream.readline().startswith(b"ERROR shutting-down"))
        self.assertEqual(server.wait(), DONE)

    def test_a_restarted_server_removes_temporary_files(self):
        server = self.serve(store="store")
        process = self.begin_upload(server, 4 * MIB)
        server.kill()
        # Where files can be without a name, nothing is left: so there is one as by another system.
        self.write("store/.incoming/0123456789abcdef", bytes(MIB))
        self.write_rest(process, bytes(2 * MIB))
        self.assertEqual(process.wait(TIMEOUT), BROKEN)
        server = self.serve(store="store")
        self.check_no_temporaries()
        self.assertEqual(self.client(server, "list"), b"")

    def test_a_broken_download_leaves_at_most_a_part_file(self):
        server = self.start_peer(truncate_download=200000)
        id = server.store.add("a/b/large", make_data(300000)).decode()
        part = ".filexfer-%s.part" % id
        for arguments, left in ((("a/b/large",), ["a/b/" + part]), ((id,), []),
                                ((id, "-o", "x"), [part])):
            self.client(server, "download", *arguments, expect=BROKEN)
            self.assertEqual(self.files_below(), left)
            shutil.rmtree(self.folder)
            os.mkdir(self.folder)

    def test_an_interrupted_client_leaves_no_files(self):
        data = make_data(300000)
        for arguments in (("download", md5(data)), ("download", md5(data), "-o", "-"),
                          ("simulate", "/etc/passwd")):
            server = self.start_peer(
                stall_download_after=200000 if "simulate" not in arguments else 1)
            server.store.add("a/b/large", data)
            with self.subTest(arguments=arguments):
                self.interrupt(server, self.start_client(server, *arguments))
                self.assertEqual(os.listdir(self.folder), [])
        self.write("large", bytes(64 * MIB))
        server = self.start_peer(stall_upload_after=200000)
        self.interrupt(server, self.start_client(server, "upload", "large"))

    @skip_with_tsan
    def test_an_interruption_ends_the_wait_for_stdin(self):
        server = self.serve()
        for arguments in (("upload", "-"), ("upload", "-", "--size", "10"),
                          ("upload", "-", "--size", "10000000")):
            self.interrupt_reading(self.start_client(server, *arguments, stdin=subprocess.PIPE))
        self.assertEqual(self.client(server, "list"), b"")


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
