from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from aberra.capabilities import HasFeatures, Trains
from aberra.errors import ConfigError
from aberra.models.vit import VisionTransformer
from aberra.nets.photographs import as_photographs

SMALL = {"channels": 1, "size": (32, 32), "resolution": 56, "width": 16, "depth": 4, "heads": 2, "grid": 4}


def _model(**options):
    torch.manual_seed(0)
    model = VisionTransformer(**SMALL | options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def _as_transformers(state):
    """The same weights under the names of transformers, queries, keys and values apart."""
    names = {
        "cls_token": "embeddings.cls_token", "reg_token": "embeddings.register_tokens",
        "pos_embed": "embeddings.position_embeddings", "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
        ".attn.proj.": ".attention.output.dense.", "ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1",
    }  # fmt: skip
    found = {"embeddings.mask_token": torch.zeros(1, 16)}
    for name, tensor in state.items():
        theirs = name
        for ours, other in names.items():
            theirs = theirs.replace(ours, other)
        theirs = theirs.replace("blocks.", "encoder.layer.")
        theirs = "layernorm" + theirs.removeprefix("norm") if theirs.startswith("norm.") else theirs
        if ".attn.qkv." in theirs:
            for part, each in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                found[theirs.replace(".attn.qkv.", f".attention.attention.{part}.")] = each
        else:
            found[theirs] = tensor
    return found


def test_parameters_are_those_of_dinov2s_vit_s():
    model = VisionTransformer(channels=1, size=(128, 128))
    mask_token = 384
    assert sum(each.numel() for each in model.parameters()) == 22_056_576 - mask_token == 22_056_192
    assert isinstance(model, HasFeatures)
    assert not isinstance(model, Trains)
    assert model.state_dict()["blocks.11.attn.qkv.weight"].shape == (1152, 384)
    assert model.state_dict()["pos_embed"].shape == (1, 1370, 384)


@pytest.mark.parametrize("registers", [0, 4])
def test_maps_are_what_the_weights_say(registers):
    model = _model(registers=registers)
    state, x = model.state_dict(), torch.rand(2, 1, 32, 32)
    y = F.conv2d(
        as_photographs(x, (56, 56)),
        state["patch_embed.proj.weight"],
        state["patch_embed.proj.bias"],
        stride=14,
    )
    tokens = [state["cls_token"][0, 0] + state["pos_embed"][0, 0]]
    tokens = torch.stack(tokens).expand(2, 1, -1)
    if registers:
        tokens = torch.cat([tokens, state["reg_token"].expand(2, -1, -1)], dim=1)
    tokens = torch.cat([tokens, y.flatten(2).transpose(1, 2) + state["pos_embed"][:, 1:]], dim=1)

    def linear(name, z):
        return z @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def normed(name, z):
        z = (z - z.mean(-1, keepdim=True)) / (z.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
        return z * state[f"{name}.weight"] + state[f"{name}.bias"]

    maps = model.feature_maps(x)
    assert len(maps) == 4
    for number in range(4):
        at = f"blocks.{number}"
        q, k, v = linear(f"{at}.attn.qkv", normed(f"{at}.norm1", tokens)).chunk(3, dim=-1)
        heads = []
        for head in range(2):
            part = slice(8 * head, 8 * head + 8)
            weights = (q[..., part] @ k[..., part].mT / math.sqrt(8)).softmax(dim=-1)
            heads.append(weights @ v[..., part])
        tokens = tokens + state[f"{at}.ls1.gamma"] * linear(f"{at}.attn.proj", torch.cat(heads, dim=-1))
        hidden = F.gelu(linear(f"{at}.mlp.fc1", normed(f"{at}.norm2", tokens)))
        tokens = tokens + state[f"{at}.ls2.gamma"] * linear(f"{at}.mlp.fc2", hidden)
        seen = normed("norm", tokens)[:, 1 + registers :].transpose(1, 2).view(2, 16, 4, 4)
        torch.testing.assert_close(maps[number], seen, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("prefix", ["", "dinov2."])
def test_weights_of_transformers_are_ours_under_other_names(prefix):
    state = _model(registers=4).state_dict()
    theirs = {prefix + name: tensor for name, tensor in _as_transformers(state).items()}
    found = _model().renamed(theirs)
    assert set(state) <= set(found)
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert not any("query" in name or "key" in name for name in found)


def test_plain_transformers_and_dinov2s_own_files_are_read_too():
    renamed = _model().renamed
    names = ["vit.encoder.layer.3.intermediate.dense.bias", "vit.encoder.layer.3.output.dense.bias",
             "vit.encoder.layer.3.layernorm_before.weight", "register_tokens", "blocks.0.ls1.gamma"]  # fmt: skip
    assert list(renamed(dict.fromkeys(names, torch.zeros(1)))) == [
        "blocks.3.mlp.fc1.bias", "blocks.3.mlp.fc2.bias", "blocks.3.norm1.weight", "reg_token", "blocks.0.ls1.gamma",
    ]  # fmt: skip


def test_a_class_without_a_position_gets_0():
    state = _model().state_dict()
    places = state["pos_embed"][:, 1:]
    found = _model().renamed(state | {"pos_embed": places})["pos_embed"]
    assert torch.equal(found[:, 1:], places)
    assert not found[:, 0].any()


def test_positions_are_enlarged_to_the_patches_there_are():
    model = _model(resolution=112)
    with torch.no_grad():
        model.pos_embed.copy_(torch.ones_like(model.pos_embed))
    torch.testing.assert_close(model._positions((8, 8)), torch.ones(1, 65, 16))
    assert model.feature_maps(torch.rand(1, 1, 32, 32))[0].shape == (1, 16, 8, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": 3}, "vit sees slices, not volumes"),
        ({"resolution": 50}, "not divisible by 14"),
        ({"resolution": 0}, "not divisible by 14"),
        ({"heads": 3}, "expected a width divisible by the heads"),
        ({"depth": 6}, "expected a number divisible by 4"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        _model(**options)
