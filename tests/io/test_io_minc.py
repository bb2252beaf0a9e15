from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.io import netcdf_file

from aberra.errors import InputError
from aberra.io import find_scans, read, sniff, write

FILES = Path(nib.__file__).parent / "tests" / "data"


@pytest.mark.parametrize("name", ["tiny.mnc", "minc1_1_scale.mnc", "minc1-no-att.mnc"])
def test_values_and_places_are_those_of_nibabel(name):
    volume, expected = read(FILES / name), nib.load(FILES / name)
    assert volume.shape == expected.shape
    np.testing.assert_allclose(volume.data[0], expected.get_fdata(), rtol=1e-6)
    np.testing.assert_array_equal(volume.affine, expected.affine)
    assert volume.provenance["format"] == "minc"


def test_the_first_axis_of_the_file_goes_up_and_maps_lie_on_its_grid(tmp_path):
    volume = read(FILES / "tiny.mnc")
    assert volume.orientation == "SAR"
    write(volume, tmp_path / "map.nii.gz")
    back = read(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(back.data, volume.data)
    np.testing.assert_array_equal(back.affine, volume.affine)


def test_gzipped_it_is_found_by_content_and_named_without_its_suffix(tmp_path):
    content = (FILES / "tiny.mnc").read_bytes()
    (tmp_path / "t1_icbm_normal.mnc.gz").write_bytes(gzip.compress(content))
    (tmp_path / "other").write_bytes(content)
    assert [(name, sniff(path)) for name, path in find_scans(tmp_path)] == [
        ("other", "minc"),
        ("t1_icbm_normal", "minc"),
    ]
    np.testing.assert_array_equal(
        read(tmp_path / "t1_icbm_normal.mnc.gz").data, read(tmp_path / "other").data
    )


def test_several_volumes_are_refused():
    with pytest.raises(InputError, match="2 × 10 × 20 × 20 voxels; expected one volume"):
        read(FILES / "minc1_4d.mnc")


def test_minc_2_is_refused_with_the_command_that_converts_it():
    with pytest.raises(InputError, match="MINC 2 is not read; convert it"):
        read(FILES / "small.mnc")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_what_is_cut_off_is_refused(tmp_path, kept, zipped):
    content = (FILES / "tiny.mnc").read_bytes()
    path = tmp_path / ("cut.mnc.gz" if zipped else "cut.mnc")
    content = gzip.compress(content) if zipped else content
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=r"cut\.mnc.*(cut off|damaged)"):
        read(path)


def test_nan_is_refused(tmp_path):
    path = tmp_path / "nan.mnc"
    path.write_bytes((FILES / "tiny.mnc").read_bytes())
    with netcdf_file(path, "a", mmap=False) as file:
        file.variables["image-max"].data[3] = np.nan
    with pytest.raises(InputError, match="400 NaN"):
        read(path)
