"""Commands of the challenge."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from aberra.cli import app
from aberra.cohort import Cohort
from aberra.errors import ConfigError
from aberra.synthesis import write_cohort


def run(*arguments):
    return CliRunner().invoke(app, ["mood", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """Ten phantoms that have no splits: six, two and two."""
    folder = tmp_path_factory.mktemp("healthy")
    return write_cohort(folder / "phantoms", cases=10, contrast="t1", spacing=6.0, workers=1, progress=False)


def test_a_set_in_both_layouts(healthy, tmp_path):
    done = run(
        "make", healthy, "--out", tmp_path / "toy", "--family", "toy", "--only", "sphere", "--layout", "challenge"
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "2 cases, manifest: " in done.output
    assert sorted(case.label for case in Cohort.read(tmp_path / "toy" / "manifest.csv")) == [0, 1]
    for case in Cohort.read(tmp_path / "toy" / "manifest.csv"):
        volume = case.read()
        assert volume.mask is not None
        assert volume.lesion is None or (volume.lesion.any() and not (volume.lesion & ~volume.mask).any())
    labels = [path.read_text().strip() for path in (tmp_path / "toy" / "toy_label" / "sample").glob("*.txt")]
    assert sorted(labels) == ["0", "1"]


def test_what_is_left_out_is_said(healthy, tmp_path):
    done = run("make", healthy, "--out", tmp_path / "train", "--family", "train", "--only", "pathologies")
    assert done.exit_code == 0, done.output
    told = " ".join((done.output + done.stderr).split())
    assert "left out: masked-bright; needs --masks DIR" in told
    assert "left out: ms; needs a tissue map of each scan" in told


def test_a_sweep_and_contaminated_scans(healthy, tmp_path):
    done = run("make", healthy, "--out", tmp_path / "sweep", "--sweep", "contrast", "--cases", 1)
    assert done.exit_code == 0, done.output
    assert len(Cohort.read(tmp_path / "sweep" / "manifest.csv")) == 21
    done = run(
        "make", healthy, "--out", tmp_path / "dirty", "--contaminate", "0.2,0.5", "--only", "contrast", "--workers", 1
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "20% contaminated" in done.output
    cohort = Cohort.read(tmp_path / "dirty" / "contaminated-0.5.csv")
    assert [case.groups["contaminated"] for case in cohort].count("1") == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sweep", "radius", "--only", "sphere"], "--sweep is of one sphere"),
        (["--contaminate", "0.1", "--layout", "challenge"], "does not label"),
        (["--contaminate", "many"], "expected shares"),
    ],
)
def test_options_that_do_not_go_together(healthy, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        run("make", healthy, "--out", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()
