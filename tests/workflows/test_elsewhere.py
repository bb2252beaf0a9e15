"""What other processes and machines do of a cohort is what this one would have done."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import odd_jobs
from aberra.cli import app
from aberra.cohort import Cohort
from aberra.errors import ConfigError, OutputError
from aberra.jobs import Job, engine
from aberra.workflows.detect import detect_cohort
from small_scans import cohort, detector

HELPERS = Path(odd_jobs.__file__).parent
CASES = 5


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A detector, scans of which one is broken, and what this process makes of them."""
    folder = tmp_path_factory.mktemp("elsewhere")
    model = detector("intensity-unfiltered", cohort(folder, 4, split=True), folder / "model")
    (folder / "scans").mkdir()
    manifest = cohort(folder / "scans", CASES)
    (folder / "scans" / "scan3.nii.gz").write_bytes(b"no scan")
    scans = Cohort.read(manifest)
    found = detect_cohort(model, scans, out=folder / "here", report=False)
    assert (found.done, list(found.failed)) == (CASES - 1, ["c3"])
    return model, scans, folder / "here"


@pytest.fixture(scope="module", params=["processes", "ray"])
def on(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")]))
        with engine(request.param, 2) as found:
            yield found


def _content(out):
    """Everything in a folder of results but how long it took."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.name == "result.json":
            found[name] = json.loads(path.read_text()) | {"seconds": 0}
        elif path.name == "scores.csv":
            rows = csv.DictReader(path.read_text().splitlines())
            found[name] = sorted(str(row | {"seconds": 0}) for row in rows)
        elif path.name == ".aberra.files":
            found[name] = sorted(path.read_text().splitlines())
        elif path.is_file() and path.name != ".aberra.json":
            found[name] = path.read_bytes()
    return found


def _same(out, here):
    found, expected = _content(out), _content(here)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert sum(name.endswith("map.nii.gz") for name in found) == CASES - 1


def test_the_results_are_the_same_to_the_byte_and_kept(on, given, tmp_path):
    model, scans, here = given
    out = tmp_path / "out"
    found = detect_cohort(model, scans, out=out, report=False, on=on)
    assert (found.done, found.kept, list(found.failed)) == (CASES - 1, 0, ["c3"])
    _same(out, here)
    again = detect_cohort(model, scans, out=out, report=False, on=on)
    assert (again.done, again.kept, list(again.failed)) == (0, CASES - 1, ["c3"])
    _same(out, here)


@dataclass
class Deadly:
    """An engine, one of whose processes is killed behind the first result that it has saved."""

    on: Any
    mark: Path
    at_once: int = 2

    def do(self, function, jobs, *, progress):
        return self.on.do(
            odd_jobs.killed_midway,
            [
                Job(job.name, {"mark": self.mark, "function": function, "options": job.options})
                for job in jobs
            ],
            progress=progress,
        )


def test_a_process_that_is_killed_in_the_middle_loses_nothing(on, given, tmp_path):
    model, scans, here = given
    out, mark = tmp_path / "out", tmp_path / "mark"
    found = detect_cohort(model, scans, out=out, report=False, on=Deadly(on, mark))
    assert mark.exists()
    assert found.kept >= 1  # what the killed one had saved
    assert (found.done + found.kept, list(found.failed)) == (CASES - 1, ["c3"])
    _same(out, here)


def test_the_folder_is_of_one_model_whoever_writes_it(on, given, tmp_path):
    model, scans, here = given
    out = tmp_path / "out"
    detect_cohort(model, scans, out=out, protocol="healthy-fpr-5", report=False)
    with pytest.raises(OutputError, match=r"part 1/2: .*--overwrite"):
        detect_cohort(model, scans, out=out, report=False, on=on)
    found = detect_cohort(model, scans, out=out, overwrite=True, report=False, on=on)
    assert found.done == CASES - 1
    _same(out, here)


def test_a_detector_that_lies_nowhere_cannot_be_sent(given, tmp_path):
    model, scans, _ = given
    with (
        engine("processes", 2) as on,
        pytest.raises(ConfigError, match=r"not saved; other processes need its folder"),
    ):
        detect_cohort(model.with_(folder=None), scans, out=tmp_path / "out", on=on)


def _script(*arguments):
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("#!/bin/bash\n#SBATCH ")
    return done.stdout


def test_the_tasks_of_a_slurm_array_are_the_whole(given, tmp_path, monkeypatch):
    model, scans, here = given
    work = tmp_path / "a folder's"  # quoted in the script
    work.mkdir()
    monkeypatch.chdir(work)
    script = _script(
        "detect", model.folder, scans.source, "--out", "out", "--on", "slurm", "--jobs", 2, "--device", "cpu"
    )
    assert "#SBATCH --array=1-2\n" in script
    assert list(work.iterdir()) == []  # nothing is done, nothing submitted
    monkeypatch.chdir(tmp_path)
    for task in ("2", "1"):
        ended = subprocess.run(
            ["bash"], input=script, text=True, capture_output=True, check=False,
            env=os.environ | {"SLURM_ARRAY_TASK_ID": task, "SLURM_CPUS_PER_TASK": "1"},
        )  # fmt: skip
        assert ended.returncode == (task == "2"), ended.stderr  # the broken scan is of the second part
    found = _content(work / "out")
    del found["report.html"]
    found[".aberra.files"].remove('"report.html"')
    expected = _content(here)
    # the part that did not see the broken scan does not know of it
    assert found.pop("scores.csv") == [row for row in expected.pop("scores.csv") if "'c3'" not in row]
    assert found == expected


def test_ensembles_and_suites_are_array_jobs_too(given, tmp_path):
    _, scans, _ = given
    script = _script("fit", "waic", scans.source, "--out", tmp_path / "model", "--on", "slurm")
    assert "#SBATCH --array=1-5\n" in script
    assert " fit --resume --out " in script
    assert script.endswith('--part "$SLURM_ARRAY_TASK_ID/5"\n')
    script = _script("benchmark", "smoke", "--out", tmp_path / "out", "--on=slurm", "--only", "vae", "--seeds", 2, "--device", "cuda")  # fmt: skip
    assert "#SBATCH --array=1-2\n" in script
    assert "#SBATCH --gpus-per-task=1\n" in script
    assert "--only vae --seeds 2" in script
    assert not (tmp_path / "out").exists()


def test_one_model_is_no_array(given, tmp_path):
    _, scans, _ = given
    done = CliRunner().invoke(
        app, ["fit", "vae", str(scans.source), "--out", str(tmp_path / "m"), "--on", "slurm"]
    )
    assert isinstance(done.exception, ConfigError)
    assert "one model is one job" in str(done.exception)
