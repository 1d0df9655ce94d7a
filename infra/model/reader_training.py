"""
Train the reader (infra.model.reader) on questions with sentences that answer them and others.

LoRA on every weight matrix of the embedding model, https://arxiv.org/abs/2106.09685; docs/models.md
names what the shipped reader was trained on. Needs torch, as tracing does.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
import torch.nn.functional as functional
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from infra.model.adapter import ADAPTER, BASE
from infra.model.export import DEFAULT_MODEL, find_source, weigh
from infra.model.reader import CLASSIFIER, DOWN, UP

RANK = 12
_SCALE = 2.0
_RATE = 1e-3
_WARM_UP_STEPS = 40
# Of a pair.
_MOST_TOKENS = 96
# Of a step, padding included.
_STEP_TOKENS = 4_000
# A pair that answers counts so many times: most pairs do not.
_ANSWER_WORTH = 2.0
# What telling the answer from the others of its question counts beside judging each pair.
_CHOICE_WORTH = 0.7
# Questions held out to measure by; and how often that is done.
_HELD_OUT = 300
_MEASURED_STEPS = 250
_SORTED_TOGETHER = 400


@dataclass(frozen=True, slots=True)
class Group:
    """A question's pairs as token ids and types, those that answer first."""

    answers: int
    pairs: list[tuple[list[int], list[int]]]

    @property
    def width(self) -> int:
        """Return the length of the longest pair."""
        return max(len(ids) for ids, _ in self.pairs)


@click.command()
@click.option(
    "--pairs",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help='JSON lines: {"question": "...", "answers": ["..."], "others": ["..."]}. Without answers'
    " it is a near miss.",
)
@click.option("--steps", default=2_500, show_default=True, type=click.IntRange(1))
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="What it adds to.")
@click.option(
    "--output",
    default=ADAPTER,
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
)
def main(pairs: Path, steps: int, model: str, output: Path) -> None:
    """Train the reader and write what it adds to the embedding model."""
    source = find_source(model)
    train(pairs, source.folder, output, base=weigh(source), steps=steps)
    click.echo(f"{output}: written")


def train(pairs: Path, model: Path, output: Path, *, base: str, steps: int) -> None:
    """
    Train on the groups of *pairs* and write the adapter to *output*, from time to time and last.

    Args:
        base: The sha256 of the weights in *model*.
    """
    torch.manual_seed(3)
    chance = random.Random(3)
    groups = list(read_groups(pairs, Tokenizer.from_file(str(model / "tokenizer.json"))))
    chance.shuffle(groups)
    count = min(_HELD_OUT, len(groups) // 10)
    held_out, known = groups[:count], groups[count:]
    network = Network(model)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, betas=(0.9, 0.98))
    step, losses = 0, 0.0
    started = time.monotonic()
    while step < steps:
        for batch in _batches(known, chance):
            for parameters in optimizer.param_groups:
                left = 1 - step / steps
                parameters["lr"] = _RATE * min(1.0, (step + 1) / _WARM_UP_STEPS) * left
            loss = _measure_loss(network, batch)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            step += 1
            losses += loss.item()
            if step % _MEASURED_STEPS == 0 or step == steps:
                network.save(output, base=base)
                mean, losses = losses / ((step - 1) % _MEASURED_STEPS + 1), 0.0
                first = measure_first(network, held_out)
                seconds = time.monotonic() - started
                click.echo(f"{step} steps, {seconds:.0f} s: loss {mean:.3f}, first {first:.3f}")
            if step == steps:
                break


def read_groups(file: Path, tokenizer: Tokenizer) -> Iterator[Group]:
    """Yield the groups of a file of JSON lines."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    for line in file.read_text("utf-8").splitlines():
        given: dict[str, Any] = json.loads(line)
        pairs = []
        for text in [*given["answers"], *given["others"]]:
            encoding = tokenizer.encode(given["question"], text)
            encoding.truncate(_MOST_TOKENS)
            pairs.append((encoding.ids, encoding.type_ids))
        if pairs:
            yield Group(len(given["answers"]), pairs)


class _Adapted(nn.Module):
    """A weight matrix as it is, and what is learnt to be added to it."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight.bfloat16(), bias.bfloat16()
        rows, columns = weight.shape
        self.down = nn.Parameter(torch.randn(RANK, columns) / math.sqrt(columns))
        self.up = nn.Parameter(torch.zeros(rows, RANK))

    def forward(self, hidden: Tensor) -> Tensor:
        low = functional.linear(hidden, self.down.bfloat16())
        added = functional.linear(low, (_SCALE * self.up).bfloat16())
        return functional.linear(hidden, self.weight, self.bias) + added


class Network(nn.Module):
    """BERT in *folder*, frozen, with what is added to it; pairs in, log-odds out."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        configuration = json.loads((folder / "config.json").read_text("utf-8"))
        self._heads = int(configuration["num_attention_heads"])
        self._layers = int(configuration["num_hidden_layers"])
        self._size = int(configuration["hidden_size"])
        self._epsilon = float(configuration["layer_norm_eps"])
        weights = load_file(folder / "model.safetensors")
        self._frozen = {
            name: weight.bfloat16()
            for name, weight in weights.items()
            if weight.is_floating_point()
        }
        names = [
            name.removesuffix(".weight")
            for name, weight in weights.items()
            if weight.dim() == 2 and name.endswith(".weight") and "embeddings." not in name
        ]
        # A module's name holds no dot.
        self._adapted = nn.ModuleDict(
            {_key(n): _Adapted(weights[f"{n}.weight"], weights[f"{n}.bias"]) for n in names}
        )
        self._names = names
        self._classifier = nn.Linear(self._size, 1)

    def forward(self, ids: Tensor, types: Tensor, mask: Tensor) -> Tensor:
        pairs, tokens = ids.shape
        frozen = self._frozen
        hidden = self._normalise(
            functional.embedding(ids, frozen["embeddings.word_embeddings.weight"])
            + frozen["embeddings.position_embeddings.weight"][:tokens]
            + functional.embedding(types, frozen["embeddings.token_type_embeddings.weight"]),
            "embeddings",
        )
        bias = torch.zeros(pairs, 1, 1, tokens, dtype=hidden.dtype)
        bias = bias.masked_fill(mask[:, None, None, :] == 0, -1e4)
        for layer in range(self._layers):
            name = f"encoder.layer.{layer}"
            # The score is made of the first token alone.
            asking = hidden[:, :1] if layer == self._layers - 1 else hidden
            queries, keys, values = (
                self._project(f"{name}.attention.self.{kind}", source)
                .view(pairs, -1, self._heads, self._size // self._heads)
                .transpose(1, 2)
                for kind, source in (("query", asking), ("key", hidden), ("value", hidden))
            )
            mixed = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
            flat = mixed.transpose(1, 2).reshape(pairs, -1, self._size)
            attended = self._normalise(
                asking + self._project(f"{name}.attention.output.dense", flat),
                f"{name}.attention.output",
            )
            wide = functional.gelu(self._project(f"{name}.intermediate.dense", attended))
            hidden = self._normalise(
                attended + self._project(f"{name}.output.dense", wide), f"{name}.output"
            )
        pooled = torch.tanh(self._project("pooler.dense", hidden[:, 0]))
        odds: Tensor = self._classifier(pooled.float())[:, 0]
        return odds

    def save(self, file: Path, *, base: str) -> None:
        """Write what is added, in sixteen bits, to *file*."""
        tensors = {f"{CLASSIFIER}.{n}": value for n, value in self._classifier.state_dict().items()}
        for name in self._names:
            own = self._adapted[_key(name)].state_dict()
            tensors |= {name + DOWN: own["down"], name + UP: _SCALE * own["up"]}
        new = file.with_suffix(".new")
        halves = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
        save_file(halves, new, metadata={BASE: base})
        new.replace(file)

    def _project(self, name: str, hidden: Tensor) -> Tensor:
        result: Tensor = self._adapted[_key(name)](hidden)
        return result

    def _normalise(self, hidden: Tensor, name: str) -> Tensor:
        scale, bias = (self._frozen[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        return functional.layer_norm(hidden, (self._size,), scale, bias, self._epsilon)


def _key(name: str) -> str:
    return name.replace(".", "-")


def _batches(groups: Sequence[Group], chance: random.Random) -> Iterator[list[Group]]:
    """Yield all groups once, those of about one length together."""
    order = list(groups)
    chance.shuffle(order)
    batches: list[list[Group]] = []
    for start in range(0, len(order), _SORTED_TOGETHER):
        batch: list[Group] = []
        for group in sorted(order[start : start + _SORTED_TOGETHER], key=lambda one: one.width):
            pairs = sum(len(each.pairs) for each in batch) + len(group.pairs)
            if batch and pairs * group.width > _STEP_TOKENS:
                batches.append(batch)
                batch = []
            batch.append(group)
        batches.append(batch)
    chance.shuffle(batches)
    yield from batches


def _measure_loss(network: Network, groups: Sequence[Group]) -> Tensor:
    """Return how wrong the pairs are judged, and how unlike the answer the others are."""
    odds, wanted, owner = _run(network, groups)
    judged = functional.binary_cross_entropy_with_logits(
        odds, wanted, pos_weight=torch.tensor(_ANSWER_WORTH)
    )
    shares = torch.exp(odds.clamp(-15, 15))
    empty = torch.zeros(len(groups))
    whole = empty.index_add(0, owner, shares)
    right = empty.index_add(0, owner, shares * wanted)
    answered = torch.tensor([0 < each.answers < len(each.pairs) for each in groups])
    if not answered.any():
        return judged
    chosen = (whole[answered].log() - right[answered].log()).mean()
    return judged + _CHOICE_WORTH * chosen


def measure_first(network: Network, groups: Sequence[Group]) -> float:
    """Return the share of questions whose most likely sentence answers."""
    right = []
    with torch.no_grad():
        for start in range(0, len(groups), 20):
            some = groups[start : start + 20]
            odds, _, owner = _run(network, some)
            right += [
                bool(odds[owner == at].argmax() < group.answers)
                for at, group in enumerate(some)
                if 0 < group.answers < len(group.pairs)
            ]
    return sum(right) / max(1, len(right))


def _run(network: Network, groups: Sequence[Group]) -> tuple[Tensor, Tensor, Tensor]:
    """Return of all pairs the log-odds, whether they answer, and their group's place."""
    pairs = [pair for group in groups for pair in group.pairs]
    shape = (len(pairs), max(group.width for group in groups))
    ids, types, mask = (torch.zeros(shape, dtype=torch.int64) for _ in range(3))
    for row, (own, kinds) in enumerate(pairs):
        ids[row, : len(own)] = torch.tensor(own)
        types[row, : len(own)] = torch.tensor(kinds)
        mask[row, : len(own)] = 1
    wanted = torch.tensor(
        [float(at < group.answers) for group in groups for at in range(len(group.pairs))]
    )
    owner = torch.tensor([at for at, group in enumerate(groups) for _ in group.pairs])
    return network(ids, types, mask), wanted, owner


if __name__ == "__main__":
    main()
