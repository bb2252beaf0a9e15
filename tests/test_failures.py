"""The last resort: one line, and a log where nobody foresaw what came."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aberra.errors import ConfigError, InputError
from aberra.failures import refuse, told


def _raised(error):
    def fail():
        raise error

    try:
        fail()
    except Exception as caught:  # noqa: BLE001 - any kind
        return caught


def test_a_log_goes_into_the_run(tmp_path):
    line = told(_raised(ZeroDivisionError("by\nnothing")), tmp_path / "out", "sub-01")
    log = tmp_path / "out" / "logs" / "sub-01.log"
    assert line == f"unexpected ZeroDivisionError: by nothing; please report it, log at {log}"
    text = log.read_text()
    assert "Traceback" in text
    assert text.startswith("aberra ")
    told(_raised(KeyError("again")), tmp_path / "out", "sub-01")
    assert "KeyError" in log.read_text()


@pytest.mark.parametrize("there", ["a file", "a folder of the user's"])
def test_where_the_run_cannot_be_written_the_log_goes_elsewhere(there, tmp_path):
    if there == "a file":
        (tmp_path / "logs").write_text("mine")
    else:
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / "sub-01.log").write_text("mine")
    line = told(_raised(ValueError("x")), tmp_path, "sub-01")
    found = Path(re.search(r"log at (.*)", line)[1])
    assert "Traceback" in found.read_text()
    found.unlink()
    mine = tmp_path / "logs" if there == "a file" else tmp_path / "logs" / "sub-01.log"
    assert mine.read_text() == "mine"


def test_a_full_disk_is_no_second_failure(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aberra.failures.NamedTemporaryFile", full)
    assert "no log could be written (No space left on device)" in told(_raised(ValueError("x")))


def test_several_failures_are_told_at_once_and_one_is_itself():
    refuse({}, "used")
    with pytest.raises(ConfigError, match="alone"):
        refuse({"a": ConfigError("alone")}, "used")
    with pytest.raises(InputError, match=r"2 case\(s\) cannot be used:\n  a: first\n  b: second"):
        refuse({"b": InputError("second"), "a": ConfigError("first")}, "used")
    with pytest.raises(InputError, match="a: unexpected TypeError"):
        refuse({"a": _raised(TypeError("x"))}, "used")
