"""The example configurations of docs/examples, as settings and texts that a test can bend to its ports and files."""

from support.certferry import ROOT

EXAMPLES = ROOT / "docs/examples"


def settings_of(directory):
    """The keys of all files of an example but roles.properties, as an operator would write them."""
    settings = {}
    for path in sorted((EXAMPLES / directory).glob("*.properties")):
        if path.name != "roles.properties":
            lines = [line.strip() for line in path.read_text().splitlines()]
            settings |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return settings


def text_of(directory, name):
    return (EXAMPLES / directory / name).read_text()


def environment_of(drop_in):
    """What a systemd drop-in's Environment= lines give a service."""
    lines = [line.partition("=")[2] for line in drop_in.splitlines() if line.startswith("Environment=")]
    return dict(line.strip('"').split("=", 1) for line in lines)
