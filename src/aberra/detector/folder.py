"""A detector's folder: what is in it, and where detectors are found."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aberra.detector.calibration import Calibration
from aberra.detector.card import card
from aberra.detector.detector import Detector
from aberra.detector.weights import WEIGHTS, state_of
from aberra.devices import choose_device
from aberra.errors import AberraError, ConfigError, ModelError, OutputError
from aberra.files import atomic_path, file_hash, read_json, read_toml, write_json, write_text
from aberra.former import present_weights, without_idle
from aberra.method import Method
from aberra.options import Count, Dims, Edge, accepted, checked, complete, conforming
from aberra.output import claim, kind_of
from aberra.prepare.plan import fit_shape
from aberra.pretrained import shipped_detectors
from aberra.registry import build
from aberra.volume import described

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aberra.prepare import Recipe

T = TypeVar("T")
FORMAT = 4
"""Version of the folder's layout and of what its numbers mean; 1 filtered by voxels, so that its
thresholds are of other maps."""

PLACES = "ABERRA_DETECTORS"
"""Environment variable that says where else detectors are found by name: folders, separated as in
PATH."""

READ = (2, 3, 4)
"""Versions that can be read; 2 and 3 have methods of forms that :mod:`aberra.former` knows."""


def load(model: Path | str, *, device: str = "auto", batch_size: int | None = None) -> Detector:
    """Load a saved detector by folder or by name (:func:`named_detectors`).

    Args:
        model: folder or name.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch_size: slices or patches at once; None chooses by memory.

    Raises:
        ModelError: missing, unfinished, damaged or of another format version.
    """
    from safetensors.torch import load_file

    from aberra.cohort.fingerprint import Fingerprint

    conforming(device, str, "device")
    choose_device(device)  # before anything is read
    conforming(batch_size, Count | None, "batch_size")
    folder = resolve_model(model)
    source = folder / "detector.toml"
    with damage_is_told(source):
        saved = _contents(source)
        method = Method.from_dict(
            without_idle(saved["method"]) if saved["format"] < FORMAT else saved["method"], source
        )
        recipe = _recipe(saved)
        network = build(
            "models", method.model, channels=len(saved["channels"]), dims=saved["dims"], size=saved["size"]
        )
        fit_shape(type(network), saved["dims"], saved["size"])
    weights = folder / WEIGHTS
    with damage_is_told(weights):
        found = file_hash(weights)
    if saved["hashes"].get(weights.name, found) != found:
        raise ModelError(f"{weights}: damaged: not the bytes that were saved; copy the folder again or refit")
    try:
        network.load_state_dict(present_weights(load_file(weights), network))
    except Exception as error:
        raise ModelError(f"{weights}: damaged ({error}); copy the folder again or refit") from error
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise ModelError(f"{weights}: damaged: weights are NaN or Inf; copy the folder again or refit")
    with damage_is_told(source):
        return Detector(
            method=method,
            recipe=recipe,
            model=network,
            channels=saved["channels"],
            dims=saved["dims"],
            size=saved["size"],
            calibration=_part(folder / "calibration.json", Calibration.from_json),
            fingerprint=_part(folder / "fingerprint.json", Fingerprint.from_json),
            facts=saved["facts"],
            folder=folder,
            device=device,
            batch_size=batch_size,
        )


def _contents(source: Path) -> dict[str, Any]:
    """What ``detector.toml`` holds, checked; keys that only a newer version knows are left out."""
    content = read_toml(source)
    if content.get("format") not in READ:
        raise ModelError(
            f"{source.parent}: format {content.get('format')}, this version of aberra reads {' and '.join(map(str, READ))}; fit it again"
        )
    known = {key: value for key, value in content.items() if key in accepted(Saved)}
    return vars(Saved(**complete(Saved, checked(Saved, known), "detector")))


@dataclass(kw_only=True)
class Saved:
    """The tables of ``detector.toml``.

    Attributes:
        format: version of the layout.
        channels: as of :class:`aberra.detector.Detector`, like the next three.
        dims: 2 or 3.
        size: of the network's input.
        facts: of the fit.
        method: fields of :class:`aberra.method.Method`.
        recipe: ``steps``, and each step's ``state``.
        hashes: file to SHA-256 of its bytes; none in detectors of earlier versions.
    """

    format: int
    channels: list[str]
    dims: Dims
    size: list[Edge]
    facts: dict[str, Any]
    method: dict[str, Any]
    recipe: dict[str, list[dict[str, Any]]]
    hashes: dict[str, str] = field(default_factory=dict)


def _part(path: Path, make: Callable[[Any], T]) -> T | None:
    """A JSON file of the folder as what it holds; None where there is none."""
    if not path.is_file():
        return None
    with damage_is_told(path):
        return make(read_json(path))


@contextmanager
def damage_is_told(path: Path) -> Iterator[None]:
    """Say of whatever is wrong with a file of a detector's folder which file it is and what to do.

    Raises:
        ModelError: instead of what was raised.
    """
    try:
        yield
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(
            f"{error.filename or path}: cannot be read ({error.strerror or error}); copy the folder again or ask for permission"
        ) from error
    except (AberraError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: missing or damaged ({error}); copy the folder again or fit the detector again"
        ) from error


def load_recipe(folder: Path) -> Recipe:
    """The preparation of a saved detector.

    Raises:
        ModelError: damaged or of another format version.
    """
    source = folder / "detector.toml"
    with damage_is_told(source):
        return _recipe(_contents(source))


def facts_of(folder: Path) -> tuple[str, str, str]:
    """What a saved detector reads, its method, and how many healthy cases it is calibrated on, for
    people.

    Raises:
        ModelError: damaged or of another format version.
    """
    with damage_is_told(folder / "detector.toml"):
        saved = _contents(folder / "detector.toml")
    calibration = _part(folder / "calibration.json", Calibration.from_json)
    healthy = "not calibrated" if calibration is None else str(calibration.n_cases)
    return ", ".join(saved["channels"]), str(saved["method"].get("name", "")), healthy


def _recipe(saved: Mapping[str, Any]) -> Recipe:
    from aberra.prepare import Recipe

    recipe = Recipe.from_config(saved["recipe"].get("steps", []))
    recipe.load_state(saved["recipe"].get("state", []))
    return recipe


def save(detector: Detector, folder: Path) -> Detector:
    """Write weights, ``fingerprint.json``, ``calibration.json``, ``card.md`` and, last,
    ``detector.toml``, which makes it whole.

    Returns:
        The detector that lies there.

    Raises:
        OutputError: the folder holds something else, or another detector than the one that was
            loaded from it.
    """
    import tomli_w
    from safetensors.torch import save_file

    refuse_finished(folder, unless=detector.folder)
    claim(folder, "detector")
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(state_of(detector.model), temporary)
    if detector.fingerprint is not None:
        write_json(folder / "fingerprint.json", detector.fingerprint.to_json())
    if detector.calibration is not None:
        write_json(folder / "calibration.json", detector.calibration.to_json())
    content = {
        "format": FORMAT,
        "channels": list(detector.channels),
        "dims": detector.dims,
        "size": list(detector.size),
        "facts": dict(detector.facts),
        "method": detector.method.record,
        "recipe": {"steps": detector.recipe.to_config(), "state": detector.recipe.state()},
        "hashes": {WEIGHTS: file_hash(folder / WEIGHTS)},
    }
    saved = detector.with_(folder=folder)
    write_text(folder / "card.md", card(saved))
    write_text(folder / "detector.toml", tomli_w.dumps(content))
    return saved


def resolve_model(model: Path | str) -> Path:
    """Return the folder of a saved detector, by path or by name (:func:`named_detectors`).

    Raises:
        ModelError: there is none; says if a fit was left unfinished.
        ConfigError: :data:`PLACES` cannot be used.
    """
    if not isinstance(model, str | PathLike):
        raise ModelError(
            f"expected a detector's folder or the name of a shipped one, got {described(model)}; as in Detector.load('flair')"
        )
    folder = Path(model)
    if _is_file(folder / "detector.toml"):
        return folder
    named = named_detectors()
    if str(model) in named:
        return named[str(model)]
    if _is_file(folder):
        raise ModelError(f"{model}: a file; give the folder that holds detector.toml")
    if kind_of(folder) == "detector":
        raise ModelError(
            f"{folder}: its fit is not finished; run the same `aberra fit` command again with --resume"
        )
    raise ModelError(
        f"{model}: no detector here (no detector.toml), and none of that name is known ({', '.join(named) or 'none'}); give its folder, or name the folder that holds it in {PLACES}"
    )


def named_detectors() -> dict[str, Path]:
    """Name to folder of the detectors that a name finds: those that come with aberra, then those in
    the folders of :data:`PLACES`, where a detector's folder is its name.

    Raises:
        ConfigError: a place is no folder, or a name is taken.
    """
    found = shipped_detectors()
    for place in filter(None, os.environ.get(PLACES, "").split(os.pathsep)):
        root = Path(place)
        if not root.is_dir():
            raise ConfigError(f"{PLACES}: {place}: no such folder; set it to folders that hold detectors")
        for source in sorted(root.glob("*/detector.toml")):
            name = source.parent.name
            if name in found or name == "auto":
                other = found.get(name, "has a shipped one chosen")
                raise ConfigError(
                    f"{PLACES}: {source.parent}: the name '{name}' is taken ({other}); rename the folder"
                )
            found[name] = source.parent
    return found


def is_detector(model: Path | str) -> bool:
    """Whether this is a saved detector, finished or not, or the name of one."""
    folder = Path(model)
    return (
        _is_file(folder / "detector.toml") or kind_of(folder) == "detector" or str(model) in named_detectors()
    )


def refuse_finished(folder: Path, unless: Path | None = None) -> None:
    """Refuse to write over a detector, but for the folder ``unless``.

    Raises:
        OutputError: there is one.
    """
    if not (folder / "detector.toml").exists() or (
        unless is not None and unless.exists() and folder.samefile(unless)
    ):
        return
    raise OutputError(
        f"{folder}: there is a finished detector already; choose another folder, or delete this one"
    )


def _is_file(path: Path) -> bool:
    """Whether there is a file.

    Raises:
        ModelError: it cannot even be looked for.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); give a detector's folder") from error
