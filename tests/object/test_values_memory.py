"""Memory that values take is touched when something is written to it, not before."""

from __future__ import annotations

from pathlib import Path

import gomem


def resident() -> int:
    """Bytes of the process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_builder_grows_without_touching_memory() -> None:
    """Not even where an object was before: what is in a builder's array is written by it."""
    size = 256 << 20
    with gomem.Heap(procs=1) as heap:
        heap.alloc(size)
        heap.gc()
        builder = heap.builder()
        before = resident()
        builder.grow(size)
        assert resident() - before < size // 8
        builder.write(b"abc")
        assert str(builder.string()) == "abc"
