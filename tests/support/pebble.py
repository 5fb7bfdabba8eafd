"""Pebble, the ACME test server that Debian packages; it believes every challenge."""

import json
import urllib.request

from support import programs
from support.certferry import PATIENCE
from support.daemons import Daemon, accepts, unused_port

NAME = "acme.enroll.test"


class Pebble(Daemon):
    """Listens under `name` with a certificate of `authority`. It knows no port 0, so an unused one is tried."""

    def __init__(self, directory, authority, name=NAME):
        directory.mkdir(parents=True, exist_ok=True)
        self.certificate = authority.server(name, "127.0.0.1")
        self._trust = authority.client_context()
        options = {"PEBBLE_VA_ALWAYS_VALID": 1, "PEBBLE_VA_NOSLEEP": 1, "PEBBLE_WFE_NONCEREJECT": 0}
        for _ in range(5):
            self.port, self._management_port = unused_port(), unused_port()
            self._write(directory / "pebble.json")
            super().__init__(directory, "pebble", "-config", "pebble.json", **options)
            if accepts(self.port, self.process) and accepts(self._management_port, self.process):
                break
            self.close()
        else:
            raise AssertionError(f"pebble does not start: {self.lines.all()}")
        self.directory_url = f"https://{name}:{self.port}/dir"
        self.root = directory / "issuing-root.pem"
        self.root.write_bytes(self._manage("/roots/0"))

    def _write(self, path):
        settings = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self._management_port}",
            "certificate": str(self.certificate.cert),
            "privateKey": str(self.certificate.key),
            # Where challenges would be looked for, were they not believed.
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
        }
        path.write_text(json.dumps({"pebble": settings}))

    def _manage(self, path):
        """A page of the management interface, asked directly: the test's own knowledge of the CA."""
        https = urllib.request.HTTPSHandler(context=self._trust)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
        with opener.open(f"https://127.0.0.1:{self._management_port}{path}", timeout=PATIENCE) as answer:
            return answer.read()

    def verifies(self, leaf, chain, name):
        """openssl's word that `leaf` is of this CA and for `name`; its finished process."""
        trust = ["-CAfile", self.root, "-untrusted", chain]
        return programs.run(self.directory, "openssl", "verify", *trust, "-verify_hostname", name, leaf)
