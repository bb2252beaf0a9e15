from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aberra.errors import InputError
from aberra.io import find_scans, is_scan, read, read_case, read_mask, sniff
from aberra.volume import Volume
from strategies import affines


@settings(max_examples=25, deadline=None)
@given(affine=affines(), data=arrays(np.float32, (3, 4, 5), elements=st.floats(-1000, 1000, width=32)))
def test_what_is_written_is_read_again(affine, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("nifti") / "scan.nii.gz"
    volume = Volume(data=data[None], affine=affine, channels=("t1",))

    volume.write(path)
    found = Volume.read(path, channel="t1")

    np.testing.assert_array_equal(found.data, volume.data)
    np.testing.assert_allclose(found.affine, affine, atol=1e-4)
    assert found.channels == ("t1",)


def test_same_volume_same_bytes(tmp_path):
    volume = Volume(data=np.ones((1, 3, 4, 5)), affine=np.eye(4))
    volume.write(tmp_path / "a.nii.gz")
    volume.write(tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_integer_scaling_is_applied(tmp_path):
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(2.0, -5.0)
    raw = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4), image.header)
    nib.save(raw, tmp_path / "scaled.nii")
    header = bytearray((tmp_path / "scaled.nii").read_bytes())
    header[112:120] = np.array([2, -5], np.float32).tobytes()
    (tmp_path / "scaled.nii").write_bytes(header)
    np.testing.assert_allclose(
        read(tmp_path / "scaled.nii").data[0], np.arange(24).reshape(2, 3, 4) * 2.0 - 5
    )


def test_a_single_time_point_is_a_volume_and_more_are_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4, 1), np.float32), np.eye(4)), tmp_path / "one.nii")
    assert read(tmp_path / "one.nii").shape == (4, 4, 4)
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4, 2), np.float32), np.eye(4)), tmp_path / "two.nii")
    with pytest.raises(InputError, match="4 dimensions"):
        read(tmp_path / "two.nii")


def test_content_decides_not_the_name(tmp_path):
    volume = Volume(data=np.ones((1, 3, 4, 5)), affine=np.eye(4))
    volume.write(tmp_path / "scan.nii")
    (tmp_path / "scan.nii").rename(tmp_path / "scan.png")
    assert sniff(tmp_path / "scan.png") == "nifti"
    (tmp_path / "text.nii.gz").write_text("hello")
    assert not is_scan(tmp_path / "text.nii.gz")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p.write_bytes(b""), "empty"),
        (lambda p: p.write_bytes(gzip.compress(b"x" * 400)), "not a readable NIfTI"),
        (lambda _: None, "no such file"),
    ],
)
def test_bad_files_are_named(make, said, tmp_path):
    path = tmp_path / "bad.nii.gz"
    make(path)
    with pytest.raises(InputError, match=said) as caught:
        read(path)
    assert "bad.nii.gz" in str(caught.value)


def test_no_orientation_in_the_header_is_a_warning(tmp_path):
    image = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), None)
    image.header.set_zooms((2, 2, 2))
    nib.save(image, tmp_path / "bare.nii")
    assert "orientation" in read(tmp_path / "bare.nii").provenance["warnings"][0]


def test_channels_and_masks_must_share_the_grid(tmp_path):
    here = Volume(data=np.ones((1, 4, 4, 4)), affine=np.eye(4))
    there = here.with_(affine=np.diag([2.0, 1, 1, 1]))
    here.write(tmp_path / "a.nii")
    there.write(tmp_path / "b.nii")
    assert read_case({"x": tmp_path / "a.nii", "y": tmp_path / "a.nii"}).channels == ("x", "y")
    with pytest.raises(InputError, match=r"b\.nii.*a\.nii"):
        read_case({"x": tmp_path / "a.nii", "y": tmp_path / "b.nii"})
    with pytest.raises(InputError, match="resample the mask"):
        read_mask(tmp_path / "b.nii", here)


def test_folders_are_searched_and_names_are_unique(tmp_path):
    volume = Volume(data=np.ones((1, 4, 4, 4)), affine=np.eye(4))
    for name in ("sub-1/t1.nii.gz", "sub-2/t1.nii.gz", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith("gz"):
            volume.write(tmp_path / name)
        else:
            (tmp_path / name).write_text("no scan")
    assert [name for name, _ in find_scans(tmp_path)] == ["sub-1_t1", "sub-2_t1"]
