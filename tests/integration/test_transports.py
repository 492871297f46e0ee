#!/usr/bin/env python3
"""The programs over other transports: standard input and output, commands, TLS and ssh.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""
# ctest: COST 110

import fcntl
import hashlib
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import unittest

import peer
from peer import md5
from relays import Relay
from sshd import Sshd
from test_programs import (BROKEN, DONE, HELLO, HELLO_ID, INTERRUPTED, LOCAL_FILE, REFUSED, TIMEOUT,
                           USAGE, Case, make_data, wait_until)

UPLOAD = b"UPLOAD\nhello.txt;5;nowait\nhello"
UPLOADED = (b"Please send the file name and file size\nReady to receive the file\n%s\n"
            % HELLO_ID.encode())


class Stdio(Case):
    """filexfer-server --listen stdio."""

    def start(self, *arguments, store="memory", **keywords):
        keywords = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
                    **keywords}
        process = subprocess.Popen(
            [peer.program("filexfer-server"), "--listen", "stdio", "--store", store, *arguments],
            cwd=self.folder, preexec_fn=peer.restore_signals, **keywords)
        self.addCleanup(self.end_process, process)
        return process

    def finish(self, process, expect, data=None):
        """Returns stdout; stderr is in `self.stderr`."""
        out, err = process.communicate(data, timeout=TIMEOUT)
        self.stderr = (err or b"").decode()
        self.assertEqual(process.returncode, expect, self.stderr)
        return out

    def test_one_client_is_served_and_stdout_has_only_the_replies(self):
        out = self.finish(self.start(), DONE, UPLOAD + b"LIST_FILES\n")
        self.assertEqual(out, UPLOADED + b"%s;hello.txt;5\n\n" % HELLO_ID.encode())
        self.assertRegex(self.stderr, r' stdio UPLOAD "hello.txt" 5 bytes ')
        self.assertEqual(self.finish(self.start("--quiet"), DONE, UPLOAD), UPLOADED)
        self.assertEqual(self.stderr, "")

    def test_stdio_can_be_a_file_a_socket_or_small_pipes(self):
        data = make_data(1000000)
        dialogue = b"UPLOAD\nx;%d;nowait\n%sDOWNLOAD\n%s\n" % (len(data), data, md5(data).encode())
        self.write("dialogue", dialogue)
        with open(self.path("dialogue"), "rb") as stdin, open(self.path("replies"), "wb") as stdout:
            self.finish(self.start(stdin=stdin, stdout=stdout), DONE)
        replies = self.read("replies")
        self.assertTrue(replies.endswith(data))
        near, far = socket.socketpair()
        with near:
            with far:
                process = self.start(stdin=far, stdout=far)
            near.sendall(dialogue)
            near.shutdown(socket.SHUT_WR)
            self.assertEqual(near.makefile("rb").read(), replies)
        self.finish(process, DONE)
        process = self.start()
        for end in (process.stdin, process.stdout):
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
        self.assertEqual(self.finish(process, DONE, dialogue), replies)

    def test_a_closed_stdin_is_an_empty_session_and_a_closed_stdout_an_error(self):
        self.assertEqual(self.finish(self.start(stdin=subprocess.DEVNULL), DONE), b"")
        shell = ["/bin/sh", "-c", 'exec "$0" --listen stdio --store store <&-',
                 peer.program("filexfer-server")]
        result = subprocess.run(shell, cwd=self.folder, capture_output=True, timeout=TIMEOUT)
        self.assertEqual((result.returncode, result.stdout), (DONE, b""), result.stderr)
        shell[2] = shell[2].replace("<&-", ">&-")
        result = subprocess.run(shell, cwd=self.folder, capture_output=True, input=UPLOAD,
                                timeout=TIMEOUT)
        self.assertEqual(result.returncode, BROKEN, result.stderr)

    def test_a_broken_session_sets_the_exit_code(self):
        for data in (b"UPLOAD\na;5\nhe", b"GET / HTTP/1.1\n", b"x" * 5000):
            self.finish(self.start(), BROKEN, data)
            self.assertIn("stdio: ", self.stderr)
        process = self.start("--idle-timeout", "100ms")
        self.assertTrue(process.stdout.read().startswith(b"ERROR timeout"))
        self.finish(process, BROKEN)

    def test_a_store_that_cannot_be_opened_is_an_error(self):
        self.write("file", HELLO)
        self.assertEqual(self.finish(self.start(store="file"), LOCAL_FILE), b"")

    def test_stdio_cannot_be_combined_with_other_endpoints(self):
        for more in ("stdio", "127.0.0.1:0", "unix:x"):
            for listen in (("stdio", more), (more, "stdio")):
                words = [word for address in listen for word in ("--listen", address)]
                self.run_program("filexfer-server", *words, expect=USAGE)
                self.assertIn("stdio", self.stderr)

    def test_the_descriptors_keep_their_flags(self):
        for flags in (0, os.O_NONBLOCK):
            ends = [*os.pipe(), *os.pipe()]
            near_in, near_out = ends[1], ends[2]
            far = ends[0], ends[3]
            for end in far:
                fcntl.fcntl(end, fcntl.F_SETFL, fcntl.fcntl(end, fcntl.F_GETFL) | flags)
            before = [fcntl.fcntl(end, fcntl.F_GETFL) for end in far]
            process = self.start(stdin=far[0], stdout=far[1])
            os.write(near_in, b"LIST_FILES\n")
            self.assertTrue(os.read(near_out, 100))
            self.assertEqual([fcntl.fcntl(end, fcntl.F_GETFL) for end in far], before)
            os.close(near_in)
            self.finish(process, DONE)
            self.assertEqual([fcntl.fcntl(end, fcntl.F_GETFL) for end in far], before)
            for end in (near_out, *far):
                os.close(end)

    def test_the_end_of_the_output_is_visible_before_the_process_exits(self):
        # A client that breaks the protocol gets a reply and the end, and may close later.
        process = self.start()
        process.stdin.write(b"GET / HTTP/1.1\n")
        process.stdin.flush()
        self.assertTrue(process.stdout.read().startswith(b"ERROR bad-request"))
        self.assertIsNone(process.poll())
        self.finish(process, BROKEN)

    def test_a_signal_ends_an_idle_session_and_lets_a_transfer_finish(self):
        for name in (signal.SIGTERM, signal.SIGINT):
            process = self.start()
            process.stdin.write(UPLOAD)
            process.stdin.flush()
            self.assertEqual(process.stdout.read(len(UPLOADED)), UPLOADED)
            process.send_signal(name)
            self.assertTrue(process.stdout.readline().startswith(b"ERROR shutting-down"))
            self.finish(process, DONE)
        data = make_data(1000000)
        for grace, signals in (("1h", 1), ("200ms", 1), ("1h", 2)):
            process = self.start("--grace", grace, store="store")
            process.stdin.write(b"UPLOAD\nx;%d;nowait\n" % len(data) + data[:500000])
            process.stdin.flush()
            wait_until(lambda: self.incoming_size() > 0, "bytes at the server")
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
                self.assertIn(b"Z ", process.stderr.readline())
            if (grace, signals) == ("1h", 1):
                self.assertIn(md5(data).encode(), self.finish(process, DONE, data[500000:]))
            else:
                self.assertEqual(process.wait(TIMEOUT), DONE)  # although its input is still open
                self.assertNotIn(md5(data).encode(), self.finish(process, DONE))
            self.check_no_temporaries()

    def test_a_signal_while_the_client_disconnects_exits_0(self):
        for _ in range(5):
            process = self.start()
            process.stdin.write(UPLOAD)
            process.stdin.flush()
            self.assertEqual(process.stdout.read(len(UPLOADED)), UPLOADED)
            process.send_signal(signal.SIGSTOP)  # so that it sees both at once
            process.send_signal(signal.SIGTERM)
            process.stdin.close()
            process.send_signal(signal.SIGCONT)
            self.assertEqual(process.wait(TIMEOUT), DONE)


class Via(Case):
    """filexfer-client --via COMMAND."""

    def command(self, *arguments, store="store"):
        return " ".join([peer.program("filexfer-server"), "--listen", "stdio", "--store", store,
                         *arguments])

    def via(self, command, *arguments, **keywords):
        return self.run_program("filexfer-client", "--via", command, *arguments, **keywords)

    def start(self, command, *arguments, **keywords):
        process = subprocess.Popen(
            [peer.program("filexfer-client"), *self.retry_options, "--via", command, *arguments],
            cwd=self.folder, env=self.environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=peer.restore_signals, **keywords)
        self.addCleanup(self.end_process, process)
        return process

    def test_the_commands_work_through_via(self):
        data = make_data(3000001)
        self.write("large", data)
        self.write("small", HELLO)
        for digest, ids in (("md5", md5), ("sha256", lambda o: hashlib.sha256(o).hexdigest())):
            command = self.command("--digest", digest)
            self.assertEqual(self.via(command, "list"), b"")
            out = self.via(command, "upload", "large", "small").decode()
            self.assertEqual(out, "Success  %s  large\nSuccess  %s  small\n"
                             % (ids(data), ids(HELLO)))
            self.assertEqual(len(self.via(command, "list").splitlines()), 2)
            self.via(command, "download", "large", ids(HELLO), "-o", ".", "--force")
            self.assertEqual(self.read("large"), data)
            self.assertEqual(self.via(command, "download", "small", "-o", "-"), HELLO)
            self.assertEqual(self.via(command, "upload", "-", stdin=b"x").split()[1].decode(),
                             ids(b"x"))
            self.assertIn(b"22  client", self.via(command, "simulate", "large"))
        self.via(self.command(), "download", "none", expect=REFUSED)
        self.check_no_temporaries()

    def test_small_pipes_do_not_change_the_bytes(self):
        tiny = self.write("tiny.py", b"""
import fcntl, os, sys
for end in (0, 1):
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
os.execv(sys.argv[1], sys.argv[1:])
""")
        command = "%s %s %s" % (shlex.quote(sys.executable), shlex.quote(tiny), self.command())
        data = make_data(1000000)
        self.write("a", data)
        self.via(command, "upload", "a")
        self.assertEqual(self.via(command, "download", "a", "-o", "-"), data)
        # More pipes, which cut the bytes elsewhere.
        piped = "cat | %s | dd bs=1000 status=none" % self.command()
        self.assertEqual(self.via(piped, "download", "a", "-o", "-"), data)

    def test_a_command_that_ends_before_it_answers_is_reported_with_its_status(self):
        self.write("a", HELLO)
        for command, status in (("no-such-command-anywhere", "exit status 127"),
                                ("exit 3", "exit status 3"),
                                ("true", "exit status 0"), ("kill -9 $$", "signal 9"),
                                ("head -c 9 >&2; exit 4", "exit status 4"),
                                ("sleep 0.2; exit 255", "exit status 255")):
            for arguments in (("list",), ("upload", "a"), ("download", "a"), ("simulate", "a")):
                self.via(command, *arguments, expect=BROKEN)
                self.assertIn("the command ended (%s) before it answered" % status, self.stderr)
        self.via("read x; echo Welcome", "list", expect=BROKEN)
        self.assertIn('the command ended (exit status 0) after "Welcome"', self.stderr)

    def test_a_command_that_ends_during_a_transfer_leaves_no_file(self):
        self.write("large", make_data(3000000))
        self.via(self.command(), "upload", "large")
        half = self.command() + " | dd bs=1000 count=100 status=none; exit 7"
        self.via(half, "download", "large", "-o", "copy", expect=BROKEN)
        self.assertIn("the command ended (exit status 7); trying again is safe", self.stderr)
        self.assertFalse(os.path.exists(self.path("copy")))
        self.write("other", make_data(3000000, 1))
        self.via("dd bs=1000 count=100 status=none | " + self.command(), "upload", "other",
                 expect=BROKEN)
        self.assertEqual(len(self.via(self.command(), "list").splitlines()), 1)

    def test_the_client_waits_for_the_command_to_end(self):
        slow = self.command() + "; sleep 0.3; echo ended >ended"
        self.via(slow, "list")
        self.assertEqual(self.read("ended"), b"ended\n")
        os.remove(self.path("ended"))
        # A command that does not end gets SIGTERM after a while.
        stubborn = ("trap 'echo told >told; exit' TERM; %s; while :; do sleep 0.1; done"
                    % self.command())
        self.via(stubborn, "list")
        self.assertEqual(self.read("told"), b"told\n")

    def test_the_command_starts_with_default_signal_handling(self):
        # The client ignores SIGPIPE; a `yes` that inherited that would print an error.
        self.via("yes | head -n 1 >&2; " + self.command("--quiet"), "list")
        self.assertEqual(self.stderr, "y\n")
        # With SIGCHLD ignored, as by this parent, a child can't be waited for.
        shell = ["/bin/sh", "-c", 'trap "" CHLD; exec "$0" --via "exit 3" list',
                 peer.program("filexfer-client")]
        result = subprocess.run(shell, capture_output=True, timeout=TIMEOUT)
        self.assertIn(b"(exit status 3)", result.stderr)

    def test_a_broken_pipe_does_not_kill_the_client(self):
        self.write("large", bytes(3000000))
        deaf = 'read x; printf "version=1\\ndigest=md5\\n\\n"; exec <&-; sleep 0.5; exit 9'
        self.via(deaf, "upload", "large", expect=BROKEN)
        self.assertIn("exit status 9", self.stderr)

    def test_an_interruption_reaches_the_client_and_the_command(self):
        process = self.start("trap 'echo told >told' INT; %s; true" % self.command(), "upload", "-",
                             "--size", str(4 * 2**20), start_new_session=True)
        process.stdin.write(bytes(2 * 2**20))
        process.stdin.flush()
        wait_until(lambda: self.incoming_size() >= 2**20, "the upload")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        self.assertEqual(process.wait(TIMEOUT), INTERRUPTED)
        wait_until(lambda: os.path.exists(self.path("told")), "the command to be told")
        wait_until(lambda: not os.listdir(self.path("store", ".incoming")),
                   "the server to drop what was not finished")

    def test_via_and_server_exclude_each_other(self):
        for arguments in (("--via", "true", "--server", "127.0.0.1:1"),
                          ("--server", "127.0.0.1:1", "--via", "true"), ("--via", ""), ("--via",)):
            self.run_program("filexfer-client", *arguments, "list", expect=USAGE)

    def test_a_server_that_exits_between_files_is_started_again(self):
        self.write("a", HELLO)
        command = self.command("--idle-timeout", "200ms")
        process = self.start(command, "upload", "a", "-")
        err = b""
        while err.count(b"\n") < 2 and b"silent" not in err and b"timeout" not in err:
            err += process.stderr.readline()
        out, _ = process.communicate(b"more", timeout=TIMEOUT)
        self.assertEqual(process.returncode, DONE)
        self.assertEqual(out.count(b"Success"), 2)


class Environment(Case):
    """FILEXFER_SERVER."""

    def list(self, value, *arguments, **keywords):
        self.environment["FILEXFER_SERVER"] = value
        return self.run_program("filexfer-client", *arguments, "list", **keywords)

    def test_the_variable_gives_the_address_of_the_server(self):
        server = self.serve(listen=("127.0.0.1:0", "unix:socket"))
        self.write("a", HELLO)
        self.client(server, "upload", "a")
        for address in server.addresses:
            self.assertIn(HELLO_ID.encode(), self.list(address))

    def test_options_take_precedence_over_the_variable(self):
        first, other = self.serve(), self.serve()
        self.write("a", HELLO)
        self.client(first, "upload", "a")
        for value in (other.address, "nowhere"):
            self.assertIn(HELLO_ID.encode(), self.list(value, "--server", first.address))
            via = "%s --listen stdio --store memory" % peer.program("filexfer-server")
            self.assertEqual(self.list(value, "--via", via), b"")

    def test_an_invalid_address_in_the_variable_is_a_usage_error(self):
        for value in ("nowhere", "unix:", "127.0.0.1:x"):
            self.list(value, expect=USAGE)
            self.assertIn("FILEXFER_SERVER: " + value, self.stderr)
        self.assertIn(b"FILEXFER_SERVER", self.run_program("filexfer-client", "--help"))


WITHOUT_TLS = not shutil.which("openssl") or b"without TLS" in subprocess.run(
    [peer.program("filexfer-client") or "true", "--server", "tls:localhost:1", "list"],
    capture_output=True).stderr


def certificate(path, *alternatives):
    """Makes `path`.crt, signed by itself, and `path`.key."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec",
                    "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=" + os.path.basename(path),
                    "-addext", "subjectAltName=" + ",".join(alternatives), "-keyout", path + ".key",
                    "-out", path + ".crt"], check=True, capture_output=True)


@unittest.skipIf(WITHOUT_TLS, "the programs were built without TLS, or there is no openssl command")
class Tls(Case):
    """tls:HOST:PORT at both ends."""

    def serve_tls(self, *arguments, **keywords):
        if not os.path.exists(self.path("good.crt")):
            certificate(self.path("good"), "DNS:localhost", "IP:127.0.0.1")
        keywords = {"listen": ("tls:127.0.0.1:0",), **keywords}
        server = self.serve("--cert", "good.crt", "--key", "good.key", *arguments, **keywords)
        self.port = server.address.rsplit(":", 1)[1]
        return server

    def client(self, server, *arguments, trusted="good.crt", **keywords):
        return super().client(server, *(("--ca", trusted) if trusted else ()), *arguments,
                              **keywords)

    def raw(self):
        """A connection with Python's TLS."""
        context = ssl.create_default_context(cafile=self.path("good.crt"))
        plain = socket.create_connection(("127.0.0.1", int(self.port)), timeout=TIMEOUT)
        secured = context.wrap_socket(plain, server_hostname="localhost",
                                      suppress_ragged_eofs=False)
        self.addCleanup(secured.close)
        return secured

    def test_the_commands_work_over_tls(self):
        server = self.serve_tls(store="store", listen=("tls:127.0.0.1:0", "127.0.0.1:0"))
        self.assertRegex(server.address, r"^tls:127\.0\.0\.1:\d+$")
        data = make_data(3000001)
        self.write("large", data)
        self.write("small", HELLO)
        self.write("empty", b"")
        for address in (server.address, "tls:localhost:" + self.port):
            out = self.client(address, "upload", "large", "small", "empty").decode()
            self.assertEqual(out.count("Success"), 3)
            self.assertEqual(len(self.client(address, "list").splitlines()), 3)
            self.client(address, "download", "large", "small", "empty", "-o", ".", "--force")
            self.assertEqual((self.read("large"), self.read("small"), self.read("empty")),
                             (data, HELLO, b""))
            self.assertIn(b"22  client disconnects, and the server closes",
                          self.client(address, "simulate", "large"))
        super().client(server.addresses[1], "list")
        server.terminate()
        self.assertEqual(server.wait(), DONE)
        self.assertNotIn("failed", server.log())

    def test_an_untrusted_certificate_is_refused(self):
        server = self.serve_tls()
        certificate(self.path("other"), "DNS:localhost", "IP:127.0.0.1")
        for trusted, reason in ((None, "self"), ("other.crt", "self")):
            self.client(server, "list", trusted=trusted, expect=BROKEN)
            self.assertIn("its certificate was refused: " + reason, self.stderr)
        certificate(self.path("elsewhere"), "DNS:elsewhere.example", "IP:127.0.0.9")
        named = self.serve("--cert", "elsewhere.crt", "--key", "elsewhere.key",
                           listen=("tls:127.0.0.1:0",))
        for address, reason in ((named.address, "IP address mismatch"),
                                (named.address.replace("127.0.0.1", "localhost"),
                                 "hostname mismatch")):
            self.client(address, "list", trusted="elsewhere.crt", expect=BROKEN)
            self.assertIn(reason.lower(), self.stderr.lower())
        self.assertNotIn("LIST_FILES", server.log() + named.log())

    def test_a_host_that_no_certificate_can_name_is_refused(self):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            self.skipTest("no IPv6 here: %s" % error)
        self.serve_tls(listen=("tls:[::1]:0",))
        self.client("tls:[::1%%lo]:%s" % self.port, "list", expect=BROKEN)
        self.assertIn("no certificate can be for that host", self.stderr)

    def test_a_peer_without_tls_is_reported(self):
        secured, plain = self.serve_tls(), self.serve()
        for arguments in (("list",), ("upload", "good.crt"), ("download", "a")):
            self.client(secured.address[len("tls:"):], *arguments, expect=REFUSED)
            self.assertIn("tls:HOST:PORT", self.stderr)
            self.client("tls:" + plain.address, *arguments, expect=BROKEN)
            self.assertIn("without TLS", self.stderr)
        self.client(secured, "list")

    def test_an_unusable_certificate_or_key_is_an_error(self):
        self.serve_tls()
        certificate(self.path("other"), "DNS:localhost")
        self.write("no.pem", HELLO)
        listen = ("--listen", "tls:127.0.0.1:0", "--store", "memory")
        for cert, key, file in (("missing", "good.key", "missing"),
                                ("no.pem", "good.key", "no.pem"),
                                ("good.crt", "missing", "missing"),
                                ("good.crt", "other.key", "other.key")):
            self.run_program("filexfer-server", *listen, "--cert", cert, "--key", key,
                             expect=LOCAL_FILE)
            self.assertIn(file, self.stderr)
        for arguments in ((), ("--cert", "good.crt"), ("--key", "good.key")):
            self.run_program("filexfer-server", *listen, *arguments, expect=USAGE)
        for file in ("missing", "no.pem"):
            self.client("tls:127.0.0.1:" + self.port, "list", trusted=file, expect=LOCAL_FILE)
            self.assertIn(file, self.stderr)
        for address in ("tls:", "tls:localhost", "tls:localhost:x"):
            self.client(address, "list", expect=USAGE)

    def test_a_truncated_stream_is_not_an_orderly_end(self):
        server = self.serve_tls()
        orderly = self.raw()
        orderly.sendall(b"LIST_FILES\n")
        self.assertTrue(orderly.recv(100))
        orderly.unwrap().close()
        wait_until(lambda: "LIST_FILES" in server.log(), "the command")
        self.assertNotIn("truncated", server.log())
        cut = self.raw()
        cut.sendall(b"LIST_FILES\n")
        self.assertTrue(cut.recv(100))
        socket.socket(fileno=cut.detach()).close()
        wait_until(lambda: "stream truncated" in server.log(), "the cut in the log")
        # The server ends its stream in an orderly way.
        refused = self.raw()
        refused.sendall(b"GET / HTTP/1.1\n")
        self.assertTrue(refused.makefile("rb").read().startswith(b"ERROR bad-request"))

    def test_a_truncated_download_fails(self):
        server = self.serve_tls()
        self.write("large", make_data(3000000))
        self.client(server, "upload", "large")
        relay = Relay("127.0.0.1:" + self.port)
        self.addCleanup(relay.close)
        relay.cut_after = [1000000]
        self.client("tls:" + relay.address, "download", "large", "-o", "copy", expect=BROKEN)
        self.assertFalse(os.path.exists(self.path("copy")))

    def test_a_silent_handshake_or_session_times_out(self):
        self.serve_tls("--idle-timeout", "300ms")
        # Nothing, and the beginning of a handshake.
        for beginning in (b"", b"\x16\x03\x01\x02\x00\x01"):
            with socket.create_connection(("127.0.0.1", int(self.port)), timeout=TIMEOUT) as silent:
                silent.sendall(beginning)
                self.assertEqual(silent.recv(100), b"")
        self.assertTrue(self.raw().makefile("rb").read().startswith(b"ERROR timeout"))

    def test_the_connection_limit_and_signals_work_over_tls(self):
        server = self.serve_tls("--max-connections", "1", "--grace", "1h")
        idle = self.raw()
        idle.sendall(b"LIST_FILES\n")
        self.assertTrue(idle.recv(100))
        self.client(server, "list", expect=REFUSED)
        self.assertIn("busy", self.stderr)
        server.terminate()
        rest = idle.makefile("rb").read()
        self.assertIn(b"ERROR shutting-down", rest)
        self.assertEqual(server.wait(), DONE)


class Ssh(Case):
    def test_a_file_is_transferred_over_ssh(self):
        os.mkdir(self.path("sshd"))
        daemon = Sshd(self.path("sshd"))
        self.addCleanup(daemon.stop)
        command = daemon.command + "%s --listen stdio --store %s" % (
            peer.program("filexfer-server"), self.path("store"))
        data = make_data(3000000)
        self.write("a", data)
        self.run_program("filexfer-client", "--via", command, "upload", "a")
        self.assertEqual(self.run_program("filexfer-client", "--via", command, "download", "a",
                                          "-o", "-"), data)
        self.run_program("filexfer-client", "--via", daemon.command + "exit 5", "list",
                         expect=BROKEN)
        self.assertIn("exit status 5", self.stderr)


if __name__ == "__main__":
    peer.run_tests("filexfer-server", "filexfer-client")
