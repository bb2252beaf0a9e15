from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.skip_ae import SkipAE
from aberra.nets.dropout import MCDropout


def _model(**options):
    torch.manual_seed(0)
    return SkipAE(**({"channels": 1, "size": (32, 32), "width": 4} | options)).eval()


def _conv(i, o, k):
    return i * o * k * k + o


def test_the_default_network_counted_by_hand():
    """Down 1-32-64-128-128, up from 128 and from twice 128, 64, 32 where a skip is concatenated;
    batch norm after each.
    """
    down = _conv(1, 32, 5) + _conv(32, 64, 5) + _conv(64, 128, 5) + _conv(128, 128, 5)
    up = _conv(128, 128, 5) + _conv(256, 64, 5) + _conv(128, 32, 5) + _conv(64, 32, 5)
    norms = 2 * (32 + 64 + 128 + 128) + 2 * (128 + 64 + 32 + 32)
    model = SkipAE(channels=1, size=(128, 128))
    assert down + up + norms + _conv(32, 1, 1) == 1_641_057
    assert sum(weight.numel() for weight in model.parameters()) == 1_641_057
    assert len(model.skips) == 3


@pytest.mark.parametrize("skips", [0, 1, 2, None])
@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (32, 32, 48))])
def test_shapes_with_any_number_of_skips(dims, size, skips):
    model = _model(channels=2, dims=dims, size=size, skips=skips)
    x = torch.rand(2, 2, *size)
    assert model.reconstruct(x).shape == x.shape
    assert len([each for each in model.modules() if isinstance(each, MCDropout)]) == (
        2 if skips is None else skips
    )


def test_the_innermost_skips_come_first():
    """Of 32 → 16 → 8 → 4 pixels, one skip carries the 8×8 map of the second stage."""
    model = _model(skips=1)
    seen = []
    model.skips[0].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].shape))
    model.reconstruct(torch.rand(1, 1, 32, 32))
    assert seen == [(1, 8, 8, 8)]


def test_the_output_depends_on_the_skips_and_without_them_on_the_code_alone():
    x = torch.rand(1, 1, 32, 32)
    for skips, depends in ((2, True), (0, False)):
        model = _model(skips=skips)
        for weight in model.down[-1].parameters():
            torch.nn.init.zeros_(weight)  # the code is the same for every image
        found = model.reconstruct(torch.cat([x, 1 - x]))
        assert torch.equal(found[0], found[1]) is not depends


def test_draws_differ_repeat_and_have_no_spread_without_dropout():
    model, x = _model(), torch.rand(2, 1, 32, 32)
    first, second = (torch.stack(list(model.sample_reconstructions(x, 4))) for _ in range(2))
    assert torch.equal(first, second)
    assert (first.std(dim=0) > 0).float().mean() > 0.9
    assert torch.equal(model.reconstruct(x), model.reconstruct(x))
    calm = _model(skip_dropout=0.0)
    torch.testing.assert_close(next(calm.sample_reconstructions(x, 1)), calm.reconstruct(x))


def test_a_draw_does_not_depend_on_the_batch():
    model, x = _model(), torch.rand(3, 1, 32, 32)
    together = list(model.sample_reconstructions(x, 2))
    alone = list(model.sample_reconstructions(x[1:2], 2))
    torch.testing.assert_close(together[1][1:2], alone[1])


def test_the_loss_is_the_summed_absolute_error():
    model, x = _model(), torch.rand(4, 1, 32, 32)
    losses = model.loss(Batch(x, x, torch.Generator()))
    torch.testing.assert_close(losses["loss"], (model.reconstruct(x) - x).abs().sum() / 4)


def test_more_skips_than_there_are_are_refused():
    with pytest.raises(ConfigError, match=r"skips=3.*0 to 2"):
        _model(skips=3)
