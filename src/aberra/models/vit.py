"""A vision transformer, for weights that were learnt elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aberra.errors import ConfigError
from aberra.nets.photographs import as_photographs
from aberra.options import Dims, Edge, EdgeOrNone, Levels, Reach, Width, WidthOrNone, configured

if TYPE_CHECKING:
    from collections.abc import Mapping

EPSILON = 1e-6
"""Of the norms."""
MAPS = 4

RENAMED = (
    (r"^(dinov2|dinov2_with_registers|vit)\.", ""),
    (r"^register_tokens$", "reg_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)
"""Names of transformers and of DINOv2's own files to timm's."""


class VisionTransformer(nn.Module):
    """Feature maps of a transformer that others have trained, as DINOv2.

    Dosovitskiy et al. 2021 (arXiv 2010.11929); Oquab et al. 2024 (DINOv2, arXiv 2304.07193). It has
    no loss: its weights come from ``training.start``, a ``.safetensors`` file with the names of
    timm (``blocks.0.attn.qkv.weight``), of DINOv2's own release or of transformers
    (``encoder.layer.0.attention.attention.query.weight``). Nothing is downloaded. Each channel of a
    scan is a grey photograph of its own (:func:`aberra.nets.photographs.as_photographs`), and their
    features lie one behind the other.

    Four maps, all of one resolution, are the patches' tokens after a quarter, half, three quarters
    and all of the blocks, normalised as the last ones are. 22,056,192 parameters by default, those
    of DINOv2's ViT-S/14 but its mask token.

    Args:
        channels: C.
        dims: 2.
        size: spatial shape S of the input.
        resolution: edge that images are enlarged to, divisible by the patch; 0 leaves them as they
            are.
        patch: edge of a patch.
        width: D, numbers of a token.
        depth: blocks; a multiple of four.
        heads: of attention; they share the width.
        registers: tokens beside class and patches, four in DINOv2 "with registers".
        grid: patches along an edge that positions were learnt for, 37 in DINOv2 (518 pixels).
        scaled: whether blocks are scaled (LayerScale), as DINOv2's are and plain ones are not.

    Raises:
        ConfigError: volumes, which it does not see; a resolution that is not divisible; or heads
            that do not share the width.

    Deviation: positions are enlarged bicubically to the patches there are; DINOv2 adds an offset of
    0.1 patches first. SwiGLU (ViT-g) and rotary positions (DINOv3) are not there.

    Examples:
        >>> import torch
        >>> from aberra.models.vit import VisionTransformer
        >>> small = {"width": 16, "depth": 4, "heads": 2, "grid": 3, "resolution": 56}
        >>> model = VisionTransformer(channels=2, size=(32, 32), **small).eval()
        >>> [tuple(each.shape) for each in model.feature_maps(torch.rand(1, 2, 32, 32))][:2]
        [(1, 32, 4, 4), (1, 32, 4, 4)]
    """

    name = "vit"

    @configured("model")
    def __init__(
        self,
        *,
        channels: Width,
        dims: Dims = 2,
        size: Sequence[Edge],
        resolution: EdgeOrNone = 224,
        patch: Reach = 14,
        width: Width = 384,
        depth: Levels = 12,
        heads: Width = 6,
        registers: WidthOrNone = 0,
        grid: Reach = 37,
        scaled: bool = True,
    ) -> None:
        super().__init__()
        del channels  # each is seen alone
        if dims != 2:
            raise ConfigError(f"model: vit sees slices, not volumes (dims={dims}); set prepare.dims=2")
        self.resolution = tuple([resolution] * 2 if resolution else size)
        if any(edge % patch for edge in self.resolution):
            raise ConfigError(f"model.resolution, model.patch: {self.resolution} is not divisible by {patch}")
        if width % heads:
            raise ConfigError(
                f"model.heads={heads}, model.width={width}; expected a width divisible by the heads"
            )
        if depth % MAPS:
            raise ConfigError(f"model.depth={depth}; expected a number divisible by {MAPS}")
        self.grid = grid
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, stride=patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.reg_token = nn.Parameter(torch.zeros(1, registers, width)) if registers else None
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + grid**2, width))
        self.blocks = nn.ModuleList(Block(width, heads=heads, scaled=scaled) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPSILON)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Shape (B, C, S) to four levels (B, C·D, R / patch), R being the resolution."""
        patches = self.patch_embed["proj"](as_photographs(x, self.resolution))
        shape = patches.shape[2:]
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches.flatten(2).mT], dim=1)
        tokens = tokens + self._positions(shape)
        others = 1
        if self.reg_token is not None:
            others += self.reg_token.shape[1]
            registers = self.reg_token.expand(len(tokens), -1, -1)
            tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)
        found = []
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            if not number % (len(self.blocks) // MAPS):
                seen = self.norm(tokens)[:, others:].mT
                found.append(seen.reshape(len(x), -1, *shape))
        return found

    def renamed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of others under the names and in the shapes that they have here; what is not
        known stays as it is.
        """
        found: dict[str, Tensor] = {}
        for name, tensor in weights.items():
            for pattern, ours in RENAMED:
                name = re.sub(pattern, ours, name)  # noqa: PLW2901
            found[name] = tensor
        for name in [each for each in found if ".attn.query." in each]:
            parts = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
            if all(part in found for part in parts):
                found[name.replace(".query.", ".qkv.")] = torch.cat([found.pop(part) for part in parts])
        positions = found.get("pos_embed")
        if positions is not None and positions.ndim == 3 and positions.shape[1] == self.grid**2:
            # timm's transformers with registers have none for the class
            found["pos_embed"] = F.pad(positions, (0, 0, 1, 0))
        return found

    def _positions(self, shape: Sequence[int]) -> Tensor:
        """Embedding of class and patches, (1, 1 + patches, D)."""
        own, places = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        if tuple(shape) == (self.grid, self.grid):
            return self.pos_embed
        square = places.mT.reshape(1, -1, self.grid, self.grid)
        moved = F.interpolate(square, tuple(shape), mode="bicubic", align_corners=False)
        return torch.cat([own, moved.flatten(2).mT], dim=1)


class Block(nn.Module):
    """Attention and two layers, each behind a norm and added to what came in: (B, N, D) to (B, N,
    D).
    """

    def __init__(self, width: int, *, heads: int, scaled: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = Attention(width, heads=heads)
        self.ls1 = Scale(width) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.ls2 = Scale(width) if scaled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, N, D) to (B, N, D)."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x)))))
        return out


class Attention(nn.Module):
    """Self-attention of several heads: (B, N, D) to (B, N, D)."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, N, D) to (B, N, D)."""
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(heads.transpose(1, 2).reshape(x.shape))
        return out


class Scale(nn.Module):
    """A factor for each number of a token (LayerScale; Touvron et al. 2021, arXiv 2103.17239)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape (..., D)."""
        return x * self.gamma
