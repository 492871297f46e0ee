#!/usr/bin/env python3
"""--limit-rate of filexfer-client. How it is kept to is tested in unit/rate_limit.cpp.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import programs
from contents import MIB, make_data
from exit_codes import USAGE
from trees import Trees


class RateLimit(Trees):
    def test_files_are_transferred_within_a_limited_rate(self):
        data = make_data(MIB)
        self.write("large", data)
        self.write_many(20)
        server = self.serve()
        for options in ((), ("--parallel", "3")):
            self.client(server, "--limit-rate", "8M", "upload", *options, "large", "tree")
            self.client(server, "--limit-rate", "8388608", "download", "--all", *options, "--force",
                        "-o", "copy")
            self.assertEqual(self.read("copy/large"), data)
            self.assertEqual(len(self.files_below("copy")), 21)

    def test_a_rate_that_servers_do_not_wait_for_is_a_usage_error(self):
        for rate in ("0", "1023", "fast", "1Mbit"):
            self.client("127.0.0.1:1", "--limit-rate", rate, "list", expect=USAGE)
            self.assertIn("--limit-rate", self.stderr)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
