"""Fixtures of the files about the https-connect door, which take them by importing their names."""

import pytest
from support.client_pki import ClientAuthority
from support.tls_door import context, door_settings, names


@pytest.fixture
def certificate(authority):
    """The door's."""
    return authority.server("localhost", "127.0.0.1")


@pytest.fixture
def settings(enroll_settings, certificate):
    """Those of enroll_settings, with a door."""
    return enroll_settings | door_settings(certificate)


@pytest.fixture
def proxy(certferry, settings):
    """A running certferry with it."""
    return certferry(settings)


@pytest.fixture
def tls(authority):
    """A client's context that believes the door."""
    return context(authority)


@pytest.fixture
def both_kinds(tmp_path):
    """One name, two kinds of key; and the CA that has certified both."""
    ca = ClientAuthority(tmp_path / "both", "Server CA")
    return ca, [ca.certificate("localhost", names("localhost"), kind=kind) for kind in ("ec", "rsa")]
