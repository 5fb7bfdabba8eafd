"""
What clients notice while sensors come and go: real enrollments over and over, through the agent, through PAC and through
one name with all addresses, while something happens to the plant (support/plant.py). `pytest -s` prints the figures.

Nothing may fail through the agent. An enrollment whose tunnel was open on the sensor that was killed is excepted, and
counted: TLS that has begun cannot move.
"""

import json
import os
import pathlib
import time

import pytest
from support.herd import longest_gap
from support.plant import ATTEMPT_TIMEOUT, LEASE_TTL, SENSORS, Plant

# Enrollments of each client before, and behind, what happens.
BEFORE, BEHIND = 10, 20


@pytest.fixture
def plant(tmp_path, authority):
    with Plant(tmp_path / "plant", authority) as made:
        yield made


class Herd:
    """Clients of each kind that enroll over and over: AGENTS through the agent, one by each other way."""

    AGENTS = 3

    def __init__(self, plant, capsys, kinds=("agent", "pac", "addresses")):
        self.plant, self.capsys = plant, capsys
        self.kinds = {
            kind: [getattr(plant, f"by_{kind}")() for _ in range(self.AGENTS if kind == "agent" else 1)] for kind in kinds
        }
        self.happened = float("inf")
        self.settle(BEFORE, BEFORE)

    def settle(self, agents=BEHIND, others=2):
        """So many more enrollments; the others may be slow now: curl waits for a silent address before the next."""
        for kind, clients in self.kinds.items():
            for client in clients if kind != "agent" else clients[:1]:
                client.wait(agents if kind == "agent" else others)

    def happens(self, act):
        """
        Something that cuts what is open at this moment; it is done when this returns. One more client begins then: the
        others may all hold a tunnel that is lost.
        """
        act()
        self.happened = time.monotonic()
        self.kinds["agent"].insert(0, self.plant.by_agent())

    def figures(self, event):
        """
        Ends the enrollments; the longest gap of each kind in seconds. Printed, and kept where $CERTFERRY_FIGURES says.
        Nothing but what was open when it happened may have failed through the agent, and that only if something was cut.
        """
        rows = {}
        for kind, clients in self.kinds.items():
            for client in clients:
                client.stop()
            attempts = [attempt for client in clients for attempt in client.attempts]
            failed = [attempt for attempt in attempts if attempt.fault]
            rows[kind] = {"tried": len(attempts), "failed": len(failed), "gap": round(longest_gap(clients), 2)}
        self._tell(event, rows)
        failed = [attempt for client in self.kinds["agent"] for attempt in client.failed()]
        wrong = [attempt for attempt in failed if not attempt.began < self.happened < attempt.ended + 0.1]
        assert not wrong, f"{wrong}\n{self.plant.transcript()}"
        return {kind: row["gap"] for kind, row in rows.items()}, {kind: row["failed"] for kind, row in rows.items()}

    def _tell(self, event, rows):
        with self.capsys.disabled():
            for kind, row in rows.items():
                print(f"\n{event:28} {kind:10}" + "".join(f"  {name} {value:5}" for name, value in row.items()), end="")
        if where := os.environ.get("CERTFERRY_FIGURES"):
            path = pathlib.Path(where)
            kept = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps(kept | {event: rows}, indent=1))


def test_a_sensor_is_killed(plant, capsys):
    herd = Herd(plant, capsys)
    herd.happens(plant.sensors[plant.agent_uses()].kill)
    herd.settle()
    gaps, _ = herd.figures("a sensor is killed")
    assert gaps["agent"] < 1


def test_a_sensor_falls_silent(plant, capsys):
    herd = Herd(plant, capsys)
    best = plant.hosts[plant.agent_uses()]
    herd.happens(best.silence)
    herd.settle()
    best.speak()
    herd.settle()
    gaps, _ = herd.figures("a sensor falls silent")
    assert gaps["agent"] < ATTEMPT_TIMEOUT + 1


def test_etcd_stops_and_comes_back(plant, capsys):
    herd = Herd(plant, capsys)
    plant.stop_etcd()
    herd.settle()
    assert all(set(plant.roster(name)) == set(SENSORS) for name in SENSORS), "the roster before stays"
    plant.start_etcd()
    herd.settle()
    gaps, failed = herd.figures("etcd stops and comes back")
    assert not any(failed.values())
    assert gaps["agent"] < 1


def test_a_sensor_is_drained(plant, capsys):
    herd = Herd(plant, capsys)
    best = plant.sensors[plant.agent_uses()]
    best.terminate()
    assert best.wait() == 0
    herd.settle()
    gaps, failed = herd.figures("a sensor is drained")
    assert not failed["agent"] and not failed["pac"], "it has left the documents before it closed its port"
    assert gaps["agent"] < 1


def test_all_are_restarted_one_after_another(plant, capsys):
    herd = Herd(plant, capsys)
    for name in SENSORS:
        plant.sensors[name].terminate()
        assert plant.sensors[name].wait() == 0
        plant.start_sensor(name)
        others = set(SENSORS) - {name}
        plant.wait(lambda others=others: all(plant.usable(other) == set(SENSORS) for other in others), "no join")
        herd.settle()
    gaps, failed = herd.figures("all restarted, one by one")
    assert not failed["agent"]
    assert gaps["agent"] < 1


def test_the_roster_follows_joins_and_crashes(plant, capsys):
    plant.sensors["px3"].kill()
    left = plant.wait(
        lambda: all(plant.roster(name).get("px3") in (None, "down") for name in ("px1", "px2")),
        "the crash is not seen",
    )
    plant.start_sensor("px3")
    joined = plant.wait(lambda: all(plant.usable(name) == set(SENSORS) for name in SENSORS), "the join is not seen")
    with capsys.disabled():
        print(f"\nroster: crash seen by all within {left:.2f} s, join within {joined:.2f} s", end="")
    assert left < LEASE_TTL + 1
    assert joined < 2


class TestFullQueue:
    """A sensor whose CA connections are all taken, and whose queue is full, answers 503: that is no reason to fail."""

    @pytest.fixture
    def plant(self, tmp_path, authority):
        settings = {"limit.upstream.per.host": "4", "queue.max": "2", "queue.timeout": "1s"}
        with Plant(tmp_path / "plant", authority, **settings) as made:
            yield made

    def test_its_queue_is_full(self, plant, capsys):
        herd = Herd(plant, capsys, kinds=("agent",))
        best = plant.agent_uses()
        with plant.queue_filled(best, 4):
            herd.settle()
        mine = {"client": plant.client.address, "status": 503}
        plant.sensors[best].wait_log(lambda line: mine.items() <= line.items())
        gaps, failed = herd.figures("a sensor's queue is full")
        assert not failed["agent"]
        assert gaps["agent"] < 3
