"""What the jobs have in common: the servers that run, and ways to move files with each program."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Callable, Dict, List, Optional, Sequence

from .measuring import Contestant, shell
from .places import Places
from .services import (FilexferServer, Nginx, RsyncDaemon, Sshd, find, make_certificate,
                       start_if_found)

DIGESTS = ("md5", "sha256")
SUM = {"md5": "md5sum", "sha256": "sha256sum"}
WORDS = {"md5": "MD5", "sha256": "SHA-256"}


class Peers:
    """Without a program its contestants are left out."""

    def __init__(self, places: Places, programs: str, parallel: int, tell: Callable[[str], None]):
        self.places, self.programs, self.parallel, self.tell = places, programs, parallel, tell
        self.client = os.path.join(programs, "filexfer-client")
        self.server = os.path.join(programs, "filexfer-server")
        self.limits = os.path.join(programs, "filexfer-transfer-limits")
        self.own: Dict[str, FilexferServer] = {}
        self.nginx: Optional[Nginx] = None
        self.rsync: Optional[RsyncDaemon] = None
        self.rsync_no_delay: Optional[RsyncDaemon] = None
        self.sshd: Optional[Sshd] = None

    def start(self) -> None:
        """Starts the servers of others. Ours are started by the jobs."""
        places, tell = self.places, self.tell
        for where in ("ram", "disk"):
            places.clear(places.base(where) + "/up")
        self.nginx = start_if_found(("nginx", "curl"), lambda: Nginx(places), tell)
        self.rsync = start_if_found(("rsync",), lambda: RsyncDaemon(places), tell)
        if self.rsync:
            self.rsync_no_delay = RsyncDaemon(places, "socket options = TCP_NODELAY")
        self.sshd = start_if_found(("sshd", "ssh", "ssh-keygen"), lambda: Sshd(places), tell)
        if not os.access(self.limits, os.X_OK):
            tell("left out: filexfer-transfer-limits is not built")
            self.limits = ""

    def close(self) -> None:
        self.drop_stores()
        for server in (self.nginx, self.rsync, self.rsync_no_delay, self.sshd):
            if server:
                server.stop()

    def drop_stores(self) -> None:
        """Stops our servers, and removes their stores, which take memory."""
        for server in self.own.values():
            server.stop()
            shutil.rmtree(server.store, ignore_errors=True)
        self.own.clear()

    # Our programs

    def store(self, name: str, *options: str, where: str = "ram",
              tls: bool = False) -> FilexferServer:
        """A server on a store of its own, which is empty when it is started first."""
        if name not in self.own:
            if tls:
                folder = make_certificate(self.places)
                options += ("--cert", folder + "/cert.pem", "--key", folder + "/key.pem")
            self.own[name] = FilexferServer(
                self.server, self.places, "%s/store-%s" % (self.places.base(where), name), *options,
                address="tls:127.0.0.1:0" if tls else "127.0.0.1:0")
        return self.own[name]

    def client_of(self, server: FilexferServer) -> List[str]:
        ca = ["--ca", make_certificate(self.places) + "/cert.pem"] if server.scheme else []
        return [self.client, "--server", server.address, *ca, "--quiet"]

    def fill(self, server: FilexferServer, *files: str) -> FilexferServer:
        """Uploads, so that it can be downloaded."""
        subprocess.run([*self.client_of(server), "upload", *files], check=True,
                       stdout=subprocess.DEVNULL, env=self.places.environment)
        return server

    def upload(self, name: str, server: FilexferServer, source: str,
               *options: str) -> Contestant:
        return Contestant(
            name, [*self.client_of(server), "upload", *options, source], server.pids, server.empty,
            self.places.arrived_by_name(source, server.store), "ours", "verified, both ends hash")

    def download(self, name: str, server: FilexferServer, source: str, target: str, *arguments: str,
                 where: str = "ram") -> Contestant:
        return Contestant(name, [*self.client_of(server), "download", *arguments, "-o", target],
                          server.pids, self.cleared(target, where),
                          self.places.arrived(source, target), "ours", "verified")

    # Others

    def cleared(self, target: str, where: str) -> Callable[[], None]:
        """Empties the folder that `target` is in."""
        return lambda: self.places.clear(os.path.dirname(target), flush=where == "disk")

    def rsync_up(self, name: str, source: str, where: str, *options: str,
                 note: str = "verified") -> Optional[Contestant]:
        return self._rsync(name, source, where, False, options, note)

    def rsync_down(self, name: str, source: str, where: str, *options: str,
                   note: str = "verified") -> Optional[Contestant]:
        return self._rsync(name, source, where, True, options, note)

    def _rsync(self, name: str, source: str, where: str, down: bool, options: Sequence[str],
               note: str) -> Optional[Contestant]:
        no_delay = "--sockopts=TCP_NODELAY" in options
        daemon = self.rsync_no_delay if no_delay else self.rsync
        if not daemon:
            return None
        leaf = os.path.basename(source)
        target = "%s/%s/%s" % (self.places.base(where), "down" if down else "up", leaf)
        slash = "/" if os.path.isdir(source) else ""
        here, there = source, "%s/up-%s/%s" % (daemon.url, where, leaf)
        if down:
            here, there = "%s/source/%s" % (daemon.url, leaf), target
        return Contestant(name, ["rsync", "-aW", *options, here + slash, there + slash],
                          daemon.pids, self.cleared(target, where),
                          self.places.arrived(source, target), note=note)

    def curl_down(self, name: str, source: str, digest: str = "", both: bool = False,
                  where: str = "ram", tls: bool = False) -> Optional[Contestant]:
        """Through md5sum or the like, which at both ends runs beside the transfer."""
        if not self.nginx or tls and not self.nginx.authority:
            return None
        target = "%s/down/%s" % (self.places.base(where), os.path.basename(source))
        fetch = self._curl(tls) + "/" + os.path.basename(source)
        if digest:
            command = self._compared("h=$(%s | tee %s | %s)" % (fetch, target, SUM[digest]), source,
                                     digest, both)
        else:
            command = "%s -o %s" % (fetch, target)
        return self._by_curl(name, command, source, target, where, digest)

    def curl_up(self, name: str, source: str, digest: str = "", both: bool = False,
                where: str = "ram", tls: bool = False) -> Optional[Contestant]:
        """The server's side is hashed by md5sum or the like, after the transfer."""
        if not self.nginx or tls and not self.nginx.authority:
            return None
        leaf = os.path.basename(source)
        target = "%s/up/%s" % (self.places.base(where), leaf)
        send = "%s/up-%s/%s -T %s" % (self._curl(tls), where, leaf, source)
        command = send
        if digest:
            command = self._compared("%s && h=$(%s < %s)" % (send, SUM[digest], target), source,
                                     digest, both)
        return self._by_curl(name, command, source, target, where, digest)

    def _compared(self, hashed: str, source: str, digest: str, both: bool) -> str:
        """Compares `$h`, which `hashed` sets, with the source's digest, known or computed now."""
        if not both:
            return hashed + ' && [ "$h" = "%s  -" ]' % self.places.digest(source, digest)
        near = self.places.ram + "/near"
        return ('%s < %s > %s & %s; wait $!; [ "$h" = "$(< %s)" ]'
                % (SUM[digest], source, near, hashed, near))

    def _by_curl(self, name: str, command: str, source: str, target: str, where: str,
                 digest: str) -> Contestant:
        assert self.nginx
        return Contestant(name, shell(command), self.nginx.pids, self.cleared(target, where),
                          self.places.arrived(source, target),
                          note="verified" if digest else "not verified")

    def _curl(self, tls: bool) -> str:
        assert self.nginx
        return ("curl -sf --cacert %s %s" % (self.nginx.authority, self.nginx.tls_url) if tls
                else "curl -sf " + self.nginx.url)

    def curl_many(self, name: str, source: str, down: bool, *options: str) -> Optional[Contestant]:
        """All files of a folder by one curl."""
        if not self.nginx:
            return None
        leaf = os.path.basename(source)
        target = "%s/%s/%s" % (self.places.ram, "down" if down else "up", leaf)
        config = "%s/curl-%s-%s" % (self.places.ram, "down" if down else "up", leaf)
        with open(config, "w") as file:
            for entry in sorted(os.listdir(source)):
                if down:
                    file.write("url=%s/%s/%s\noutput=%s/%s\n" % (self.nginx.url, leaf, entry,
                                                                target, entry))
                else:
                    file.write("url=%s/up-ram/%s/%s\nupload-file=%s/%s\n"
                               % (self.nginx.url, leaf, entry, source, entry))
        return Contestant(name, ["curl", "-sf", *options, "--create-dirs", "--config", config],
                          self.nginx.pids, self.cleared(target, "ram"),
                          self.places.arrived(source, target), note="not verified")

    def scp(self, name: str, source: str, down: bool, digest: str = "") -> Optional[Contestant]:
        if not self.sshd or not find("scp"):
            return None
        leaf = os.path.basename(source)
        target = "%s/%s/%s" % (self.places.ram, "down" if down else "up", leaf)
        ends = ("peer:" + source, target) if down else (source, "peer:" + target)
        recursive = "-r " if os.path.isdir(source) else ""
        command = "scp -q %s%s %s %s" % (recursive, self.sshd.options, *ends)
        if digest:
            hashed = "%s < %s" % (SUM[digest], target)
            if not down:
                hashed = "ssh %s peer '%s'" % (self.sshd.options, hashed)
            command += ' && [ "$(%s)" = "%s  -" ]' % (
                hashed, self.places.digest(source, digest))
        return Contestant(name, shell(command), self.sshd.pids, self.cleared(target, "ram"),
                          self.places.arrived(source, target),
                          note="verified" if digest else "not verified")

    def reference(self, name: str, command: List[str], source: str = "", target: str = "",
                  where: str = "ram", note: str = "") -> Contestant:
        contestant = Contestant(name, command, kind="reference", note=note)
        if target:
            contestant.reset = self.cleared(target, where)
            contestant.check = self.places.arrived(source, target)
        return contestant

    def limit(self, name: str, digest: str, who: str, source: str) -> Optional[Contestant]:
        """filexfer-transfer-limits: what the machine allows."""
        if not self.limits:
            return None
        target = self.places.ram + "/down/" + os.path.basename(source)
        return self.reference(name, [self.limits, digest, who, source, target], source, target)
