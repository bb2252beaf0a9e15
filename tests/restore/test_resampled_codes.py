from __future__ import annotations

import pytest
import torch

from aberra.detector.windows import Runner
from aberra.errors import ConfigError
from aberra.restore.resampled_codes import UNLIKELY, ResampledCodes
from aberra.scores.residual import Residual
from aberra.scores.unlikely_codes import UnlikelyCodes
from aberra.volume import Volume

SIZE = (8, 8)


class Spelt:
    """A word a quarter of the image; its −log p is its mean, and drawn words are n / 4 brighter."""

    def surprise(self, x):
        return torch.nn.functional.avg_pool2d(x, 4)[:, 0]

    def resampled(self, x, threshold, count):
        unlikely = torch.nn.functional.interpolate((self.surprise(x) > threshold)[:, None].float(), SIZE)
        for number in range(1, count + 1):
            yield x + 0.25 * number * unlikely


@pytest.fixture
def scan():
    x = torch.zeros(1, 2, *SIZE)
    x[:, :, :4, :4] = 3.0
    x[:, 1, 4:, 4:] = 1.0
    return x, torch.ones(2, *SIZE, dtype=torch.bool), Runner(dims=2, size=SIZE, device="cpu")


def _volume(x):
    return Volume(data=x.numpy(), affine=torch.eye(4).numpy())


def test_the_weighted_map_is_the_sum_over_versions_weighted_by_nearness(scan):
    x, mask, run = scan
    restore = {"name": "resampled-codes", "draws": 2, "threshold": 2.0}
    found = Residual(restore=restore, compare={"weighted": True})(Spelt(), x, mask, run)
    distance = torch.tensor([0.25, 0.5]) / 4
    weights = (-distance / distance.mean()).softmax(dim=0)
    expected = weights[0] * 0.25 + weights[1] * 0.5
    assert weights[0] > weights[1]
    torch.testing.assert_close(found.map[:, :4, :4], torch.full((2, 4, 4), float(expected)))
    assert not found.map[:, 4:].any()
    plain = Residual(restore=restore)(Spelt(), x, mask, run)
    torch.testing.assert_close(plain.map[:, :4, :4], torch.full((2, 4, 4), 0.375))


def test_where_nothing_is_unlikely_nothing_is_restored(scan):
    x, mask, run = scan
    restore = {"name": "resampled-codes", "threshold": 4.0}
    for compare in ({"weighted": True}, {}):
        assert not Residual(restore=restore, compare=compare)(Spelt(), x, mask, run).map.any()


def test_the_case_counts_unlikely_words_alone_each_where_it_lies(scan):
    x, mask, run = scan
    found = UnlikelyCodes(threshold=2.0)(Spelt(), x, mask, run).map
    assert (found[:, :4, :4] == 3).all()
    assert float(found.sum()) == 2 * 16 * 3
    every = UnlikelyCodes(threshold=0.0)(Spelt(), x, mask, run).map
    torch.testing.assert_close(every, x[0])


def test_thresholds_are_quantiles_of_healthy_words(scan):
    x, _, run = scan
    healthy = _volume(x)
    for part, share, expected in (
        (ResampledCodes(share=0.5), 0.5, 0.0),
        (ResampledCodes(share=0.99), 0.99, 3.0),
        (UnlikelyCodes(share=0.7), 0.7, 0.9),
    ):
        words = torch.tensor([3.0, 0, 0, 0, 3.0, 0, 0, 1.0])
        wanted = max(float(words.quantile(share)), 1e-6)
        found = part.tune(Spelt(), [healthy], run)
        assert found == {"threshold": pytest.approx(wanted, abs=1e-4)}
        assert found["threshold"] == pytest.approx(expected, abs=0.2)
        assert part.tune(Spelt(), [], run) == {"threshold": UNLIKELY}
    assert ResampledCodes(threshold=2.0).tune(Spelt(), [healthy], run) == {}
    assert UnlikelyCodes(threshold=2.0).tune(Spelt(), [healthy], run) == {}


def test_what_cannot_be_is_refused():
    for option in ({"draws": 0}, {"share": 1.0}, {"threshold": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(option))):
            ResampledCodes(**option)
    with pytest.raises(ConfigError, match="share"):
        UnlikelyCodes(share=0.0)
