"""A BIDS dataset is a cohort: sessions are cases, sequences channels."""

from __future__ import annotations

from pathlib import Path

import pytest

from aberra.cohort import Cohort
from aberra.cohort.bids import BidsName, dataset_of, labelled
from aberra.errors import ManifestError, MismatchError
from small_scans import bids_dataset

SCANS = (
    "sub-01/ses-1/anat/sub-01_ses-1_FLAIR",
    "sub-01/ses-1/anat/sub-01_ses-1_T1w",
    "sub-01/ses-2/anat/sub-01_ses-2_run-1_FLAIR",
    "sub-01/ses-2/anat/sub-01_ses-2_run-2_FLAIR",
    "sub-01/ses-2/anat/sub-01_ses-2_run-2_T1w",
    "sub-02/anat/sub-02_ce-gd_T1w",
    "sub-02/anat/sub-02_part-phase_T1w",
    "sub-02/func/sub-02_task-rest_bold",
)


@pytest.fixture
def dataset(tmp_path):
    return bids_dataset(
        tmp_path / "raw", SCANS, "participant_id\tAge\tsex\tlabel\nsub-01\t51\tF\t1\nsub-02\t89+\tn/a\t0\n"
    )


def test_cases_are_sessions_and_channels_sequences(dataset):
    cohort = Cohort.from_paths(dataset)
    assert {case.case: sorted(case.channels) for case in cohort} == {
        "sub-01_ses-1": ["flair", "t1"],
        "sub-01_ses-2": ["flair", "t1"],  # the only T1 is the session's, whatever its run
        "sub-01_ses-2_run-2": ["flair"],
        "sub-02": ["t1ce"],
    }
    assert cohort[1].channels["flair"].name == "sub-01_ses-2_run-1_FLAIR.nii.gz"
    assert {case.patient for case in cohort} == {"sub-01", "sub-02"}


def test_participants_are_groups_and_never_truth(dataset):
    first, *_, last = Cohort.from_paths(dataset)
    assert first.groups == {"age": "51", "sex": "F", "session": "1"}
    assert last.groups == {}  # 89+ is no number, n/a nothing, and a column 'label' may mean anything
    assert {first.label, last.label} == {None}


def test_what_is_left_out_is_said(dataset):
    (note,) = Cohort.from_paths(dataset).warnings
    assert "2 scan(s)" in note
    assert "sub-02_task-rest_bold" in note
    assert "sub-02_part-phase_T1w" in note


def test_cases_without_a_channel_are_left_out_and_named(dataset):
    cohort = Cohort.from_paths(dataset)
    found = cohort.having(["t1"])
    assert [case.case for case in found] == ["sub-01_ses-1", "sub-01_ses-2"]
    assert "2 case(s) without t1 left out (sub-01_ses-2_run-2, sub-02)" in found.warnings[-1]
    with pytest.raises(MismatchError, match=r"no case has swi; there is flair, t1, t1ce\. .*--channel"):
        cohort.having(["swi"])


def test_labels_choose(dataset):
    cohort = Cohort.from_paths(dataset)
    assert [case.case for case in labelled(cohort, ["sub-02"])] == ["sub-02"]
    assert [case.case for case in labelled(cohort, ["01"], ["1"])] == ["sub-01_ses-1"]
    with pytest.raises(MismatchError, match="no sub-7; there are: 01, 02"):
        labelled(cohort, ["7"])
    with pytest.raises(MismatchError, match="no ses-3; there are: 1, 2"):
        labelled(cohort, None, ["ses-3"])


@pytest.mark.parametrize("about", ["{", "[]", '{"DatasetType": "derivative"}'])
def test_other_folders_are_no_raw_datasets(dataset, about):
    (dataset / "dataset_description.json").write_text(about)
    assert dataset_of(dataset) is None
    assert all("image" in case.channels for case in Cohort.from_paths(dataset))


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("participant_id,age\nsub-01,4\n", "participant_id"),
        ('participant_id\tage\nsub-01\t"4', "not a table"),
        ("participant_id\tname\nsub-01\t\xe4\n", "not a table"),
    ],
)
def test_a_broken_table_of_participants_is_refused(dataset, table, why):
    (dataset / "participants.tsv").write_bytes(table.encode("latin-1"))
    with pytest.raises(ManifestError, match=why):
        Cohort.from_paths(dataset)


@pytest.mark.parametrize(
    "name", ["scan.nii.gz", "sub-01.nii.gz", "sub-01_T1 w.nii", "ses-1_sub-01_T1w.nii", "sub-_T1w.nii"]
)
def test_other_names_are_none(name):
    found = BidsName.of(Path(name))
    assert found is None or not found.entities
