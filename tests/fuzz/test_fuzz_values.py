"""Values of any kind, drawn by Hypothesis, where a right answer is known."""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aberra import Cohort, Volume
from aberra.errors import AberraError, ConfigError, ManifestError
from aberra.method import Method, parse_settings
from aberra.options import Count, Share, conforming
from aberra.registry import build
from strategies import affines

SETTINGS = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=5),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=6,
)


@SETTINGS
@given(ANYTHING)
def test_a_count_and_a_share_take_what_they_mean_and_nothing_else(value):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    for kind, fits in (
        (Count, number and math.isfinite(value) and value == int(value) and 1 <= value <= 2**31),
        (Share, number and 0 <= value <= 1),
    ):
        try:
            found = conforming(value, kind, "x")
        except ConfigError:
            assert not fits
        else:
            assert fits
            assert found == value


@SETTINGS
@given(st.sampled_from(["smooth", "mode", "centre", "alpha", "data_range", "name", "x"]), ANYTHING)
def test_a_score_is_built_or_refused(key, value):
    with suppress(ConfigError):
        build("scores", {"name": "residual", "compare": {"mode": "structural", key: value}})


@SETTINGS
@given(st.lists(st.text(max_size=30), max_size=3))
def test_any_text_of_set_is_a_setting_or_refused(texts):
    with suppress(ConfigError):
        Method.load("pca", parse_settings(texts))


@SETTINGS
@given(st.text(max_size=300))
def test_any_text_is_a_manifest_or_refused(tmp_path, text):
    (tmp_path / "m.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ManifestError):
        Cohort.read(tmp_path / "m.csv")


@SETTINGS
@given(st.binary(max_size=600))
def test_any_bytes_are_a_scan_or_refused(tmp_path, content):
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(AberraError):
        Volume.read(tmp_path / "s")


@SETTINGS
@given(
    affines(),
    st.tuples(*[st.integers(1, 5)] * 3).filter(lambda shape: shape.count(1) < 2),
    st.integers(0, 99),
)
def test_what_is_written_is_read_again(tmp_path, affine, shape, seed):
    data = np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)
    for name in ("v.nii", "v.nii.gz"):
        Volume(data=data, affine=affine).write(tmp_path / name)
        read = Volume.read(tmp_path / name)
        np.testing.assert_array_equal(read.data, data)
        np.testing.assert_allclose(read.affine, affine, atol=1e-3)
