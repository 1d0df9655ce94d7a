"""Requests to a generative model, and their cost; independent of the client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

ThinkingLevel = Literal["minimal", "low", "medium", "high"]

# The code of a failure that lasts until an operator names another model.
MODEL_MISSING = "model_missing"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens used, and in how many calls."""

    prompt_tokens: int = 0
    answer_tokens: int = 0
    thinking_tokens: int = 0
    calls: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.answer_tokens + other.answer_tokens,
            self.thinking_tokens + other.thinking_tokens,
            self.calls + other.calls,
        )

    @property
    def total_tokens(self) -> int:
        """Return the number of billed tokens."""
        return self.prompt_tokens + self.answer_tokens + self.thinking_tokens


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """
    One call of a generative model.

    Attributes:
        rules: The system instruction.
        picture: A PNG or JPEG that stands before the text.
        schema: The JSON that the answer has to be; without it the answer is plain text.
        thinking_budget: Tokens that a model before Gemini 3 may think; None leaves it to the model.
        thinking_level: How much Gemini 3 and later think; None leaves it to the model.
    """

    text: str
    max_output_tokens: int
    rules: str = ""
    picture: bytes | None = None
    schema: dict[str, Any] | None = None
    thinking_budget: int | None = None
    thinking_level: ThinkingLevel | None = None
