"""Times channels from Python: ``sync_loops.py WHO ITEMS`` prints a figure a line, its name and ns an item.

WHO is gomem, asyncio, trio, gevent or threads. Run by bench_sync.py in a process of its own. An item goes
from one task to another; where what an item needs is not a channel's doing (the loop), it is in both.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from itertools import repeat
from time import perf_counter

REPETITIONS = 5
BUFFER = 100
WAVE = 100

Loop = Callable[[int], None]


def gomem_loops() -> dict[str, Loop]:
    import gomem

    def pipe(n: int, cap: int, thread: bool = False) -> None:
        c = gomem.Chan(int, cap)

        def producer() -> None:
            send = c.send
            for i in range(n):
                send(i)

        def consumer() -> None:
            recv = c.recv
            for _ in repeat(None, n):
                recv()

        def main() -> None:
            gomem.go(producer)
            consumer()

        if thread:
            both(producer, consumer)
        else:
            gomem.run(main)

    def nothing() -> None:
        pass

    def go(n: int) -> None:
        def main() -> None:
            for _ in range(n // WAVE):
                for _ in repeat(None, WAVE):
                    gomem.go(nothing)
                gomem.gosched()

        gomem.run(main)

    def select(n: int) -> None:
        a, b, c, d = chans = [gomem.Chan(int, n) for _ in range(4)]
        for chan in chans:
            for _ in repeat(None, n // 3):
                chan.send(1)
        for _ in repeat(None, n):
            gomem.select(a, b, c, d)

    return {
        "unbuffered": lambda n: pipe(n, 0),
        "buffered": lambda n: pipe(n, BUFFER),
        "go": go,
        "select": select,
        "threads": lambda n: pipe(n // 20, 0, thread=True),
    }


def both(producer: Callable[[], None], consumer: Callable[[], None]) -> None:
    import threading

    thread = threading.Thread(target=producer)
    thread.start()
    consumer()
    thread.join()


def asyncio_loops() -> dict[str, Loop]:
    import asyncio

    async def pipe(n: int, cap: int) -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(cap)

        async def producer() -> None:
            put = queue.put
            for i in range(n):
                await put(i)

        task = asyncio.create_task(producer())
        get = queue.get
        for _ in repeat(None, n):
            await get()
        await task

    async def nothing() -> None:
        pass

    async def go(n: int) -> None:
        for _ in range(n // WAVE):
            tasks = [asyncio.create_task(nothing()) for _ in range(WAVE)]
            await tasks[-1]

    return {
        "unbuffered": lambda n: asyncio.run(pipe(n, 1)),
        "buffered": lambda n: asyncio.run(pipe(n, BUFFER)),
        "go": lambda n: asyncio.run(go(n)),
    }


def trio_loops() -> dict[str, Loop]:
    import trio

    async def pipe(n: int, cap: int) -> None:
        sender, receiver = trio.open_memory_channel[int](cap)

        async def producer() -> None:
            for i in range(n):
                await sender.send(i)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(producer)
            for _ in repeat(None, n):
                await receiver.receive()

    async def nothing() -> None:
        pass

    async def go(n: int) -> None:
        for _ in range(n // WAVE):
            async with trio.open_nursery() as nursery:
                for _ in repeat(None, WAVE):
                    nursery.start_soon(nothing)

    return {
        "unbuffered": lambda n: trio.run(pipe, n, 0),
        "buffered": lambda n: trio.run(pipe, n, BUFFER),
        "go": lambda n: trio.run(go, n),
    }


def gevent_loops() -> dict[str, Loop]:
    import gevent
    import gevent.queue

    def pipe(n: int, cap: int) -> None:
        queue = gevent.queue.Queue(cap) if cap else gevent.queue.Channel()

        def producer() -> None:
            put = queue.put
            for i in range(n):
                put(i)

        task = gevent.spawn(producer)
        get = queue.get
        for _ in repeat(None, n):
            get()
        task.join()

    def nothing() -> None:
        pass

    def go(n: int) -> None:
        for _ in range(n // WAVE):
            gevent.joinall([gevent.spawn(nothing) for _ in range(WAVE)])

    return {
        "unbuffered": lambda n: pipe(n, 0),
        "buffered": lambda n: pipe(n, BUFFER),
        "go": go,
    }


def thread_loops() -> dict[str, Loop]:
    import queue

    def pipe(n: int) -> None:
        q: queue.Queue[int] = queue.Queue(1)

        def producer() -> None:
            for i in range(n):
                q.put(i)

        def consumer() -> None:
            for _ in repeat(None, n):
                q.get()

        both(producer, consumer)

    return {"threads": lambda n: pipe(n // 20)}


WHO = {
    "gomem": gomem_loops,
    "asyncio": asyncio_loops,
    "trio": trio_loops,
    "gevent": gevent_loops,
    "threads": thread_loops,
}


def main(who: str, items: int) -> None:
    for name, loop in WHO[who]().items():
        times = []
        for _ in range(REPETITIONS):
            start = perf_counter()
            loop(items)
            times.append(perf_counter() - start)
        n = items // 20 if name == "threads" else items
        print(name, statistics.median(times) * 1e9 / n)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
