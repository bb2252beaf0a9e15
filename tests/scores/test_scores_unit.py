"""Which maps are differences of intensities, so that their mean is an ℓ1 error: benchmarks
correlate those only.
"""

from __future__ import annotations

import pytest

from aberra.capabilities import HasUnit
from aberra.method import Method
from aberra.scores import SmoothedScore

DIFFERENCES = (
    "vae", "dae", "bayesian-vae", "vae-restoration", "anogan", "anoddpm", "ddim-guided", "scale-space-ae", "skip-ae",
)  # fmt: skip
OTHERS = (
    "intensity", "random", "zmap", "ocsvm", "vae-kl-gradient", "vae-combi", "vae-sampling-variance", "segnet", "andi", "thor",
    "autoddpm", "tissue",
)  # fmt: skip


def unit(name, **overrides):
    score = SmoothedScore.of(Method.load(name, overrides).score).score
    return score.unit if isinstance(score, HasUnit) else ""


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_difference_of_images_has_their_unit(name):
    assert unit(name) == "intensity"


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_difference_of_images_has_none(name):
    assert unit(name) == ""


def test_one_score_may_be_either():
    assert unit("vae", **{"score.compare.mode": "positive"}) == "intensity"
    assert unit("vae", **{"score.compare.mode": "ssim"}) == ""
    assert unit("anoddpm", **{"score.compare.mode": "perceptual"}) == ""
    assert unit("autoddpm", **{"score.compare.weighted": False}) == "intensity"
    assert unit("vae-sampling-variance") == ""
