"""A real Ceph cluster on loopback: a monitor, a manager and three OSDs, in a folder of their own.

Several can run side by side: their ports are free ones. Nothing of it is left at the end, however
the script ends: the daemons are its own processes, and the kernel ends them with it.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from typing import Callable, Dict, List, Optional, Sequence

from addresses import unused_address

PROGRAMS = "ceph-mon", "ceph-mgr", "ceph-osd", "ceph", "rados", "monmaptool"
OSDS = 3

# What the OSDs' files may take. They are sparse: the tests fill a part of them.
OSD_SIZE = 4 << 30
NEEDED_SPACE = 6 << 30

# Seconds. The machine may be busy with other tests.
START_LIMIT = 120
COMMAND_LIMIT = 60
CLEAN_LIMIT = 120

# A killed OSD is noticed by its refused connections; the heartbeats' grace is for a busy machine.
# 896 MiB is the least memory target that there is; what an OSD really uses is set by the caches.
CONFIGURATION = """[global]
fsid = {fsid}
mon_host = v2:{monitor}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr1 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = false
run_dir = {folder}
crash_dir = {folder}
admin_socket =
osd_pool_default_size = 3
osd_pool_default_min_size = 2
osd_pool_default_pg_num = 16
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0

[mon]
mon_data = {folder}/mon
mon_data_avail_warn = 1
mon_data_avail_crit = 0
mon_allow_pool_delete = true
mon_cluster_log_to_file = false
mon_mgr_digest_period = 1
mon_osd_down_out_interval = 3600
mon_osd_min_down_reporters = 1
mon_osd_min_up_ratio = 0
mon_osd_reporter_subtree_level = osd
log_to_file = false
log_to_stderr = true

[mgr]
mgr_data = {folder}/mgr
mgr_initial_modules =
mgr_stats_period = 1
mgr_tick_period = 1
log_to_file = false
log_to_stderr = true

[osd]
osd_data = {folder}/osd$id
osd_objectstore = bluestore
bluestore_block_size = {osd_size}
bluestore_cache_autotune = false
bluestore_cache_size = 67108864
osd_memory_target = 939524096
osd_fast_shutdown = true
osd_recovery_sleep = 0
log_to_file = false
log_to_stderr = true

[client]
log_to_file = false
"""


def why_no_cluster(folder: str) -> str:
    """Why no cluster can be started in the folder; empty if one can."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        return "there is no %s (Debian: ceph-mon ceph-mgr ceph-osd ceph-common)" % ", ".join(
            missing)
    free = shutil.disk_usage(folder).free
    if free < NEEDED_SPACE:
        return "a cluster needs %d MiB in %s, %d are free" % (NEEDED_SPACE >> 20, folder,
                                                               free >> 20)
    return ""


def end_with_parent() -> None:
    """To be called in a new process: it is killed when the thread that made it ends."""
    if LIBC is not None:
        LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def prepare_daemon() -> None:
    os.setpgid(0, 0)  # Ctrl-C is for the script, which ends them in their order
    end_with_parent()


class CephCluster:
    """`conf` is the path of its configuration file. start(), or use it in `with`.

    Its methods must be called on the script's main thread.
    """

    def __init__(self, folder: str):
        """`folder` is created."""
        self.folder = os.path.abspath(folder)
        self.conf = self.path("ceph.conf")
        self.daemons: Dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "CephCluster":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    # Its life

    def start(self) -> None:
        """Returns once it is complete; raises AssertionError with the logs if that takes long."""
        atexit.register(self.stop)
        # Ends the script as Ctrl-C does: unittest would swallow a SystemExit.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        end = time.monotonic() + START_LIMIT
        try:
            self._start_monitor(end)
            self._start_daemon("mgr.x", "ceph-mgr", "-i", "x")
            self._make_osds(end)
            for number in range(OSDS):
                self.start_osd(number)
            self.wait_until_clean(end - time.monotonic())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends all daemons, OSDs first, and removes the folder."""
        atexit.unregister(self.stop)
        for name in sorted(self.daemons, reverse=True):  # osd.N, mon.a, mgr.x
            self.kill(name)
        if not os.environ.get("FILEXFER_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start_monitor(self, end: float) -> None:
        while True:
            shutil.rmtree(self.folder, ignore_errors=True)
            os.makedirs(self.path("mon"))
            os.mkdir(self.path("mgr"))
            fsid, address = str(uuid.uuid4()), unused_address()
            with open(self.conf, "w", encoding="utf-8") as file:
                file.write(CONFIGURATION.format(folder=self.folder, fsid=fsid, monitor=address,
                                                osd_size=OSD_SIZE))
            self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a",
                      "[v2:%s]" % address, self.path("monmap"))
            self._run("ceph-mon", "-c", self.conf, "--mkfs", "-i", "a",
                      "--monmap", self.path("monmap"))
            monitor = self._start_daemon("mon.a", "ceph-mon", "-i", "a")
            try:
                self.ceph("mon", "stat", limit=max(1.0, min(end - time.monotonic(), 30)))
                return
            except AssertionError:
                # Somebody else may have taken the port meanwhile: again with another.
                if monitor.poll() is None or time.monotonic() > end:
                    raise

    def _make_osds(self, end: float) -> None:
        ids = [str(uuid.uuid4()) for _ in range(OSDS)]
        self._run("ceph", "-c", self.conf, limit=COMMAND_LIMIT, input="".join(
            "osd new %s %d\n" % (id, number) for number, id in enumerate(ids)).encode())
        making = []
        for number, id in enumerate(ids):
            os.mkdir(self.path("osd%d" % number))
            making.append(self._spawn("osd.%d" % number, "ceph-osd", "-i", str(number),
                                      "--mkfs", "--osd-uuid", id))
        for number, process in enumerate(making):
            try:
                code = process.wait(max(1.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                code = None
            if code != 0:
                for other in making:
                    other.kill()
                    other.wait()
                raise AssertionError("OSD %d can't be made (%s):\n%s" % (number, code, self.logs()))

    def _spawn(self, name: str, program: str, *arguments: str) -> subprocess.Popen:
        with open(self.path(name + ".log"), "ab") as log:
            return subprocess.Popen([program, "-c", self.conf, *arguments],
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    cwd=self.folder, env=self._environment(),
                                    preexec_fn=prepare_daemon)

    def _start_daemon(self, name: str, program: str, *arguments: str) -> subprocess.Popen:
        process = self._spawn(name, program, "-f", *arguments)
        self.daemons[name] = process
        return process

    # Its daemons

    def kill(self, name: str) -> None:
        """SIGKILL, as by a crash. Returns once it is gone."""
        process = self.daemons.pop(name)
        process.kill()
        process.wait()

    def kill_osd(self, number: int) -> None:
        self.kill("osd.%d" % number)

    def start_osd(self, number: int) -> None:
        self._start_daemon("osd.%d" % number, "ceph-osd", "-i", str(number))

    def stop_monitor(self) -> None:
        """The monitor answers nobody until `continue_monitor`."""
        self.daemons["mon.a"].send_signal(signal.SIGSTOP)

    def continue_monitor(self) -> None:
        self.daemons["mon.a"].send_signal(signal.SIGCONT)

    def stop_osd(self, number: int) -> None:
        """The OSD does nothing until `continue_osd`, which should be soon."""
        self.daemons["osd.%d" % number].send_signal(signal.SIGSTOP)

    def continue_osd(self, number: int) -> None:
        self.daemons["osd.%d" % number].send_signal(signal.SIGCONT)

    def logs(self) -> str:
        """The last lines of each daemon's log."""
        tails = []
        for name in sorted(os.listdir(self.folder)):
            if name.endswith(".log"):
                with open(self.path(name), "rb") as file:
                    tail = file.read()[-8000:].decode("utf-8", "replace")
                lines = [line for line in tail.splitlines() if line]
                tails.append("--- %s\n%s" % (name, "\n".join(lines[-20:])))
        return "\n".join(tails)

    def check_daemons(self) -> None:
        """Raises AssertionError if one has ended by itself."""
        ended = [name for name, process in self.daemons.items() if process.poll() is not None]
        if ended:
            raise AssertionError("%s ended:\n%s" % (", ".join(ended), self.logs()))

    # Commands

    @staticmethod
    def _environment() -> Dict[str, str]:
        return {key: value for key, value in os.environ.items()
                if key not in ("CEPH_ARGS", "CEPH_CONF", "CEPH_KEYRING")}

    def _run(self, *command: str, limit: float = COMMAND_LIMIT, input: Optional[bytes] = None,
             codes: Sequence[int] = (0,)) -> bytes:
        try:
            result = subprocess.run(command, input=input, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, timeout=limit,
                                    stdin=subprocess.DEVNULL if input is None else None,
                                    env=self._environment(), preexec_fn=end_with_parent)
        except subprocess.TimeoutExpired:
            raise AssertionError("%s takes longer than %d s:\n%s"
                                 % (" ".join(command), limit, self.logs())) from None
        if result.returncode not in codes:
            raise AssertionError("%s exited with %d: %s%s" % (
                " ".join(command), result.returncode, result.stdout.decode("utf-8", "replace"),
                result.stderr.decode("utf-8", "replace")))
        return result.stdout

    def ceph(self, *arguments: str, limit: float = COMMAND_LIMIT) -> bytes:
        """What the command `ceph` prints."""
        return self._run("ceph", "-c", self.conf, *arguments, limit=limit)

    def ask(self, *arguments: str) -> object:
        """The answer to a command of `ceph`, parsed."""
        return json.loads(self.ceph(*arguments, "--format", "json"))

    def rados(self, pool: str, name_space: str, *arguments: str,
              input: Optional[bytes] = None) -> bytes:
        """What the command `rados` prints."""
        return self._run("rados", "-c", self.conf, "-p", pool, "-N", name_space, *arguments,
                         input=input)

    def create_pool(self, name: str, groups: int = 16) -> None:
        """A replicated pool, ready to be used."""
        self.ceph("osd", "pool", "create", name, str(groups))
        self.ceph("osd", "pool", "application", "enable", name, "filexfer")
        self.wait_until_clean()

    # Its state

    def wait_until(self, condition: Callable[[], object], event: str,
                   limit: float = CLEAN_LIMIT) -> None:
        end = time.monotonic() + limit
        while not condition():
            self.check_daemons()
            if time.monotonic() > end:
                raise AssertionError("waited %d s in vain: %s\n%s\n%s" % (
                    limit, event, self.ceph("status").decode(), self.logs()))
            time.sleep(0.2)

    def wait_until_clean(self, limit: float = CLEAN_LIMIT) -> None:
        """Returns once all OSDs are up, and each placement group has all its replicas."""
        self.wait_until(self.is_clean, "the cluster to be clean", limit)

    def wait_until_down(self, numbers: Sequence[int], limit: float = CLEAN_LIMIT) -> None:
        """Returns once the monitor knows that these OSDs are down."""
        self.wait_until(lambda: not any(osd["up"] for osd in self.osds()
                                        if osd["osd"] in numbers), "OSDs to be down", limit)

    def osds(self) -> List[dict]:
        answer = self.ask("osd", "dump")
        assert isinstance(answer, dict)
        return answer["osds"]

    def is_clean(self) -> bool:
        dump, groups = self.ask("osd", "dump"), self.ask("pg", "dump", "pgs")
        assert isinstance(dump, dict) and isinstance(groups, dict)
        if sum(osd["up"] for osd in dump["osds"]) < OSDS:
            return False
        # What a group has reported before the last OSD came back is out of date.
        since = max(osd["up_from"] for osd in dump["osds"])
        states = groups["pg_stats"]
        return (len(states) == sum(pool["pg_num"] for pool in dump["pools"])
                and all(state["state"] == "active+clean"
                        and int(state["reported_epoch"]) >= since for state in states))
