"""Whatever goes wrong on the command line is one message."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import aberra.cli
from aberra.cohort import Cohort
from aberra.errors import InputError


@pytest.fixture
def main(monkeypatch, capsys, tmp_path):
    """Run `aberra doctor` where reading raises; gives the exit code and what was said."""

    def run(error, *arguments):
        def broken(*_, **__):
            raise error

        monkeypatch.setattr(Cohort, "from_paths", broken)
        monkeypatch.setattr(Cohort, "read", broken)
        monkeypatch.setattr(sys, "argv", ["aberra", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            aberra.cli.main()
        return done.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("e[/b].nii: no scan; convert it"), "Error: e[/b].nii: no scan; convert it\n"),
        (PermissionError(13, "Permission denied", "[x].nii"), "Error: [x].nii: Permission denied\n"),
        (MemoryError(), "Error: not enough memory\n"),
        (
            MemoryError("Unable to allocate 976. TiB"),
            "Error: not enough memory (Unable to allocate 976. TiB)\n",
        ),
    ],
)
def test_what_is_known_is_one_line(main, error, said):
    assert main(error, "evaluate", "results", "manifest.csv") == (1, said)


@pytest.mark.parametrize(
    "error", [RecursionError("deep"), KeyError("[b]"), AssertionError(), OSError("odd"), RuntimeError("a\nb")]
)
def test_what_nobody_foresaw_is_one_line_and_a_log(main, error):
    code, said = main(error, "evaluate", "results", "manifest.csv")
    assert code == 1
    assert said.startswith(f"Error: unexpected {type(error).__name__}")
    assert said.count("\n") == 1
    log = Path(re.search(r"please report it, log at (.*)\n", said)[1])
    assert "Traceback" in log.read_text()
    log.unlink()


def test_ctrl_c_is_one_line_and_its_own_exit_code(main):
    code, said = main(KeyboardInterrupt(), "evaluate", "results", "manifest.csv")
    assert code == 130
    assert said.startswith("interrupted")
    assert said.count("\n") == 1


def test_wrong_usage_shows_what_was_given(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    for arguments in (
        ["e[/b]"],
        ["methods", "a", "[/red]:smile:"],
    ):
        monkeypatch.setattr(sys, "argv", ["aberra", *arguments])
        with pytest.raises(SystemExit) as done:
            aberra.cli.main()
        assert done.value.code == 2
        assert arguments[-1] in capsys.readouterr().err


def test_names_of_other_encodings_can_be_printed(main):
    code, said = main(InputError("caf\udce9.nii: no scan"), "evaluate", "results", "manifest.csv")
    assert code == 1
    assert "no scan" in said
