"""The order of events of different threads: Go's, which is not that of their times.

Small traces in which clocks are wrong, traces whose order is impossible or of which a part is missing,
and, if Go is installed, the traces that Go's own reader is tested with.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cdriver import ROOT
from hypothesis import given
from hypothesis import strategies as st
from tracedriver import REFUSED, assert_same, build, events, execute, facts, run
from tracefile import MIN_HEAP, NO_M, Ev, G, P, Thread, Trace, everything, from_text

pytestmark = pytest.mark.core_alone

MIN_STACK = 2048


def running(m: int = 1, proc: int = 0, goroutine: int = 1) -> Thread:
    return Thread(m).proc(0, proc).goroutine(0, goroutine)


def calling() -> Thread:
    return running().at(1, Ev.GO_SYSCALL_BEGIN, 1, 0)


def mark(thread: Thread, time: int, number: int) -> Thread:
    """An event that can come at any time: a goroutine without a stack."""
    return thread.at(time, Ev.STACK, number, 0)


def marks(trace_file: Path) -> list[int]:
    return [(e.address - MIN_HEAP) // MIN_STACK for _, e in events(trace_file, "STACK_EXISTS")]


def refusal(trace_file: Path) -> str:
    done = run(build("gotrace_test", "asan"), "facts", trace_file)
    assert done.returncode == REFUSED, done.stdout
    return done.stdout.strip()


# --- Clocks that are wrong ---

# Of each, the second thread's events come too early by their times: what they wait for happens at 100
# on the first thread, between marks 1 and 2. Mark 3 follows what waits.


def start_waits_for_unblock() -> list[Thread]:
    a = Thread(1).proc(0, 0).goroutine(0, 1).goroutine(0, 2, G.WAITING, NO_M)
    b = Thread(2).proc(0, 1).at(50, Ev.GO_START, 2, 2)
    return [mark(a, 99, 1).at(100, Ev.GO_UNBLOCK, 2, 1, 0), b]


def start_waits_for_creation() -> list[Thread]:
    a = Thread(1).proc(0, 0).goroutine(0, 1)
    b = Thread(2).proc(0, 1).at(50, Ev.GO_START, 2, 1)
    return [mark(a, 99, 1).at(100, Ev.GO_CREATE, 2, 0, 0), b]


def start_waits_for_its_number() -> list[Thread]:
    """It could start at 50, but was stopped and started again before."""
    a = Thread(1).proc(0, 0).goroutine(0, 2, G.RUNNABLE, NO_M).at(60, Ev.GO_START, 2, 1)
    b = Thread(2).proc(0, 1).at(50, Ev.GO_START, 2, 2)
    return [mark(a, 99, 1).at(100, Ev.GO_STOP, 0, 0), b]


def unblock_waits_for_block() -> list[Thread]:
    a = Thread(1).proc(0, 0).goroutine(0, 1)
    b = Thread(2).proc(0, 1).at(50, Ev.GO_UNBLOCK, 1, 1, 0)
    return [mark(a, 99, 1).at(100, Ev.GO_BLOCK, 0, 0), b]


def switch_waits_for_the_other_one() -> list[Thread]:
    a = Thread(1).proc(0, 0).goroutine(0, 1)
    b = Thread(2).proc(0, 1).goroutine(0, 2).at(50, Ev.GO_SWITCH, 1, 1)
    return [mark(a, 99, 1).at(100, Ev.GO_BLOCK, 0, 0), b]


def switch_and_end_waits_for_creation() -> list[Thread]:
    a = Thread(1).proc(0, 0).goroutine(0, 1)
    b = Thread(2).proc(0, 1).goroutine(0, 2).at(50, Ev.GO_SWITCH_DESTROY, 3, 1)
    return [mark(a, 99, 1).at(100, Ev.GO_CREATE_BLOCKED, 3, 0, 0), b]


def start_of_p_waits_for_its_stop() -> list[Thread]:
    a = Thread(1).proc(0, 0)
    b = Thread(2).at(50, Ev.PROC_START, 0, 1)
    return [mark(a, 99, 1).at(100, Ev.PROC_STOP), b]


def start_of_p_waits_for_theft_of_another() -> list[Thread]:
    a = Thread(1).proc(0, 0).proc(0, 2, P.IDLE)
    b = Thread(2).proc(0, 1).goroutine(0, 2).at(10, Ev.GO_SYSCALL_BEGIN, 1, 0)
    b.at(50, Ev.PROC_START, 2, 1).at(51, Ev.GO_SYSCALL_END_BLOCKED).at(52, Ev.GO_START, 2, 1)
    b.at(53, Ev.HEAP_ALLOC, 7)
    return [mark(a, 99, 1).at(100, Ev.PROC_STEAL, 1, 2, 2), b]


def theft_waits_for_system_call() -> list[Thread]:
    a = Thread(1).proc(0, 0).goroutine(0, 1)
    b = Thread(2).at(50, Ev.PROC_STEAL, 0, 2, 1)
    return [mark(a, 99, 1).at(100, Ev.GO_SYSCALL_BEGIN, 1, 0), b]


def theft_waits_for_the_second_system_call() -> list[Thread]:
    a = Thread(1).proc(0, 0).goroutine(0, 1).at(10, Ev.GO_SYSCALL_BEGIN, 1, 0)
    a.at(20, Ev.GO_SYSCALL_END)
    b = Thread(2).at(15, Ev.PROC_STEAL, 0, 3, 1)
    return [mark(a, 99, 1).at(100, Ev.GO_SYSCALL_BEGIN, 2, 0), b]


def end_of_system_call_waits_for_theft() -> list[Thread]:
    a = Thread(1).proc(0, 0).goroutine(0, 1)
    b = Thread(2).proc(0, 1).goroutine(0, 2).at(10, Ev.GO_SYSCALL_BEGIN, 1, 0)
    b.at(50, Ev.GO_SYSCALL_END_BLOCKED)
    return [mark(a, 99, 1).at(100, Ev.PROC_STEAL, 1, 2, 2), b]


def end_of_cycle_waits_for_beginning() -> list[Thread]:
    a = Thread(1).proc(0, 0).goroutine(0, 1).at(1, Ev.GC_BEGIN, 5, 0)
    b = Thread(2).proc(0, 1).goroutine(0, 2).at(2, Ev.GC_END, 6).at(50, Ev.GC_END, 8)
    return [mark(a, 99, 1).at(100, Ev.GC_BEGIN, 7, 0), b]


def next_cycle_waits_for_end() -> list[Thread]:
    a = Thread(1).proc(0, 0).goroutine(0, 1).at(1, Ev.GC_ACTIVE, 5)
    b = Thread(2).proc(0, 1).goroutine(0, 2).at(50, Ev.GC_BEGIN, 7, 0)
    return [mark(a, 99, 1).at(100, Ev.GC_END, 6), b]


WAITING = [
    start_waits_for_unblock, start_waits_for_creation, start_waits_for_its_number,
    unblock_waits_for_block, switch_waits_for_the_other_one, switch_and_end_waits_for_creation,
    start_of_p_waits_for_its_stop, start_of_p_waits_for_theft_of_another,
    theft_waits_for_system_call, theft_waits_for_the_second_system_call,
    end_of_system_call_waits_for_theft, end_of_cycle_waits_for_beginning, next_cycle_waits_for_end,
]  # fmt: skip


@pytest.mark.parametrize("scenario", WAITING, ids=lambda f: f.__name__)
@pytest.mark.parametrize("minor", [23, 26])
def test_what_waits_comes_after_what_it_waits_for(
    scenario: Callable[[], list[Thread]], minor: int, trace_file: Path, go_reader: Path | str
) -> None:
    a, b = scenario()
    mark(a, a.time + 1, 2)
    mark(b, b.time + 1, 3)
    trace_file.write_bytes(Trace(minor).add(1000, [a, b]).data)
    assert marks(trace_file) == [1, 3, 2]
    found = facts(trace_file)
    assert "reader_truncated" not in found
    if isinstance(go_reader, Path):
        gos = execute(go_reader, trace_file)
        assert gos.returncode == 0, gos.stderr
        assert_same(found, json.loads(gos.stdout))


def test_times_never_fall(trace_file: Path) -> None:
    """Who comes too early by its time gets that of what it waited for, and a nanosecond."""
    a, b = start_waits_for_unblock()
    a.at(200, Ev.HEAP_ALLOC, 1)
    trace_file.write_bytes(Trace().add(1000, [a, mark(b, 51, 3)]).data)
    times = [e.time for _, e in events(trace_file, "STACK_EXISTS")]
    first = 64 * 1000 + 1  # after the generation's beginning, which is at that time
    assert times == [64 * 1099 - first, 64 * 1100 + 2 - first]


def test_a_batch_may_begin_before_the_last_one_ended(trace_file: Path) -> None:
    """Then its events come at once: until they do the thread is the earliest."""
    trace = Trace().add(1000, [], ended=False)
    trace.batch(1, 1000, bytes(mark(mark(Thread(1).proc(0, 0), 10, 1), 500, 2).data))
    trace.batch(1, 1020, bytes(mark(mark(Thread(1), 0, 3), 600, 4).data))
    trace.batch(2, 1000, bytes(mark(mark(Thread(2), 100, 5), 510, 6).data))
    trace.data.append(52)
    trace_file.write_bytes(trace.data)
    assert marks(trace_file) == [1, 5, 2, 3, 6, 4]


def test_a_goroutine_may_be_met_in_a_system_call_of_another_thread(trace_file: Path) -> None:
    a = Thread(1).proc(0, 0).goroutine(0, 1).goroutine(0, 2, G.SYSCALL, 2).proc(0, 1, P.IDLE)
    b = Thread(2).at(50, Ev.GO_SYSCALL_END_BLOCKED).at(51, Ev.PROC_START, 1, 1)
    b.at(52, Ev.GO_START, 2, 1).at(53, Ev.HEAP_ALLOC, 7)
    trace_file.write_bytes(Trace().add(1000, [a, b]).data)
    assert facts(trace_file)["proc_1_/memory/classes/heap/objects:bytes"] == 1


def test_a_p_that_was_left_behind_is_stolen(trace_file: Path) -> None:
    """By another thread, and in the next generation, whose first event of it is the theft."""
    a = Thread(1).proc(0, 0, P.IDLE).at(1, Ev.GO_CREATE_SYSCALL, 7)
    a.at(2, Ev.GO_SYSCALL_END_BLOCKED).at(3, Ev.PROC_START, 0, 1).at(4, Ev.GO_START, 7, 1)
    a.at(5, Ev.GO_SYSCALL_BEGIN, 2, 0).at(6, Ev.GO_DESTROY_SYSCALL)
    a.at(7, Ev.GO_CREATE_SYSCALL, 8)
    b = Thread(2).proc(8, 0, P.ABANDONED).at(9, Ev.PROC_STEAL, 0, 1, 1)
    b.at(10, Ev.PROC_START, 0, 2).at(11, Ev.HEAP_ALLOC, 7)
    c = Thread(1).goroutine(0, 8, G.SYSCALL)
    trace_file.write_bytes(Trace().add(1000, [a]).add(2000, [c, b]).data)
    assert facts(trace_file)["proc_0_/memory/classes/heap/objects:bytes"] == 1


OTHER = (0, 2, G.WAITING, NO_M)
LIVES = [
    running().at(1, Ev.GO_DESTROY).at(2, Ev.GO_CREATE, 1, 0, 0).at(3, Ev.GO_START, 1, 1),
    running().goroutine(*OTHER).at(1, Ev.GO_SWITCH, 2, 1).at(2, Ev.GO_UNBLOCK, 1, 1, 0)
    .at(3, Ev.GO_BLOCK, 0, 0).at(4, Ev.GO_UNBLOCK, 2, 2, 0).at(5, Ev.GO_START, 1, 2)
    .at(6, Ev.GO_STOP, 0, 0).at(7, Ev.GO_START, 2, 3),
    running().goroutine(*OTHER).at(1, Ev.GO_SWITCH_DESTROY, 2, 1).at(2, Ev.GO_STOP, 0, 0)
    .at(3, Ev.GO_CREATE_BLOCKED, 1, 0, 0).at(4, Ev.GO_START, 2, 2).at(5, Ev.GO_SWITCH, 1, 1),
    calling().at(2, Ev.PROC_STOP).at(3, Ev.GO_SYSCALL_END_BLOCKED).at(4, Ev.PROC_START, 0, 2)
    .at(5, Ev.GO_START, 1, 1).at(6, Ev.GO_SYSCALL_BEGIN, 3, 0).at(7, Ev.GO_SYSCALL_END)
    .at(8, Ev.GO_SYSCALL_BEGIN, 4, 0).at(9, Ev.PROC_STEAL, 0, 5, 1)
    .at(10, Ev.GO_SYSCALL_END_BLOCKED).at(11, Ev.PROC_START, 0, 6).at(12, Ev.PROC_STOP),
    running().at(1, Ev.PROC_STOP).at(2, Ev.PROC_START, 0, 1).at(3, Ev.GC_BEGIN, 9, 0)
    .at(4, Ev.GC_END, 10).at(5, Ev.GC_BEGIN, 11, 0),
    Thread(1).at(1, Ev.GO_CREATE_SYSCALL, 7).at(2, Ev.GO_DESTROY_SYSCALL)
    .at(3, Ev.GO_CREATE_SYSCALL, 7).at(4, Ev.GO_SYSCALL_END_BLOCKED).proc(5, 0, P.IDLE)
    .at(6, Ev.PROC_START, 0, 1).at(7, Ev.GO_START, 7, 1),
]  # fmt: skip


@pytest.mark.parametrize("thread", LIVES)
def test_goroutines_and_ps_that_come_and_go(
    thread: Thread, trace_file: Path, go_reader: Path | str
) -> None:
    trace_file.write_bytes(Trace().add(1000, [thread]).data)
    found = facts(trace_file)
    if isinstance(go_reader, Path):
        gos = execute(go_reader, trace_file)
        assert gos.returncode == 0, gos.stderr
        assert_same(found, json.loads(gos.stdout))


# --- Orders that are impossible ---

MISSING_P = "the P of thread 1 to be there, not none"
MISSING_G = "the goroutine of thread 1 to be there, not none"
IMPOSSIBLE: list[tuple[Thread, tuple[int, ...], str]] = [
    (Thread(1), (Ev.HEAP_ALLOC, 1), MISSING_P),
    (Thread(1), (Ev.HEAP_GOAL, 1), MISSING_P),
    (Thread(1), (Ev.GC_SWEEP_BEGIN, 0), MISSING_P),
    (Thread(1), (Ev.GC_SWEEP_END, 0, 0), MISSING_P),
    (Thread(1), (Ev.GO_CREATE, 5, 0, 0), MISSING_P),
    (Thread(1), (Ev.PROCS_CHANGE, 5, 0), MISSING_P),
    *((Thread(1).proc(0, 0), event, MISSING_G) for event in (
        (Ev.PROCS_CHANGE, 5, 0), (Ev.STW_BEGIN, 0, 0), (Ev.STW_END,), (Ev.GO_LABEL, 0),
        (Ev.GC_MARK_ASSIST_BEGIN, 0), (Ev.GC_MARK_ASSIST_END,), (Ev.USER_LOG, 0, 0, 0, 0),
        (Ev.USER_TASK_BEGIN, 1, 0, 0, 0), (Ev.USER_TASK_END, 1, 0),
        (Ev.USER_REGION_BEGIN, 1, 0, 0), (Ev.USER_REGION_END, 1, 0, 0),
    )),
    *((running().at(1, Ev.PROC_STOP).goroutine(1, *OTHER[1:]), event, MISSING_P) for event in (
        (Ev.GO_STOP, 0, 0), (Ev.GO_BLOCK, 0, 0), (Ev.GO_DESTROY,), (Ev.GO_SWITCH, 2, 1),
        (Ev.GO_SWITCH_DESTROY, 2, 1), (Ev.GO_SYSCALL_BEGIN, 1, 0), (Ev.GO_CREATE, 3, 0, 0),
        (Ev.GO_CREATE_BLOCKED, 3, 0, 0), (Ev.STW_BEGIN, 0, 0), (Ev.STW_END,), (Ev.GO_LABEL, 0),
        (Ev.GC_MARK_ASSIST_BEGIN, 0), (Ev.GC_MARK_ASSIST_END,), (Ev.USER_LOG, 0, 0, 0, 0),
        (Ev.USER_TASK_BEGIN, 1, 0, 0, 0), (Ev.USER_TASK_END, 1, 0),
        (Ev.USER_REGION_BEGIN, 1, 0, 0), (Ev.USER_REGION_END, 1, 0, 0), (Ev.PROCS_CHANGE, 5, 0),
    )),
    (Thread(1).goroutine(0, 2, G.RUNNABLE, NO_M), (Ev.GO_START, 2, 1), MISSING_P),
    (running().goroutine(0, 2, G.RUNNABLE, NO_M), (Ev.GO_START, 2, 1),
     "the goroutine of thread 1 to be none, not running"),
    (calling(), (Ev.GO_CREATE, 7, 0, 0),
     "the goroutine of thread 1 to be none or running, not in a system call"),
    (running(), (Ev.GO_CREATE_BLOCKED, 1, 0, 0), "goroutine 1 to be none, not running"),
    (running(), (Ev.GO_CREATE_SYSCALL, 1), "goroutine 1 to be none, not running"),
    (Thread(1).proc(0, 0).goroutine(0, *OTHER[1:]), (Ev.GO_SWITCH, 2, 1),
     "the goroutine of thread 1 to be running, not none"),
    (Thread(1).proc(0, 0).goroutine(0, *OTHER[1:]), (Ev.GO_SWITCH_DESTROY, 2, 1),
     "the goroutine of thread 1 to be running, not none"),
    (calling(), (Ev.GO_SYSCALL_BEGIN, 2, 0),
     "the goroutine of thread 1 to be running, not in a system call"),
    (Thread(1).proc(0, 0).goroutine(0, 1).proc(0, 0).at(1, Ev.GO_SYSCALL_BEGIN, 1, 0)
     .at(2, Ev.PROC_STEAL, 0, 2, 1), (Ev.GO_SYSCALL_END,),
     "the P of thread 1 to be in a system call, not none"),
    (Thread(1), (Ev.PROC_STOP,),
     "the P of thread 1 to be running or in a system call, not none"),
    (Thread(1).proc(0, 0), (Ev.GO_STOP, 0, 0),
     "the goroutine of thread 1 to be running, not none"),
    (calling(), (Ev.GO_BLOCK, 0, 0),
     "the goroutine of thread 1 to be running, not in a system call"),
    (calling(), (Ev.GO_DESTROY,),
     "the goroutine of thread 1 to be running, not in a system call"),
    (calling(), (Ev.GO_CREATE_BLOCKED, 7, 0, 0),
     "the goroutine of thread 1 to be none or running, not in a system call"),
    (running(), (Ev.GO_CREATE, 1, 0, 0), "goroutine 1 to be none, not running"),
    (running(), (Ev.GO_CREATE_SYSCALL, 2),
     "the goroutine of thread 1 to be none, not running"),
    (running(), (Ev.GO_SYSCALL_BEGIN, 2, 0), "the next number of the thread's P"),
    (running(), (Ev.GO_SYSCALL_END,), "the P of thread 1 to be in a system call, not running"),
    (running(), (Ev.GO_SYSCALL_END_BLOCKED,),
     "the goroutine of thread 1 to be in a system call, not running"),
    (running(), (Ev.GO_DESTROY_SYSCALL,),
     "the P of thread 1 to be none or in a system call, not running"),
    (calling().goroutine(1, 3, G.WAITING, NO_M), (Ev.GO_SWITCH, 3, 1),
     "the goroutine of thread 1 to be running, not in a system call"),
    (running(), (Ev.PROC_STATUS, 0, P.IDLE), "P 0 to be running, not idle"),
    (running(), (Ev.PROC_STATUS, 1, 0), "a state of a P from 1 to 4"),
    (running(), (Ev.PROC_STATUS, 1, 5), "a state of a P from 1 to 4"),
    (running(), (Ev.PROC_STATUS, 1 << 15, P.IDLE), "a P of at most 32767"),
    (running(), (Ev.PROC_STEAL, 1 << 15, 1, 1), "a P of at most 32767"),
    (running(), (Ev.GO_STATUS, 1, 1, G.WAITING), "goroutine 1 to be running, not waiting"),
    (running(), (Ev.GO_STATUS_STACK, 2, 1, 0, 0), "a state of a goroutine from 1 to 4"),
    (running(), (Ev.GO_STATUS, 2, 1, 5), "a state of a goroutine from 1 to 4"),
    (running(), (Ev.GO_STATUS, 2, NO_M, G.SYSCALL), "the thread on which the goroutine is"),
    (calling(), (Ev.PROC_STEAL, 0, 2, 7), "the P that is stolen on the thread"),
    (running().at(1, Ev.GC_BEGIN, 1, 0), (Ev.GC_BEGIN, 2, 0), "no cycle under way"),
    (running().at(1, Ev.GC_BEGIN, 1, 0), (Ev.GC_ACTIVE, 2), "no earlier event of a cycle"),
    (running().at(1, Ev.GC_BEGIN, 1, 0).at(2, Ev.GC_END, 2), (Ev.GC_END, 3), "a cycle under way"),
    (calling().at(1, Ev.GC_BEGIN, 1, 0).at(2, Ev.PROC_STEAL, 0, 2, 1), (Ev.GC_END, 2),
     "a goroutine and a P on the thread of the event"),
]  # fmt: skip


@pytest.mark.parametrize(("thread", "event", "message"), IMPOSSIBLE)
def test_an_impossible_event_is_told_by_its_byte(
    thread: Thread, event: tuple[int, ...], message: str, trace_file: Path, go_reader: Path | str
) -> None:
    before = len(thread.data)
    copy = Thread(thread.m, bytearray(thread.data), thread.time)
    copy.at(thread.time + 1, Ev(event[0]), *event[1:])
    data = bytes(Trace().add(5, [copy, running(2, 8, 8)]).data)
    trace_file.write_bytes(data)
    told = refusal(trace_file)
    assert told.startswith(f"broken trace: expected {message}")
    assert told.endswith(f"at byte {data.index(bytes(copy.data)) + before}")
    stricter = "32767" in message or "from 1 to 4" in message
    if isinstance(go_reader, Path) and not stricter:
        assert execute(go_reader, trace_file).returncode != 0


def test_who_was_not_there_in_the_first_generation_can_not_be_told_of(trace_file: Path) -> None:
    trace = Trace().add(5, [running()]).add(500, [Thread(1).goroutine(0, 2, G.WAITING)])
    trace_file.write_bytes(trace.data)
    assert "expected goroutine 2 to be none, not waiting at byte" in refusal(trace_file)


STUCK = [
    (running(2, 1, 2).at(1, Ev.GO_BLOCK, 0, 0).at(2, Ev.GO_START, 9, 1),
     "goroutine 9 to be runnable, not none"),
    (running(2, 1, 2).at(1, Ev.GO_STOP, 0, 0).at(2, Ev.GO_START, 2, 2),
     "event 2 of goroutine 2 to come after its event 0"),
    (Thread(2).at(1, Ev.GO_UNBLOCK, 1, 1, 0), "goroutine 1 to be waiting, not running"),
    (running(2, 1, 2).at(1, Ev.GO_SWITCH, 2, 1), "goroutine 2 to be waiting, not running"),
    (Thread(2).at(1, Ev.PROC_START, 0, 1), "P 0 to be idle, not running"),
    (Thread(2).proc(0, 3, P.IDLE).at(1, Ev.PROC_START, 3, 0),
     "event 0 of P 3 to come after its event 0"),
    (Thread(2).proc(0, 1).proc(1, 2, P.IDLE).at(2, Ev.PROC_START, 2, 1),
     "the P of thread 2 to be none, not running"),
    (Thread(2).at(1, Ev.PROC_STEAL, 0, 1, 1),
     "P 0 to be in a system call or abandoned in a system call, not running"),
    (running(2, 1, 2).at(1, Ev.GO_SYSCALL_BEGIN, 1, 0).at(2, Ev.GO_SYSCALL_END_BLOCKED),
     "the P of thread 2 to be none or running or idle or abandoned in a system call, not in a"),
    (running(2, 1, 2).at(1, Ev.GC_BEGIN, 1, 0).at(2, Ev.GC_END, 4),
     "the collector's events before this one"),
]  # fmt: skip


@pytest.mark.parametrize(("thread", "message"), STUCK)
def test_when_no_thread_can_go_on_it_is_told_where(
    thread: Thread, message: str, trace_file: Path, go_reader: Path | str
) -> None:
    trace_file.write_bytes(Trace().add(5, [running(), thread]).data)
    assert refusal(trace_file).startswith(f"broken trace: no thread can go on, expected {message}")
    if isinstance(go_reader, Path):
        assert "failed to advance" in execute(go_reader, trace_file).stderr


def test_too_many_threads(trace_file: Path) -> None:
    """Go has at most 10000 unless it is told otherwise."""
    threads = [mark(Thread(m), 0, 0) for m in range(1, 16384 + 2)]
    trace_file.write_bytes(Trace().add(5, threads[:-1]).data)
    assert facts(trace_file)["count_GoroutineStack"] == 16384
    trace_file.write_bytes(Trace().add(5, threads).data)
    assert "expected at most 16384 threads with events at byte" in refusal(trace_file)


# --- Parts of traces ---


@pytest.mark.parametrize("scenario", WAITING, ids=lambda f: f.__name__)
def test_what_waits_for_a_missing_part_comes_anyway(
    scenario: Callable[[], list[Thread]], trace_file: Path
) -> None:
    """The file ends before the batch of the first thread: the second one's events are all there is."""
    b = mark(scenario()[1], 1000, 3)
    trace_file.write_bytes(Trace().add(5, [b, Thread(1)], ended=False).data[:-20])
    assert marks(trace_file) == [3]
    assert facts(trace_file)["reader_truncated"] == 1


def test_before_go_1_26_a_missing_part_is_seen_when_something_waits_for_it(
    trace_file: Path,
) -> None:
    waiting = mark(Thread(2).at(1, Ev.GO_UNBLOCK, 9, 1, 0), 2, 3)
    data = Trace(25).add(5, [running()]).add(500, [waiting]).data
    trace_file.write_bytes(data)
    found = facts(trace_file)
    assert (found["reader_truncated"], found["reader_truncated_at"]) == (1, len(data))
    assert (found["generations"], found["reader_complete_generations"]) == (2, 1)
    assert marks(trace_file) == [3]
    trace_file.write_bytes(Trace(25).add(5, [waiting]).add(500, [running()]).data)
    assert "no thread can go on" in refusal(trace_file)


def test_what_is_impossible_is_so_in_a_part_too(trace_file: Path) -> None:
    broken = Thread(1).at(1, Ev.HEAP_ALLOC, 1)
    trace_file.write_bytes(Trace().add(5, [broken], ended=False).data[:-1])
    assert f"expected {MISSING_P}" in refusal(trace_file)


# --- Of many with the same time ---


def frontier(how: str, *lines: list[int]) -> list[list[int]]:
    done = subprocess.run(
        [build("frontier_test", "asan"), how],
        input="\n".join(" ".join(map(str, times)) for times in lines),
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return [[int(thread) for thread in line.split()] for line in done.stdout.splitlines()]


def test_the_frontier_is_sorted_as_go_sorts() -> None:
    cases = json.loads((ROOT / "tests/golden/sorts.json").read_text())["cases"]
    assert len(cases) > 50
    got = frontier("sort", *(case["keys"] for case in cases))
    for case, order in zip(cases, got, strict=True):
        assert order == case["order"], case["keys"]


@given(st.lists(st.integers(0, 1 << 40), max_size=200, unique=True))
def test_the_frontier_is_sorted(times: list[int]) -> None:
    assert frontier("sort", [*times, 1 << 41]) == [
        [*sorted(range(len(times)), key=times.__getitem__), len(times)]
    ]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_the_frontier_is_a_heap(times: list[int]) -> None:
    (threads,) = frontier("heap", times)
    came: list[int] = []
    for i, thread in enumerate(threads):
        came.append(times[thread] if thread not in threads[:i] else 2 * times[thread] + 1)
    assert came == sorted([*times, *(2 * t + 1 for t in times)])


# --- Go, if it is here ---


@pytest.mark.parametrize("minor", [23, 25, 26])
def test_a_trace_of_nearly_everything(minor: int, trace_file: Path, reference: Path) -> None:
    trace_file.write_bytes(everything(minor))
    gos = execute(reference, trace_file)
    assert gos.returncode == 0, gos.stderr
    assert_same(facts(trace_file), json.loads(gos.stdout))


def test_traces_go_is_tested_with(trace_file: Path, reference: Path) -> None:
    root = Path(execute("go", "env", "GOROOT").stdout.strip())
    paths = sorted((root / "src/internal/trace/testdata/tests").glob("*.test"))
    if not paths:
        pytest.skip("this Go was installed without its tests")
    for path in paths:
        expected, _, text = path.read_text().partition("-- trace --\n")
        trace_file.write_bytes(from_text(text))
        if "SUCCESS" not in expected:
            assert refusal(trace_file).startswith("broken trace: "), path.name
            continue
        gos = execute(reference, trace_file)
        assert gos.returncode == 0, (path.name, gos.stderr)
        found = facts(trace_file)
        assert "reader_truncated" not in found, path.name
        assert_same(found, json.loads(gos.stdout))
