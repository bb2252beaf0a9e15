"""What sequence a scan is, and which shipped detector reads it: by the manifest's column, the DICOM
header, the file's name, or by contrast.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aberra.errors import InputError, MismatchError
from aberra.failures import refuse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aberra.cohort import Case, Cohort
    from aberra.volume import Volume

AUTO = "auto"
"""What is said where a detector is named, to have one chosen."""

GENERAL = "any-contrast"
"""The shipped detector for MR contrasts that have none of their own."""

PREFERRED = ("flair", "t2", "t1ce", "t1")
"""Of several channels of a case, the first of these that is there is looked at."""

WORDS = {
    "flair": ("flair", "fla", "darkfluid", "tirm"),
    "t1ce": ("t1ce", "t1c", "t1gd", "t1post", "t1km", "ce-gadolinium_t1w", "gd", "gado", "gadolinium", "postcontrast"),
    "t1": ("t1", "t1w", "mprage", "mp2rage", "bravo", "fspgr", "spgr", "mpr", "tfl3d", "tfl"),
    "t2": ("t2", "t2w"),
}  # fmt: skip
"""Words of a name or a series description that say what it is."""

OTHER = (
    "dwi", "dti", "adc", "diff", "diffusion", "trace", "swi", "swan", "bold", "fmri", "rest", "tof", "angio", "mra", "mrv", "asl",
    "perf", "perfusion", "dsc", "dce", "t2star", "t1rho", "t1map", "t2map", "qsm", "phase", "localizer", "localiser",
    "scout", "survey", "fieldmap", "ct", "cta", "cbct", "pet",
)  # fmt: skip
"""Words that say it is something else, which no shipped detector reads."""

CONTRAST = 1.08
"""Tissue levels at least this factor apart count as different."""


@dataclass(frozen=True)
class Guess:
    """A sequence (``flair``, ``t1``, ``t1ce``, ``t2``, or another word), and what says so."""

    name: str
    why: str


@dataclass(frozen=True)
class Choice:
    """A shipped detector for a cohort.

    Attributes:
        detector: its name.
        channels: columns to read; None where cases have one scan each.
        why: one sentence.
    """

    detector: str
    channels: list[str] | None
    why: str


def choose(cohort: Cohort, channels: Sequence[str] | None = None) -> Choice:
    """Choose the shipped detector for a cohort, by the sequence of its scans.

    Args:
        cohort: the cases; all must be of one sequence.
        channels: the column to look at, where there are several.

    Raises:
        MismatchError: it cannot be told, the cases differ, or no shipped detector reads this.
    """
    from aberra.pretrained import shipped_detectors

    shipped = list(shipped_detectors())
    remedy = f"name a detector ({', '.join(shipped)}) instead of auto"
    cases = list(cohort)
    if not cases:
        raise InputError(f"{cohort.source}: no cases")
    found, failed = dict[str, tuple[str, Guess | None]](), dict[str, Exception]()
    for case in cases:
        try:
            found[case.case] = _of_case(case, channels)
        except Exception as error:  # noqa: BLE001 - told by whoever reads it next, unless there is nothing else
            failed[case.case] = error
    if not found:
        refuse(failed, "looked at")
    kinds: dict[str, list[str]] = {}
    for name, (_, guess) in found.items():
        if guess is None:
            raise MismatchError(
                f"{name}: neither header nor name nor contrast tells which sequence this is; {remedy}"
            )
        kinds.setdefault(guess.name, []).append(name)
    if len(kinds) > 1:
        listed = "; ".join(f"{kind}: {', '.join(names[:3])}" for kind, names in kinds.items())
        raise MismatchError(
            f"the scans are of {len(kinds)} sequences ({listed}); run one sequence at a time, or {remedy}"
        )
    first = next(iter(found))
    column, guess = found[first]
    assert guess is not None  # noqa: S101 (refused above)
    detector = guess.name if guess.name in shipped else GENERAL
    if guess.name not in WORDS or detector not in shipped:
        raise MismatchError(
            f"{first} is {guess.name.upper()} ({guess.why}), which no shipped detector reads; fit one on healthy scans of this kind, or {remedy}"
        )
    fallback = "" if detector == guess.name else f"; there is no detector for {guess.name.upper()} alone"
    several = any(len(case.channels) > 1 for case in cases)
    return Choice(
        detector=detector,
        channels=[column] if several or channels else None,
        why=f"{detector}: {_named(list(found))} {guess.name.upper()} ({guess.why}){fallback}",
    )


def preferred(cohort: Cohort) -> list[str]:
    """Of a cohort's columns the first of :data:`PREFERRED`, or all where none is there."""
    there = cohort.channel_names
    return [name for name in PREFERRED if name in there][:1] or list(there)


def _named(cases: Sequence[str]) -> str:
    return f"{cases[0]} is" if len(cases) == 1 else f"all {len(cases)} scans are"


def _of_case(case: Case, channels: Sequence[str] | None) -> tuple[str, Guess | None]:
    """The column looked at, and what it is."""
    known = {name: by_words(name) for name in (channels or case.channels)}
    columns = sorted(known, key=lambda name: PREFERRED.index(known[name]) if known[name] in PREFERRED else 99)
    column = columns[0]
    if known[column] in WORDS:
        return column, Guess(str(known[column]), f"its column is '{column}'")
    if len(columns) > 1:
        return column, None
    volume = case.read([column])
    return column, sequence_of(volume)


def sequence_of(volume: Volume) -> Guess | None:
    """What one scan is: by its DICOM header, else its file's name, else its contrast; None where it
    cannot be told.

    A header or a name that says it is something else (diffusion, CT ...) is believed, too.
    """
    header = volume.provenance.get("dicom", {})
    return by_header(header) or _by_name(str(volume.provenance.get("path", ""))) or by_contrast(volume)


def by_header(header: Mapping[str, Any]) -> Guess | None:
    """By the facts of a DICOM header (:func:`aberra.io.dicom.header.acquisition`): modality,
    description, then times in ms.
    """
    modality = header.get("modality", "")
    if modality and modality != "MR":
        return Guess(modality.lower(), f"DICOM modality {modality}")
    inversion = header.get("inversion_ms")
    for key in ("description", "protocol"):
        text = str(header.get(key, ""))
        found = by_words(text)
        if found == "flair" and inversion and inversion < 1500:  # T1 FLAIR nulls fluid by a short inversion
            found = "t1"
        if found == "t1" and header.get("contrast_agent"):
            found = "t1ce"
        if found:
            return Guess(found, f"DICOM {'series description' if key == 'description' else key} '{text}'")
    return _by_times(header)


def _by_times(header: Mapping[str, Any]) -> Guess | None:
    """By repetition, echo and inversion time."""
    inversion, echo, repetition = (header.get(key) for key in ("inversion_ms", "echo_ms", "repetition_ms"))
    if not echo or not repetition:
        return None
    times = f"DICOM TR {repetition:g}, TE {echo:g}" + (f", TI {inversion:g}" if inversion else "") + " ms"
    if inversion and inversion >= 1500 and echo >= 60:
        return Guess("flair", times)
    if echo <= 30 and (repetition <= 1000 or (inversion and inversion < 1500)):
        return Guess("t1ce" if header.get("contrast_agent") else "t1", times)
    if echo >= 70 and repetition >= 2000 and not inversion:
        return Guess("t2", times)
    return None


def _by_name(path: str) -> Guess | None:
    """By the file's name, else its folder's; a BIDS suffix is the last word of the name."""
    place = Path(path)
    stem = re.sub(r"\.(nii|nii\.gz|hdr|img|dcm)$", "", place.name, flags=re.IGNORECASE)
    for text in (stem, place.parent.name):
        if found := by_words(text):
            return Guess(found, f"it is called '{text}'")
    return None


def by_words(text: str) -> str | None:
    """The sequence that a name or description says, None where it says nothing or two things."""
    plain = re.sub(r"t2[-_ ]?(\*|star|s\b)w?", " t2star ", text.lower())
    words = set(re.split(r"[^a-z0-9]+", re.sub(r"dark[-_ ]fluid", "darkfluid", plain)))
    if other := next((word for word in OTHER if word in words), None):
        return other
    said = [name for name, known in WORDS.items() if words & set(known) or any(each in plain for each in known[:1] if name == "flair")]  # fmt: skip
    if "flair" in said and not ({"t1", "t1w"} & words):
        return "flair"
    if "flair" in said:
        return None  # T1 FLAIR, or a name of several files
    if "t1ce" in said:
        return "t1ce" if "t2" not in said else None
    return said[0] if len(said) == 1 else None


def by_contrast(volume: Volume) -> Guess | None:
    """By the order of fluid, grey and white matter, where the atlas finds them; None where they are
    too alike.
    """
    import numpy as np

    from aberra.models.tissue import on_grid
    from aberra.prepare import Recipe

    spacing = 3.0
    recipe = Recipe.from_config(
        [{"name": "orient"}, {"name": "brain-mask"}, {"name": "register", "spacing": spacing}]
    )
    brain = recipe(volume)
    if brain.mask is None or not brain.provenance.get("registration", {}).get(
        "ok"
    ):  # an image is not registered
        return None
    maps, data = on_grid(spacing).numpy(), brain.data[0]
    fluid, grey, white = (
        float(np.median(data[brain.mask & (share > least)]))
        for share, least in zip(maps, (0.7, 0.7, 0.8), strict=True)
    )
    if min(fluid, grey, white) < 0 or white == 0:
        return None
    why = f"fluid {fluid / white:.2f} and grey matter {grey / white:.2f} of white matter's intensity"
    orders = {
        "t1": (white, grey, fluid),
        "t2": (fluid, grey, white),
        "flair": (grey, white, fluid),
    }
    for name, (bright, middle, dark) in orders.items():
        if bright > CONTRAST * middle and middle > CONTRAST * dark:
            return Guess(name, why)
    return None
