"""A case: the files of one scan and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aberra.errors import MismatchError
from aberra.files import config_hash

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aberra.volume import Volume

MAPS = ("mask", "lesion", "lesion2", "ignore", "labels", "truth")
"""Columns of files on the scan's voxels that are no scans."""

AGE_BAND = 10
"""Years in an age group of Mondrian p-values."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of a manifest.

    Attributes:
        case: unique name.
        patient: whom it is of; splits are by patient.
        channels: channel name to file, only those that are given.
        mask: brain or foreground mask.
        lesion: truth.
        lesion2: truth of a second rater; how far the two agree bounds what a method can reach.
        ignore: voxels that an evaluation does not judge.
        labels: tissue map.
        truth: what disease took away, the healthy scan minus this one, signed, in its intensities;
            known of synthetic scans.
        label: 0 healthy, 1 not; None if unknown.
        groups: the other columns' values by name (``site``, ``age``, ``sex``, ...), empty ones left
            out.
        split: ``train``, ``val``, ``calibration``, ``test`` or any other name.
        row: line of the manifest, the header being 1; 0 without a manifest.

    Examples:
        >>> from pathlib import Path
        >>> from aberra.cohort import Case
        >>> case = Case(case="s01", patient="p1", channels={"flair": Path("s01.nii.gz")}, label=0)
        >>> case.healthy, list(case.files)
        (True, ['flair'])
    """

    case: str
    patient: str
    channels: dict[str, Path]
    mask: Path | None = None
    lesion: Path | None = None
    lesion2: Path | None = None
    ignore: Path | None = None
    labels: Path | None = None
    truth: Path | None = None
    label: int | None = None
    groups: dict[str, str] = field(default_factory=dict)
    split: str | None = None
    row: int = 0

    @property
    def healthy(self) -> bool:
        """Label 0, or no label and no lesion file."""
        return self.label == 0 or (self.label is None and self.lesion is None)

    @property
    def files(self) -> dict[str, Path]:
        """Every file that is given, by column."""
        maps = {name: getattr(self, name) for name in MAPS}
        return self.channels | {name: path for name, path in maps.items() if path is not None}

    def read(self, channels: Sequence[str] | None = None) -> Volume:
        """Read the channels asked for (all without), mask and truth included.

        Raises:
            MismatchError: a channel that the case does not have.
            InputError: a file cannot be used.
        """
        from aberra.io import read_case, read_labels, read_mask

        names = list(channels) if channels is not None else list(self.channels)
        for name in names:
            if name not in self.channels:
                raise MismatchError(f"{self.case}: no channel '{name}'; it has {', '.join(self.channels)}")
        volume = read_case({name: self.channels[name] for name in names})
        warnings = [*volume.provenance.get("warnings", [])]
        labels = None if self.lesion is None else read_labels(self.lesion, volume, warnings)
        return volume.with_(
            mask=None if self.mask is None else read_mask(self.mask, volume, warnings),
            lesion=None if labels is None else labels > 0,
            kinds=labels,
            covariates=self.groups,
            provenance={**volume.provenance, "case": self.case, "warnings": warnings},
        )

    def group(self, column: str) -> str:
        """The case's group for p-values: the column's value, ages in bands of :data:`AGE_BAND`
        years; empty where unknown.
        """
        value = self.groups.get(column, "")
        if column == "age" and value:
            low = int(float(value) // AGE_BAND * AGE_BAND)
            return f"{low}-{low + AGE_BAND - 1}"
        return value

    def content_hash(self, channels: Sequence[str] | None = None) -> str:
        """Hash of all bytes that :meth:`read` would read; what cannot be read has none, and reading
        it says why.
        """
        from aberra.io import input_hash

        names = list(channels) if channels is not None else list(self.channels)
        files = [self.channels[name] for name in names if name in self.channels]
        parts = [input_hash(file) for file in (*files, self.mask, self.lesion) if file is not None]
        return config_hash([names, parts, self.mask is None, self.lesion is None])
