"""What ``detect`` returns for one scan, and how it lies on disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.errors import InputError
from aberra.files import atomic_path, read_json, write_json
from aberra.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Component:
    """One connected region above the threshold.

    Attributes:
        volume_mm3: its volume.
        voxels: its size on the scan's grid.
        centre_mm: centre of mass (x, y, z) in RAS+ scanner space.
        centre_index: the voxel (d, h, w) of the region nearest to that centre.
        peak: highest score inside.
        mean: mean score inside.
    """

    volume_mm3: float
    voxels: int
    centre_mm: tuple[float, float, float]
    centre_index: tuple[int, int, int]
    peak: float
    mean: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """Anomaly map, mask and numbers of one scan, on the scan's own grid.

    Attributes:
        case: case name; also the name of its folder.
        paths: the scan's file for each channel.
        map: anomaly map, shape (1, D, H, W), non-negative, higher is more anomalous.
        mask: the map at ``threshold``, small components removed, shape (D, H, W).
        reconstruction: the healthy version of the scan in prepared intensities, or None.
        uncertainty: how unsure the map is, shape (1, D, H, W), non-negative, or None.
        kinds: label value of the likeliest kind of lesion where that of any lesion is above 0.5, 0 elsewhere, shape (D, H, W), uint8;
            None where kinds are not told apart.
        score: one number for the case, higher is more anomalous.
        p: conformal p-value of ``score`` among healthy cases; None without calibration.
        components: regions of ``mask``, largest first.
        threshold: ``{"protocol": ..., "value": ...}``.
        scale: map values of the colour scale, ``{"low": ..., "high": ...}`` from healthy quantiles.
        healthy_scores: the calibration cases' scores, sorted, for plots.
        warnings: what the reader of this result must know.
        seconds: wall time of detection.
        model: ``{"name", "fingerprint", "method"}``.
        input: ``{"sha256", "shape", "affine", "spacing_mm", "orientation"}``.
        versions: library versions.
    """

    case: str
    paths: dict[str, str]
    map: Volume
    mask: np.ndarray[Any, np.dtype[np.bool]]
    reconstruction: Volume | None
    score: float
    p: float | None
    components: list[Component]
    threshold: dict[str, Any]
    scale: dict[str, float]
    healthy_scores: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    model: dict[str, str] = field(default_factory=dict)
    input: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    uncertainty: Volume | None = None
    kinds: NDArray[np.uint8] | None = None

    def save(self, folder: Path | str, *, unless: Callable[[], bool] = lambda: False) -> None:
        """Write ``result.json``, ``map.nii.gz`` and ``mask.nii.gz``, whole or not at all.

        Where they exist also ``reconstruction.nii.gz``, ``uncertainty.nii.gz`` and ``kinds.nii.gz``. An older result is replaced,
        nothing else is.

        Args:
            folder: new, empty, or of an older result.
            unless: see :func:`aberra.files.atomic_path`.

        Raises:
            OutputError: the folder holds something else, or cannot be written.
        """
        with atomic_path(folder, last="result.json", unless=unless) as temporary:
            temporary.mkdir()
            self.map.write(temporary / "map.nii.gz")
            for name, labels in (("mask", self.mask), ("kinds", self.kinds)):
                if labels is not None:
                    flat = self.map.with_(data=labels[None].astype(np.float32), channels=("mask",))
                    flat.write(temporary / f"{name}.nii.gz")
            if self.reconstruction is not None:
                self.reconstruction.write(temporary / "reconstruction.nii.gz")
            if self.uncertainty is not None:
                self.uncertainty.write(temporary / "uncertainty.nii.gz")
            write_json(temporary / "result.json", self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Everything but the arrays."""
        skipped = {"map", "mask", "reconstruction", "uncertainty", "kinds", "components"}
        content = {key: value for key, value in self.__dict__.items() if key not in skipped}
        return content | {"components": [asdict(component) for component in self.components]}

    @classmethod
    def load(cls, folder: Path | str) -> Result:
        """Read a saved result.

        Raises:
            InputError: the folder is not a finished result.
        """
        folder = Path(folder)
        if not (folder / "result.json").is_file():
            raise InputError(f"{folder}: no result.json; `aberra detect` writes one for each case")
        content = read_json(folder / "result.json")
        found: list[dict[str, Any]] = content.pop("components")
        components = [
            Component(
                **each
                | {key: tuple(each[key]) for key in ("centre_mm", "centre_index")}  # JSON has no tuples
            )
            for each in found
        ]

        def optional(name: str) -> Volume | None:
            path = folder / f"{name}.nii.gz"
            return Volume.read(path, channel=name) if path.is_file() else None

        kinds = optional("kinds")
        return cls(
            map=Volume.read(folder / "map.nii.gz", channel="anomaly"),
            mask=Volume.read(folder / "mask.nii.gz").data[0] > 0,
            reconstruction=optional("reconstruction"),
            uncertainty=optional("uncertainty"),
            kinds=None if kinds is None else kinds.data[0].astype(np.uint8),
            components=components,
            **content,
        )
