"""Brain or foreground mask."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import numpy as np

from aberra.errors import ConfigError, InputError
from aberra.foreground import CUT_AWAY, RIM, nonzero, rim
from aberra.options import Between, configured
from aberra.prepare.grid import resample_to

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.volume import Volume

TISSUE_FACE = 0.3
"""Share of tissue from which a face of the field of view cuts through the body."""

MaskMethod = Literal["auto", "given", "nonzero", "otsu", "strip", "all", "command"]


class BrainMask:
    """Find the voxels that are judged.

    Args:
        method: ``auto`` (the given mask, else non-zero voxels if the background was cut away, else ``all`` if the field of view
            lies within tissue, else ``otsu``), ``given``,
            ``nonzero``, ``otsu`` (head or body against air), ``strip`` (classical skull strip by a growing surface, see :func:`~aberra.prepare.skull_strip.strip`; good on 3-D
            scans of adults, loose on thick slices; a scan that is stripped already keeps its non-zero voxels), ``all``, or ``command``.
        command: external program for ``command``, with ``{input}`` and ``{output}``, as in
            ``mri_synthstrip -i {input} -m {output}``; run without a shell.
        fraction: of ``strip``, in (0, 1); higher makes the brain smaller.
        blank: set voxels outside to zero.

    Raises:
        ConfigError: unknown method, ``fraction`` outside (0, 1), or ``command`` without a program.
    """

    version = 2

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
        """Return the volume with its mask.

        Raises:
            InputError: no foreground, or the external command failed.
        """
        mask = self._find(volume)
        if not mask.any():
            raise InputError(
                "empty foreground: every voxel is zero or outside the mask; is this the right file?"
            )
        data = volume.data * mask if self.blank else volume.data
        return volume.with_(mask=mask, data=data)

    def _find(self, volume: Volume) -> NDArray[np.bool]:
        method = self.method
        if method == "given" and volume.mask is None:
            raise InputError(
                "no mask given; add a column 'mask' to the manifest, or use brain-mask method = \"auto\""
            )
        if volume.mask is not None and method in {"auto", "given"}:
            return volume.mask
        if method in {"auto", "nonzero", "strip"}:
            inside = nonzero(volume.data)
            if method == "nonzero" or _cut_away(volume.data[0], inside):
                return inside
        if method == "strip":
            from aberra.prepare.skull_strip import strip

            return strip(volume, self.fraction)
        if method == "command":
            return self._run(volume)
        if method == "all":
            return np.ones(volume.shape, dtype=bool)
        head = _head(volume)
        return np.ones(volume.shape, dtype=bool) if method == "auto" and _inside_tissue(head) else head

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


def _cut_away(data: NDArray[np.float32], inside: NDArray[np.bool]) -> bool:
    """Whether the background was cut away: much of one value, and a bright rim instead of fading air."""
    if not inside.any():
        return True
    if inside.mean() > 1 - CUT_AWAY:
        return bool(inside.all() and data.min() == data.max())
    return rim(data, inside) >= RIM


def _inside_tissue(head: NDArray[np.bool]) -> bool:
    """Whether the field of view is a crop within the body: tissue on at least four of the six faces."""
    faces = [head.take(end, axis=axis).mean() for axis in range(3) for end in (0, -1)]
    return int(np.sum(np.array(faces) > TISSUE_FACE)) >= 4


def _head(volume: Volume) -> NDArray[np.bool]:
    """Head or body against air: Otsu's threshold on the smoothed scan, largest region, holes filled."""
    from scipy.ndimage import binary_fill_holes, gaussian_filter
    from skimage.filters import threshold_otsu

    smooth = gaussian_filter(volume.data[0], [1.0 if length > 2 else 0.0 for length in volume.shape])
    if smooth.min() == smooth.max():
        return np.full(volume.shape, bool(smooth.max() != 0))
    # half the threshold: Otsu splits bright from dark tissue where there is much of both
    found = _largest(smooth > smooth.min() + 0.5 * (threshold_otsu(smooth) - smooth.min()))
    for index in range(len(found)):
        found[index] = binary_fill_holes(found[index])
    return found


def _largest(found: NDArray[np.bool]) -> NDArray[np.bool]:
    """The largest connected region."""
    from scipy.ndimage import label

    labels, count = label(found)
    if count < 2:
        return found
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: NDArray[np.bool] = labels == sizes.argmax()
    return largest
