"""What a score may ask of a model, and what may be asked of a score.

A capability is had by having its method; there is no class tree.

A score or restoration lists those that it asks of a model in ``needs``.

Shapes: ``B`` batch, ``C`` channels, ``S`` the spatial axes of the network, ``(H, W)`` or
``(D, H, W)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from torch import Tensor
    from torch.nn import Module, Parameter

    from aberra.batch import Batch
    from aberra.detector.windows import Runner
    from aberra.diffusion.samplers import Sampler
    from aberra.diffusion.schedule import Estimate, Schedule
    from aberra.volume import Volume


@runtime_checkable
class Trains(Protocol):
    """Learns by gradient descent in :mod:`aberra.training`."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of a batch; the module is in training mode, in validation in evaluation mode.

        Args:
            batch: samples, randomness, and how far the training is.

        Returns:
            Scalars; ``"loss"`` is minimised, the others are logged. In validation the first of
            ``"error"``, ``"reconstruction"`` and ``"loss"`` is watched.
        """
        ...


@runtime_checkable
class LearnsInTurns(Protocol):
    """Has players that learn against each other, or stages that follow one another (GANs).

    Its ``loss`` is that of the player named by ``batch.turn``; where that is empty, it is what
    validation watches.
    """

    def turns(self, progress: float) -> Sequence[str]:
        """Name the players that move in an optimiser step, in order, a fresh batch each.

        Args:
            progress: share of the steps that are done, in [0, 1). Another answer than before is
                another stage: the lowest validation loss is then forgotten.
        """
        ...

    def players(self) -> Mapping[str, Iterable[Parameter]]:
        """Name to the parameters that move in the player's turn; all others are frozen."""
        ...


@runtime_checkable
class LearnsFromLesions(Protocol):
    """Learns from healthy and diseased samples; its batches have their truth as ``lesion``, shape
    (B, 1, S), float 0/1.

    A model with the attribute ``kinds``, the label values of mask files that it tells apart, gets
    label values in ``lesion`` where there are any in ``kinds``; those it does not know are
    background to it.
    """

    def label(self, lesion: Tensor) -> Tensor:
        """What is learnt of the truth (B, 1, S): a class of each sample, (B,), or the mask itself."""
        ...


@runtime_checkable
class LearnsFromUnlabelled(LearnsFromLesions, Protocol):
    """Learns from diseased samples that nobody has outlined, too.

    Half of a batch is outlined, half is not, where there are both. In ``lesion`` of the latter,
    voxels are :data:`aberra.kinds.UNTOLD` or a guess, 0 or 1, plus :data:`aberra.kinds.GUESSES`. All
    other models that learn from lesions learn guesses as if they were outlined, and nothing where a
    guess is undecided.
    """

    def known(self, lesion: Tensor) -> Tensor:
        """Where the truth (B, 1, S) was outlined, float 0/1."""
        ...


@runtime_checkable
class TakesConditions(Protocol):
    """Can be told what is known of a person beside the scan.

    Attributes:
        conditions: of what it may be told in use, manifest columns
            (:data:`aberra.covariates.COVARIATES`); empty where this one takes none.
        covariates: what its batches have as ``covariates``, in this order: the conditions first,
            then what it learns besides, such as the site (:func:`aberra.covariates.of_site`).
    """

    conditions: Sequence[str]
    covariates: Sequence[str]

    def given(self, values: Sequence[float]) -> Self:
        """The same model, weights shared, that answers for a person of these conditions,
        standardised, NaN where unknown.
        """
        ...


@runtime_checkable
class AnchorsClasses(Protocol):
    """Sees one sample of each class of certain people in every batch, behind the others.

    Attributes:
        anchor: one of its ``covariates``; it is 1 for these people. Empty where this one does
            without.
    """

    anchor: str


@runtime_checkable
class HasRates(Protocol):
    """Has parts that learn at rates of their own."""

    def rate_of(self, parameter: str) -> float:
        """Share of ``training.learning_rate`` that the parameter of this name moves at."""
        ...


@runtime_checkable
class LearnsFromPlanted(Protocol):
    """Learns from healthy samples into which lesions are planted as it goes; its batches have their
    truth as ``lesion``, (B, 1, S).

    Where a task says ``before``, they have the images before planting as ``healthy``, (B, C, S),
    too.
    """

    def task(self) -> Mapping[str, Any]:
        """What is planted: options of :class:`aberra.synthesis.planted.Planted`."""
        ...

    def validation_task(self) -> Mapping[str, Any]:
        """What validation samples have planted in: lesions of another family, so that weights are
        chosen by what they were not taught.
        """
        ...


@runtime_checkable
class LearnsFromSimulated(Protocol):
    """Learns from healthy samples and, unpaired, from simulated ones of fewer details; its batches
    have these as ``simulated``, (B, C, S).
    """

    def simulation(self) -> Mapping[str, Any]:
        """What is simulated: options of :func:`aberra.synthesis.simulated.simulated_scans`."""
        ...


@runtime_checkable
class ComparesSamples(Protocol):
    """Has a loss that is no mean over the samples of a batch, but depends on which are in it together.

    Attributes:
        compares_samples: whether this one does.
    """

    compares_samples: bool


@runtime_checkable
class Fits(Protocol):
    """Learns in one pass over prepared volumes, without gradients."""

    def fit(self, volumes: Iterable[Volume]) -> None:
        """Learn from prepared healthy volumes, seen one at a time."""
        ...


@runtime_checkable
class FitsSamples(Protocol):
    """Learns at once from a set of slices or patches, without gradients (PCA, support vectors)."""

    def fit_samples(self, x: Tensor, mask: Tensor, seed: int) -> None:
        """Learn from healthy samples: ``x`` (N, C, S), ``mask`` (N, 1, S), float 0/1."""
        ...


@runtime_checkable
class FitsDensity(Protocol):
    """Learns a density of what it has learnt to see, once its training by gradient descent is over.

    The density is the table ``density`` of its options; what is trained before lies in ``encoder``
    and does not depend on that table.
    """

    def fit_density(self, x: Tensor, validation: Tensor, seed: int) -> Mapping[str, Any]:
        """Learn from healthy samples ``x`` (N, C, S); ``validation`` (M, C, S) are healthy ones to
        choose by, or none. Returns what was chosen, for the detector's facts.
        """
        ...


@runtime_checkable
class MayBeFrozen(Protocol):
    """Has an encoder that learns here, or has its weights from elsewhere and keeps them.

    Then there is no training by gradient descent, and ``training.start`` has to give all tensors
    whose names begin with ``encoder.``.
    """

    @classmethod
    def would_freeze(cls, options: Mapping[str, Any]) -> bool:
        """Whether the encoder of one with these options keeps its weights."""
        ...

    def is_frozen(self) -> bool:
        """Whether this one's does."""
        ...

    def renamed(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of others under the names that the encoder's have."""
        ...


@runtime_checkable
class Reconstructs(Protocol):
    """Returns the healthy version of its input."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, C, S), deterministic."""
        ...


@runtime_checkable
class HasCodePrior(Protocol):
    """Spells images in words and knows how likely each word is behind those before it."""

    def surprise(self, x: Tensor) -> Tensor:
        """−log p of each word, in nats: (B, C, S) to (B, S')."""
        ...

    def resampled(self, x: Tensor, threshold: float, count: int) -> Iterator[Tensor]:
        """Yield ``count`` images (B, C, S) in which words of a greater −log p than ``threshold``
        are drawn anew, one after the other, given those before them.

        Draw ``n`` depends on ``n`` alone and is the same for every image of the batch (common
        random numbers).
        """
        ...


@runtime_checkable
class Cycles(Protocol):
    """Takes an image to another domain and back, where it may keep what was hidden on the way from
    coming back.
    """

    def cycle(self, x: Tensor, *, inhibited: bool = True) -> Tensor:
        """Shape (B, C, S) to (B, C, S), deterministic."""
        ...


@runtime_checkable
class RestoresBoxes(Protocol):
    """Takes noise out of one box of an image at a time, the rest of it in plain sight."""

    def restore_boxes(self, x: Tensor, start: int) -> Tensor:
        """The image with every box noised to step ``start`` and restored: (B, C, S) to (B, C, S)."""
        ...


@runtime_checkable
class ReconstructsLevels(Protocol):
    """Returns the healthy version of its input at several resolutions."""

    def reconstruct_levels(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return (Iₖ, Îₖ), finest first: the levels of ``x``'s pyramid
        (:mod:`aberra.nets.pyramid`), (B, C, S / 2ᵏ).
        """
        ...


@runtime_checkable
class Encodes(Protocol):
    """Has a code of an image."""

    def code(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to (B, K) or (B, K, S'), deterministic and differentiable."""
        ...


@runtime_checkable
class HasDensity(Protocol):
    """Says how likely an image is, or its code."""

    def log_density(self, x: Tensor) -> Tensor:
        """Log p in nats, up to a constant of the model's, (B, C, S) to (B,), differentiable; hardly
        above 0 for healthy images.
        """
        ...


@runtime_checkable
class HasPosterior(Protocol):
    """Has a Gaussian posterior q(z|x)."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z|x), each (B, K) or (B, K, S')."""
        ...


@runtime_checkable
class SamplesReconstructions(Protocol):
    """Has many answers to what the healthy version is (Monte Carlo)."""

    def sample_reconstructions(self, x: Tensor, count: int) -> Iterator[Tensor]:
        """Yield ``count`` reconstructions of ``x``, (B, C, S) each.

        Draw ``n`` depends on ``n`` alone and is the same for every image of the batch (common
        random numbers), so the answer does not depend on the batch or the device.
        """
        ...


@runtime_checkable
class HasElbo(Protocol):
    """Bounds the likelihood: −log p(x) ≤ reconstruction + KL."""

    def elbo_terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction term −log p(x|z) at the posterior mean (constants dropped) and KL term,
        each (B,), differentiable in x.

        Both are sums over pixels or latent dimensions, as in training; KL is unweighted.
        """
        ...


@runtime_checkable
class HasMembers(Protocol):
    """Is an ensemble, whose members :mod:`aberra.workflows.members` fits one by one."""

    def members(self) -> Sequence[Module]:
        """The members, whose weights are the ensemble's."""
        ...

    def member_config(self) -> dict[str, Any]:
        """``name`` and options of a member, all alike."""
        ...


@runtime_checkable
class HasBackground(Protocol):
    """Has a second model of the same kind, which knows what all images have in common."""

    def background_terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`HasElbo.elbo_terms`, of the second model."""
        ...


@runtime_checkable
class Generates(Protocol):
    """Makes healthy images from a latent code with a standard normal prior."""

    def generate(self, z: Tensor) -> Tensor:
        """Shape (B, K) to (B, C, S)."""
        ...

    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one code, ``(K,)``."""
        ...


@runtime_checkable
class HasCritic(Protocol):
    """Has a critic whose features compare images."""

    def features(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to features (B, F)."""
        ...


@runtime_checkable
class Denoises(Protocol):
    """Takes noise of any strength out of an image (diffusion); see :mod:`aberra.diffusion`."""

    def process(self) -> Schedule:
        """The schedule of the noise."""
        ...

    def noise(self, seed: int, like: Tensor) -> Tensor:
        """Noise number ``seed`` of the kind it was trained with, (1, C, S), shared by a batch like
        ``like``.
        """
        ...

    def denoise(self, noisy: Tensor, t: int, label: Tensor | int | None = None) -> Estimate:
        """Estimate image and noise in x_t, shape (B, C, S), t from 1 to T; ``label`` is a class,
        one or (B,), where it knows classes.
        """
        ...


@runtime_checkable
class TellsTransformations(Protocol):
    """Tells how an image was transformed."""

    def transformations(self) -> int:
        """How many it knows; number 0 changes nothing."""
        ...

    def certainty(self, x: Tensor, number: int) -> Tensor:
        """Probability of the true answer for an image after transformation ``number``, (B, C, S) to
        (B,), in [0, 1].
        """
        ...


@runtime_checkable
class HasFeatures(Protocol):
    """Has feature maps: they compare images as a perceptual distance does, or have a density."""

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Shape (B, C, S) to levels, finest first: (B, F, S / 2ᵏ)."""
        ...


@runtime_checkable
class JudgesHealth(Protocol):
    """Says how likely a noisy image is of a healthy body part; can guide a sampler there."""

    def log_healthy(self, noisy: Tensor, t: int) -> Tensor:
        """Log p(healthy | x_t, t), (B, C, S) to (B,), differentiable."""
        ...

    def checked_healthy(self, x: Tensor) -> Tensor:
        """Log p(healthy | x₀) by an independent network that never guides, (B, C, S) to (B,)."""
        ...


@runtime_checkable
class Classifies(Protocol):
    """Says of an image whether it is of somebody healthy or diseased."""

    def classify(self, x: Tensor) -> Tensor:
        """Log-probabilities of healthy and diseased, (B, C, S) to (B, 2), differentiable."""
        ...


@runtime_checkable
class ClassifiesFromMaps(Protocol):
    """Classifies images by feature maps, which say where something is."""

    def class_maps(self, x: Tensor) -> Tensor:
        """The last feature maps, (B, C, S) to (B, F, S')."""
        ...

    def class_logits(self, maps: Tensor) -> Tensor:
        """What is made of them: logits of healthy and diseased, (B, F, S') to (B, 2)."""
        ...


@runtime_checkable
class ClassifiesFromMeans(ClassifiesFromMaps, Protocol):
    """Classifies images by a linear layer on the mean of each feature map."""

    def class_weights(self) -> Tensor:
        """Of the layer, (2, F)."""
        ...


@runtime_checkable
class HasGuides(Denoises, Protocol):
    """Has guides, networks that say at any noise level what is in an
    image: :mod:`aberra.workflows.edit` follows their gradients.

    Each has a checker of the same kind that sees nearly clean images and never guides.
    """

    def guide_names(self) -> Sequence[str]:
        """Which it has, of :data:`aberra.diffusion.guidance.GUIDES`."""
        ...

    def told(self, name: str, noisy: Tensor, t: int, *, checker: bool = False) -> Tensor:
        """What a guide, or its checker, says of x_t, (B, C, S), differentiable.

        Logits (B, 2) of healthy and diseased for ``class``, lesion area / foreground area (B, 1)
        for ``area``, the standardised age (B, 1) for ``age``, the lesion's logit (B, 1, S) for
        ``mask``.
        """
        ...


@runtime_checkable
class Segments(Protocol):
    """Outlines lesions, many times where it is unsure."""

    def segmentations(self, x: Tensor, count: int) -> Iterator[Tensor]:
        """Yield ``count`` maps of lesion probability for ``x``, (B, 1, S) each, in [0, 1].

        A model with K values in its attribute ``kinds`` yields the probability of each kind, (B, K,
        S), with a sum of at most 1. Draw ``n`` depends on ``n`` alone and is the same for every
        image of the batch (common random numbers); a model without randomness yields the same map
        each time.
        """
        ...


@runtime_checkable
class SegmentsInSteps(Protocol):
    """Draws lesion masks out of noise."""

    def process(self) -> Schedule:
        """The schedule of the noise."""
        ...

    def segmentations(
        self, x: Tensor, count: int, *, steps: int | None = None, sampler: Sampler = "ddpm"
    ) -> Iterator[Tensor]:
        """As of :class:`Segments`, each in ``steps`` calls of the network, at most T; None is T."""
        ...


@runtime_checkable
class PredictsVariance(Protocol):
    """Says itself how unsure it is of its segmentation (aleatoric uncertainty)."""

    def predicted_variance(self, x: Tensor) -> Tensor:
        """Variance of the lesion's logit, (B, C, S) to (B, 1, S), non-negative."""
        ...


@runtime_checkable
class ScoresVolume(Protocol):
    """Scores the voxels of a whole prepared volume directly."""

    def score_volume(self, x: Tensor, mask: Tensor) -> Tensor:
        """Shape (C, D, H, W) and (D, H, W) to a non-negative map (D, H, W)."""
        ...


@runtime_checkable
class ScoresPixels(Protocol):
    """Scores the pixels of images itself."""

    def score_pixels(self, x: Tensor) -> Tensor:
        """Shape (B, C, S) to a map (B, 1, S), not negative; an image's does not depend on the
        others.
        """
        ...


@runtime_checkable
class Expects(Protocol):
    """Says of a whole prepared volume what intensity it expects of healthy tissue, and how far
    healthy tissue strays from it.
    """

    def expect(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Shape (C, D, H, W) and (D, H, W) to mean and spread (standard deviation), each (C, D, H,
        W); spread is above 0.
        """
        ...


@runtime_checkable
class TellsKinds(Protocol):
    """A model that tells kinds of lesion apart.

    Attributes:
        kinds: their label values in mask files; empty where this one does not.
    """

    kinds: tuple[int, ...]


@runtime_checkable
class Grows(Protocol):
    """A model that can look at more than it was trained on: a whole 3-D foreground in one window
    instead of many that overlap.

    Attributes:
        grows: voxels, along each axis, that the window is a multiple of; 0 where this one does not.
    """

    grows: int


@runtime_checkable
class FillsLesions(Protocol):
    """A model that can say what the image would be without the lesions.

    Attributes:
        restores: whether this one has learnt it.
    """

    restores: bool

    def restored(self, x: Tensor) -> Tensor:
        """The image without lesions, (B, C, S) to (B, C, S)."""
        ...


@runtime_checkable
class Tunes(Protocol):
    """A score or restoration that can choose its own settings on validation cases, before
    calibration.
    """

    def tune(self, model: Any, volumes: Iterable[Volume], run: Runner) -> dict[str, Any]:
        """Return what was found, as options of the constructor; empty where there is nothing to
        find. Changes nothing itself.

        Args:
            model: is asked.
            volumes: prepared, healthy, and diseased ones for methods that learn from them; read one
                at a time, as far as asked for.
            run: maps functions over a volume.
        """
        ...


@runtime_checkable
class AsksHealthy(Tunes, Protocol):
    """A score that has nothing to say before it has seen healthy cases (:meth:`tune`); until then
    it is 0.

    Attributes:
        ready: whether it has.
    """

    ready: bool


@runtime_checkable
class MapsProbability(Protocol):
    """A score whose map may be a lesion's probability.

    Attributes:
        probability: whether it is.
    """

    probability: bool


@runtime_checkable
class AsksOnce(Protocol):
    """A score or restoration that may be a plain function of what the model is shown: what it says
    of a slice or patch comes from that slice or patch alone, in one pass, without gradients.

    Attributes:
        once: whether it is.
    """

    once: bool


@runtime_checkable
class HasUnit(Protocol):
    """A score that says what its map is measured in.

    Attributes:
        unit: ``intensity`` for differences of intensities, whose mean is an ℓ1 error; empty for
            everything else.
    """

    unit: str
