"""The package as a whole: names, docstrings, stubs, doctests, interpreters, leaks."""

from __future__ import annotations

import dataclasses
import doctest
import gc
import importlib
import inspect
import pkgutil
import pydoc
import subprocess
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gomem

MODULES = sorted(
    m.name for m in pkgutil.walk_packages(gomem.__path__, "gomem.") if m.name != "gomem.__main__"
)


def public(owner: Any) -> Iterator[tuple[str, Any]]:
    for name, value in vars(owner).items():
        if not name.startswith("_"):
            yield name, value


def test_all_is_what_there_is() -> None:
    for name in gomem.__all__:
        assert hasattr(gomem, name)
    own = {n for n, v in public(gomem)
           if not inspect.ismodule(v) and n not in ("annotations",)}  # fmt: skip
    assert own == set(gomem.__all__)


@pytest.mark.parametrize("name", gomem.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    thing = getattr(gomem, name)
    assert thing.__doc__ and len(thing.__doc__) > 10
    if not inspect.isclass(thing):
        return
    fields = {f.name for f in dataclasses.fields(thing)} if dataclasses.is_dataclass(thing) else ()
    for owner in thing.__mro__:
        if not owner.__module__.startswith("gomem"):
            continue
        for attribute, value in public(owner):
            if attribute in fields or isinstance(value, (int, type(None))):
                continue
            assert inspect.getdoc(getattr(thing, attribute)), f"{name}.{attribute}"


def test_signatures_are_known() -> None:
    assert str(inspect.signature(gomem.Heap.alloc)) == "(self, size, /, *, noscan=True)"
    assert "count=None" in str(inspect.signature(gomem.Heap.alloc_many))
    for name in ("new", "free", "free_many", "close", "verify", "release_os_memory", "flush"):
        inspect.signature(getattr(gomem.Heap, name))


@pytest.mark.parametrize("module", ["gomem", *MODULES])
def test_doctests(module: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_exceptions_have_their_bases() -> None:
    for error in (gomem.InvalidPointerError, gomem.HeapClosedError, gomem.TraceError):
        assert issubclass(error, gomem.Error) and issubclass(error, ValueError)
    assert issubclass(gomem.CorruptHeapError, (gomem.Error, RuntimeError))


def test_build_info() -> None:
    info = gomem.build_info()
    assert info["version"] == gomem.__version__
    assert info["profile"] in ("release", "debug", "check", "asan", "ubsan", "tsan", "coverage")


# --- Interpreters ---


def test_subinterpreters(python: Any) -> None:
    """The module says that several interpreters may load it, each with its own state."""
    out = python(
        """
        import textwrap
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        import gomem
        heap = gomem.Heap(procs=1)
        ref = heap.alloc(100)
        program = textwrap.dedent('''
            import gomem, gc
            for _ in range(3):
                with gomem.Heap(procs=2) as heap:
                    node = gomem.struct("Node", left="*Node")
                    a = heap.new(node); a.left = heap.new(node)
                    heap.free_many(list(heap.alloc_many([8, 100, 70000])))
                    try: heap.free(5)
                    except gomem.InvalidPointerError: pass
                    heap.verify()
            left_open = gomem.Heap(procs=1)
            left_ref = left_open.alloc(64)
        ''')
        for _ in range(5):
            i = interpreters.create()
            failed = interpreters.run_string(i, program)
            assert not failed, failed
            interpreters.destroy(i)
        heap.free(ref)
        heap.verify()
        print("done")
        """
    )
    assert "done" in out


def test_ending_with_everything_open(python: Any) -> None:
    python(
        """
        import gomem, threading, atexit
        heap = gomem.Heap(procs=2, memory_limit="4MiB")
        ref = heap.alloc(64); view = ref.view(); roots = heap.alloc_many([64] * 100)
        node = gomem.struct("Node", left="*Node"); a = heap.new(node); a.left = a
        class Late:
            def __del__(self):
                try: heap.alloc(5)
                except Exception: pass
        late = Late()
        cycle = [late]; cycle.append(cycle)
        def work():
            while True: heap.free_many(heap.alloc_many([100] * 1000))
        threading.Thread(target=work, daemon=True).start()
        atexit.register(lambda: heap.alloc(8))
        """
    )


# --- Leaks ---


def mapped_and_resident() -> int:
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096


def a_little_of_everything() -> None:
    node = gomem.struct("Node", left="*Node", right="*Node", value="int64", raw="[3]float32")
    with gomem.Heap(procs=2, memory_limit="64MiB") as heap:
        a, b = heap.new(node), heap.new(node)
        a.left, b.right, a.value = b, a, 7
        a.raw[1] = 2.5
        list(a.raw)
        roots = heap.alloc_many([10, 100, 1000, 100_000] * 10)
        view = roots[3].view()
        view[:3] = b"abc"
        view.release()
        heap.free_many(list(roots)[:5])
        heap.free_many(roots.addresses[5:9])
        heap.free_many(roots)
        for wrong in (lambda: heap.free(1), lambda: heap.alloc(-1), lambda: heap.alloc_many([1, -1]),
                      lambda: heap.alloc_many("x"), lambda: heap.free_many([5]),
                      lambda: setattr(a, "value", "x"), lambda: setattr(a, "left", roots),
                      lambda: a.nothing, lambda: roots[0], lambda: heap.new(5),
                      lambda: gomem.struct("1"), lambda: gomem.type_of("?"),
                      lambda: gomem.SizeClasses(classes=[(8, 0)]), lambda: a.as_type(5),
                      lambda: gomem.Heap(procs=0), lambda: heap.alloc_many([8, 2**50])):  # fmt: skip
            with pytest.raises((ValueError, TypeError, AttributeError, MemoryError)):
                wrong()  # type: ignore[no-untyped-call]
        heap.lookup(a.address).ref  # noqa: B018
        repr(a), repr(roots), hash(a), a == b, dir(a), a._repr_html_(), roots._repr_html_()
        heap.stats().metrics(), heap.fragmentation(), heap.size_classes(), heap.map()
        heap._repr_html_()
        weakref.ref(a), weakref.ref(roots), weakref.ref(heap), weakref.ref(node)
        gomem.SizeClasses().to_json()


def test_nothing_leaks() -> None:
    for _ in range(5):
        a_little_of_everything()
    gc.collect()
    threads = threading.active_count()
    objects = len(gc.get_objects())
    resident = mapped_and_resident()
    tracemalloc.start()
    try:
        for _ in range(3):
            a_little_of_everything()
        gc.collect()
        before = tracemalloc.take_snapshot()
        for _ in range(30):
            a_little_of_everything()
        gc.collect()
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    grown = [d for d in after.compare_to(before, "lineno") if d.size_diff > 5000]
    # Pandas 2 keeps notes of tables for a while (Python 3.10 has no newer one).
    ours = [d for d in grown if "pandas" not in Path(d.traceback[0].filename).parts]
    assert not ours, ours
    del before, after, grown, ours
    gc.collect()
    assert len(gc.get_objects()) <= objects + 50
    assert threading.active_count() == threads
    if gomem.build_info()["profile"] != "asan":  # which keeps what is freed, to find uses of it
        assert mapped_and_resident() < resident + (30 << 20)


def test_references_are_balanced(heap: gomem.Heap, node: gomem.Type) -> None:
    """Each operation hundreds of times: the counts of what it touches stay as they are."""
    other = heap.new(node)
    ref = heap.new(node)
    roots = heap.alloc_many([64] * 10)
    array = gomem.array(node, 3)
    big = heap.new(array)
    size, key = 10**6 + 7, "value"
    operations = [
        lambda: heap.free(heap.alloc(100)), lambda: heap.free(heap.new(node)),
        lambda: heap.free_many(heap.alloc_many([8, 16])), lambda: ref.view().release(),
        lambda: setattr(ref, "left", other), lambda: ref.left, lambda: setattr(ref, "left", None),
        lambda: setattr(ref, key, size), lambda: ref[key], lambda: roots[3], lambda: list(roots),
        lambda: roots.addresses, lambda: roots.sizes, lambda: heap.lookup(ref.address).ref,
        lambda: big[1].left, lambda: list(big), lambda: ref.type, lambda: ref.heap,
        lambda: ref.span, lambda: ref == other, lambda: hash(ref), lambda: repr(ref),
        lambda: ref.as_type(node), lambda: node.fields, lambda: array.elem, lambda: node.name,
        lambda: memoryview(roots).release(), lambda: heap.free_many([heap.alloc(8)]),
        lambda: heap.stats(), lambda: heap.spans(), lambda: heap._held(),
        lambda: gomem.pointer(node), lambda: weakref.ref(ref), lambda: gomem.array(node, 2),
    ]  # fmt: skip
    failing = [
        lambda: heap.free(ref.address + 1), lambda: heap.alloc(key), lambda: heap.new(key),
        lambda: setattr(ref, "left", key), lambda: setattr(ref, key, key), lambda: ref[size],
        lambda: heap.alloc_many([8, key]), lambda: heap.alloc_many(key),
        lambda: heap.free_many([ref, key]), lambda: heap.free_many([size]),
        lambda: ref.nothing, lambda: delattr(ref, key), lambda: roots[size],
        lambda: ref.as_type(array), lambda: heap.alloc(8, nothing=key), lambda: gomem.array(key, 1),
    ]  # fmt: skip
    watched = [heap, ref, other, roots, node, array, big, size, key, None,
               gomem.Ref, gomem.Roots, gomem.Type, gomem.InvalidPointerError]  # fmt: skip

    def repeat(f: Any) -> None:
        for _ in range(300):
            try:
                f()
            except (ValueError, TypeError, LookupError, AttributeError):
                continue

    for i, f in enumerate(operations + failing):
        repeat(f)
        before = [sys.getrefcount(o) for o in watched]
        repeat(f)
        after = [sys.getrefcount(o) for o in watched]
        for o, x, y in zip(watched, before, after):
            assert abs(x - y) < 100, (i, o, x, y)


def test_help_has_what_calls_return() -> None:
    text = pydoc.render_doc(gomem, renderer=pydoc.plaintext)
    for name in ("StepCycle", "Step", "Shade", "Colors", "B"):
        assert f"class {name}(" in text, name


def test_numpy_is_imported_when_it_is_needed() -> None:
    code = "import gomem, sys; assert 'numpy' not in sys.modules; gomem.Step; dir(gomem)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with pytest.raises(AttributeError, match="module 'gomem' has no attribute 'Nothing'"):
        gomem.Nothing  # noqa: B018
