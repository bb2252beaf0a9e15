"""Work shared out on a real Slurm, and on a cluster of Ray that others have started."""

from __future__ import annotations

import csv

import pytest

from clusters import RAY, SLURM, ray_cluster, slurm
from small_scans import cohort, detector

pytestmark = pytest.mark.e2e

CASES = 4


@pytest.fixture(scope="module")
def given(run, tmp_path_factory):
    """A detector, scans, and the scores that one process gives them."""
    folder = tmp_path_factory.mktemp("clusters")
    detector("intensity-unfiltered", cohort(folder, 4, split=True), folder / "model")
    (folder / "scans").mkdir()
    manifest = cohort(folder / "scans", CASES)
    run("detect", folder / "model", manifest, "--out", folder / "here", "--device", "cpu")
    return folder / "model", manifest, _scores(folder / "here")


def _scores(out):
    """Of every case, without how long it took."""
    with (out / "scores.csv").open() as rows:
        return {row["case"]: row | {"seconds": ""} for row in csv.DictReader(rows)}


@pytest.mark.skipif(not SLURM, reason="apt-get install slurm-wlm")
def test_the_printed_array_runs_on_slurm_and_a_task_that_is_requeued_goes_on(run, given, tmp_path):
    model, manifest, expected = given
    out = tmp_path / "a folder's"
    script = run("detect", model, manifest, "--out", out, "--device", "cpu", "--on", "slurm", "--jobs", "2").stdout  # fmt: skip
    with slurm() as there:
        there.say("sbatch", input=script, cwd=tmp_path)
        there.finished()
        assert _scores(out) == expected
        results = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/result.json")}
        there.say("sbatch", "--array=1", input=script, cwd=tmp_path)  # once more, as after a requeue
        there.finished()
    told = "".join(path.read_text() for path in tmp_path.glob("slurm-*.out"))
    assert f"{CASES // 2} kept from before" in told
    assert {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/result.json")} == results


@pytest.mark.skipif(not RAY, reason="pip install 'aberra[scale]'")
@pytest.mark.parametrize("mode", ["token", pytest.param("disabled", marks=pytest.mark.slow)])
def test_a_cluster_of_ray_is_used_whether_it_asks_for_a_token_or_not(run, given, tmp_path, mode):
    model, manifest, expected = given
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("0" * 64)  # as Ray leaves one behind on its own
    with ray_cluster(HOME=str(home), RAY_AUTH_MODE=mode) as address:
        done = run(
            "detect", model, manifest, "--out", tmp_path / "out", "--on", f"ray://{address}", environment={"HOME": str(home)}
        )  # fmt: skip
    assert f"{CASES} case(s) scored" in done.stdout
    assert _scores(tmp_path / "out") == expected
