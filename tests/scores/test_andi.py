from __future__ import annotations

import pytest
import torch

from aberra.diffusion.noise import shared
from aberra.errors import ConfigError
from aberra.scores.andi import ANDi
from known_denoiser import with_lesion


def test_andi_has_its_closed_form(brain):
    """x̂₀ − x = (1 − g√ᾱ)(m − x) + g√(1 − ᾱ)·ε, times √ᾱ_{t−1}·β_t / (1 − ᾱ_t)."""
    model, x, mask, run = brain
    sick, _ = with_lesion(x)
    found = ANDi(calls=5)(model, sick, mask, run).inside(mask).map
    logs = []
    for t in (125, 100, 75, 50, 25):
        level, before = (float(model.schedule.alpha_bar[each]) for each in (t, t - 1))
        noise = shared("gaussian", t, sick.transpose(0, 1))[0]
        gain = model.gain(t)
        apart = (1 - gain * level**0.5) * (model.mean[0] - sick) + gain * (1 - level) ** 0.5 * noise
        logs.append(2 * (before**0.5 * (1 - level / before) / (1 - level) * apart).abs().log())
    torch.testing.assert_close(found, (sum(logs) / 5).exp()[0] * mask, rtol=1e-3, atol=1e-12)


def test_the_geometric_mean_of_equal_maps_is_the_map(brain):
    model, x, mask, run = brain
    once = ANDi(high=80, low=80, calls=1)
    several = ANDi(high=80, low=80, calls=1)
    several.times = [80, 80, 80]
    torch.testing.assert_close(several(model, x, mask, run).map, once(model, x, mask, run).map)


def test_andi_can_take_every_step_and_the_models_noise(brain):
    model, x, mask, run = brain
    assert ANDi(calls=1000).times == list(range(125, 24, -1))
    model.noise = _silence
    assert ANDi(calls=3, noise="training")(model, x, mask, run).map.max() < 1e-15
    assert ANDi(calls=3)(model, x, mask, run).map[mask].max() > 1e-8


@pytest.mark.parametrize("options", [{"noise": "simplex"}, {"low": 200}, {"calls": 0}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError):
        ANDi(**options)


def test_a_start_beyond_the_last_step_is_refused(brain):
    with pytest.raises(ConfigError, match="1000"):
        ANDi(high=1001)(*brain)


def _silence(_, like):
    return torch.zeros_like(like[:1])
