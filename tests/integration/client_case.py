"""The base of the tests that run filexfer-client against the server of peer.py."""

import os

from contents import HELLO
from peer import Behaviour
from program_case import Case


class ClientCase(Case):
    """The client runs in a folder inside of another, so that an escape from it is noticed."""

    def setUp(self):
        super().setUp()
        self.outside = self.folder
        self.folder = self.path("folder")
        os.mkdir(self.folder)

    def misbehaving(self, **faults):
        """A server without FEATURES, then one with them; each stores hello.txt."""
        for features in (False, True):
            server = self.start_peer(features, **faults)
            server.store.add("hello.txt", HELLO)
            yield server
            server.stop()

    def run_client(self, server, *arguments, **keywords):
        """Returns stdout; `self.output` has stderr, too."""
        try:
            out = self.client(server, *arguments, **keywords)
        except AssertionError as error:
            raise AssertionError("%s\n%s" % (error, self.describe(server))) from None
        self.output = out.decode("utf-8", "backslashreplace") + self.stderr
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

    def assert_fails(self, server, *arguments, expect, **keywords):
        """Checks that the client fails with that code, and that no file changes."""
        before = self.tree()
        out = self.run_client(server, *arguments, expect=expect, **keywords)
        self.assertEqual(self.tree(), before, self.describe(server))
        self.assertNotIn("Success", self.output)
        return out

    def assert_no_violations(self, server):
        server.wait()
        self.assertEqual(server.violations, [], self.describe(server))
