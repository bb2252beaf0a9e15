"""The one place that decides what a run may touch: folders with aberra's mark.

Every folder that a command writes in is claimed first; that it is none of what is
read, :mod:`aberra.cohort.inputs` sees to. What may be replaced within one is the business
of :mod:`aberra.files`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from aberra.errors import InputError, OutputError
from aberra.files import MARK, RECORD, is_empty, locked, read_mark, write_json, writing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

KINDS = {
    "results": "results of scans",
    "detector": "a detector",
    "edits": "edits",
    "derivatives": "a BIDS derivative",
    "cohort": "a cohort",
    "benchmark": "a benchmark",
    "demo": "a demo",
    "cache": "prepared cases",
    "evaluation": "an evaluation",
    "audit": "an audit",
    "site-bias": "a site bias",
    "server": "a server's cases",
    "objects": "objects of cases",
    "findings": "a report of findings",
    "worklist": "a worklist",
    "scores": "scores of a submission",
    "ranking": "a ranking of submissions",
    "submission": "a submission",
    "submission-run": "a run of a submission",
    "node": "the state of a node",
    "export": "an exported network",
    "run": "a training run",
    "logs": "logs",
    "case": "the files of one case",
}
"""What marked folders hold. Only a cohort is data; files of the others are never taken for
scans."""

DATA = {"cohort"}


def claim(
    folder: Path,
    kind: str,
    *,
    identity: str | None = None,
    other: str = "",
    replace: bool = False,
    adopt: bool = False,
    about: Mapping[str, Any] | None = None,
    look: bool = False,
) -> None:
    """Take a folder for output: it is new, or empty, or has the mark of the same kind and identity.

    Args:
        folder: made where it is not there.
        kind: one of :data:`KINDS`.
        identity: of what is written; None goes on with whatever is there.
        other: what to tell where another identity is there, with the remedy.
        replace: take over from another identity instead.
        adopt: mark the folder though it is neither empty nor marked; what is in it is still not
            aberra's.
        about: kept in the mark, for people.
        look: only see whether it could be taken.

    Raises:
        OutputError: something else is there, or the folder cannot be written.
    """

    def check(known: dict[str, Any] | None) -> None:
        if known is None and not adopt and not is_empty(folder):
            raise OutputError(
                f"{folder}: the folder is not empty, and not aberra's ({MARK}); choose another one, nothing was written"
            )
        if known is not None and known["kind"] != kind:
            held = KINDS.get(known["kind"], known["kind"])
            raise OutputError(
                f"{folder}: there is {held} already, this is {KINDS[kind]}; choose another folder"
            )
        if known is not None and identity not in {None, known.get("identity")} and not replace:
            raise OutputError(f"{folder}: {other}")

    with writing(folder):
        inner = (folder.parent / MARK).is_file()
        if (folder.exists() and not folder.is_dir()) or (inner and folder.is_symlink()):
            raise OutputError(
                f"{folder}: is there and is not a folder; move it away, or choose another place"
            )
        known = read_mark(folder)
        if known is not None and known["kind"] == kind and identity in {None, known.get("identity")}:
            return  # without the lock, which a run that goes on for hours may hold
        if look:
            if folder.exists():
                check(known)
            return
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            known = read_mark(folder)
            check(known)
            if known is None or identity not in {None, known.get("identity")}:
                write_json(folder / MARK, {"kind": kind, "identity": identity, **(about or {})})


def new_folder(out: Path | str) -> Path:
    """The place of a folder that is written once and as a whole, links resolved.

    Raises:
        OutputError: something is there.
    """
    place = Path(os.path.realpath(out))
    if place.exists() and not (place.is_dir() and is_empty(place)):
        raise OutputError(f"{place}: the folder is not empty; choose another --out")
    return place


def check_held(folder: Path, identity: str) -> None:
    """Refuse to go on in a folder that another run has taken over since.

    Raises:
        OutputError: the mark is gone or of another identity.
    """
    if (read_mark(folder) or {}).get("identity") != identity:
        raise OutputError(f"{folder}: another run has taken this folder; choose another one")


def kind_of(folder: Path) -> str | None:
    """What a marked folder holds (see :data:`KINDS`); None for all other folders."""
    mark = read_mark(folder)
    if mark is not None:
        return str(mark["kind"])
    try:
        return "case" if (folder / RECORD).is_file() else None
    except OSError:
        return None


def holds_output(folder: Path) -> bool:
    """Whether a folder has files of aberra that are no data; a search for scans leaves it out."""
    return kind_of(folder) not in {None, *DATA}


def expect_results(folder: Path, names: Iterable[str]) -> None:
    """Refuse to add to a folder that aberra has not written results of these cases into.

    Raises:
        OutputError: it is something else.
    """
    if kind_of(folder) != "results" and not any(kind_of(folder / name) == "case" for name in names):
        raise OutputError(
            f"{folder}: not a folder of results that aberra wrote; run `aberra detect` into a new one"
        )


def refuse_as_input(folder: Path) -> None:
    """Refuse a folder of aberra's output where scans are asked for.

    Raises:
        InputError: it is one.
    """
    kind = kind_of(folder)
    if kind is None or kind in DATA:
        return
    cohorts = [path for path in sorted(folder.glob("*/manifest.csv")) if kind_of(path.parent) in DATA]
    way = [folder / "manifest.csv"] if kind == "edits" and (folder / "manifest.csv").is_file() else cohorts
    advice = f"give {way[0]}" if way else "give the scans, or single files of this folder"
    raise InputError(f"{folder}: holds {KINDS.get(kind, kind)} that aberra wrote, no scans; {advice}")


def check_names(names: Iterable[str], reserved: Collection[str] = ()) -> None:
    """Refuse names of cases that would collide with each other or with aberra's own files.

    macOS and Windows take names for one that differ in upper and lower case only.

    Args:
        names: of folders or files.
        reserved: what lies beside them.

    Raises:
        OutputError: names all of them.
    """
    taken = {_plain(name) for name in (MARK, RECORD, *reserved)}
    problems, seen = [], dict[str, str]()
    for name in names:
        plain = _plain(name)
        if name in {"", ".", ".."} or Path(name).name != name:
            problems.append(f"'{name}' is no file name")
        elif plain in taken:
            problems.append(f"'{name}' is a name of aberra's own files")
        elif plain in seen:
            twice = seen[plain] == name
            problems.append(
                f"'{name}' is there twice"
                if twice
                else f"'{seen[plain]}' and '{name}' are one name on macOS and Windows"
            )
        seen.setdefault(plain, name)
    if problems:
        raise OutputError(
            f"cases cannot be called so: {'; '.join(problems[:5])}; rename them in the manifest"
        )


def _plain(name: str) -> str:
    return normalize("NFC", name).casefold()
