"""A detector's folder: what is in it, and where detectors are found."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aberra.calibrate import Calibration
from aberra.errors import ModelError
from aberra.files import atomic_path, read_json, write_json, write_text
from aberra.method import Method
from aberra.registry import build

if TYPE_CHECKING:
    from aberra.detector import Detector
    from aberra.prepare import Recipe

FORMAT = 2
"""Version of the folder's layout and of what its numbers mean; 1 filtered by voxels, so that its thresholds are of other maps."""


def load(model: Path | str, *, device: str = "auto", batch_size: int | None = None) -> Detector:
    """Load a saved detector by folder, or a shipped one by name.

    Args:
        model: folder or name.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch_size: slices or patches at once; None chooses by memory.

    Raises:
        ModelError: missing, unfinished, damaged or of another format version.
    """
    from safetensors.torch import load_file

    from aberra.cohort.fingerprint import Fingerprint
    from aberra.detector import Detector

    folder = resolve_model(model)
    saved = _saved(folder)
    method = Method.from_dict(saved["method"], folder / "detector.toml")
    network = build(
        "models", method.model, channels=len(saved["channels"]), dims=saved["dims"], size=saved["size"]
    )
    weights = folder / "weights.safetensors"
    try:
        network.load_state_dict(load_file(weights))
    except Exception as error:
        raise ModelError(
            f"{weights}: missing or damaged ({error}); copy the folder again or refit"
        ) from error
    calibration, fingerprint = folder / "calibration.json", folder / "fingerprint.json"
    return Detector(
        method=method,
        recipe=load_recipe(folder),
        model=network,
        channels=saved["channels"],
        dims=saved["dims"],
        size=saved["size"],
        calibration=Calibration.from_json(read_json(calibration)) if calibration.is_file() else None,
        fingerprint=Fingerprint.from_json(read_json(fingerprint)) if fingerprint.is_file() else None,
        facts=saved["facts"],
        folder=folder,
        device=device,
        batch_size=batch_size,
    )


def load_recipe(folder: Path) -> Recipe:
    """The preparation of a saved detector.

    Raises:
        ModelError: damaged or of another format version.
    """
    from aberra.prepare import Recipe

    saved = _saved(folder)["recipe"]
    recipe = Recipe.from_config(saved["steps"])
    recipe.load_state(saved.get("state", []))
    return recipe


def _saved(folder: Path) -> dict[str, Any]:
    """What ``detector.toml`` says."""
    try:
        saved = tomllib.loads((folder / "detector.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{folder}/detector.toml: cannot be read ({error}); fit the detector again"
        ) from error
    if saved.get("format") != FORMAT:
        raise ModelError(
            f"{folder}: format {saved.get('format')}, this version of aberra reads {FORMAT}; fit it again"
        )
    return saved


def save(detector: Detector, folder: Path) -> None:
    """Write a detector's folder; ``detector.toml`` comes last and makes it whole."""
    import tomli_w
    from safetensors.torch import save_file

    from aberra.card import card

    with atomic_path(folder / "weights.safetensors") as temporary:
        tensors = {
            name: tensor.detach().cpu().contiguous() for name, tensor in detector.model.state_dict().items()
        }
        save_file(tensors, temporary)
    if detector.fingerprint is not None:
        write_json(folder / "fingerprint.json", detector.fingerprint.to_json())
    if detector.calibration is not None:
        write_json(folder / "calibration.json", detector.calibration.to_json())
    content = {
        "format": FORMAT,
        "channels": list(detector.channels),
        "dims": detector.dims,
        "size": list(detector.size),
        "facts": detector.facts,
        "method": detector.method.to_dict(),
        "recipe": {"steps": detector.recipe.to_config(), "state": detector.recipe.state()},
    }
    detector.folder = folder
    detector.__dict__.pop("identity", None)
    write_text(folder / "card.md", card(detector))
    write_text(folder / "detector.toml", tomli_w.dumps(content))


def resolve_model(model: Path | str) -> Path:
    """Return the folder of a saved detector, by path or by the name of a shipped one.

    Raises:
        ModelError: there is none; says if a fit was left unfinished.
    """
    folder = Path(model)
    if (folder / "detector.toml").is_file():
        return folder
    shipped = shipped_detectors()
    if str(model) in shipped:
        return shipped[str(model)]
    if (folder / "fit.json").is_file():
        raise ModelError(
            f"{folder}: its fit is not finished; run the same `aberra fit` command again with --resume"
        )
    raise ModelError(
        f"{model}: no detector here (no detector.toml), and none of that name is shipped ({', '.join(shipped) or 'none'})"
    )


def is_detector(model: Path | str) -> bool:
    """Whether this is a saved detector, finished or not, or the name of a shipped one."""
    folder = Path(model)
    files_of = ("detector.toml", "fit.json")
    return str(model) in shipped_detectors() or any((folder / name).is_file() for name in files_of)


def shipped_detectors() -> dict[str, Path]:
    """Name to folder of the detectors that come with aberra."""
    root = Path(str(files("aberra") / "pretrained"))
    return {path.parent.name: path.parent for path in sorted(root.glob("*/detector.toml"))}
