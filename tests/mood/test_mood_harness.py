"""Submissions run case by case; most are shell scripts of a line."""

from __future__ import annotations

import csv
import os
import socket
from time import perf_counter, sleep

import pytest
from mood_cases import case, challenge, volume

from aberra.cohort import Cohort
from aberra.errors import ConfigError, InputError, MismatchError, OutputError
from aberra.mood import runtime
from aberra.mood.harness import run
from aberra.mood.package import package
from aberra.mood.runtime import Container, Process, choose, watched
from aberra.mood.scorer import score
from small_scans import cohort, detector, scan

ALONE = {"runtime": "process", "tasks": ("sample",)}
ANSWER = 'for f in "$1"/*; do echo 0.5 > "$2/$(basename "$f").txt"; done\n'


def _submission(folder, body, tasks=("sample",)):
    (folder / "workspace").mkdir(parents=True)
    for task in tasks:
        (folder / "workspace" / f"run_{task}_brain.sh").write_text(body)
    return folder


@pytest.fixture
def toy(tmp_path):
    """Four scans in the challenge's layout."""
    labels, _ = challenge(tmp_path, cases=4)
    (tmp_path / "toy").mkdir()
    for number in range(4):
        volume(case(number)[2]).write(tmp_path / "toy" / f"c{number}.nii.gz")
    return tmp_path / "toy", labels


def _rows(out):
    with (out / "cases.csv").open(newline="", encoding="utf-8") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def test_each_case_is_given_alone_and_its_answer_is_kept(toy, tmp_path):
    body = 'ls "$1" | wc -l > "$2/$(ls "$1").txt"\n'
    found = run(_submission(tmp_path / "s", body), toy[0], out=tmp_path / "out", **ALONE)
    assert [row["status"] for row in found.rows] == ["done"] * 4
    assert (tmp_path / "out" / "sample" / "c2.nii.gz.txt").read_text().strip() == "1"
    assert all(row["seconds"] >= 0 for row in found.rows)


def test_a_case_that_sleeps_is_killed_with_all_that_it_started(toy, tmp_path):
    trace = tmp_path / "alive"
    body = f'case "$(ls "$1")" in c1*) (sleep 4; touch {trace}) & sleep 30;; esac\n' + ANSWER
    begun = perf_counter()
    found = run(_submission(tmp_path / "s", body), toy[0], out=tmp_path / "out", limit=2, **ALONE)
    assert perf_counter() - begun < 25
    rows = _rows(tmp_path / "out")
    assert rows["c1"]["status"] == "timed out"
    assert rows["c1"]["reason"] == "not finished after 2 s"
    assert 2 <= float(rows["c1"]["seconds"]) < 10
    assert sum(row["status"] == "done" for row in found.rows) == 3
    sleep(4)
    assert not trace.exists()


def test_failures_are_told_and_scored_as_zeros(toy, tmp_path):
    body = 'case "$(ls "$1")" in c1*) echo broken >&2; exit 3;; c3*) exit 0;; esac\n' + ANSWER
    found = run(_submission(tmp_path / "s", body), toy[0], out=tmp_path / "out", labels=toy[1], **ALONE)
    rows = _rows(tmp_path / "out")
    assert rows["c1"]["reason"] == "exit code 3: broken"
    assert rows["c3"]["reason"] == "wrote no c3.nii.gz.txt"
    assert (tmp_path / "out" / "logs" / "c1-sample.log").read_text() == "broken\n"
    scores = found.scores["sample"]
    assert sorted(scores.zeros) == ["c1", "c3"]
    assert scores.value == pytest.approx(0.5)  # both anomalies last: all four tie at that threshold
    assert scores.team == "s"


def test_a_second_call_does_what_is_left(toy, tmp_path):
    gate = tmp_path / "gate"
    count = tmp_path / "count"
    body = f'echo x >> {count}\ncase "$(ls "$1")" in c1*) [ -e {gate} ] || exit 1;; esac\n' + ANSWER
    folder = _submission(tmp_path / "s", body)
    assert run(folder, toy[0], out=tmp_path / "out", **ALONE).kept == 0
    gate.touch()
    (tmp_path / "out" / "sample" / "c2.nii.gz.txt").unlink()
    again = run(folder, toy[0], out=tmp_path / "out", **ALONE)
    assert again.kept == 2
    assert len(count.read_text().splitlines()) == 4 + 2
    assert {row["status"] for row in again.rows} == {"done"}
    (folder / "workspace" / "run_sample_brain.sh").write_text(ANSWER)
    with pytest.raises(OutputError, match="another run"):
        run(folder, toy[0], out=tmp_path / "out", **ALONE)


def test_the_network_is_off_or_said_to_be_on(toy, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        body = f'python -c "{code}" || echo none\n' + ANSWER
        path = _submission(tmp_path / "s", body) / "workspace" / "run_sample_brain.sh"
        place = Process(folder=tmp_path / "s")
        (tmp_path / "pred").mkdir()
        ended = place.run(path.name, toy[0], tmp_path / "pred", 60)
        assert place.network.startswith("off") == ("none" in ended.log)
        assert Process(folder=tmp_path / "s", alone=()).network.startswith("ON")
        ended = Process(folder=tmp_path / "s", alone=()).run(path.name, toy[0], tmp_path / "pred", 60)
        assert "none" not in ended.log


def test_what_cannot_be_run_is_refused(toy, tmp_path):
    with pytest.raises(InputError, match=r"run_sample_brain.sh: no such script"):
        run(toy[0], toy[0].parent / "toy", out=tmp_path / "out", **ALONE)
    folder = _submission(tmp_path / "s", ANSWER)
    with pytest.raises(InputError, match="no cases"):
        run(folder, toy[1], out=tmp_path / "out", **ALONE)
    with pytest.raises(OutputError):
        run(folder, toy[0], out=toy[0], **ALONE)


def test_a_manifest_gives_its_scans_whatever_their_format(tmp_path):
    (tmp_path / "data").mkdir()
    scan(0).write(tmp_path / "data" / "a.nii")
    scan(1).write(tmp_path / "data" / "b.nii.gz")
    manifest = tmp_path / "data" / "manifest.csv"
    manifest.write_text("case,t1,t2,split\nx,a.nii,,test\ny,b.nii.gz,,test\nz,b.nii.gz,a.nii,train\n")
    folder = _submission(tmp_path / "s", ANSWER)
    with pytest.raises(MismatchError, match="several channels; there are t1, t2"):
        run(folder, manifest, out=tmp_path / "out", **ALONE)
    with pytest.raises(MismatchError, match="no channel 'flair'"):
        run(folder, manifest, out=tmp_path / "out", channel="flair", **ALONE)
    found = run(folder, manifest, out=tmp_path / "out", channel="t1", split="test", **ALONE)
    assert [row["case"] for row in found.rows] == ["x", "y"]


def test_a_packaged_detector_runs_from_its_folder(tmp_path):
    manifest = cohort(tmp_path, cases=6)
    detector("intensity", manifest, tmp_path / "model").calibrate(Cohort.read(manifest))
    package(tmp_path / "model", out=tmp_path / "submission")
    plain = scan(20)
    data = plain.data.copy()
    data[0, 2:4, 6:10, 6:10] *= 2
    plain.with_(data=data).write(tmp_path / "toy" / "c1.nii.gz")
    truth = plain.with_(data=(data != plain.data), channels=("mask",))
    truth.write(tmp_path / "toy_label" / "pixel" / "c1.nii.gz")
    found = run(tmp_path / "submission", tmp_path / "toy", out=tmp_path / "out", runtime="process")
    assert [row["status"] for row in found.rows] == ["done"] * 2, found.rows
    assert 0.5 < float((tmp_path / "out" / "sample" / "c1.nii.gz.txt").read_text()) < 1
    scores = score(tmp_path / "out", tmp_path / "toy_label", task="pixel", out=tmp_path / "scores", n_boot=10)
    assert scores.value > 0.5
    assert not scores.zeros


FAKE = """#!/bin/sh
echo "$@" >> {calls}
case "$1" in
  info) exit 0;;
  build) exit {built};;
  kill) exit 0;;
esac
while [ "$1" != sh ]; do
  case "$2" in *:/mnt/data:ro) data="${{2%:/mnt/data:ro}}";; *:/mnt/pred) pred="${{2%:/mnt/pred}}";; esac
  shift
done
exec sh {folder}/workspace/"$(basename "$2")" "$data" "$pred"
"""


def _engine(monkeypatch, tmp_path, folder, built=0):
    """A stand-in for Docker that notes what it is told and runs the scripts itself."""
    (tmp_path / "bin").mkdir()
    engine = tmp_path / "bin" / "docker"
    engine.write_text(FAKE.format(calls=tmp_path / "calls", folder=folder, built=built))
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")


def test_a_container_has_no_network_and_the_challenges_paths(toy, tmp_path, monkeypatch):
    folder = _submission(tmp_path / "s", 'case "$(ls "$1")" in c1*) sleep 30;; esac\n' + ANSWER)
    _engine(monkeypatch, tmp_path, folder)
    found = run(folder, toy[0], out=tmp_path / "out", tasks=("sample",), limit=2)
    assert (found.runtime, found.network) == ("docker", "off (--network none)")
    assert sorted(row["status"] for row in found.rows) == ["done"] * 3 + ["timed out"]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [line.split()[0] for line in calls] == ["info", "build", "run", "run", "kill", "run", "run"]
    started = next(line for line in calls if line.startswith("run"))
    assert "--network none" in started
    assert started.endswith("sh /workspace/run_sample_brain.sh /mnt/data /mnt/pred")
    name = started.split("--name ")[1].split()[0]
    assert f"kill {name}" in calls


def test_an_image_that_cannot_be_built_is_said(toy, tmp_path, monkeypatch):
    folder = _submission(tmp_path / "s", ANSWER)
    _engine(monkeypatch, tmp_path, folder, built=1)
    with pytest.raises(InputError, match="docker cannot build it"):
        run(folder, toy[0], out=tmp_path / "out", tasks=("sample",))


def test_the_runtime_is_an_engine_that_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "_answers", lambda engine: engine == "podman")
    assert choose(tmp_path, "auto") == Container(folder=tmp_path, name="podman")
    assert choose(tmp_path, "process").name == "process"
    with pytest.raises(ConfigError, match="docker: not installed"):
        choose(tmp_path, "docker")
    monkeypatch.setattr(runtime, "_answers", lambda _: False)
    assert choose(tmp_path, "auto").name == "process"


def test_a_command_that_is_not_there_is_an_error():
    with pytest.raises(FileNotFoundError):
        watched(["no-such-command"], 1)
