from __future__ import annotations

import pytest
import torch

from aberra.compare.smoothing import smoothed
from aberra.errors import ConfigError
from aberra.scores.combi import Combi
from aberra.scores.gradient import Gradient
from aberra.scores.residual import Residual


@pytest.mark.parametrize("of", ["kl", "elbo", "reconstruction"])
def test_combi_is_the_product_of_the_two_scores(of, linear):
    model, x, mask, run = linear
    options, compare = {"of": of, "smoothgrad": 2, "noise": 0.1}, {"mode": "positive", "centre": True}
    residual = Residual(compare=compare)(model, x, mask, run)
    gradient = smoothed(Gradient(**options)(model, x, mask, run).map, mask, sigma=0.7, dims=2)
    found = Combi(compare=compare, smooth=0.7, **options)(model, x, mask, run)
    torch.testing.assert_close(found.map, residual.map * gradient, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found.reconstruction, residual.reconstruction)


def test_exponents_give_the_parts_and_the_general_h(linear):
    model, x, mask, run = linear
    residual = Residual()(model, x, mask, run).map * mask
    gradient = Gradient(of="kl")(model, x, mask, run).map * mask
    torch.testing.assert_close(Combi(gradient_power=0.0)(model, x, mask, run).map * mask, residual)
    torch.testing.assert_close(Combi(residual_power=0.0)(model, x, mask, run).map, gradient)
    mixed = Combi(residual_power=2.0, gradient_power=0.5)(model, x, mask, run).map * mask
    torch.testing.assert_close(mixed, residual**2 * gradient.sqrt(), atol=1e-6, rtol=1e-4)


def test_any_restoration_can_be_a_factor(linear):
    model, x, mask, run = linear
    restore = {"name": "restoration", "steps": 3}
    residual = Residual(restore=restore)(model, x, mask, run)
    gradient = Gradient(of="kl")(model, x, mask, run).map * mask
    found = Combi(restore=restore)(model, x, mask, run)
    torch.testing.assert_close(found.map, residual.map * gradient)
    torch.testing.assert_close(found.reconstruction, residual.reconstruction)
    assert Combi(restore={"name": "restoration", "tv": "auto"}).tune(model, iter([]), run) == {
        "restore": {"name": "restoration", "tv": 0.3}
    }


def test_a_negative_exponent_is_refused():
    with pytest.raises(ConfigError, match="residual_power"):
        Combi(residual_power=-1.0)
