"""The pacer and the CPU limiter, simulated: Go's scenarios, Go's outcomes, and their arithmetic."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gomem import _testing as door

sys.path.insert(0, str(Path(__file__).parent))

import pacer_simulation as simulation

MIB = 1 << 20
GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "pacer.json").read_text()
)
SCENARIOS = simulation.scenarios(GOLDEN["random"])


@pytest.mark.parametrize("name", sorted(GOLDEN["scenarios"]))
def test_scenario(name: str) -> None:
    """What Go's tests demand holds, and every cycle is Go's, to the byte."""
    cycles = simulation.Program(SCENARIOS[name]).run()
    ours = [[c.number, c.utilization * 100, c.live, c.trigger, c.peak, c.goal] for c in cycles]
    theirs = GOLDEN["scenarios"][name]
    assert len(ours) == len(theirs)
    # Sines of different libraries differ in their last bit.
    slack = 1e-6 if name == "OscAlloc" else 0
    for mine, go in zip(ours, theirs):
        assert mine[0] == go[0]
        assert abs(mine[1] - go[1]) <= 0.051, (mine, go)
        for a, b in zip(mine[2:], go[2:]):
            assert abs(a - b) <= slack * b, (mine, go)


def test_every_scenario_is_there() -> None:
    assert set(SCENARIOS) == set(GOLDEN["scenarios"])


def test_a_pacer_that_does_not_learn_fails() -> None:
    """The checks can fail: without what the last cycles taught, the trigger comes too late."""

    class Forgetful(simulation.Program):
        def cycle(self, i: int) -> None:
            super().cycle(i)
            marked = self.pacer.state()["marked"]
            self.pacer = door.Pacer(self.scenario.gc_percent, self.scenario.limit)
            self.pacer.reset(marked, (self.heap_scan, 8192, 32 << 10))
            self.pacer.commit(False, marked)

    with pytest.raises(AssertionError):
        Forgetful(SCENARIOS["OscAlloc"]).run()


SETTINGS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "pacer_settings.json").read_text()
)


@pytest.mark.parametrize("program", range(len(SETTINGS["programs"])))
def test_settings_change(program: int) -> None:
    """Between cycles, while one marks, while one sweeps: goal and trigger are Go's, to the byte."""
    pacer = door.Pacer()
    scanned = (0, 0, 0)
    percent, limit = 100, 2**63 - 1
    for row in SETTINGS["programs"][program]:
        s = dict(zip(SETTINGS["columns"], row))
        work = (s["heap"], s["stacks"], s["globals"])
        if s["step"] == "begin":
            scanned = (0, 0, 0)
            pacer.start(s["live"], s["scan"], s["stacks"], s["globals"], s["procs"], False)
        elif s["step"] == "progress":
            scanned = work
            pacer.revise(s["live"], s["scan"], scanned)
        elif s["step"] == "end":
            pacer.end(s["duration"], s["assist"], 0, s["live"], scanned, s["procs"])
            pacer.reset(s["marked"], scanned)
            pacer.commit(False, s["marked"])
        elif s["step"] == "change":
            percent, limit = s["percent"], s["limit"]
            pacer.set_percent(percent)
        unlimited = limit == 2**63 - 1
        pacer.set_memory(2**64 - 1 if unlimited else limit, s["ready"], s["free"], s["alloc"])
        if s["step"] == "change":
            pacer.commit(bool(s["sweep_done"]), s["live"])
            if s["marking"]:
                pacer.revise(s["live"], s["scan"], scanned)
        state = pacer.state()
        assert (state["goal"], state["trigger"]) == (s["goal"], s["trigger"]), s
        # With GOGC=off it is nothing: Go's goals overflow there, and ours end at 2**61.
        assert state["assist_ratio"] == pytest.approx(s["ratio"], rel=1e-12, abs=1e-9), s


# --- Arithmetic ---


@pytest.mark.parametrize(
    ("procs", "dedicated", "fractional"),
    [
        (1, 0, 0.25), (2, 0, 0.25), (3, 0, 0.25), (4, 1, 0), (5, 1, 0), (6, 1, 0.5 / 6),
        (7, 2, 0), (8, 2, 0), (9, 2, 0), (10, 3, 0), (16, 4, 0), (1024, 256, 0),
    ],
)  # fmt: skip
def test_a_quarter_of_the_processors(procs: int, dedicated: int, fractional: float) -> None:
    pacer = door.Pacer()
    got = pacer.start(4 * MIB, 4 * MIB, 0, 0, procs, False)
    assert got == (dedicated, pytest.approx(fractional), procs - dedicated)
    assert pacer.start(4 * MIB, 4 * MIB, 0, 0, procs, True)[2] == (dedicated == 0)


@given(
    percent=st.integers(-1, 2**31 - 1),
    limit=st.integers(0, 2**64 - 1),
    marked=st.integers(0, 2**50),
    scan=st.tuples(*[st.integers(0, 2**44)] * 3),
    ready=st.integers(0, 2**50),
    done=st.booleans(),
)
def test_identities(
    percent: int, limit: int, marked: int, scan: tuple[int, int, int], ready: int, done: bool
) -> None:
    """live heap <= trigger <= goal where the goal leaves room; the goal is GOGC's or the limit's."""
    pacer = door.Pacer(percent, limit)
    pacer.set_memory(limit, ready, ready // 4, ready // 2)
    pacer.start(marked, marked, scan[1], scan[2], 4, False)
    pacer.end(10**7, 0, 0, marked + 10**6, scan, 4)
    pacer.reset(marked, scan)
    pacer.commit(done, marked)
    state = pacer.state()
    assert state["trigger"] <= state["goal"]
    none = 2**64 - 1
    if state["goal"] > marked:
        assert marked <= state["trigger"]
    by_percent = none
    if percent >= 0:
        by_percent = marked + (marked + scan[1] + scan[2]) * percent // 100
        by_percent = max(by_percent, 4 * MIB * percent // 100)
    if limit == none and by_percent < none:
        wanted = by_percent if done else max(by_percent, marked + MIB)
        assert state["goal"] in (min(wanted, none), none)
    if limit != none:
        assert state["goal"] <= max(limit, marked, MIB, *([] if done else [marked + MIB]))


@given(
    live=st.integers(0, 2**45),
    scan=st.integers(0, 2**45),
    work=st.tuples(*[st.integers(0, 2**44)] * 3),
    percent=st.integers(-1, 5000),
)
def test_assist_ratios(live: int, scan: int, work: tuple[int, int, int], percent: int) -> None:
    pacer = door.Pacer(percent)
    pacer.start(4 * MIB, 4 * MIB, 8192, 4096, 2, False)
    pacer.revise(live, scan, work)
    state = pacer.state()
    assert state["assist_ratio"] > 0 and state["assist_bytes"] > 0
    assert state["assist_ratio"] * state["assist_bytes"] == pytest.approx(1)


def test_changed_settings_apply_at_once() -> None:
    """During a cycle, too, as in Go."""
    pacer = door.Pacer(100)
    pacer.start(4 * MIB, 4 * MIB, 0, 0, 4, False)
    pacer.reset(100 * MIB, (100 * MIB, 0, 0))
    pacer.commit(True, 100 * MIB)
    assert pacer.state()["goal"] == 200 * MIB
    pacer.start(190 * MIB, 190 * MIB, 0, 0, 4, False)
    before = pacer.state()["assist_ratio"]
    pacer.set_percent(400)
    pacer.commit(True, 190 * MIB)
    pacer.revise(190 * MIB, 190 * MIB, (0, 0, 0))
    assert pacer.state()["goal"] == 500 * MIB
    assert pacer.state()["assist_ratio"] < before / 10
    pacer.set_memory(120 * MIB, 0, 0, 0)
    assert pacer.state()["goal"] == 120 * MIB - 120 * MIB // 100 * 3
    pacer.set_percent(-1)
    pacer.set_memory(2**64 - 1, 0, 0, 0)
    pacer.commit(True, 190 * MIB)
    assert pacer.state()["goal"] >= 2**62


# --- The limiter: what Go's tests of theirs demand ---

SECOND, MS = 10**9, 10**6
PROCS = 14


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self, ns: float) -> int:
        self.now += int(ns)
        return self.now


def assist(ns: float, share: float) -> int:
    """CPU time of assists that take this share of all Ps."""
    return int(share * float(ns) * PROCS)


def test_the_limiter() -> None:
    clock = Clock()
    limiter = door.Limiter(0, PROCS)
    lost = 0
    for _ in range(2):  # it ends as it began
        lost = limiter_round(limiter, clock, lost)


def expect(limiter: door.Limiter, fill: int, limiting: bool, overflow: int) -> None:
    state = limiter.state()
    got = (state["fill"], state["limiting"], state["overflow"])
    assert got == (fill, limiting, overflow)


def limiter_round(limiter: door.Limiter, clock: Clock, lost: int) -> int:
    full = PROCS * SECOND
    assert limiter.state()["capacity"] == full
    for ns in (10 * MS, SECOND, 3600 * SECOND):
        limiter.update(clock(ns))
        expect(limiter, 0, False, lost)
    # An update is due after 10 ms.
    assert not limiter.needs_update(clock(5 * MS))
    assert limiter.needs_update(clock(10 * MS))
    limiter.update(clock(0))
    assert not limiter.needs_update(clock(0))
    # A stop counts whole.
    limiter.start(True, 1, clock(109 * MS))
    limiter.finish(clock(2 * MS + 1000))
    fill = (2 * MS + 1000) * PROCS
    expect(limiter, fill, False, lost)
    # Marking without assists drains with half of the CPUs.
    limiter.update(clock(2 * (fill - PROCS) / PROCS))
    expect(limiter, PROCS, False, lost)
    limiter.update(clock(2 * PROCS * SECOND))
    expect(limiter, 0, False, lost)
    # Half of all time: nothing changes. All of it: the bucket fills, exactly, and stays full.
    limiter.add(assist(10 * MS, 0.25))
    limiter.update(clock(10 * MS))
    expect(limiter, 0, False, lost)
    limiter.add(assist(MS, 0.75))
    limiter.update(clock(MS))
    expect(limiter, PROCS * MS, False, lost)
    limiter.add(assist(SECOND - MS, 0.75))
    limiter.update(clock(SECOND - MS))
    expect(limiter, full, True, lost)
    limiter.add(assist(SECOND, 0.25))
    limiter.update(clock(SECOND))
    expect(limiter, full, True, lost)
    # Half drained, then overfilled.
    limiter.update(clock(SECOND))
    expect(limiter, full // 2, False, lost)
    limiter.add(assist(SECOND, 0.75))
    limiter.update(clock(SECOND))
    lost += full // 2
    expect(limiter, full, True, lost)
    # The cycle ends, with assists not counted yet, and a stop.
    limiter.add(assist(MS, 0.75))
    limiter.start(False, 1, clock(MS))
    lost += MS * PROCS
    expect(limiter, full, True, lost)
    limiter.finish(clock(5 * MS))
    lost += 5 * MS * PROCS
    expect(limiter, full, True, lost)
    # More Ps: no limiting any more; fewer: again. Neither is overflow.
    limiter.set_procs(clock(0), PROCS + 10)
    expect(limiter, full, False, lost)
    limiter.set_procs(clock(0), PROCS - 10)
    expect(limiter, (PROCS - 10) * SECOND, True, lost)
    limiter.set_procs(clock(SECOND * PROCS), PROCS)
    expect(limiter, 0, False, lost)
    return lost


def test_idle_time_counts_for_nobody() -> None:
    """With all but one of 8 Ps idle, a quarter of 8 is twice what the program had."""
    limiter = door.Limiter(0, 8)
    limiter.start(True, 5, 0)
    limiter.finish(0)
    limiter.update(SECOND, 7)
    # The collector's 2 of the time that was not idle, 1: the program's share is -1.
    assert limiter.state()["fill"] == 3 * SECOND
    for i in range(2, 5):
        limiter.update(i * SECOND, 7)
    assert limiter.state()["limiting"]
    assert limiter.state()["last_enabled"] == 5


@given(steps=st.lists(st.tuples(st.integers(0, 10**10), st.floats(0, 0.75)), max_size=40))
def test_the_bucket_stays_a_bucket(steps: list[tuple[int, float]]) -> None:
    limiter, now, marking = door.Limiter(0, 3), 0, False
    for i, (ns, share) in enumerate(steps):
        limiter.add(int(share * ns * 3))
        now += ns
        if i % 5 == 4:
            marking = not marking
            limiter.start(marking, 1, now)
            limiter.finish(now)
        else:
            limiter.update(now)
        state = limiter.state()
        assert 0 <= state["fill"] <= state["capacity"] == 3 * SECOND
        assert not state["limiting"] or state["fill"] == state["capacity"]
