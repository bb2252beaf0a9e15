"""Catalogue entries at test size."""

from __future__ import annotations

from aberra.method import Method

DENSE = {"model.latent": 32, "model.width": 8, "training.steps": 300}
TINY = {
    "ae": DENSE,
    "ae-spatial": {"model.width": 8},
    "vae": DENSE,
    "context-ae": DENSE | {"training.steps": 150},
    "constrained-ae": DENSE | {"training.steps": 150},
    "cevae": DENSE | {"training.steps": 150},
    "gmvae": DENSE | {"training.steps": 150},
    "gmvae-spatial": {"model.latent": 4, "model.width": 8, "training.steps": 250},
    "aae": DENSE | {"model.critic_steps": 1, "training.steps": 150},
    "constrained-aae": DENSE | {"model.critic_steps": 1, "training.steps": 150},
    "anovaegan": DENSE | {"model.critic_steps": 1, "training.steps": 150},
    "fanogan": DENSE | {"model.critic_steps": 2, "training.steps": 250, "training.learning_rate": 1e-3},
    "dae": {"model.width": 8, "model.depth": 2},
    "skip-ae": {"model.width": 8, "score.draws": 4, "training.steps": 300},
    "scale-space-ae": {"model.width": 8, "model.levels": 2, "model.latent": 2, "training.steps": 250},
    "vqvae": {"model.width": 8, "model.words": 64, "model.latent": 16, "training.steps": 200},
    "pca": {"model.components": 8},
    "ocsvm": {"model.vectors": 500},
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
