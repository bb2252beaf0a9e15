"""What method files and detectors of earlier versions say, in the words of this one.

Scores were one axis once: ``restoration``, ``guided`` and the like each had a ``mode`` of their
own. Now the score is ``residual``, with a table ``restore`` and a table ``compare``. Files of
either form are read; only the present one is written::

    {name = "restoration", tv = 0.3, mode = "positive"}
    {name = "residual", restore = {name = "restoration", tv = 0.3}, compare = {mode = "positive"}}

Options of networks were options of every model. Now they are a table ``network``, and what was
``original`` in several has a name each::

    {name = "vae", network = "original", width = 8}
    {name = "vae", network = {name = "zimmerer2018", width = 8}}

What a model is only asked with (steps of a sampler, where to start, how many severities) were
options of three models. Now they are the score's, so that changing one asks for no new training.
Whether slices or volumes are looked at (``dims``) was an option of the model, too, and is one of
the preparation.

Method files and saved detectors are read as they were written; a setting of a user's (``--set``) is
refused with the name that it has now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

RESTORATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "monte-carlo": ("draws", {}),
    "restoration": ("restoration", {}),
    "latent-search": ("latent-search", {}),
    "partial-diffusion": ("partial-diffusion", {}),
    "guided": ("guided", {}),
    "autoddpm": ("autoddpm", {"weighted": True}),
    "thor": ("thor", {"mode": "evidence"}),
}
"""Score that was, to its restoration and comparison."""

COMPARISON = ("mode", "centre", "alpha", "data_range")
"""Options of scores that are the comparison's now."""

CHAIN = ("start", "steps", "sampler", "draws")
"""Options of the score ``mahalanobis`` that are its restoration's now."""

RESTORES = ("residual", "spread", "combi", "mahalanobis")
"""Scores with a restoration."""


NETWORK: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ae", "context-ae", "constrained-ae"), ("bottleneck", "width", "dropout")),
    **dict.fromkeys(("vae", "cevae", "anovaegan", "aae"), ("width", "dropout")),
    "gmvae": ("bottleneck", "width", "dropout"),
    "fanogan": ("width",),
    "vqvae": ("width",),
    "dae": ("width", "depth"),
    **dict.fromkeys(
        ("ddpm", "guided-ddpm", "ddpm-segmenter", "pddpm", "disyre"),
        ("width", "multipliers", "blocks", "attention"),
    ),
}
"""Model, to those of its former options that are its network's now."""

ORIGINAL = {
    "vae": "zimmerer2018",
    "cevae": "zimmerer2018",
    "aae": "residual",
    "fanogan": "residual",
    "gmvae": "you",
}
"""Model, to the network that was called ``original``."""

BOTTLENECK = {"dense": "unified", "spatial": "unified-spatial"}
"""Bottleneck of the study's network, to the network's name."""

IDLE = (
    ("gmvae", {"network": "original"}, "bottleneck"),
    ("fanogan", {"encoder_loss": "izi"}, "kappa"),
)
"""Model, its settings, and an option that does nothing with them: set beside them it was ignored
once, and is refused now."""


BUFFERS = ("updates",)
"""State of models that is none any more: the VAE counted its training steps, which are the
training's now."""

MOVED = {"codebook": "codebook.words", "counts": "codebook.counts", "sums": "codebook.sums"}
"""State that lies in a part of a model now: the VQ-VAE's dictionary."""

USE: dict[str, dict[str, str]] = {
    "ddpm-segmenter": {"sampling_steps": "score.steps", "sampler": "score.sampler"},
    "pddpm": {"start": "score.restore.start"},
    "disyre": {"severities": "score.restore.draws"},
}
"""Model, and its options that are settings of its use, to where they are now."""

RECONSTRUCTED: dict[str, dict[str, Any]] = {
    "pddpm": {"name": "patched-diffusion", "start": 500},
    "disyre": {"name": "draws", "draws": 4, "average": True},
}
"""Models that reconstructed by such settings, to the restoration that does it now."""


def successor(model: object, option: str, value: object = None) -> str | None:
    """What a former option of a model is called now; None for what never was one, or still is.

    Args:
        model: name of the model.
        option: as in ``[model]``.
        value: that it is set to.
    """
    if option == "dims":
        return "prepare.dims"
    if not isinstance(model, str):
        return None
    if option == "network" and value == "original" and model in ORIGINAL:
        return f"model.network={ORIGINAL[model]}"
    if option in NETWORK.get(model, ()):
        if option != "bottleneck":
            return f"model.network.{option}"
        return f"model.network={BOTTLENECK.get(str(value), 'unified')}"
    return USE.get(model, {}).get(option)


def present_method(sections: Mapping[str, Any], model: object) -> dict[str, Any]:
    """Sections of a method, or of changes to one, in the present form.

    Args:
        sections: name to table; others than ``model``, ``prepare``, ``score`` and ``case`` stay as
            they are.
        model: name of the model.
    """
    present, model = dict(sections), model if isinstance(model, str) else ""
    if isinstance(present.get("case", {}).get("score"), Mapping):
        present["case"] = present["case"] | {"score": present_score(present["case"]["score"])}
    options, score = _networked(present.get("model", {}), model), present_score(present.get("score", {}))
    if "dims" in options:
        present["prepare"] = dict(present.get("prepare", {})) | {"dims": options.pop("dims")}
    moved = {
        key.rpartition(".")[2]: options.pop(old) for old, key in USE.get(model, {}).items() if old in options
    }
    asks, restore = score.get("name"), score.get("restore", {})
    if model == "ddpm-segmenter":
        score = score | moved if asks in (None, "segmentation") else score
    elif model in RECONSTRUCTED and isinstance(restore, Mapping):
        if asks in ("residual", "combi") and restore.get("name", "reconstruct") == "reconstruct":
            score["restore"] = RECONSTRUCTED[model] | moved
        elif moved and (asks is None or restore.get("name") == "patched-diffusion"):
            score["restore"] = dict(restore) | moved
    return present | {
        key: table for key, table in (("model", options), ("score", score)) if key in present or table
    }


def _networked(options: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Options of a model with those of its network in a table."""
    if model not in NETWORK:
        return dict(options)
    network = options.get("network", {})
    if not isinstance(network, Mapping | str):
        return dict(options)
    table: dict[str, Any] = {"name": network} if isinstance(network, str) else dict(network)
    if table.get("name") == "original" and model in ORIGINAL:
        table["name"] = ORIGINAL[model]
    former = {key: options[key] for key in NETWORK[model] if key in options}
    bottleneck = former.pop("bottleneck", None)
    if isinstance(bottleneck, str) and table.get("name") != "you":  # whose code is a map
        table["name"] = BOTTLENECK.get(bottleneck, bottleneck)
        if bottleneck == "spatial" and model != "gmvae":
            table.setdefault("dropout", 0.2)
    table |= former
    kept = {key: value for key, value in options.items() if key not in (*NETWORK[model], "network")}
    if bottleneck == "spatial" and model != "gmvae":
        kept.pop("latent", None)  # the code was the encoder's map, whatever it said
    return kept | ({"network": table} if table else {})


def present_weights(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Saved tensors of a model by their present names, without those that it had once."""
    present = model.state_dict().keys()
    former = set(BUFFERS) - present
    moved = {old: new for old, new in MOVED.items() if new in present and old not in present}
    return {moved.get(name, name): tensor for name, tensor in tensors.items() if name not in former}


def without_idle(config: Mapping[str, Any]) -> dict[str, Any]:
    """The method of a saved detector without options that did nothing."""
    model = config.get("model")
    if not isinstance(model, Mapping):
        return dict(config)
    idle = {
        option
        for name, settings, option in IDLE
        if model.get("name") == name and all(model.get(key) == value for key, value in settings.items())
    }
    return {**config, "model": {key: value for key, value in model.items() if key not in idle}}


def present_score(config: Mapping[str, Any]) -> dict[str, Any]:
    """A score's configuration in the present form; what is present already, or not known, stays as
    it is.
    """
    score = dict(config)
    if not all(isinstance(score.get(table, {}), Mapping) for table in ("restore", "compare")):
        return score
    if not isinstance(score.get("name"), str):
        return score
    if score["name"] in RESTORATIONS:
        restore, compare = RESTORATIONS[score["name"]]
        score |= {"name": "residual", "restore": {"name": restore}}
        score |= {"compare": compare} if compare else {}
    if score["name"] not in RESTORES:
        return score
    score = _by_aim(score)
    for table, keys in (("compare", COMPARISON), ("restore", _restore_options(score))):
        moved = {key: score.pop(key) for key in keys if key in score}
        if moved:
            score[table] = dict(score.get(table) or _default(score, table)) | moved
    if score["name"] == "spread" and score.get("restore", {}).get("name") == "partial-diffusion":
        score["restore"] = {"average": False} | score["restore"]
    return score


def _by_aim(score: dict[str, Any]) -> dict[str, Any]:
    """The option ``of`` said once whether many versions are compared with the scan, or with each
    other.
    """
    if score.get("of") == "residual":
        return {key: value for key, value in score.items() if key != "of"} | {"name": "residual"}
    if score["name"] == "residual" and score.get("of") in ("variance", "std"):
        return {key: value for key, value in score.items() if key not in ("compare", *COMPARISON)} | {
            "name": "spread"
        }
    return score


def _restore_options(score: Mapping[str, Any]) -> tuple[str, ...]:
    """Options outside the table ``restore`` that may belong into it."""
    if score["name"] == "mahalanobis":
        return CHAIN
    outside = set(score) - {"name", "restore", "compare", "smooth", "of"}
    if not outside or score["name"] == "combi":
        return ()
    from aberra.options import accepted
    from aberra.registry import lookup

    name = (score.get("restore") or _default(score, "restore")).get("name")
    return tuple(accepted(lookup("restore", name))) if isinstance(name, str) else ()


def _default(score: Mapping[str, Any], table: str) -> dict[str, Any]:
    """A table of a score that does not say it."""
    from aberra.registry import lookup

    return dict(lookup("scores", score["name"]).RESTORE) if table == "restore" else {}
