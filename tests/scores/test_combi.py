from __future__ import annotations

import pytest
import torch

from aberra.errors import ConfigError
from aberra.scores.combi import Combi
from aberra.scores.gradient import Gradient
from aberra.scores.residual import Residual


@pytest.mark.parametrize("of", ["kl", "elbo", "reconstruction"])
def test_combi_is_the_product_of_the_two_scores(of, linear):
    model, x, mask, run = linear
    options = {"of": of, "smoothgrad": 2, "noise": 0.1, "smooth": 0.7}
    residual = Residual(mode="positive")(model, x, mask, run)
    gradient = Gradient(**options)(model, x, mask, run)
    found = Combi(mode="positive", **options)(model, x, mask, run)
    torch.testing.assert_close(found.map, residual.map * gradient.map, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found.reconstruction, residual.reconstruction)


def test_exponents_give_the_parts_and_the_general_h(linear):
    model, x, mask, run = linear
    residual, gradient = Residual()(model, x, mask, run).map, Gradient(of="kl")(model, x, mask, run).map
    torch.testing.assert_close(Combi(gradient_power=0.0)(model, x, mask, run).map, residual)
    torch.testing.assert_close(Combi(residual_power=0.0)(model, x, mask, run).map, gradient)
    mixed = Combi(residual_power=2.0, gradient_power=0.5)(model, x, mask, run).map
    torch.testing.assert_close(mixed, residual**2 * gradient.sqrt(), atol=1e-6, rtol=1e-4)


def test_nothing_is_scored_outside_the_mask(linear):
    model, x, mask, run = linear
    assert not Combi(residual_power=0.0, gradient_power=0.0)(model, x, mask, run).map[~mask].any()
    with pytest.raises(ConfigError, match="residual_power"):
        Combi(residual_power=-1.0)
