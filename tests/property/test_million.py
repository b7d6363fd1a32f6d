"""A million operations on one heap, against a model in NumPy.

An operation is one allocation or one free, through any of the ways the public API has: one by one, in
batches, by Ref, by table, by address, from several threads; in between memory is given back, the
system refuses some, and what is no object is freed. After every batch all live objects are looked at:
none overlaps another, new ones are zeroed, what was written is still there, and the statistics agree.

A longer run, with other sequences:

    python -m pytest tests/property/test_million.py --operations=100000000 --seed=2
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np
import pytest

import gomem
from gomem.testing import class_edges, in_threads, os_refuses

MAX_LIVE = 40_000
PENDING_BLOCKS = 64
MAX_BYTES = 160 << 20
Array = np.ndarray[Any, Any]


class Model:
    """What should be in the heap: addresses, sizes, and the byte each object was filled with."""

    def __init__(self, heap: gomem.Heap, seed: int) -> None:
        self.heap = heap
        self.rng = np.random.default_rng(seed)
        self.done = 0
        # Under a memory limit the collector runs, whatever gogc says: then roots must stay.
        self.kept: list[object] = []
        self.keep = heap.memory_limit is not None
        self.address = np.zeros(0, dtype=np.uint64)
        self.size = np.zeros(0, dtype=np.uint64)
        self.byte = np.zeros(0, dtype=np.uint8)
        self.tiny = np.zeros(0, dtype=bool)
        self.tables: list[gomem.Roots] = []
        edges = np.array([s for s in class_edges(heap.size_class_table) if s > 0], dtype=np.uint64)
        self.edges = edges
        self.memory = np.zeros(0, dtype=np.uint8)
        self.base = 0

    # --- Memory at C speed ---

    def map_memory(self) -> None:
        """An array over all arenas, so that many objects are read and written at once."""
        arenas = self.heap.arenas()
        self.base = int(arenas["base"].min())
        end = int((arenas["base"] + arenas["size"]).max())
        if end - self.base != len(self.memory):
            raw = (ctypes.c_uint8 * (end - self.base)).from_address(self.base)
            self.memory = np.ctypeslib.as_array(raw)

    def places(self, address: Array, size: Array) -> list[Array]:
        """Offsets of the first, middle and last byte of each."""
        start = address - np.uint64(self.base)
        return [start, start + size // np.uint64(2), start + size - np.uint64(1)]

    # --- Steps ---

    def sizes(self, n: int) -> Array:
        kind = self.rng.integers(0, 10)
        if kind < 3:
            sizes = self.rng.choice(self.edges, n)
        elif kind < 6:
            sizes = self.rng.integers(1, 130, n).astype(np.uint64)
        elif kind < 9:
            sizes = np.exp(self.rng.uniform(0, 9, n)).astype(np.uint64)
        else:
            sizes = self.rng.integers(1, 200_000, min(n, 200)).astype(np.uint64)
        room = MAX_BYTES - int(self.size.sum())
        return sizes[: int(np.searchsorted(np.cumsum(sizes), room))]

    def add(self, address: Array, size: Array, noscan: bool) -> None:
        self.map_memory()
        for place in self.places(address, size):
            assert not self.memory[place].any(), "new objects are not zeroed"
        byte = self.rng.integers(1, 256, len(size)).astype(np.uint8)
        if not noscan:  # what holds pointers is not for writing
            byte[:] = 0
        for place in self.places(address, size):
            self.memory[place] = byte
        self.address = np.append(self.address, address)
        self.size = np.append(self.size, size)
        self.byte = np.append(self.byte, byte)
        self.tiny = np.append(self.tiny, (size < 16) & noscan)
        self.done += len(size)

    def alloc(self) -> None:
        noscan = self.rng.random() < 0.7
        sizes = self.sizes(int(self.rng.integers(1, 6000)))
        if self.rng.random() < 0.2:
            refs = [self.heap.alloc(size, noscan=noscan) for size in sizes[:1000].tolist()]
            if self.keep:
                self.kept += refs
            self.add(np.array([r.address for r in refs], dtype=np.uint64), sizes[:1000], noscan)
            return
        roots = self.heap.alloc_many(sizes, noscan=noscan)
        if self.keep:
            self.kept.append(roots)
        self.add(roots.addresses.copy(), sizes, noscan)
        if self.rng.random() < 0.5:
            self.tables.append(roots)

    def remove(self, gone: Array) -> None:
        self.check_contents(gone)
        keep = ~gone
        self.address, self.size = self.address[keep], self.size[keep]
        self.byte, self.tiny = self.byte[keep], self.tiny[keep]
        self.done += int(gone.sum())

    def free(self) -> None:
        how = self.rng.integers(0, 10)
        if how < 2 and self.tables:
            table = self.tables.pop(int(self.rng.integers(len(self.tables))))
            gone = np.isin(self.address, table.addresses[table.addresses != 0])
            assert gone.sum() == table.live
            self.remove(gone)
            self.heap.free_many(table)
            assert table.live == 0
            return
        gone = np.zeros(len(self.address), dtype=bool)
        if how < 5:  # neighbours
            order = np.argsort(self.address)
            start = int(self.rng.integers(0, len(order)))
            gone[order[start : start + int(self.rng.integers(1, 8000))]] = True
        else:
            gone = self.rng.random(len(gone)) < self.rng.choice([0.02, 0.3, 0.9])
        addresses = self.rng.permutation(self.address[gone])
        self.remove(gone)
        if how < 8:
            self.heap.free_many(addresses)
        elif how == 8:
            for address in addresses.tolist():
                self.heap.free(address)
        else:
            self.heap.free_many([self.heap.lookup(a).ref for a in addresses.tolist()])

    def threads(self) -> None:
        """Three threads allocate and free at once; each frees what others allocated."""
        gone = self.rng.random(len(self.address)) < 0.5
        shares = np.array_split(self.rng.permutation(self.address[gone]), 3)
        self.remove(gone)
        plans = [self.sizes(2000)[:1500] for _ in range(3)]
        made: list[Any] = [None] * 3

        def work(i: int) -> None:
            half = len(shares[i]) // 2
            self.heap.free_many(shares[i][:half])
            made[i] = self.heap.alloc_many(plans[i])
            if self.keep:
                self.kept.append(made[i])
            self.heap.free_many(shares[i][half:])

        in_threads(*[functools.partial(work, i) for i in range(3)])
        for roots, plan in zip(made, plans):
            self.add(roots.addresses.copy(), plan, True)

    def refuse(self) -> None:
        sizes = self.sizes(500)
        with os_refuses(self.heap, int(self.rng.integers(0, 4)), int(self.rng.integers(1, 5))):
            try:
                roots = self.heap.alloc_many(sizes)
            except MemoryError:
                return
        if self.keep:
            self.kept.append(roots)
        self.add(roots.addresses.copy(), sizes, True)

    def free_wrongly(self) -> None:
        live = set(self.address.tolist())
        for address in self.rng.choice(self.address, min(50, len(self.address))).tolist():
            for bad in (address + 1, address + 8, address - 1):
                if bad not in live:
                    with pytest.raises(gomem.InvalidPointerError):
                        self.heap.free(bad)

    # --- Checks ---

    def check_contents(self, which: Array) -> None:
        address, size, byte = self.address[which], self.size[which], self.byte[which]
        for place in self.places(address, size):
            assert (self.memory[place] == byte).all(), "an object was overwritten"

    def check(self) -> None:
        order = np.argsort(self.address)
        ends = (self.address + self.size)[order]
        assert (ends[:-1] <= self.address[order][1:]).all(), "objects overlap"
        self.check_contents(np.ones(len(self.address), dtype=bool))
        s = self.heap.stats()
        n, tiny = len(self.address), int(self.tiny.sum())
        # Blocks that Ps still fill, or have noted freed parts of, count until a flush.
        assert n - tiny <= s.heap_objects <= n + PENDING_BLOCKS * self.heap.procs
        assert int(self.size.sum()) <= s.heap_alloc <= s.heap_inuse
        assert s.heap_objects == s.mallocs - s.frees
        assert s.heap_sys == s.heap_idle + s.heap_inuse and s.heap_released <= s.heap_idle
        assert s.extra["mapped_ready"] == s.sys - s.heap_released
        parts = (s.heap_sys, s.stack_sys, s.mspan_sys, s.mcache_sys, s.buck_hash_sys, s.gc_sys)
        assert s.sys == sum(parts) + s.other_sys
        for b in s.by_size:
            assert b.frees <= b.mallocs
        for table in self.tables:
            assert np.isin(table.addresses[table.addresses != 0], self.address).all()
        if len(self.address):
            i = int(self.rng.integers(len(self.address)))
            found = self.heap.lookup(int(self.address[i]) + int(self.size[i]) - 1)
            assert found.kind == "object" and found.object == int(self.address[i])


@pytest.mark.parametrize(
    "options",
    [
        {"procs": 3},
        {"procs": 1, "memory_limit": "64MiB"},
        {"procs": 2, "size_classes": gomem.SizeClasses(gomem.SizeClassRules.tcmalloc())},
        {"procs": 2, "madvdontneed": False},
    ],
    ids=["go", "limit", "tcmalloc", "lazy"],
)
def test_a_million_operations(options: dict[str, Any], operations: int, seed: int) -> None:
    with gomem.Heap(max_memory="512MiB", gogc="off", **options) as heap:
        model = Model(heap, seed)
        step = 0
        while model.done < operations / 4:
            step += 1
            if len(model.address) > MAX_LIVE:
                model.free()
            else:
                weights = [0.46, 0.34, 0.08, 0.03, 0.03, 0.03, 0.03]
                what = model.rng.choice(7, p=weights)
                if what == 0 or not len(model.address):
                    model.alloc()
                elif what == 1:
                    model.free()
                elif what == 2:
                    model.threads()
                elif what == 3:
                    model.refuse()
                elif what == 4:
                    model.free_wrongly()
                elif what == 5:
                    heap.flush()
                else:
                    heap.release_os_memory()
            model.check()
            if step % 4 == 0:
                heap.verify()
        heap.free_many(model.address)
        model.memory = np.zeros(0, dtype=np.uint8)
        heap.flush()
        heap.verify()
        assert heap.stats().heap_objects == heap.stats().heap_inuse == 0
        assert all(table.live == 0 for table in model.tables)
