"""
What an operation costs the proxy: instructions and system calls of its one worker thread, counted by valgrind
(callgrind). Counts, not seconds: the same on a busy machine, and the same on each x86-64 processor with AVX2, because
valgrind shows all of them the same one. The batches of a run agree to 2 %, and so do the medians of several runs:
malloc() finds another heap each time.

callgrind begins a new count whenever the worker enters control_answer(), which only a marker of ours causes. So no
second program has to stop the proxy between two counts, and warming up is a count that nobody reads.

seccomp is off, here alone of all that is measured: valgrind makes calls of its own that a proxy's filter refuses. The
access log is on; the thread that writes it out is not counted.
"""

import collections
import contextlib
import os
import pathlib
import platform
import re
import shutil
import statistics
import time
from dataclasses import dataclass, field

from support.certferry import PATIENCE, ROOT, Certferry
from support.cost_work import DOMAINS, NAME, OPERATIONS, Work
from support.dns_server import DnsServer

BINARY = os.environ.get("CERTFERRY_RELEASE_BINARY", str(ROOT / "build/release/certferry"))
WARM_UP, OPERATIONS_EACH, BATCHES = 20, 20, 5
MARK = "control_answer"
# epoll_wait, epoll_pwait, epoll_pwait2 of x86-64.
WAITS = {"232", "281", "441"}
CALL = re.compile(r"^SYSCALL\[\d+,(\d+)\]\( *\d+\) (?:sys_)?(\w+) ?\(", re.MULTILINE)
# The first two are no system calls without valgrind (vDSO). The last depends on time: whether the log's writer sleeps.
NOT_COUNTED = {"clock_gettime", "time", "futex"}
SETTINGS = {
    "threads": "1",
    "seccomp": "off",
    "service.user": "root",
    "allowed.domains": DOMAINS,
    "allowed.hosts": "127.0.0.1",
    "allowed.connect.ports": "1-65535",
    "allowed.http.ports": "1-65535",
}


class NotCountable(Exception):
    """This machine cannot count; the text says why and what to do."""


@dataclass
class Cost:
    """Of one operation, the median of all batches."""

    instructions: float
    spread: float  # of the instructions: largest less smallest, as a part of the median
    calls: dict = field(default_factory=dict)  # {name: how many}


def require(binary):
    if platform.machine() != "x86_64":
        raise NotCountable(f"instructions are counted on x86_64 only, this is {platform.machine()}")
    if not shutil.which("valgrind"):
        raise NotCountable("valgrind is not installed: apt-get install valgrind")
    if not pathlib.Path("/proc/self/syscall").exists():
        raise NotCountable("this kernel does not tell what a thread waits for: there is no /proc/self/syscall")
    if not pathlib.Path(binary).exists():
        raise NotCountable(f"{binary} is not there: cmake --preset release && cmake --build --preset release")


class Counter:
    """A certferry under callgrind, and what its worker thread is doing. Each period ends with a marker."""

    def __init__(self, directory, binary, resolver, trace):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.trace = self.directory / "calls"
        self.read_to = 0
        self.periods = 0
        options = [f"--dump-before={MARK}", f"--callgrind-out-file={self.directory}/count", "--separate-threads=yes"]
        options.append("--vgdb=no")  # nor its files in /tmp
        if trace:
            options.append("--trace-syscalls=yes")
        # One file that can be started like the program itself.
        started = self.directory / "counted"
        command = ["valgrind", "--tool=callgrind", f"--log-file={self.trace}", *options, str(binary)]
        started.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in command) + ' "$@"\n')
        started.chmod(0o755)
        # No rings: as the filter of system calls has it in service.
        settings = SETTINGS | {"resolver.servers": resolver}
        self.proxy = Certferry(self.directory, settings, binary=str(started), UV_USE_IO_URING="0")
        self.worker = None

    def find_worker(self):
        """The thread besides the main thread that waits for events."""
        main = self.proxy.process.pid
        until = time.monotonic() + PATIENCE
        while self.worker is None:
            assert time.monotonic() < until, "no worker thread waits for events"
            tasks = pathlib.Path(f"/proc/{main}/task").iterdir()
            self.worker = next((task for task in tasks if task.name != str(main) and waits(task)), None)

    def rest(self):
        """Until the worker waits for events, and so has seen all there were."""
        until = time.monotonic() + PATIENCE
        while not waits(self.worker):
            assert time.monotonic() < until, "the worker does not come to rest"
            os.sched_yield()

    def period_file(self):
        """What callgrind wrote of the last period."""
        found = list(self.directory.glob(f"count.{self.periods}-*"))
        assert len(found) == 1, f"no count has ended: has the program no symbol {MARK}, or is it inlined?"
        return found[0]

    def period(self):
        """(instructions, calls by name) since the last one; to be called when a marker has been answered."""
        self.periods += 1
        count = self.period_file()
        instructions = re.search(r"^totals: (\d+)", count.read_text(), re.MULTILINE)
        with open(self.trace) as trace:
            trace.seek(self.read_to)
            text = trace.read()
            self.read_to = trace.tell()
        thread = int(count.name.rpartition("-")[2])
        calls = collections.Counter(name for number, name in CALL.findall(text) if int(number) == thread)
        return int(instructions[1]), {name: n for name, n in calls.items() if name not in NOT_COUNTED}


def waits(task):
    try:
        return (task / "syscall").read_text().split(" ")[0] in WAITS
    except PermissionError as error:
        raise NotCountable(f"{error.filename} may not be read: count as root, or where ptrace is allowed") from None


@contextlib.contextmanager
def counting(directory, binary, trace=True):
    """(Counter, Work), both ready."""
    with DnsServer({NAME: ["127.0.0.1"]}, ttl=3600) as dns:
        counter = Counter(directory, binary, dns.address, trace)
        with counter.proxy:
            counter.find_worker()
            work = Work(counter.proxy, counter.rest)
            with contextlib.closing(work):
                yield counter, work
        counter.proxy.release_port()


def repeat(counter, work, operation, times):
    for _ in range(times):
        operation(work)
    work.mark()
    return counter.period()


def measure(directory, binary=BINARY, names=tuple(OPERATIONS)):
    """{operation: Cost}"""
    require(binary)
    with counting(directory, binary) as (counter, work):
        repeat(counter, work, Work.mark, 0)
        marker = repeat(counter, work, Work.mark, 0)
        costs = {}
        for name in names:
            repeat(counter, work, OPERATIONS[name], WARM_UP)
            periods = [repeat(counter, work, OPERATIONS[name], OPERATIONS_EACH) for _ in range(BATCHES)]
            costs[name] = cost_of(periods, marker)
    return costs


def cost_of(periods, marker):
    """Of the periods of one operation, each without the marker at its end."""
    counts = [(instructions - marker[0]) / OPERATIONS_EACH for instructions, _ in periods]
    middle = statistics.median(counts)
    calls = {}
    for name in sorted({name for _, seen in periods for name in seen}):
        each = [(seen.get(name, 0) - marker[1].get(name, 0)) / OPERATIONS_EACH for _, seen in periods]
        calls[name] = statistics.median(each)
    return Cost(middle, (max(counts) - min(counts)) / middle, {name: n for name, n in calls.items() if n > 0})


def count_file(directory, name, times, binary=BINARY):
    """Counts one operation that often; the file with the functions, for callgrind_annotate."""
    require(binary)
    with counting(directory, binary, trace=False) as (counter, work):
        repeat(counter, work, OPERATIONS[name], WARM_UP)
        repeat(counter, work, OPERATIONS[name], times)
    return counter.period_file()
