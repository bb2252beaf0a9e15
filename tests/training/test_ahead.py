"""Batches that threads draw ahead: the same ones, in order, not too many, and no thread left over."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from aberra.training import ahead as room
from aberra.training.ahead import ahead, enough


def _seeds(count=12):
    return [[0, step, 0] for step in range(count)]


def _slow_at_first(seed):
    """Every other batch takes longer than the one after it."""
    time.sleep(0.004 if seed[1] % 2 == 0 else 0)
    return (torch.full((1,), float(seed[1])),)


def _threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("aberra-draw")]


@pytest.mark.parametrize("workers", [0, 1, 3, None])
def test_batches_come_in_order_whoever_draws_them(workers):
    batches = list(ahead(_slow_at_first, _seeds(), workers))
    assert [int(batch[0]) for batch in batches] == list(range(12))
    assert not _threads()


def test_only_so_many_are_drawn_before_they_are_asked_for():
    drawn = []

    def draw(seed):
        drawn.append(seed[1])
        return ()

    batches = ahead(draw, _seeds(100), 2)
    for _ in range(3):
        next(batches)
    time.sleep(0.05)
    assert len(drawn) == 3 + 2 * 2
    batches.close()
    assert len(drawn) == 3 + 2 * 2
    assert not _threads()


def test_an_error_in_a_worker_is_raised_as_itself_when_its_batch_is_due():
    def draw(seed):
        if seed[1] == 3:
            raise OSError("the disk is gone")
        return ()

    batches = ahead(draw, _seeds(), 2)
    assert [next(batches) for _ in range(3)] == [()] * 3
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
    assert not _threads()


@pytest.mark.parametrize(
    ("drawing", "computing", "cores", "workers"),
    [
        (0.001, 0.5, 8, 0),  # not worth a thread
        (0.3, 0.1, 1, 0),  # nobody there to work
        (0.01, 0.1, 2, 1),
        (0.25, 0.1, 8, 3),  # three are needed to keep up
        (0.25, 0.1, 3, 2),
        (5.0, 0.0, 64, room.MOST),
    ],
)
def test_as_many_workers_as_keep_up(drawing, computing, cores, workers):
    assert enough(drawing, computing, cores) == workers


@pytest.mark.parametrize(("cores", "threads"), [(1, {"MainThread"}), (4, {"MainThread", "aberra-draw"})])
def test_the_first_batches_tell_whether_threads_are_worth_it(cores, threads, monkeypatch):
    monkeypatch.setattr(room, "cores", lambda: cores)
    names = []

    def draw(seed):
        names.append(threading.current_thread().name.partition("_")[0])
        return _slow_at_first(seed)

    assert len(list(ahead(draw, _seeds(20)))) == 20
    assert set(names[: room.WATCHED]) == {"MainThread"}
    assert set(names) == threads
