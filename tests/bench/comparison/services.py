"""The servers of a comparison, on free ports of 127.0.0.1. All are stopped by their process ids."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from typing import Callable, List, Optional, Sequence, TypeVar

from .places import Places

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"  # where Debian keeps the daemons


def find(program: str) -> Optional[str]:
    return shutil.which(program, path=PATH)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


Started = TypeVar("Started")


class Service:
    """A running server."""

    def __init__(self, command: Sequence[str], log: str, port: int = 0, **keywords: object):
        with open(log, "ab") as file:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=file,
                **{"stdout": file, **keywords})  # type: ignore[call-overload]
        self.port = port
        if port:
            self.wait_until_up(command[0])

    def wait_until_up(self, name: str) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        self.stop()
        raise OSError("%s does not start" % name)

    def pids(self) -> List[int]:
        return [self.process.pid]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


class FilexferServer:
    """filexfer-server on a store, which can be started again on an empty one."""

    def __init__(self, program: str, places: Places, store: str, *options: str,
                 address: str = "127.0.0.1:0"):
        self.command = [program, "--listen", address, "--store", store, "--quiet", *options]
        self.places, self.store = places, store
        self.service: Optional[Service] = None
        self.port = free_port()  # kept, so that a client's command is the same in each round
        self.scheme = address[:-len("127.0.0.1:0")]
        self.start()

    @property
    def address(self) -> str:
        return "%s127.0.0.1:%d" % (self.scheme, self.port)

    def start(self) -> None:
        self.command[2] = self.address
        self.service = Service(self.command, self.places.ram + "/log/filexfer", self.port)

    def pids(self) -> List[int]:
        return self.service.pids() if self.service else []

    def empty(self) -> None:
        """Starts again on an empty store."""
        self.stop()
        self.places.clear(self.store, flush=self.store.startswith(self.places.disk))
        self.start()

    def stop(self) -> None:
        if self.service:
            self.service.stop()
        self.service = None


def make_certificate(places: Places) -> str:
    """Makes cert.pem and key.pem for 127.0.0.1; returns their folder, empty without openssl."""
    folder = places.ram + "/tls"
    if not find("openssl"):
        return ""
    if not os.path.exists(folder):
        os.mkdir(folder)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
             "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", folder + "/key.pem",
             "-out", folder + "/cert.pem"], check=True, capture_output=True)
    return folder


class Nginx(Service):
    """Serves the source over HTTP, and HTTPS; takes uploads to /up-ram/ and /up-disk/."""

    def __init__(self, places: Places):
        base, tls = places.ram + "/nginx", make_certificate(places)
        http, https = free_port(), free_port()
        places.clear(base)
        user = "user root root;" if os.getuid() == 0 else ""
        listen_tls = ("listen 127.0.0.1:%d ssl; ssl_certificate %s/cert.pem; "
                      "ssl_certificate_key %s/key.pem;" % (https, tls, tls)) if tls else ""
        uploads = "".join(
            "location /up-%s/ { alias %s/up/; dav_methods PUT; create_full_put_path on; "
            "client_body_temp_path %s; }\n" % (where, places.base(where), self.body(places, where))
            for where in ("ram", "disk"))
        with open(base + "/conf", "w") as file:
            file.write("""
daemon off; pid %(base)s/pid; error_log %(base)s/log; worker_processes auto; %(user)s
worker_rlimit_nofile 16384;
events { worker_connections 12000; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_timeout 600; keepalive_requests 1000000;
  client_max_body_size 0; client_body_buffer_size 1m; default_type application/octet-stream;
  client_body_temp_path %(base)s/body; proxy_temp_path %(base)s/body;
  fastcgi_temp_path %(base)s/body; uwsgi_temp_path %(base)s/body; scgi_temp_path %(base)s/body;
  server { listen 127.0.0.1:%(http)d backlog=4096; %(tls)s
    root %(source)s;
    %(uploads)s }
}
""" % {"base": base, "user": user, "http": http, "tls": listen_tls, "source": places.source,
                "uploads": uploads})
        super().__init__([find("nginx") or "nginx", "-p", base, "-e", base + "/log",
                          "-c", base + "/conf"], base + "/log", http)
        self.url = "http://127.0.0.1:%d" % http
        self.tls_url = "https://127.0.0.1:%d" % https
        self.authority = tls + "/cert.pem" if tls else ""

    @staticmethod
    def body(places: Places, where: str) -> str:
        """Where uploads arrive: beside their target, so that they can be renamed."""
        folder = places.base(where) + "/body"
        os.makedirs(folder, exist_ok=True)
        return folder


class RsyncDaemon(Service):
    """Serves the source as `source`, takes uploads to `up-ram` and `up-disk`."""

    def __init__(self, places: Places, *lines: str):
        self.port = free_port()
        conf = "%s/rsyncd-%d" % (places.ram, self.port)
        modules = [("source", places.source), ("up-ram", places.ram + "/up"),
                   ("up-disk", places.disk + "/up")]
        with open(conf, "w") as file:
            file.write("\n".join([*lines, "address = 127.0.0.1", "port = %d" % self.port,
                                  "use chroot = false", "max connections = 0",
                                  "reverse lookup = false", "log file = %s.log" % conf,
                                  "lock file = %s.lock" % conf, "read only = false"]) + "\n")
            if os.getuid() == 0:
                file.write("uid = root\ngid = root\n")
            for name, path in modules:
                file.write("[%s]\npath = %s\n" % (name, path))
        super().__init__(["rsync", "--daemon", "--no-detach", "--config=" + conf], conf + ".log",
                         self.port)
        self.url = "rsync://127.0.0.1:%d" % self.port


class Sshd(Service):
    """Lets this user in, with a key of its own; `options` are those for ssh and scp."""

    def __init__(self, places: Places):
        base, port = places.ram + "/ssh", free_port()
        places.clear(base)
        user = pwd.getpwuid(os.getuid()).pw_name
        self.made_folder = os.getuid() == 0 and not os.path.isdir("/run/sshd")
        if self.made_folder:
            os.mkdir("/run/sshd")  # sshd insists on it
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                            "%s/%s" % (base, key)], check=True)
        with open(base + "/sshd", "w") as file:
            file.write("\n".join([
                "Port %d" % port, "ListenAddress 127.0.0.1", "HostKey %s/host" % base,
                "AuthorizedKeysFile %s/user.pub" % base, "StrictModes no", "UsePAM no",
                "PermitRootLogin prohibit-password", "PasswordAuthentication no", "UseDNS no",
                "PidFile none", "MaxStartups 10000", "LogLevel ERROR",
                "Subsystem sftp internal-sftp"]) + "\n")
        with open(base + "/client", "w") as file:
            file.write("\n".join([
                "Host peer", "HostName 127.0.0.1", "Port %d" % port, "User " + user,
                "IdentityFile %s/user" % base, "IdentitiesOnly yes", "StrictHostKeyChecking no",
                "UserKnownHostsFile %s/known" % base, "GlobalKnownHostsFile none", "BatchMode yes",
                "LogLevel ERROR", "Ciphers aes128-gcm@openssh.com"]) + "\n")
        self.options = "-F %s/client" % base
        super().__init__([find("sshd") or "sshd", "-D", "-e", "-f", base + "/sshd"], base + "/log",
                         port)

    def stop(self) -> None:
        super().stop()
        if self.made_folder:
            os.rmdir("/run/sshd")


def start_if_found(programs: Sequence[str], make: Callable[[], Started],
                   tell: Callable[[str], None]) -> Optional[Started]:
    """Nothing, with a message, if one of the programs is missing or the service does not start."""
    missing = [name for name in programs if not find(name)]
    if missing:
        tell("left out: %s is not installed" % ", ".join(missing))
        return None
    try:
        return make()
    except (OSError, subprocess.CalledProcessError) as error:
        tell("left out: %s: %s" % (programs[0], error))
        return None
