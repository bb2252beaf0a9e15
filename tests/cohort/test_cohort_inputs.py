"""What is read is never written to."""

from __future__ import annotations

import pytest

from aberra.cohort.inputs import keep_out
from aberra.errors import OutputError
from small_scans import scan, series


def _lower_case(folder):
    """Whether this file system takes names for one that differ in case only."""
    (folder / "Probe").touch()
    return (folder / "probe").exists()


def test_an_output_folder_is_never_a_scan_nor_above_or_in_one(tmp_path):
    data = tmp_path / "data"
    scans = [series(data / "patient"), data / "s" / "scan.nii.gz"]
    scan().write(scans[1])
    (tmp_path / "link").symlink_to(data, target_is_directory=True)
    (data / "alias.nii.gz").symlink_to(tmp_path / "store.nii.gz")
    scan().write(tmp_path / "store.nii.gz")
    (tmp_path / "aliases").mkdir()
    (tmp_path / "aliases" / "a.nii.gz").symlink_to(scans[1])
    refused = [
        data, data / "patient", data / "s", tmp_path, data / "patient" / "out", data / "patient" / "a" / "b",
        scans[1], tmp_path / "link", tmp_path / "link" / "patient" / "out", data / "s" / ".." / "s",
    ]  # fmt: skip
    if _lower_case(tmp_path):
        refused.append(tmp_path / "DATA" / "Patient" / "out")
    for out in refused:
        with pytest.raises(OutputError, match=r"that is read|what is read"):
            keep_out(out, scans)
    with pytest.raises(
        OutputError, match="what is read"
    ):  # a link in a folder is in that folder, wherever it leads
        keep_out(tmp_path / "aliases", [tmp_path / "aliases" / "a.nii.gz"])
    with pytest.raises(OutputError, match="that is read"):  # the other files of a series are read with it
        keep_out(data / "patient" / "out", [data / "patient" / "IM0000.dcm"])
    for out in (data / "out", data / "s" / "out", tmp_path / "out", data / "patient2"):
        keep_out(out, scans)
