from __future__ import annotations

import pytest
import torch

from aberra.errors import ConfigError
from aberra.restore.draws import Draws


def test_versions_are_the_models_draws_or_their_mean(linear):
    model, x, _, _ = linear
    batch = x.transpose(0, 1)
    draws = list(model.sample_reconstructions(batch, 4))
    each = [version.image for version in Draws(draws=4)(model, batch)]
    assert all(torch.equal(one, other) for one, other in zip(each, draws, strict=True))
    (mean,) = Draws(draws=4, average=True)(model, batch)
    torch.testing.assert_close(mean.image, sum(draws) / 4)
    assert [Draws(draws=4).several, Draws(draws=4, average=True).several, Draws(draws=1).several] == [
        True,
        False,
        False,
    ]


def test_options_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match=r"score\.restore\.draws"):
        Draws(draws=0)
