#!/usr/bin/env python3
"""The arguments of the programs, and what the client takes from the environment.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import subprocess

import programs
from addresses import unused_address
from contents import HELLO, HELLO_ID
from exit_codes import BROKEN, LOCAL_FILE, USAGE
from program_case import Case
from waiting import TIMEOUT


class Usage(Case):
    def test_wrong_arguments_are_usage_errors(self):
        self.write("a", HELLO)
        wrong = {
            "filexfer-server": (
                ("extra",), ("--nonsense",), ("--listen",), ("--listen", "nowhere"),
                ("--listen", "127.0.0.1"), ("--listen", "127.0.0.1:"),
                ("--listen", "127.0.0.1:65536"), ("--listen", "::1:0"), ("--listen", ":0"),
                ("--listen", "unix:"), ("--max-size", "1X"), ("--max-size", "-1"),
                ("--max-size", ""), ("--max-size", "1.5K"), ("--max-size", "9999999999G"),
                ("--max-connections", "0"), ("--max-connections-per-address", "0"),
                ("--max-connection-rate", "0"), ("--max-connection-rate", "1.5"),
                ("--log", "xml"), ("--log", ""), ("--log-rate", "0"),
                ("--threads", "0"), ("--threads", "many"),
                ("--idle-timeout", "0"), ("--idle-timeout", "1 year"), ("--grace", "s"),
                ("--read-only=perhaps",), ("--quota", "much"), ("--max-files", "0"),
                ("--min-free", "101%"), ("--min-free", "x%"), ("--scrub", "0"),
                ("verify", "extra"), ("verify", "--threads", "0"), ("verify", "verify")),
            "filexfer-client": (
                (), ("nonsense",), ("--nonsense",), ("list", "--nonsense"), ("list", "a", "extra"),
                ("upload",), ("download",), ("verify",), ("simulate",), ("simulate", "a", "a"),
                ("--server", "nowhere", "list"), ("upload", "--parallel", "0", "a"),
                ("upload", "--parallel", "65", "a"), ("download", "--parallel", "x", "a"),
                ("list", "--parallel", "2"), ("upload", "a", "a", "--name", "one"),
                ("upload", "a", "--size", "5"), ("upload", "-", "--size", "x"),
                ("upload", "-", "--size", "5", "--skip-existing"),
                ("upload", "-", "a", "--size", "5"), ("download", "a", "b", "-o", "-"),
                ("list", "list", "list")),
            "filexfer-simulation": ((), ("a", "a"), ("a", "--transport", "pigeon"),
                                    ("a", "--nonsense")),
        }
        for program, all_arguments in wrong.items():
            for arguments in all_arguments:
                with self.subTest(program=program, arguments=arguments):
                    self.assertEqual(self.run_program(program, *arguments, expect=USAGE), b"")

    def test_help_and_version_are_printed(self):
        for program in ("filexfer-server", "filexfer-client", "filexfer-simulation"):
            self.assertIn(b"Exit codes", self.run_program(program, "--help"))
            self.assertRegex(self.run_program(program, "--version"), rb"filexfer \d+\.\d+\.\d+\n")
        for command in ("list", "upload", "download", "verify", "simulate"):
            text = self.run_program("filexfer-client", command, "--help")
            self.assertIn(b"130", text)
        self.assertIn(b"verified", self.run_program("filexfer-client", "download", "--help"))

    def test_an_unknown_or_missing_command_is_reported(self):
        self.run_program("filexfer-client", "nonsense", expect=USAGE)
        self.assertIn("nonsense", self.stderr)
        self.run_program("filexfer-client", expect=USAGE)
        self.assertIn("list, upload, download, verify, remove or simulate", self.stderr)

    def test_a_missing_temporary_folder_is_an_error(self):
        server = self.serve()
        self.write("a", HELLO)
        for folder in ("nowhere", "a"):
            # Another TMPDIR than the one that run_program checks.
            environment = ["env", "TMPDIR=" + self.path(folder)]
            for command in ((programs.path_of("filexfer-simulation"), "a"),
                            (programs.path_of("filexfer-client"), "--server", server.address,
                             "simulate", "a")):
                result = subprocess.run([*environment, *command], cwd=self.folder,
                                        capture_output=True, timeout=TIMEOUT)
                self.assertEqual(result.returncode, LOCAL_FILE, result)
                self.assertIn(b"TMPDIR", result.stderr)
                self.assertNotIn(b"terminate", result.stderr)

    def test_an_unreachable_server_is_reported_with_its_address(self):
        self.write("a", HELLO)
        for unreachable in (unused_address(), "unix:nobody", "unix:" + "x" * 200):
            for arguments in (("list",), ("upload", "a"), ("download", "a"), ("simulate", "a")):
                self.client(unreachable, *arguments, expect=BROKEN)
                self.assertIn(unreachable, self.stderr)


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
            via = "%s --listen stdio --store memory" % programs.path_of("filexfer-server")
            self.assertEqual(self.list(value, "--via", via), b"")

    def test_an_invalid_address_in_the_variable_is_a_usage_error(self):
        for value in ("nowhere", "unix:", "127.0.0.1:x"):
            self.list(value, expect=USAGE)
            self.assertIn("FILEXFER_SERVER: " + value, self.stderr)
        self.assertIn(b"FILEXFER_SERVER", self.run_program("filexfer-client", "--help"))


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client", "filexfer-simulation")
