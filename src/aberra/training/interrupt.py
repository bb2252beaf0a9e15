"""Ctrl-C between steps: an interrupted run must be saved whole, or resuming would not be bit for
bit.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


@contextmanager
def held_back(*, alone: bool = True) -> Iterator[Callable[[], bool]]:
    """Hold back the first Ctrl-C and yield a function that tells whether it came; a second one
    raises at once.

    Where the caller has an interrupt handler of its own, or outside the main thread, nothing is
    changed; nor where the process is not ``alone`` in its training: others would wait for the step
    that it does not take.
    """
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            signal.default_int_handler(number, frame)
        came = True

    main = threading.current_thread() is threading.main_thread()
    if not alone or not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
