from __future__ import annotations

import pytest
import torch

from aberra.diffusion.noise import shared
from aberra.errors import ConfigError
from aberra.restore.partial_diffusion import Chain, PartialDiffusion
from known_denoiser import with_lesion


def test_one_version_is_the_mean_of_the_draws_or_each_is_one(brain):
    model, x, _, _ = brain
    batch = with_lesion(x)[0].transpose(0, 1)
    draws = [Chain(250, 5, "ddpm")(model, batch, draw) for draw in range(3)]
    (mean,) = PartialDiffusion(steps=5, draws=3)(model, batch)
    torch.testing.assert_close(mean.image, sum(draws) / 3)
    each = list(PartialDiffusion(steps=5, draws=3, average=False)(model, batch))
    assert [torch.equal(version.image, draw) for version, draw in zip(each, draws, strict=True)] == [True] * 3
    assert not torch.equal(draws[0], draws[1])
    assert PartialDiffusion(draws=3, average=False).several
    assert not PartialDiffusion(draws=3).several
    assert not PartialDiffusion(average=False).several


def test_one_ddim_step_has_a_closed_form(brain):
    """x̂ = m + g·√ᾱ·(x − m) + g·√(1 − ᾱ)·ε."""
    model, x, _, _ = brain
    sick = with_lesion(x)[0].transpose(0, 1)
    (found,) = PartialDiffusion(steps=1, sampler="ddim")(model, sick)
    level, gain = float(model.schedule.alpha_bar[250]), model.gain(250)
    noise = shared("gaussian", 0, sick)
    expected = model.mean + gain * (level**0.5 * (sick - model.mean) + (1 - level) ** 0.5 * noise)
    torch.testing.assert_close(found.image, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [{"sampler": "euler"}, {"start": 0}, {"draws": 0}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError):
        PartialDiffusion(**options)
