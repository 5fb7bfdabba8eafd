"""What tests of enrollment have in common: keys and requests, curl, and the proofs that the proxy carried it all."""

import base64

from support import pki, programs


class Device:
    """A key and a PKCS #10 request for `name` in a directory of its own."""

    def __init__(self, directory, name="device1", key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        self.directory = directory
        self.name = name
        self.key = directory / f"{name}.key"
        self.request = directory / f"{name}.der"
        self.request_base64 = directory / f"{name}.b64"
        made = ("-nodes", "-keyout", self.key, "-outform", "DER", "-out", self.request)
        pki.openssl(directory, "req", "-new", "-newkey", *key, *made, "-subj", f"/CN={name}")
        self.request_base64.write_bytes(base64.encodebytes(self.request.read_bytes()))

    def keep(self, answer, stem="enrolled"):
        """The certificates of an EST answer (base64 of certs-only PKCS #7) as a PEM file."""
        path = self.directory / f"{stem}.pem"
        der = base64.b64decode(answer)
        path.write_bytes(pki.openssl(self.directory, "pkcs7", "-inform", "DER", "-print_certs", stdin=der))
        return path


def assert_verifies(directory, ca_cert, certificate, subject=None):
    """`openssl verify` takes the certificate as one of that CA's."""
    said = pki.openssl(directory, "verify", "-CAfile", ca_cert, certificate)
    assert said.decode().strip().endswith(": OK"), said
    if subject is not None:
        name = pki.openssl(directory, "x509", "-in", certificate, "-noout", "-subject", "-nameopt", "RFC2253")
        assert subject in name.decode(), name


def curl(home, proxy_url, *arguments, **variables):
    """curl through that proxy; its finished process."""
    common = ("curl", "--disable", "--silent", "--show-error", "--max-time", "60", "--proxy", proxy_url)
    return programs.run(home, *common, *arguments, **variables)


def fetched(home, proxy_url, *arguments):
    """What curl wrote; anything but a 2xx is an error of the test."""
    done = curl(home, proxy_url, "--fail", *arguments)
    assert done.returncode == 0, programs.told(done)
    return done.stdout


def assert_carried(proxy, class_, operation="", **more):
    """
    The access log tells that such an exchange went through well, to our own origin; its line. In a tunnel either side
    may have closed before it had read the other's last words (close_notify), which resets the connection.
    """
    ends = ("ok", "client-reset", "origin-reset") if class_ == "tunnel" else ("ok",)
    wanted = {"class": class_, "operation": operation, "address": "127.0.0.1", **more}
    return proxy.wait_log(
        lambda line: line["outcome"] in ends and all(line.get(key) == value for key, value in wanted.items())
    )


def assert_needs_proxy(proxy, run):
    """With the proxy stopped the client fails, so nothing of the test can have gone another way."""
    assert proxy.stop() == 0
    done = run()
    assert done.returncode != 0, f"it works without the proxy:\n{programs.told(done)}"
