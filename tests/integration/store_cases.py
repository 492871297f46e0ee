"""The bases of the tests that speak to a filexfer-server as the client of peer.py does."""

import os
import shutil
import tempfile
import unittest

from contents import HELLO
from peer import Refused
from programs import ServerProcess

# Some with folders: not all can be files of one folder on a disk.
STORED_NAMES = (
    "a", "a b", " leading", "trailing ", "a;b", "a%b", "100%;", "%41", "\u00e9t\u00e9.txt",
    "e\u0301te\u0301.txt", "\u65e5\u672c\u8a9e.txt", "\U0001f600", "photos/2021/cat.jpg",
    "photos/2021/dog.jpg", "photos", "a\x01b", "tab\there", "line\nfeed", "carriage\r", "a\x7fb",
    "\x1f", "...", ".hidden", "..a", "a..", "..a/..b", "back\\slash", "..\\x", "C:\\x", "a:b",
    "CON", "-rf", "~", "*", "'\"", "A", "A/B", "a/b", "EOF", "ERROR", "ERROR io", "UPLOAD",
    "No files available at the moment", "x;5;id=00", "n" * 100)


class StoreCase(unittest.TestCase):
    """One server for all tests of a class, with a store below `folder`, and a client of it."""

    @classmethod
    def store_argument(cls, name):
        """For the server's --store. Tests that need an empty store give it a name of its own."""
        raise NotImplementedError

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="filexfer-")
        cls.server = None
        try:
            cls.server = cls.start()
        except BaseException:
            shutil.rmtree(cls.folder)
            raise

    @classmethod
    def tearDownClass(cls):
        try:
            cls.server.close()
        finally:
            shutil.rmtree(cls.folder)

    @classmethod
    def start(cls, *arguments, store="store"):
        return ServerProcess(*arguments, store=cls.store_argument(store))

    def setUp(self):
        self.client = self.connect()

    def connect(self, server=None, ask=True):
        client = (server or self.server).client()
        self.addCleanup(client.close)
        if ask:
            client.features()
        return client

    def start_fresh(self, *arguments):
        """Starts a separate server with an empty store."""
        server = self.start(*arguments, store=self.id())
        self.addCleanup(server.close)
        return server

    def store_hello(self):
        self.client.upload("hello.txt", HELLO)

    # Expectations

    def assert_refused(self, code, call, *arguments, **keywords):
        with self.assertRaises(Refused) as caught:
            call(*arguments, **keywords)
        self.assertEqual(caught.exception.code, code, caught.exception)
        return caught.exception

    def assert_synchronized(self, client):
        """Checks that the server takes the next line for a command."""
        client.list_files()

    def assert_closed(self, client):
        """Checks that the stream has ended."""
        client.expect_end()

    def pairs(self, client):
        return sorted((entry.name, entry.id, entry.size) for entry in client.list_files())

    def send_details(self, client, line):
        client.send_line(b"UPLOAD")
        client.words()
        client.send_line(line)

    def send_id_line(self, client, line):
        client.send_line(b"DOWNLOAD")
        client.words()
        client.send_line(line)


class MemoryStore(StoreCase):
    @classmethod
    def store_argument(cls, _):
        return "memory"


class DirectoryStore(StoreCase):
    @classmethod
    def store_argument(cls, name):
        return os.path.join(cls.folder, "made", name)
