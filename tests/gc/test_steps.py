"""One cycle, step by step: colours, shades, and what must not be done meanwhile."""

from __future__ import annotations

import gc
import os
import re
import threading
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import gomem
from gomem.colors import PHASES
from gomem.steps import Shade, StepCycle
from gomem.testing import in_threads

NODE = gomem.struct("StepNode", a="*StepNode", b="*StepNode", number="int64")


def chain(heap: gomem.Heap, n: int) -> tuple[gomem.Ref, list[int]]:
    """A list of n objects, of which only the first is held, and their addresses."""
    first = at = heap.new(NODE)
    addresses = [at.address]
    for _ in range(n - 1):
        at.a = heap.new(NODE)
        at = at.a
        addresses.append(at.address)
    return first, addresses


def to(cycle: StepCycle, phase: str) -> None:
    for _ in range(10):
        if cycle.phase == phase:
            return
        cycle.next_phase()
    raise AssertionError(f"the cycle does not come to {phase}")


# --- Steps, phases and colours ---


def test_a_cycle_from_beginning_to_end(heap: gomem.Heap) -> None:
    top, addresses = chain(heap, 4)
    lost = [heap.new(NODE).address for _ in range(3)]
    with heap.step_gc() as cycle:
        assert cycle.phase == "sweep termination"
        assert heap.colors().counts == {"white": 7, "grey": 0, "black": 0, "garbage": 0}
        step = cycle.step()
        assert step is not None and step.kind == "phase" and step.phase == cycle.phase == "mark"
        step = cycle.step()
        assert step is not None and step.kind == "roots" and step.bytes % 8 == 0 < step.bytes
        assert cycle.grey.tolist() == [top.address]
        for i, address in enumerate(addresses):
            heap.verify()
            colors = heap.colors()
            assert [colors[a] for a in addresses[:i]] == ["black"] * i
            assert colors[address] == "grey"
            assert set(colors.white.tolist()) == {*addresses[i + 1 :], *lost}
            step = cycle.step()
            assert step is not None and (step.kind, step.address) == ("object", address)
            assert step.bytes == 24
        assert len(cycle.grey) == 0
        assert cycle.next_phase() == "mark termination"
        heap.verify()
        assert cycle.next_phase() == "sweep"
        heap.verify()
        colors = heap.colors()
        assert (colors.black.tolist(), colors.garbage.tolist()) == (addresses, lost)
        kinds = [step.kind for step in cycle]
        assert kinds == ["span", "phase"]
        assert cycle.done and cycle.phase == "off"
        assert cycle.step() is None and cycle.next_phase() == "off"
    assert list(heap.colors()) == addresses
    assert heap.colors().counts["white"] == 4
    cycles = heap.gc_cycles()
    assert list(cycles["number"]) == [1] and list(cycles["forced"]) == [1]


def test_marks_are_what_lives_after_the_sweep(heap: gomem.Heap) -> None:
    held = [chain(heap, 30)[0] for _ in range(20)]
    table = heap.alloc_many([8, 24, 600, 3000, 40_000] * 20, noscan=False)
    heap.alloc_many([8, 24, 600, 3000, 40_000] * 20)
    with heap.step_gc() as cycle:
        to(cycle, "sweep")
        colors = heap.colors()
        live = {a: s for a, s in zip(colors, colors.array["size"]) if colors[a] == "black"}
        assert len(live) == 600 + 100 and colors.counts["garbage"] == 80 + 10  # blocks of two
        for _ in cycle:
            heap.verify()
    assert heap.stats().heap_objects == len(live)
    assert dict(zip(heap.colors(), heap.colors().array["size"])) == live
    del held, table


def test_between_steps_the_program_runs(heap: gomem.Heap) -> None:
    top, addresses = chain(heap, 3)
    with heap.step_gc() as cycle:
        to(cycle, "mark")
        new = heap.new(NODE)
        assert heap.colors()[new] == "black"
        cycle.step()
        cycle.step()
        assert heap.colors()[top] == "black"
        # The last of the list is moved behind the black object, and cut off where it was.
        last = top.a.a
        top.b, top.a.a = last, None
        del last
        heap.verify()
        assert heap.colors()[addresses[2]] == "grey"
        cycle.finish()
    assert top.b.address == addresses[2]
    assert heap.stats().heap_objects == 4


def test_a_large_object_is_scanned_in_pieces(heap: gomem.Heap) -> None:
    big = heap.new(gomem.array(gomem.pointer(NODE), 40_000))
    big[39_999] = heap.new(NODE)
    with heap.step_gc() as cycle:
        to(cycle, "mark")
        cycle.step()
        pieces = []
        while heap.colors()[big] == "grey":
            step = cycle.step()
            assert step is not None
            if step.address is not None and heap.lookup(step.address).object == big.address:
                pieces.append(step.bytes)
            heap.verify()
        assert len(pieces) == 3 and sum(pieces) == 320_000
    assert big[39_999] is not None


def test_assists_only_when_asked_for() -> None:
    for assists in (False, True):
        with gomem.Heap(procs=1) as heap:
            top, _ = chain(heap, 400)
            with heap.step_gc(assists=assists) as cycle:
                to(cycle, "mark")
                heap.alloc_many([1000] * 200)
                heap.verify()
                marked = heap.colors().counts["white"] == 0
                assert marked is assists
            assert heap.stats().heap_objects >= 400
            del top


def test_leaving_and_forgetting_finish(heap: gomem.Heap) -> None:
    with pytest.raises(KeyError), heap.step_gc() as cycle:
        to(cycle, "mark")
        raise KeyError
    assert cycle.done
    cycle.finish()
    forgotten = heap.step_gc()
    to(forgotten, "mark")
    del forgotten
    gc.collect()
    heap.gc()
    assert list(heap.gc_cycles()["number"]) == [1, 2, 3]


def test_an_old_cycle_does_not_move_a_new_one(heap: gomem.Heap) -> None:
    old = heap.step_gc()
    old._phase = "mark"  # as if it did not know
    while heap._step_phase(old._id):
        pass
    with heap.step_gc() as cycle:
        assert old.step() is None and old.done
        assert cycle.phase == "sweep termination"


# --- Shades ---


def test_shades(heap: gomem.Heap) -> None:
    """The old and the new pointer of each write, and which of them were white."""
    top, addresses = chain(heap, 3)
    with heap.step_gc() as cycle:
        to(cycle, "mark")
        middle = top.a  # reading it puts it into a root, through the barrier
        (shade,) = cycle.shades
        assert shade == Shade(shade.slot, None, addresses[1], (addresses[1],))
        assert heap.colors()[middle] == "grey"
        cycle.step()
        assert cycle.shades == ()
        middle.a = None
        top.b = middle
        assert cycle.shades == (
            Shade(addresses[1], addresses[2], None, (addresses[2],)),
            Shade(addresses[0] + 8, None, addresses[1], ()),
        )
        assert heap.colors().array["shaded"].any()
        cycle.next_phase()
        assert cycle.shades == () and cycle.shades_lost == 0
    assert heap.gc_cycles()["barrier_writes"].iloc[0] == 3
    assert heap.gc_cycles()["barrier_shaded"].iloc[0] >= 1


def test_more_shades_than_are_remembered(heap: gomem.Heap) -> None:
    a, b = heap.new(NODE), heap.new(NODE)
    with heap.step_gc() as cycle:
        to(cycle, "mark")
        for _ in range(5000):
            a.a = b
        assert (len(cycle.shades), cycle.shades_lost) == (4096, 904)
        a.a = b
        assert (len(cycle.shades), cycle.shades_lost) == (4097, 904)
        cycle.step()
        assert (len(cycle.shades), cycle.shades_lost) == (0, 0)
    a.a = b
    assert cycle.shades == ()


@pytest.mark.parametrize("barrier", ["hybrid", "dijkstra"])
def test_floating_garbage(barrier: str) -> None:
    """What is cut off while marking goes on: the hybrid barrier keeps it for a cycle."""
    with gomem.Heap(procs=1, barrier=barrier) as heap:
        assert heap.barrier == barrier
        top, _ = chain(heap, 10)
        with heap.step_gc() as cycle:
            to(cycle, "mark")
            top.a = None
            heap.verify()
            greyed = [shade.greyed != () for shade in cycle.shades]
            assert greyed == ([True] if barrier == "hybrid" else [])
        assert heap.stats().heap_objects == (10 if barrier == "hybrid" else 1)
        heap.gc()
        assert heap.stats().heap_objects == 1
        shaded = list(heap.gc_cycles()["barrier_shaded"])
        assert shaded == ([1, 0] if barrier == "hybrid" else [0, 0])


def test_marking_goes_on_when_it_was_not_the_end(heap: gomem.Heap) -> None:
    top, addresses = chain(heap, 5)
    with heap.step_gc() as cycle:
        to(cycle, "mark")
        behind = heap.new(NODE)
        behind.a = top.a  # grey in the barrier's buffer
        assert cycle.next_phase() == "mark termination"
        assert heap.colors().counts["white"] == 0
        assert cycle.next_phase() == "sweep"
    heap.step_gc().finish()
    with heap.step_gc() as cycle:
        to(cycle, "mark termination")
        assert all(heap.colors()[a] == "black" for a in addresses)


# --- What must not be done, and what may ---


def test_one_cycle_at_a_time(heap: gomem.Heap) -> None:
    with heap.step_gc() as cycle:
        for phase in ("sweep termination", "mark", "mark termination", "sweep"):
            to(cycle, phase)
            for ask in (heap.gc, heap.step_gc):
                with pytest.raises(gomem.BusyError, match="being stepped"):
                    ask()
    heap.gc()
    assert len(heap.gc_cycles()) == 2


def test_a_closed_heap() -> None:
    heap = gomem.Heap(procs=1)
    cycle = heap.step_gc()
    to(cycle, "mark")
    heap.alloc(100)
    heap.close()
    for call in (cycle.step, cycle.next_phase, heap.step_gc, heap.colors, lambda: cycle.grey,
                 lambda: cycle.shades):  # fmt: skip
        with pytest.raises(gomem.HeapClosedError):
            call()
    cycle.finish()
    assert cycle.done


def test_closing_while_others_step() -> None:
    for _ in range(10):
        heap = gomem.Heap(procs=2)
        chain(heap, 200)
        cycle = heap.step_gc()

        def steps(cycle: StepCycle = cycle) -> None:
            try:
                for _ in cycle:
                    cycle.heap.colors()
            except gomem.HeapClosedError:
                pass

        in_threads(steps, steps, heap.close)


def test_threads_take_turns() -> None:
    with gomem.Heap(procs=2) as heap:
        top, addresses = chain(heap, 500)
        objects: list[int] = []
        with heap.step_gc() as cycle:

            def steps() -> None:
                objects.extend(step.address for step in cycle if step.kind == "object")  # type: ignore[misc]

            in_threads(steps, steps, steps)
            assert cycle.done
        assert sorted(objects) == sorted(addresses)
        assert heap.stats().heap_objects == 500
        del top


def test_who_waits_for_a_cycle_is_served() -> None:
    """gc() that was called before the step mode began may get its cycle from it; it does not hang."""
    with gomem.Heap(procs=2) as heap:
        top, _ = chain(heap, 100)
        refused = 0
        for _ in range(30):
            outcome: list[str] = []

            def collect(outcome: list[str] = outcome) -> None:
                try:
                    heap.gc()
                    outcome.append("done")
                except gomem.BusyError:
                    outcome.append("refused")

            def step() -> None:
                with heap.step_gc() as cycle:
                    to(cycle, "mark")

            in_threads(collect, step)
            refused += outcome == ["refused"]
            assert outcome in (["done"], ["refused"])
        heap.verify()
        del top


def test_fork() -> None:
    """Parent and child go on, each with its own cycle."""
    with gomem.Heap(procs=1) as heap:
        top, _ = chain(heap, 20)
        heap.new(NODE)
        with heap.step_gc() as cycle:
            to(cycle, "mark")
            for _ in range(5):
                cycle.step()
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    heap.verify()
                    top.a.a = None
                    cycle.finish()
                    heap.gc()
                    status = 0 if heap.stats().heap_objects == 2 else 2
                finally:
                    os._exit(status)
            deadline = time.monotonic() + 30
            done = 0
            while not done and time.monotonic() < deadline:
                done, status = os.waitpid(pid, os.WNOHANG)
                time.sleep(0.002)
            if not done:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
            assert done and os.waitstatus_to_exitcode(status) == 0
            heap.verify()
        assert heap.stats().heap_objects == 20
        heap.gc()
        assert heap.stats().heap_objects == 20


def test_settings_in_the_middle(heap: gomem.Heap) -> None:
    """They hold from the next goal on, and do no harm to the cycle that is under way."""
    top, _ = chain(heap, 300)
    heap.alloc_many([1000] * 2000)
    with heap.step_gc() as cycle:
        for phase in ("sweep termination", "mark", "mark termination", "sweep"):
            to(cycle, phase)
            for gogc, limit in (("off", None), (1, "8MiB"), (1000, "1GiB"), (50, None)):
                heap.gogc = gogc  # type: ignore[assignment]
                heap.memory_limit = limit  # type: ignore[assignment]
                heap.verify()
            heap.alloc_many([1000] * 100)
    assert heap.gogc == 50
    assert heap.stats().next_gc == 2 << 20  # the least goal, scaled by GOGC
    heap.verify()
    del top


def test_bad_values_in_the_middle(heap: gomem.Heap) -> None:
    top, _ = chain(heap, 5)
    with gomem.Heap(procs=1) as other, heap.step_gc() as cycle:
        foreign: Any = other.new(NODE)
        to(cycle, "mark")
        before = heap.colors().counts
        for value, error in (
            (5, TypeError),
            (top.address, TypeError),
            ("x", TypeError),
            (foreign, gomem.InvalidPointerError),
            (heap.alloc(8), TypeError),
        ):
            with pytest.raises(error):
                top.b = value
        with pytest.raises(gomem.InvalidPointerError):
            heap.free(foreign)
        assert cycle.shades == ()
        after = heap.colors().counts
        assert (after["white"], after["grey"]) == (before["white"], before["grey"])
        heap.verify()
    assert top.b is None


def test_memory_is_short_in_the_middle() -> None:
    with gomem.Heap(procs=1, max_memory="48MiB") as heap:
        ref = heap.alloc(20 << 20)
        with heap.step_gc() as cycle:
            to(cycle, "mark")
            del ref
            with pytest.raises(MemoryError):
                heap.alloc(40 << 20)
            heap.verify()
        heap.alloc(30 << 20)
        heap.verify()


def test_freeing_by_hand_in_the_middle(heap: gomem.Heap) -> None:
    top, addresses = chain(heap, 8)
    big = heap.alloc(100_000, noscan=False)
    with heap.step_gc() as cycle:
        to(cycle, "mark")
        cycle.step()
        heap.free(big)
        second = top.a
        top.a = None
        heap.free(second)
        with pytest.raises(gomem.InvalidPointerError):
            heap.free(addresses[1])
        heap.verify()
        for _ in cycle:
            heap.verify()
    heap.gc()
    assert heap.stats().heap_objects == 1


# --- Colours ---


def test_the_example_of_the_readme() -> None:
    """What its comments say of shades and colours."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    blocks = [b for b in re.findall(r"```python\n(.*?)```", text, re.S) if "cycle.shades" in b]
    assert len(blocks) == 1
    code = blocks[0].replace("cycle.shades  #", "shades, colors = cycle.shades, heap.colors()  #")
    code = code.replace("heap.colors()[top]", "later = heap.colors()[top]")
    names: dict[str, Any] = {}
    exec(code, names)
    assert [len(s.greyed) for s in names["shades"]] == [1]
    assert names["shades"][0].greyed == (names["shades"][0].old,)
    assert names["colors"].counts["grey"] == 2 and names["later"] == "black"


def test_colors_are_a_mapping(heap: gomem.Heap) -> None:
    ref, tiny = heap.new(NODE), heap.alloc(3)
    colors = heap.colors()
    assert colors[ref] == colors[ref.address] == colors[ref.address + 23] == "white"
    assert ref in colors and ref.address in colors and tiny in colors
    assert len(colors) == 2 and sorted(colors) == sorted([ref.address, tiny.address])
    assert dict(colors) == {ref.address: "white", tiny.address: "white"}
    assert colors.array["noscan"].tolist().count(True) == 1
    for key in (0, ref.address + 24, 2**64, -1, None, "white", True, 1.5):
        assert key not in colors
        with pytest.raises(KeyError if isinstance(key, int) else TypeError):
            colors[key]  # type: ignore[index]
    heap.free(ref)
    with pytest.raises(gomem.InvalidPointerError):
        colors[ref]
    assert heap.colors().counts["white"] == 1


def test_pointers_of_a_graph(heap: gomem.Heap) -> None:
    a, b = heap.new(NODE), heap.new(NODE)
    a.a, b.a, b.b = b, a, b
    pointers = heap.colors().pointers
    assert pointers is not None
    inside = [tuple(p) for p in pointers.tolist() if p[0]]
    x, y = a.address, b.address
    assert sorted(inside) == sorted([(x, x, y), (y, y, x), (y, y + 8, y)])
    assert sorted(p[2] for p in pointers.tolist() if not p[0]) == sorted([x, y])


def test_pictures(heap: gomem.Heap) -> None:
    top, addresses = chain(heap, 6)
    ring = [heap.new(NODE) for _ in range(3)]
    for i in range(3):
        ring[i].a, ring[i].b = ring[i - 1], ring[i]
    del ring
    gc.collect()
    with heap.step_gc() as cycle:
        to(cycle, "mark")
        cycle.step()
        cycle.step()
        top.b = top.a
        svg = heap.colors().svg
        tree = ElementTree.fromstring(svg)
        titles = [t.text or "" for t in tree.iter("{http://www.w3.org/2000/svg}title")]
        assert len(titles) == 9
        assert sum("black" in t for t in titles) == 1 and sum("grey" in t for t in titles) == 1
        assert svg == heap.colors().svg  # the same every time
        assert "no root leads here" in svg and "in a barrier" in svg
        text = str(heap.colors())
        assert f"> ● {top.address:#x} 24 bytes -> {addresses[1]:#x}" in text
        assert "phase: mark" in text and repr(heap.colors()).endswith("phase mark>")
        page = cycle._repr_html_()
        assert page.startswith("<svg") and "the barrier since the last step" in page
        ElementTree.fromstring(f"<p>{page}</p>")
        assert repr(cycle) == "<gomem.StepCycle: mark>"
    assert "done" in cycle._repr_html_()


def test_a_picture_of_a_large_heap(heap: gomem.Heap) -> None:
    table = heap.alloc_many([8, 100, 4000] * 150)
    colors = heap.colors()
    assert colors.pointers is None
    tree = ElementTree.fromstring(colors.svg)
    titles = [t.text for t in tree.iter("{http://www.w3.org/2000/svg}title")]
    assert titles.count("150 white") == 2  # those of 8 bytes share blocks
    assert "225" not in str(colors) and "375 white" in str(colors)
    del table


def test_an_empty_heap(heap: gomem.Heap) -> None:
    colors = heap.colors()
    assert len(colors) == 0 and 5 not in colors
    ElementTree.fromstring(colors.svg)
    assert "no objects" in repr(colors)


def test_looking_while_the_collector_is_at_work() -> None:
    """Markers stand still for it: what is seen is a moment of a real cycle."""
    with gomem.Heap(procs=2, gogc="off") as heap:
        table = heap.alloc_many([16] * 400_000, noscan=False)
        top, addresses = chain(heap, 10)
        looks = 0
        for _ in range(300):
            thread = threading.Thread(target=heap.gc)
            thread.start()
            while thread.is_alive():
                # Without what colors() does afterwards, so that marking goes on for several of these.
                phase, objects, _ = heap._graph(0)
                assert len(objects) >= 24 * 400_010
                looks += PHASES[phase] == "mark"
                heap.verify()
            thread.join()
            if looks > 2:
                break
        assert looks > 2
        assert [heap.colors()[a] for a in addresses] == ["white"] * 10
        assert heap.stats().heap_objects == 400_010
        del table, top


def test_wrong_barriers() -> None:
    with pytest.raises(ValueError, match="hybrid, dijkstra, not 'yuasa'"):
        gomem.Heap(procs=1, barrier="yuasa")
    with pytest.raises(TypeError, match="must be a string, not int"):
        gomem.Heap(procs=1, barrier=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("phases", range(5))
def test_what_has_roots_may_outlive_a_heap_that_is_closed_in_a_cycle(phases: int) -> None:
    heap = gomem.Heap(procs=1)
    roots, words = heap.alloc_many([16] * 100), heap.make_map("int", "string")
    held: list[object] = [
        roots, words, gomem.Pool(heap=heap), heap.alloc(100), heap.builder(), iter(roots),
        heap.make_slice("int", 10), heap.string("abc" * 100), iter(words),
    ]  # fmt: skip
    del roots, words
    cycle = heap.step_gc()
    for _ in range(phases):
        cycle.next_phase()
    heap.close()
    while held:
        del held[0]
