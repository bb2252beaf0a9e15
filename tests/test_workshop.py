"""What holds for the installation as a whole."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path
from time import perf_counter

import pytest

import aberra
from aberra.detector import Detector
from aberra.pretrained import shipped_detectors

HEAVY = ("torch", "torchio", "SimpleITK", "scipy", "nibabel", "numpy")


def test_no_package_that_breaks_the_cpu_build_of_torch():
    names = {str(each.metadata["Name"]).lower() for each in distributions()}
    assert not {name for name in names if name == "torchvision" or name.startswith("nvidia-")}


def test_help_is_fast():
    def best(*arguments):
        times = []
        for _ in range(3):
            started = perf_counter()
            subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
            times.append(perf_counter() - started)
        return min(times)

    took = best("-m", "aberra", "--help")
    # or, on a slow machine, little more than the libraries that print it
    assert took < 0.5 or took < 2.5 * best("-c", "import typer.rich_utils, rich.markdown, rich.traceback")


def test_help_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "aberra", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert not imported & set(HEAVY)


GROUPED = """
import os
import pytest

@pytest.mark.parametrize("group", [pytest.param(n, marks=pytest.mark.xdist_group(str(n))) for n in range(4)])
@pytest.mark.parametrize("number", range(4))
def test_one(group, number):
    with open("workers", "a") as file:
        file.write(f"{group} {os.environ['PYTEST_XDIST_WORKER']}\\n")
"""


def test_tests_of_a_group_stay_on_one_worker(tmp_path):
    (tmp_path / "test_grouped.py").write_text(GROUPED)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "--dist",
        "loadgroup",
        "-p",
        "no:cacheprovider",
    ]
    subprocess.run([*command, "test_grouped.py"], cwd=tmp_path, check=True, capture_output=True)
    lines = (tmp_path / "workers").read_text().splitlines()
    assert len(lines) == 16
    assert len(set(lines)) == 4, (
        "pytest and pytest-xdist do not go together: see the extra 'dev' in pyproject.toml"
    )


def test_the_public_face():
    for name in aberra.__all__:
        assert getattr(aberra, name).__name__.lower() == name.lower()
    with pytest.raises(AttributeError, match="nothing"):
        _ = aberra.nothing


def test_version():
    done = subprocess.run(
        [sys.executable, "-m", "aberra", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"aberra {aberra.__version__}"


@pytest.mark.parametrize("name", sorted(shipped_detectors()))
def test_shipped_detectors_are_there_small_and_calibrated(name):
    folder = shipped_detectors()[name]
    assert (folder / "weights.safetensors").stat().st_size <= 8 * 2**20
    assert (folder / "card.md").is_file()
    detector = Detector.load(name)
    assert detector.calibration.n_cases >= 19


def test_containers_install_what_the_scripts_install():
    root = Path(aberra.__file__).parents[2]
    pin = re.search(r"torch==[\d.]+", (root / "scripts/install").read_text())[0]
    ignored = (root / ".dockerignore").read_text().split()
    for recipe in ("Dockerfile", "aberra.def"):
        text = (root / recipe).read_text()
        assert f"pip install --no-cache-dir {pin} " in text
        assert "/src[dicom]" in text
    copied = {
        line.split()[0]
        for line in (root / "aberra.def").read_text().splitlines()
        if " /src/" in line and "pip" not in line
    }
    assert {name.removeprefix("!") for name in ignored if name.startswith("!")} == copied
    built = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert {built["readme"], *built["license-files"], "src", "pyproject.toml"} <= copied
