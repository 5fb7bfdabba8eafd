"""Is it still valid? OCSP (RFC 6960), CRLs and issuer certificates (RFC 5280), which CAs serve over plain HTTP."""

import base64
import datetime
import urllib.parse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from support import pki, programs
from support.daemons import OcspResponder, serial_of
from support.enrolling import assert_carried, assert_needs_proxy, assert_verifies, curl, fetched
from support.origins import reply

OCSP = "ocsp.enroll.test"
CRL = "crl.enroll.test"


@pytest.fixture(scope="module")
def good(authority):
    return authority.server("good.enroll.test").cert


@pytest.fixture(scope="module")
def revoked(authority):
    return authority.server("revoked.enroll.test").cert


@pytest.fixture(scope="module")
def responder(tmp_path_factory, authority, good, revoked):
    directory = tmp_path_factory.mktemp("ocsp")
    serials = [[serial_of(directory, path)] for path in (good, revoked)]
    with OcspResponder(directory, authority, *serials) as server:
        yield server


def openssl_ocsp(home, authority, certificate, *where, **variables):
    root = authority.root.cert
    asked = ("-issuer", root, "-cert", certificate, "-CAfile", root)
    return programs.run(home, "openssl", "ocsp", *asked, *where, **variables)


def assert_answered(done, status):
    assert done.returncode == 0, programs.told(done)
    assert b"Response verify OK" in done.stderr, programs.told(done)
    assert f": {status}\n".encode() in done.stdout, programs.told(done)


def assert_asked(proxy, server, **more):
    return assert_carried(proxy, "ocsp", "request", host=OCSP, port=server.port, status=200, **more)


def test_ocsp_good_and_revoked(proxy, authority, responder, good, revoked, home):
    where = ("-url", f"http://{OCSP}:{responder.port}/", "-proxy", proxy.url, "-timeout", "10")
    assert_answered(openssl_ocsp(home, authority, good, *where), "good")
    assert_answered(openssl_ocsp(home, authority, revoked, *where), "revoked")
    line = assert_asked(proxy, responder, method="POST")
    assert line["bytes_up"] > 50 and line["bytes_down"] > 100
    short = (*where[:-1], "1")  # it would try to reach a dead proxy until this is over
    assert_needs_proxy(proxy, lambda: openssl_ocsp(home, authority, good, *short))


def test_ocsp_without_timeout(proxy, authority, responder, good, home):
    """OpenSSL reads an answer otherwise then."""
    where = ("-url", f"http://{OCSP}:{responder.port}/", "-proxy", proxy.url)
    assert_answered(openssl_ocsp(home, authority, good, *where), "good")
    assert_asked(proxy, responder)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
def test_ocsp_proxy_from_the_environment(proxy, authority, responder, good, home, variable):
    where = ("-url", f"http://{OCSP}:{responder.port}/")
    assert_answered(openssl_ocsp(home, authority, good, *where, **{variable: proxy.url}), "good")
    assert_asked(proxy, responder)


def test_ocsp_with_the_proxy_as_host(proxy, authority, responder, good, home):
    """The old way: the Host field then names the proxy, and the target alone counts."""
    where = ("-host", f"127.0.0.1:{proxy.port}", "-path", f"http://{OCSP}:{responder.port}/ocsp")
    assert_answered(openssl_ocsp(home, authority, good, *where), "good")
    assert_asked(proxy, responder)


def test_ocsp_by_get(proxy, authority, responder, good, home):
    """RFC 6960 appendix A.1: the request in base64, escaped, as the last part of the path."""
    request, answer = home / "request.der", home / "answer.der"
    root = authority.root.cert
    pki.openssl(home, "ocsp", "-issuer", root, "-cert", good, "-no_nonce", "-reqout", request)
    path = urllib.parse.quote(base64.b64encode(request.read_bytes()), safe="")
    answer.write_bytes(fetched(home, proxy.url, f"http://{OCSP}:{responder.port}/{path}"))
    assert_answered(openssl_ocsp(home, authority, good, "-respin", answer), "good")
    assert_asked(proxy, responder, method="GET")


# CRLs and issuer certificates are files; an origin of ours serves them.


@pytest.fixture(scope="module")
def crl(authority, revoked):
    """The CA's list in DER, with one certificate on it."""
    ca = x509.load_pem_x509_certificate(authority.root.cert.read_bytes())
    key = serialization.load_pem_private_key(authority.root.key.read_bytes(), None)
    serial = x509.load_pem_x509_certificate(revoked.read_bytes()).serial_number
    now = datetime.datetime.now(datetime.timezone.utc)
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).add_revoked_certificate(entry)
    builder = builder.last_update(now - datetime.timedelta(hours=1)).next_update(now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.fixture
def files(http_origin, authority, crl):
    """Serves both files, and knows conditional requests."""
    kept = {
        "/ca.crl": (crl, "application/pkix-crl"),
        "/ca.cer": (authority.root.der(), "application/pkix-cert"),
    }

    def answer(request):
        if request.target not in kept:
            return reply(b"no such file\n", "404 Not Found")
        if request.header("If-None-Match") == '"one"':
            return b'HTTP/1.1 304 Not Modified\r\nETag: "one"\r\n\r\n'
        body, kind = kept[request.target]
        return reply(body, headers=('ETag: "one"',), kind=kind)

    return http_origin(answer)


def assert_file(proxy, server, class_, **more):
    return assert_carried(proxy, class_, "fetch", host=CRL, port=server.port, **more)


def test_crl_by_curl(proxy, authority, files, good, revoked, home):
    der, pem = home / "ca.crl", home / "crl.pem"

    def run():
        return curl(home, proxy.url, "--fail", "-o", der, f"http://{CRL}:{files.port}/ca.crl")

    done = run()
    assert done.returncode == 0, programs.told(done)
    pki.openssl(home, "crl", "-inform", "DER", "-in", der, "-out", pem, "-CAfile", authority.root.cert)
    check = ("verify", "-crl_check", "-CRLfile", pem, "-CAfile", authority.root.cert)
    assert pki.openssl(home, *check, good).endswith(b": OK\n")
    assert b"certificate revoked" in programs.run(home, "openssl", *check, revoked).stderr
    assert assert_file(proxy, files, "crl", method="GET", status=200)["bytes_down"] >= der.stat().st_size
    assert_needs_proxy(proxy, run)


def test_crl_unchanged(proxy, files, crl, home):
    """HEAD, and 304: lengths are told, bodies do not come."""
    url = f"http://{CRL}:{files.port}/ca.crl"
    head = fetched(home, proxy.url, "--head", url)
    assert f"Content-Length: {len(crl)}\r\n".encode() in head
    assert_file(proxy, files, "crl", method="HEAD", status=200)
    write = ("--header", 'If-None-Match: "one"', "--write-out", "%{http_code} %{num_connects} ")
    done = curl(home, proxy.url, *write, url, url)
    assert done.stdout == b"304 1 304 0 ", programs.told(done)
    assert_file(proxy, files, "crl", method="GET", status=304)


def test_openssl_verify_downloads_the_crl(proxy, authority, files, home):
    """The certificate says where the list is; the list says that the certificate is fine."""
    extensions, path = home / "extensions.cnf", home / "pointing.pem"
    extensions.write_text(f"crlDistributionPoints = URI:http://{CRL}:{files.port}/ca.crl\n")
    root = authority.root
    signer = ("-CA", root.cert, "-CAkey", root.key, "-days", "5", "-set_serial", "815", "-extfile", extensions)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", home / "pointing.key")
    request = pki.openssl(home, "req", "-new", *key, "-subj", "/CN=pointing")
    path.write_bytes(pki.openssl(home, "x509", "-req", *signer, stdin=request))

    def run(*limit):
        check = ("-crl_check", "-crl_download", "-CAfile", root.cert, path)
        return programs.run(home, *limit, "openssl", "verify", *check, http_proxy=proxy.url)

    done = run()
    assert done.returncode == 0 and done.stdout.endswith(b": OK\n"), programs.told(done)
    assert_file(proxy, files, "crl", method="GET", status=200)
    # It tries to reach a dead proxy for a long time.
    assert_needs_proxy(proxy, lambda: run("timeout", "2"))


def test_issuer_certificate_by_curl(proxy, authority, files, home):
    out = home / "issuer.pem"

    def run():
        return curl(home, proxy.url, "--fail", f"http://{CRL}:{files.port}/ca.cer")

    done = run()
    assert done.stdout == authority.root.der()
    pki.openssl(home, "x509", "-inform", "DER", "-out", out, stdin=done.stdout)
    assert_verifies(home, authority.root.cert, out, "CN=Certferry test CA")
    assert_file(proxy, files, "aia", method="GET", status=200)
    assert_needs_proxy(proxy, run)


def test_missing_file(proxy, files, home):
    """404 is the origin's word; for the proxy all went well."""
    done = curl(home, proxy.url, "--write-out", "%{http_code}", f"http://{CRL}:{files.port}/other.crl")
    assert done.stdout == b"no such file\n404", programs.told(done)
    assert_file(proxy, files, "crl", status=404)
