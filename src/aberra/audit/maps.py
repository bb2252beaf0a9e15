"""Cases on a plane, by their codes or their scanner statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from aberra.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Map = Literal["pca", "umap"]

NEIGHBOURS = 15
"""That UMAP keeps beside each other, its usual number; fewer where there are fewer cases."""

PERPLEXITY = 20.0
"""Of t-SNE; less where there are few cases."""

FEWEST = 4
"""Cases below which UMAP has no neighbourhoods to keep."""

WORDS = {"pca": "principal components of the reference", "umap": "UMAP of all cases"}


def places(values: NDArray[np.float64], fitted: NDArray[np.float64], kind: Map) -> NDArray[np.float64]:
    """Coordinates (N, 2) of values (N, F), each over its spread in ``fitted`` (M, F).

    ``pca`` has the axes in which ``fitted`` varies most and keeps distances along them; ``umap``
    (McInnes, Healy, Melville 2018, arXiv 1802.03426) keeps neighbours together and says nothing of
    distances.

    Raises:
        ConfigError: ``umap`` without the package, or with fewer than four cases.
    """
    if kind == "pca":
        return plane(values, fitted)
    if len(values) < FEWEST:
        raise ConfigError(f"audit.layout='umap': {len(values)} case(s), expected {FEWEST} or more; use 'pca'")
    reducer = _umap()
    near = min(NEIGHBOURS, len(values) - 1)
    found = reducer(n_neighbors=near, random_state=0, n_jobs=1, init="pca").fit_transform(
        standard(values, fitted)
    )
    return np.asarray(found, dtype=np.float64)


def expect(kind: Map) -> None:
    """Check, before anything is computed, that a map can be drawn.

    Raises:
        ConfigError: ``umap`` without the package.
    """
    if kind == "umap":
        _umap()


def plane(values: NDArray[np.float64], fitted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinates (N, 2) of values (N, F) on the two axes in which ``fitted`` (M, F) varies most, each
    number over its spread there.
    """
    axes = np.linalg.svd(standard(fitted, fitted), full_matrices=False)[2][:2]
    axes = np.vstack([axes, np.zeros((2 - len(axes), axes.shape[1]))])
    # the sign of an axis is arbitrary: the largest part is positive
    axes *= (
        np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])[:, None]
        + (np.abs(axes).max(axis=1) == 0)[:, None]
    )
    return np.asarray(standard(values, fitted) @ axes.T)


def tsne(values: NDArray[np.float64], *, seed: int = 0) -> NDArray[np.float64] | None:
    """t-SNE of standardised values (N, F), (N, 2); None with fewer than five cases."""
    from sklearn.manifold import TSNE

    if len(values) < 5:
        return None
    perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
    reducer = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    return np.asarray(reducer.fit_transform(standard(values, values)), dtype=np.float64)


def standard(values: NDArray[np.float64], fitted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (N, F) over mean and spread of ``fitted`` (M, F)."""
    return np.asarray((values - fitted.mean(axis=0)) / np.maximum(fitted.std(axis=0), 1e-9))


def unit(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places (N, 2) in the unit square, each axis from end to end."""
    low, high = places.min(axis=0), places.max(axis=0)
    return np.asarray((places - low) / np.where(high > low, high - low, 1.0))


def _umap() -> Any:
    try:
        from umap import UMAP
    except ImportError as error:
        raise ConfigError(
            "audit.layout='umap' needs the package umap-learn; pip install 'aberra[umap]', or use 'pca'"
        ) from error
    return UMAP
