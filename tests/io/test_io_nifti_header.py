"""What a header may say, and what of it is right, repaired or refused."""

from __future__ import annotations

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aberra.errors import InputError
from aberra.io import read
from aberra.io.nifti import geometry
from strategies import affines

DATA = np.random.default_rng(0).normal(100, 30, (7, 6, 5)).astype(np.float32)
AFFINE = np.array([[4.0, 0, 0, -80], [0, 4, 0, -100], [0, 0, 4, -72], [0, 0, 0, 1]])


def _bytes(data=DATA, affine=AFFINE, cls=nib.Nifti1Image, units="mm", **fields):
    image = cls(data, affine)
    image.header.set_xyzt_units(units)
    for name, value in fields.items():
        image.header[name] = value
    return bytearray(image.to_bytes())


def _poke(raw, kind, at, value):
    struct.pack_into(f"<{kind}", raw, at, value)
    return raw


def _put(path, raw):
    path.write_bytes(gzip.compress(bytes(raw)) if path.suffix == ".gz" else bytes(raw))
    return path


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("unknown", 1), ("meter", 1000), ("micron", 1e-3)])
@pytest.mark.parametrize("how", ["sform", "qform", "none"])
@pytest.mark.parametrize("cls", [nib.Nifti1Image, nib.Nifti2Image])
def test_every_unit_is_read_in_mm(unit, factor, how, cls, tmp_path):
    affine = AFFINE.copy()
    affine[:3] /= factor
    image = cls(DATA, affine)
    image.set_sform(affine, code=int(how == "sform"))
    image.set_qform(affine, code=int(how == "qform"))
    image.header.set_xyzt_units(unit)
    path = _put(tmp_path / "scan.nii.gz", image.to_bytes())
    found = read(path)
    np.testing.assert_allclose(found.spacing, (4, 4, 4), rtol=1e-6)
    if how != "none":
        np.testing.assert_allclose(found.affine, AFFINE, atol=1e-4)
    shape, where = geometry(path)
    assert shape == found.shape
    np.testing.assert_array_equal(where, found.affine)


@pytest.mark.parametrize(
    ("unit", "step", "said"),
    [("meter", 1.0, "metre"), ("micron", 1.0, "micron"), ("mm", 0.004, "unit"), ("mm", 400.0, "unit")],
)
def test_a_spacing_that_no_scan_has_is_refused_with_its_unit(unit, step, said, tmp_path):
    path = _put(tmp_path / "scan.nii", _bytes(affine=np.diag([step, step, step, 1]), units=unit))
    with pytest.raises(InputError, match=said) as caught:
        read(path)
    assert "scan.nii" in str(caught.value)
    with pytest.raises(InputError, match="mm"):
        geometry(path)


def test_one_slice_may_be_fine_and_lie_anywhere(tmp_path):
    path = _put(tmp_path / "a.nii", _bytes(DATA[..., :1], np.diag([0.0005, 0.0005, 1.0, 1])))
    assert read(path).spacing == pytest.approx((0.0005, 0.0005, 1))
    raw = _bytes(DATA[..., :1])
    _poke(raw, "f", 88, 0.0)  # pixdim[3]: nothing lies across a slice
    for row in range(3):
        _poke(raw, "f", 280 + 16 * row + 8, 0.0)  # and the sform says the same
    found = read(_put(tmp_path / "b.nii", raw))
    assert found.spacing == pytest.approx((4, 4, 1))


STORED = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("scale", [(1.0, 0.0), (0.37, 12.5), (-2.0, 3.0)])
def test_every_type_and_byte_order_has_its_values(stored, order, scale, tmp_path):
    raw = np.arange(7 * 6 * 5).reshape(7, 6, 5) % 100
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(order + stored))
    image = nib.Nifti1Image(raw.astype(order + stored), AFFINE, header)
    content = bytearray(image.to_bytes())
    struct.pack_into(f"{order}2f", content, 112, *scale)
    found = read(_put(tmp_path / "scan.nii", content))
    slope, inter = np.float32(scale).astype(float)
    np.testing.assert_allclose(found.data[0], raw * slope + inter, rtol=1e-6, atol=1e-6)
    assert found.provenance["dtype"] == np.dtype(stored).name


@settings(max_examples=30, deadline=None)
@given(
    affine=affines(),
    stored=st.sampled_from(STORED),
    cls=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image, nib.Nifti1Pair, nib.Nifti2Pair]),
    zipped=st.booleans(),
    extended=st.booleans(),
)
def test_what_another_program_wrote_is_read_alike(affine, stored, cls, zipped, extended, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    image = cls((DATA * 0.7).astype(stored), affine, dtype=stored)
    if extended:
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a note of some length"))
    pair = cls in {nib.Nifti1Pair, nib.Nifti2Pair}
    name = f"scan.{'hdr' if pair else 'nii'}{'.gz' if zipped else ''}"
    image.to_filename(folder / name)
    found, expected = read(folder / name), nib.load(folder / name)
    np.testing.assert_allclose(found.data[0], expected.get_fdata(), rtol=1e-6)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-5)


def test_data_that_other_programs_scale_in_their_own_way(tmp_path):
    """No scaling is a slope of 0 or NaN, whatever the intercept; half a scaling is none."""
    for slope, inter in ((0.0, 7.0), (np.nan, np.nan), (0.0, np.nan), (1.0, 0.0)):
        raw = _poke(_poke(_bytes(), "f", 112, slope), "f", 116, inter)
        np.testing.assert_array_equal(read(_put(tmp_path / "scan.nii", raw)).data[0], DATA)
    for slope, inter in ((np.inf, 0.0), (1.0, np.nan), (2.0, -np.inf)):
        raw = _poke(_poke(_bytes(), "f", 112, slope), "f", 116, inter)
        with pytest.raises(InputError, match="scl_slope"):
            read(_put(tmp_path / "scan.nii", raw))


def test_doubles_beyond_float32_are_infinite_and_refused(tmp_path):
    path = _put(tmp_path / "huge.nii", _bytes(DATA.astype(np.float64) * 1e300))
    with pytest.raises(InputError, match="Inf"):
        read(path)


@pytest.mark.parametrize(("slope", "inter"), [(0.37, 370.0), (0.001, 1.0), (1 / 3, 1000 / 3), (0.1, 3.3)])
def test_a_stored_zero_is_zero(slope, inter, tmp_path):
    code = -round(inter / slope)
    stored = np.full((7, 6, 5), code, np.int16)
    stored[2:4, 2:4, 2:4] = code + np.arange(1, 9).reshape(2, 2, 2)
    raw = _poke(_poke(_bytes(stored), "f", 112, slope), "f", 116, inter)
    found = read(_put(tmp_path / "scan.nii", raw)).data[0]
    assert (found == 0).sum() == 7 * 6 * 5 - 8  # the next stored number is another number
    np.testing.assert_allclose(found[2:4, 2:4, 2:4].ravel(), slope * np.arange(1, 9), rtol=1e-3)


def test_intensities_near_zero_are_not_rounded(tmp_path):
    stored = np.arange(7 * 6 * 5, dtype=np.int16).reshape(7, 6, 5)
    raw = _poke(_poke(_bytes(stored), "f", 112, 2.5), "f", 116, 1.0)
    np.testing.assert_allclose(read(_put(tmp_path / "scan.nii", raw)).data[0], stored * 2.5 + 1)
    tiny = np.float32(1e-12) * DATA
    np.testing.assert_array_equal(read(_put(tmp_path / "tiny.nii", _bytes(tiny))).data[0], tiny)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("offset", [0, 1, 100, 348, 351])
def test_voxels_that_are_said_to_begin_inside_the_header_are_found(offset, suffix, tmp_path):
    path = _put(tmp_path / f"scan{suffix}", _poke(_bytes(), "f", 108, offset))
    np.testing.assert_array_equal(read(path).data[0], DATA)
    shorter = _poke(_bytes(), "f", 108, offset)
    del shorter[348:352]  # as programs write it that know of no extensions
    np.testing.assert_array_equal(read(_put(path, shorter)).data[0], DATA)
    _put(path, _poke(_bytes(), "f", 108, offset) + b"12")
    with pytest.raises(InputError, match="vox_offset"):
        read(path)


def test_the_same_of_the_second_version(tmp_path):
    raw = _bytes(cls=nib.Nifti2Image)
    struct.pack_into("<q", raw, 168, 0)
    np.testing.assert_array_equal(read(_put(tmp_path / "scan.nii", raw)).data[0], DATA)
    struct.pack_into("<q", raw, 168, 1 << 40)
    with pytest.raises(InputError, match="missing"):
        read(_put(tmp_path / "scan.nii", raw))


def test_voxels_may_begin_anywhere_behind_the_header(tmp_path):
    raw = _poke(_bytes(), "f", 108, 361)
    raw[352:352] = bytes(9)
    np.testing.assert_array_equal(read(_put(tmp_path / "scan.nii.gz", raw)).data[0], DATA)


def _extension(raw):
    raw[348] = 1
    return raw


BROKEN = {
    "no dimensions": (lambda raw: _poke(raw, "h", 40, 0), "dimensions"),
    "eight dimensions": (lambda raw: _poke(raw, "h", 40, 8), "dimensions"),
    "a negative dimension": (lambda raw: _poke(raw, "h", 42, -7), "dimensions"),
    "a dimension of zero": (lambda raw: _poke(raw, "h", 44, 0), "dimensions"),
    "time points": (lambda raw: _poke(_poke(raw, "h", 40, 5), "h", 50, 2), "5 dimensions"),
    "a row too few": (lambda raw: _poke(raw, "h", 42, 6), "more than"),
    "a slice too few": (lambda raw: _poke(raw, "h", 46, 4), "more than"),
    "a slice too many": (lambda raw: _poke(raw, "h", 46, 6), "missing"),
    "far too many slices": (lambda raw: _poke(raw, "h", 42, 32767), "missing"),
    "half the bytes": (lambda raw: _poke(raw, "h", 70, 4), "more than"),
    "twice the bytes": (lambda raw: _poke(raw, "h", 70, 64), "missing"),
    "unknown type": (lambda raw: _poke(raw, "h", 70, 77), "unknown data type 77"),
    "bits": (lambda raw: _poke(raw, "h", 70, 1), "one-bit"),
    "complex": (lambda raw: _poke(raw, "h", 70, 32), "complex"),
    "colour": (lambda raw: _poke(raw, "h", 70, 128), "colour"),
    "colour with alpha": (lambda raw: _poke(raw, "h", 70, 2304), "colour"),
    "128-bit": (lambda raw: _poke(raw, "h", 70, 1536), "128-bit"),
    "offset beyond the file": (lambda raw: _poke(raw, "f", 108, 1e9), "missing"),
    "negative offset": (lambda raw: _poke(raw, "f", 108, -352), "vox_offset"),
    "half an offset": (lambda raw: _poke(raw, "f", 108, 352.5), "vox_offset"),
    "NaN offset": (lambda raw: _poke(raw, "f", 108, np.nan), "vox_offset"),
    "an extension where voxels are": (_extension, "extension"),
    "half of a pair": (lambda raw: raw[:344] + b"ni1\0" + raw[348:], "pair"),
    "Analyze": (lambda raw: raw[:344] + bytes(4) + raw[348:], "not a"),
    "NaN spacing": (lambda raw: _poke(raw, "f", 80, np.nan), "spacing"),
    "zero spacing": (lambda raw: _poke(raw, "f", 80, 0), "spacing"),
    "negative spacing": (lambda raw: _poke(raw, "f", 80, -4), "spacing"),
    "only a header": (lambda raw: raw[:352], "missing"),
    "half a header": (lambda raw: raw[:200], "not a"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_header_that_cannot_be_is_refused(kind, suffix, tmp_path):
    change, said = BROKEN[kind]
    path = _put(tmp_path / f"broken{suffix}", change(_bytes()))
    with pytest.raises(InputError, match=said) as caught:
        read(path)
    assert "broken.nii" in str(caught.value)


def test_bits_that_disagree_with_the_type_do_not_matter_where_the_bytes_are_there(tmp_path):
    np.testing.assert_array_equal(
        read(_put(tmp_path / "scan.nii", _poke(_bytes(), "h", 72, 0))).data[0], DATA
    )


def test_a_padded_file_is_read_and_said(tmp_path):
    found = read(_put(tmp_path / "scan.nii", _bytes() + bytes(16)))
    np.testing.assert_array_equal(found.data[0], DATA)
    assert "16 bytes" in found.provenance["warnings"][0]


@pytest.mark.parametrize("kind", ["zeros", "NaN", "two axes alike"])
def test_a_broken_sform_gives_way_to_the_qform(kind, tmp_path):
    image = nib.Nifti1Image(DATA, AFFINE)
    image.set_qform(AFFINE, code=1)
    raw = bytearray(image.to_bytes())
    broken = {"zeros": np.zeros((3, 4)), "NaN": np.full((3, 4), np.nan), "two axes alike": AFFINE[[0, 0, 2]]}[
        kind
    ]
    struct.pack_into("<12f", raw, 280, *broken.ravel())
    found = read(_put(tmp_path / "scan.nii", raw))
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-5)
    assert "sform cannot be inverted" in found.provenance["warnings"][0]
    struct.pack_into("<h", raw, 252, 0)
    with pytest.raises(InputError, match="sform cannot be inverted"):
        read(_put(tmp_path / "scan.nii", raw))


def test_a_quaternion_that_is_none(tmp_path):
    image = nib.Nifti1Image(DATA, AFFINE)
    image.set_qform(AFFINE, code=1)
    raw = bytearray(image.to_bytes())
    struct.pack_into("<3f", raw, 256, 2.0, 2.0, 2.0)
    found = read(_put(tmp_path / "scan.nii", raw))
    np.testing.assert_allclose(found.affine, AFFINE)
    assert "qform cannot be inverted; the sform is used" in found.provenance["warnings"][0]
    struct.pack_into("<h", raw, 254, 0)
    with pytest.raises(InputError, match="qform cannot be inverted"):
        read(_put(tmp_path / "scan.nii", raw))


@pytest.mark.parametrize("qfac", [0.0, np.nan, 5.0])
def test_any_handedness_but_minus_one_is_one(qfac, tmp_path):
    image = nib.Nifti1Image(DATA, AFFINE)
    image.set_qform(AFFINE, code=1)
    image.set_sform(AFFINE, code=0)
    raw = _poke(bytearray(image.to_bytes()), "f", 76, qfac)
    np.testing.assert_allclose(read(_put(tmp_path / "scan.nii", raw)).affine, AFFINE)


@pytest.mark.parametrize("shape", [(9,), (9, 1), (9, 1, 1), (1, 9, 1), (1, 1, 9), (1, 1, 1), (1, 1, 9, 1)])
def test_a_line_of_voxels_is_no_scan(shape, tmp_path):
    image = nib.Nifti1Image(np.ones(shape, np.float32), np.eye(4))
    with pytest.raises(InputError, match="a line of voxels"):
        read(_put(tmp_path / "line.nii", image.to_bytes()))


def test_pairs(tmp_path):
    image = nib.Nifti1Pair(DATA, AFFINE)
    image.to_filename(tmp_path / "scan.hdr")
    np.testing.assert_array_equal(read(tmp_path / "scan.hdr").data[0], DATA)
    whole = (tmp_path / "scan.img").read_bytes()
    (tmp_path / "scan.img").write_bytes(whole[:-4])
    with pytest.raises(InputError, match="4 bytes are missing"):
        read(tmp_path / "scan.hdr")
    (tmp_path / "scan.img").unlink()
    with pytest.raises(InputError, match=r"scan\.img"):
        read(tmp_path / "scan.hdr")
    (tmp_path / "scan.img.gz").write_bytes(gzip.compress(whole))
    np.testing.assert_array_equal(read(tmp_path / "scan.hdr").data[0], DATA)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_bytes_in_a_header_give_a_volume_or_a_refusal(data, tmp_path_factory):
    cls = data.draw(st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]))
    raw = _bytes(cls=cls)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 543 if cls is nib.Nifti2Image else 351))
        part = data.draw(st.binary(min_size=1, max_size=8))
        raw[at : at + len(part)] = part
    path = _put(tmp_path_factory.getbasetemp() / data.draw(st.sampled_from(["f.nii", "f.nii.gz"])), raw)
    try:
        found = read(path)
    except InputError as refused:
        assert path.name in str(refused)  # noqa: PT017 - either outcome is right
    else:
        assert found.data[0].size == DATA.size
        assert np.isfinite(found.data).all()
        assert min(found.spacing) > 0
