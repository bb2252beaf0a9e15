from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from aberra.cohort import Case, Cohort
from aberra.errors import InputError, ManifestError, MismatchError
from dicom_series import brain, slices, write


def test_columns_become_channels_groups_and_truth(scan, manifest):
    for name in ("a_flair", "a_t1", "a_lesion", "b_flair"):
        scan(f"scans/{name}.nii.gz")
    path = manifest(
        "case,patient,flair,t1,lesion,label,site,age,organ,split",
        "a,p,scans/a_flair.nii.gz,scans/a_t1.nii.gz,scans/a_lesion.nii.gz,1,x,61.5,brain,test",
        "b,q,scans/b_flair.nii.gz,,,0,y,,,train",
    )
    cohort = Cohort.read(path)
    a, b = cohort
    assert cohort.channel_names == ("flair", "t1")
    assert cohort.common_channels == ("flair",)
    assert (a.label, a.healthy, a.split, a.row) == (1, False, "test", 2)
    assert a.groups == {"site": "x", "age": "61.5", "organ": "brain"}
    assert list(b.channels) == ["flair"]
    assert b.healthy
    assert [case.case for case in cohort.select(healthy=True)] == ["b"]
    assert [case.case for case in cohort.select(split="test")] == ["a"]
    with pytest.raises(MismatchError, match="no split 'tset'"):
        cohort.select(split="tset")


def test_maps_on_the_scans_voxels_are_no_channels(scan, manifest):
    for name in ("t1", "l", "l2", "i", "t"):
        scan(f"{name}.nii.gz")
    path = manifest(
        "case,t1,lesion,lesion2,ignore,labels", "a,t1.nii.gz,l.nii.gz,l2.nii.gz,i.nii.gz,t.nii.gz"
    )
    (case,) = Cohort.read(path)
    assert (list(case.channels), case.groups) == (["t1"], {})
    assert {name: file.name for name, file in case.files.items()} == {
        "t1": "t1.nii.gz",
        "lesion": "l.nii.gz",
        "lesion2": "l2.nii.gz",
        "ignore": "i.nii.gz",
        "labels": "t.nii.gz",
    }
    scan("i.nii.gz", np.zeros((5, 6, 7)))
    with pytest.raises(ManifestError, match="ignore is on another grid than t1"):
        Cohort.read(path)


def test_patient_is_the_case_by_default(scan, manifest):
    scan("a.nii.gz")
    assert Cohort.read(manifest("case,t1", "a,a.nii.gz"))[0].patient == "a"


def test_folder_named_like_a_group_value_is_no_channel(scan, manifest):
    scan("Hand/1.nii.gz")
    scan("Hand/2.nii.gz")
    path = manifest("case,image,organ", "a,Hand/1.nii.gz,Hand", "b,Hand/2.nii.gz,Hand")
    assert Cohort.read(path).channel_names == ("image",)


def test_all_problems_at_once_with_rows(scan, manifest):
    scan("a.nii.gz")
    path = manifest(
        "case,patient,t1,label,age,split",
        "a,p,a.nii.gz,0,forty,train",
        "a,q,missing.nii.gz,7,40,train",
        ",r,a.nii.gz,0,40,train",
        "../x,s,a.nii.gz,0,40,train",
        "e,p,a.nii.gz,0,40,test",
        "f,t,,0,40,test",
        "g,u,a.nii.gz",
    )
    with pytest.raises(ManifestError) as caught:
        Cohort.read(path)
    problems = "\n".join(caught.value.problems)
    for expected in (
        "row 2: age 'forty'",
        "row 3: label '7'",
        "row 3: t1: no such file",
        "row 3: case 'a' is there already, in row 2",
        "row 4: case ''",
        "row 5: case '../x'",
        "row 6: patient 'p' is in 2 splits",
        "row 7: f has no scan",
        "row 8: 3 fields, the header has 6",
    ):
        assert expected in problems


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": (24, 26, 27)}, "t1 is on another grid than flair"),
        ({"spacing": (1, 1, 1.2)}, "another grid"),
    ],
)
def test_other_grid_between_channels(change, said, scan, manifest):
    scan("flair.nii.gz")
    scan("t1.nii.gz", **change)
    with pytest.raises(ManifestError, match=said):
        Cohort.read(manifest("case,flair,t1", "a,flair.nii.gz,t1.nii.gz"))


def test_rounding_in_a_header_is_the_same_grid(scan, manifest):
    scan("flair.nii.gz", spacing=(0.95, 1, 1))
    scan("t1.nii.gz", spacing=(0.95001, 1, 1))
    assert len(Cohort.read(manifest("case,flair,t1", "a,flair.nii.gz,t1.nii.gz"))) == 1


def test_truth_of_another_size_beside_an_image(tmp_path, manifest):
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((20, 31), np.uint8)).save(tmp_path / "a_lesion.png")
    with pytest.raises(ManifestError, match="row 2: lesion is on another grid"):
        Cohort.read(manifest("case,us,lesion", "a,a.png,a_lesion.png"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "expected a header"),
        (b"name,flair\na,b\n", "expected a header"),
        (b"case,flair\n", "no cases"),
        (b"case,site\na,x\n", "no channel"),
        ("case,site\né,x\n".encode("latin-1"), "UTF-8"),
    ],
)
def test_not_a_manifest(content, said, tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=said):
        Cohort.read(path)


def test_missing_manifest(tmp_path):
    with pytest.raises(ManifestError, match="cannot be read"):
        Cohort.read(tmp_path / "nowhere.csv")


def test_excel_writes_a_byte_order_mark(scan, tmp_path):
    scan("a.nii.gz")
    path = tmp_path / "manifest.csv"
    path.write_text("case,t1\na,a.nii.gz\n", encoding="utf-8-sig")
    assert len(Cohort.read(path)) == 1


def test_case_reads_channels_in_the_order_asked_with_mask_and_truth(scan, manifest):
    for name in ("flair", "t1"):
        scan(f"{name}.nii.gz", seed=len(name))
    inside = np.zeros((24, 26, 28), np.uint8)
    inside[4:8] = 1
    scan("mask.nii.gz", inside)
    scan("lesion.nii.gz", np.zeros_like(inside))
    header = "case,flair,t1,mask,lesion"
    case = Cohort.read(manifest(header, "a,flair.nii.gz,t1.nii.gz,mask.nii.gz,lesion.nii.gz"))[0]
    volume = case.read(["t1", "flair"])
    assert volume.channels == ("t1", "flair")
    assert volume.mask is not None
    assert volume.mask.sum() == inside.sum()
    assert volume.lesion is not None
    assert not volume.lesion.any()
    assert volume.provenance["case"] == "a"
    with pytest.raises(MismatchError, match=r"a: no channel 't2'; it has flair, t1"):
        case.read(["t2"])


def test_hash_follows_the_files_read(scan, manifest):
    scan("flair.nii.gz")
    scan("t1.nii.gz")
    path = manifest("case,flair,t1", "a,flair.nii.gz,t1.nii.gz")
    case = Cohort.read(path)[0]
    flair, both = case.content_hash(["flair"]), case.content_hash()
    scan("t1.nii.gz", seed=1)
    assert case.content_hash(["flair"]) == flair
    assert case.content_hash() != both
    assert Cohort.read(path).data_hash(["flair"]) == Cohort([case]).data_hash(["flair"])


def test_loose_files_and_folders(scan, tmp_path):
    scan("scans/one.nii.gz")
    scan("scans/sub/two.nii.gz")
    alone = scan("three.nii.gz")
    cohort = Cohort.from_paths([tmp_path / "scans", alone])
    assert [case.case for case in cohort] == ["one", "sub_two", "three"]
    assert cohort.channel_names == ("image",)
    with pytest.raises(InputError, match="several scans are called three"):
        Cohort.from_paths([alone, alone])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="no scans"):
        Cohort.from_paths(tmp_path / "nothing")
    with pytest.raises(InputError, match="no such file"):
        Cohort.from_paths(tmp_path / "nowhere.nii.gz")


def test_manifest_as_a_path(scan, manifest):
    scan("a.nii.gz")
    path = manifest("case,t1", "a,a.nii.gz")
    assert Cohort.from_paths(path)[0].channels["t1"].name == "a.nii.gz"
    with pytest.raises(InputError, match="stands alone"):
        Cohort.from_paths([path, path])


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "cases", "channels"),
    [
        ("lgg", 78, ("flair",)),
        ("ms", 4, ("flair", "t1", "t2")),
        ("hippocampus", 234, ("t1",)),
        ("cxr", 1541, ("xray",)),
        ("ultrasound", 143, ("us",)),
        ("mednist", 600, ("image",)),
        ("ixi", 184, ("t1",)),
    ],
)
def test_real_manifests(name, cases, channels, real):
    cohort = Cohort.read(real / name / "manifest.csv")
    assert len(cohort) == cases
    assert cohort.channel_names == channels
    first = cohort[0]
    volume = first.read()
    assert volume.channels == tuple(first.channels)
    assert (volume.lesion is None) == (first.lesion is None)


def test_grids_are_compared_in_mm_and_without_trailing_axes(tmp_path):
    data = np.random.default_rng(0).random((6, 7, 8)).astype(np.float32)
    affine = np.diag([4e-3, 4e-3, 4e-3, 1])
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("meter")
    image.to_filename(tmp_path / "metre.nii.gz")
    nib.Nifti1Image(data[..., None], np.diag([4.0, 4, 4, 1])).to_filename(tmp_path / "mm.nii.gz")
    nib.Nifti1Image(data, np.diag([4.0, 4, 5, 1])).to_filename(tmp_path / "other.nii.gz")
    (tmp_path / "m.csv").write_text("case,t1,mask\na,metre.nii.gz,mm.nii.gz\n")
    assert Cohort.read(tmp_path / "m.csv")[0].read().mask is not None
    (tmp_path / "m.csv").write_text("case,t1,mask\na,metre.nii.gz,other.nii.gz\n")
    with pytest.raises(ManifestError, match="another grid"):
        Cohort.read(tmp_path / "m.csv")


def _series(folder, seed=0, name="IM{:04d}.dcm", **changes):

    return write(slices(brain(seed=seed), **changes), folder, name)


def test_files_of_one_series_are_one_case(tmp_path):
    folder = _series(tmp_path / "scan")
    files = sorted(folder.iterdir())
    cohort = Cohort.from_paths(files)
    assert [case.case for case in cohort] == ["scan"]
    assert cohort.warnings == ()
    assert cohort[0].read().shape == (6, 8, 5)

    some = Cohort.from_paths(files[:4])
    assert [case.case for case in some] == ["scan"]
    (note,) = some.warnings
    assert "4 of 6 files of one series" in note
    assert some[0].content_hash() == cohort[0].content_hash()

    assert [case.case for case in Cohort.from_paths(files[0])] == ["IM0000"]


def test_several_series_given_by_files_are_a_case_each(tmp_path):
    for name in "ab":
        _series(tmp_path / "mixed", seed=ord(name), name=name + "{}.dcm")
    for name in ("p1", "p2"):
        _series(tmp_path / name, seed=ord(name[1]))
    mixed = Cohort.from_paths(sorted((tmp_path / "mixed").iterdir()))
    assert [case.case for case in mixed] == ["mixed_a0", "mixed_b0"]
    assert len({case.content_hash() for case in mixed}) == 2
    for case, name in zip(mixed, "ab", strict=True):
        assert case.read().provenance["path"].endswith(f"{name}0.dcm")
    several = Cohort.from_paths([*sorted((tmp_path / "p1").iterdir()), *sorted((tmp_path / "p2").iterdir())])
    assert [case.case for case in several] == ["p1", "p2"]
    single = Cohort.from_paths([tmp_path / "p1" / "IM0000.dcm", tmp_path / "p2" / "IM0000.dcm"])
    assert [case.case for case in single] == ["p1_IM0000", "p2_IM0000"]


def test_both_files_of_a_pair_are_one_case(tmp_path):
    nib.Nifti1Pair(np.ones((3, 4, 5), np.int16), np.eye(4)).to_filename(tmp_path / "a.hdr")
    for given in (["a.hdr", "a.img"], ["a.img", "a.hdr"], ["a.img"]):
        cohort = Cohort.from_paths([tmp_path / name for name in given])
        assert [case.case for case in cohort] == ["a"]
        assert cohort[0].read().shape == (3, 4, 5)


def test_a_bad_path_among_others_is_a_case_that_fails(scan, tmp_path):
    good = scan("good.nii.gz")
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no scan")
    (tmp_path / "nothing").mkdir()
    names = ["empty.nii.gz", "notes.txt", "nowhere.nii", "nothing"]
    bad = [tmp_path / name for name in names]
    cohort = Cohort.from_paths([bad[0], good, *bad[1:]])
    assert [case.case for case in cohort] == ["empty", "good", "notes.txt", "nowhere", "nothing"]
    cohort[1].read()
    for case, said in zip(
        (cohort[0], *cohort[2:]), ("empty", "not a NIfTI", "no such file", "without DICOM"), strict=True
    ):
        with pytest.raises(InputError, match=said):
            case.read()
    with pytest.raises(InputError) as caught:
        Cohort.from_paths(bad)
    assert all(name in str(caught.value) for name in names)


def test_warnings_of_the_search_stay_with_the_cohort(scan, manifest, tmp_path):
    scan("a.nii.gz")
    (tmp_path / "gone.nii.gz").symlink_to("nowhere")
    manifest("case,t1", "a,a.nii.gz")
    cohort = Cohort.from_paths(tmp_path)
    assert "holds a manifest.csv" in cohort.warnings[0]
    assert "gone.nii.gz" in cohort.warnings[1]
    assert cohort[:1].warnings == cohort.select(healthy=True).warnings == cohort.warnings


def test_scans_of_one_name_are_refused_with_their_paths(scan, tmp_path):
    scan("x.nii")
    scan("x.nii.gz")
    with pytest.raises(InputError, match=r"called x \(.*x\.nii, .*x\.nii\.gz\)"):
        Cohort.from_paths(tmp_path)


def test_a_mask_of_another_tool_fits_a_dicom_scan(manifest, tmp_path):
    volume = Case(case="x", patient="x", channels={"t1": _series(tmp_path / "scan")}).read()
    turn = np.array([[0.0, 0, 1, 0], [0, -1, 0, 7], [1, 0, 0, 0], [0, 0, 0, 1]])
    labels = np.zeros(volume.shape, np.uint8)
    labels[2, 1, 3] = 1
    other = np.ascontiguousarray(np.flip(labels.transpose(2, 1, 0), 1))
    nib.save(nib.Nifti1Image(other, volume.affine @ turn), tmp_path / "lesion.nii.gz")
    nib.save(nib.Nifti1Image(other, volume.affine), tmp_path / "elsewhere.nii.gz")
    case = Cohort.read(manifest("case,t1,lesion", "a,scan,lesion.nii.gz"))[0]
    np.testing.assert_array_equal(case.read().lesion, labels > 0)
    with pytest.raises(ManifestError, match="row 2: lesion is on another grid than t1"):
        Cohort.read(manifest("case,t1,lesion", "a,scan,elsewhere.nii.gz"))


def test_a_scan_that_cannot_be_read_does_not_end_the_manifest(scan, manifest, tmp_path):
    folder = _series(tmp_path / "scan")
    (folder / "IM0005.dcm").write_bytes(b"")
    scan("lesion.nii.gz")
    scan("b.nii.gz")
    cohort = Cohort.read(manifest("case,t1,lesion", "a,scan,lesion.nii.gz", "b,b.nii.gz,"))
    with pytest.raises(InputError, match=r"IM0005\.dcm: is empty"):
        cohort[0].read()
    cohort[1].read()


def test_scans_with_equal_headers_are_not_one(tmp_path, manifest):
    rows = []
    for number in range(3):
        data = np.full((3, 4, 5), number, np.int16)
        nib.Nifti1Pair(data, np.eye(4)).to_filename(tmp_path / f"c{number}.hdr")
        rows.append(f"c{number},c{number}.hdr")
    cohort = Cohort.read(manifest("case,t1", *rows))
    assert (tmp_path / "c0.hdr").read_bytes() == (tmp_path / "c1.hdr").read_bytes()
    assert len({case.content_hash() for case in cohort}) == 3


def test_parts_are_all_cases_and_none_twice():
    cohort = Cohort([Case(case=f"c{n}", patient="p", channels={}) for n in range(7)])
    parts = [[case.case for case in cohort.part(f"{n}/3")] for n in (1, 2, 3)]
    assert parts[1] == ["c1", "c4"]
    assert sorted(case for each in parts for case in each) == [case.case for case in cohort]


@pytest.mark.parametrize("which", ["", "1", "0/2", "3/2", "1/8", "-1/2", "1/2/3", "a/b", "1/0"])
def test_what_is_no_part_is_refused(which):
    cohort = Cohort([Case(case=f"c{n}", patient="p", channels={}) for n in range(7)])
    with pytest.raises(MismatchError, match="as in 1/4, of at most 7 parts"):
        cohort.part(which)
