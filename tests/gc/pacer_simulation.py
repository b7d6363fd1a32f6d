"""Programs for the pacer, as rates: what they allocate, how much lives, what there is to scan.

A scenario is one of those of Go's own tests of its pacer, and says what holds where Go's
pacer is content. The simulation is of an ideal machine, in steps of half a millisecond: who allocates
assists just so much that the ratio the pacer asks for is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from gomem import _testing as door

MIB = 1 << 20
STEP_NS = 500_000
BACKGROUND = 0.25
FIRST_HEAP = 256 << 10
NO_LIMIT = 2**63 - 1

# A value for each cycle, counted from 0.
Stream = Callable[[int], float]


def steady(value: float) -> Stream:
    return lambda _: value


def ramp(begin: float, change: float, length: int, delay: int = 0) -> Stream:
    """From begin to begin + change in that many cycles."""
    return lambda i: begin + (change * min(i - delay, length) / length if i >= delay else 0.0)


def peak(base: Stream, height: float, at: int) -> Stream:
    return lambda i: base(i) + (height if i == at else 0.0)


def wave(base: float, height: float, period: int) -> Stream:
    return lambda i: math.sin(i % period / period * 2 * math.pi) * height + base


def plus(base: Stream, other: Stream) -> Stream:
    return lambda i: base(i) + other(i)


def noise(height: float, draws: list[float]) -> Stream:
    return lambda i: ((draws[i] - 0.5) * 2) * height


@dataclass
class Cycle:
    """Bytes; utilization is the share of all CPU time, background included."""

    number: int
    utilization: float
    live: int
    trigger: int
    peak: int
    goal: int

    @property
    def goal_ratio(self) -> float:
        return self.peak / self.goal

    @property
    def trigger_ratio(self) -> float:
        return (self.trigger - self.live) / (self.goal - self.live)


Check = Callable[[list[Cycle]], None]


@dataclass
class Scenario:
    """Rates in KiB a CPU millisecond; bytes."""

    alloc: Stream
    checks: list[Check]
    gc_percent: int = 100
    limit: int = NO_LIMIT
    globals: int = 32 << 10
    cores: int = 8
    scan: Stream = field(default_factory=lambda: steady(1024.0))
    growth: Stream = field(default_factory=lambda: ramp(2.0, -1.0, 12))
    scannable: Stream = field(default_factory=lambda: steady(1.0))
    stacks: Stream = field(default_factory=lambda: steady(8192))
    length: int = 50


# --- The simulation ---


class Program:
    """A scenario under way on a pacer."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.pacer = door.Pacer(scenario.gc_percent, scenario.limit)
        self.heap_scan = 0
        self.black = 0  # bytes allocated during the last cycle
        self.cycles: list[Cycle] = []

    def run(self) -> list[Cycle]:
        for i in range(self.scenario.length):
            self.cycle(i)
            for check in self.scenario.checks:
                check(self.cycles)
        return self.cycles

    def cycle(self, i: int) -> None:
        s, state = self.scenario, self.pacer.state()
        alloc, scan = max(s.alloc(i), 0.0001), max(s.scan(i), 0.0001)
        fraction = min(max(s.scannable(i), 0.0), 1.0)
        stacks = int(max(s.stacks(i) // 2048 * 2048, 0))
        marked = state["marked"]
        live = max(state["trigger"], marked)
        self.heap_scan += int((live - marked) * fraction)
        self.pacer.start(live, self.heap_scan, stacks, s.globals, s.cores, False)
        survivors = int((marked - self.black) * max(s.growth(i), 0.0001)) if i else FIRST_HEAP
        # Globals, stacks, heap: in the order in which they are scanned.
        left = [s.globals, stacks, int(survivors * fraction)]
        done = [0, 0, 0]
        assist = elapsed = self.black = 0
        while any(left):
            took, used, allocated = self.step(alloc, scan, left, done)
            live += allocated
            self.black += allocated
            self.heap_scan += int(allocated * fraction)
            self.pacer.revise(live, self.heap_scan, (done[2], done[1], done[0]))
            assist += int(took * s.cores * (used - BACKGROUND))
            elapsed += took
        state = self.pacer.state()
        utilization = assist / (elapsed * s.cores) + BACKGROUND
        self.cycles.append(
            Cycle(i + 1, utilization, marked, state["triggered"], live, state["goal"])
        )
        work = (done[2], done[1], done[0])
        self.pacer.end(elapsed, assist, 0, live, work, s.cores)
        self.pacer.reset(survivors + self.black, work)
        self.pacer.commit(False, survivors + self.black)
        self.heap_scan = done[2]

    def step(
        self, alloc: float, scan: float, left: list[int], done: list[int]
    ) -> tuple[int, float, int]:
        """Half a millisecond, or what is left to do: (ns, share of CPU, bytes allocated)."""
        cores = self.scenario.cores
        ratio = self.pacer.state()["assist_ratio"]
        # The share u for which scanned / allocated = scan * u / (alloc * (1 - u)) is the ratio.
        used = max(ratio * alloc / (ratio * alloc + scan), BACKGROUND)
        step = 1024 * float(STEP_NS) / 1e6
        can_scan = int(scan * step * float(cores) * used)
        rest = can_scan
        for k in range(3):
            part = min(rest, left[k])
            left[k] -= part
            done[k] += part
            rest -= part
        took, allocated = STEP_NS, int(alloc * step * float(cores) * (1 - used))
        if rest > 0:
            scanned = can_scan - rest
            took = int(float(scanned) * float(STEP_NS) / (scan * step * float(cores) * used))
            allocated = int(alloc * step * float(took) / float(STEP_NS) * float(cores) * (1 - used))
        return took, used, allocated


# --- What must hold ---


def between(what: str, low: float, high: float, after: int = 0, until: int = 10**9) -> Check:
    """A number of each cycle after, and not after, these ones lies in this range."""

    def check(cycles: list[Cycle]) -> None:
        c = cycles[-1]
        if after < c.number <= until:
            value = getattr(c, what)
            assert low <= value <= high, f"{what} of cycle {c.number}: {value}"

    return check


def settled(by: float, after: int, until: int = 10**9, reference: int | None = None) -> Check:
    """CPU use is that of the cycle before, or of the one with the given number, within `by`."""

    def check(cycles: list[Cycle]) -> None:
        c = cycles[-1]
        if after < c.number <= until:
            other = cycles[-2 if reference is None else reference - 1]
            assert abs(c.utilization - other.utilization) <= by, f"{other} -> {c}"

    return check


def at_goal(after: int, until: int = 10**9) -> Check:
    return between("utilization", BACKGROUND - 0.005, BACKGROUND + 0.005, after, until)


def under_limit(limit: int) -> int:
    """The heap goal under a limit, where nothing but the heap uses memory."""
    return limit - limit // 100 * 3


def goal_is_limit(limit: int, after: int = 0, until: int = 10**9) -> Check:
    return between("goal", under_limit(limit), under_limit(limit), after, until)


def goal_is_live(after: int) -> Check:
    def check(cycles: list[Cycle]) -> None:
        c = cycles[-1]
        assert c.number <= after or c.goal == c.live, c

    return check


def peak_below(limit: int) -> Check:
    def check(cycles: list[Cycle]) -> None:
        assert cycles[-1].peak < under_limit(limit), cycles[-1]

    return check


def scenarios(random: dict[str, list[float]]) -> dict[str, Scenario]:
    """By Go's names. random: what math/rand draws, by seed."""
    limit = 512 * MIB
    calm = [at_goal(24), settled(0.005, 24), between("goal_ratio", 0.95, 1.05, 24)]
    # Settled before a step in cycle 50, and again 25 cycles after it.
    stepped = [
        c
        for after, until in ((24, 49), (74, 100))
        for c in (settled(0.005, after, until), between("goal_ratio", 0.95, 1.05, after, until))
    ]
    slow_end = [at_goal(25), settled(0.05, 25), settled(0.05, 25, reference=12)]
    pressed = [between("utilization", 0.995, 1.005, 24), settled(0.005, 24)]
    exceeding = ramp(3.5, -2.5, 12)
    maintaining = ramp(3.0, -2.0, 12)

    def slow(growth: Stream, *checks: Check) -> Scenario:
        return Scenario(
            steady(1.0),
            [*checks, *slow_end],
            scan=steady(2048.0),
            growth=growth,
            scannable=steady(0.01),
        )

    small = [between("goal_ratio", 0.925, 1.025, 4), between("trigger_ratio", 0.925, 0.975, 4)]
    medium = [between("goal_ratio", 0.925, 1.025, 9), between("trigger_ratio", 0.925, 0.975, 9)]

    def near_minimum(cycles: list[Cycle]) -> None:
        c = cycles[-1]
        assert c.number <= 13 or abs(c.goal - c.trigger - 4 * MIB) <= 64 << 10, c

    return {
        "Steady": Scenario(steady(33.0), calm),
        "SteadyBigStacks": Scenario(steady(132.0), calm, stacks=ramp(2048, 128 << 20, 8)),
        "SteadyBigGlobals": Scenario(steady(132.0), calm, globals=128 << 20),
        "StepAlloc": Scenario(ramp(33.0, 66.0, 1, 50), stepped, length=100),
        "HeavyStepAlloc": Scenario(ramp(33.0, 330.0, 1, 50), stepped, length=100),
        "StepScannableFrac": Scenario(
            steady(128.0), stepped, scannable=peak(steady(0.2), 0.5, 50), length=100
        ),
        "HighGOGC": Scenario(
            plus(noise(7, random["83"]), steady(165)),
            [
                between("goal_ratio", 0.90, 1.05, 12, 25),
                between("goal_ratio", 0.90, 15, 25, 26),
                between("goal_ratio", 0.90, 1.05, 26),
                between("utilization", BACKGROUND - 0.28, BACKGROUND + 0.28, 12),
                settled(0.03, 12),
            ],
            gc_percent=1500,
            growth=peak(plus(ramp(2.0, -1.0, 12), noise(0.01, random["1"])), 14, 25),
        ),
        "OscAlloc": Scenario(
            wave(67, 13, 8),
            [between("goal_ratio", 0.95, 1.05, 12), between("utilization", 0.25, 0.3, 12)],
        ),
        "JitterAlloc": Scenario(
            plus(noise(13, random["15"]), steady(132)),
            [between("goal_ratio", 0.95, 1.025, 12), between("utilization", 0.25, 0.275, 12)],
            growth=plus(ramp(2.0, -1.0, 12), noise(0.01, random["14"])),
        ),
        "HeavyJitterAlloc": Scenario(
            plus(noise(33.0, random["0"]), steady(330)),
            [
                between("goal_ratio", 0.95, 1.05, 13),
                settled(0.05, 13),
                settled(0.05, 13, reference=12),
            ],
            growth=plus(ramp(2.0, -1.0, 12), noise(0.01, random["338"])),
        ),
        "SmallHeapSlowAlloc": slow(ramp(2.0, -1.0, 3), *small),
        "MediumHeapSlowAlloc": slow(ramp(2.0, -1.0, 8), *medium),
        "LargeHeapSlowAlloc": slow(
            ramp(4.0, -3.0, 12), between("goal_ratio", 0.95, 1.05, 13), near_minimum
        ),
        "SteadyMemoryLimit": Scenario(steady(33.0), [*calm, peak_below(limit)], limit=limit),
        "SteadyMemoryLimitNoGCPercent": Scenario(
            steady(33.0), [*calm, goal_is_limit(limit)], gc_percent=-1, limit=limit
        ),
        "ExceedMemoryLimit": Scenario(
            steady(33.0), [*pressed, goal_is_live(12)], limit=limit, growth=exceeding
        ),
        "ExceedMemoryLimitNoGCPercent": Scenario(
            steady(33.0),
            [*pressed, goal_is_live(12), goal_is_limit(limit, until=9)],
            gc_percent=-1,
            limit=limit,
            growth=exceeding,
        ),
        "MaintainMemoryLimit": Scenario(
            steady(33.0), [*calm, goal_is_limit(limit, 12)], limit=limit, growth=maintaining
        ),
        "MaintainMemoryLimitNoGCPercent": Scenario(
            steady(33.0),
            [*calm, goal_is_limit(limit)],
            gc_percent=-1,
            limit=limit,
            growth=maintaining,
        ),
    }
