"""Runs certferry agent for a test."""

import re

from support.certferry import Certferry

FIRST = re.compile(r"exchanges go to sensor (http://\S+) first")
# Its own defaults are what is tested; only the times are those of a test.
LEFT_OUT = {"listen.addresses": None, "threads": None, "allowed.networks": None}
TIMES = {
    "agent.attempt.timeout": "1s",
    "agent.check.interval": "1s",
    "agent.check.timeout": "500ms",
    "agent.retry.after": "100ms",
    "agent.return.after": "1s",
}


class Agent(Certferry):
    """Like Certferry, in front of `sensors` (URLs)."""

    command = "agent"

    def __init__(self, directory, sensors, settings=None, **how):
        super().__init__(directory, LEFT_OUT | TIMES | (settings or {}), args=sensors, **how)

    def first(self):
        """URL of the sensor to which exchanges go."""
        return FIRST.findall("\n".join(self.events()))[-1]
