"""Pixels: sign, polarity, padding, bits without a meaning, floating point."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_series import brain, change, enhanced, save, slices, write

from aberra.errors import InputError
from aberra.io import read

DATA = brain()


def _read(datasets, folder):
    return read(write(datasets, folder)).data[0]


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("u1", 0, 255),
        ("i1", -128, 127),
        ("u2", 0, 65535),
        ("i2", -32768, 32767),
        ("u4", 0, 2**24),
        ("i4", -(2**24), 2**24),
    ],
)
def test_integers_of_any_width_and_sign(dtype, low, high, tmp_path):
    data = brain(low=low, high=high)
    data[0, 0, :2] = low, high
    np.testing.assert_array_equal(_read(slices(data, dtype=dtype), tmp_path / "a"), data)
    np.testing.assert_array_equal(read(save(enhanced(data, dtype=dtype), tmp_path / "b")).data[0], data)


@pytest.mark.parametrize(("name", "kind"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_floating_point_pixels(name, kind, tmp_path):
    data = DATA / 7 - 100
    datasets = slices(DATA)
    for dataset, plane in zip(datasets, data, strict=True):
        del dataset.PixelData
        setattr(dataset, name, plane.astype(kind).tobytes())
        dataset.BitsAllocated = 8 * np.dtype(kind).itemsize
        for gone in ("BitsStored", "HighBit", "PixelRepresentation"):
            delattr(dataset, gone)
    np.testing.assert_allclose(_read(datasets, tmp_path / "a"), data, rtol=1e-6)
    setattr(datasets[2], name, np.full(DATA[0].shape, np.nan, kind).tobytes())
    with pytest.raises(InputError, match="40 NaN"):
        _read(datasets, tmp_path / "b")


@pytest.mark.parametrize(
    ("top", "changes", "dtype"),
    [
        (4095, {"BitsStored": 12, "HighBit": 11}, "u2"),
        (4095, {}, "u2"),  # 16 bits stored, as scanners claim that use 12
        (65535, {}, "u2"),
        (255, {}, "u1"),
        (-1, {}, "i2"),
        (-1, {"BitsStored": 13, "HighBit": 12}, "i2"),
        (4095, {}, "i2"),
    ],
)
def test_monochrome1_is_the_picture_of_monochrome2(top, changes, dtype, tmp_path):
    data = brain(high=min(top, 4000) if top > 0 else 4000)
    shown = _read(slices(data, dtype="u2"), tmp_path / "2")
    turned = slices(top - data, dtype=dtype, PhotometricInterpretation="MONOCHROME1", **changes)
    np.testing.assert_array_equal(_read(turned, tmp_path / "1"), shown)


def test_monochrome1_keeps_the_scale(tmp_path):
    change_of_scale = {"RescaleSlope": 0.5, "RescaleIntercept": 10}
    shown = _read(slices(DATA, **change_of_scale), tmp_path / "2")
    turned = slices(4095 - DATA, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(
        _read([change(each, **change_of_scale) for each in turned], tmp_path / "1"), shown
    )


def test_monochrome1_in_an_enhanced_object(tmp_path):
    dataset = enhanced(4095 - DATA, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read(save(dataset, tmp_path / "x")).data[0], DATA)


def test_monochrome1_of_measured_values_or_of_some_slices_is_refused(tmp_path):
    datasets = slices(DATA, modality="CT", PhotometricInterpretation="MONOCHROME1")
    with pytest.raises(InputError, match="MONOCHROME1"):
        _read(datasets, tmp_path / "ct")
    datasets = slices(DATA)
    change(datasets[1], PhotometricInterpretation="MONOCHROME1")
    with pytest.raises(InputError, match="MONOCHROME1 and MONOCHROME2"):
        _read(datasets, tmp_path / "mixed")


def _ct(**changes):
    """A CT in HU around a circle that was not scanned, its stored values, and where it was scanned."""
    rows, columns = np.mgrid[-1:1:20j, -1:1:20j]
    scanned = np.broadcast_to(rows**2 + columns**2 < 1, (4, 20, 20))
    hu = np.where(brain((4, 20, 20)) > 0, 40, -1000) + np.arange(20)
    hu[:, 10, 10] = -1000
    hu[~scanned] = -1000
    return hu, scanned, {"modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024, **changes}


@pytest.mark.parametrize(
    ("pad", "kind", "dtype"),
    [
        (-2000, ("SS", -2000), "i2"),
        (-2000, ("US", 63536), "i2"),
        (63536, ("US", 63536), "u2"),
        (63536, ("SS", -2000), "u2"),
        (-32768, ("SS", -32768), "i2"),
        (30000, ("US", 30000), "u2"),
        (0, ("US", 0), "u2"),
    ],
)
def test_padding_is_no_measurement(pad, kind, dtype, tmp_path):
    hu, scanned, changes = _ct()
    plain = _read(slices(hu + 1024, dtype=dtype, **changes), tmp_path / "plain")
    np.testing.assert_array_equal(plain, hu)
    datasets = slices(np.where(scanned, hu + 1024, pad), dtype=dtype, **changes)
    for dataset in datasets:
        dataset.add_new("PixelPaddingValue", *kind)
    np.testing.assert_array_equal(_read(datasets, tmp_path / "padded"), plain)


def test_a_range_of_padding(tmp_path):
    hu, scanned, changes = _ct()
    padded = np.where(scanned, hu + 1024, -2000 + np.arange(20))
    for number, limits in enumerate([(-2000, -1900), (-1900, -2000)]):
        datasets = slices(padded, dtype="i2", **changes)
        for dataset in datasets:
            for name, value in zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), limits, strict=True):
                dataset.add_new(name, "SS", value)
        np.testing.assert_array_equal(_read(datasets, tmp_path / str(number)), hu)


def test_padding_in_bits_that_are_not_stored(tmp_path):
    hu, scanned, changes = _ct(BitsStored=12, HighBit=11)
    datasets = slices(np.where(scanned, hu + 1024, 63536), **changes)
    for dataset in datasets:
        dataset.add_new("PixelPaddingValue", "US", 63536)
    np.testing.assert_array_equal(_read(datasets, tmp_path / "s"), hu)


@pytest.mark.parametrize("pad", [-2000, -1])
def test_hu_below_air_are_padding_that_nobody_declared(pad, tmp_path):
    hu, scanned, changes = _ct()
    datasets = slices(np.where(scanned, hu + 1024, pad), dtype="i2", **changes)
    np.testing.assert_array_equal(_read(datasets, tmp_path / "s"), hu)


def test_only_a_ct_has_air(tmp_path):
    data = DATA.astype(int) - 3000
    np.testing.assert_array_equal(_read(slices(data, dtype="i2"), tmp_path / "s"), data)


def test_zero_is_left_where_it_is_the_padding(tmp_path):
    """Most MR scans have 0 where nothing was measured, and the foreground is told by it."""
    data = np.where(DATA > 0, DATA + 50, 0)
    datasets = slices(data, PixelPaddingValue=0)
    np.testing.assert_array_equal(_read(datasets, tmp_path / "s"), data)


def test_nothing_but_padding_is_refused(tmp_path):
    with pytest.raises(InputError, match="all pixels are padding"):
        _read(slices(np.full((3, 4, 4), 9), PixelPaddingValue=9), tmp_path / "s")


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_the_stored_ones_have_no_meaning(signed, tmp_path):
    data = brain(low=-2048, high=2047) if signed else brain(high=4095)
    overlay = np.random.default_rng(1).integers(0, 2, data.shape) << 12
    packed = (data.astype(np.int64) & 0x0FFF) | overlay
    datasets = slices(packed, BitsStored=12, HighBit=11, PixelRepresentation=int(signed))
    folder = write(datasets, tmp_path / "s")
    volume = read(folder)
    np.testing.assert_array_equal(volume.data[0], data)
    assert "bits above" in volume.provenance["warnings"][0]


def test_stored_bits_need_not_be_the_lowest(tmp_path):
    datasets = slices(DATA << 4, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(_read(datasets, tmp_path / "s"), DATA)


def test_slices_may_have_their_own_scale(tmp_path):
    datasets = slices(DATA)
    for number, dataset in enumerate(datasets):
        change(dataset, RescaleSlope=number + 1, RescaleIntercept=-number)
    factor = np.arange(1, 7)[:, None, None]
    np.testing.assert_array_equal(_read(datasets, tmp_path / "s"), DATA * factor - (factor - 1))


def test_a_scale_beyond_floats_is_refused(tmp_path):
    with pytest.raises(InputError, match="Inf"):
        _read(slices(DATA, RescaleSlope="1e300"), tmp_path / "s")
