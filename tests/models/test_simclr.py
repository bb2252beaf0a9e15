from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.simclr import SimCLR, nt_xent


def _batch(count=4, seed=0):
    x = torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(5))
    return Batch(x, torch.ones_like(x), torch.Generator().manual_seed(seed))


def _model(**options):
    torch.manual_seed(0)
    return SimCLR(**{"channels": 1, "size": (32, 32), "network": {"width": 4}, "latent": 8} | options)


def test_nt_xent_is_the_publications_double_loop():
    one, other, tau = torch.randn(5, 7), torch.randn(5, 7), 0.3
    views = [each / each.norm() for each in torch.cat([one, other])]
    total = 0.0
    for i, view in enumerate(views):
        partner = (i + 5) % 10
        others = [math.exp(float(view @ views[k]) / tau) for k in range(10) if k != i]
        total -= math.log(math.exp(float(view @ views[partner]) / tau) / sum(others))
    assert float(nt_xent(one, other, tau)) == pytest.approx(total / 10, rel=1e-5)


def test_nt_xent_of_perfect_pairs_is_what_the_others_leave():
    views = torch.eye(3)
    assert float(nt_xent(views, 5 * views, 0.5)) == pytest.approx(math.log(1 + 4 * math.exp(-2.0)))
    assert not nt_xent(torch.randn(1, 4), torch.randn(1, 4), 0.5)  # one image has nothing to be told from


def test_the_layers_are_the_publications():
    """Counted from the group's code: convolutions 4 of 64 to 1024 filters and one to 512, batch
    norm, offsets; projection 512 → 512 → 256.
    """
    model = SimCLR(channels=1, size=(128, 128))
    widths = [1, 64, 128, 256, 512, 1024, 512]
    encoder = sum(16 * before * after + after for before, after in pairwise(widths))
    encoder += 2 * sum(widths[1:-1])
    head = 512 * 512 + 512 + 512 * 256 + 256
    assert sum(each.numel() for each in model.encoder.parameters()) == encoder == 19_537_216
    assert sum(each.numel() for each in model.head.parameters()) == head == 393_984


def test_the_loss_is_of_two_views_of_each_image():
    model = _model().eval()
    first, again, other = (model.loss(_batch(seed=seed))["loss"] for seed in (0, 0, 1))
    assert first == again != other
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    model.loss(_batch())
    one, two = seen
    assert one.shape == two.shape == (4, 1, 32, 32)
    assert not torch.allclose(one, two)


def test_it_learns_to_tell_images_apart():
    coarse = torch.rand(8, 1, 3, 3, generator=torch.Generator().manual_seed(5))
    batch = _batch()._replace(x=torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear"))
    model = _model(scale=0.9).train()
    adam = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for step in range(30):
        loss = model.loss(batch._replace(generator=torch.Generator().manual_seed(step)))["loss"]
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_the_code_is_deterministic_and_in_any_dimensions():
    model = SimCLR(channels=2, dims=3, size=(16, 16, 16), network={"width": 4}, latent=8).eval()
    x = torch.rand(2, 2, 16, 16, 16)
    assert torch.equal(model.code(x), model.code(x))
    assert model.code(x).shape == (2, 8)
    with pytest.raises(ConfigError, match="SimCLR takes"):
        _model(network="you")
