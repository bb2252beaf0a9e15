from __future__ import annotations

from math import prod

import pytest
import torch

from aberra.nets.swapping import PatchSwap, moved

SIZES = [(32, 32), (32, 48), (16, 16, 32)]


def _seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", SIZES)
def test_a_swap_keeps_every_pixel_and_undoes_itself(size):
    x, mask = torch.randn(16, 2, *size), torch.ones(16, 1, *size)
    swap = PatchSwap(edge=1 / 8, swaps=1)
    order = swap.draw(mask, _seeded())
    swapped = moved(x, order)
    assert torch.equal(swapped.flatten(2).sort().values, x.flatten(2).sort().values)
    assert torch.equal(moved(swapped, order), x)
    assert torch.equal(swap(x, mask, _seeded()), swapped)
    assert not torch.equal(swap(x, mask, _seeded(1)), swapped)
    pixels = prod(max(1, round(edge / 8)) for edge in size)
    places = torch.arange(prod(size))
    assert ((order != places).sum(dim=1) == 2 * pixels).all()


def test_patches_are_squares_that_do_not_overlap_around_points_of_the_foreground():
    mask = torch.zeros(200, 1, 32, 32)
    mask[..., 10:20, 4:12] = 1
    order = PatchSwap(edge=1 / 8, swaps=1).draw(mask, _seeded())
    changed = (order != torch.arange(32 * 32)).reshape(200, 32, 32)
    near = torch.zeros(32, 32, dtype=torch.bool)
    near[8:22, 2:14] = True  # a patch of 4 reaches two pixels further
    assert not changed[:, ~near].any()
    assert changed.any(dim=0)[10:20, 4:12].all()
    shift = (order - torch.arange(32 * 32)).reshape(200, 32, 32)
    for image, moves in zip(changed, shift, strict=True):
        there = moves[image]
        assert len(there.unique()) == 2
        assert there.sum() == 0
        rows, columns = (moves == there.max()).nonzero().unbind(dim=1)
        assert (len(rows), len(rows.unique()), len(columns.unique())) == (16, 4, 4)


def test_patches_at_the_border_are_moved_into_the_image():
    mask = torch.zeros(64, 1, 32, 32)
    mask[..., 0, 0] = mask[..., 31, 31] = 1
    order = PatchSwap(edge=1 / 8, swaps=1).draw(mask, _seeded())
    x = torch.zeros(64, 1, 32, 32)
    x[..., :4, :4] = 1
    found = moved(x, order)
    assert found[..., 28:, 28:].all()
    assert found.sum() == x.sum()


def test_several_swaps_move_more():
    x, mask = torch.rand(8, 1, 32, 32), torch.ones(8, 1, 32, 32)
    once, often = ((PatchSwap(edge=1 / 8, swaps=n)(x, mask, _seeded()) != x).sum() for n in (1, 10))
    assert often > 4 * once


@pytest.mark.parametrize("inside", [(), (5,)])
def test_an_image_without_two_points_stays_as_it_is(inside):
    mask = torch.zeros(3, 1, 16, 16)
    for place in inside:
        mask[..., place, place] = 1
    mask[0] = 1
    x = torch.rand(3, 1, 16, 16)
    found = PatchSwap(edge=1 / 4, swaps=2)(x, mask, _seeded())
    assert torch.equal(found[1:], x[1:])
    assert not torch.equal(found[0], x[0])


def test_a_patch_has_at_least_a_pixel_and_at_most_the_image():
    x, mask = torch.rand(4, 1, 8, 8), torch.ones(4, 1, 8, 8)
    assert ((PatchSwap(edge=0.01, swaps=1)(x, mask, _seeded()) != x).flatten(1).sum(dim=1) == 2).all()
    assert torch.equal(PatchSwap(edge=1.0, swaps=1)(x, mask, _seeded()), x)
