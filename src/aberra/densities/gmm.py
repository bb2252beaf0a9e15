"""A mixture of Gaussians with full covariances."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import log, pi
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from aberra.densities.density import Density
from aberra.errors import ConfigError, TrainingError
from aberra.options import Count, Few, Positive, Width, configured

if TYPE_CHECKING:
    from collections.abc import Mapping


class GaussianMixture(Density):
    """p(z) = Σₖ wₖ N(z; μₖ, Σₖ), found by expectation maximisation.

    Lüth et al. 2023 (CRADL, arXiv 2301.02126). Means begin at random features and covariances at
    the identity, features being standardised. K is the one of ``components`` under which healthy
    validation features are likeliest; no label is ever seen.

    F + 1 + F² numbers a component, of as many components as the greatest K, and 2F.

    Args:
        features: F.
        components: the K that are tried.
        tolerance: EM stops where the mean log-likelihood rises by less.
        ridge: added to the variances.
        iterations: most steps of EM.

    Raises:
        ConfigError: no K, or a value out of range.
        TrainingError: fewer features than components, or a covariance that cannot be inverted.

    Deviation: the publication chooses K by its scores on annotated validation scans. The random
    features are far apart (k-means++), and covariances begin as the identity, where the public code
    has some steps with fixed ones.

    Examples:
        >>> import torch
        >>> from aberra.densities.gmm import GaussianMixture
        >>> two = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
        >>> two[::2] += 20
        >>> density = GaussianMixture(features=2, components=[1, 2])
        >>> density.fit(two[:300], two[300:], seed=0)["components"]
        2
        >>> far, near = density.log_density(torch.tensor([[10.0, 10.0], [20.0, 20.0]]))
        >>> bool(far < near)
        True
    """

    name = "gmm"
    weights: Tensor
    means: Tensor
    whitening: Tensor

    @configured("model.density")
    def __init__(
        self,
        *,
        features: Width,
        components: Sequence[Few] = (1, 2, 4, 8),
        tolerance: Positive = 0.1,
        ridge: Positive = 1e-5,
        iterations: Count = 100,
    ) -> None:
        super().__init__(features)
        if not components:
            raise ConfigError("model.density.components=[]; expected one or more numbers of components")
        self.components = tuple(components)
        self.tolerance = tolerance
        self.ridge = ridge
        self.iterations = iterations
        most = max(self.components)
        # components that were not chosen keep a weight of 0
        self.register_buffer("weights", torch.zeros(most))
        self.register_buffer("means", torch.zeros(most, features))
        self.register_buffer("whitening", torch.eye(features).repeat(most, 1, 1))

    def standard_log_density(self, z: Tensor) -> Tensor:
        """Log p of standardised features, (B, F) to (B,)."""
        # the whitening of a narrow direction has large entries that cancel
        apart = z.double()[:, None] - self.means.double()
        whitening = self.whitening.double()
        white = torch.einsum("bkf,kfg->bkg", apart, whitening)
        volume = whitening.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        each = volume - 0.5 * (white**2).sum(dim=2) - 0.5 * z.shape[1] * log(2 * pi)
        return torch.logsumexp(self.weights.double().log() + each, dim=1).to(z)

    def fit_standard(self, z: Tensor, validation: Tensor, seed: int) -> Mapping[str, Any]:
        """Learn from standardised features; return K."""
        import numpy as np
        from sklearn.cluster import kmeans_plusplus
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture as Mixture

        if len(z) < max(self.components):
            raise TrainingError(
                f"model.density.components: {max(self.components)} of them, but {len(z)} samples to learn from"
            )
        learnt, watched = (each.double().cpu().numpy() for each in (z, validation))
        state, found = seed % 2**32, []  # as much as NumPy's generators take
        for count in self.components:
            means, _ = kmeans_plusplus(learnt, count, random_state=state)
            mixture = Mixture(
                count,
                tol=self.tolerance,
                reg_covar=self.ridge,
                max_iter=self.iterations,
                weights_init=np.full(count, 1 / count),
                means_init=means,
                precisions_init=np.repeat(np.eye(learnt.shape[1])[None], count, axis=0),
                random_state=state,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # it is close enough after so many steps
                try:
                    mixture.fit(learnt)
                except ValueError as error:
                    raise TrainingError(
                        f"model.density: {count} component(s): {error}; raise model.density.ridge above {self.ridge:g}"
                    ) from error
            found.append((float(mixture.score(watched)), mixture))
        _, best = max(found, key=lambda pair: pair[0])
        count = best.n_components
        self.weights.zero_()[:count] = torch.from_numpy(best.weights_).to(self.weights)
        self.means.zero_()[:count] = torch.from_numpy(best.means_).to(self.means)
        self.whitening[:count] = torch.from_numpy(best.precisions_cholesky_).to(self.whitening)
        return {"components": count}
