"""What the choice of an answer is made by, as it was fitted for a model and is kept with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shared.errors import Misconfigured

from .confidence import ConfidenceWeights
from .scoring import Weights

CHOOSING_FILE = "answering.json"


@dataclass(frozen=True, slots=True)
class Choosing:
    """
    What the choice of an answer is made by; fitted together, kept together.

    Attributes:
        margin: How much lower than the best another unit may score and be shown as well.
        least: The confidence from which on what was found is an answer.
    """

    sentences: Weights = field(default_factory=Weights)
    confidence: ConfidenceWeights = field(default_factory=ConfidenceWeights)
    margin: float = 0.8
    least: float = 0.5


def read_choosing(model_dir: Path | None) -> Choosing:
    """
    Return what `kaydangpt evaluate --fit` keeps with a model, or what is fitted for the default.

    Raises:
        Misconfigured: The file is damaged.
    """
    file = None if model_dir is None else model_dir / CHOOSING_FILE
    if file is None or not file.is_file():
        return Choosing()
    default = Choosing()
    try:
        given = json.loads(file.read_text("utf-8"))
        return Choosing(
            sentences=Weights(**_numbers(given["sentences"], asdict(default.sentences))),
            confidence=ConfidenceWeights(
                **_numbers(given["confidence"], asdict(default.confidence))
            ),
            margin=float(given["margin"]),
            least=float(given["least"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Misconfigured(
            f"{file} is damaged ({error!r}); make it again: kaydangpt evaluate --answers SET --fit"
        ) from error


def _numbers(given: Mapping[str, Any], known: Mapping[str, float]) -> dict[str, float]:
    """Return the weights of *given* that are *known*; a feature that it lacks counts nothing."""
    return {name: float(given.get(name, 0.0)) for name in known}
