"""Small disks, mounted where nobody else sees them.

A script that mounts runs in namespaces of its own: whatever ends it, the kernel then ends its
processes, unmounts its disks, and frees what was kept in memory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from typing import Iterator

from waiting import wait_until

UNSHARE = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
           "--mount-proc"]


def run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise OSError("%s: %s" % (" ".join(command), done.stdout.decode().strip()))


def enter_namespaces() -> None:
    """Runs this script again in namespaces, in a folder in memory. Returns there; also here, if
    that is impossible, and then why_not_mounts() tells why."""
    if not os.environ.get("FILEXFER_IN_NAMESPACES"):
        if not why_not_mounts():
            os.execvpe(UNSHARE[0], [*UNSHARE, sys.executable, *sys.argv],
                       dict(os.environ, FILEXFER_IN_NAMESPACES="1"))
        return
    os.makedirs("disks", exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", "disks")
    os.chdir("disks")


def why_not_mounts() -> str:
    """Why no disks can be mounted here; empty if they can."""
    if os.environ.get("FILEXFER_IN_NAMESPACES"):
        return ""
    if os.geteuid() != 0:
        return "only root mounts disks"
    if not shutil.which("unshare"):
        return "unshare is not installed"
    tried = subprocess.run([*UNSHARE, "sh", "-c", "mount -t tmpfs tmpfs /mnt"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return tried.stdout.decode().strip() if tried.returncode else ""


@contextlib.contextmanager
def mounted(folder: str, *options: str) -> Iterator[str]:
    """`options` are those of mount, and what to mount; on `folder`, which is made."""
    os.mkdir(folder)
    run("mount", *options, folder)
    try:
        yield folder
    finally:
        # A process that was killed may still be on its way out.
        wait_until(lambda: subprocess.run(["umount", folder], stderr=subprocess.DEVNULL)
                   .returncode == 0, "%s is not used any more" % folder)
        os.rmdir(folder)


class FileSystem:
    """A kind of file system, in an image."""

    def __init__(self, name: str, size: str, make: str, mount: str):
        self.name, self.size = name, size
        self.make, self.mount = make.split(), mount
        # The folder of what only root needs may not be in PATH.
        self.make[0] = shutil.which(self.make[0]) or "/usr/sbin/" + self.make[0]

    def why_not(self) -> str:
        """Tries it, also two copies at once, as a check needs them."""
        if not os.path.exists(self.make[0]):
            return "%s is not installed" % self.make[0]
        image = "tried." + self.name
        try:
            self.create(image)
            copy_image(image, image + ".copy")
            with self.mounted(image, image + ".mount"):
                with self.mounted(image + ".copy", image + ".copy.mount"):
                    return ""
        except OSError as error:
            return str(error)
        finally:
            for path in (image, image + ".copy"):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(path)

    def create(self, image: str) -> None:
        with open(image, "wb"):
            pass
        run("truncate", "-s", self.size, image)
        run(*self.make, image)

    def mounted(self, image: str, folder: str) -> contextlib.AbstractContextManager[str]:
        return mounted(folder, "-o", "loop," + self.mount, image)


# Nothing but a flush commits within 300 s, nor while a run lasts.
FILE_SYSTEMS = {
    "ext4": FileSystem("ext4", "24M",
                       "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0", "commit=300"),
    "xfs": FileSystem("xfs", "300M", "mkfs.xfs -q", "nouuid"),
    "btrfs": FileSystem("btrfs", "114M", "mkfs.btrfs -q", "commit=300")}


def copy_image(image: str, to: str) -> None:
    """What is on the disk now; what its file system has not written is not copied."""
    run("cp", "--sparse=auto", image, to)
