from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.with_background import WithBackground

MEMBER = {"name": "vae", "latent": 3, "network": {"width": 4}}


def _model(**options):
    torch.manual_seed(0)
    return WithBackground(channels=2, size=(16, 16), member=MEMBER, **options).eval()


def test_a_share_of_the_foreground_is_replaced_and_nothing_else():
    model = _model(mutation=0.25)
    x, mask = torch.rand(50, 2, 16, 16), torch.zeros(50, 1, 16, 16)
    x[:, 1] += 7
    mask[..., 4:12] = 1
    found = model.mutated(x, mask, torch.Generator().manual_seed(0))
    changed = found != x
    assert not changed[..., :4].any()
    assert not changed[..., 12:].any()
    assert float(changed[..., 4:12].float().mean()) == pytest.approx(0.25, abs=0.02)
    for channel, low in ((0, 0.0), (1, 7.0)):
        drawn = found[:, channel][changed[:, channel]]
        assert low <= float(drawn.min()) <= float(drawn.max()) <= low + 1
        assert float(drawn.mean()) == pytest.approx(low + 0.5, abs=0.03)
    assert torch.equal(found, model.mutated(x, mask, torch.Generator().manual_seed(0)))


def test_each_model_learns_from_its_own_images():
    model = _model()
    batch = Batch(torch.rand(4, 2, 16, 16), torch.ones(4, 1, 16, 16), torch.Generator().manual_seed(0))
    losses = model.loss(batch)
    torch.testing.assert_close(losses["loss"], losses["own"] + losses["background"])
    losses["own"].backward()
    assert all(weight.grad is None for weight in model.background.parameters())
    assert any(weight.grad is not None for weight in model.own.parameters())


@torch.no_grad()
def test_it_answers_for_the_first_and_for_the_second():
    model, x = _model(), torch.rand(3, 2, 16, 16)
    torch.testing.assert_close(model.reconstruct(x), model.own.reconstruct(x))
    torch.testing.assert_close(sum(model.elbo_terms(x)), sum(model.own.elbo_terms(x)))
    torch.testing.assert_close(sum(model.background_terms(x)), sum(model.background.elbo_terms(x)))
    assert not torch.allclose(sum(model.background_terms(x)), sum(model.elbo_terms(x)))


def test_parameters_and_refusals():
    with torch.device("meta"):
        model = WithBackground(channels=1, size=(128, 128))
    assert sum(weight.numel() for weight in model.parameters()) == 2 * 1_758_449 == 3_516_898
    for member in ({"name": "ae"}, {"name": "with-background"}, {"name": "ensemble"}):
        with pytest.raises(ConfigError, match=r"expected a model that bounds the likelihood: .*vae"):
            WithBackground(channels=1, size=(16, 16), member=member)
