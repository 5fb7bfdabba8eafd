"""Tokens of a test's own that speak PKCS#11: SoftHSM, and NSS's software token."""

import glob
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

from support import programs
from support.certferry import PATIENCE
from support.device_keys import certify, key_file, provider_module, run
from support.pki import openssl

PIN, WRONG_PIN = "746913", "111111"
MISSING = (
    "pkcs11-provider is not installed: Debian 12 has it in its backports alone, which ./test --with-backports takes"
)
CONFIGURATION = """
openssl_conf = init
[init]
providers = list
[list]
default = software
pkcs11 = token
[software]
activate = 1
[token]
activate = 1
pkcs11-module-path = {module}
pkcs11-module-quirks = no-deinit{more}
"""
# SEQUENCE { VisibleString, UTF8String }, which loaders take that know files but no URIs.
URI_FILE = "asn1=SEQUENCE:s\n[s]\nd=VISIBLESTRING:PKCS\\#11 Provider URI v1.0\nu=UTF8String:{uri}\n"


def available():
    return provider_module("pkcs11") is not None


class Token:
    """Knows its module, and its `variables` for all who use it."""

    module = more = None

    def configure(self):
        path = self.directory / "provider.cnf"
        path.write_text(CONFIGURATION.format(module=self.module, more=self.more or ""))
        self.pin_file = key_file(self.directory / "pin", PIN + "\n")
        return path

    @property
    def settings(self):
        return {
            "tls.provider": "pkcs11",
            "tls.provider.config": self.configure(),
            "tls.pin.file": self.pin_file,
        }

    def uri_in_a_file(self, uri):
        """A PKCS#11 PROVIDER URI file."""
        (self.directory / "uri.cnf").write_text(URI_FILE.format(uri=uri))
        openssl(self.directory, "asn1parse", "-genconf", "uri.cnf", "-noout", "-out", "uri.der")
        body = openssl(self.directory, "base64", "-in", "uri.der").decode()
        label = "PKCS#11 PROVIDER URI-----"
        return key_file(self.directory / "uri.key", f"-----BEGIN {label}\n{body}-----END {label}\n")


class SoftHsm(Token):
    module = "/usr/lib/softhsm/libsofthsm2.so"

    def __init__(self, directory):
        self.directory = directory
        tokens = directory / "tokens"
        tokens.mkdir(parents=True)
        conf = directory / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.variables = {"SOFTHSM2_CONF": conf, "TOKEN_PIN": PIN, "OFFICER_PIN": "29384756"}
        self._tool("--init-token", "--slot-index", "0", "--label", "proxy", "--so-pin", "env:OFFICER_PIN")
        officer = ("--login", "--login-type", "so", "--so-pin", "env:OFFICER_PIN")
        self._tool("--token-label", "proxy", *officer, "--init-pin", "--new-pin", "env:TOKEN_PIN")

    def _tool(self, *arguments):
        return run(self, "pkcs11-tool", "--module", self.module, *arguments)

    def make_key(self, authority, name="tls", kind="ec"):
        """(certificate, URI)"""
        login = ("--token-label", "proxy", "--login", "--pin", "env:TOKEN_PIN")
        form = {"ec": "EC:prime256v1", "rsa": "rsa:2048"}[kind]
        number = f"{len(glob.glob(str(self.directory / '*.public'))) + 1:02}"
        self._tool(*login, "--keypairgen", "--key-type", form, "--id", number, "--label", name, "--usage-sign")
        public = self.directory / f"{name}.public"
        self._tool("--token-label", "proxy", "--read-object", "--type", "pubkey", "--id", number, "-o", public)
        certificate = certify(authority, self.directory, name, public.read_bytes())
        self._open_to_all()
        return certificate, f"pkcs11:token=proxy;object={name};type=private"

    def _open_to_all(self):
        """Whoever the proxy becomes: the token is files, and locks them."""
        for path in [self.directory / "tokens", *(self.directory / "tokens").rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o666)


class NssToken(Token):
    """Its certificate is its own: NSS makes key and certificate together."""

    def __init__(self, directory):
        self.directory = directory
        store = directory / "store"
        store.mkdir(parents=True)
        self.variables = {}
        (directory / "password").write_text(PIN + "\n")
        (directory / "noise").write_bytes(b"seen by nobody, and not what makes the key" * 20)
        self.module = glob.glob("/usr/lib/*/libsoftokn3.so")[0]
        self.more = f"\npkcs11-module-init-args = configDir=sql:{store}"
        base = ("certutil", "-d", f"sql:{store}", "-f", "password")
        run(self, *base, "-N")
        names = ("-s", "CN=localhost", "-n", "tls", "-t", "u,u,u", "-8", "localhost", "-v", "1", "-m", "7")
        run(self, *base, "-S", "-x", "-k", "ec", "-q", "nistp256", "-z", "noise", *names)
        self.certificate = directory / "tls.pem"
        self.certificate.write_bytes(run(self, *base, "-L", "-n", "tls", "-a"))
        listed = run(self, *base, "-K").decode()
        number = re.search(r"\b([0-9a-f]{40})\b", listed)[1]
        octets = "".join(f"%{number[at:at + 2]}" for at in range(0, len(number), 2))
        self.uri = f"pkcs11:token=NSS%20Certificate%20DB;id={octets};type=private"
        for path in [store, *store.rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o666)


class NetworkHsm(SoftHsm):
    """
    The same token behind a socket, by p11-kit's server, so that it can be lost: its clients know that server alone.
    """

    def __init__(self, directory):
        super().__init__(directory)
        # Short: a socket's path has 107 octets.
        self._runtime = tempfile.mkdtemp(prefix="hsm")
        self._socket = f"{self._runtime}/token"
        self._server = None
        self.client = {"P11_KIT_SERVER_ADDRESS": f"unix:path={self._socket}"}

    @property
    def settings(self):
        settings = super().settings
        conf = settings["tls.provider.config"]
        conf.write_text(conf.read_text().replace(self.module, glob.glob("/usr/lib/*/pkcs11/p11-kit-client.so")[0]))
        return settings

    def start(self):
        pathlib.Path(self._socket).unlink(missing_ok=True)
        command = ["p11-kit", "server", "-f", "-n", self._socket, "--provider", self.module, "pkcs11:token=proxy"]
        self._server = subprocess.Popen(
            command,
            env=programs.environment(self.directory, **self.variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + PATIENCE
        while not pathlib.Path(self._socket).exists():
            assert time.monotonic() < deadline and self._server.poll() is None, "p11-kit server does not start"
            time.sleep(0.01)

    def kill(self):
        """With the processes that serve its connections."""
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait(PATIENCE)

    def close(self):
        if self._server and self._server.poll() is None:
            self.kill()
        shutil.rmtree(self._runtime, ignore_errors=True)
