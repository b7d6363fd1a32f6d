"""Finalizers, cleanups and weak pointers, as Go's ``runtime`` and ``weak`` packages have them.

What is queued by the collector is called by a thread that the heap starts when it first gets a finalizer
or cleanup, one call after the other in the order of the queue (Go: one goroutine for finalizers, others
for cleanups); or by ``heap.run_finalizers()``. An exception goes to ``sys.unraisablehook``; what is none
of :class:`Exception` (KeyboardInterrupt, SystemExit) comes out of ``run_finalizers()``.
"""

from __future__ import annotations

import inspect
import threading
import types
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from gomem import _core
from gomem._core import Buffer, Builder, Map, Ref, Slice, String

if TYPE_CHECKING:
    from gomem.heap import Heap

_T = TypeVar("_T", Ref, Builder, Buffer)


def _not_pointer(value: object) -> str:
    """What Go would call the type of a value that is no pointer."""
    if isinstance(value, (Slice, Map)):
        return value.type.name
    return "string" if isinstance(value, String) else type(value).__name__


def _cannot_be_passed(ref: Ref | Builder | Buffer, fn: Callable[..., object]) -> str | None:
    """What Go says if fn cannot be called with ref; None: it can, or nobody can tell."""
    function = fn.__func__ if type(fn) is types.MethodType else fn
    if type(function) is not types.FunctionType or "__signature__" in function.__dict__:
        return None
    signature = inspect.signature(fn, follow_wrapped=False)
    try:
        signature.bind(ref)
    except TypeError:
        type_ = ref.type if isinstance(ref, Ref) else None
        name = type(ref).__name__ if type_ is None else f"*{type_.name}"
        return f"cannot pass {name} to finalizer {fn.__name__}{signature}"
    return None


def set_finalizer(ref: _T, fn: Callable[[_T], object] | None) -> None:
    """Has ``fn(ref)`` called when nothing leads to the object any more (Go: runtime.SetFinalizer).

    ref: a Ref, or a Builder or Buffer, which are pointers as well. Slices, strings and maps are none, as
    in Go; for a slice's array or a map's table take the Ref ``heap.lookup(address).ref``. An array is
    alive as long as any slice or string shares it.

    Nothing leads to it: no Ref or handle, root table or other object. The object, and all that it leads
    to, then lives until a later cycle finds it dead again, without a finalizer. If A leads to B and both
    have one, A's is called first, and B's after a later cycle; an object that leads to itself by way of
    others is never finalized (its own pointers to itself do not count), nor is one that ``fn`` leads to:
    do not use ``ref`` in it, but its argument. None takes the finalizer off.

    Objects below 16 bytes without pointers share a block, which the collector sees as one, as Go's does.
    An object of size 0 never dies. ``heap.free(ref)`` drops the finalizer, as there is no object left to
    call it with; ``heap.close()`` and the end of the program drop all.

    Raises, with Go's messages: TypeError if ``ref`` is no pointer, ``fn`` not callable, or a function
    that does not take one argument; InvalidPointerError if ``ref`` is a part of an object that does not
    begin where it does; ValueError if there is a finalizer already. InvalidPointerError if the object
    was freed; HeapClosedError.
    """
    if ref is None:
        raise TypeError("runtime.SetFinalizer: first argument is nil")
    if not isinstance(ref, (Ref, Builder, Buffer)):
        raise TypeError(f"runtime.SetFinalizer: first argument is {_not_pointer(ref)}, not pointer")
    heap: Heap = ref.heap
    if fn is None:
        heap._clear_finalizer(ref)
        return
    if not callable(fn):
        raise TypeError(
            f"runtime.SetFinalizer: second argument is {type(fn).__name__}, not a function"
        )
    why = _cannot_be_passed(ref, fn)
    if why is not None:
        raise TypeError(f"runtime.SetFinalizer: {why}")
    heap._finalizers.start(heap)
    heap._set_finalizer(ref, fn)


class Cleanup:
    """A cleanup that was attached to an object: see :func:`add_cleanup` (Go: runtime.Cleanup)."""

    __slots__ = ("_address", "_heap", "_id")

    def __init__(self, heap: Heap, address: int, id: int) -> None:
        self._heap, self._address, self._id = heap, address, id

    def stop(self) -> bool:
        """Takes the cleanup off. False if it was called, is about to be, or was stopped before."""
        return self._heap._stop_cleanup(self._address, self._id)

    def __repr__(self) -> str:
        return f"<gomem.Cleanup of the object at {self._address:#x}>"


def _within(ref: Ref | Builder | Buffer, arg: object) -> str | None:
    """Why a cleanup of ref that gets arg would never run; None: it may."""
    if not isinstance(arg, (Ref, Builder, Buffer, Map, Slice, String)) or arg.heap is not ref.heap:
        return None
    if isinstance(arg, Ref) and (arg.freed or arg.size == 0):
        return None
    if arg.address == ref.address:
        return "ptr is equal to arg"
    found = ref.heap.lookup(ref.address)
    if found.object is not None and found.object <= arg.address < found.object + found.size:
        return "ptr is within arg"
    return None


def _closed_over(fn: Any) -> list[Any]:
    """What a function keeps alive by itself: variables of the functions around it, its object."""
    cells = getattr(fn, "__closure__", None) or ()
    held = [getattr(fn, "__self__", None)]
    for cell in cells:
        try:
            held.append(cell.cell_contents)
        except (AttributeError, ValueError):  # an empty cell, or no cell at all
            continue
    return held


def add_cleanup(ref: Ref | Builder | Buffer, fn: Callable[..., object], *args: Any) -> Cleanup:
    """Has ``fn(*args)`` called when the object is dead (Go: runtime.AddCleanup).

    ref: as for :func:`set_finalizer`.
    An object may have several, parts of it too; they are called in the order in which they were added.
    Unlike finalizers they do not bring the object back, and are called for objects that lead to
    themselves. If the object has a finalizer, cleanups wait until it is dead after that. ``fn`` and
    ``args`` are kept alive: the object must not be among them, nor be reached from them.

    ``heap.free(ref)`` makes an object dead, so its cleanups are called then; ``heap.close()`` and the
    end of the program drop them. Objects below 16 bytes without pointers share a block, which the
    collector sees as one, as Go's does; an object of size 0 never dies.

    Raises, with Go's messages: TypeError if ``ref`` is no pointer or ``fn`` not callable, ValueError if
    ``args`` or what ``fn`` closes over are the object, or a value that keeps it. InvalidPointerError if
    it was freed; HeapClosedError.
    """
    if ref is None:
        raise TypeError("runtime.AddCleanup: ptr is nil")
    if not isinstance(ref, (Ref, Builder, Buffer)):
        raise TypeError(f"runtime.AddCleanup: ptr is {_not_pointer(ref)}, not pointer")
    if not callable(fn):
        raise TypeError(f"runtime.AddCleanup: cleanup is {type(fn).__name__}, not a function")
    heap: Heap = ref.heap
    for arg in args:
        why = _within(ref, arg)
        if why is not None:
            raise ValueError(f"runtime.AddCleanup: {why}, cleanup will never run")
    for held in _closed_over(fn):
        if _within(ref, held) is not None:
            raise ValueError(
                "runtime.AddCleanup: cleanup function closes over ptr, cleanup will never run"
            )
    heap._finalizers.start(heap)
    return Cleanup(heap, *heap._add_cleanup(ref, fn, args))


def keep_alive(ref: object) -> None:
    """Does nothing: that it is called keeps ``ref``, and so the object, alive (Go: runtime.KeepAlive).

    An object is alive as long as there is a Ref or a handle of it, and a local variable of Python lives
    to the end of its function. This is for programs that would say so, or ``del`` it.
    """


class Finalizers:
    """Who calls a heap's finalizers and cleanups: one thread at a time."""

    def __init__(self, by_thread: bool) -> None:
        self.by_thread = by_thread
        self.thread: threading.Thread | None = None
        self.lock = threading.Lock()
        self.owner: int | None = None
        self.starting = threading.Lock()

    @property
    def threads(self) -> int:
        """How many there are, waiting or at work."""
        return int(self.thread is not None and self.thread.is_alive())

    def run(self, heap: Heap, *, may_end: bool = True) -> int:
        """Calls what is queued; may_end: until something raises what is no Exception."""
        if self.owner == threading.get_ident():
            return 0  # from within a finalizer: it is the one before
        with self.lock:
            self.owner = threading.get_ident()
            try:
                return heap._run_finalizers(may_end)
            finally:
                self.owner = None

    def start(self, heap: Heap) -> None:
        """Sees to it that there is a thread, if there is to be one."""
        if not self.by_thread or self.thread is not None:
            return
        with self.starting:
            if self.thread is not None:
                return
            bell = heap._bell()
            thread = threading.Thread(
                target=_listen, args=(bell, weakref.ref(heap)), name="gomem-finalizers", daemon=True
            )
            try:
                thread.start()
            except (
                RuntimeError
            ):  # the interpreter ends, or has no threads: run_finalizers() is left
                return
            self.thread = thread

    def after_fork(self, heap: Heap) -> None:
        """In the child no thread is left but this one."""
        self.starting = threading.Lock()
        if self.owner != threading.get_ident():
            self.lock = threading.Lock()
            self.owner = None
        if self.thread is not None:
            self.thread = None
            self.start(heap)


def _listen(bell: Any, heap: weakref.ref[Heap]) -> None:
    """What the thread does. It does not keep the heap alive while it waits."""
    while True:
        found = heap()
        if found is None or found.closed:
            return
        try:
            found._finalizers.run(found, may_end=False)
        except _core.HeapClosedError:
            return
        del found
        if not _core.wait_bell(bell):
            return
