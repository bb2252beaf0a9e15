from __future__ import annotations

import sys

import numpy as np
import pytest

from aberra.errors import ConfigError, InputError
from aberra.prepare.bias_field import BiasField
from aberra.prepare.brain_mask import BrainMask
from aberra.prepare.histogram_match import HistogramMatch
from aberra.prepare.normalise import Normalise
from aberra.volume import Volume


def _ball(seed=0, shape=(20, 24, 22), gain=100.0):
    grid = np.indices(shape) - (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2
    mask = np.sqrt((grid**2).sum(axis=0)) < 8
    data = np.where(mask, gain * (1 + 0.2 * np.random.default_rng(seed).random(shape)), 0)
    return Volume(data=data[None], affine=np.eye(4), mask=mask)


def test_percentile_zscore_equalise_and_window():
    volume = _ball()
    inside = volume.mask
    scaled = Normalise(method="percentile", percentile=98)(volume).data[0]
    assert np.percentile(scaled[inside], 98) == pytest.approx(1, abs=1e-5)
    assert (scaled[~inside] == 0).all()
    z = Normalise(method="zscore", clip=[-1.5, 1.5])(volume).data[0][inside]
    assert abs(z).max() <= 1.5
    ranks = Normalise(method="equalise")(volume).data[0][inside]
    assert ranks.max() == 1
    assert ranks.mean() == pytest.approx(0.5, abs=0.01)
    assert (np.argsort(ranks) == np.argsort(volume.data[0][inside])).all()
    window = Normalise(method="window", low=100, high=110)(volume).data[0][inside]
    assert window.min() < 0.01
    assert window.max() == 1


@pytest.mark.parametrize("method", ["percentile", "zscore", "robust", "equalise"])
def test_a_constant_channel_has_no_scale(method):
    volume = _ball().with_(data=np.full((1, 20, 24, 22), 5.0))
    with pytest.raises(InputError, match="image is constant inside the foreground"):
        Normalise(method=method)(volume)
    assert (Normalise(method="window", low=0, high=10)(volume).data[0][volume.mask] == 0.5).all()


def test_histogram_matching_undoes_a_gain_and_keeps_its_state():
    cohort = [_ball(seed) for seed in range(4)]
    step = HistogramMatch()
    step.fit(cohort)
    bright = _ball(9).with_(data=_ball(9).data * 3 + _ball(9).mask * 20)
    matched = step(bright)
    expected = np.percentile(cohort[0].data[0][cohort[0].mask], [5, 50, 95])
    np.testing.assert_allclose(np.percentile(matched.data[0][matched.mask], [5, 50, 95]), expected, rtol=0.02)
    again = HistogramMatch()
    again.load_state(step.state())
    np.testing.assert_array_equal(again(bright).data, matched.data)
    with pytest.raises(ConfigError, match="no reference"):
        HistogramMatch()(bright)


def test_n4_flattens_a_bias_field():
    volume = _ball(shape=(40, 40, 40))
    grid = np.indices((40, 40, 40))
    mask = np.sqrt(((grid - 19.5) ** 2).sum(axis=0)) < 17
    noise = np.random.default_rng(0).normal(1, 0.02, (40, 40, 40))
    biased = np.where(mask, 100 * np.exp((grid[0] - 20) / 40) * noise, 0)
    volume = Volume(data=biased[None], affine=np.diag([4.0, 4, 4, 1]), mask=mask)
    found = BiasField(shrink=2)(volume).data[0][mask]
    before = biased[mask]
    assert found.std() / found.mean() < 0.5 * before.std() / before.mean()


def test_masks():
    volume = _ball().with_(mask=None)
    np.testing.assert_array_equal(BrainMask(method="nonzero")(volume).mask, _ball().mask)
    np.testing.assert_array_equal(BrainMask(method="auto")(volume).mask, _ball().mask)
    noisy = volume.with_(data=volume.data + np.random.default_rng(0).random(volume.data.shape) * 5)
    head = BrainMask(method="auto")(noisy).mask
    assert (head & _ball().mask).sum() / (head | _ball().mask).sum() > 0.7
    with pytest.raises(InputError, match="empty foreground"):
        BrainMask()(volume.with_(data=np.zeros_like(volume.data)))
    with pytest.raises(InputError, match="no mask given"):
        BrainMask(method="given")(volume)


def test_an_external_mask_command(tmp_path):
    program = tmp_path / "strip.py"
    program.write_text(
        "import sys, nibabel as nib, numpy as np\n"
        "image = nib.load(sys.argv[1])\n"
        "nib.save(nib.Nifti1Image((image.get_fdata() > 50).astype(np.uint8), image.affine), sys.argv[2])\n"
    )
    command = f"{sys.executable} {program} {{input}} {{output}}"
    np.testing.assert_array_equal(
        BrainMask(method="command", command=command)(_ball().with_(mask=None)).mask, _ball().mask
    )
    with pytest.raises(InputError, match="cannot be started"):
        BrainMask(method="command", command="no-such-program {input} {output}")(_ball())
    with pytest.raises(InputError, match="failed with exit code"):
        BrainMask(method="command", command=f"{sys.executable} -c 1/0 {{input}} {{output}}")(_ball())
    with pytest.raises(ConfigError, match="needs"):
        BrainMask(method="command", command="hd-bet")


def test_a_lesion_does_not_move_the_rest_of_a_robustly_normalised_scan():
    rng = np.random.default_rng(0)
    data = rng.normal(100, 10, (1, 10, 20, 20)).astype(np.float32)
    scan = Volume(data=data, affine=np.eye(4), mask=np.ones((10, 20, 20), dtype=bool))
    sick = scan.with_(data=np.where(np.arange(20) < 2, 300, data).astype(np.float32))

    found = Normalise(method="robust")(scan).data
    assert abs(np.median(found)) < 1e-5
    assert abs(found.std() - 1) < 0.05
    moved = {
        method: np.abs(Normalise(method=method)(sick).data - Normalise(method=method)(scan).data)[
            ..., 2:
        ].mean()
        for method in ("robust", "zscore")
    }
    assert moved["robust"] < 0.25 * moved["zscore"]
    mostly_flat = scan.with_(data=np.where(np.arange(20) < 12, 5, data).astype(np.float32))
    assert np.isfinite(Normalise(method="robust")(mostly_flat).data).all()
