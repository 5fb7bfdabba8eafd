#!/usr/bin/python3
"""A herd: devices that renew without jitter, behind certferry, with and without pacing.

  bench/herd.py [--devices N] [--days N] [--svg FILE] ...

Every device renews at a fixed share of the certificate's lifetime and tries again after a fixed share of it, as
Azure IoT Edge does (80 % and 4 %). All were powered up within the same minutes, so they renew in the same minutes, for
ever. The CA can make so many certificates a second and shares itself evenly among all requests it has; a client that
waits longer than its patience hangs up, and what the CA did for it is lost. That is what pacing is for: with
limit.upstream.per.host the CA never has more requests at once than it can answer in time, the next queue.max wait up
to queue.timeout, and only who finds no place is refused (503).

Nothing here is measured but the proxy's processor time for one enrollment (`enroll` of bench/run), given with --cost.
"""

import argparse
import collections
import dataclasses
import html

STEP = 0.5  # seconds


@dataclasses.dataclass(frozen=True)
class World:
    devices: int
    power_up: float  # seconds in which all are powered up
    lifetime: float  # seconds
    renew_at: float  # share of the lifetime
    retry_after: float  # share of the lifetime
    capacity: float  # enrollments the CA can do in a second
    fastest: float  # seconds of an enrollment that has the CA to itself
    patience: float  # seconds until a client hangs up
    per_host: int  # limit.upstream.per.host; 0: no pacing
    queue_max: int
    queue_timeout: float
    days: float


@dataclasses.dataclass
class Cohort:
    """Devices that have begun in the same step; `expires` is when the certificates they have end."""

    count: int
    began: float
    expires: float
    served_at_start: float = 0.0


class Ca:
    """Shares its capacity evenly; a request is done when it has had one unit of service."""

    def __init__(self, world):
        self.world, self.busy, self.most, self.served, self.cohorts = world, 0, 0, 0.0, collections.deque()

    def take(self, cohort):
        cohort.served_at_start = self.served
        self.cohorts.append(cohort)
        self.busy += cohort.count
        self.most = max(self.most, self.busy)

    def step(self, now):
        """(done, given up) of this step."""
        done, gone = [], []
        if self.busy:
            self.served += STEP * min(self.world.capacity / self.busy, 1 / self.world.fastest)
        while self.cohorts and self.served - self.cohorts[0].served_at_start >= 1:
            done.append(self._drop())
        while self.cohorts and now - self.cohorts[0].began >= self.world.patience:
            gone.append(self._drop())
        return done, gone

    def _drop(self):
        cohort = self.cohorts.popleft()
        self.busy -= cohort.count
        return cohort


class Proxy:
    """The pacing queue in front of the CA: round robin, so nearly first come, first served."""

    def __init__(self, world, ca):
        self.world, self.ca, self.queue, self.waiting = world, ca, collections.deque(), 0

    def arrive(self, cohort):
        """How many find no place."""
        if not self.world.per_host:
            self.ca.take(cohort)
            return 0
        room = self.world.queue_max - self.waiting + max(0, self.world.per_host - self.ca.busy - self.waiting)
        refused = max(0, cohort.count - room)
        cohort.count -= refused
        if cohort.count:
            self.queue.append(cohort)
            self.waiting += cohort.count
        return refused

    def step(self, now):
        """Cohorts whose wait was too long."""
        late = []
        while self.queue and now - self.queue[0].began >= self.world.queue_timeout:
            cohort = self.queue.popleft()
            self.waiting -= cohort.count
            late.append(cohort)
        while self.queue and self.ca.busy < self.world.per_host:
            first = self.queue[0]
            count = min(first.count, self.world.per_host - self.ca.busy)
            self.ca.take(Cohort(count, first.began, first.expires))
            first.count -= count
            self.waiting -= count
            if first.count == 0:
                self.queue.popleft()
        return late


class Herd:
    """One run of a world; counts by minute."""

    def __init__(self, world):
        self.world = world
        self.ca = Ca(world)
        self.proxy = Proxy(world, self.ca)
        self.due = collections.defaultdict(list)  # step -> [(count, expires)]
        self.minutes = [[0, 0, 0] for _ in range(int(world.days * 1440) + 1)]  # tried, done, failed
        self.expired = 0

    def _schedule(self, when, count, expires):
        self.due[int(when / STEP)].append((count, expires))

    def _power_up(self):
        steps = int(self.world.power_up / STEP)
        for step in range(steps):
            count = self.world.devices * (step + 1) // steps - self.world.devices * step // steps
            # The first certificate was made then and there: the burst to look at is the first renewal.
            self._schedule(step * STEP + self.world.renew_at * self.world.lifetime, count,
                           step * STEP + self.world.lifetime)

    def _failed(self, count, expires, now):
        again = now + self.world.retry_after * self.world.lifetime
        self.minutes[int(now / 60)][2] += count
        if again >= expires:
            self.expired += count
        else:
            self._schedule(again, count, expires)

    def _step(self, now, due):
        for count, expires in due:
            self.minutes[int(now / 60)][0] += count
            refused = self.proxy.arrive(Cohort(count, now, expires))
            if refused:
                self._failed(refused, expires, now)
        for cohort in self.proxy.step(now):
            self._failed(cohort.count, cohort.expires, now)
        done, gone = self.ca.step(now)
        for cohort in done:
            self.minutes[int(now / 60)][1] += cohort.count
            self._schedule(now + self.world.renew_at * self.world.lifetime, cohort.count, now + self.world.lifetime)
        for cohort in gone:
            self._failed(cohort.count, cohort.expires, now)

    def run(self):
        self._power_up()
        last, step = int(self.world.days * 86400 / STEP), 0
        while step < last:
            if not self.ca.busy and not self.proxy.waiting:
                step = min(self.due, default=last)  # nothing happens until then
                if step >= last:
                    break
            self._step(step * STEP, self.due.pop(step, ()))
            step += 1
        return self


# ---- report ----


def cycles(herd):
    """(tried, done, failed, minutes with attempts, most done in a minute) for each renewal."""
    length = herd.world.renew_at * herd.world.lifetime / 60
    rows = []
    for at in range(1, int(herd.world.days * 1440 / length) + 1):
        part = herd.minutes[int(at * length) : int((at + 1) * length)]
        if part:
            tried, done, failed = (sum(m[i] for m in part) for i in range(3))
            rows.append((tried, done, failed, sum(1 for m in part if m[0]), max(m[0] for m in part)))
    return rows


def table(title, herd, cost_us):
    lines = [
        f"{title}: {herd.expired} certificates expired; at most {herd.ca.most} requests at the CA at once",
        f"  {'renewal':>8}{'tried':>12}{'done':>12}{'failed':>12}{'busy minutes':>14}{'most a minute':>15}{'proxy CPU':>11}",
    ]
    for number, (tried, done, failed, minutes, most) in enumerate(cycles(herd), 1):
        cpu = most / 60 * cost_us / 1e4
        lines.append(f"  {number:>8}{tried:>12}{done:>12}{failed:>12}{minutes:>14}{most:>15}{cpu:>9.1f} %")
    return lines


WIDTH, HEIGHT, LEFT, GAP = 900, 150, 70, 46


def _panel(top, title, herd, most):
    hours = herd.world.days * 24
    per_pixel = len(herd.minutes) / (WIDTH - LEFT - 20)
    parts = [
        f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{html.escape(title)}</text>',
        f'<text x="{LEFT - 6}" y="{top + 8}" text-anchor="end">{most}</text>',
        f'<text x="{LEFT - 6}" y="{top + HEIGHT}" text-anchor="end">0</text>',
        f'<path d="M{LEFT} {top}v{HEIGHT}h{WIDTH - LEFT - 20}" fill="none" stroke="#888"/>',
    ]
    for index, colour in ((0, "#94a3b8"), (1, "#c2410c")):
        path = []
        for x in range(WIDTH - LEFT - 20):
            part = herd.minutes[int(x * per_pixel) : max(int((x + 1) * per_pixel), int(x * per_pixel) + 1)]
            value = max(m[index] for m in part) if part else 0
            if value:
                path.append(f"M{LEFT + x + 0.5} {top + HEIGHT}v-{max(1, HEIGHT * value / most):.0f}")
        parts.append(f'<path d="{"".join(path)}" stroke="{colour}" stroke-width="2" fill="none"/>')
    for hour in range(0, int(hours) + 1, 12):
        x = LEFT + (WIDTH - LEFT - 20) * hour / hours
        parts.append(f'<text x="{x:.0f}" y="{top + HEIGHT + 14}" text-anchor="middle">{hour} h</text>')
    return parts


def svg(runs):
    """Attempts and certificates for each minute, a panel for each run, all to one scale."""
    most = max(m[0] for _, herd in runs for m in herd.minutes)
    height = 40 + len(runs) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11">',
        "<title>Renewals of a herd of devices with and without pacing</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="16" fill="#555">for each minute; grey: attempts, orange: certificates made</text>',
    ]
    for at, (title, herd) in enumerate(runs):
        parts += _panel(44 + at * (HEIGHT + GAP), title, herd, most)
    return "\n".join(parts) + "\n</svg>\n"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--devices", type=int, default=100_000)
    add("--power-up", type=float, default=600, help="seconds in which all were powered up (600)")
    add("--lifetime", type=float, default=24, help="of a certificate, hours (24)")
    add("--renew-at", type=float, default=0.8, help="share of the lifetime (0.8)")
    add("--retry-after", type=float, default=0.04, help="share of the lifetime (0.04)")
    add("--capacity", type=float, default=100, help="enrollments the CA can do in a second (100)")
    add("--fastest", type=float, default=0.5, help="seconds of one enrollment when the CA is idle (0.5)")
    add("--patience", type=float, default=30, help="seconds until a client hangs up (30)")
    add("--per-host", type=int, default=200, help="limit.upstream.per.host of the paced run (200)")
    add("--queue-max", type=int, default=1000, help="queue.max (1000)")
    add("--queue-timeout", type=float, default=10, help="queue.timeout, seconds (10)")
    add("--days", type=float, default=2)
    add("--cost", type=float, default=200, help="the proxy's processor time for one enrollment, microseconds (200)")
    add("--svg", help="write the picture here")
    return parser.parse_args()


def main():
    a = arguments()
    world = World(a.devices, a.power_up, a.lifetime * 3600, a.renew_at, a.retry_after, a.capacity, a.fastest, a.patience,
                  a.per_host, a.queue_max, a.queue_timeout, a.days)
    runs = [
        ("without pacing", Herd(dataclasses.replace(world, per_host=0)).run()),
        (f"limit.upstream.per.host={a.per_host}, queue.max={a.queue_max}, queue.timeout={a.queue_timeout:g}s",
         Herd(world).run()),
    ]
    for title, herd in runs:
        print("\n".join(table(title, herd, a.cost)), end="\n\n")
    if a.svg:
        with open(a.svg, "w", encoding="ascii") as out:
            out.write(svg(runs))


if __name__ == "__main__":
    main()
