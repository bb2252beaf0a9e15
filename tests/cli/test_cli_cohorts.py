"""Commands that write cohorts."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from aberra.cli import app
from aberra.cohort import Cohort
from aberra.errors import InputError


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


def test_phantoms_of_several_channels_go_through_the_brats_command(tmp_path):
    brains = tmp_path / "phantoms"
    done = run(
        "phantom", brains, "--cases", 3, "--lesions", 1, "--contrast", "t1,t1ce,t2,flair", "--spacing", 8,
        "--sources", "tumour", "--count", 1, 1, "--radius", 14, 18, "--workers", 1,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    for case in Cohort.read(brains / "manifest.csv"):
        folder = tmp_path / "brats" / case.case
        folder.mkdir(parents=True)
        for key, path in (*case.channels.items(), ("seg", case.lesion)):
            (folder / f"{case.case}_{key}.nii.gz").write_bytes(path.read_bytes())
    arguments = [
        "brats",
        tmp_path / "brats",
        "--out",
        tmp_path / "out",
        "--size",
        24,
        "--low",
        5,
        "--high",
        4,
    ]
    done = run(*arguments, "--test", 0.3, "--val", 0.3, "--workers", 2)
    assert done.exit_code == 0, done.output
    assert "manifest.csv" in done.output
    cohort = Cohort.read(tmp_path / "out" / "manifest.csv")
    assert cohort.channel_names == ("t1", "t1ce", "t2", "flair")
    assert sorted(case.split for case in cohort) == ["test", "train", "val"]
    (tmp_path / "brats" / "phantom-0001" / "phantom-0001_t2.nii.gz").unlink()
    with pytest.raises(InputError, match=r"phantom-0001: no \*_t2.nii.gz"):
        run(*arguments)


def test_ellipses(tmp_path):
    done = run("ellipses", tmp_path / "e", "--cases", 4, "--diseased", 0.25, "--size", 64, "--workers", 1)
    assert done.exit_code == 0, done.output
    assert [case.label for case in Cohort.read(tmp_path / "e" / "manifest.csv")].count(1) == 1
