"""A folder of cases is the same whoever writes it."""

from __future__ import annotations

import pytest

from aberra.synthesis import folder, write_cohort

SMALL = {"cases": 3, "lesions": 0.34, "spacing": 8.0, "seed": 1, "progress": False}


def _bytes(path):
    return {file.name: file.read_bytes() for file in sorted(path.iterdir()) if file.name[0] != "."}


def test_several_processes_write_what_one_writes(tmp_path, monkeypatch):
    write_cohort(tmp_path / "one", workers=1, **SMALL)
    monkeypatch.setattr(folder, "WORTH_S", -1.0)
    started = []
    pool = folder.ProcessPoolExecutor
    monkeypatch.setattr(
        folder, "ProcessPoolExecutor", lambda *args, **options: started.append(args) or pool(*args, **options)
    )
    write_cohort(tmp_path / "two", workers=2, **SMALL)
    assert started == [(2,)]
    assert len(_bytes(tmp_path / "one")) == 3 * 3 + 1 + 1
    assert _bytes(tmp_path / "two") == _bytes(tmp_path / "one")


@pytest.mark.parametrize(("worth", "pays"), [(1e9, False), (-1.0, True)])
def test_processes_are_started_where_they_pay(tmp_path, monkeypatch, worth, pays):
    def refuse(*args, **options):
        raise InterruptedError

    monkeypatch.setattr(folder, "WORTH_S", worth)
    monkeypatch.setattr(folder, "ProcessPoolExecutor", refuse)
    if pays:
        with pytest.raises(InterruptedError):
            write_cohort(tmp_path / "c", workers=2, **SMALL)
    write_cohort(tmp_path / "c", workers=1 if pays else 2, **SMALL)
