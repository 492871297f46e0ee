"""The folders of a comparison, the files that are moved, and what has arrived."""

from __future__ import annotations

import dataclasses
import filecmp
import hashlib
import os
import shutil
import tempfile
import time
from typing import Callable, Dict

from .measuring import Failed


@dataclasses.dataclass
class Sizes:
    """How much is moved."""

    big: int = 1 << 30
    small_count: int = 10000
    small_size: int = 4096
    disk_count: int = 3000
    many_count: int = 64
    many_size: int = 16 << 20
    idle: int = 10000
    connects: int = 5000
    repeats: int = 10  # of a short command in each round


QUICK = Sizes(big=32 << 20, small_count=300, disk_count=100, many_count=8, many_size=1 << 20,
              idle=200, connects=200, repeats=2)


def write_random(path: str, size: int) -> None:
    with open(path, "wb") as file:
        while size > 0:
            size -= file.write(os.urandom(min(size, 1 << 20)))


def digest(path: str, name: str) -> str:
    hasher = hashlib.new(name)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    return hasher.hexdigest()


class Places:
    """`ram` and `disk` are temporary folders. `source` has the files, in RAM."""

    def __init__(self, sizes: Sizes, disk: str):
        self.sizes = sizes
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.ram = tempfile.mkdtemp(prefix="filexfer-compare-", dir=memory)
        self.disk = tempfile.mkdtemp(prefix="filexfer-compare-", dir=disk)
        self.source = os.path.join(self.ram, "source")
        for folder in ("ram/source", "ram/home", "ram/log", "disk/trash"):
            base, name = folder.split("/")
            os.mkdir(os.path.join(getattr(self, base), name))
        self.environment = dict(os.environ, HOME=self.ram + "/home", LC_ALL="C",
                                XDG_STATE_HOME=self.ram + "/home", TMPDIR=self.ram)
        self.environment.pop("FILEXFER_SERVER", None)
        self.log = self.ram + "/log/command"
        self.digests: Dict[str, str] = {}

    def close(self) -> None:
        shutil.rmtree(self.ram, ignore_errors=True)
        shutil.rmtree(self.disk, ignore_errors=True)

    def base(self, where: str) -> str:
        return self.ram if where == "ram" else self.disk

    def file(self, name: str, size: int) -> str:
        path = os.path.join(self.source, name)
        if not os.path.exists(path):
            write_random(path, size)
        return path

    def folder(self, name: str, count: int, size: int) -> str:
        path = os.path.join(self.source, name)
        if not os.path.exists(path):
            os.mkdir(path)
            for number in range(count):
                write_random("%s/%05d" % (path, number), size)
        return path

    def digest(self, path: str, name: str) -> str:
        key = name + path
        if key not in self.digests:
            self.digests[key] = digest(path, name)
        return self.digests[key]

    def clear(self, path: str, flush: bool = False) -> None:
        """Makes an empty folder of `path`. ext4 is slow for minutes at making files after as many
        were deleted, so an old tree on a disk is moved away. `flush` ends what the disk still has
        to do."""
        if os.path.exists(path):
            if path.startswith(self.ram):
                shutil.rmtree(path)
            else:
                os.rename(path, "%s/trash/%d" % (self.disk, time.monotonic_ns()))
        os.makedirs(path)
        if flush:
            os.sync()

    def arrived(self, source: str, target: str) -> Callable[[bool], None]:
        """A check that the file or folder `source` has arrived; deep, whether its bytes have."""
        def check(deep: bool) -> None:
            names = sorted(os.listdir(source)) if os.path.isdir(source) else [""]
            for name in names:
                one, other = os.path.join(source, name), os.path.join(target, name)
                if not name:
                    one, other = source, target
                try:
                    same = os.path.getsize(one) == os.path.getsize(other)
                except OSError as error:
                    raise Failed(str(error)) from None
                if not same or deep and not filecmp.cmp(one, other, shallow=False):
                    raise Failed("%s has arrived damaged" % other)
        return check

    def arrived_by_name(self, source: str, store: str) -> Callable[[bool], None]:
        """As `arrived`, for a store, where each file has a folder of its own."""
        def check(deep: bool) -> None:
            found = {name: os.path.join(folder, name) for folder, _, names in os.walk(store)
                     for name in names if "/." not in folder[len(store):]}
            names = os.listdir(source) if os.path.isdir(source) else [""]
            for name in names:
                one = os.path.join(source, name) if name else source
                self.arrived(one, found.get(os.path.basename(one), store + "/missing"))(deep)
        return check
