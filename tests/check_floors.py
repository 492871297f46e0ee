#!/usr/bin/env python3
"""check_floors.py INCLUDE_DIR: fails if a header includes from a floor above its own.

Each header, and each folder of detail/, stands on one floor, and may include from its own floor and
from those below. Asio, Crypto++, OpenSSL and librados may be included by some headers only.
"""

import pathlib
import re
import sys

# From the ground up. A name with a slash is a folder.
FLOORS = [
    ("values", "digest any_digest md5 sha256 error options version "
               "connection_counter glob name_filter detail/cryptopp_hasher detail/utf8 detail/units"),
    ("the wire", "names fields features entry refusal protocol printable results "
                 "session_event session_log access_request"),
    ("the system", "detail/posix/"),
    ("places", "storage publication verification file descriptor_sink memory memory_store directory_store batch detail/store/"),
    ("flows", "detail/flow/"),
    ("streams", "stream memory_pipe pipe_stream fault_plan fault_stream recording_stream "
                "peer_identity ip_network proxy_protocol detail/stream/"),
    ("drivers", "detail/driver/"),
    ("one connection", "stream_layer client authorizer session server transfer detail/server/"),
    ("whole jobs", "connector any_stream command_stream transfer_types transfer_progress "
                   "transfer_pool tree_source tree_sink digest_cache file_download remote_file "
                   "detail/pool/"),
    ("everything", "filexfer tls tls_context rados_store detail/rados/"),
]
STREAMS = [name for name, _ in FLOORS].index("streams")

INCLUDE = re.compile(r"^\s*#\s*include\s*<([^>]+)>", re.MULTILINE)


def floor_of(header):
    """The number of the floor of `header`, such as `detail/flow/flow`; None if it has none."""
    folder = header.rpartition("/")[0] + "/"
    for number, (_, members) in enumerate(FLOORS):
        if header in members.split() or folder in members.split():
            return number
    return None


def complaint(header, included):
    """What is wrong with `header` including the file `included`; None if nothing is."""
    floor = floor_of(header)
    if floor is None:
        return "stands on no floor; add it to FLOORS"
    if included == "asio.hpp":
        return "includes all of Asio; include the parts that are needed"
    if included.startswith("asio/"):
        return None if floor >= STREAMS else "includes Asio below the streams' floor"
    if included.startswith("cryptopp/"):
        return None if header in ("md5", "sha256") else "includes Crypto++, which md5 and sha256 do"
    if included.startswith("openssl/"):
        return None if header in ("tls", "tls_context") else "includes OpenSSL, which tls does"
    if included.startswith("rados/"):
        is_store = header == "rados_store" or header.startswith("detail/rados/")
        return None if is_store else "includes librados, which rados_store does"
    if not included.startswith("filexfer/"):
        return None
    below = floor_of(included[len("filexfer/"):-len(".hpp")])
    if below is None or below <= floor:
        return None
    return "is on the floor '%s' and includes from above it, from '%s'" % (
        FLOORS[floor][0], FLOORS[below][0])


def complaints(headers):
    """Of a dict from a header's name to its text."""
    for header, text in sorted(headers.items()):
        for included in INCLUDE.findall(text) or [""]:
            what = complaint(header, included)
            if what:
                yield "%s.hpp: %s: <%s>" % (header, what, included)


def must_complain():
    """The check must be able to fail: each of these is wrong."""
    wrong = {
        "fields": "#include <filexfer/storage.hpp>",
        "storage": "#include <asio/buffer.hpp>",
        "detail/flow/flow": "#include <filexfer/detail/driver/run.hpp>",
        "detail/store/quota": "# include <filexfer/client.hpp>",
        "client": "#include <asio.hpp>",
        "session": "#include <cryptopp/md5.h>",
        "connector": "#include <openssl/ssl.h>",
        "of_no_floor": "",
        "detail/of_no_floor/header": "#include <vector>",
    }
    for header, text in wrong.items():
        if not list(complaints({header: text})):
            sys.exit("This check is blind: it accepts %s in %s" % (text, header))


def main():
    must_complain()
    root = pathlib.Path(sys.argv[1]) / "filexfer"
    headers = {
        str(path.relative_to(root).with_suffix("")): path.read_text()
        for path in root.rglob("*.hpp")
    }
    found = list(complaints(headers))
    print("\n".join(found) or "%d headers include from their own floor down" % len(headers))
    sys.exit(1 if found or not headers else 0)


if __name__ == "__main__":
    main()
