"""The base of the tests of TLS."""

import os
import ssl
import unittest

from addresses import connect
from certificates import WHY_WITHOUT_TLS, WITHOUT_TLS, certificate
from program_case import Case
from waiting import TIMEOUT


@unittest.skipIf(WITHOUT_TLS, WHY_WITHOUT_TLS)
class TlsCase(Case):
    """Servers that listen on tls:HOST:PORT, and clients that trust them."""

    def serve_tls(self, *arguments, **keywords):
        """A server whose certificate is good.crt, for this host; `self.port` is its port."""
        if not os.path.exists(self.path("good.crt")):
            certificate(self.path("good"), "DNS:localhost", "IP:127.0.0.1")
        keywords = {"listen": ("tls:127.0.0.1:0",), **keywords}
        server = self.serve("--cert", "good.crt", "--key", "good.key", *arguments, **keywords)
        self.port = server.address.rsplit(":", 1)[1]
        return server

    def client(self, server, *arguments, trusted="good.crt", **keywords):
        return super().client(server, *(("--ca", trusted) if trusted else ()), *arguments,
                              **keywords)

    def raw(self):
        """A connection with Python's TLS."""
        context = ssl.create_default_context(cafile=self.path("good.crt"))
        plain = connect("127.0.0.1:" + self.port, TIMEOUT)
        secured = context.wrap_socket(plain, server_hostname="localhost",
                                      suppress_ragged_eofs=False)
        self.addCleanup(secured.close)
        return secured
