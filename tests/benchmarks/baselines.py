"""GPT-2 trained the ways one finds in the field, to compare with: each is a function of one training step."""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

Step = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True)
class Shape:
    vocab_size: int
    context: int
    layers: int
    heads: int
    width: int


class TextbookAttention(nn.Module):
    """Three projections, and every score of the square written out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.key = nn.Linear(shape.width, shape.width, bias=False)
        self.value = nn.Linear(shape.width, shape.width, bias=False)
        self.output = nn.Linear(shape.width, shape.width)
        self.dropout = nn.Dropout(0.1)
        later = torch.triu(torch.ones(shape.context, shape.context), diagonal=1).bool()
        self.register_buffer("later", later)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        query, key, value = (
            layer(x).view(batch, time, self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3)
        scores.masked_fill_(self.later[:time, :time], -torch.inf)
        weights = self.dropout(torch.softmax(scores / key.shape[-1] ** 0.5, dim=-1))
        return self.output((weights @ value).transpose(1, 2).reshape(batch, time, width))


class TextbookNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=-1, keepdim=True)
        variance = x.var(dim=-1, keepdim=True, unbiased=False)
        return self.scale * (x - mean) / torch.sqrt(variance + 1e-5) + self.shift


class TextbookGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))
        return 0.5 * x * (1 + torch.tanh(inner))


class TextbookBlock(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention = TextbookAttention(shape)
        self.widen = nn.Linear(shape.width, 4 * shape.width)
        self.gelu = TextbookGELU()
        self.narrow = nn.Linear(4 * shape.width, shape.width)
        self.norms = nn.ModuleList([TextbookNorm(shape.width), TextbookNorm(shape.width)])
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norms[0](x)))
        return x + self.dropout(self.narrow(self.gelu(self.widen(self.norms[1](x)))))


class TextbookGPT(nn.Module):
    """What one writes to understand GPT-2: every operation by itself, the head not tied."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocab_size, shape.width)
        self.positions = nn.Embedding(shape.context, shape.width)
        self.dropout = nn.Dropout(0.1)
        self.blocks = nn.Sequential(*(TextbookBlock(shape) for _ in range(shape.layers)))
        self.norm = TextbookNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.vocab_size, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.norm(self.blocks(self.dropout(x))))


class LeanBlock(nn.Module):
    """One projection for query, key and value; fused attention; no dropout."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.norm1, self.norm2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.output = nn.Linear(shape.width, shape.width)
        self.widen = nn.Linear(shape.width, 4 * shape.width)
        self.narrow = nn.Linear(4 * shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        query, key, value = (
            part.view(batch, time, self.heads, -1).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(width, dim=2)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.output(mixed.transpose(1, 2).reshape(batch, time, width))
        return x + self.narrow(F.gelu(self.widen(self.norm2(x))))


class LeanGPT(nn.Module):
    """GPT-2 as nanoGPT shapes it: few large operations, the head tied."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocab_size, shape.width)
        self.positions = nn.Embedding(shape.context, shape.width)
        self.blocks = nn.ModuleList(LeanBlock(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.vocab_size, bias=False)
        self.head.weight = self.tokens.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                deep = name.endswith(("output.weight", "narrow.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * shape.layers) if deep else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def textbook(shape: Shape) -> Step:
    """float32, AdamW as it comes."""
    model = TextbookGPT(shape)
    return _step(model, torch.optim.AdamW(model.parameters(), lr=4e-4, weight_decay=0.1), bf16=False)


def hugging_face(shape: Shape, *, bf16: bool) -> Step:
    """GPT-2 of Transformers, under bfloat16 autocast by choice, AdamW as its Trainer takes it."""
    config = GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.context,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        use_cache=False,
    )
    model = GPT2LMHeadModel(config)

    def logits(ids: Tensor) -> Tensor:
        return model(ids).logits

    return _step(model, torch.optim.AdamW(model.parameters(), lr=4e-4), bf16=bf16, forward=logits)


def lean(shape: Shape, *, bf16: bool, fused: bool, compiled: bool = False, rate: float = 1e-3) -> Step:
    """nanoGPT's way: bfloat16 autocast, fused AdamW, and torch.compile, each by choice."""
    model = LeanGPT(shape)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.1, fused=fused
    )
    return _step(model, optimizer, bf16=bf16, forward=torch.compile(model) if compiled else model)


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    bf16: bool,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> Step:
    model.train()
    run = model if forward is None else forward

    def step(inputs: Tensor, labels: Tensor) -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext():
            logits = run(inputs)
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step
