"""What the harnesses sweep over: one table of scenarios, SCENARIOS, at the end of this file.

A scenario has a *place*: a folder that holds a store, or the folder to download to. `prepare` makes
what is there before. `act` is what a harness disturbs: the dialogue with a server, the start of a
server, a run of filexfer-client. What was acknowledged to the client is noted as it arrives.

Afterwards `check` finds what is wrong in the place, whatever the harness has done:

  - every file under an id has that digest, on the disk and in the list of the next server;
  - what was acknowledged is there; so is what was there before; nothing else is;
  - once the next server has started, or the client has run again, nothing temporary is left;
  - the same act succeeds then.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import stat
import subprocess
import threading
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

import programs
from contents import make_data
from peer import Client, EndOfStream, Refused, Violation, escape, md5
from places import temporary_files
from programs import HOLD, ServerProcess
from waiting import TIMEOUT, wait_until

TOKEN = "token-of-this-upload"

# Two files with one MD5, 79054025255fb1a26e4bc422aef54eb4.
COLLIDING = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70")
OTHER_COLLIDING = bytes(
    byte ^ (0x80 if i in (19, 45, 59, 83, 109, 123) else 0) for i, byte in enumerate(COLLIDING))


class File(NamedTuple):
    name: str
    data: bytes
    mtime: Optional[int] = None
    executable: Optional[bool] = None

    @property
    def id(self) -> str:
        return md5(self.data)

    @property
    def pair(self) -> Tuple[str, str]:
        return self.id, self.name

    def details(self, parameters: str = "") -> bytes:
        line = b"%s;%d" % (escape(self.name), len(self.data))
        if self.mtime is not None:
            line += b";mtime=%d" % self.mtime
        if self.executable is not None:
            line += b";exec=%d" % self.executable
        return line + parameters.encode()


class Launch(NamedTuple):
    """How the process under test is started."""

    program: str = "filexfer-server"
    arguments: Tuple[str, ...] = ()
    prepare: Optional[Callable[[], object]] = None  # is called in the new process


SOUND = Launch()


class Talk:
    """The dialogues of one act, and what was acknowledged in them."""

    def __init__(self, connect: Callable[[], Client]):
        self.connect = connect
        self.unanswered: List[Tuple[Client, File]] = []
        self.acknowledged: Set[Tuple[str, str]] = set()
        self.removed: Set[Tuple[str, str]] = set()

    def snapshot(self) -> Talk:
        """What is acknowledged now."""
        now = Talk(self.connect)
        now.acknowledged, now.removed = set(self.acknowledged), set(self.removed)
        return now

    def begin(self, client: Client, file: File, parameters: str = "") -> int:
        """Sends the lines of an upload; returns the offset of the ready line."""
        client.send_line("UPLOAD")
        client.words()
        self.unanswered.append((client, file))
        client.send_line(file.details(parameters))
        return int(client.reply().partition(b";offset=")[2] or 0)

    def finish(self, client: Client, file: File) -> None:
        id = client.read_id()
        if id != file.id:
            raise Violation("%s was answered for %s" % (id, file.id))
        self.acknowledge(client, file)

    def acknowledge(self, client: Client, file: File) -> None:
        self.unanswered.remove((client, file))
        self.acknowledged.add(file.pair)

    def upload(self, client: Client, file: File, parameters: str = "") -> int:
        """Returns the offset at which it began to send."""
        offset = self.begin(client, file, parameters)
        client.send(file.data[offset:])
        self.finish(client, file)
        return offset

    def remove(self, client: Client, file: File) -> None:
        client.send_line("REMOVE")
        client.words()
        client.send_line(b"%s;%s" % (file.id.encode(), escape(file.name)))
        try:
            client.reply()
        except Refused as refused:
            if refused.code != "not-found":
                raise
        self.removed.add(file.pair)


class Scenario:
    """A dialogue with a server that runs already."""

    name = ""
    side = "server"
    options: Tuple[str, ...] = ()  # of the server
    keeps_partial = False  # whether an unfinished upload stays
    commits = True  # whether names are added, rather than found
    may_lack_neighbours = False  # whether what others wrote may be empty

    def __init__(self, size: int):
        self.size = size
        self.main = File("folder/file.bin", make_data(size))
        self.before: List[File] = []
        self.after: List[File] = [self.main]

    def store(self, place: str) -> str:
        return os.path.join(place, "store")

    def prepare(self, place: str) -> None:
        with ServerProcess(store=self.store(place)) as server, server.client() as client:
            for file in self.before:
                Talk(server.client).upload(client, file)

    def act(self, talk: Talk) -> None:
        with talk.connect() as client:
            talk.upload(client, self.main)

    @contextlib.contextmanager
    def opened(self, folder: str) -> Iterator[Scenario]:
        """Prepares the place, of which copy_to() makes copies."""
        self.prepared = os.path.join(folder, "prepared")
        os.mkdir(self.prepared)
        self.prepare(self.prepared)
        yield self

    def copy_to(self, place: str) -> None:
        """With links and times as they are."""
        subprocess.run(["cp", "-a", self.prepared, place], check=True)

    def begin(self, place: str, launch: Launch = SOUND) -> Run:
        return ServerRun(self, place, launch)

    # Checks

    def wrong_files(self, place: str) -> List[str]:
        """Files under an id that have another digest."""
        store = self.store(place)
        wrong = []
        for id in os.listdir(store) if os.path.isdir(store) else []:
            if id.startswith("."):
                continue
            for folder, _, names in os.walk(os.path.join(store, id)):
                for name in names:
                    with open(os.path.join(folder, name), "rb") as file:
                        digest = md5(file.read())
                    if digest != id:
                        wrong.append("%s/%s has the digest %s" % (id, name, digest))
        return wrong

    def wrong_list(self, server: ServerProcess, talk: Talk, complete: bool) -> List[str]:
        """What is wrong in the list of a server after `talk`, which was `complete` or not."""
        before = {file.pair: file for file in self.before}
        after = {file.pair: file for file in self.after}
        must = set(before) & set(after) | talk.acknowledged
        may = set(before) | set(after)
        if complete:
            must, may = set(after), set(after)
        may -= talk.removed
        wrong = []
        with server.client() as client:
            listed = {(entry.id, entry.name.decode()) for entry in client.list_files()}
            for id, name in sorted(listed):
                if (id, name) not in may:
                    wrong.append("%s is listed under %s, and should not be" % (name, id))
                    continue
                try:
                    data = client.download(id).data
                except Exception as error:
                    wrong.append("%s is listed, and downloading it failed: %r" % (id, error))
                    break
                if data != {**before, **after}[id, name].data:
                    wrong.append("%s has other bytes" % id)
        wrong += ["%s of %s was stored or acknowledged, and is not listed" % (name, id)
                  for id, name in sorted(must - listed)]
        return wrong

    def wrong_attributes(self, place: str, talk: Talk) -> List[str]:
        wrong = []
        for file in self.after:
            if file.pair not in talk.acknowledged:
                continue
            try:
                status = os.stat(os.path.join(self.store(place), file.id, file.name))
            except FileNotFoundError:
                continue  # wrong_list() has it
            if file.mtime is not None and status.st_mtime != file.mtime:
                wrong.append("%s has the time %s" % (file.name, status.st_mtime))
            if bool(file.executable) != bool(status.st_mode & stat.S_IXUSR):
                wrong.append("%s has the mode %o" % (file.name, status.st_mode))
        return wrong

    def leftovers(self, place: str) -> List[str]:
        """Temporary files in a store, and damaged ones that a server has set aside."""
        found = []
        for hidden in (".incoming", ".damaged", *(() if self.keeps_partial else (".partial",))):
            folder = os.path.join(self.store(place), hidden)
            if os.path.isdir(folder):
                found += [hidden + "/" + name for name in os.listdir(folder)]
        return found

    def again(self, server: ServerProcess) -> Talk:
        """The same act, which must succeed."""
        talk = Talk(server.client)
        self.act(talk)
        return talk

    def check(self, place: str, talk: Talk, launch: Launch = SOUND) -> List[str]:
        """What is wrong in a place that an act has left, without its server."""
        wrong = self.wrong_files(place) + self.wrong_attributes(place, talk)
        with ServerProcess(*self.options, *launch.arguments, store=self.store(place),
                           name=launch.program) as server:
            left = [path for path in self.leftovers(place) if not path.startswith(".partial")]
            if left:
                wrong.append("%s is left after the next start" % ", ".join(left))
            wrong += self.wrong_list(server, talk, False)
            wrong += self.check_again(place, server)
        return wrong

    def check_again(self, place: str, server: ServerProcess) -> List[str]:
        try:
            talk = self.again(server)
        except (Refused, EndOfStream, OSError, Violation) as error:
            return ["the same does not succeed again: %r" % error]
        wrong = self.wrong_list(server, talk, True) + self.wrong_attributes(place, talk)
        left = self.leftovers(place)
        if left:
            wrong.append("%s is left after the same has succeeded" % ", ".join(left))
        return wrong


class Run:
    """One act, whose process a harness disturbs. One that is held gets to run in `act`."""

    held: bool
    threads: int  # of the process, once it is ready
    process: subprocess.Popen
    talk: Talk
    finished = False
    error: Optional[BaseException] = None  # why it did not finish

    def act(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def resume(self) -> None:
        """Lets a process run that is held."""
        wait_until_held(self.process)
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ServerRun(Run):
    def __init__(self, scenario: Scenario, place: str, launch: Launch):
        self.scenario = scenario
        self.held = scenario.side == "start"
        # One thread for each purpose, so that their calls are the same in every run.
        self.server = ServerProcess(
            "--threads", "1", "--disk-threads", "1", *scenario.options, *launch.arguments, store=scenario.store(place),
            name=launch.program, prepare=launch.prepare, held=self.held)
        self.threads = 3 if launch.program == SOUND.program else 2  # the broken one has no more
        self.process = self.server.process
        self.talk = Talk(self.server.client)

    def act(self) -> None:
        try:
            if self.held:
                self.resume()
                self.server.read_addresses()
            self.scenario.act(self.talk)
            self.finished = True
        except (EndOfStream, Refused, Violation, OSError) as error:
            self.error = error
        except AssertionError as error:  # no address
            if not self.held:
                raise
            self.error = error

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.server.log_file.close()


# Dialogues


class NewUpload(Scenario):
    name = "new"


class ExecutableUpload(Scenario):
    name = "executable"

    def __init__(self, size: int):
        super().__init__(size)
        self.main = self.main._replace(executable=True)
        self.after = [self.main]


class ResumedUpload(Scenario):
    """Half of the bytes came over an earlier connection."""

    name = "resumed"

    def prepare(self, place: str) -> None:
        with ServerProcess(store=self.store(place)) as server, server.client() as client:
            Talk(server.client).begin(client, self.main, ";resume=" + TOKEN)
            client.send(self.main.data[:self.size // 2])
            client.end_sending()
            client.expect_end()

    def act(self, talk: Talk) -> None:
        with talk.connect() as client:
            talk.upload(client, self.main, ";id=%s;resume=%s" % (self.main.id, TOKEN))


class TakenOverUpload(Scenario):
    """A second connection goes on with what the first one sends."""

    name = "taken-over"
    keeps_partial = True  # of the first one, if the file is there already

    def act(self, talk: Talk) -> None:
        with talk.connect() as older, talk.connect() as newer:
            talk.begin(older, self.main, ";resume=" + TOKEN)
            talk.unanswered.clear()
            older.send(self.main.data[:self.size // 2])
            talk.upload(newer, self.main, ";id=%s;resume=%s" % (self.main.id, TOKEN))


class SecondName(Scenario):
    name = "second-name"

    def __init__(self, size: int):
        super().__init__(size)
        self.before = [File("another name", self.main.data)]
        self.after = [*self.before, self.main]


class NameById(SecondName):
    """Nothing is sent."""

    name = "by-id"

    def act(self, talk: Talk) -> None:
        with talk.connect() as client:
            talk.upload(client, self.main, ";id=" + self.main.id)


class SameAgain(Scenario):
    name = "same-again"
    commits = False

    def __init__(self, size: int):
        super().__init__(size)
        self.before = [self.main]


class SameById(SameAgain):
    """Nothing is sent."""

    name = "same-by-id"
    act = NameById.act


class AnotherTime(Scenario):
    name = "another-time"
    commits = False

    def __init__(self, size: int):
        super().__init__(size)
        self.before = [self.main._replace(mtime=1_000_000_000)]
        self.main = self.main._replace(mtime=1_100_000_000)
        self.after = [self.main]


class AnotherTimeOfOne(AnotherTime):
    """Of one name, whose file another one shares: it gets a file of its own."""

    name = "another-time-of-one"
    commits = True

    def __init__(self, size: int):
        super().__init__(size)
        self.before.append(self.before[0]._replace(name="another name"))
        self.after.append(self.before[1])


class Removal(Scenario):
    name = "removed"
    options = ("--allow-remove",)

    def __init__(self, size: int):
        super().__init__(size)
        self.before = [self.main, File("folder/other.bin", make_data(size, 1))]
        self.after = self.before[1:]

    def act(self, talk: Talk) -> None:
        with talk.connect() as client:
            talk.remove(client, self.main)


class RemovalOfOneName(Removal):
    name = "name-removed"

    def __init__(self, size: int):
        super().__init__(size)
        self.before = [self.main, File("folder/other.bin", self.main.data)]
        self.after = self.before[1:]


class CollidingUpload(Scenario):
    name = "colliding"

    def __init__(self, size: int):
        super().__init__(size)
        self.before = [File("first", COLLIDING)]
        self.main = File("second", OTHER_COLLIDING)
        self.after = self.before

    def act(self, talk: Talk) -> None:
        with talk.connect() as client:
            try:
                talk.upload(client, self.main)
            except Refused as refused:
                if refused.code != "collision":
                    raise


class Batch(Scenario):
    """Uploads that follow one another without waiting, as many as fit in the bytes of one."""

    name = "batch"

    def __init__(self, size: int):
        super().__init__(size)
        self.after = [File("folder/%d" % i, make_data(max(1, size // 5), i)) for i in range(5)]

    def act(self, talk: Talk) -> None:
        with talk.connect() as client:
            talk.unanswered.extend((client, file) for file in self.after)
            client.send(b"".join(b"UPLOAD\n" + file.details(";nowait") + b"\n" + file.data
                                 for file in self.after))
            for file in self.after:
                client.words()
                client.reply()
                talk.finish(client, file)


class TwoAtOnce(Scenario):
    """Two uploads of the same bytes, under two names."""

    name = "two-at-once"

    def __init__(self, size: int):
        super().__init__(size)
        self.after = [self.main, File("another name", self.main.data)]

    def act(self, talk: Talk) -> None:
        with talk.connect() as one, talk.connect() as other:
            clients = [(one, self.after[0]), (other, self.after[1])]
            for client, file in clients:
                talk.begin(client, file)
            for part in (slice(None, self.size // 2), slice(self.size // 2, None)):
                for client, file in clients:
                    client.send(file.data[part])
            for client, file in clients:
                talk.finish(client, file)


# Starts of a server


class FirstStart(Scenario):
    """In a folder that is to be made, and the first upload."""

    name = "first-start"
    side = "start"

    def store(self, place: str) -> str:
        return os.path.join(place, "made", "store")

    def prepare(self, place: str) -> None:
        pass


class CleanUp(Scenario):
    """After a kill that has left an upload in .incoming, and one that can be resumed."""

    name = "clean-up"
    side = "start"
    keeps_partial = True

    def __init__(self, size: int):
        super().__init__(size)
        self.before = [self.main]

    def prepare(self, place: str) -> None:
        super().prepare(place)
        store = self.store(place)
        file = File("unfinished", make_data(2 * self.size + 1, 1))
        with ServerProcess(store=store) as server:
            with server.client() as client:
                Talk(server.client).begin(client, file, ";resume=" + TOKEN)
                client.send(file.data[:self.size])
                folder = os.path.join(store, ".partial")
                wait_until(lambda: os.listdir(folder), "the bytes in " + folder)
                server.kill()
        # Files have a name there only where the file system can't do without.
        with open(os.path.join(store, ".incoming", 16 * "a"), "wb") as left:
            left.write(file.data[:self.size])

    def check(self, place: str, talk: Talk, launch: Launch = SOUND) -> List[str]:
        wrong = super().check(place, talk, launch)
        if not os.listdir(os.path.join(self.store(place), ".partial")):
            wrong.append("the upload that can be resumed is gone")
        return wrong

    def act(self, talk: Talk) -> None:
        with talk.connect() as client:
            talk.acknowledged |= {(entry.id, entry.name.decode())
                                  for entry in client.list_files()}


class SecondServer(Scenario):
    """Beside one that serves the same store, and is in the middle of an upload, which goes on."""

    name = "second-server"
    side = "start"

    def begin(self, place: str, launch: Launch = SOUND) -> Run:
        return SecondServerRun(self, place, launch)


class SecondServerRun(ServerRun):
    def __init__(self, scenario: Scenario, place: str, launch: Launch):
        self.first = ServerProcess(store=scenario.store(place))
        self.client = self.first.client()
        talk = Talk(self.first.client)
        talk.begin(self.client, scenario.main)
        self.client.send(scenario.main.data[:scenario.size // 2])
        wait_until(lambda: temporary_files(scenario.store(place)), "the upload")
        super().__init__(scenario, place, launch)
        self.talk = talk

    def act(self) -> None:
        try:
            self.resume()
            self.server.read_addresses()
            self.finished = True
        except AssertionError as error:
            self.error = error
        # Whatever has become of the second one.
        try:
            self.client.send(self.scenario.main.data[self.scenario.size // 2:])
            self.talk.finish(self.client, self.scenario.main)
        except Refused as error:
            if error.code != "no-space":
                raise
            self.finished, self.error = False, error

    def close(self) -> None:
        super().close()
        self.client.close()
        self.first.kill()
        self.first.log_file.close()


# Runs of filexfer-client


class ClientScenario(Scenario):
    """Downloads from a server that nobody disturbs."""

    side = "client"

    def __init__(self, size: int):
        super().__init__(size)
        self.files = [self.main]
        self.paths = {"file": self.main}  # in the target

    def target(self, place: str) -> str:
        return os.path.join(place, "target")

    def arguments(self, place: str) -> List[str]:
        return [self.main.id, "-o", os.path.join(self.target(place), "file")]

    def prepare(self, place: str) -> None:
        os.mkdir(self.target(place))

    @contextlib.contextmanager
    def opened(self, folder: str) -> Iterator[Scenario]:
        self.home = os.path.join(folder, "home")
        os.mkdir(self.home)
        with ServerProcess(store=os.path.join(folder, "source")) as server:
            self.address = server.address
            with server.client() as client:
                for file in self.files:
                    Talk(server.client).upload(client, file)
            with super().opened(folder):
                yield self

    def command(self, place: str, address: str) -> List[str]:
        return [programs.path_of("filexfer-client"), "--retry-for", "0", "--server", address,
                "download", *self.arguments(place)]

    def environment(self) -> Dict[str, str]:
        return dict(os.environ, HOME=self.home, XDG_STATE_HOME=self.home, TMPDIR=self.home)

    def begin(self, place: str, launch: Launch = SOUND, address: str = "") -> Run:
        return ClientRun(self, place, launch, address or self.address)

    def neighbours(self, place: str) -> Dict[str, bytes]:
        """Files that others write to the target during the act."""
        return {}

    def wrong_files(self, place: str) -> List[str]:
        wrong = []
        for path, file in self.paths.items():
            path = os.path.join(self.target(place), path)
            if os.path.lexists(path):
                with open(path, "rb") as opened:
                    if opened.read() != file.data:
                        wrong.append("%s is not complete" % path)
        return wrong

    def found(self, place: str) -> Set[str]:
        target = self.target(place)
        return {os.path.relpath(os.path.join(folder, name), target)
                for folder, _, names in os.walk(target) for name in names}

    def wrong_target(self, place: str, talk: Talk, complete: bool) -> List[str]:
        found = self.found(place)
        theirs = set(self.neighbours(place))
        acknowledged = {path for path, file in self.paths.items() if file.pair in talk.acknowledged}
        wrong = ["%s was reported, and is not there" % path
                 for path in sorted((set(self.paths) if complete else acknowledged) - found)]
        for path in sorted(found - set(self.paths) - theirs):
            # A part, or a temporary file that the killed client could not remove.
            if complete or not os.path.basename(path).startswith(".filexfer-"):
                wrong.append("%s is left%s" % (path, " at last" if complete else ""))
        return wrong

    def check(self, place: str, talk: Talk, launch: Launch = SOUND) -> List[str]:
        wrong = self.wrong_files(place) + self.wrong_target(place, talk, False)
        with self.begin(place) as again:
            again.act()
        if not again.finished:
            wrong.append("the same does not succeed again: %s" % again.error)
        return wrong + self.wrong_files(place) + self.wrong_target(place, again.talk, True)


class ClientRun(Run):
    held = True

    def __init__(self, scenario: ClientScenario, place: str, launch: Launch, address: str):
        self.scenario, self.place = scenario, place
        self.talk = Talk(lambda: Client(scenario.address))

        def before() -> None:
            programs.restore_signals()
            if launch.prepare:
                launch.prepare()

        # Without the caller's environment the new process has what `prepare` puts into it.
        environment = scenario.environment()
        self.process = subprocess.Popen(
            [*HOLD, *scenario.command(place, address)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: (os.environ.update(environment), before()))

    def act(self) -> None:
        self.resume()
        theirs = threading.Thread(target=self.write_neighbours)
        theirs.start()
        try:
            out, err = self.process.communicate(timeout=TIMEOUT)
        finally:
            theirs.join()
        for id in re.findall(r"^(?:Success|Already there) +([0-9a-f]{32}) ", out.decode(), re.M):
            self.talk.acknowledged |= {file.pair for file in self.scenario.files if file.id == id}
        self.finished = self.process.returncode == 0
        if not self.finished:
            self.error = RuntimeError("exit code %d: %s" % (self.process.returncode, err.decode()))

    def write_neighbours(self) -> None:
        for path, data in self.scenario.neighbours(self.place).items():
            path = os.path.join(self.scenario.target(self.place), path)
            with contextlib.suppress(OSError):  # the disk may be full
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as file:
                    file.write(data)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def wait_until_held(process: subprocess.Popen) -> None:
    """Waits until a process that is started as HOLD has stopped itself."""

    def is_stopped() -> bool:
        with open("/proc/%d/stat" % process.pid) as file:
            return file.read().rpartition(") ")[2][0] in "Tt"

    wait_until(is_stopped, "a process that is held")


class Download(ClientScenario):
    name = "download"


class FolderDownload(ClientScenario):
    name = "folder-download"

    def __init__(self, size: int):
        super().__init__(size)
        part = max(1, size // 3)
        self.files = [File(name, make_data(part, i))
                      for i, name in enumerate(("folder/one", "folder/two", "three"))]
        self.paths = {file.name: file for file in self.files}

    def arguments(self, place: str) -> List[str]:
        return ["--all", "-o", self.target(place)]


class ResumedDownload(ClientScenario):
    name = "resumed-download"

    def prepare(self, place: str) -> None:
        super().prepare(place)
        part = os.path.join(self.target(place), ".filexfer-%s.part" % self.main.id)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(self.main.data[:self.size // 2])


class SharedDownload(FolderDownload):
    """Into a folder that others write to."""

    name = "shared-download"

    def neighbours(self, place: str) -> Dict[str, bytes]:
        return {"%sneighbour-%d" % (folder, i): make_data(10, i)
                for i in range(10) for folder in ("", "folder/")}

    def check(self, place: str, talk: Talk, launch: Launch = SOUND) -> List[str]:
        wrong = super().check(place, talk, launch)
        for path, data in self.neighbours(place).items():
            with contextlib.suppress(FileNotFoundError):  # the client may have ended before
                with open(os.path.join(self.target(place), path), "rb") as file:
                    found = file.read()
                if found != data and not (self.may_lack_neighbours and not found):
                    wrong.append("%s, which others wrote, has other bytes" % path)
        return wrong


SCENARIOS = [NewUpload, ResumedUpload, TakenOverUpload, SecondName, NameById, SameAgain, SameById,
             AnotherTime, AnotherTimeOfOne, ExecutableUpload, Removal, RemovalOfOneName,
             CollidingUpload, Batch, TwoAtOnce, FirstStart, CleanUp, SecondServer, Download,
             FolderDownload, ResumedDownload, SharedDownload]
