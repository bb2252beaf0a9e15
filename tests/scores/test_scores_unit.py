"""Which maps are differences of intensities, so that their mean is an ℓ1 error: benchmarks correlate those only."""

from __future__ import annotations

import pytest

from aberra.method import Method
from aberra.registry import build

DIFFERENCES = (
    "vae", "dae", "bayesian-vae", "vae-restoration", "anogan", "anoddpm", "ddim-guided", "scale-space-ae", "skip-ae",
)  # fmt: skip
OTHERS = (
    "intensity", "random", "zmap", "ocsvm", "vae-kl-gradient", "vae-combi", "vae-sampling-variance", "segnet", "andi", "thor",
    "autoddpm", "tissue",
)  # fmt: skip


def unit(name, **overrides):
    return getattr(build("scores", Method.load(name, overrides).score), "unit", "")


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_difference_of_images_has_their_unit(name):
    assert unit(name) == "intensity"


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_difference_of_images_has_none(name):
    assert unit(name) == ""


def test_one_score_may_be_either():
    assert unit("vae", **{"score.mode": "positive"}) == "intensity"
    assert unit("vae", **{"score.mode": "ssim"}) == ""
    assert unit("anoddpm", **{"score.mode": "perceptual"}) == ""
    assert unit("anoddpm", **{"score.of": "variance", "score.draws": 2}) == ""
