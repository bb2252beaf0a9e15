"""Jobs come back in order, whoever does them; what fails says so, and a killed process costs
nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import odd_jobs
from aberra.errors import ConfigError, JobError, ManifestError, MismatchError
from aberra.jobs import HERE, Job, engine, share, spread
from aberra.jobs import ray as room


def _jobs(count=2, **options):
    return [Job(f"job {number}", {"number": number, **options}) for number in range(count)]


@pytest.fixture(scope="module")
def importable():
    """Processes that are started find this test's functions, too."""
    with pytest.MonkeyPatch.context() as patch:
        here = os.pathsep.join(
            filter(None, (str(Path(odd_jobs.__file__).parent), os.environ.get("PYTHONPATH")))
        )
        patch.setenv("PYTHONPATH", here)
        yield


@pytest.fixture(scope="module", params=["processes", "ray"])
def on(request, importable):
    """Each engine, two jobs at a time; Ray takes many seconds to start."""
    with engine(request.param, 2) as found:
        yield found


def test_the_replies_are_in_order_and_of_other_processes(on, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = on.do(odd_jobs.where, _jobs(3))
    assert [number for number, *_ in found] == [0, 1, 2]
    assert os.getpid() not in {pid for _, pid, *_ in found}
    assert {place for *_, place in found} == {str(tmp_path)}
    assert on.at_once == 2


def test_a_killed_process_is_begun_again(on, tmp_path):
    assert on.do(odd_jobs.killed_at_first, _jobs(mark=tmp_path / "mark")) == [0, 1]


def test_errors_come_back_as_themselves(on):
    with pytest.raises(ManifestError, match=r"^job 0: rows\.csv: 1 problem") as caught:
        on.do(odd_jobs.refused, _jobs(1))
    assert caught.value.problems == ["row 0: no"]
    with pytest.raises(JobError, match=r"^job 0: .*ZeroDivisionError"):
        on.do(odd_jobs.unforeseen, _jobs(1))


def test_who_is_killed_every_time_is_given_up(on):
    with pytest.raises(JobError, match=r"^job 0: "):
        on.do(odd_jobs.always_killed, _jobs(1))


def test_without_an_engine_it_is_this_process():
    with engine(None) as found:
        assert found is HERE
        assert [pid for _, pid, *_ in found.do(odd_jobs.where, _jobs(2))] == [os.getpid()] * 2


def test_unknown_engines_are_refused():
    with pytest.raises(ConfigError, match=r"unknown engine 'rya'.*Known: processes"), engine("rya"):
        pass


def test_ray_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'aberra\[scale\]'"), room.session():
        pass


def test_ray_is_not_imported_unless_asked_for():
    code = "import sys, aberra.jobs, aberra.cli, aberra.jobs.processes, aberra.workflows.fit; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("count", "at_once"), [(1, 1), (3, 8), (50, 1), (51, 1), (1000, 7)])
def test_parts_are_everything_once_and_never_empty(count, at_once):
    parts = [share(range(count), part, "case(s)") for part in spread(count, at_once)]
    assert sorted(each for part in parts for each in part) == list(range(count))
    assert all(0 < len(part) <= 50 for part in parts)
    assert len(parts) >= min(count, at_once)


@pytest.mark.parametrize("which", ["0/2", "3/2", "1/6", "2", "a/b", "1/-2", ""])
def test_parts_that_are_none(which):
    with pytest.raises(MismatchError, match=r"cohort\.csv: no part '.*' of 5 case"):
        share(range(5), which, "cohort.csv: case(s)")
