"""A detector as a submission: what the challenge builds and runs."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from aberra.detector import Detector
from aberra.files import atomic_path, config_hash, write_json, write_text
from aberra.mood.predict import unit_of
from aberra.mood.wheel import requirements, write_wheel
from aberra.output import claim, new_folder
from aberra.versions import versions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aberra.mood.truth import Task

WORKSPACE = "workspace"
"""Folder of the entry scripts, at the container's root."""

TASKS: tuple[Task, ...] = ("sample", "pixel")
DATASETS = ("brain", "abdom")
SCRIPT = "run_{task}_{dataset}.sh"

RUN = """#!/bin/sh
# {script} IN OUT: predict every NIfTI file of IN
exec python "$(dirname "$0")/predict.py" {task} {model} "$1" "$2"
"""

PREDICT = '''"""python predict.py sample|pixel MODEL IN OUT"""

import sys
from pathlib import Path

from aberra.mood.predict import predict_folder

task, model, source, target = sys.argv[1:]
sys.exit(predict_folder(Path(__file__).parent / "detectors" / model, Path(source), Path(target), task))
'''

DOCKERFILE = """# docker build -t submission . ; needs the network, running does not
FROM python:{python}-slim
COPY requirements.txt {wheel} /tmp/
RUN pip install --no-cache-dir -r /tmp/requirements.txt && pip install --no-cache-dir --no-deps /tmp/{wheel}
COPY workspace /workspace
RUN chmod +x /workspace/*.sh && mkdir -p /mnt/data /mnt/pred
"""


def package(model: Path | str, *, out: Path, abdom: Path | str | None = None) -> dict[str, Any]:
    """Write a submission: ``Dockerfile``, ``requirements.txt``, this aberra as a wheel, and
    ``workspace/`` with the entry scripts, ``predict.py`` and the detectors; whole or not at all.

    Args:
        model: a calibrated detector of one channel: folder, or name of a shipped one.
        out: folder of the submission; new or empty.
        abdom: the detector of the abdomen; ``model`` without.

    Returns:
        What is written to ``submission.json``: the detectors' identities, and how their numbers
        get into [0, 1].

    Raises:
        ModelError, CalibrationError, MismatchError: a detector cannot be submitted.
        OutputError: ``out`` is not empty.
    """
    detectors = {"brain": Detector.load(model)}
    if abdom is not None:
        detectors["abdom"] = Detector.load(abdom)
    units = {name: unit_of(detector).words for name, detector in detectors.items()}
    out = new_folder(out)
    facts: dict[str, Any] = {
        "detectors": {name: detector.identity for name, detector in detectors.items()},
        "transforms": units,
        "versions": versions(),
    }
    with atomic_path(out) as temporary:
        claim(temporary, "submission", identity=config_hash(facts))
        _workspace(temporary / WORKSPACE, detectors)
        wheel = write_wheel(temporary)
        python = ".".join(platform.python_version_tuple()[:2])
        write_text(temporary / "requirements.txt", "\n".join([*requirements(), ""]))
        write_text(temporary / "Dockerfile", DOCKERFILE.format(python=python, wheel=wheel.name))
        write_json(temporary / "submission.json", facts)
    return facts


def _workspace(folder: Path, detectors: Mapping[str, Detector]) -> None:
    """Detectors and scripts; a data set without a detector of its own has the brain's."""
    for name, detector in detectors.items():
        detector.save(folder / "detectors" / name)
    write_text(folder / "predict.py", PREDICT)
    for dataset in DATASETS:
        model = dataset if dataset in detectors else "brain"
        for task in TASKS:
            script = SCRIPT.format(task=task, dataset=dataset)
            write_text(folder / script, RUN.format(script=script, task=task, model=model))
            (folder / script).chmod(0o755)
