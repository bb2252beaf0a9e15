"""A detector's folder: what is in it, and where detectors are found."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aberra.calibrate import Calibration
from aberra.errors import ModelError, OutputError
from aberra.files import atomic_path, read_json, reading, write_json, write_text
from aberra.method import Method
from aberra.output import claim, kind_of
from aberra.registry import build

if TYPE_CHECKING:
    from collections.abc import Callable

    from aberra.detector import Detector

T = TypeVar("T")

FORMAT = 1
"""Version of the folder's layout."""


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
    from aberra.prepare import Recipe

    folder = resolve_model(model)
    with reading(folder / "detector.toml", ModelError):
        try:
            saved = tomllib.loads((folder / "detector.toml").read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ModelError(
                f"{folder}/detector.toml: cannot be read ({error}); fit the detector again"
            ) from error
    if saved.get("format") != FORMAT:
        raise ModelError(
            f"{folder}: format {saved.get('format')}, this version of aberra reads {FORMAT}; fit it again"
        )
    try:
        method = Method.from_dict(saved["method"], folder / "detector.toml")
        recipe = Recipe.from_config(saved["recipe"]["steps"])
        recipe.load_state(saved["recipe"].get("state", []))
        parts = {name: saved[name] for name in ("channels", "dims", "size", "facts")}
        network = build(
            "models", method.model, channels=len(parts["channels"]), dims=parts["dims"], size=parts["size"]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{folder}/detector.toml: damaged ({type(error).__name__}: {error}); copy the folder again or refit"
        ) from error
    weights = folder / "weights.safetensors"
    try:
        network.load_state_dict(load_file(weights))
    except Exception as error:
        raise ModelError(
            f"{weights}: missing or damaged ({error}); copy the folder again or refit"
        ) from error
    return Detector(
        method=method,
        recipe=recipe,
        model=network,
        calibration=_optional(folder / "calibration.json", Calibration.from_json),
        fingerprint=_optional(folder / "fingerprint.json", Fingerprint.from_json),
        folder=folder,
        device=device,
        batch_size=batch_size,
        **parts,
    )


def _optional(path: Path, parse: Callable[[Any], T]) -> T | None:
    """What a file that need not be there says."""
    with reading(path, ModelError):
        if not path.is_file():
            return None
        try:
            return parse(read_json(path))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{path}: damaged ({error}); copy the folder again") from error


def save(detector: Detector, folder: Path) -> None:
    """Write a detector's folder; ``detector.toml`` comes last and makes it whole.

    Raises:
        OutputError: the folder holds something else, or another detector than the one that was loaded from it.
    """
    import tomli_w
    from safetensors.torch import save_file

    from aberra.card import card

    refuse_finished(folder, unless=detector.folder)
    claim(folder, "detector")
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
    with reading(folder, ModelError):
        if (folder / "detector.toml").is_file():
            return folder
    shipped = shipped_detectors()
    if str(model) in shipped:
        return shipped[str(model)]
    if kind_of(folder) == "detector":
        raise ModelError(
            f"{folder}: its fit is not finished; run the same `aberra fit` command again with --resume"
        )
    raise ModelError(
        f"{model}: no detector here (no detector.toml), and none of that name is shipped ({', '.join(shipped) or 'none'})"
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


def shipped_detectors() -> dict[str, Path]:
    """Name to folder of the detectors that come with aberra."""
    root = Path(str(files("aberra") / "pretrained"))
    return {path.parent.name: path.parent for path in sorted(root.glob("*/detector.toml"))}
