#!/usr/bin/env python3
"""filexfer-server with connections that break, are many, or wait when it ends; what survives that.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import programs
from addresses import refuses
from contents import HELLO, HELLO_ID, MIB, make_data
from exit_codes import DONE
from peer import EndOfStream, Refused, md5
from store_cases import DirectoryStore, MemoryStore
from waiting import wait_until


class Connections:
    """Tests for every kind of store."""

    # Losses, many at once

    def test_a_connection_lost_during_the_bytes_stores_nothing(self):
        server = self.start_fresh()
        other = self.connect(server)
        data = make_data(150000, 11)
        for sent in (0, 1, 65536, len(data) - 1):
            for ending in ("end", "close", "reset"):
                with self.subTest(sent=sent, ending=ending):
                    client = self.connect(server)
                    self.send_details(client, b"lost;%d" % len(data))
                    client.read_ready(len(data), False)
                    client.send(data[:sent])
                    self.assertEqual(other.list_files(), [])
                    if ending == "end":
                        client.end_sending()
                        self.assert_closed(client)
                    elif ending == "close":
                        client.close()
                    else:
                        client.channel.reset()
                    self.assertEqual(other.list_files(), [])
        self.assert_refused("not-found", other.download, md5(data))
        self.assertEqual(other.upload("found", data, id=md5(data)).sent, len(data))
        self.assertEqual(self.pairs(other), [(b"found", md5(data), len(data))])

    def test_an_aborted_download_does_not_affect_other_clients(self):
        data = make_data(3 * MIB, 12)
        self.client.upload("left", data)
        for _ in range(5):
            client = self.connect()
            self.send_id_line(client, md5(data).encode())
            client.line()
            client.channel.reset()
        self.assertEqual(self.client.download(md5(data)).data, data)

    def test_twenty_concurrent_uploads_are_stored(self):
        server = self.start_fresh("--threads", "4")
        start = threading.Barrier(20, timeout=60)

        def transfer(number):
            # Some have the same bytes, pairs have the same name.
            data = make_data(100000 + (number % 15), number % 15)
            name = "many %d" % (number // 2)
            with server.client() as client:
                client.features()
                start.wait()
                uploaded = client.upload(name, data, id=md5(data) if number % 3 == 0 else None)
                self.assertEqual(uploaded.id, md5(data))
                self.assertIn((name.encode(), uploaded.id, len(data)), self.pairs(client))
                self.assertEqual(client.download(uploaded.id).data, data)
            return name.encode(), uploaded.id, len(data)

        with ThreadPoolExecutor(20) as pool:
            stored = list(pool.map(transfer, range(20)))
        self.assertEqual(self.pairs(self.connect(server)), sorted(set(stored)))

    def test_one_file_from_twenty_connections_at_once_is_listed_once(self):
        server = self.start_fresh("--threads", "4")
        data = make_data(300000, 21)
        start = threading.Barrier(20, timeout=60)

        def upload(_):
            with server.client() as client:
                start.wait()
                return client.upload("the same", data).id

        with ThreadPoolExecutor(20) as pool:
            self.assertEqual(set(pool.map(upload, range(20))), {md5(data)})
        self.assertEqual(self.pairs(self.connect(server)), [(b"the same", md5(data), len(data))])

    # Options of the server

    def test_a_file_over_max_size_is_refused(self):
        client = self.connect(self.start_fresh("--max-size", "1K"), ask=False)
        self.assertEqual(client.features().get(b"max-size"), b"1024")
        client.upload("fits", bytes(1024))
        for size in (1025, 2**40, 2**63 - 1):
            self.send_details(client, b"does not fit;%d" % size)
            refused = self.assert_refused("too-large", client.reply)
            self.assertRegex(refused.text, rb"\d", "the text names the limit")
            self.assert_synchronized(client)
        self.assertEqual([entry.name for entry in client.list_files()], [b"fits"])

    def test_a_read_only_server_refuses_uploads(self):
        server = self.start_fresh("--read-only")
        client = self.connect(server)
        self.send_details(client, b"a;5")
        self.assert_refused("read-only", client.reply)
        self.assert_refused("read-only", client.upload, "a", HELLO, id=HELLO_ID)
        self.assertEqual(client.list_files(), [])

    def test_a_connection_over_the_limit_is_refused_as_busy(self):
        server = self.start_fresh("--max-connections", "2")
        first, second = self.connect(server), self.connect(server)
        self.assert_synchronized(first)
        third = self.connect(server, ask=False)
        self.assert_refused("busy", third.reply)
        self.assert_closed(third)
        third.close()
        self.assert_synchronized(second)
        second.close()

        def free():
            with server.client() as client:
                try:
                    client.list_files()
                    return True
                except (Refused, EndOfStream, ConnectionError):
                    return False
        wait_until(free, "a connection is free again")

    def test_a_silent_connection_times_out(self):
        server = self.start_fresh("--idle-timeout", "300ms")
        idle, uploading, half = (self.connect(server, ask=False) for _ in range(3))
        self.send_details(uploading, b"silent;5")
        uploading.read_ready(5, False)
        uploading.send(b"hell")
        half.send(b"LIST_F")
        for client in (idle, uploading):
            self.assert_refused("timeout", client.reply)
            self.assert_closed(client)
        self.assertRegex(half.rest(), rb"\A(ERROR timeout[^\n]*\n)?\Z")
        self.assertEqual(self.connect(server).list_files(), [])

    # The end

    def test_sigterm_notifies_idle_clients_and_exits_0(self):
        server = self.start_fresh()
        client = self.connect(server)
        server.terminate()
        self.assert_refused("shutting-down", client.reply)
        self.assert_closed(client)
        client.close()
        self.assertEqual(server.wait(), DONE)

    def test_sigterm_lets_an_upload_finish(self):
        server = self.start_fresh()
        client = self.connect(server)
        self.send_details(client, b"last;5")
        client.read_ready(5, False)
        client.send(b"hel")
        server.terminate()
        wait_until(lambda: refuses(server.address), "the server accepts no more")
        client.send(b"lo")
        self.assertEqual(client.read_id(), HELLO_ID)
        client.close()
        self.assertEqual(server.wait(), DONE)

    def test_the_grace_period_ends_a_stalled_transfer(self):
        server = self.start_fresh("--grace", "200ms")
        client = self.connect(server)
        self.send_details(client, b"never;5")
        client.read_ready(5, False)
        server.terminate()
        self.assertEqual(server.wait(), DONE)

    def test_the_log_has_no_raw_control_bytes(self):
        server = self.start_fresh()
        client = self.connect(server)
        client.upload("\x1b[31mred\nFORGED a log line\r", HELLO)
        client.send(b"NO_SUCH\nDOWNLOAD\n" + HELLO_ID.encode() + b"\nGET /\x1b[32m\nFORGED\n")
        client.end_sending()
        client.rest()
        client.close()
        server.stop()
        log = server.log()
        self.assertIsNone(re.search("[\x00-\x08\x0b-\x1f\x7f]", log), log)
        self.assertIsNone(re.search("^FORGED", log, re.MULTILINE), log)
        self.assertIn(HELLO_ID, log)


class ConnectionsInMemory(Connections, MemoryStore):
    pass


class ConnectionsInFolder(Connections, DirectoryStore):
    def test_files_survive_a_restart(self):
        data = make_data(70000, 31)
        folder = "restarted"
        with self.start(store=folder) as server, server.client() as client:
            client.upload("a;b/c\n", data)
            client.upload("again", data)
            client.upload("empty", b"")
            before = self.pairs(client)
        with self.start(store=folder) as server, server.client() as client:
            self.assertEqual(self.pairs(client), before)
            self.assertEqual(client.download(md5(data)).data, data)

    def test_an_acknowledged_file_survives_a_kill(self):
        folder = "killed"
        data = make_data(70000, 32)
        server = self.start(store=folder)
        with server, server.client() as client, server.client() as half:
            client.upload("kept", data)
            self.send_details(half, b"half;100000")
            half.read_ready(100000, False)
            half.send(data)
            client.upload("kept as well", data)
            server.kill()
        with self.start(store=folder) as server, server.client() as client:
            self.assertEqual(self.pairs(client), [(b"kept", md5(data), len(data)),
                                                  (b"kept as well", md5(data), len(data))])
            self.assertEqual(client.download(md5(data)).data, data)

    def test_a_read_only_server_serves_stored_files(self):
        folder = "read only"
        with self.start(store=folder) as server, server.client() as client:
            client.upload("here", HELLO)
        with self.start("--read-only", store=folder) as server, server.client() as client:
            self.assertEqual(client.download(HELLO_ID).data, HELLO)
            self.assert_refused("read-only", client.upload, "more", b"more")
            self.assert_refused("read-only", client.upload, "here", HELLO)
            self.assertEqual(self.pairs(client), [(b"here", HELLO_ID, 5)])


if __name__ == "__main__":
    programs.run_tests("filexfer-server")
