from __future__ import annotations

import pytest
import torch

from aberra.detector.windows import Runner
from aberra.devices import choose_device
from aberra.errors import ConfigError
from aberra.models.dae import DAE


@pytest.mark.parametrize(
    ("dims", "size", "shape"),
    [(2, (16, 16), (5, 16, 16)), (2, (16, 16), (3, 40, 12)), (3, (8, 8, 8), (20, 9, 6))],
)
def test_windows_blend_to_the_identity(dims, size, shape):
    x = torch.rand(2, *shape)
    found = Runner(dims=dims, size=size)(lambda batch: batch, x, torch.ones(shape, dtype=torch.bool))
    torch.testing.assert_close(found, x)


def test_windows_without_foreground_are_skipped():
    seen = []
    mask = torch.zeros(4, 16, 16, dtype=torch.bool)
    mask[2] = True
    found = Runner(dims=2, size=(16, 16))(
        lambda batch: seen.append(len(batch)) or batch, torch.ones(1, 4, 16, 16), mask
    )
    assert sum(seen) == 1
    assert found[0, 2].all()
    assert not found[0, 1].any()


def test_gradients_are_available_inside_when_asked_for():
    def gradient(batch):
        batch = batch.clone().requires_grad_()
        (batch**2).sum().backward()
        return batch.grad

    x = torch.rand(1, 2, 8, 8)
    found = Runner(dims=2, size=(8, 8))(gradient, x, torch.ones(2, 8, 8, dtype=torch.bool), grad=True)
    torch.testing.assert_close(found, 2 * x)


@pytest.mark.parametrize(("dims", "size", "shape"), [(2, (16, 16), (9, 16, 20)), (3, (8, 8, 8), (14, 12, 9))])
def test_the_batch_size_does_not_change_the_map(dims, size, shape):
    torch.manual_seed(0)
    model = DAE(channels=1, dims=dims, size=size, network={"width": 4, "depth": 2}).eval()
    x, mask = torch.rand(1, *shape), torch.rand(shape) > 0.3
    one, seven = (
        Runner(dims=dims, size=size, batch_size=count)(model.reconstruct, x, mask) for count in (1, 7)
    )
    torch.testing.assert_close(one, seven, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("dims", "size", "shape"), [(2, (16, 16), (4, 16, 20)), (3, (8, 8, 8), (12, 9, 6))])
def test_further_volumes_travel_with_the_windows(dims, size, shape):
    x, other = torch.rand(2, *shape), torch.rand(1, *shape)
    mask = torch.rand(shape) > 0.3

    def function(batch, beside, inside):
        assert [each.shape[1] for each in (batch, beside, inside)] == [2, 1, 1]
        return batch * beside + inside

    run = Runner(dims=dims, size=size)
    found = run(function, x, mask, also=(other, mask[None].float()))
    torch.testing.assert_close(found, x * other + mask)


def test_windows_are_those_that_a_function_sees():
    x, other = torch.rand(1, 5, 20, 16), torch.rand(2, 5, 20, 16)
    mask = torch.zeros(5, 20, 16, dtype=torch.bool)
    mask[1:4] = True
    run = Runner(dims=2, size=(16, 16), batch_size=4)
    seen = []
    run(lambda batch, beside: seen.append((batch, beside)) or batch, x, mask, also=(other,))
    windows = list(run.windows(x, mask, also=(other,)))
    assert [len(batch) for batch, _ in windows] == [4, 2]
    for ours, theirs in zip(windows, seen, strict=True):
        assert all(torch.equal(one, two) for one, two in zip(ours, theirs, strict=True))
    assert list(run.windows(x, torch.zeros_like(mask))) == []


@pytest.mark.parametrize(("dims", "size"), [(2, (8, 8)), (3, (8, 8, 8))])
@pytest.mark.parametrize("grad", [False, True])
def test_nothing_to_ask_has_as_many_channels_as_an_answer(dims, size, grad):
    x, mask = torch.rand(2, 9, 10, 11), torch.zeros(9, 10, 11, dtype=torch.bool)
    found = Runner(dims=dims, size=size)(
        lambda batch, beside: torch.cat([batch, beside, batch + 1], dim=1), x, mask, also=(x[:1],), grad=grad
    )
    assert found.shape == (5, 9, 10, 11)
    assert not found.any()


def test_devices_and_batch_sizes():
    for count in (0, -1):
        with pytest.raises(ConfigError, match="batch size"):
            Runner(dims=2, size=(8, 8), batch_size=count)
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="not known"):
        choose_device("abacus")


def test_the_watcher_is_told_of_every_window():
    seen = []
    run = Runner(dims=2, size=(8, 8), batch_size=2)
    mask = torch.ones(5, 8, 8, dtype=torch.bool)
    mask[3] = False
    with run.watched(lambda done, total: seen.append((done, total))):
        run(lambda x: x, torch.rand(1, 5, 8, 8), mask)
    run(lambda x: x, torch.rand(1, 5, 8, 8), mask)
    assert seen == [(2, 4), (4, 4)]
