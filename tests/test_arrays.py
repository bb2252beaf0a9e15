"""Arrays in, arrays out, with scikit-learn's verbs and our sign."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from aberra.arrays import ArrayDetector
from aberra.errors import ConfigError, InputError


def samples(count=16, shape=(20, 24), seed=0):
    return (1 + 0.1 * np.random.default_rng(seed).random((count, *shape))).astype(np.float32)


@pytest.fixture(scope="module", params=[(20, 24), (6, 20, 24)], ids=["images", "volumes"])
def fitted(request):
    return ArrayDetector("intensity", level=0.2).fit(samples(24, request.param))


def test_what_is_odd_is_found_where_it_is(fitted):
    X = samples(3, fitted.shape_, seed=1)
    X[1][..., 5:9, 7:12] = 3
    maps = fitted.maps(X)
    assert maps.shape == X.shape
    assert np.unravel_index(maps[1].argmax(), maps[1].shape)[-2] in range(5, 9)
    assert np.unravel_index(maps[1].argmax(), maps[1].shape)[-1] in range(7, 12)
    assert fitted.anomaly(X).argmax() == 1


def test_signs_are_scikit_learns(fitted):
    X = samples(4, fitted.shape_, seed=1)
    X[0][..., 5:9, 7:12] = 3
    np.testing.assert_array_equal(fitted.score_samples(X), -fitted.anomaly(X))
    p = fitted.p_values(X)
    assert p[0] == 1 / 7  # six of 24 are held out
    np.testing.assert_array_equal(fitted.predict(X) == -1, p <= 0.2)


def test_parameters_are_scikit_learns():
    made = ArrayDetector("intensity", spacing=(2, 1), seed=3)
    assert clone(made).get_params() == made.get_params()
    with pytest.raises(NotFittedError):
        made.predict(samples())


def test_a_network_learns_by_settings():
    settings = {"training.steps": 2, "prepare.size": 16, "model.network.width": 8}
    first, again = (ArrayDetector("ae", settings=settings).fit(samples()) for _ in range(2))
    np.testing.assert_array_equal(first.maps(samples(2)), again.maps(samples(2)))


@pytest.mark.parametrize(
    ("X", "options", "error", "match"),
    [
        (np.zeros((4, 4)), {}, InputError, "shape"),
        (np.full((8, 4, 4), np.nan), {}, InputError, "NaN"),
        ([["a"]], {}, InputError, "numbers"),
        (samples(3), {}, InputError, "at least 4"),
        (samples(), {"calibration": 1.5}, ConfigError, "share"),
        (samples(), {"spacing": (1, 1, 1)}, ConfigError, "2 lengths"),
        (samples(), {"method": "no-such"}, ConfigError, "no-such"),
        (samples(), {"settings": {"training.stepz": 1}}, ConfigError, "stepz"),
    ],
)
def test_what_cannot_be_used_is_refused(X, options, error, match):
    with pytest.raises(error, match=match):
        ArrayDetector(**({"method": "intensity"} | options)).fit(X)


def test_another_shape_is_refused(fitted):
    with pytest.raises(InputError, match="the same shape"):
        fitted.anomaly(samples(2, (8, 8)))
