"""Brain or foreground mask."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import numpy as np

from aberra.errors import ConfigError, InputError
from aberra.foreground import BRAIN_ML, body, brain_alone, cut_away, inside_tissue, nonzero
from aberra.options import Between, configured
from aberra.prepare.grid import resample_to, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from aberra.volume import Volume

MaskMethod = Literal["auto", "given", "nonzero", "otsu", "deepbet", "strip", "ct", "all", "command"]

HEAD_MM, SHORTEST_MM, SLICES = 110.0, 60.0, 10
"""A field of view that can show a head: two axes at least so long, the third at least so long and
of so many slices."""

NOT_MR = frozenset(
    {"ct", "ncct", "cect", "cta", "ctp", "cbct", "pet", "pt", "spect", "nm", "us", "xray", "cxr", "dx"}
)
"""Channels and DICOM modalities that brain extraction for MR is kept away from."""

NOT_HEAD = frozenset((
    "ABDOMEN", "ANKLE", "ARM", "BREAST", "CHEST", "CSPINE", "ELBOW", "FOOT", "HAND", "HEART", "HIP", "KNEE", "LEG", "LIVER", "LSPINE",
    "PELVIS", "PROSTATE", "SHOULDER", "SPINE", "TSPINE", "WRIST",
))  # fmt: skip
"""DICOM body parts that are kept away from it, too; other values are not to be relied on."""

NOT_MR_FILES = NOT_MR & {"ct", "ncct", "cect", "cta", "ctp", "cbct", "pet", "spect"}
"""Of these, the words that mean nothing else in a file's name."""

AIR_HU, AIR_SHARE = -150.0, 0.01
"""CT has air at -1,000: more than this share of voxels lies below; no MR scanner writes values so
low."""

FOUND_RULES = frozenset({"deepbet", "strip", "ct", "command"})
"""Rules that take a skull away which the scan still has."""

SPECK_ML = 100.0
"""Smaller is not a brain, so this was not a head."""


class BrainMask:
    """Find the voxels that are judged.

    The volume's ``provenance["brain_mask"]`` says which rule found them: ``given``, ``nonzero``,
    ``deepbet``, ``strip``, ``ct``, ``command`` (a brain) or ``otsu``, ``all`` (a head, a body, a
    crop of one).

    Args:
        method: ``auto`` (the given mask; else non-zero voxels if the background was cut away or no
            more than a brain is left; else ``deepbet`` if this may be an MR scan of a whole head;
            else ``all`` if the field of view lies within tissue; else ``otsu``), ``given``,
            ``deepbet`` (brain extraction by a
            network on the first channel, see :func:`~aberra.prepare.deepbet.extract`; where it sees
            no brain, ``strip`` instead), ``nonzero``, ``otsu`` (head or body against air),
            ``strip`` (classical skull strip by a growing surface,
            see :func:`~aberra.prepare.skull_strip.strip`; good on 3-D scans of adults, loose on
            thick slices; a scan that is stripped already keeps its non-zero voxels), ``ct`` (of a
            head in HU: what bone encloses, see :func:`~aberra.prepare.ct_brain.ct_brain`), ``all``,
            or ``command``.
        command: external program for ``command``, with ``{input}`` and ``{output}``, as in
            ``mri_synthstrip -i {input} -m {output}``; run without a shell.
        fraction: of ``strip``, in (0, 1); higher makes the brain smaller.
        blank: set voxels outside to zero.

    Raises:
        ConfigError: unknown method, ``fraction`` outside (0, 1), or ``command`` without a program.

    Examples:
        >>> import numpy as np
        >>> from aberra import Volume
        >>> from aberra.prepare.brain_mask import BrainMask
        >>> data = np.zeros((1, 4, 4, 4))
        >>> data[0, 1:3, 1:3, 1:3] = [[50, 60], [70, 80]]
        >>> scan = Volume(data=data, affine=np.diag([50.0, 50.0, 50.0, 1.0]))
        >>> int(BrainMask(method="nonzero")(scan).mask.sum())
        8
    """

    name = "brain-mask"
    version = 5
    device = "auto"
    """Where networks run; set by :meth:`~aberra.prepare.recipe.Recipe.place`, no part of the
    configuration."""

    @configured("brain-mask")
    def __init__(
        self, *, method: MaskMethod = "auto", command: str = "", fraction: Between = 0.5, blank: bool = True
    ) -> None:
        if method == "command" and not ("{input}" in command and "{output}" in command):
            raise ConfigError(
                f"brain-mask: command '{command}' needs {{input}} and {{output}}, as in 'hd-bet -i {{input}} -o {{output}}'"
            )
        self.method = method
        self.command = command
        try:
            self.words = shlex.split(command)
        except ValueError as error:
            raise ConfigError(
                f"brain-mask: command '{command}' cannot be split into words ({error})"
            ) from error
        self.fraction = fraction
        self.blank = blank

    def __call__(self, volume: Volume) -> Volume:
        """Return the volume with its mask; warns of a brain of unlikely size.

        Raises:
            InputError: no foreground, or the external command failed.
        """
        mask, rule = self._find(volume)
        if not mask.any():
            raise InputError(
                "empty foreground: every voxel is zero or outside the mask; is this the right file?"
            )
        data = volume.data * mask if self.blank else volume.data
        found = volume.with_(mask=mask, data=data, provenance={**volume.provenance, "brain_mask": rule})
        size = float(mask.sum()) * volume.voxel_mm3 / 1000
        if rule in {"deepbet", "ct"} and not BRAIN_ML[0] <= size <= BRAIN_ML[1]:
            return warn(
                found,
                f"brain mask: {rule} found {size:.0f} ml, a brain has {BRAIN_ML[0]:.0f} to {BRAIN_ML[1]:.0f} ml; does the scan "
                "cover the whole brain, and is its voxel size real? Look at the mask, or give one in the manifest's column 'mask'",
            )
        return found

    def view(self, volume: Volume) -> Volume:
        """The scan as it is judged: what lies in the brain that this step has to find, on the
        scan's own grid.

        Scans with a mask, without a background and without a brain come back as they are.
        """
        mask, rule = self._find(volume)
        if rule in FOUND_RULES and mask.any():
            return volume.with_(mask=mask, data=volume.data * mask)
        return volume

    def _find(self, volume: Volume) -> tuple[NDArray[np.bool], str]:
        """The mask, and the rule that found it."""
        if self.method == "given" and volume.mask is None:
            raise InputError(
                "no mask given; add a column 'mask' to the manifest, or use brain-mask method = \"auto\""
            )
        if volume.mask is not None and self.method in {"auto", "given"}:
            return volume.mask, "given"
        mask, rule = np.zeros(volume.shape, dtype=bool), ""
        for rule in self._rules(volume):
            mask = self._by(rule, volume)
            if rule != "deepbet" or mask.sum() * volume.voxel_mm3 >= SPECK_ML * 1000:
                break
        return mask, rule

    def _rules(self, volume: Volume) -> Iterator[str]:
        """What to try, in order."""
        if self.method not in {"auto", "deepbet", "strip"}:
            yield self.method
            return
        first, inside = volume.data[0], nonzero(volume.data)
        if cut_away(first, inside):
            yield "nonzero"
        elif self.method == "auto":
            if _may_be_head(volume):
                yield "nonzero" if brain_alone(first, inside, volume.spacing) else "deepbet"
            yield "all" if inside_tissue(body(first)) else "otsu"
        elif self.method == "deepbet":
            yield from ("deepbet", "strip")
        else:
            yield self.method

    def _by(self, rule: str, volume: Volume) -> NDArray[np.bool]:
        """The mask by one rule."""
        if rule == "deepbet":
            from aberra.prepare.deepbet import extract

            return extract(volume, self.device)
        if rule == "strip":
            from aberra.prepare.skull_strip import strip

            return strip(volume, self.fraction)
        if rule == "ct":
            from aberra.prepare.ct_brain import ct_brain

            return ct_brain(volume)
        if rule == "command":
            return self._run(volume)
        if rule == "all":
            return np.ones(volume.shape, dtype=bool)
        return body(volume.data[0]) if rule == "otsu" else nonzero(volume.data)

    def _run(self, volume: Volume) -> NDArray[np.bool]:
        """Let an external program make the mask."""
        from aberra.io import labels_of, read

        with TemporaryDirectory() as folder:
            source, target = Path(folder) / "input.nii.gz", Path(folder) / "output.nii.gz"
            volume.with_(data=volume.data[:1], channels=volume.channels[:1]).write(source)
            words = [
                word.replace("{input}", str(source)).replace("{output}", str(target)) for word in self.words
            ]
            try:
                done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 (the user's own command)
            except OSError as error:
                raise InputError(
                    f"brain-mask command '{words[0]}' cannot be started ({error.strerror}); is it installed and on PATH?"
                ) from error
            if done.returncode or not target.is_file():
                said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
                raise InputError(
                    f"brain-mask command '{words[0]}' failed with exit code {done.returncode}: {said[0]}"
                )
            found = read(target)
        inside = labels_of(found.data[0], f"mask of '{words[0]}'")[0] > 0
        # some programs write another axis order or voxel size: the affine says where the mask lies
        return resample_to(inside, found.affine, volume.affine, volume.shape, order=0)


def _may_be_head(volume: Volume) -> bool:
    """Whether this may be an MR scan of a head: a volume of that size, and nothing says CT or
    another modality.
    """
    extent = [length * step for length, step in zip(volume.shape, volume.spacing, strict=True)]
    shortest, middle, _ = sorted(extent)
    if shortest < SHORTEST_MM or middle < HEAD_MM or min(volume.shape) < SLICES:
        return False
    header = volume.provenance.get("dicom", {})
    if header.get("body_part", "").upper() in NOT_HEAD:
        return False
    said = {header.get("modality", ""), *volume.channels}
    words = re.split(r"[^a-z0-9]+", PurePath(str(volume.provenance.get("path", ""))).name.lower())
    if NOT_MR & {name.lower() for name in said} or NOT_MR_FILES & set(words):
        return False
    return float((volume.data[0] < AIR_HU).mean()) <= AIR_SHARE
