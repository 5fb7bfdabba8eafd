"""
Basic proxy authentication (RFC 9110 section 11.7, RFC 7617) against an htpasswd file: real clients, wrong passwords
that are slowed, what is remembered, and files that must not be believed.
"""

import base64
import re
import subprocess
import time

import pytest
from support import programs
from support.certferry import BINARY, NotReady
from support.origins import pages
from support.raw_http import Client, assert_refused, ended_with, metric, request

NAME = "ca.enroll.test"
USER, PASSWORD = "device-7", "open sesame"


def hashed(kind, password=PASSWORD):
    """What the operator's own tools make of a password."""
    if kind == "bcrypt":
        made = subprocess.run(["htpasswd", "-nbB", "-C", "4", "x", password], capture_output=True, check=True)
        return made.stdout.decode().strip().partition(":")[2]
    made = subprocess.run(["mkpasswd", "-m", kind, "--stdin"], input=password.encode(), capture_output=True, check=True)
    return made.stdout.decode().strip()


@pytest.fixture(scope="module")
def bcrypt():
    return hashed("bcrypt")


@pytest.fixture
def write_users(tmp_path):
    """Factory: writes the password file and returns its path; mode as an operator should have it."""

    def write(text, mode=0o640, name="users"):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def settings(enroll_settings):
    # The file lies where a service user could not go; test_process.py has one that can.
    return enroll_settings | {"auth.failure.delay": "100ms", "auth.realm": "plant 7", "service.user": "root"}


@pytest.fixture
def proxy(certferry, settings, write_users, bcrypt):
    users = write_users(f"# devices of plant 7\n\n{USER}:{bcrypt}\nother:{bcrypt}\n")
    return certferry(settings | {"auth.file": users})


@pytest.fixture
def web(http_origin):
    server = http_origin(pages({"/": b"ok"}))
    yield f"http://{NAME}:{server.port}/"
    for asked in server.requests:
        names = [name.lower() for name, _ in asked.headers]
        assert "proxy-authorization" not in names, "a secret between client and proxy"


@pytest.fixture
def tls_origin(http_origin, authority):
    return http_origin(pages({"/": b"ok"}), certificate=authority.server(NAME))


def basic(user=USER, password=PASSWORD):
    return "Proxy-Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def with_credentials(proxy, user=USER, password=PASSWORD):
    return f"http://{user}:{password.replace(' ', '%20')}@127.0.0.1:{proxy.port}"


def assert_question(proxy, answer, token, kept):
    assert answer.status == 407 and answer.complete
    assert answer.header("Proxy-Authenticate") == 'Basic realm="plant 7", charset="UTF-8"'
    assert answer.closes() != kept, answer.head
    proxy.wait_log(lambda line: line["outcome"] == token and line["status"] == 407)


# ---- the question and the answer


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_question_keeps_the_connection(proxy, web, tls_origin, method):
    """Asked first, answered on the same connection (git, curl --proxy-anyauth)."""
    target = web if method == "GET" else f"{NAME}:{tls_origin.port}"
    with Client(proxy) as client:
        assert_question(proxy, client.fetch(target, method=method), "auth-required", kept=True)
        client.ask(target, basic(), method=method)
        assert client.head().status == 200
    # A tunnel without a ClientHello is told when it ends; who asked is known all the same.
    line = proxy.wait_log(lambda line: line["user"] == USER)
    assert (line["method"], line["status"]) == (method, 200)


def test_question_with_a_body_closes(proxy, web):
    with Client(proxy) as client:
        answer = client.fetch(web, method="POST", body=b"x" * 100)
        assert_question(proxy, answer, "auth-required", kept=False)
        assert client.ended()


def test_http_1_0_question_closes(proxy, tls_origin):
    with Client(proxy) as client:
        answer = client.fetch(f"{NAME}:{tls_origin.port}", method="CONNECT", version="1.0")
        assert_question(proxy, answer, "auth-required", kept=False)


def test_every_request_needs_it(proxy, web):
    """The connection is no proof: another user may share it behind another proxy."""
    with Client(proxy) as client:
        assert client.fetch(web, basic()).status == 200
        assert_question(proxy, client.fetch(web), "auth-required", kept=True)
        assert client.fetch(web, basic("other")).status == 200
    proxy.wait_log(lambda line: line["user"] == "other")
    assert [line["user"] for line in proxy.log()] == [USER, "", "other"]


def test_policy_is_told_to_users_only(proxy):
    with Client(proxy) as client:
        assert client.fetch("http://elsewhere.test/").status == 407
        assert_refused(proxy, client.fetch("http://elsewhere.test/", basic()), "host-denied")


def test_malformed_is_told_to_everybody(proxy):
    with Client(proxy) as client:
        client.send(b"GET http://ca.enroll.test/ HTTP/1.1\r\nHost : x\r\n\r\n")
        assert_refused(proxy, client.response(), "bad-request")


@pytest.mark.parametrize("page", ["/healthz", "/readyz", "/.well-known/pvd", "/proxy.pac", "/metrics"])
def test_own_pages_need_none(proxy, page):
    with Client(proxy) as client:
        assert client.fetch(page, "Host: a").status == 200


@pytest.mark.parametrize(
    "fields",
    [
        [basic(), basic()],
        [basic(), "Proxy-Authorization: Bearer x"],
        ["Proxy-Authorization: Basic %%%"],
        ["Proxy-Authorization: Basic dXNlcg=="],
        ["Proxy-Authorization: Basic dTpwAHg="],
    ],
)
def test_malformed_credentials(proxy, web, fields):
    with Client(proxy) as client:
        assert_refused(proxy, client.fetch(web, *fields), "bad-request")


# ---- wrong ones


@pytest.mark.parametrize("user, password", [(USER, "barley"), ("nobody", PASSWORD), (USER, ""), ("", "")])
def test_wrong(proxy, web, user, password):
    with Client(proxy) as client:
        began = time.monotonic()
        assert_question(proxy, client.fetch(web, basic(user, password)), "auth-failed", kept=True)
        assert time.monotonic() - began >= 0.1, "held back for auth.failure.delay"
        assert client.fetch(web, basic()).status == 200, "and the right one passes on the same connection"
    assert metric(proxy, "auth_failures_total") == 1


def test_guesses_in_parallel(certferry, settings, write_users, bcrypt, web):
    """However many connections an address opens, guesses after the first are made one by one, or refused."""
    proxy = certferry(settings | {"auth.file": write_users(f"{USER}:{bcrypt}\n"), "auth.failure.delay.max": "400ms"})
    with Client(proxy, source="127.0.0.66") as client:
        assert client.fetch(web, basic(password="guess")).status == 407
    clients = [Client(proxy, source="127.0.0.66") for _ in range(30)]
    for number, client in enumerate(clients):
        client.ask(web, basic(password=f"guess {number}"))
    with Client(proxy, source="127.0.0.67") as client:
        assert client.fetch(web, basic()).status == 200, "another address is not slowed"
    answers = [client.response() for client in clients]
    for client in clients:
        client.close()
    assert {answer.status for answer in answers} == {407, 503}
    assert metric(proxy, "auth_failures_total") <= 6
    for answer in answers:
        assert answer.status == 407 or answer.header("Retry-After")
    with Client(proxy, source="127.0.0.66") as client:
        assert client.fetch(web, basic()).status == 200, "what is remembered is never slowed"


def test_busy(certferry, settings, write_users, bcrypt, web):
    proxy = certferry(
        settings
        | {"auth.file": write_users(f"{USER}:{bcrypt}\n"), "auth.pending.max": "1"}
        | {"auth.failure.delay": "1m", "auth.failure.delay.max": "1m", "threads": "1"}
    )
    first, second = (Client(proxy, source="127.0.0.66") for _ in range(2))
    first.ask(web, basic(password="wrong"))
    while metric(proxy, "auth_failures_total") < 1:  # its answer is held back now, which takes no place
        pass
    second.ask(web, basic(password="wrong"))  # this one waits for its turn, and is the only one that may
    while metric(proxy, "auth_pending") < 1:
        pass
    with Client(proxy, source="127.0.0.67") as client:
        answer = client.fetch(web, basic())
        assert_refused(proxy, answer, "auth-busy")
        assert answer.header("Retry-After")
    for client in (first, second):
        client.reset()
    while ended_with(proxy, "client-reset") < 2:
        pass
    with Client(proxy, source="127.0.0.67") as client:
        assert client.fetch(web, basic()).status == 200, "who leaves makes room"


def test_remembered(proxy, web):
    for _ in range(5):
        with Client(proxy) as client:
            assert client.fetch(web, basic()).status == 200
    assert metric(proxy, "auth_checks_total") == 1
    assert metric(proxy, "auth_remembered_total") == 4


# ---- the file


@pytest.mark.parametrize("kind", ["bcrypt", "yescrypt", "sha512crypt", "sha256crypt", "scrypt"])
def test_hashes(certferry, settings, write_users, web, kind):
    proxy = certferry(settings | {"auth.file": write_users(f"{USER}:{hashed(kind)}\n")})
    with Client(proxy) as client:
        assert client.fetch(web, basic()).status == 200
        assert client.fetch(web, basic(password="barley")).status == 407


def test_reload(proxy, web, write_users, bcrypt):
    with Client(proxy) as client:
        assert client.fetch(web, basic()).status == 200
        write_users(f"new:{bcrypt}\n")
        proxy.reload({})
        assert client.fetch(web, basic()).status == 407, "whoever is not in the file any more, remembered or not"
        assert client.fetch(web, basic("new")).status == 200
        write_users("")
        assert "refused" in proxy.reload({}), "a file without users would let nobody in, or everybody"
        assert client.fetch(web, basic("new")).status == 200
        proxy.reload({"auth.file": None})
        assert client.fetch(web).status == 200


@pytest.mark.parametrize(
    "text, mode, told",
    [
        ("u:$apr1$salt$hash\n", 0o640, r"users:1: hash is not bcrypt"),
        ("u:plain\n", 0o640, r"users:1: hash is not bcrypt"),
        ("\n# x\nnonsense\n", 0o640, r"users:3: line is not user:hash"),
        ("", 0o640, r"names nobody"),
        ("u:{hash}\nu:{hash}\n", 0o640, r"users:2: user is given twice"),
        ("u:{hash}\n", 0o646, r"others can write to it.*chmod go-w"),
        ("u:{hash}\n", 0o644, r"everybody can read it.*chmod o-r"),
        (None, 0, r"No such file"),
    ],
)
def test_bad_files(certferry, settings, write_users, bcrypt, tmp_path, text, mode, told):
    if text is not None:
        write_users(text.replace("{hash}", bcrypt), mode)
    with pytest.raises(NotReady) as caught:
        certferry(settings | {"auth.file": tmp_path / "users"})
    assert caught.value.status == 1
    assert any(re.search(told, line) for line in caught.value.events), caught.value.events
    done = programs.run(tmp_path, BINARY, "check-config", "--conf", tmp_path / "certferry-1/conf", **sanitizers())
    assert done.returncode == 1 and re.search(told, done.stderr.decode()), programs.told(done)


def sanitizers():
    return programs.sanitizer_options(99)


def test_relative_to_the_configuration(certferry, settings, tmp_path, bcrypt, web):
    conf = tmp_path / "certferry-1/conf"
    conf.mkdir(parents=True)
    (conf / "users").write_text(f"{USER}:{bcrypt}\n")
    (conf / "users").chmod(0o640)
    proxy = certferry(settings | {"auth.file": "users"})
    with Client(proxy) as client:
        assert client.fetch(web, basic()).status == 200


def test_secrets_stay_out_of_the_logs(proxy, web):
    with Client(proxy) as client:
        client.fetch(web, basic())
        client.fetch(web, basic(password="another secret"))
    said = str(proxy.log()) + str(proxy.events())
    for secret in (PASSWORD, "another secret", basic().split()[-1]):
        assert secret not in said


# ---- real clients


def curl(*more):
    return lambda url, url_proxy, root: ["curl", "-sS", "--cacert", root, "--proxy", url_proxy, *more, url]


def wget(url, url_proxy, root):
    user, password = url_proxy[7:].partition("@")[0].split(":")
    return ["wget", "-q", "-O", "-", "--tries=1", f"--ca-certificate={root}", f"--proxy-user={user}",
            f"--proxy-password={password.replace('%20', ' ')}", url]  # fmt: skip


def requests(url, url_proxy, root):
    code = f"import requests; r = requests.get({url!r}, proxies={{'https': {url_proxy!r}}}, verify={str(root)!r}); print(r.text, end='')"
    return ["/usr/bin/python3", "-c", code]


def s_client(url, url_proxy, root):
    user, password = url_proxy[7:].partition("@")[0].split(":")
    authority = url[8:].rstrip("/")
    ask = f"GET / HTTP/1.1\\r\\nHost: {authority}\\r\\nConnection: close\\r\\n\\r\\n"
    plain = password.replace("%20", " ")
    return ["sh", "-c", f"printf '{ask}' | openssl s_client -quiet -ign_eof -verify_return_error -CAfile {root} "
            f"-servername {authority.split(':')[0]} -proxy {url_proxy.partition('@')[2]} -proxy_user {user} "
            f"-proxy_pass 'pass:{plain}' -connect {authority}"]  # fmt: skip


CLIENTS = {
    "curl": curl(),
    "curl-anyauth": curl("--proxy-anyauth"),
    "wget": wget,
    "requests": requests,
    "openssl-s_client": s_client,
}


@pytest.mark.parametrize("name", CLIENTS)
def test_clients(proxy, tls_origin, authority, home, name):
    url = f"https://{NAME}:{tls_origin.port}/"
    root = authority.root.cert
    for user, works in ((USER, True), ("stranger", False)):
        url_proxy = with_credentials(proxy, user)
        command = CLIENTS[name](url, url_proxy, root)
        plain = f"http://127.0.0.1:{proxy.port}" if name == "wget" else None
        done = programs.run(home, *command, https_proxy=plain)
        assert (b"ok" in done.stdout) == works, programs.told(done)
        if name != "openssl-s_client":
            assert (done.returncode == 0) == works, programs.told(done)
    assert ended_with(proxy, "auth-failed") >= 1
    proxy.wait_log(lambda line: line["status"] == 200 and line["class"] == "tunnel")
    assert {line["user"] for line in proxy.log() if line["status"] == 200 and line["class"] == "tunnel"} == {USER}


def test_git_asks_first(proxy, tls_origin, authority, home):
    """git takes the 407 and repeats the CONNECT on the same connection."""
    programs.run(
        home, "git", "-c", f"http.proxy={with_credentials(proxy)}", "-c", f"http.sslCAInfo={authority.root.cert}",
        "ls-remote", f"https://{NAME}:{tls_origin.port}/repo.git", GIT_TERMINAL_PROMPT="0",
    )  # fmt: skip
    asked = proxy.wait_log(lambda line: line["outcome"] == "auth-required")
    passed = proxy.wait_log(lambda line: line["status"] == 200 and line["method"] == "CONNECT")
    assert asked["client_port"] == passed["client_port"]


def test_request_of_the_test_itself():
    """basic() is what RFC 7617 section 2 shows."""
    assert basic("Aladdin", "open sesame").endswith("QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
    assert request("a:1", method="CONNECT").startswith(b"CONNECT a:1 HTTP/1.1\r\n")
