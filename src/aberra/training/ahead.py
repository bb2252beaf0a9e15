"""Batches drawn ahead: threads draw the next ones while the network computes."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from math import ceil
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from aberra.devices import cores

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from concurrent.futures import Future

    from torch import Tensor

    Seed = Sequence[int]
    Sample = tuple[Tensor, ...]
    Batches = Generator[Sample, None, None]

WATCHED = 8
"""Batches that are drawn in place before the number of workers is chosen."""
NEGLIGIBLE = 0.02
"""Share of the time below which drawing is not worth a thread."""
MOST = 8
"""Workers. Python runs one thread at a time, so that many more would only wait for each other."""


def ahead(draw: Callable[[Seed], Sample], seeds: Iterable[Seed], workers: int | None = None) -> Batches:
    """Yield ``draw(seed)`` for every seed, in order, the same whatever the number of workers.

    Threads, not processes: NumPy lets go of the interpreter where it copies and computes, and
    memory-mapped volumes need not be sent anywhere. Closing the generator drops what nobody waits
    for and returns once the draws under way have ended; an error in a worker is raised here, when
    its batch is due.

    Args:
        draw: depends on its seed alone; called by several threads at a time.
        seeds: of the batches.
        workers: threads; 0 draws when a batch is asked for. None watches the first batches and then
            chooses (:func:`enough`).
    """
    seeds = iter(seeds)
    if workers is None:
        drawing, computing = [], []
        for seed in islice(seeds, WATCHED):
            started = perf_counter()
            batch = draw(seed)
            drawn = perf_counter()
            yield batch
            drawing.append(drawn - started)
            computing.append(perf_counter() - drawn)
        workers = enough(median(drawing), median(computing), cores()) if drawing else 0
    if not workers:
        yield from map(draw, seeds)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="aberra-draw")
    waiting: deque[Future[Sample]] = deque()
    try:
        waiting += [pool.submit(draw, seed) for seed in islice(seeds, 2 * workers)]
        while waiting:
            batch = waiting.popleft().result()
            waiting += [pool.submit(draw, seed) for seed in islice(seeds, 1)]
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


def enough(drawing: float, computing: float, cores: int) -> int:
    """Workers that keep up with the network: none where there is one core or drawing hardly takes
    time.

    Args:
        drawing: seconds a batch takes to draw.
        computing: seconds from then to the next one.
        cores: of this process.
    """
    if drawing < NEGLIGIBLE * (drawing + computing):
        return 0
    return min(ceil(drawing / max(computing, 1e-9)), cores - 1, MOST)
