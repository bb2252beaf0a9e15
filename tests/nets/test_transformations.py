from __future__ import annotations

import pytest
import torch

from aberra.errors import ConfigError
from aberra.nets.transformations import CLASSES, COUNT, Transformations

EDGE, STEP = 16, 2
ORDERS = ("turn-first", "shift-first")


def _numbers(transform, **label):
    """The number of a label."""
    wanted = torch.tensor([label.get(name, 0) for name in ("along", "down", "turn")])
    return int((transform.labels == wanted).all(dim=1).nonzero())


def _once(transform, x, number):
    return transform(x, torch.full((len(x),), number))


def test_every_label_has_one_number_and_none_changes_nothing():
    transform = Transformations(size=(EDGE, EDGE))
    assert COUNT == 36
    assert sorted(map(tuple, transform.labels.tolist())) == [
        (a, b, c) for a in range(CLASSES[0]) for b in range(CLASSES[1]) for c in range(CLASSES[2])
    ]
    assert transform.labels[0].tolist() == [0, 0, 0]
    x = torch.rand(2, 3, EDGE, EDGE)
    assert torch.equal(_once(transform, x, 0), x)
    every = torch.stack([_once(transform, x, number) for number in range(COUNT)])
    for number in range(COUNT):
        assert sum(bool((every[number] == other).all()) for other in every) == 1


@pytest.mark.parametrize("order", ORDERS)
def test_turns_are_a_group_of_four(order):
    transform = Transformations(size=(EDGE, EDGE), order=order)
    x = torch.rand(1, 1, EDGE, EDGE)
    turns = [_numbers(transform, turn=quarter) for quarter in range(4)]
    for one in range(4):
        assert torch.equal(_once(transform, x, turns[one]), x.rot90(one, (2, 3)))
        for other in range(4):
            both = _once(transform, _once(transform, x, turns[one]), turns[other])
            assert torch.equal(both, _once(transform, x, turns[(one + other) % 4]))


def test_shifts_go_either_way_and_zeros_come_in():
    transform = Transformations(size=(EDGE, EDGE))
    x = torch.rand(1, 1, EDGE, EDGE) + 1
    for name, axis in (("along", 3), ("down", 2)):
        first = _once(transform, x, _numbers(transform, **{name: 1}))
        last = _once(transform, x, _numbers(transform, **{name: 2}))
        assert torch.equal(first.narrow(axis, 0, EDGE - STEP), x.narrow(axis, STEP, EDGE - STEP))
        assert not first.narrow(axis, EDGE - STEP, STEP).any()
        assert torch.equal(last.narrow(axis, STEP, EDGE - STEP), x.narrow(axis, 0, EDGE - STEP))
        assert not last.narrow(axis, 0, STEP).any()


@pytest.mark.parametrize("order", ORDERS)
def test_the_inverse_is_the_opposite_label_in_the_other_order(order):
    transform = Transformations(size=(EDGE, EDGE), order=order)
    back = Transformations(size=(EDGE, EDGE), order=ORDERS[1 - ORDERS.index(order)])
    opposite = {0: 0, 1: 2, 2: 1}
    x = torch.zeros(1, 2, EDGE, EDGE)
    x[..., STEP:-STEP, STEP:-STEP] = torch.rand(1, 2, EDGE - 2 * STEP, EDGE - 2 * STEP)  # nothing falls off
    for number, (along, down, turn) in enumerate(transform.labels.tolist()):
        inverse = _numbers(back, along=opposite[along], down=opposite[down], turn=-turn % 4)
        assert torch.equal(_once(back, _once(transform, x, number), inverse), x), (along, down, turn)


def test_each_image_has_its_own_and_volumes_are_turned_slice_by_slice():
    flat = Transformations(size=(EDGE, EDGE))
    deep = Transformations(size=(5, EDGE, EDGE))
    x, numbers = torch.rand(36, 2, 5, EDGE, EDGE), torch.arange(36)
    found = deep(x, numbers)
    for depth in range(5):
        assert torch.equal(found[:, :, depth], flat(x[:, :, depth], numbers))
    assert torch.equal(found[7:8], deep(x[7:8], numbers[7:8]))


def test_the_thesis_shift_is_16_of_128_pixels():
    transform = Transformations(size=(128, 128))
    x = torch.zeros(1, 1, 128, 128)
    x[..., 64, 64] = 1
    moved = _once(transform, x, _numbers(transform, along=1, down=2))
    assert moved[0, 0].nonzero().tolist() == [[80, 48]]


def test_slices_that_are_not_square_are_refused():
    with pytest.raises(ConfigError, match="as high as wide"):
        Transformations(size=(16, 32))
