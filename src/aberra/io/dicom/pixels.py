"""Pixels of a stack: decoded, turned to MONOCHROME2, rescaled, without padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError
from aberra.io.dicom.codec import decompress, is_compressed
from aberra.io.dicom.series import PIXELS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from aberra.io.dicom.header import Header
    from aberra.io.dicom.stack import Frame

AIR = -1024.0
"""HU below this are no measurement: scanners fill what they did not scan with −2000, −3024 and the
like."""

SCALE = "PixelValueTransformationSequence"

FLOATS = {"FloatPixelData": "f4", "DoubleFloatPixelData": "f8"}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the pixels of a file are stored.

    Attributes:
        keyword: the element that holds them.
        shape: rows and columns.
        frames: how many.
        allocated: bits a pixel takes.
        stored: bits that have a meaning.
        high: number of the highest of these.
        signed: whether they have a sign; None where the file does not say.
        inverted: MONOCHROME1, where the lowest value is white.
    """

    keyword: str
    shape: tuple[int, int]
    frames: int
    allocated: int
    stored: int
    high: int
    signed: bool | None
    inverted: bool

    @property
    def dtype(self) -> str:
        """As in ``uint16``, for people."""
        kind = "float" if self.keyword in FLOATS else "int" if self.signed else "uint"
        return f"{kind}{self.allocated}"


def layout_of(header: Header) -> Layout:
    """Read and check what says how pixels are stored.

    Raises:
        InputError: colour, or values that contradict each other.
    """
    keyword = next(name for name in PIXELS if name in header.dataset)
    photometric = header.text("PhotometricInterpretation").upper() or "MONOCHROME2"
    samples = header.integer("SamplesPerPixel") or 1
    if samples != 1 or photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise InputError(
            f"{header.file}: colour pixels ({photometric}, {samples} a pixel); expected one grey value a pixel. Export the grey series"
        )
    inverted = photometric == "MONOCHROME1"
    size = FLOATS.get(keyword)
    if inverted and (size or header.text("Modality") == "CT"):
        raise InputError(
            f"{header.file}: MONOCHROME1 pixels that are measured values (HU or floating point): whether they are inverted "
            "is not certain. Export the series as MONOCHROME2"
        )
    allocated = int(size[1]) * 8 if size else header.integer("BitsAllocated")
    stored = allocated if size else header.integer("BitsStored") or allocated
    high = allocated and allocated - 1 if size else header.integer("HighBit")
    high = stored - 1 if high is None and stored else high
    sign = header.integer("PixelRepresentation")
    if (
        allocated is None
        or stored is None
        or high is None
        or (not size and allocated not in {8, 16, 32})
        or not 1 <= stored <= high + 1 <= allocated
        or sign not in {None, 0, 1}
    ):
        raise InputError(
            f"{header.file}: {allocated} bits allocated, {stored} stored, highest bit {high}, representation {sign}; "
            "expected 8, 16 or 32 bits allocated, no more stored, and representation 0 or 1. Export the series again"
        )
    rows, columns = header.integer("Rows") or 0, header.integer("Columns") or 0
    return Layout(
        keyword=keyword,
        shape=(rows, columns),
        frames=header.integer("NumberOfFrames") or 1,
        allocated=allocated,
        stored=stored,
        high=high,
        signed=None if sign is None else bool(sign),
        inverted=inverted,
    )


def pixels_of(path: Path, frames: list[Frame]) -> tuple[NDArray[np.float32], list[str]]:
    """Intensities of a stack, shape (D, H, W), and warnings.

    MONOCHROME1 is inverted to the picture that MONOCHROME2 shows. What the header calls padding,
    and HU below −1024 in a CT, is no measurement: it gets the lowest value that was measured,
    unless it is 0 already.

    Raises:
        InputError: pixels that are cut off, cannot be decoded or are no grey values.
    """
    datasets = {id(frame.header.dataset): frame.header for frame in frames}
    layouts = {key: layout_of(header) for key, header in datasets.items()}
    raw = _raw([frame.header for frame in frames], layouts)
    warnings, stored, padding = [], [], []
    dirty = 0
    for frame, bits in zip(frames, raw, strict=True):
        layout = layouts[id(frame.header.dataset)]
        values, unclean = _values(frame.header, layout, bits)
        padding.append(_padding(frame.header, layout, bits, values))
        stored.append(values)
        dirty += unclean
    if dirty:
        warnings.append(f"bits above the stored ones are set in {dirty} slice(s) (an overlay?) and left out")
    if any(
        header.text("Modality") == "CT" and header.get("RescaleIntercept", SCALE) is None
        for header in datasets.values()
    ):
        warnings.append("a CT without RescaleIntercept: are its values HU?")
    inverted = {layout.inverted for layout in layouts.values()}
    if len(inverted) > 1:
        raise InputError(f"{path}: MONOCHROME1 and MONOCHROME2 slices in one series; export it again")
    if inverted == {True}:
        stored = _invert(stored, padding, next(iter(layouts.values())))
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by the reader
        data = np.stack([_rescaled(frame.header, each) for frame, each in zip(frames, stored, strict=True)])
    return _without_padding(path, data, np.stack(padding), frames[0].header), warnings


def _raw(headers: list[Header], layouts: dict[int, Layout]) -> list[NDArray[Any]]:
    """Each frame's pixels as they are stored: unsigned, or floating point, shape (H, W)."""
    packed = [header for header in headers if is_compressed(header)]
    unpacked = decompress(packed, [layouts[id(header.dataset)] for header in packed]) if packed else []
    frames = {id(header): pixels for header, pixels in zip(packed, unpacked, strict=True)}
    return [
        frames[id(header)] if id(header) in frames else _native(header, layouts[id(header.dataset)])
        for header in headers
    ]


def _native(header: Header, layout: Layout) -> NDArray[Any]:
    """A frame of uncompressed pixels."""
    data = header.get(layout.keyword) or b""
    element = header.dataset[layout.keyword]
    size = layout.shape[0] * layout.shape[1] * layout.allocated // 8
    if element.is_undefined_length or not isinstance(data, bytes):
        raise InputError(
            f"{header.file}: compressed pixels without a transfer syntax that says how; export the series again"
        )
    have, need = len(data), size * layout.frames
    if have < need:
        raise InputError(f"{header.file}: cut off in the pixels ({have:,} of {need:,} bytes); copy it again")
    if have - need >= layout.shape[1] * layout.allocated // 8 > 1:
        raise InputError(
            f"{header.file}: {have:,} bytes of pixels, but {layout.frames} × {layout.shape[0]} × {layout.shape[1]} of "
            f"{layout.allocated} bits are {need:,}; export the series again"
        )
    _, little = header.dataset.original_encoding
    order = "<" if little or little is None else ">"
    if order == ">" and layout.allocated == 8 and element.VR == "OW":  # bytes are stored in swapped pairs
        data = np.frombuffer(data[: have // 2 * 2], ">u2").astype("<u2").tobytes()
    kind = FLOATS.get(layout.keyword, f"u{layout.allocated // 8}")
    start = (header.frame or 0) * size
    frame = np.frombuffer(data[start : start + size], order + kind)
    return frame.astype(kind).reshape(layout.shape)


def _values(header: Header, layout: Layout, bits: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """Stored values with their sign, and whether the bits that have no meaning were in use."""
    if layout.keyword in FLOATS:
        return bits, False
    sign = bits >> (layout.high - layout.stored + 1) >> (layout.stored - 1) & 1
    if layout.signed is None and sign.any():
        raise InputError(
            f"{header.file}: PixelRepresentation is missing, so whether pixels have a sign is not known; export the series again"
        )
    kind = np.dtype(f"{'i' if layout.signed else 'u'}{layout.allocated // 8}")
    up, down = layout.allocated - 1 - layout.high, layout.allocated - layout.stored
    values = (bits << up).view(kind) >> down
    below = (1 << (layout.high - layout.stored + 1)) - 1
    if (bits & bits.dtype.type(below)).any():
        raise InputError(
            f"{header.file}: pixels use bits below the {layout.stored} stored ones (highest bit {layout.high}); "
            "the header contradicts them. Export the series again"
        )
    return values, not below and bool((values != bits.view(kind)).any())


def _padding(header: Header, layout: Layout, bits: NDArray[Any], values: NDArray[Any]) -> NDArray[np.bool]:
    """Where a frame is padding by its header's own value or range.

    The value may be written with or without sign, whatever the pixels have.
    """
    low, high = (_pad_value(header, name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    span, top = 1 << layout.allocated, 1 << (layout.allocated - 1)
    if layout.keyword in FLOATS or low is None or not -top <= low < span:
        return np.zeros(layout.shape, dtype=bool)

    def as_stored(value: int) -> int:
        value %= span
        return value - span if layout.signed and value >= top else value

    first, last = sorted((as_stored(low), as_stored(low if high is None else high)))
    # compared with all bits, too: padding may use bits that have no meaning in a measurement
    inside: NDArray[np.bool] = ((values >= first) & (values <= last)) | (bits == low % span)
    return inside


def _pad_value(header: Header, name: str) -> int | None:
    found = header.get(name)
    if isinstance(found, bytes):  # of unknown kind in the file
        return int.from_bytes(found[:2], "little")
    return header.integer(name)


def _invert(
    stored: list[NDArray[Any]], padding: list[NDArray[np.bool]], layout: Layout
) -> list[NDArray[Any]]:
    """MONOCHROME1 as MONOCHROME2: the range of the stored bits is turned over.

    Where pixels do not reach the upper half of that range, the bits say more than the scanner used,
    and the highest pixel is black.
    """
    wide = [each.astype(np.int64) for each in stored]
    measured = np.concatenate([each[~pad] for each, pad in zip(wide, padding, strict=True)])
    low, high = (int(measured.min()), int(measured.max())) if measured.size else (0, 0)
    if layout.signed and low < 0:
        return [-1 - each for each in wide]
    full = (1 << (layout.stored - bool(layout.signed))) - 1
    top = full if high > full // 2 else high
    return [top - each for each in wide]


def _rescaled(header: Header, stored: NDArray[Any]) -> NDArray[np.float32]:
    slope, intercept = (header.number(name, SCALE) for name in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        raise InputError(
            f"{header.file}: RescaleSlope is 0; all pixels would be equal. Export the series again"
        )
    scaled: NDArray[np.float32] = stored.astype(np.float32) * np.float32(
        1 if slope is None else slope
    ) + np.float32(intercept or 0)
    return scaled


def _without_padding(
    path: Path, data: NDArray[np.float32], padding: NDArray[np.bool], header: Header
) -> NDArray[np.float32]:
    """Give padding the lowest measured value; 0 is left, since that is how most scans say nothing
    was measured.
    """
    outside = padding & (data != 0)
    if header.text("Modality") == "CT" and header.text("RescaleType").upper() in {"", "HU"}:
        outside |= data < AIR
    if outside.all():
        raise InputError(f"{path}: all pixels are padding; export the scan again, this one is empty")
    if outside.any():
        data[outside] = data[~outside].min()
    return data
