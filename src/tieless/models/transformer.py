"""Transformers: one that sees an image in patches, and one that reads characters."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tieless.errors import RuleValueError
from tieless.forwards import ForwardLike
from tieless.nn import Activation
from tieless.rules import RuleLike


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        if width % heads:
            raise RuleValueError(f"The width must be a multiple of the heads, got {width} and {heads}.")
        self.heads, self.causal = heads, causal
        self.projections = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.projections(x).chunk(3, dim=-1)
        )
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out(seen.transpose(1, 2).flatten(2))


class _Block(nn.Module):
    """Block: ``x + attention(norm(x))``, then the same with two linear layers and an activation between them."""

    def __init__(self, width: int, heads: int, forward: ForwardLike, backward: RuleLike, *, causal: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = _Attention(width, heads, causal=causal)
        self.norm2 = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, 4 * width)
        self.act = Activation(forward, backward)
        self.out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.out(self.act(self.hidden(self.norm2(x))))


def _blocks(depth: int, width: int, heads: int, forward: ForwardLike, backward: RuleLike, *, causal: bool) -> nn.Module:
    return nn.Sequential(*(_Block(width, heads, forward, backward, causal=causal) for _ in range(depth)))


def _places(count: int, width: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(count, width), std=0.02))


class ViT(nn.Module):
    """Vision transformer: patches of an image as tokens, transformer blocks, a mean over the tokens, a linear layer.

    Norms come before attention and before the two linear layers, whose activation is the only one: the softmax of the
    attention depends on several numbers at once, so it has no elementwise forward or rule, and stays as it is.

    Args:
        forward, backward: Forward and backward rule of the activation in each block.
        width: Number of values per token; the hidden layer of a block has four times as many.
        depth: Number of blocks.
        heads: Number of heads of each attention; they divide the width.
        patch: Height and width of a patch.
        image: Height and width of an image; a multiple of ``patch``.
        classes: Number of scores per sample.
    Shape:
        ``(n, 1, image, image) -> (n, classes)``.
    Raises:
        RuleValueError: the width is no multiple of the heads, or the image of the patch.
    Source:
        Dosovitskiy et al. 2021, arXiv:2010.11929; the mean in the place of a class token after Beyer et al. 2022,
        arXiv:2205.01580.
    Example:
        >>> ViT("gelu", "constant", width=16, depth=2, heads=2)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        forward: ForwardLike = "gelu",
        backward: RuleLike = "tied",
        *,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        patch: int = 4,
        image: int = 28,
        classes: int = 10,
    ) -> None:
        super().__init__()
        if image % patch:
            raise RuleValueError(f"An image must be a multiple of a patch, got {image} and {patch}.")
        self.patches = nn.Conv2d(1, width, patch, stride=patch)
        self.places = _places((image // patch) ** 2, width)
        self.blocks = _blocks(depth, width, heads, forward, backward, causal=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.blocks(tokens)).mean(1))


class GPT(nn.Module):
    """Transformer that reads characters, or other codes, and at each one scores the next.

    A block is that of ``ViT``, except that no position sees a later one.

    Args:
        forward, backward: Forward and backward rule of the activation in each block.
        codes: Number of codes.
        context: Largest number of codes that are read at once.
        width, depth, heads: Sizes, the same as in ``ViT``.
    Shape:
        ``(n, length) -> (n, codes, length)``, int64 codes, ``length <= context``: scores of the next code, as
        ``torch.nn.functional.cross_entropy`` wants them.
    Raises:
        RuleValueError: the width is no multiple of the heads.
    Source:
        Radford et al. 2019, "Language models are unsupervised multitask learners", with its norms before each part.
    Example:
        >>> GPT("gelu", "constant", codes=70, context=32, width=16, depth=2, heads=2)(torch.zeros(2, 32).long()).shape
        torch.Size([2, 70, 32])
    """

    def __init__(
        self,
        forward: ForwardLike = "gelu",
        backward: RuleLike = "tied",
        *,
        codes: int,
        context: int = 64,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.places = _places(context, width)
        self.blocks = _blocks(depth, width, heads, forward, backward, causal=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, codes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embedding(x) + self.places[: x.shape[1]]
        return self.head(self.norm(self.blocks(tokens))).transpose(1, 2)
