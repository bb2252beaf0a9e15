"""An autoregressive network on a map of words."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import NotFittedError, TrainingError
from aberra.nets.causal import CausalAttention, CausalConv, GatedBlock
from aberra.nets.unified import conv
from aberra.options import Count, Edge, Levels, Positive, Width, configured

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BATCH = 32
CLIP = 1.0
"""Greatest gradient norm."""


class CodeAR(nn.Module):
    """How likely each word of a map is behind those before it, row by row: p(k) = ∏ᵢ p(kᵢ | k₁, …,
    kᵢ₋₁).

    As PixelSNAIL (Chen, Mishra, Rohaninejad, Abbeel 2018, arXiv 1712.09763) of masked convolutions
    and masked attention: a convolution that does not see its own place, gated blocks
    (:class:`aberra.nets.causal.GatedBlock`), one attention over all places before
    (:class:`aberra.nets.causal.CausalAttention`), a last block, and a softmax over the words. Every
    place has a learnt vector of its own, so that the network knows where it is.

    Learns by the cross-entropy, with Adam and a rate that falls to 0 along a cosine. The epoch
    under which healthy validation maps are likeliest is kept.

    Args:
        features: K, words of the dictionary.
        size: S', of the map.
        width: filters of the hidden layers.
        blocks: gated ones before the attention.
        epochs: passes over the maps.
        learning_rate: of Adam, at first.

    Raises:
        TrainingError: too few maps, or a likelihood that is not finite.
        NotFittedError: asked before :meth:`fit`.

    513,792 parameters of 512 words at 8×8, masked ones among them.

    Deviation: one attention and plain gated blocks; PixelSNAIL repeats both, with residual branches
    of more layers.

    Examples:
        >>> import torch
        >>> from aberra.densities.code_ar import CodeAR
        >>> _ = torch.manual_seed(0)
        >>> words = torch.randint(0, 6, (20, 4, 4))
        >>> density = CodeAR(features=6, size=(4, 4), width=8, blocks=1, epochs=2)
        >>> sorted(density.fit(words, words, seed=0))
        ['epoch', 'validation']
        >>> density.surprise(words[:3]).shape
        torch.Size([3, 4, 4])
    """

    name = "code-ar"
    fitted: Tensor

    @configured("model.density")
    def __init__(
        self,
        *,
        features: Width,
        size: Sequence[Edge],
        width: Width = 64,
        blocks: Levels = 4,
        epochs: Count = 20,
        learning_rate: Positive = 1e-3,
    ) -> None:
        super().__init__()
        self.epochs = epochs
        self.learning_rate = learning_rate
        dims = len(size)
        self.words = nn.Embedding(features, width)
        self.places = nn.Parameter(torch.zeros(width, *size))
        self.first = CausalConv(width, width, dims=dims, dilation=1, sees_itself=False)
        self.body = nn.Sequential(*(GatedBlock(width, dims=dims) for _ in range(blocks)))
        self.attention = CausalAttention(width, dims=dims)
        self.last = nn.Sequential(GatedBlock(width, dims=dims), nn.ReLU())
        self.head = conv(dims)(width, features, 1)
        nn.init.zeros_(self.head.weight)  # all words are alike at first
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def logits(self, words: Tensor) -> Tensor:
        """Of every word at every place, given the words before it: (B, S') to (B, K, S')."""
        here = self.words(words).movedim(-1, 1)
        before = self.body(self.first(here) + self.places)
        found: Tensor = self.head(self.last(self.attention(before, here)))
        return found

    def surprise(self, words: Tensor) -> Tensor:
        """−log p of each word, in nats: (B, S') to (B, S')."""
        if not self.fitted:
            raise NotFittedError(self.name)
        return self._surprise(words)

    def _surprise(self, words: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(words), words, reduction="none")

    @torch.no_grad()
    def resampled(self, words: Tensor, threshold: float, count: int) -> Iterator[Tensor]:
        """Yield ``count`` maps (B, S') of words in which those of a greater −log p than
        ``threshold`` are drawn anew from p, in order; the next ones are judged given what was drawn.

        Draw n takes the same uniform number at a place for every map of the batch.
        """
        if not self.fitted:
            raise NotFittedError(self.name)
        for number in range(count):
            generator = torch.Generator().manual_seed(number)
            uniform = torch.rand(words[0].numel(), generator=generator, dtype=torch.float64).tolist()
            flat, start = words.flatten(1).clone(), 0
            while True:  # once a place at which a map of the batch has an unlikely word
                log_p = self.logits(flat.view(words.shape)).flatten(2).double().log_softmax(dim=1)
                unlikely = -log_p.gather(1, flat[:, None])[:, 0] > threshold
                waiting = unlikely[:, start:].any(dim=0).nonzero()
                if not len(waiting):
                    break
                place = start + int(waiting[0])
                below = log_p[:, :, place].exp().cumsum(dim=1) < uniform[place]
                drawn = below.sum(dim=1).clamp(max=log_p.shape[1] - 1)
                flat[:, place] = torch.where(unlikely[:, place], drawn, flat[:, place])
                start = place + 1
            yield flat.view(words.shape)

    @torch.no_grad()
    def fit(self, words: Tensor, validation: Tensor, seed: int) -> Mapping[str, Any]:
        """Learn from maps ``words`` (N, S') of healthy images; ``validation`` (M, S') are healthy,
        too. Without these the last fifth of ``words`` is not learnt from and takes their place.

        Returns:
            The epoch that was kept and the mean −log p of a validation word.
        """
        if not len(validation):
            kept = len(words) - max(1, len(words) // 5)
            words, validation = words[:kept], words[kept:]
        if len(words) < 2:
            raise TrainingError(
                f"{self.name}: {len(words)} sample(s) to learn a density from; expected 2 or more"
            )
        generator = torch.Generator().manual_seed(seed)
        parameters = list(self.requires_grad_(requires_grad=True).parameters())
        adam = torch.optim.Adam(parameters, self.learning_rate)
        rates = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.epochs)
        best, kept_state, chosen = inf, {}, 0
        for epoch in range(self.epochs):
            for rows in torch.split(torch.randperm(len(words), generator=generator), BATCH):
                with torch.enable_grad():
                    loss = self._surprise(words[rows]).mean()
                    adam.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(parameters, CLIP)
                adam.step()
            rates.step()
            watched = self._mean_surprise(validation)
            if watched < best:
                best, chosen = watched, epoch + 1
                kept_state = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        self.requires_grad_(requires_grad=False)
        if not isfinite(best):
            raise TrainingError(f"{self.name}: the likelihood of the validation maps is not finite")
        self.load_state_dict(kept_state)
        self.fitted.fill_(True)  # noqa: FBT003
        return {"epoch": chosen, "validation": round(best, 3)}

    def _mean_surprise(self, words: Tensor) -> float:
        """Mean −log p of a word of maps (N, S')."""
        parts = [self._surprise(part).flatten(1).mean(dim=1) for part in torch.split(words, BATCH)]
        return float(torch.cat(parts).mean(dtype=torch.float64))
