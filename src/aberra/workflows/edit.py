"""Guided editing: change a scan towards a class, age, lesion area, lesion mask or several, or make
a number larger or smaller; check the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from aberra.capabilities import HasGuides
from aberra.covariates import MIDDLE, SPREAD, standardised
from aberra.diffusion.guidance import DISEASED, GUIDES, HEALTHY, NUMBERS, guided
from aberra.diffusion.samplers import coupled, ddim, dpm_solver
from aberra.errors import ConfigError, MismatchError, expect_known
from aberra.files import atomic_path, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from aberra.detector import Detector
    from aberra.volume import Volume

WEIGHTS = {"class": 100.0, "area": 1000.0, "mask": 1.0, "age": 1000.0}
"""Of one aim; of ``area`` the thesis' c, of ``class`` its s. Its c of the age is 5, of a unit that it
does not state; ours is 25 years."""

DIRECTIONS = {"up": 1.0, "down": -1.0}
"""Fixed directions of a number, the thesis' s_t = ±1."""

SAMPLERS = ("ddim", "coupled")
POWER = 1.5
"""Steps of ``ddim`` are denser near the image, where encoding errs
(:meth:`aberra.diffusion.schedule.Schedule.times`)."""
RANGES = {
    "area": (0.0, 1.0, "a share of the foreground in [0, 1]"),
    "age": (0.0, 150.0, "years from 0 to 150"),
}
"""Of numbers."""
FULL = 0.5
"""Slices with less than this share of the fullest slice's foreground are left as they are."""


@dataclass(frozen=True, kw_only=True)
class Aim:
    """One thing that an edit wants.

    Attributes:
        guide: ``class``, ``area``, ``age`` or ``mask``.
        target: ``healthy`` or ``diseased``; the lesion area as a share of the foreground, the age
            in years, or, of either, ``up`` or ``down``, a direction without an end; for ``mask`` a
            mask on the scan's grid, shape (D, H, W), bool.
        weight: of its gradient; None is 100 for ``class``, 1000 for ``area`` and ``age``, 1 for
            ``mask``.

    Raises:
        ConfigError: a target that the guide does not know.

    Examples:
        >>> from aberra.workflows.edit import Aim
        >>> Aim(guide="area", target=0.1).strength
        1000.0
        >>> Aim(guide="class", target="healthy", weight=50.0).strength
        50.0
        >>> Aim(guide="age", target=75).number, Aim(guide="age", target="up").direction
        (1.0, 1.0)
    """

    guide: str
    target: Any
    weight: float | None = None

    def __post_init__(self) -> None:
        expect_known("guide", [self.guide], GUIDES)
        if self.guide == "class":
            expect_known("class to edit towards", [self.target], ("healthy", "diseased"))
        if self.guide in NUMBERS and self.target not in DIRECTIONS:
            low, high, what = RANGES[self.guide]
            try:
                fits = low <= float(self.target) <= high
            except (TypeError, ValueError):
                fits = False
            if not fits:
                raise ConfigError(f"{self.guide} {self.target}: expected {what}, up or down")

    @property
    def strength(self) -> float:
        """The weight, or the guide's own."""
        return WEIGHTS[self.guide] if self.weight is None else self.weight

    @property
    def direction(self) -> float:
        """Of a number: 1 up, −1 down, 0 where it has a target."""
        return DIRECTIONS.get(self.target, 0.0) if self.guide in NUMBERS else 0.0

    @property
    def number(self) -> float:
        """The target as the guide says it: an age standardised."""
        return standardised("age", self.target) if self.guide == "age" else float(self.target)


@dataclass(frozen=True, kw_only=True)
class Edit:
    """An edited scan.

    Attributes:
        scan: on the scan's own grid and in its own intensities; where nothing was edited it is the
            scan.
        difference: edited minus original, shape (C, D, H, W), in prepared intensities, on the
            scan's own grid.
        lesion: the mask that was asked for, shape (D, H, W), and in a cohort the scan's own
            lesions, too; None without a mask.
        attained: what the checkers, which never guide, say before and after; see :func:`edit`.
        source: hash of the scan's files; empty if unknown.

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> from aberra.workflows.edit import Edit
        >>> scan = Volume(data=np.arange(64.0).reshape(1, 4, 4, 4), affine=np.eye(4))
        >>> Edit(scan=scan, difference=0 * scan.data).lesion is None
        True
    """

    scan: Volume
    difference: NDArray[np.float32]
    lesion: NDArray[np.bool] | None = None
    attained: dict[str, float] = field(default_factory=dict)
    source: str = ""

    def save(self, folder: Path) -> None:
        """Write ``edited.nii.gz`` (one a channel where there are several), ``difference.nii.gz``,
        ``lesion.nii.gz``, ``input.json`` and ``edit.json``; whole or not at all.

        Raises:
            OutputError: the folder holds something else, or cannot be written.
        """
        with atomic_path(folder, last="edit.json") as temporary:
            temporary.mkdir()
            plain = self.scan.with_(mask=None, lesion=None)
            for index, channel in enumerate(self.scan.channels):  # a file a channel, as manifests list them
                one = plain.with_(data=self.scan.data[index : index + 1], channels=(channel,))
                one.write(temporary / edited_file(channel, self.scan.channels))
            plain.with_(data=self.difference).write(temporary / "difference.nii.gz")
            if self.lesion is not None:
                mask = self.lesion[None].astype(np.float32)
                plain.with_(data=mask, channels=("lesion",)).write(temporary / "lesion.nii.gz")
            write_json(temporary / "input.json", {"sha256": self.source})
            write_json(temporary / "edit.json", self.attained)


def edited_file(channel: str, channels: Sequence[str]) -> str:
    """Name of a channel's file in an edit's folder."""
    return "edited.nii.gz" if len(channels) == 1 else f"edited_{channel}.nii.gz"


def edit(
    detector: Detector,
    volume: Volume,
    aims: Sequence[Aim],
    *,
    start: int = 400,
    steps: int = 25,
    sampler: str = "ddim",
) -> Edit:
    """Encode the slices of a scan to step ``start`` and decode them under the gradients of all
    aims.

    Wolleb et al. 2022 (arXiv 2204.02641), L = 400: ``ε̂ = ε − √(1 − ᾱ_t)·∇ Σ fₖ`` with f = w·log
    p(class) for ``class``, −(w/2)·(target − R)² for ``area`` and ``age``, whose gradient is the
    thesis' self-correcting s_t·c·∇R, or ±w·R where only a direction is asked for (its s_t = ±1), and
    −w·H for ``mask``, H the cross-entropy of the segmenter, summed over pixels. The thesis prints
    the last with the other sign, which would raise H. With a mask only the slices that it touches
    are edited, else those with at least half of the fullest slice's foreground. A model with
    conditions is told the person's while it encodes and decodes.

    Args:
        detector: whose model has the guides that are asked for,
            see :class:`aberra.capabilities.HasGuides` (``guided-ddpm``).
        volume: the scan, as read.
        aims: at least one.
        start: L, of the model's T steps.
        steps: steps each way.
        sampler: of the way down, ``ddim`` (up with DPM-Solver++), or both ways ``coupled`` (exact
            inverse; twice the calls).

    Returns:
        The edit; ``attained`` holds for each aim what the guide's checker says, mean over the
        edited slices: ``class_before`` and ``class_after`` (share of slices with the class asked
        for), ``area_before``, ``area_after`` and, where there is a target, ``area_error`` (mean
        distance to it), the same of ``age`` in years,
        ``mask_before`` and ``mask_after`` (Dice with the mask), and ``change_inside`` and
        ``change_outside`` of the mask (mean absolute, prepared intensities), or ``change``.

    Raises:
        ConfigError: a model without the guide, no aim, or an unknown sampler.
        MismatchError: a mask on another grid, outside the model's field of view, or an empty one.
    """
    from aberra.prepare import back

    model = detector.model_of(volume)
    if not isinstance(model, HasGuides):
        raise ConfigError(
            f"{detector.method.name}: has no guides to edit with; fit one, as in "
            '`aberra fit ddim-guided MANIFEST --set model.guides=\'["class", "area", "mask"]\'`'
        )
    known = model.guide_names()
    for aim in aims:
        if aim.guide not in known:
            raise ConfigError(
                f"{detector.method.name}: has no guide '{aim.guide}', only {', '.join(known)}; "
                "fit it with --set model.guides"
            )
    if not aims or len({aim.guide for aim in aims}) < len(aims):
        raise ConfigError("an edit needs one aim or several of different kinds")
    expect_known("sampler of an edit", [sampler], SAMPLERS)
    wanted = next((np.asarray(aim.target, dtype=bool) for aim in aims if aim.guide == "mask"), None)
    if wanted is not None and wanted.shape != volume.shape:
        raise MismatchError(
            f"the mask has shape {wanted.shape}, the scan {volume.shape}; draw it on the scan's grid"
        )
    prepared = detector.recipe(volume.with_(lesion=wanted))
    inside = prepared.judged
    drawn = None if wanted is None else np.asarray(prepared.lesion)
    chosen = _slices(inside, drawn) & inside

    x = torch.from_numpy(np.ascontiguousarray(prepared.data))
    extra = torch.from_numpy(
        np.stack([np.zeros_like(inside) if drawn is None else drawn, inside]).astype(np.float32)
    )
    path = _Path(model, aims, start=start, steps=steps, sampler=sampler)
    where = torch.from_numpy(chosen)
    edited = detector.runner(path, x, where, also=(extra[:1], extra[1:]), grad=True)
    edited = torch.where(where, edited, x)
    difference = (edited - x).numpy()

    moved = back(difference, prepared, volume)
    data = volume.data + moved * _units(prepared, volume).reshape(-1, 1, 1, 1)
    return Edit(
        scan=volume.with_(data=data.astype(np.float32), lesion=None),
        difference=moved,
        lesion=wanted,
        attained=path.report() | _changes(difference, chosen, drawn),
    )


class _Path:
    """Edits a batch (B, C + 2, S) whose last channels are the mask asked for and the foreground,
    and remembers the checkers' answers.
    """

    def __init__(
        self, model: HasGuides, aims: Sequence[Aim], *, start: int, steps: int, sampler: str
    ) -> None:
        self.model = model
        self.aims = aims
        self.process = model.process()
        self.times = self.process.times(steps, start, 1.0 if sampler == "coupled" else POWER)
        self.sampler = sampler
        self.answers: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def __call__(self, x: Tensor, mask: Tensor, inside: Tensor) -> Tensor:
        decode = guided(
            self.model.denoise, lambda noisy, t: self._objective(noisy, t, mask, inside), self.process
        )
        up = self.times[::-1]
        if self.sampler == "coupled":
            pair = coupled(self.model.denoise, (x, x), up, self.process)
            edited = coupled(decode, pair, self.times, self.process)[0].to(x)
        else:
            noisy = dpm_solver(self.model.denoise, x, up, self.process)
            edited = ddim(decode, noisy, self.times, self.process)
        for aim in self.aims:
            self._ask(aim, x, mask, "before")
            self._ask(aim, edited, mask, "after")
        return edited

    def _objective(self, noisy: Tensor, t: int, mask: Tensor, inside: Tensor) -> Tensor:
        total = torch.zeros(len(noisy), device=noisy.device)
        for aim in self.aims:
            told = self.model.told(aim.guide, noisy, t)
            if aim.guide == "class":
                side = HEALTHY if aim.target == "healthy" else DISEASED
                total = total + aim.strength * F.log_softmax(told, dim=1)[:, side]
            elif aim.direction:
                total = total + aim.strength * aim.direction * told[:, 0]
            elif aim.guide in NUMBERS:
                total = total - aim.strength / 2 * (aim.number - told[:, 0]) ** 2
            else:
                entropy = F.binary_cross_entropy_with_logits(told, mask, reduction="none") * inside
                total = total - aim.strength * entropy.flatten(1).sum(dim=1)
        return total

    def _ask(self, aim: Aim, x: Tensor, mask: Tensor, when: str) -> None:
        told = self.model.told(aim.guide, x, 1, checker=True)
        if aim.guide == "class":
            answer = (told.argmax(dim=1) == (HEALTHY if aim.target == "healthy" else DISEASED)).float()
        elif aim.guide in NUMBERS:
            answer = MIDDLE + SPREAD * told[:, 0] if aim.guide == "age" else told[:, 0]
            if when == "after" and not aim.direction:
                error = (float(aim.target) - answer).abs()
                self.answers.setdefault(f"{aim.guide}_error", []).append(error.cpu())
        else:
            found = (told > 0).float()
            answer = 2 * (found * mask).flatten(1).sum(1) / (found + mask).flatten(1).sum(1).clamp(min=1)
        self.answers.setdefault(f"{aim.guide}_{when}", []).append(answer.cpu())

    def report(self) -> dict[str, float]:
        """Mean of each answer over the slices."""
        return {name: float(torch.cat(parts).mean()) for name, parts in self.answers.items()}


def _slices(inside: NDArray[np.bool], drawn: NDArray[np.bool] | None) -> NDArray[np.bool]:
    """Slices to edit, shape (D, 1, 1)."""
    if drawn is not None:
        if not drawn.any():
            raise MismatchError("the mask is empty, or lies outside of what the model sees of the scan")
        return np.asarray(drawn.any(axis=(1, 2), keepdims=True))
    full = inside.mean(axis=(1, 2), keepdims=True)
    return np.asarray(full >= FULL * full.max(), dtype=bool)


def _units(prepared: Volume, volume: Volume) -> NDArray[np.float32]:
    """Intensities of the scan for one unit of the prepared scan, a channel each: the slope of the
    normalisation.
    """
    from aberra.prepare import back

    there = back(prepared.data, prepared, volume)
    judged = back(prepared.judged.astype(np.float32), prepared, volume) > 0.99
    slopes = []
    for original, normalised in zip(volume.data, there, strict=True):
        a, b = normalised[judged], original[judged]
        spread = float(((a - a.mean()) ** 2).mean())
        slopes.append(float(((a - a.mean()) * (b - b.mean())).mean()) / spread if spread > 0 else 1.0)
    return np.asarray(slopes, dtype=np.float32)


def _changes(
    difference: NDArray[np.float32], chosen: NDArray[np.bool], drawn: NDArray[np.bool] | None
) -> dict[str, float]:
    size = np.abs(difference).mean(axis=0)
    if drawn is None:
        return {"change": float(size[chosen].mean())}
    outside = chosen & ~drawn
    return {
        "change_inside": float(size[drawn & chosen].mean()),
        "change_outside": float(size[outside].mean()) if outside.any() else 0.0,
    }
