from __future__ import annotations

import pytest
import torch
from torch import nn

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.inpainter import Inpainter
from aberra.nets.edges import soft_canny


def _model(**options):
    torch.manual_seed(0)
    small = {"channels": 1, "size": (16, 16), "network": {"width": 4, "depth": 2}, "box": 0.25}
    return Inpainter(**(small | options)).eval()


@pytest.mark.parametrize(
    ("size", "box"), [((16, 16), 0.25), ((12, 20), 0.3), ((8, 8, 12), 0.5), ((8, 8), 1.0)]
)
def test_every_pixel_is_hidden_once(size, box):
    turns = list(_model(size=size, dims=len(size), network={"width": 4, "depth": 2}, box=box).hidden(size))
    assert len(turns) == 2 ** len(size)
    assert torch.equal(torch.stack(turns).int().sum(dim=0), torch.ones(size, dtype=torch.int32))


def test_what_is_restored_has_not_seen_what_was_there():
    """Another intensity in one box changes the other boxes, and not its own."""
    model, x = _model(), torch.rand(1, 1, 16, 16)
    other = x.clone()
    other[..., 4:8, 8:12] += 3
    one, two = model.reconstruct(x), model.reconstruct(other)
    torch.testing.assert_close(one[..., 4:8, 8:12], two[..., 4:8, 8:12])
    assert not torch.allclose(one[..., 4:8, 4:8], two[..., 4:8, 4:8])


def test_who_copies_everything_still_misses_what_is_hidden():
    model, x = _model(), torch.rand(2, 1, 16, 16)
    model.net = nn.Identity()
    assert not model.reconstruct(x).any()


def test_the_loss_is_its_terms_in_the_foreground():
    model = _model(edges=0.3, sigma=0.7, threshold=0.2)
    x = torch.rand(3, 1, 16, 16)
    mask = torch.zeros_like(x)
    mask[..., 3:13, 3:13] = 1
    losses = model.loss(Batch(x, mask, torch.Generator().manual_seed(0)))
    seen = model.noise(x, mask, torch.Generator().manual_seed(0))
    assert not torch.equal(seen, x)
    restored, inside = model.net(seen), mask > 0
    torch.testing.assert_close(losses["squared"], ((restored - x) ** 2)[inside].mean())
    one, other = (soft_canny(each, sigma=0.7, threshold=0.2) for each in (restored, x))
    torch.testing.assert_close(losses["edges"], (one - other).abs()[inside].mean())
    torch.testing.assert_close(losses["loss"], losses["squared"] + 0.3 * losses["edges"])


def test_what_cannot_be_is_refused():
    for option in ({"box": 0.0}, {"edges": -1.0}, {"threshold": 0.0}, {"boxes": 0}):
        with pytest.raises(ConfigError, match=f"model.{next(iter(option))}="):
            _model(**option)
    with pytest.raises(ConfigError, match="Inpainter takes unet or unet-added only"):
        _model(network="unified")
