"""What the choice of an answer is made by, as it was fitted for a model and is kept with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shared.embedding.tokenizer import read_model_info
from shared.errors import Misconfigured

from .confidence import READ, ConfidenceWeights
from .scoring import Weights

# Written by `kaydangpt evaluate --answers SET --fit`.
CHOOSING_FILE = "answering.json"


@dataclass(frozen=True, slots=True)
class Choosing:
    """
    What the choice of an answer is made by; fitted together, kept together.

    Attributes:
        confidence, read: What is weighed where the reader has read nothing, and where it has.
        margin: How much lower than the best another unit may score and be shown as well.
        least: The confidence from which on what was found is an answer.
    """

    sentences: Weights = field(default_factory=Weights)
    confidence: ConfidenceWeights = field(default_factory=ConfidenceWeights)
    read: ConfidenceWeights = READ
    margin: float = 0.8
    least: float = 0.5


def read_choosings(model_dirs: Sequence[Path | None]) -> dict[str, Choosing]:
    """
    Return what `kaydangpt evaluate --fit` keeps with the models, by their digests.

    A model without it is not in there: Choosing() is fitted for the default model.

    Raises:
        Misconfigured: A file is damaged.
    """
    return {
        read_model_info(folder).digest: _read(folder / CHOOSING_FILE)
        for folder in model_dirs
        if folder is not None and (folder / CHOOSING_FILE).is_file()
    }


def _read(file: Path) -> Choosing:
    default = Choosing()
    try:
        given = json.loads(file.read_text("utf-8"))
        return Choosing(
            sentences=Weights(**_numbers(given["sentences"], asdict(default.sentences))),
            confidence=ConfidenceWeights(
                **_numbers(given["confidence"], asdict(default.confidence))
            ),
            # Files of releases without a reader do not have it.
            read=ConfidenceWeights(
                **_numbers(given.get("read", given["confidence"]), asdict(default.read))
            ),
            margin=float(given["margin"]),
            least=float(given["least"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Misconfigured(
            f"{file} is damaged ({error!r}); make it again: kaydangpt evaluate --answers SET --fit"
        ) from error


def _numbers(given: Mapping[str, Any], known: Mapping[str, float]) -> dict[str, float]:
    """Return the weights of *given* that are *known*; a feature that it lacks counts nothing."""
    return {name: float(given.get(name, 0.0)) for name in known}
