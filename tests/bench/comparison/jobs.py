"""The jobs: who moves what."""

from __future__ import annotations

import os
import subprocess
from typing import Callable, Dict, List, Optional

from .measuring import Contestant, Job, shell
from .peers import DIGESTS, SUM, WORDS, Peers
from .services import FilexferServer

MD5 = ("--checksum-choice=md5",)
MD5_NO_DELAY = (*MD5, "--sockopts=TCP_NODELAY")


def those(*contestants: Optional[Contestant]) -> List[Contestant]:
    """Without the peers that are not installed."""
    return [contestant for contestant in contestants if contestant]


def size_text(size: int) -> str:
    for unit, bits in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >> bits:
            return "%d %s" % (size >> bits, unit)
    return "%d bytes" % size


def noted(note: str, *contestants: Optional[Contestant]) -> List[Contestant]:
    """Adds to what is said of them."""
    found = those(*contestants)
    for contestant in found:
        contestant.note = ", ".join(filter(None, (contestant.note, note)))
    return found


def big(peers: Peers) -> List[Job]:
    """One big file, in RAM."""
    places = peers.places
    size = places.sizes.big
    source, target = places.file("big", size), places.ram + "/down/big"
    stored = {digest: peers.fill(peers.store("big-" + digest, "--digest", digest), source)
              for digest in DIGESTS}
    empty = {digest: peers.store("big-up-" + digest, "--digest", digest) for digest in DIGESTS}
    copied = places.ram + "/down/copied"
    down = those(
        *(peers.download("filexfer, " + WORDS[digest], stored[digest], source, target,
                         places.digest(source, digest)) for digest in DIGESTS),
        peers.rsync_down("rsync (xxh128)", source, "ram"),
        peers.rsync_down("rsync, MD5", source, "ram", *MD5_NO_DELAY),
        peers.curl_down("curl, nginx", source),
        peers.curl_down("curl, nginx, md5sum", source, "md5"),
        peers.curl_down("curl, nginx, md5sum at both ends", source, "md5", both=True),
        peers.curl_down("curl, nginx, sha256sum", source, "sha256"),
        peers.scp("scp, md5sum", source, True, "md5"),
        peers.limit("limit: sendfile, no digest", "md5", "none", source),
        *(peers.limit("limit: sendfile, receiver hashes (%s)" % WORDS[digest], digest, "receiver",
                      source) for digest in DIGESTS),
        *(peers.reference(SUM[digest] + " alone", [SUM[digest], source]) for digest in DIGESTS),
        peers.reference("cp", ["cp", source, copied], source, copied))
    up = those(
        *(peers.upload("filexfer, " + WORDS[digest], empty[digest], source) for digest in DIGESTS),
        peers.rsync_up("rsync (xxh128)", source, "ram"),
        peers.rsync_up("rsync, MD5", source, "ram", *MD5_NO_DELAY),
        peers.curl_up("curl, nginx", source),
        peers.curl_up("curl, nginx, md5sum", source, "md5"),
        peers.curl_up("curl, nginx, md5sum at both ends", source, "md5", both=True),
        peers.scp("scp, md5sum", source, False, "md5"),
        *(peers.limit("limit: sendfile, both ends hash (%s)" % WORDS[digest], digest, "both",
                      source) for digest in DIGESTS))
    return [Job("big", "%s down" % size_text(size), "MB/s", size, down),
            Job("big", "%s up" % size_text(size), "MB/s", size, up)]


def tls(peers: Peers) -> List[Job]:
    """One big file over TLS, in RAM."""
    places = peers.places
    size = places.sizes.big
    source, target = places.file("big", size), places.ram + "/down/big"
    stored = {digest: peers.fill(peers.store("tls-" + digest, "--digest", digest, tls=True), source)
              for digest in DIGESTS}
    empty = {digest: peers.store("tls-up-" + digest, "--digest", digest, tls=True)
             for digest in DIGESTS}
    down = those(
        *(peers.download("filexfer, " + WORDS[digest], stored[digest], source, target,
                         places.digest(source, digest)) for digest in DIGESTS),
        peers.curl_down("curl, nginx", source, tls=True),
        *(peers.curl_down("curl, nginx, " + SUM[digest], source, digest, tls=True)
          for digest in DIGESTS),
        peers.curl_down("curl, nginx, md5sum at both ends", source, "md5", both=True, tls=True))
    up = those(
        *(peers.upload("filexfer, " + WORDS[digest], empty[digest], source) for digest in DIGESTS),
        peers.curl_up("curl, nginx", source, tls=True),
        *(peers.curl_up("curl, nginx, " + SUM[digest], source, digest, tls=True)
          for digest in DIGESTS),
        peers.curl_up("curl, nginx, md5sum at both ends", source, "md5", both=True, tls=True))
    return [Job("tls", "%s down over TLS" % size_text(size), "MB/s", size, down),
            Job("tls", "%s up over TLS" % size_text(size), "MB/s", size, up)]


def disk(peers: Peers) -> List[Job]:
    """One big file, and small ones, from RAM to a disk, flushed and not."""
    places, jobs = peers.places, []
    count, size = places.sizes.disk_count, places.sizes.small_size
    for source, unit, amount, title in (
            (places.file("big", places.sizes.big), "MB/s", places.sizes.big,
             size_text(places.sizes.big)),
            (places.folder("few", count, size), "files/s", count,
             "%d files of %s" % (count, size_text(size)))):
        leaf = os.path.basename(source)
        what = ["--all"] if os.path.isdir(source) else [places.digest(source, "md5")]
        target = places.disk + "/down/" + leaf
        stored = peers.fill(peers.store("disk-%s" % leaf), source)
        flushing = peers.store("disk-up-" + leaf, where="disk")
        lazy = peers.store("disk-lazy-" + leaf, "--fsync", "off", where="disk")
        parallel = ["--parallel", str(peers.parallel)]
        some = os.path.isdir(source)

        def down(name: str, *options: str) -> Contestant:
            return peers.download(name, stored, source, target, *options, *what, where="disk")

        def up(name: str, server: FilexferServer, *options: str) -> Contestant:
            return peers.upload(name, server, source, *options)

        jobs.append(Job("disk", title + " down to a disk", unit, amount, [
            *noted("flushed", down("filexfer"),
                   down("filexfer " + " ".join(parallel), *parallel) if some else None,
                   peers.rsync_down("rsync --fsync, MD5", source, "disk", "--fsync", *MD5_NO_DELAY),
                   peers.reference("cp, sync", shell("cp -r %s %s && sync -f %s" % (
                       source, target, os.path.dirname(target))), source, target, "disk")),
            *noted("not flushed", down("filexfer --fsync off", "--fsync", "off"),
                   peers.rsync_down("rsync, MD5", source, "disk", *MD5_NO_DELAY),
                   None if some else peers.curl_down("curl, nginx, md5sum", source, "md5",
                                                     where="disk"))]))
        jobs.append(Job("disk", title + " up to a disk", unit, amount, [
            *noted("flushed", up("filexfer", flushing),
                   up("filexfer " + " ".join(parallel), flushing, *parallel) if some else None,
                   peers.rsync_up("rsync --fsync, MD5", source, "disk", "--fsync", *MD5_NO_DELAY)),
            *noted("not flushed", up("filexfer --fsync off", lazy),
                   peers.rsync_up("rsync, MD5", source, "disk", *MD5_NO_DELAY),
                   None if some else peers.curl_up("curl, nginx, md5sum", source, "md5",
                                                   where="disk"))]))
    return jobs


def small(peers: Peers) -> List[Job]:
    """Many small files, in RAM."""
    places = peers.places
    count, size = places.sizes.small_count, places.sizes.small_size
    source, target = places.folder("small", count, size), places.ram + "/down/small"
    stored = peers.fill(peers.store("small"), source)
    empty = peers.store("small-up")
    parallel = ["--parallel", str(peers.parallel)]
    copied = places.ram + "/down/copied"
    down = those(
        peers.download("filexfer", stored, source, target, "--all"),
        peers.download("filexfer " + " ".join(parallel), stored, source, target, *parallel, "--all"),
        peers.rsync_down("rsync (xxh128)", source, "ram"),
        peers.rsync_down("rsync, MD5", source, "ram", *MD5_NO_DELAY),
        peers.curl_many("curl, nginx", source, True),
        peers.curl_many("curl --parallel, nginx", source, True, "--parallel"),
        peers.scp("scp", source, True),
        peers.reference("cp -r", ["cp", "-r", source, copied], source, copied))
    up = those(
        peers.upload("filexfer", empty, source),
        peers.upload("filexfer " + " ".join(parallel), empty, source, *parallel),
        peers.rsync_up("rsync (xxh128)", source, "ram"),
        peers.rsync_up("rsync, MD5", source, "ram", *MD5_NO_DELAY),
        peers.curl_many("curl, nginx", source, False),
        peers.curl_many("curl --parallel, nginx", source, False, "--parallel"),
        peers.scp("scp", source, False))
    title = "%d files of %s" % (count, size_text(size))
    return [Job("small", title + " down", "files/s", count, down),
            Job("small", title + " up", "files/s", count, up)]


def skip(peers: Peers) -> List[Job]:
    """Many small files that the server has."""
    places = peers.places
    count, size = places.sizes.small_count, places.sizes.small_size
    source = places.folder("small", count, size)
    stored = peers.fill(peers.store("skip"), source)
    client = peers.client_of(stored)
    upload = ["upload", "--skip-existing"]
    parallel = ["--parallel", str(peers.parallel)]
    cache = ["--checksum-cache", places.ram + "/home/cache"]

    def ours(name: str, *arguments: str) -> Contestant:
        return Contestant(name, [*client, *arguments, source], stored.pids, kind="ours",
                          note="verified")

    contestants = [ours("filexfer --skip-existing", *upload),
                   ours("filexfer --skip-existing " + " ".join(parallel), *upload, *parallel),
                   ours("filexfer --skip-existing --checksum-cache", *cache, *upload)]
    for name, options, note in (("rsync --checksum, MD5", ("--checksum", *MD5_NO_DELAY), "verified"),
                                ("rsync, by times and sizes", MD5_NO_DELAY, "not verified")):
        again = peers.rsync_up(name, source, "ram", *options, note=note)
        if again:
            again.reset()
            subprocess.run(again.command, check=True, env=places.environment)
            again.reset = lambda: None
            contestants.append(again)
    return [Job("skip", "%d files of %s that are there" % (count, size_text(size)), "files/s", count,
                contestants)]


def tiny(peers: Peers) -> List[Job]:
    """One small file, as a whole command."""
    places = peers.places
    source, target = places.file("tiny", places.sizes.small_size), places.ram + "/down/tiny"
    stored = peers.fill(peers.store("tiny"), source)
    copied = places.ram + "/down/copied"
    down = those(
        peers.download("filexfer", stored, source, target, places.digest(source, "md5")),
        peers.rsync_down("rsync, MD5", source, "ram", *MD5_NO_DELAY),
        peers.curl_down("curl, nginx", source),
        peers.curl_down("curl, nginx, md5sum", source, "md5"),
        peers.scp("scp", source, True),
        peers.reference("cp", ["cp", source, copied], source, copied))
    up = those(
        peers.upload("filexfer", peers.store("tiny-up"), source),
        peers.rsync_up("rsync, MD5", source, "ram", *MD5_NO_DELAY),
        peers.curl_up("curl, nginx", source),
        peers.curl_up("curl, nginx, md5sum", source, "md5"),
        peers.scp("scp", source, False))
    title = "one file of %s" % size_text(places.sizes.small_size)
    return [Job("tiny", title + " down", "ms", 0, down, places.sizes.repeats),
            Job("tiny", title + " up", "ms", 0, up, places.sizes.repeats)]


def many(peers: Peers) -> List[Job]:
    """Many clients at once, a file each, in RAM."""
    places = peers.places
    count, size = places.sizes.many_count, places.sizes.many_size
    source = places.folder("many", count, size)
    names = sorted(os.listdir(source))
    target, amount = places.ram + "/down/many", count * size
    stored = {digest: peers.fill(peers.store("many-" + digest, "--digest", digest), source)
              for digest in DIGESTS}

    def clients(name: str, command: Callable[[str], str], like: Optional[Contestant],
                into: str = target) -> Optional[Contestant]:
        """One command for each file, all at once; `like` has the server and the checks."""
        if not like:
            return None
        script = "%s/clients-%s-%s" % (places.ram, os.path.basename(os.path.dirname(into)),
                                       "".join(filter(str.isalnum, name)))
        with open(script, "w") as file:
            file.write("".join(command(entry) + "\n" for entry in names))
        like.name = name
        like.command = shell("xargs -d '\\n' -P %d -I{} sh -c {} < %s" % (count, script))
        return like

    def fetched(reset_for: Optional[Contestant]) -> Optional[Contestant]:
        if reset_for:
            reset_for.reset = lambda: places.clear(target)
            reset_for.check = places.arrived(source, target)
        return reset_for

    down, up = [], []
    for digest in DIGESTS:
        ours = " ".join(peers.client_of(stored[digest]))
        down.append(clients(
            "filexfer, " + WORDS[digest],
            lambda name, ours=ours, digest=digest: "%s download %s -o %s/%s" % (
                ours, places.digest(source + "/" + name, digest), target, name),
            fetched(peers.download("", stored[digest], source, target))))
        empty = peers.store("many-up-" + digest, "--digest", digest)
        ours_up = " ".join(peers.client_of(empty))
        up.append(clients("filexfer, " + WORDS[digest],
                          lambda name, ours=ours_up: "%s upload %s/%s" % (ours, source, name),
                          peers.upload("", empty, source), places.ram + "/up/many"))
    options = " ".join(("-W", *MD5_NO_DELAY))
    if peers.rsync_no_delay:
        url = peers.rsync_no_delay.url
        down.append(clients("rsync, MD5",
                            lambda name: "rsync %s %s/source/many/%s %s/%s" % (
                                options, url, name, target, name),
                            fetched(peers.rsync_down("", source, "ram", *MD5_NO_DELAY))))
        like = peers.rsync_up("", source, "ram", *MD5_NO_DELAY)
        if like:
            like.reset = lambda: places.clear(places.ram + "/up/many")
        up.append(clients("rsync, MD5",
                          lambda name: "rsync %s %s/%s %s/up-ram/many/%s" % (
                              options, source, name, url, name), like, places.ram + "/up/many"))
    if peers.nginx:
        url = peers.nginx.url
        down.append(clients("curl, nginx, md5sum",
                            lambda name: "test \"`curl -sf %s/many/%s | tee %s/%s | md5sum`\" "
                            "= \"%s  -\"" % (
                                url, name, target, name, places.digest(source + "/" + name, "md5")),
                            fetched(peers.curl_many("", source, True))))
        like = peers.curl_many("", source, False)
        if like:
            like.reset = lambda: places.clear(places.ram + "/up/many")
        up.append(clients("curl, nginx, md5sum",
                          lambda name: "curl -sf -T %s/%s %s/up-ram/many/%s && "
                          "test \"`md5sum < %s/up/many/%s`\" = \"%s  -\"" % (
                              source, name, url, name, places.ram, name,
                              places.digest(source + "/" + name, "md5")),
                          like, places.ram + "/up/many"))
        for contestant in (down[-1], up[-1]):
            if contestant:
                contestant.note = "verified"
    title = "%d clients, %s each" % (count, size_text(size))
    return [Job("many", title + ", down", "MB/s", amount, those(*down)),
            Job("many", title + ", up", "MB/s", amount, those(*up))]


def compile_time(peers: Peers) -> List[Job]:
    """A translation unit that includes all of the library."""
    places = peers.places
    include = os.path.join(os.path.dirname(__file__), "../../../include")
    compiler = os.environ.get("CXX", "c++")
    contestants = []
    for name, header, options, kind in (
            ("filexfer.hpp, -O2", "filexfer/filexfer.hpp", ["-O2"], "ours"),
            ("filexfer.hpp, -O0", "filexfer/filexfer.hpp", ["-O0"], "ours"),
            ("asio.hpp, -O2", "asio.hpp", ["-O2"], "reference")):
        unit = "%s/%s.cpp" % (places.ram, "".join(filter(str.isalnum, name)))
        with open(unit, "w") as file:
            file.write("#include <%s>\nint main() {}\n" % header)
        contestants.append(Contestant(name, [compiler, "-std=c++20", "-DASIO_STANDALONE",
                                             "-I" + include, *options, "-c", unit, "-o",
                                             places.ram + "/unit.o"], kind=kind))
    return [Job("compile", "compiling a translation unit", "s", 0, contestants)]


FAMILIES: Dict[str, Callable[[Peers], List[Job]]] = {
    "big": big, "tls": tls, "disk": disk, "small": small, "skip": skip, "tiny": tiny, "many": many,
    "compile": compile_time}
