"""Tests over several hosts: see support/sites.py. Only root, and only with network namespaces and nftables."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support import sites  # noqa: E402
from support.pki import Authority  # noqa: E402


def pytest_collection_modifyitems(items):
    if not sites.possible():
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs root, network namespaces and nftables"))


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """The CA of this test process."""
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def home(tmp_path):
    """An empty home directory for clients."""
    path = tmp_path / "home"
    path.mkdir()
    return path
