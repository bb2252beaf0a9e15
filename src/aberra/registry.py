"""Names to code: models, scores and preparation steps, built-in or from plugins.

A component is a class whose keyword arguments *are* its configuration: ``build("scores", {"name":
"residual", "mode": "positive"})``. Plugins register through the entry-point groups ``aberra.models``,
``aberra.scores`` and ``aberra.prepare``.
"""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal

from aberra.errors import ConfigError, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["models", "scores", "prepare"]

BUILT_IN: dict[Kind, dict[str, str]] = {
    "models": {
        "ae": "aberra.models.ae:AE",
        "context-ae": "aberra.models.context_ae:ContextAE",
        "constrained-ae": "aberra.models.constrained_ae:ConstrainedAE",
        "aae": "aberra.models.aae:AAE",
        "vae": "aberra.models.vae:VAE",
        "cevae": "aberra.models.cevae:CeVAE",
        "gmvae": "aberra.models.gmvae:GMVAE",
        "anovaegan": "aberra.models.anovaegan:AnoVAEGAN",
        "fanogan": "aberra.models.fanogan:FAnoGAN",
        "skip-ae": "aberra.models.skip_ae:SkipAE",
        "scale-space-ae": "aberra.models.scale_space_ae:ScaleSpaceAE",
        "vqvae": "aberra.models.vqvae:VQVAE",
        "dae": "aberra.models.dae:DAE",
        "ddpm": "aberra.models.ddpm:DDPM",
        "guided-ddpm": "aberra.models.guided_ddpm:GuidedDDPM",
        "pddpm": "aberra.models.pddpm:PatchedDDPM",
        "disyre": "aberra.models.disyre:DISYRE",
        "ddpm-segmenter": "aberra.models.ddpm_segmenter:DDPMSegmenter",
        "segnet": "aberra.models.segnet:SegNet",
        "pca": "aberra.models.pca:PCA",
        "ocsvm": "aberra.models.ocsvm:OneClassSVM",
        "intensity": "aberra.models.intensity:Intensity",
        "zmap": "aberra.models.zmap:ZMap",
        "tissue": "aberra.models.tissue:Tissue",
        "mixture-outlier": "aberra.models.mixture_outlier:MixtureOutlier",
        "constant": "aberra.models.constant:Constant",
        "random": "aberra.models.random:Random",
    },
    "scores": {
        "residual": "aberra.scores.residual:Residual",
        "monte-carlo": "aberra.scores.monte_carlo:MonteCarlo",
        "multi-scale": "aberra.scores.multi_scale:MultiScale",
        "gradient": "aberra.scores.gradient:Gradient",
        "combi": "aberra.scores.combi:Combi",
        "restoration": "aberra.scores.restoration:Restoration",
        "latent-search": "aberra.scores.latent_search:LatentSearch",
        "term": "aberra.scores.term:Term",
        "partial-diffusion": "aberra.scores.partial_diffusion:PartialDiffusion",
        "andi": "aberra.scores.andi:ANDi",
        "autoddpm": "aberra.scores.autoddpm:AutoDDPM",
        "thor": "aberra.scores.thor:THOR",
        "mahalanobis": "aberra.scores.mahalanobis:Mahalanobis",
        "guided": "aberra.scores.guided:Guided",
        "segmentation": "aberra.scores.segmentation:Segmentation",
        "deviation": "aberra.scores.deviation:Deviation",
        "direct": "aberra.scores.direct:Direct",
    },
    "prepare": {
        "orient": "aberra.prepare.orient:Orient",
        "resample": "aberra.prepare.resample:Resample",
        "brain-mask": "aberra.prepare.brain_mask:BrainMask",
        "bias-field": "aberra.prepare.bias_field:BiasField",
        "normalise": "aberra.prepare.normalise:Normalise",
        "histogram-match": "aberra.prepare.histogram_match:HistogramMatch",
        "register": "aberra.prepare.register:Register",
        "crop": "aberra.prepare.crop:Crop",
    },
}


@cache
def names(kind: Kind) -> dict[str, str]:
    """Name to ``module:Class`` of every component of one kind, plugins included."""
    found = dict(BUILT_IN[kind])
    for point in entry_points(group=f"aberra.{kind}"):
        found.setdefault(point.name, point.value)
    return found


def lookup(kind: Kind, name: str) -> type[Any]:
    """Return the class behind a name.

    Raises:
        ConfigError: the name is not known; the message has the nearest one.
    """
    known = names(kind)
    if name not in known:
        raise unknown(f"{kind.rstrip('s')}", name, known)
    module, _, attribute = known[name].partition(":")
    cls: type[Any] = getattr(import_module(module), attribute)
    return cls


def build(kind: Kind, config: Mapping[str, Any], **given: Any) -> Any:
    """Build a component from its configuration.

    Args:
        kind: which family.
        config: ``name`` and the constructor's keyword arguments.
        given: further arguments that the caller decides (channels, size, ...), used where the
            constructor takes them and the configuration does not say.

    Raises:
        ConfigError: unknown name, unknown key (nearest valid one named) or a value the class refuses.
    """
    arguments = dict(config)
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"a {kind} entry needs a 'name'; got {dict(config)}")
    cls = lookup(kind, name)
    accepted = set(inspect.signature(cls).parameters)
    for key in arguments:
        if key not in accepted:
            raise unknown(f"option of {name}:", key, accepted)
    arguments |= {key: value for key, value in given.items() if key in accepted and key not in arguments}
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from error
