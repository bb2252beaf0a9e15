"""What a DICOM header says, checked: an absent or empty value is None or the default, an odd one
names its file.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SMALL = 1 << 12
"""Values of more bytes are left in the file where only the header is asked for."""

NO_MAGIC = {0x0002, 0x0008}
"""Groups that a file without preamble begins with: file meta or the identifying tags."""

MOSAICS = (
    (0x0019, "SIEMENS MR HEADER", 0x0A),  # NumberOfImagesInMosaic
    (0x0065, "Image Private Header", 0x50),  # United Imaging's number of images in a grid
)


class Header:
    """The values of a dataset, or of one frame of it.

    Args:
        dataset: pydicom's.
        file: where it comes from, for messages.
        frame: index of a frame, whose own groups of values come before the shared ones.
    """

    def __init__(self, dataset: Any, file: Path, frame: int | None = None) -> None:
        self.dataset, self.file, self.frame = dataset, file, frame

    def get(self, name: str, within: str = "") -> Any:
        """A value; None where it is absent or empty.

        Args:
            name: keyword.
            within: functional group that an enhanced object keeps the value in, a frame's own or
                shared by all.

        Raises:
            InputError: the value is not of its kind.
        """
        if within and self.frame is not None:
            own = self.items("PerFrameFunctionalGroupsSequence")[self.frame : self.frame + 1]
            for group in (*own, *self.items("SharedFunctionalGroupsSequence")[:1]):
                for item in self.items(within, group)[:1]:
                    if (found := self._value(item, name)) is not None:
                        return found
        return self._value(self.dataset, name)

    def items(self, name: str, dataset: Any = None) -> Sequence[Any]:
        """The items of a sequence, here or in a dataset within.

        Raises:
            InputError: it is no sequence.
        """
        found = self._value(self.dataset if dataset is None else dataset, name)
        if found is None:
            return []
        if not (isinstance(found, Sequence) and all(hasattr(item, "private_block") for item in found)):
            raise InputError(f"{self.file}: {name} is damaged; export the series again")
        return found

    def text(self, name: str, within: str = "") -> str:
        """A text, ``""`` where there is none; several are joined by a backslash, as in the file."""
        found = self.get(name, within)
        several = isinstance(found, Sequence) and not isinstance(found, str | bytes)
        return "\\".join(map(str, found)) if several else str(found or "").strip()

    def number(self, name: str, within: str = "") -> float | None:
        """A finite number; None where there is none.

        Raises:
            InputError: it is no finite number, or several.
        """
        found = self.numbers(name, 1, within)
        return None if found is None else float(found[0])

    def integer(self, name: str) -> int | None:
        """A whole number; None where there is none.

        Raises:
            InputError: it is no whole number.
        """
        found = self.number(name)
        if found is not None and found != int(found):
            raise InputError(f"{self.file}: {name} is {found:g}; expected a whole number")
        return None if found is None else int(found)

    def numbers(self, name: str, count: int, within: str = "") -> NDArray[np.float64] | None:
        """Finite numbers, shape (count,); None where there are none.

        Raises:
            InputError: they are not finite numbers, or more or fewer.
        """
        found = self.get(name, within)
        if found is None:
            return None
        several = found if isinstance(found, Sequence) and not isinstance(found, str | bytes) else [found]
        try:
            values = [float(value) for value in several]
        except (TypeError, ValueError):
            values = []
        if len(values) != count or not all(map(math.isfinite, values)):
            said = "\\".join(map(str, several))[:60]
            raise InputError(
                f"{self.file}: {name} is '{said}'; expected {'a number' if count == 1 else f'{count} numbers'}. "
                "Export the series again"
            )
        return np.array(values)

    def meta(self, name: str) -> str:
        """A text of the file's own header, ``""`` where there is none."""
        meta = getattr(self.dataset, "file_meta", None)
        return str((None if meta is None else self._value(meta, name)) or "")

    @property
    def syntax(self) -> str:
        """The transfer syntax, ``""`` where the file does not say."""
        return self.meta("TransferSyntaxUID")

    @property
    def is_mosaic(self) -> bool:
        """Whether the slices of a volume lie side by side in one picture (Siemens, United Imaging)."""
        words = self.text("ImageType") + "\\" + self.text("FrameType", "MRImageFrameTypeSequence")
        named = {"MOSAIC", "VFRAME"}.intersection(words.upper().split("\\"))
        return bool(named) or any(map(self._tiles, MOSAICS))

    def _tiles(self, where: tuple[int, str, int]) -> bool:
        """Whether a private value tells more than one image."""
        group, creator, element = where
        try:
            found = self.dataset.private_block(group, creator)[element].value
            count = int.from_bytes(found[:2], "little") if isinstance(found, bytes) else int(found)
        except Exception:  # noqa: BLE001 - absent, or of another kind: then it tells nothing
            return False
        return count > 1

    def _value(self, dataset: Any, name: str) -> Any:
        try:
            found = dataset.get(name)
        except Exception as error:
            raise InputError(
                f"{self.file}: {name} cannot be read ({first_line(error)}); export the series again"
            ) from error
        if isinstance(found, str):
            found = found.strip()
        return None if isinstance(found, Sequence) and not len(found) else found


TEXTS = {
    "modality": "Modality",
    "description": "SeriesDescription",
    "protocol": "ProtocolName",
    "body_part": "BodyPartExamined",
    "contrast_agent": "ContrastBolusAgent",
}
TIMES = {"echo_ms": "EchoTime", "repetition_ms": "RepetitionTime", "inversion_ms": "InversionTime"}
"""What tells a sequence."""


def acquisition(header: Header) -> dict[str, Any]:
    """What a header says of how the scan was taken, keys of :data:`TEXTS` and :data:`TIMES`; what
    is missing or damaged is left out.
    """
    found: dict[str, Any] = {}
    for key, name in TEXTS.items():
        with suppress(InputError):
            found[key] = header.text(name)
    for key, name in TIMES.items():
        with suppress(InputError):
            found[key] = header.number(name)
    return {key: value for key, value in found.items() if value}


def parse(file: Path, *, whole: bool = True) -> Any:
    """Parse a file with pydicom, with or without preamble.

    Args:
        file: the file.
        whole: read large values (pixels), too; else they are only known to be there.

    Raises:
        InputError: the file cannot be read.
    """
    import pydicom

    quiet()
    try:
        with file.open("rb") as handle:
            return pydicom.dcmread(handle, force=True, defer_size=None if whole else SMALL)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    except Exception as error:
        raise InputError(f"{file}: damaged DICOM file ({first_line(error)}); copy it again") from error


def is_dicom(head: bytes) -> bool:
    """Whether a file's first bytes are DICOM's: the magic after the preamble, or a dataset without
    preamble.
    """
    return head[128:132] == b"DICM" or any(_begins_bare(head, order) for order in ("little", "big"))


def _begins_bare(head: bytes, order: Any) -> bool:
    """Whether bytes begin with two data elements."""
    if len(head) < 16:
        return False
    group, length = int.from_bytes(head[:2], order), int.from_bytes(head[4:8], order)
    if head[4:6].isalpha() and head[4:6].isupper():
        length = int.from_bytes(head[6:8], order)
    following = int.from_bytes(head[8 + length : 10 + length], order)
    return group in NO_MAGIC and group <= following <= 0x0010


def quiet() -> None:
    """Let pydicom not print what is checked here; adding the same filter again adds nothing."""
    warnings.filterwarnings("ignore", module=r"pydicom\b")


def first_line(error: Exception) -> str:
    """The first line of what an exception says, or its name."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
