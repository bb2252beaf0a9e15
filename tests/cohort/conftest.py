"""Small cohorts on disk."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cohort_scans import ball


@pytest.fixture
def scan(tmp_path):
    """Write a NIfTI below the test's folder and return its path."""

    def write(name, data=None, *, spacing=(1.0, 1.0, 1.0), affine=None, **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        grid = np.diag([*spacing, 1.0]) if affine is None else affine
        nib.save(nib.Nifti1Image(ball(**options) if data is None else data, grid), path)
        return path

    return write


@pytest.fixture
def manifest(tmp_path):
    """Write a manifest's lines and return its path."""

    def write(*lines, name="manifest.csv"):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def real():
    """The folder of real scans."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("ABERRA_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real scans at {folder}; set ABERRA_DATA")
    return folder
