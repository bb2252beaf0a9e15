"""Models that expect a healthy brain from the atlas: tissue regression and mixture with outliers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from aberra.detector import Detector
from aberra.errors import ConfigError, MismatchError
from aberra.method import Method
from aberra.models import mixture_outlier as em
from aberra.models import tissue
from aberra.models.mixture_outlier import MixtureOutlier
from aberra.models.tissue import Tissue
from aberra.prepare.atlas import atlas_grid, tissues
from aberra.prepare.orient import Orient
from aberra.scores.deviation import Deviation
from aberra.synthesis import LesionParameters, plant
from aberra.synthesis.phantom import draw_phantom, render

SPACING = 4.0
SIZE = atlas_grid(SPACING)[0]


@pytest.fixture(scope="module")
def brain():
    """Atlas brain mask on its grid, the flat places inside, and the regression's features there."""
    mask = tissue.on_grid(SPACING).sum(dim=0) > 0.5
    place = mask.flatten().nonzero()[:, 0]
    return mask, place, tissue.features(place, SIZE, SPACING).double()


def _image(place, values):
    x = torch.zeros(SIZE, dtype=torch.float64).flatten()
    x[place] = values
    return x.reshape(1, *SIZE).float()


def _run():
    from aberra.detector.windows import Runner

    return Runner(dims=3, size=SIZE, device="cpu")


def test_the_maps_are_the_atlas_on_the_registered_grid():
    maps, _, affine = tissues()
    shape, grid = atlas_grid(1.0)
    found = tissue.on_grid(1.0)
    assert tuple(found.shape[1:]) == shape
    index = np.array([90, 120, 60, 1])
    there = np.rint(np.linalg.inv(affine) @ grid @ index).astype(int)[:3]
    for part, ours in zip(maps, found, strict=True):
        assert float(ours[90, 120, 60]) == part[tuple(there)]


def test_regression_recovers_known_coefficients_among_outliers(brain):
    _, _, f = brain
    rng = torch.Generator().manual_seed(0)
    beta = torch.tensor([50.0, 30, 10, -20, 5, 0, 0, 0, *[3.0] * 9], dtype=torch.float64)
    noise = torch.randn(len(f), generator=rng, dtype=torch.float64)
    y = f @ beta + 2 * noise
    lesion = torch.rand(len(f), generator=rng) < 0.05
    y[lesion] += 60
    found, gamma, floor = tissue.regress(f, y)
    np.testing.assert_allclose(f @ found, f @ beta, atol=0.6)
    spread = (f @ gamma).exp()
    assert float(spread[~lesion].median()) == pytest.approx(2, rel=0.15)
    assert 0 < floor < 2


def test_spread_follows_where_tissue_strays(brain):
    _, _, f = brain
    grey = f[:, 2]
    noise = torch.randn(len(f), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, gamma, _ = tissue.regress(f, 100 + noise * (1 + 6 * grey))
    spread = (f @ gamma).exp()
    assert float(spread[grey > 0.7].mean()) > 2.5 * float(spread[grey < 0.1].mean())


def test_a_scan_made_of_the_features_has_no_deviation(brain):
    mask, place, f = brain
    beta = torch.linspace(0.2, 1, f.shape[1], dtype=torch.float64)
    x = _image(place, f @ beta)
    scored = Deviation()(Tissue(size=SIZE, spacing=SPACING), x, mask, _run())
    assert float(scored.map.max()) < 0.05
    torch.testing.assert_close(scored.reconstruction[0][mask], x[0][mask], rtol=1e-3, atol=1e-3)


def test_deviation_has_signs_and_needs_one_a_channel(brain):
    mask, place, f = brain
    noise = torch.randn(len(f), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x = _image(place, 10 + f[:, 1] + 0.1 * noise)
    model = Tissue(size=SIZE, spacing=SPACING)
    maps = {
        mode: Deviation(mode=mode)(model, x, mask, _run()).map
        for mode in ("absolute", "positive", "negative")
    }
    torch.testing.assert_close(maps["positive"] + maps["negative"], maps["absolute"])
    assert float(maps["absolute"][mask].median()) == pytest.approx(0.674, abs=0.1)  # of a Gaussian
    assert not maps["absolute"][~mask].any()
    two = torch.cat([x, x])
    both = Deviation(mode=["positive", "negative"])(model, two, mask, _run()).map
    torch.testing.assert_close(both, maps["absolute"] / 2)
    with pytest.raises(ConfigError, match="2 entries, the scan 1"):
        Deviation(mode=["positive", "negative"])(model, x, mask, _run())
    with pytest.raises(ConfigError, match="Did you mean 'positive'"):
        Deviation(mode="positiv")


def test_the_white_matter_prior_lowers_what_lies_elsewhere(brain):
    mask, place, f = brain
    noise = torch.randn(len(f), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = _image(place, 10 + noise)
    plain, prior = (
        Deviation()(Tissue(size=SIZE, spacing=SPACING, white_matter=k), x, mask, _run()).map for k in (0, 2)
    )
    white = tissue.white_matter(SPACING)
    torch.testing.assert_close(prior[mask], (plain * white.clamp(min=1e-3) ** 2)[mask], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cls", [Tissue, lambda **options: MixtureOutlier(channels=1, **options)])
def test_what_is_not_on_the_atlas_is_refused(cls):
    with pytest.raises(ConfigError, match="not MNI152 at that voxel size"):
        cls(size=(40, 50, 40), spacing=SPACING)
    with pytest.raises(ConfigError, match="not MNI152 at that voxel size"):
        cls(size=SIZE, spacing=3.0)
    model = cls(size=SIZE, spacing=SPACING)
    with pytest.raises(MismatchError, match="registered to MNI152"):
        model.expect(torch.zeros(1, 1, 64, 64), torch.ones(1, 64, 64, dtype=torch.bool))
    mean, spread = model.expect(torch.ones(1, *SIZE), torch.zeros(SIZE, dtype=torch.bool))
    assert not mean.any()
    assert (spread == 1).all()


def _mixture(brain, outliers=0.03, seed=0):
    """Log intensities of three tissues under a bias field, with bright outliers, and all that made
    them.
    """
    _, place, _ = brain
    rng = torch.Generator().manual_seed(seed)
    prior = MixtureOutlier(channels=1, size=SIZE, spacing=SPACING)._prior(place).double()
    kind = torch.multinomial(prior, 1, generator=rng)[:, 0]
    mean = torch.tensor([-1.0, -0.2, 0.2], dtype=torch.float64)
    std = torch.tensor([0.2, 0.06, 0.04], dtype=torch.float64)
    f = em.polynomial(place, SIZE, 2).double()
    bias = 0.1 * f[:, 1] - 0.05 * f[:, 4]
    y = mean[kind] + std[kind] * torch.randn(len(place), generator=rng, dtype=torch.float64) + bias
    strange = torch.rand(len(place), generator=rng) < outliers
    y[strange] = 0.7 + bias[strange]
    return y, prior, f, mean, std, bias, strange


def test_em_never_lowers_the_likelihood_within_a_pass(brain):
    y, prior, f, *_ = _mixture(brain)
    _, history = em.fit(y, prior, f, 3.0)
    assert len(history) == em.PASSES
    for likelihood in history:
        assert (np.diff(likelihood) > -1e-9).all()
        assert np.isfinite(likelihood).all()
    assert history[-1][-1] > history[0][0]


def test_em_recovers_tissues_and_bias_in_spite_of_outliers(brain):
    y, prior, f, mean, std, bias, strange = _mixture(brain)
    found, _ = em.fit(y, prior, f, 3.0)
    shift = float((f @ found.bias - bias).mean())  # a constant may go either way
    np.testing.assert_allclose(found.mean + shift, mean, atol=0.04)
    np.testing.assert_allclose(found.std[1:], std[1:], rtol=0.3)
    np.testing.assert_allclose(f @ found.bias - shift, bias, atol=0.03)
    flat = y - f @ found.bias
    centre, width = em.expected_of(flat, prior, found, 3.0)
    z = (flat - centre).abs() / width
    assert float(z[strange].median()) > 3
    assert float(z[~strange].median()) < 1.5


def test_polynomials_are_complete():
    place = torch.arange(0, 4 * 5 * 6)
    assert [em.polynomial(place, (4, 5, 6), order).shape[1] for order in (0, 1, 2, 3)] == [1, 4, 10, 20]
    assert (em.polynomial(place, (4, 5, 6), 3)[:, 0] == 1).all()


@pytest.mark.parametrize("name", ["tissue", "mixture-outlier"])
def test_lesions_are_found_on_the_scans_own_grid_in_any_contrast(name, tmp_path):
    from aberra.cohort import Cohort
    from aberra.synthesis import write_cohort

    small = {"spacing": 3.0, "workers": 1, "progress": False}
    healthy = Cohort.read(
        write_cohort(tmp_path / "healthy", cases=3, seed=1, lesions=0.0, contrast="t1", **small)
    )
    settings = {"model.spacing": 3.0, "prepare.spacing": [3.0, 3.0, 3.0]}
    detector = Detector.fit(
        Method.load(name, settings), healthy, out=tmp_path / "model", workers=1, calibrated=False
    )
    scan = Orient(to="LPI")(render(draw_phantom(4, 0, "flair"), 3.0))
    centre = np.rint(np.linalg.inv(scan.affine) @ [28, -25, 30, 1])  # white matter of MNI space
    lesion = LesionParameters(
        shape="ellipsoid", source="hyper", blend="alpha", label="binary", radius_mm=9.0, stretch=(1.0, 1.0, 1.0), strength=0.8,
        centre=(int(centre[0]), int(centre[1]), int(centre[2])), offset=(0, 0, 0), seed=1,
    )  # fmt: skip
    sick = plant(scan, lesion)[0]
    found = detector.analyse(sick, reconstruct=True)
    assert found.map.shape == sick.shape
    assert found.prepared.provenance["registration"]["ok"]
    assert found.reconstruction.shape == sick.data.shape
    judged = found.inside
    assert average_precision_score(sick.lesion[judged], found.map[judged]) > 0.5
