"""
Keys in devices that cannot be used: start and check-config tell the same, at the right key, with what to do, and
without any PIN.
"""

import pathlib
import re

import pytest

from support import hsm, programs
from support.certferry import NotReady
from test_keys import OURS, check_config, need_pkcs11, of_softhsm, of_tpm, start, tpm
from test_keys import pin_file, without_leak_checks, wrong

__all__ = ["start", "tpm"]  # fixtures

# ---- what may be wrong beside a setting ----


def certificate_of_another(made, authority):
    return wrong(made, tls_cert=authority.server("localhost", "127.0.0.1").cert)


def readable_pin(made):
    pathlib.Path(made.settings["tls.pin.file"]).chmod(0o644)
    return made


def configured(made, more="", mode=0o640):
    """The same with another line in its OpenSSL configuration, and who may do what with that."""
    conf = made.settings["tls.provider.config"]
    conf.write_text(f"{conf.read_text()}{more}\n")
    conf.chmod(mode)
    return made


def other_module(made):
    conf = made.settings["tls.provider.config"]
    conf.write_text(conf.read_text().replace("libsofthsm2.so", "libsofthsm9.so"))
    return made


def open_directory(path):
    path.mkdir()
    path.chmod(0o777)
    return path


def at_the_gateway(made):
    """The same key there."""
    keys = [key for key in made.settings if key.startswith("tls.")]
    moved = {"gateway." + key.removeprefix("tls."): made.settings[key] for key in keys}
    made.settings = OURS | moved | {"gateway.upstreams": "https://est.enroll.test", "allowed.hosts": "est.enroll.test"}
    return made


# ---- mistakes: what is made, the key it is told at, and the words that help ----


def placed(settings, directory):
    """Those that can be called are asked with the directory of the test."""
    return {name: value(directory) if callable(value) else value for name, value in settings.items()}


def of_a_tpm(key, words, then=lambda made: made, how=None, **settings):
    """`then`: changes more of it."""

    def make(authority, tpm, directory):
        made = then(of_tpm(authority, tpm, **(how or {})))
        return wrong(made, **placed(settings, directory))

    return make, key, words


def of_a_token(key, words, then=lambda made: made, in_file=False, **settings):
    def make(authority, tpm, directory):
        made = then(of_softhsm(authority, directory, in_file=in_file))
        return wrong(made, **placed(settings, directory))

    return make, key, words


def device_away(authority, tpm, directory):
    made = without_leak_checks(of_tpm(authority, tpm))
    tpm.kill()
    return made


def of_another(authority, tpm, directory):
    return certificate_of_another(of_tpm(authority, tpm), authority)


PASSWORD = {"password": "barley"}
BAD_PASSWORD = "does not sign.*is the PIN or password right"
NO_PIN = r"wants a PIN: name its file in {0}\.pin\.file or its variable in {0}\.pin\.env"
OTHERS_WRITE = "others can write to it.*chmod go-w"
MISTAKES = {
    # a TPM
    "wrong-password": of_a_tpm("tls.key", BAD_PASSWORD, lambda made: pin_file(made, "rye"), PASSWORD),
    "wrong-password-of-a-handle": of_a_tpm(
        "tls.key", BAD_PASSWORD, lambda made: pin_file(made, "rye"), PASSWORD | {"handle": True}
    ),
    "no-password": of_a_tpm("tls.key", NO_PIN.format("tls"), how=PASSWORD, tls_pin_file=None),
    "no-such-handle": of_a_tpm("tls.key", "no such object", tls_key="handle:0x81017777"),
    "away": (device_away, "tls.provider", r"tpm2 cannot be loaded.*does its device answer.*tls\.tpm\.tcti"),
    "not-its-certificate": (of_another, "tls.key", "not that of the certificate"),
    "no-provider": of_a_tpm("tls.key", r"the key of a device: tls\.provider=tpm2 can use it", tls_provider=""),
    "uri-without-provider": of_a_tpm(
        "tls.key", r"a URI needs the provider.*tls\.provider", how={"handle": True}, tls_provider=""
    ),
    "no-such-provider": of_a_tpm("tls.provider", "tpm3 cannot be loaded.*is its package", tls_provider="tpm3"),
    "provider-elsewhere": of_a_tpm("tls.provider", "tpm2 cannot be loaded", tls_provider_path=lambda path: path),
    "no-such-place": of_a_tpm("tls.provider.path", "No such file", tls_provider_path=lambda path: path / "nothing"),
    "open-place": of_a_tpm(
        "tls.provider.path", OTHERS_WRITE, tls_provider_path=lambda path: open_directory(path / "open")
    ),
    "place-not-full": of_a_tpm("tls.provider.path", "no full path", tls_provider_path="modules"),
    "pin-file-open": of_a_tpm(
        "tls.pin.file", "everybody can read it.*chmod o-r", readable_pin, PASSWORD
    ),
    "pin-file-away": of_a_tpm("tls.pin.file", "No such file", tls_pin_file=lambda path: path / "nothing"),
    "pin-variable-unset": of_a_tpm("tls.pin.env", '"NOT_SET" holds no PIN', tls_pin_env="NOT_SET"),
    "pin-twice": of_a_tpm("tls.pin.env", "use one", how=PASSWORD, tls_pin_env="DOOR_PIN"),
    # a token
    "hsm-wrong-pin": of_a_token("tls.key", "the PIN may be wrong", lambda made: pin_file(made, hsm.WRONG_PIN)),
    "hsm-no-pin": of_a_token("tls.key", NO_PIN.format("tls"), tls_pin_file=None),
    "hsm-no-pin-at-the-gateway": of_a_token(
        "gateway.key", NO_PIN.format("gateway"), at_the_gateway, gateway_pin_file=None
    ),
    "hsm-no-such-object": of_a_token(
        "tls.key", "no such object.*PKCS11_PROVIDER_DEBUG", tls_key="pkcs11:token=proxy;object=nothing;type=private"
    ),
    "hsm-no-such-token": of_a_token(
        "tls.key", "no such object or token", tls_key="pkcs11:token=nothing;object=tls;type=private"
    ),
    "hsm-module-away": of_a_token(
        "tls.(key|provider)",
        'no key there.*is pkcs11-module-path in ".*provider.cnf" right|cannot be loaded',
        other_module,
    ),
    "hsm-no-module-named": of_a_token(
        "tls.key",
        r"no module of it was named: write pkcs11-module-path = .* into tls\.provider\.config",
        tls_provider_config=None,
        tls_key="pkcs11:token=nothing;object=tls",
    ),
    "hsm-no-provider": of_a_token(
        "tls.key", r"the key of a device: tls\.provider=pkcs11 can use it", in_file=True, tls_provider=""
    ),
    "hsm-certificate-by-uri": of_a_token(
        "tls.cert", "certificates are read from files", tls_cert=f"pkcs11:object=tls;type=cert?pin-value={hsm.PIN}"
    ),
    "hsm-pin-in-the-uri": of_a_token(
        "tls.key", r"a PIN does not belong here.*tls\.pin\.file", tls_key=f"pkcs11:object=tls?pin-value={hsm.PIN}"
    ),
    "hsm-pin-in-the-uri-without-provider": of_a_token(
        "tls.key", "a PIN does not belong here", tls_provider="", tls_key=f"pkcs11:?pin-value={hsm.PIN}"
    ),
    "hsm-no-configuration": of_a_token(
        "tls.provider.config", "No such file", tls_provider_config=lambda path: path / "nothing"
    ),
    "hsm-open-configuration": of_a_token(
        "tls.provider.config", OTHERS_WRITE, lambda made: configured(made, mode=0o666)
    ),
    "hsm-configuration-with-a-pin": of_a_token(
        "tls.provider.config",
        "everybody can read it.*chmod o-r",
        lambda made: configured(made, f"pkcs11-module-token-pin = {hsm.PIN}", mode=0o644),
    ),
    "hsm-configuration-with-a-slip": of_a_token(
        "tls.provider",
        r'"[^"]*provider.cnf" is no OpenSSL configuration: missing equal sign in line \d+$',
        lambda made: configured(made, f"pkcs11-module-token-pin {hsm.PIN}"),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(start, authority, request, tmp_path, mistake):
    """Told at start and by check-config alike, with what to do; nobody is asked at a terminal."""
    make, key, words = MISTAKES[mistake]
    if mistake.startswith("hsm-"):
        need_pkcs11()
    made = make(authority, None if mistake.startswith("hsm-") else request.getfixturevalue("tpm"), tmp_path)
    with pytest.raises(NotReady) as refused:
        start(made)
    assert refused.value.status == 1, refused.value
    checked = check_config(made, tmp_path)
    assert checked.returncode == 1, programs.told(checked)
    expected = re.compile(rf"^\S+: {key}: .*({words})", re.MULTILINE)
    assert expected.search(str(refused.value)), refused.value
    assert expected.search(checked.stderr.decode()), programs.told(checked)
    told = str(refused.value) + checked.stderr.decode()
    assert not [secret for secret in (hsm.PIN, hsm.WRONG_PIN, "barley") if secret in told], told
