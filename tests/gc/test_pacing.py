"""How the collector is steered, on real heaps: environment, settings, workers, limits, statistics."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import gomem
from gomem import testing

MIB = 1 << 20
NONE = 2**63 - 1
MALFORMED = "fatal error: malformed GOMEMLIMIT; see `go doc runtime/debug.SetMemoryLimit`"

# What Go 1.26 makes of them; None: it stops.
GOGC = {
    "": 100, "off": -1, "100": 100, "0": 0, "-5": -1, "+7": 7, "banana": 100, " 50": 100, "50 ": 100,
    "1_000": 100, "0x10": 100, "2147483647": 2**31 - 1, "2147483648": 100, "-2147483649": 100,
    "99999999999999999999": 100, "-": 100, "+": 100, "1e3": 100, "OFF": 100, "--5": 100, "007": 7,
}  # fmt: skip
GOMEMLIMIT = {
    "": NONE, "off": NONE, "5": 5, "0": 0, "+5": 5, "5B": 5, "7KiB": 7 << 10, "64MiB": 64 * MIB,
    "2GiB": 2 << 30, "1TiB": 1 << 40, "8388607TiB": 8388607 << 40, "9223372036854775807": NONE,
    "9223372036854775807B": NONE, "-0": 0, "00012": 12,
    "banana": None, "5XB": None, "5KB": None, "5iB": None, "B": None, "iB": None, "KiB": None,
    "1.5GiB": None, "-1": None, "-5MiB": None, " 2GiB": None, "2GiB ": None, "1_0": None,
    "0x10": None, "9223372036854775808": None, "8388608TiB": None, "5PiB": None, "5kiB": None,
    "5 MiB": None, "Off": None, "5MB": None, "5BB": None, "5KiBB": None,
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOGC", "GOMEMLIMIT", "GODEBUG"):
        monkeypatch.delenv(name, raising=False)


# --- The environment ---


@pytest.mark.parametrize("value", GOGC)
def test_gogc(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("GOGC", value)
    with gomem.Heap(procs=1) as heap:
        assert heap.set_gc_percent(50) == GOGC[value]
    with gomem.Heap(procs=1, gogc=70) as heap:
        assert heap.gogc == 70
    with gomem.Heap(procs=1, gogc=None) as heap:
        assert heap.gogc is None


@pytest.mark.parametrize("value", GOMEMLIMIT)
def test_gomemlimit(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("GOMEMLIMIT", value)
    limit = GOMEMLIMIT[value]
    if limit is None:
        with pytest.raises(gomem.FatalError) as raised:
            gomem.Heap(procs=1)
        assert str(raised.value) == f"GOMEMLIMIT={value}\n{MALFORMED}"
    else:
        with gomem.Heap(procs=1) as heap:
            assert heap.memory_limit == (None if limit == NONE else limit)
    # What is given is not looked up.
    for given in (None, "off", "1GiB"):
        with gomem.Heap(procs=1, memory_limit=given) as heap:
            assert heap.memory_limit == (1 << 30 if given == "1GiB" else None)


def test_the_fatal_error_is_both() -> None:
    assert issubclass(gomem.FatalError, gomem.Error) and issubclass(gomem.FatalError, RuntimeError)


GO_PROGRAM = """
package main
import ("fmt"; "runtime/debug")
func main() { fmt.Println(debug.SetGCPercent(50), debug.SetMemoryLimit(-1)) }
"""


@pytest.fixture(scope="module")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("go") is None:
        pytest.skip("go is not on PATH")
    where = tmp_path_factory.mktemp("settings")
    (where / "main.go").write_text(GO_PROGRAM)
    (where / "go.mod").write_text("module settings\ngo 1.24\n")
    subprocess.run(["go", "build", "-o", "settings", "."], cwd=where, check=True)
    return where / "settings"


def test_go_reads_them_so(go_program: Path) -> None:
    def run(name: str, value: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [go_program], env={name: value}, capture_output=True, text=True, check=False
        )

    for value, percent in GOGC.items():
        assert run("GOGC", value).stdout.split() == [str(percent), str(NONE)], value
    for value, limit in GOMEMLIMIT.items():
        done = run("GOMEMLIMIT", value)
        if limit is None:
            assert done.stderr.startswith(f"GOMEMLIMIT={value}\n{MALFORMED}\n"), value
        else:
            assert done.stdout.split() == ["100", str(limit)], value


# --- Settings ---


def test_set_gc_percent(heap: gomem.Heap) -> None:
    assert heap.set_gc_percent(50) == 100
    assert heap.set_gc_percent(-7) == 50
    assert heap.gogc is None
    assert heap.set_gc_percent("off") == heap.set_gc_percent(None) == -1
    assert heap.set_gc_percent(2**31 - 1) == -1
    for bad in (2**31, 2**70):
        with pytest.raises(ValueError):
            heap.set_gc_percent(bad)
    assert heap.gogc == 2**31 - 1
    with pytest.raises(TypeError):
        heap.set_gc_percent("banana")


def test_set_memory_limit(heap: gomem.Heap) -> None:
    assert heap.set_memory_limit("1GiB") is None
    assert heap.set_memory_limit(-1) == 1 << 30  # only asks, as in Go
    assert heap.set_memory_limit(5 * MIB) == 1 << 30
    assert heap.set_memory_limit(None) == 5 * MIB
    assert heap.memory_limit is None
    for bad in ("banana", "5XB", 1.5):
        with pytest.raises((ValueError, TypeError)):
            heap.set_memory_limit(bad)  # type: ignore[arg-type]


def test_they_change_the_goal_at_once(heap: gomem.Heap) -> None:
    keep = heap.alloc_many([1000] * 20_000)
    heap.gc()
    live = heap.metrics()["/gc/heap/live:bytes"]
    assert isinstance(live, int) and live >= 20 * 1000 * 1000
    for percent in (100, 50, 400):
        heap.set_gc_percent(percent)
        globals_scan = heap.metrics()["/gc/scan/globals:bytes"]
        assert isinstance(globals_scan, int)
        growth = (live + globals_scan) * percent // 100
        assert abs(heap.stats().next_gc - live - growth) <= percent * 100
    heap.set_memory_limit(30 * MIB)
    assert live <= heap.stats().next_gc < 30 * MIB
    heap.set_gc_percent(-1)
    assert live <= heap.stats().next_gc < 30 * MIB
    heap.set_memory_limit(None)
    assert 2**62 < heap.stats().next_gc < 2**63
    del keep


def test_free_os_memory() -> None:
    heap = gomem.Heap(procs=1, gogc="off")
    heap.alloc_many([5000] * 2000)
    assert heap.free_os_memory() >= 8 * MIB
    stats = heap.stats()
    assert stats.num_forced_gc == 1 and stats.heap_objects == 0
    assert stats.heap_idle == stats.heap_released
    assert heap.resident() == 0
    heap.close()
    with pytest.raises(gomem.HeapClosedError):
        heap.free_os_memory()


def test_settings_change_while_cycles_run() -> None:
    """From other threads, in whatever phase; turned off, none marks when the call is back."""
    with gomem.Heap(procs=3, gogc=20) as heap:
        stop = threading.Event()

        def allocate() -> None:
            kept = [heap.alloc_many([64] * 500, noscan=False) for _ in range(20)]
            while not stop.is_set():
                kept[len(kept) // 2] = heap.alloc_many([64] * 500, noscan=False)

        threads = [threading.Thread(target=allocate) for _ in range(2)]
        for thread in threads:
            thread.start()
        for i in range(60):
            heap.set_gc_percent(10 + i)
            heap.set_memory_limit((6 + i % 30) * MIB)
            time.sleep(0.001)
            if i % 10 == 0:
                heap.set_memory_limit(None)
                heap.set_gc_percent(-1)
                cycles = heap.stats().num_gc
                time.sleep(0.005)
                assert heap.stats().num_gc == cycles
        stop.set()
        for thread in threads:
            thread.join()
        heap.verify()
        assert heap.stats().num_gc > 3


# --- Workers ---


@pytest.mark.parametrize("workers", [0, 1, 2, 16])
def test_as_many_threads_as_asked_for(workers: int) -> None:
    def threads() -> int:
        names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
        return sum(name.strip() in ("gomem-gc", "gomem-mark") for name in names)

    before = threads()
    with gomem.Heap(procs=8, gc_workers=workers) as heap:
        refs = [heap.alloc(40, noscan=False) for _ in range(1000)]
        heap.gc()
        cpus = os.cpu_count() or 1
        assert threads() - before == (workers or max(2, min(8, cpus)))
        assert heap.stats().heap_objects == len(refs)
        (cycle,) = heap.gc_cycles().to_dict("records")
        assert cycle["procs"] == 8
        # Two of eight Ps are dedicated.
        assert cycle["dedicated_ns"] > 0 and cycle["fractional_ns"] == 0
    assert threads() == before


def test_a_share_of_few_processors() -> None:
    """No whole worker: a quarter of each P's time is fractional, what goes beyond is idle time."""
    with gomem.Heap(procs=2, gc_workers=1) as heap:
        keep = heap.alloc_many([256] * 60_000, noscan=False)
        heap.gc()
        cycle = heap.gc_cycles().to_dict("records")[-1]
        assert cycle["dedicated_ns"] == 0
        # What is left when the world is stopped again is marked then, and counts too.
        cycle_ns = cycle["pause_begin_ns"] + cycle["mark_ns"] + cycle["pause_end_ns"]
        assert 0 < cycle["fractional_ns"] <= 0.5 * cycle_ns
        assert cycle["fractional_ns"] + cycle["idle_ns"] <= cycle_ns
        assert cycle["heap_scan"] >= 256 * 60_000
        assert cycle["globals_scan"] >= 8 * 60_000
        del keep


@pytest.mark.parametrize(
    ("workers", "error"),
    [(-1, ValueError), (17, ValueError), (2**40, ValueError), ("2", TypeError)],
)
def test_wrong_workers(workers: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="gc_workers"):
        gomem.Heap(procs=1, gc_workers=workers)


# --- A cycle for its own sake ---


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_cycle_every_two_minutes(heap: gomem.Heap) -> None:
    testing.advance_clock(heap, 1000)  # never a first one
    heap.gc()
    for cycles in (2, 3):
        testing.advance_clock(heap, 119)
        time.sleep(0.01)
        assert heap.stats().num_gc == cycles - 1
        testing.advance_clock(heap, 2)
        wait_for(lambda n=cycles: heap.stats().num_gc == n)
    records = heap.gc_cycles()
    assert list(records["periodic"]) == [0, 1, 1]
    assert list(records["forced"]) == [1, 0, 0]
    heap.gogc = None  # not while collections are off
    testing.advance_clock(heap, 1000)
    time.sleep(0.01)
    assert heap.stats().num_gc == 3
    heap.gogc = 100
    wait_for(lambda: heap.stats().num_gc == 4)


# --- Limits ---


def test_a_limit_below_the_live_heap_does_not_stop_the_program() -> None:
    """The collector runs and runs, until it has had its CPU-second: then nobody assists."""
    with gomem.Heap(procs=1, memory_limit="8MiB") as heap:
        keep = heap.alloc_many([64] * 300_000, noscan=False)
        deadline = time.monotonic() + 300
        while heap.metrics()["/gc/limiter/last-enabled:gc-cycle"] == 0:
            heap.alloc_many([64] * 2000, noscan=False)
            assert time.monotonic() < deadline
        enabled = heap.metrics()["/gc/limiter/last-enabled:gc-cycle"]
        assert isinstance(enabled, int) and 0 < enabled <= heap.stats().num_gc + 1
        heap.verify()
        del keep


def test_the_background_gives_back_what_the_goal_does_not_need() -> None:
    """Without a limit, too: what one large heap used is not kept for a small one."""
    with gomem.Heap(procs=1) as heap:
        big = heap.alloc_many([4096] * 10_000)
        heap.gc()
        del big
        small = heap.alloc(100)
        heap.gc()  # its goal is much lower
        heap.gc()  # what it freed is visible to the background from now on
        wait_for(lambda: heap.stats().extra["scavenged_background"] > 20 * MIB)
        heap.verify()
        assert not small.freed


# --- Statistics ---


def test_memstats() -> None:
    with gomem.Heap(procs=1) as heap:
        empty = heap.stats()
        assert empty.last_gc == 0 and empty.enable_gc and empty.gc_cpu_fraction == 0
        assert empty.pause_ns == empty.pause_end == (0,) * 256
        for _ in range(3):
            heap.gc()
        stats, before = heap.stats(), time.time_ns()
        assert stats.num_gc == 3
        assert abs(before - stats.last_gc) < 10**11
        assert sum(stats.pause_ns) == stats.pause_total_ns
        assert all(stats.pause_ns[:3]) and not any(stats.pause_ns[3:])
        assert stats.pause_end[2] == stats.last_gc >= stats.pause_end[1] >= stats.pause_end[0] > 0
        assert 0 < stats.gc_cpu_fraction <= 1
        for _ in range(256):
            heap.gc()
        assert heap.stats().pause_end[258 % 256] == heap.stats().last_gc  # round once
        assert all(heap.stats().pause_ns)
        assert len(heap.gc_cycles()) == 256


def test_metrics(heap: gomem.Heap) -> None:
    keep = heap.alloc_many([128] * 20_000, noscan=False)
    for _ in range(5):
        heap.gc()
    m: dict[str, Any] = heap.metrics()
    cpu = {n.split("/", 3)[3].partition(":")[0]: v for n, v in m.items() if n.startswith("/cpu")}
    parts = ("gc/mark/assist", "gc/mark/dedicated", "gc/mark/idle", "gc/pause")
    assert cpu["gc/total"] == pytest.approx(sum(cpu[part] for part in parts))
    assert cpu["scavenge/total"] == cpu["scavenge/assist"] + cpu["scavenge/background"]
    assert cpu["gc/total"] > 0
    fraction = (cpu["gc/total"] - cpu["gc/mark/idle"]) / cpu["total"]
    assert heap.stats().gc_cpu_fraction == pytest.approx(fraction)
    cycles = heap.gc_cycles()
    assert m["/gc/cycles/total:gc-cycles"] == len(cycles)
    assert m["/gc/cycles/forced:gc-cycles"] == sum(cycles["forced"]) == 5
    assert m["/gc/cycles/automatic:gc-cycles"] == len(cycles) - 5
    assert m["/gc/heap/goal:bytes"] == heap.stats().next_gc
    assert m["/gc/heap/live:bytes"] == cycles["heap_marked"].iloc[-1] >= 128 * 20_000
    assert m["/gc/scan/heap:bytes"] >= 128 * 20_000
    assert m["/gc/scan/globals:bytes"] >= 8 * 20_000
    assert m["/gc/scan/total:bytes"] == sum(
        m[f"/gc/scan/{part}:bytes"] for part in ("globals", "heap", "stack")
    )
    pauses = m["/sched/pauses/total/gc:seconds"]
    assert pauses == m["/gc/pauses:seconds"]
    assert pauses.total == m["/sched/pauses/stopping/gc:seconds"].total == 2 * len(cycles)
    assert m["/gomem/gc/marking:seconds"].total == len(cycles)
    values = sorted(v / 1e9 for c in ("pause_begin_ns", "pause_end_ns") for v in cycles[c])
    for value in values:
        i = max(i for i, bound in enumerate(pauses.buckets) if bound <= value)
        assert pauses.counts[i] > 0
    assert pauses.quantile(1) >= values[-1] > 0
    with pytest.raises(ValueError):
        pauses.quantile(2)
    del keep


def test_cycles(heap: gomem.Heap) -> None:
    keep = heap.alloc_many([64] * 30_000, noscan=False)
    heap.gc()
    for c in heap.gc_cycles().to_dict("records"):
        assert c["heap_scan"] + c["stack_scan"] + c["globals_scan"] == c["scan_work"]
        assert c["heap_marked"] <= c["heap_end"] and c["heap_start"] <= c["heap_end"]
        assert c["mark_ns"] > 0 and c["assist_ratio"] > 0 and 0 < c["cpu_fraction"] <= 1
        assert c["forced"] or c["heap_start"] >= c["trigger"]
        marking = c["assist_ns"] + c["dedicated_ns"] + c["fractional_ns"] + c["idle_ns"]
        assert marking > 0
    del keep


def test_stops_for_anything_else_are_counted_apart(heap: gomem.Heap) -> None:
    heap.gc()

    def counts() -> tuple[int, ...]:
        m: Any = heap.metrics()  # one stop, which is counted before they are read
        kinds = ("total/gc", "stopping/gc", "total/other", "stopping/other")
        return tuple(m[f"/sched/pauses/{kind}:seconds"].total for kind in kinds)

    first = counts()
    for _ in range(3):
        heap.verify()
    then = counts()
    assert [b - a for a, b in zip(first, then)] == [0, 0, 4, 4]
    heap.gc()
    assert [b - a for a, b in zip(then, counts())] == [2, 2, 1, 1]
    m: Any = heap.metrics()
    total, stopping = (m[f"/sched/pauses/{kind}/other:seconds"] for kind in ("total", "stopping"))
    assert stopping.quantile(1) <= total.quantile(1) < 10


def test_threads_are_counted() -> None:
    def threads(heap: gomem.Heap) -> Any:
        return heap.metrics()["/sched/threads/total:threads"]

    with gomem.Heap(procs=2, gogc="off", gc_workers=3) as heap:
        assert threads(heap) == 0
        ref = heap.alloc(100)
        gomem.set_finalizer(ref, print)
        assert threads(heap) == 1
        heap.gc()
        assert threads(heap) == 1 + 3 + 1  # markers, and who gives memory back


def test_settings_while_it_marks_and_while_it_sweeps(heap: gomem.Heap) -> None:
    """The goal follows at once; to set the limit that is set already does nothing, as in Go."""
    keep = heap.alloc_many(4096, count=5000)
    heap.gc()
    heap.alloc_many(64, count=1000)
    live = heap.metrics()["/gc/heap/live:bytes"]
    assert isinstance(live, int)
    with heap.step_gc() as cycle:
        cycle.next_phase()
        assert cycle.phase == "mark"
        goals = []
        for percent in (100, 400, 1):
            heap.gogc = percent
            goals.append(heap.stats().next_gc)
            assert abs(goals[-1] - live * (1 + percent / 100)) < 1 << 20
            heap.verify()
        while cycle.phase != "sweep":
            cycle.next_phase()
        goal = heap.stats().next_gc
        heap.alloc_many(4096, count=1000)
        heap.memory_limit = heap.memory_limit
        assert heap.stats().next_gc == goal
    assert list(heap.gc_cycles()["goal"])[-1] == goals[-1]
    del keep


def test_a_limit_is_for_all_memory_there_is_now() -> None:
    """What the heap has beside its objects grows until the first cycle begins, and takes from what the
    limit leaves to them: the trigger is not what it was when the heap was new."""
    with gomem.Heap(procs=1, gogc="off", memory_limit="40MiB") as heap:
        while heap.stats().num_gc < 3:
            heap.alloc_many([16, 64, 256] * 2000, noscan=False)
        cycles = heap.gc_cycles()
        assert all(cycles["trigger"] <= cycles["goal"])
