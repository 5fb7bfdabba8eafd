"""Servers that Debian ships as programs: micromdm's scepserver, OpenSSL's CMP mock server and OCSP responder."""

import contextlib
import random
import re
import socket
import subprocess
import time

from support import pki, programs
from support.certferry import PATIENCE, Lines

ACCEPT = re.compile(r"ACCEPT .*:(\d+)")


class Daemon:
    """A program that runs until close(); standard output and error are one list of lines."""

    def __init__(self, directory, *command, **variables):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.process = subprocess.Popen(
            [str(part) for part in command],
            cwd=directory,
            env=programs.environment(directory, **variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.lines = Lines(self.process.stdout)

    def port_told(self):
        """The port that a server of the openssl command chose for itself."""
        line = self.lines.wait(ACCEPT.search, PATIENCE)
        assert line is not None, f"no port told: {self.lines.all()}"
        return int(ACCEPT.search(line)[1])

    def close(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.lines.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class CmpServer(Daemon):
    """RFC 4210 over HTTP (RFC 9811): answers each certificate request with the same certificate."""

    SECRET = ("-ref", "device", "-secret", "pass:shared")

    def __init__(self, directory, authority, certificate):
        root = authority.root
        shared = ("-srv_ref", "device", "-srv_secret", "pass:shared")
        signer = ("-srv_cert", root.cert, "-srv_key", root.key, "-srv_trusted", root.cert)
        answer = ("-rsp_cert", certificate, "-rsp_capubs", root.cert)
        super().__init__(directory, "openssl", "cmp", "-config", "", "-port", "0", *shared, *signer, *answer)
        self.port = self.port_told()


class OcspResponder(Daemon):
    """Answers from an index in the form of `openssl ca`: serial numbers that are fine, and some that are revoked."""

    def __init__(self, directory, authority, good=(), revoked=()):
        directory.mkdir(parents=True, exist_ok=True)
        lines = [f"V\t491231235959Z\t\t{serial}\tunknown\t/CN=good" for serial in good]
        lines += [f"R\t491231235959Z\t200101000000Z\t{serial}\tunknown\t/CN=bad" for serial in revoked]
        index = directory / "index.txt"
        index.write_text("".join(line + "\n" for line in lines))
        root = authority.root
        signer = ("-CA", root.cert, "-rsigner", root.cert, "-rkey", root.key)
        super().__init__(directory, "openssl", "ocsp", "-port", "0", "-index", index, *signer)
        self.port = self.port_told()


class ScepDaemon(Daemon):
    """micromdm's scepserver; it knows neither an address to listen on nor port 0."""

    CHALLENGE = "first-password"

    def __init__(self, directory):
        directory.mkdir(parents=True, exist_ok=True)
        depot = directory / "depot"
        made = programs.run(directory, "scepserver", "ca", "-init", "-depot", depot, "-keySize", "2048")
        assert made.returncode == 0, programs.told(made)
        self.ca_cert = depot / "ca.pem"
        options = ("-depot", depot, "-challenge", self.CHALLENGE, "-allowrenew", "0")
        for _ in range(5):
            self.port = unused_port()
            super().__init__(directory, "scepserver", *options, "-port", self.port)
            if accepts(self.port, self.process):
                return
            self.close()
        raise AssertionError(f"scepserver does not start: {self.lines.all()}")


def unused_port():
    """Below the range from which the system gives ports to others; unused at this moment on every address."""
    while True:
        port = random.randrange(10000, 32000)
        with socket.socket(socket.AF_INET6) as probe, contextlib.suppress(OSError):
            probe.bind(("::", port))
            return port


def accepts(port, process):
    """Whether the process answers on that port before its end or ours."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            continue
        return process.poll() is None
    return False


def serial_of(directory, certificate):
    """In hex, as the index of a responder has it."""
    text = pki.openssl(directory, "x509", "-in", certificate, "-noout", "-serial")
    return text.decode().strip().partition("=")[2]
