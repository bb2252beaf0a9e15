"""Catalogue entries at test size."""

from __future__ import annotations

from aberra.method import Method

DENSE = {"model.latent": 32, "model.width": 8, "training.steps": 300}
TINY = {
    "ae": DENSE,
    "ae-spatial": {"model.width": 8},
    "vae": DENSE,
    "dae": {"model.width": 8, "model.depth": 2},
    "zmap": {"prepare.register": "none"},
}
"""What makes an entry small enough for two cores; entries without a network need nothing."""

STEPS = 60
CONTROLS = ("constant", "random")
"""Methods that must *not* find anything."""


def tiny(name: str) -> Method:
    """The catalogue entry at test size."""
    method = Method.load(name)
    learning = {"training.steps": STEPS, "training.batch_size": 8, "training.learning_rate": 2e-3}
    settings = {} if name == "zmap" else {"prepare.size": 32}
    return method.overridden(settings | (learning if method.training else {}) | TINY.get(name, {}))
