"""The reader of Go execution traces, through the C drivers of tests/c.

What it finds in real traces is compared with what Go's own reader finds (tools/gotrace_reference),
in a golden file and, if there is a Go toolchain, in a trace recorded now. What it makes of files that
are cut off or broken is tried under AddressSanitizer.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from cdriver import ROOT
from hypothesis import given
from hypothesis import strategies as st
from tracedriver import REFUSED, assert_same, build, events, execute, facts, run
from tracefile import MIN_HEAP, PAGE, Ev, Thread, Trace, everything

MINORS = (23, 25, 26)
GOLDEN = sorted((ROOT / "tests/golden/gotrace").glob("*.json"))
CORPUS = sorted((ROOT / "tests/corpus/gotrace").iterdir())


# --- Real traces ---


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_finds_what_go_finds(golden: Path, trace_file: Path) -> None:
    packed = ROOT / "gomem/data" / f"{golden.stem}.trace.gz"
    trace_file.write_bytes(gzip.decompress(packed.read_bytes()))
    ours = facts(trace_file)
    assert_same(ours, json.loads(golden.read_text()))
    assert "reader_truncated" not in ours
    assert "unmatched_frees" not in ours and "object_without_span" not in ours


@pytest.mark.parametrize(
    "name", ["json", "parser", "http", "template", "flate", "json_plain", "generations"]
)
def test_finds_what_go_finds_in_a_new_trace(name: str, tmp_path: Path, reference: Path) -> None:
    recorded = execute(ROOT / "tools/record_traces.sh", tmp_path, name)
    if recorded.returncode != 0:
        pytest.skip(f"Go could not record the trace: {recorded.stderr[-500:]}")
    trace = tmp_path / f"{name}.trace"
    gos = execute(reference, trace)
    if gos.returncode != 0:
        pytest.skip(f"Go's own reader refuses the trace it recorded: {gos.stderr[-500:]}")
    assert_same(facts(trace), json.loads(gos.stdout))


# --- What is inferred ---


def on_proc(m: int, proc: int) -> Thread:
    return Thread(m).proc(0, proc)


@pytest.mark.parametrize("minor", MINORS)
def test_formats_of_all_versions(minor: int, trace_file: Path) -> None:
    trace_file.write_bytes(everything(minor))
    found = facts(trace_file)
    assert found["reader_go_minor"] == minor
    assert found["generations"] == found["reader_complete_generations"] == 2
    assert "reader_truncated" not in found and "unmatched_frees" not in found
    assert found["type_count_T"] == 2
    assert found["begin_stop-the-world (start trace)"] == 1
    assert found["label_GC (dedicated)"] == 1
    assert found["proc_1_HeapObjectFree"] == 4
    assert ("time_start_unix" in found) == (minor >= 25)


def late_frees() -> bytes:
    """A thread's clock got ahead while it swept: 400 slots are in use again when its frees come."""
    slots = [MIN_HEAP + 16 * i for i in range(400)]
    allocates, sweeps = on_proc(1, 0), on_proc(2, 1)
    allocates.span(1, MIN_HEAP, 1, 4)
    for i, slot in enumerate([*slots, *slots]):
        allocates.alloc(2 + i, slot, 1 + i // 400)
    for i, slot in enumerate(slots):
        sweeps.free(900 + i, slot)
    types = [(1, "old", 16), (2, "new", 16)]
    return bytes(Trace().add(5, [allocates, sweeps], types).data)


def test_many_late_frees_are_matched(trace_file: Path) -> None:
    trace_file.write_bytes(late_frees())
    found = facts(trace_file)
    assert found["reader_overlaps"] == 400
    assert "unmatched_frees" not in found
    assert found["final_live_objects"] == 400
    freed = [e.link for _, e in events(trace_file, "OBJECT_FREE")]
    old = [i for i, _ in events(trace_file, "OBJECT_ALLOC")][:400]
    assert freed == old


def test_objects_of_a_covered_span_are_freed(trace_file: Path) -> None:
    """Two spans of other classes lie where one is still being swept."""
    m1, m2 = on_proc(1, 0), on_proc(2, 1)
    m1.span(1, MIN_HEAP, 2, 37 << 1 | 1)
    for i in range(9):
        m1.alloc(2 + i, MIN_HEAP + 1792 * i)
    m1.span(20, MIN_HEAP, 1, 7).span(21, MIN_HEAP + PAGE, 1, 9)
    for i in range(20):
        m1.alloc(22 + i, MIN_HEAP + 24 * i).alloc(22 + i, MIN_HEAP + PAGE + 32 * i)
    for i in range(9):
        m2.free(100 + i, MIN_HEAP + 1792 * i)
    m2.span_free(110, MIN_HEAP)
    trace_file.write_bytes(Trace().add(5, [m1, m2]).data)
    found = facts(trace_file)
    assert "unmatched_frees" not in found
    assert found["final_live_objects"] == 40
    assert found["final_heap_bytes"] == 2 * PAGE
    assert [e.size for _, e in events(trace_file, "OBJECT_FREE")] == [1792] * 9


def test_tiny_objects_share_blocks_until_a_sweep(trace_file: Path) -> None:
    m = on_proc(1, 0).goroutine(0, 1).span(1, MIN_HEAP, 1, 5)
    m.alloc(2, MIN_HEAP, 1).alloc(3, MIN_HEAP, 1).alloc(4, MIN_HEAP + 8, 2)  # 4 + 4 + 8
    m.at(5, Ev.GC_BEGIN, 1, 0).at(6, Ev.GC_END, 2)
    m.alloc(7, MIN_HEAP, 3).free(8, MIN_HEAP)  # the free is the first block's
    types = [(1, "int32", 4), (2, "int64", 8), (3, "int16", 2)]
    trace_file.write_bytes(Trace().add(5, [m], types).data)
    allocs = events(trace_file, "OBJECT_ALLOC")
    assert [e.size for _, e in allocs] == [4, 4, 8, 16]
    first = allocs[0][0]
    assert [e.next_part for _, e in allocs] == [first + 1, first + 2, 0, 0]
    assert [(e.link, e.size) for _, e in events(trace_file, "OBJECT_FREE")] == [(first, 16)]
    assert facts(trace_file)["final_live_objects"] == 1


def test_malloc_headers(trace_file: Path) -> None:
    """Events of what exists and of frees have the slot's address, those of allocations the user's."""
    span_class = 30 << 1  # 768 bytes, with pointers
    m = on_proc(1, 0).span(1, MIN_HEAP, 1, span_class, Ev.SPAN)
    m.alloc(2, MIN_HEAP, 0, Ev.OBJECT).alloc(3, MIN_HEAP + 768 + 8)
    m.free(4, MIN_HEAP).free(5, MIN_HEAP + 768)
    trace_file.write_bytes(Trace().add(5, [m]).data)
    users = [MIN_HEAP + 8, MIN_HEAP + 768 + 8]
    assert [e.address for _, e in events(trace_file, "OBJECT_EXISTS")] == users[:1]
    assert [e.address for _, e in events(trace_file, "OBJECT_ALLOC")] == users[1:]
    assert [e.address for _, e in events(trace_file, "OBJECT_FREE")] == users


@pytest.mark.parametrize(
    "data",
    [everything(26), everything(26)[:-150], late_frees()],
    ids=["everything", "a part", "late frees"],
)
def test_every_refused_allocation_is_survived(data: bytes, trace_file: Path) -> None:
    trace_file.write_bytes(data)
    done = run(build("gotrace_oom_test"), trace_file)
    assert int(done.stdout) > 10


# --- Files that are no whole traces ---


@pytest.mark.parametrize("minor", MINORS)
def test_every_prefix_has_a_part_of_the_events(minor: int, trace_file: Path) -> None:
    trace_file.write_bytes(everything(minor))
    run(build("gotrace_test", "asan"), "prefixes", trace_file, str(len(everything(minor))))


def test_prefixes_of_a_real_trace(trace_file: Path) -> None:
    packed = ROOT / "gomem/data/json_unmarshal.trace.gz"
    trace_file.write_bytes(gzip.decompress(packed.read_bytes()))
    run(build("gotrace_test", "check"), "prefixes", trace_file, "40")


def test_a_truncated_file_says_where(trace_file: Path) -> None:
    whole = everything(26)
    trace_file.write_bytes(whole[:-1])
    found = facts(trace_file)
    assert found["reader_truncated"] == 1
    assert found["reader_truncated_at"] == len(whole) - 1
    assert (found["generations"], found["reader_complete_generations"]) == (2, 1)


def test_a_generation_without_events_is_none(trace_file: Path) -> None:
    """Go's tracer may have begun one when it is stopped."""
    trace = Trace().add(5, [on_proc(1, 0).at(1, Ev.HEAP_ALLOC, 7)])
    trace.generation = 2
    trace.sync(100)
    trace_file.write_bytes(trace.data)
    found = facts(trace_file)
    assert found["generations"] == found["reader_complete_generations"] == 1
    assert "reader_truncated" not in found


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a Go execution trace"),
        (b"go 1.26 trace\0\0", "not a Go execution trace"),
        (b"go 1.26 tracE\0\0\0" + bytes(100), "not a Go execution trace"),
        (b"\x7fELF" + bytes(100), "not a Go execution trace"),
        (b"go 1.11 trace\0\0\0", "Go 1.11 is too old"),
        (b"go 1.22 trace\0\0\0" + bytes(100), "Go 1.22 is too old"),
        (b"go 1.24 trace\0\0\0", "unknown trace format of Go 1.24"),
        (b"go 1.27 trace\0\0\0", "unknown trace format of Go 1.27"),
        (b"go 1.26 trace\0\0\0\x07", "a batch at byte 16"),
        (b"go 1.26 trace\0\0\0\x01\x00\x01\x01\x00", "generation number other than 0 at byte 16"),
        (b"go 1.26 trace\0\0\0\x01\x01\x01\x01\xff\xff\xff\x7f", "at most 65536 bytes at byte 16"),
        (b"go 1.26 trace\0\0\0\x01\x01\x01\x01\x02\xc8\x00\x34", "no clock frequency"),
    ],
)  # fmt: skip
def test_refusals_say_why_and_where(data: bytes, message: str, trace_file: Path) -> None:
    trace_file.write_bytes(data)
    done = run(build("gotrace_test", "asan"), "facts", trace_file)
    assert done.returncode == REFUSED
    assert message in done.stdout


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (bytes([Ev.HEAP_ALLOC, 1, 0x87]), "an event that ends within its batch"),
        (bytes([Ev.HEAP_ALLOC, 0x87]), "an event with its time within its batch"),
        (bytes([Ev.HEAP_ALLOC]) + b"\xff" * 9 + b"\x01\x07", "an event within 2^62 ns"),
        (bytes([Ev.HEAP_ALLOC]) + b"\xff" * 8 + b"\x7f\x07", "an event within 2^62 ns"),
        (bytes([200, 0]), "an event of a known kind"),
        (bytes([Ev.PROC_START, 0, 0xFF, 0xFF, 3, 1]), "a P of at most 32767"),
        (bytes([Ev.SPAN, 0, 0]) + b"\xff" * 6 + b"\x01\x01", "a span of at most 2^48 bytes"),
    ],
)
def test_a_broken_event_is_told_by_its_byte(bad: bytes, message: str, trace_file: Path) -> None:
    thread = on_proc(1, 0).at(1, Ev.HEAP_ALLOC, 7)
    good = len(thread.data)
    thread.data += bad
    data = bytes(Trace().add(5, [thread, Thread(2)]).data)
    at = data.index(bytes(thread.data)) + good
    trace_file.write_bytes(data)
    done = run(build("gotrace_test", "asan"), "facts", trace_file)
    assert done.returncode == REFUSED
    assert re.search(rf"expected {re.escape(message)}.* at byte {at}$", done.stdout.strip())


@given(
    minor=st.sampled_from(MINORS),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12
    ),
    length=st.floats(0, 1),
)
def test_broken_files_give_a_trace_or_a_reason(
    minor: int, changes: list[tuple[float, int]], length: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    data = bytearray(everything(minor))
    for where, byte in changes:
        data[int(where * len(data))] = byte
    path = tmp_path_factory.getbasetemp() / "broken.trace"
    path.write_bytes(data[: int(length * len(data)) if length < 0.5 else len(data)])
    run(build("gotrace_fuzz", "asan"), path)


def test_real_trace_with_flipped_bytes(trace_file: Path) -> None:
    packed = ROOT / "gomem/data/json_unmarshal.trace.gz"
    trace_file.write_bytes(gzip.decompress(packed.read_bytes())[:200_000])
    run(build("gotrace_fuzz", "asan"), "--mutate", "1", "60", trace_file)


def test_corpus(tmp_path: Path) -> None:
    assert CORPUS
    assert sum(path.stat().st_size for path in CORPUS) < 300 << 10
    run(build("gotrace_fuzz", "asan"), "--mutate", "2", "10", *CORPUS)
