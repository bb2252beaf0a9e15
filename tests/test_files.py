"""Files that are whole or absent, and folders whose foreign files stay."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from aberra.errors import InputError, OutputError
from aberra.files import (
    MARK,
    RECORD,
    append_line,
    atomic_path,
    discard,
    file_hash,
    locked,
    reading,
    record,
    recorded,
    write_json,
    write_text,
    writing,
)


def _write(target, *, last="", unless=lambda: False, **files):
    """Write a folder as a case is written: every keyword is a file."""
    with atomic_path(target, last=last, unless=unless) as temporary:
        temporary.mkdir()
        for name, text in files.items():
            (temporary / name).write_text(text)


def _content(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_folder_appears_whole_and_leaves_nothing_beside_it(tmp_path):
    with pytest.raises(OutputError, match="No such file or directory"):
        _write(tmp_path / "case", a="1", **{"no/where": "2"})
    assert not list(tmp_path.iterdir())
    _write(tmp_path / "case", a="1", b="2")
    assert _content(tmp_path / "case") == {"a": "1", "b": "2"}
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "case").mkdir()
    _write(tmp_path / "case", a="1")
    assert _content(tmp_path / "case") == {"a": "1"}


def test_a_folder_is_replaced_file_by_file_and_keeps_what_the_user_put_there(tmp_path):
    case = tmp_path / "case"
    _write(case, map="1", old="1", result="1", last="result")
    (case / "notes").write_text("mine")
    (case / "more").mkdir()
    (case / "more" / "scan").write_text("mine")
    _write(case, map="2", new="2", result="2", last="result")
    assert (case / "more" / "scan").read_text() == "mine"
    (case / "more" / "scan").unlink()
    (case / "more").rmdir()
    assert _content(case) == {"map": "2", "new": "2", "result": "2", "notes": "mine"}
    assert recorded(case) == {"map", "new", "result"}


def test_a_name_that_was_aberras_once_is_the_users_again(tmp_path):
    case = tmp_path / "case"
    _write(case, a="1", b="1")
    _write(case, a="2")
    (case / "b").write_text("mine")
    _write(case, a="3")
    assert _content(case) == {"a": "3", "b": "mine"}
    with pytest.raises(OutputError, match="b: was not written by aberra"):
        _write(case, a="4", b="4")
    assert _content(case) == {"a": "3", "b": "mine"}


def _foreign_file(case):
    case.write_text("mine")


def _foreign_folder(case):
    case.mkdir()
    (case / "map").write_text("mine")


def _link(case):
    (case.parent / "elsewhere").mkdir()
    (case.parent / "elsewhere" / "map").write_text("mine")
    case.symlink_to(case.parent / "elsewhere", target_is_directory=True)


def _link_to_nothing(case):
    case.symlink_to(case.parent / "nowhere")


def _root(case):
    case.mkdir()
    write_json(case / MARK, {"kind": "results"})
    write_text(case / "map", "of another run")


@pytest.mark.parametrize("there", [_foreign_file, _foreign_folder, _link, _link_to_nothing, _root])
def test_what_is_in_the_way_of_a_folder_stays(there, tmp_path):
    there(tmp_path / "case")
    before = file_hash(tmp_path)
    with pytest.raises(OutputError, match="case"):
        _write(tmp_path / "case", map="1")
    assert file_hash(tmp_path) == before


def test_the_file_that_makes_a_folder_whole_goes_first_and_comes_last(tmp_path, monkeypatch):
    case = tmp_path / "case"
    _write(case, map="1", result="1", last="result")
    replace = Path.replace

    def killed(self, target):
        if Path(target).name == "map":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        _write(case, map="2", result="2", last="result")
    assert _content(case) == {"map": "1"}  # unfinished
    monkeypatch.undo()
    _write(case, map="2", result="2", last="result")
    assert _content(case) == {"map": "2", "result": "2"}


def test_what_another_process_has_finished_can_be_kept(tmp_path):
    _write(tmp_path / "case", a="1")
    _write(tmp_path / "case", a="2", unless=lambda: True)
    assert _content(tmp_path / "case") == {"a": "1"}


def test_in_a_marked_folder_only_recorded_files_are_replaced(tmp_path):
    write_text(tmp_path / "free.csv", "1")
    write_text(tmp_path / "free.csv", "2")  # a Python user's own folder: as asked
    write_json(tmp_path / MARK, {"kind": "results"})
    with pytest.raises(OutputError, match=r"free\.csv: was not written by aberra"):
        write_text(tmp_path / "free.csv", "3")
    write_text(tmp_path / "scores.csv", "1")
    write_text(tmp_path / "scores.csv", "2")
    (tmp_path / "report.html").symlink_to(tmp_path / "free.csv")
    with pytest.raises(OutputError, match=r"report\.html"):
        write_text(tmp_path / "report.html", "3")
    assert (tmp_path / "free.csv").read_text() == "2"
    assert recorded(tmp_path) == {"scores.csv"}


def test_a_record_survives_half_a_line_and_never_leads_out_of_its_folder(tmp_path):
    (tmp_path / RECORD).write_text('\n"a"\n"../b"\n"c')
    assert recorded(tmp_path) == {"a"}
    write_json(tmp_path / MARK, {"kind": "results"})
    record(tmp_path / "d")
    assert recorded(tmp_path) == {"a", "d"}


def test_discard_leaves_what_aberra_did_not_write(tmp_path):
    out = tmp_path / "maps"
    out.mkdir()
    write_json(out / MARK, {"kind": "results"})
    write_text(out / "scores.csv", "1")
    for name in ("one", "two"):
        _write(out / name, a="1")
    (out / "two" / "notes").write_text("mine")
    (out / "own").mkdir()
    (out / "own" / "a").write_text("mine")
    discard(out)
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert left >= {"two/notes", "own/a"}
    assert not left & {"scores.csv", "two/a", "one/a"}
    (out / "two" / "notes").unlink()
    (out / "own" / "a").unlink()
    (out / "own").rmdir()
    discard(out)
    assert not out.exists()
    discard(tmp_path)
    assert tmp_path.exists()


def _race(target, file):
    bad = Counter()
    for number in range(200):
        try:
            with atomic_path(target, last="b") as temporary:
                temporary.mkdir()
                for name in "ab":
                    (temporary / name).write_text(name)
            write_text(file, f"{number}")
        except BaseException as error:  # noqa: BLE001 - all of them are counted
            bad[repr(error)] += 1
    return dict(bad)


def test_two_processes_replace_one_folder_and_one_file(tmp_path):
    (tmp_path / "out").mkdir()
    write_json(tmp_path / "out" / MARK, {"kind": "results"})
    arguments = (tmp_path / "shared" / "case", tmp_path / "out" / "scores.csv")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.starmap(_race, [arguments] * 2) == [{}, {}]
    assert _content(arguments[0]) == {"a": "a", "b": "b"}
    assert [path.name for path in arguments[0].parent.iterdir()] == ["case"]


def _holds(folder):
    with locked(folder, wait=False) as held:
        return held


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such lock")
def test_a_folder_is_held_against_other_processes(tmp_path):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        with locked(tmp_path):
            assert not pool.apply(_holds, (tmp_path,))
        with locked(tmp_path, shared=True), locked(tmp_path, shared=True) as both:
            assert both
            assert not pool.apply(_holds, (tmp_path,))
        assert pool.apply(_holds, (tmp_path,))


class _Full:
    """A file on a disk without space."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, _):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_what_the_system_says_becomes_one_line(number, tmp_path, monkeypatch):
    write_text(tmp_path / "old", "1")

    def refused(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("aberra.files.mkdtemp", refused)
    with pytest.raises(OutputError, match=rf"old: cannot write here \({os.strerror(number)}\)"):
        write_text(tmp_path / "old", "2")
    assert (tmp_path / "old").read_text() == "1"


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    _write(tmp_path / "case", a="1", result="1", last="result")
    write_text(tmp_path / "scores.csv", "1")
    before = file_hash(tmp_path)
    opened = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, mode="r", *rest, **more: (
            _Full(opened(self, mode, *rest, **more)) if "w" in mode else opened(self, mode, *rest, **more)
        ),
    )
    with pytest.raises(OutputError, match="No space left"):
        write_text(tmp_path / "scores.csv", "2")
    with pytest.raises(OutputError, match="No space left"):
        _write(tmp_path / "case", a="2", result="2", last="result")
    monkeypatch.undo()
    assert file_hash(tmp_path) == before


def test_libraries_that_write_themselves_are_understood(tmp_path):
    told = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(OutputError, match=r"x: cannot write here \(No space left on device\)"), writing("x"):
        raise SafetensorError(told)
    with pytest.raises(OutputError, match=r"cannot write here \(Is a directory\)"), writing("x"):
        save_file({"a": np.zeros(3)}, tmp_path)
    with pytest.raises(OutputError, match="100 requested and 3 written"), writing(tmp_path / "x"):
        raise OSError("100 requested and 3 written")  # NumPy, of a disk with space


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_a_device_without_space():
    with (
        pytest.raises(OutputError, match="No space left on device"),
        writing("x"),
        Path("/dev/full").open("w") as file,
    ):
        file.write("x" * 100_000)


@pytest.mark.parametrize("name", ["n" * 300, "file/inside"])
def test_names_that_cannot_be(name, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        OutputError, match=r"cannot write here \((File name too long|Not a directory|File exists)"
    ):
        write_text(tmp_path / name, "1")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_long_name_is_no_shorter_than_the_system_allows(tmp_path):
    write_text(tmp_path / ("n" * 255), "1")
    _write(tmp_path / ("m" * 255), a="1")
    assert len(list(tmp_path.iterdir())) == 2


def test_reading_names_the_file_and_the_reason(tmp_path):
    with (
        pytest.raises(InputError, match=r"gone: cannot be read \(No such file or directory\)"),
        reading(tmp_path),
    ):
        (tmp_path / "gone").read_text()
    with (
        pytest.raises(InputError, match=r"x: cannot be read \(Permission denied\); ask for permission"),
        reading("x"),
    ):
        raise PermissionError(errno.EACCES, "Permission denied", "x")


def test_names_that_are_no_text_are_written_as_escapes(tmp_path):
    name = os.fsdecode(b"caf\xe9.nii")
    write_text(tmp_path / "scores.csv", name)
    assert (tmp_path / "scores.csv").read_text(encoding="utf-8") == "caf\\udce9.nii"
    (tmp_path / "series").mkdir()
    try:
        (tmp_path / "series" / name).write_bytes(b"1")
    except OSError as error:
        pytest.skip(f"this file system has no such names ({error})")
    assert file_hash(tmp_path / "series")


def test_lines_are_appended_behind_what_a_crash_has_left_whole(tmp_path):
    path = tmp_path / "grades" / "anna.jsonl"
    append_line(path, "one, ä")
    path.write_bytes(path.read_bytes() + b"half a li")
    append_line(path)
    assert path.read_text(encoding="utf-8") == "one, ä\n"
    append_line(path, "two")
    assert path.read_text(encoding="utf-8") == "one, ä\ntwo\n"


def _append(path, name):
    for number in range(50):
        append_line(path, f"{name} {number}")


def test_processes_append_to_one_file_and_lose_no_line(tmp_path):
    path = tmp_path / "lines"
    context = multiprocessing.get_context("spawn")
    several = [context.Process(target=_append, args=(path, name)) for name in "ab"]
    for each in several:
        each.start()
    for each in several:
        each.join()
    assert Counter(path.read_text().splitlines()) == {
        f"{name} {number}": 1 for name in "ab" for number in range(50)
    }


def test_a_line_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write here"):
        append_line(tmp_path / "file" / "grades.jsonl", "line")
