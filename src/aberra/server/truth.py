"""Lesion masks that an admin gives to cases, for the viewer to show."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aberra.errors import ConfigError
from aberra.io import read, read_mask
from aberra.server.audit import note
from aberra.server.readings import NotReadyError
from aberra.server.tables import Case
from aberra.server.worker import SCAN, TRUTH

if TYPE_CHECKING:
    from aberra.server.accounts import Person
    from aberra.server.database import Database
    from aberra.server.settings import Settings


def put_truth(
    settings: Settings, database: Database, case: int, *, sent: Path, name: str, person: Person
) -> int:
    """Keep a mask on the scan's grid; returns its voxels.

    Args:
        settings: of the server.
        database: of the server.
        case: its number.
        sent: a NIfTI file.
        name: what the sender calls it; says whether it is packed.
        person: who sends it.

    Raises:
        ConfigError: there is no such case.
        NotReadyError: the scan has not been read yet.
        InputError: the file is no mask, or on another grid.
    """
    with database.reading() as session:
        found = session.get(Case, case)
    if found is None:
        raise ConfigError(f"no case {case}")
    place = settings.uploads / found.place
    scan = place / SCAN.format(found.number)
    if not scan.is_file():
        raise NotReadyError(f"case {case} is {found.status}; its scan has not been read yet")
    packed = sent.read_bytes()[:2] == b"\x1f\x8b"
    target = sent.with_name(f"{Path(name).stem.removesuffix('.nii') or 'mask'}.nii{'.gz' if packed else ''}")
    shutil.move(sent, target)
    like = read(scan)
    mask = read_mask(target, like)
    like.with_(data=mask[None].astype(np.float32), channels=("truth",)).write(
        place / TRUTH.format(found.number)
    )
    with database.writing() as session:
        session.merge(Case(id=case, truth=True))
        note(session, person.name, "truth", case=case, after=f"{name}: {int(mask.sum())} voxels")
    return int(mask.sum())
