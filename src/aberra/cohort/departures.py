"""Where a scan or cohort departs from what a model was fitted on, and what to do about each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from aberra.cohort.fingerprint import contrast_distance, of_volume
from aberra.volume import mm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aberra.cohort.fingerprint import Fingerprint
    from aberra.volume import Volume

Level = Literal["ok", "info", "warn", "error"]

SPACING_RATIO = 1.5
"""Voxels this many times coarser or finer than any the model saw are reported."""

CONTRAST = 0.1
"""Distance of intensity profiles above which tissue contrast is reported. On the FLAIR, T1 and T2
scans of three public sets, cases of one sequence and site lay below 0.06 of each other, mostly."""

HOUNSFIELD = -200.0
"""Foreground with 1 % below this has air in it on CT's scale; no other modality reaches so low."""

AXES = ("superior-inferior", "anterior-posterior", "left-right")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing a person should know about their data.

    Attributes:
        level: ``ok``, ``info``, ``warn`` (results may be off) or ``error`` (cannot be used).
        topic: a word to sort by, as in ``spacing``.
        what: what was found.
        remedy: what to do; empty where nothing need be done.
        cases: the cases meant; empty for all.
    """

    level: Level
    topic: str
    what: str
    remedy: str = ""
    cases: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        return asdict(self)


def compare(volume: Volume, model: Fingerprint) -> list[str]:
    """Say where one scan departs from a model's fingerprint, one sentence each; empty if nowhere.

    Channels are compared by position, since loose files do not name theirs.
    """
    found = departures(of_volume(volume), model)
    return [f"{each.what}; {each.remedy}" for each in found if each.level in {"warn", "error"}]


def departures(seen: Fingerprint, model: Fingerprint) -> list[Finding]:
    """Hold a fingerprint against a model's: dimensions, spacing, coverage, skull, intensity scale,
    contrast.

    Channels are compared by position. Silence is no proof that a scan is of the right sequence: two
    sequences may share their distribution of intensities.
    """
    if seen.kind != model.kind:
        what = f"this is a {_kind(seen)}, the model was fitted on {_kind(model)}s"
        remedy = "use a model of the same kind"
        return [Finding(level="error", topic="dimensions", what=what, remedy=remedy)]
    if len(seen.channels) != len(model.channels):
        mine, theirs = (", ".join(names) for names in (seen.channels, model.channels))
        remedy = "name the columns to read with --channel, or rename them in the manifest"
        what = f"{len(seen.channels)} channel(s) ({mine}), the model reads {len(model.channels)} ({theirs})"
        return [Finding(level="error", topic="channels", what=what, remedy=remedy)]
    found = list(_size(seen, model) if seen.kind == "image" else _geometry(seen, model))
    for mine, theirs in zip(seen.channels, model.channels, strict=True):
        found += _intensities(seen, model, mine, theirs)
    return found


def _kind(fingerprint: Fingerprint) -> str:
    return "2-D image" if fingerprint.kind == "image" else "3-D volume"


def _outside(values: Sequence[float], spread: dict[str, Any], factor: float) -> list[int]:
    """Axes on which a value is ``factor`` times beyond the range seen."""
    rows = enumerate(zip(values, spread["min"], spread["max"], strict=True))
    return [axis for axis, (value, low, high) in rows if value > high * factor or value * factor < low]


def _size(seen: Fingerprint, model: Fingerprint) -> Iterator[Finding]:
    """Pixel counts: images have no reliable millimetres."""
    size = seen.shape["median"]
    if _outside(size, model.shape, SPACING_RATIO):
        usual = model.shape["median"]
        what = f"{size[1]}×{size[2]} pixels, the model's images have about {usual[1]}×{usual[2]}"
        remedy = "resize to the model's size, keeping the same field of view"
        yield Finding(level="warn", topic="size", what=what, remedy=remedy)


def _geometry(seen: Fingerprint, model: Fingerprint) -> Iterator[Finding]:
    spacing, usual = seen.spacing["median"], model.spacing["median"]
    if axes := _outside(spacing, model.spacing, SPACING_RATIO):
        coarser = any(spacing[axis] > usual[axis] for axis in axes)
        what = f"voxels of {mm(spacing)} (S, P, L), the model's data have {mm(usual)}"
        lost = "but thin lesions are lost" if coarser else "finer detail is not used"
        remedy = f"it is resampled, {lost}; calibrate on healthy scans of this protocol"
        yield Finding(level="warn", topic="spacing", what=what, remedy=remedy)
    extent, whole = seen.extent_mm["median"], model.extent_mm
    short = [axis for axis in range(3) if extent[axis] < 0.6 * whole["median"][axis]]
    long = [axis for axis in range(3) if extent[axis] > 1.25 * whole["max"][axis]]
    if short or long:
        axis = (short or long)[0]
        usual_mm = whole["median"][axis]
        what = f"the foreground spans {extent[axis]:.0f} mm {AXES[axis]}, the model's data {usual_mm:.0f} mm"
        remedy = "check the spacing in the header; crop neck and shoulders"
        if short:
            remedy = "the scan shows only part of what the model knows; cover the same anatomy"
        yield Finding(level="warn", topic="coverage", what=what, remedy=remedy)
    if model.skull_stripped and seen.skull_stripped is False and not seen.has_mask:
        what = "the skull seems present, the model's data were skull-stripped"
        remedy = "strip it (HD-BET, SynthStrip) or give a brain mask in the manifest's 'mask' column"
        yield Finding(level="warn", topic="skull", what=what, remedy=remedy)
    if seen.skull_stripped and model.skull_stripped is False and not model.has_mask:
        what = "the scan seems skull-stripped, the model's data were not"
        remedy = "give the scan before stripping, or use a model fitted on stripped scans"
        yield Finding(level="warn", topic="skull", what=what, remedy=remedy)


def _intensities(seen: Fingerprint, model: Fingerprint, mine: str, theirs: str) -> Iterator[Finding]:
    name = mine if mine == theirs else f"{mine} (read as {theirs})"
    hounsfield = [fp.percentile(ch, 1) < HOUNSFIELD for fp, ch in ((seen, mine), (model, theirs))]
    if hounsfield[0] != hounsfield[1]:
        looks, others = ("looks", "do not") if hounsfield[0] else ("does not look", "do")
        what = f"{name}: {looks} like CT in Hounsfield units, the model's data {others}"
        remedy = "export with the rescale slope and intercept applied, or use a model of this modality"
        yield Finding(level="warn", topic="scale", what=what, remedy=remedy)
        return
    distance = contrast_distance(seen, model, mine, theirs)
    limit = max(CONTRAST, 1.5 * float(model.intensity[theirs]["spread"]))
    if distance > limit:
        yield Finding(
            level="warn",
            topic="contrast",
            what=f"{name}: contrast differs from the model's data (distance {distance:.2f}, expected under {limit:.2f})",
            remedy="check that it is the same sequence, prepared the same way (skull, bias field); else calibrate "
            "on healthy scans of this kind or fit a model on them",
        )
