"""The folder of an embedding model that Google runs: which model, and how texts are counted."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.embedding.tokenizer import DESCRIPTION_FILE, FORMAT, GEMINI, TOKENIZER_FILE
from shared.errors import ExportError

# Raise it when the same name makes another folder.
_EXPORT = 1
# What both models are recommended with beside 1,536 and 3,072, and a quarter of the latter's index.
DEFAULT_DIMENSION = 768
_MAX_DIMENSION = 3072
# How cosines of texts without anything in common lie cannot be measured without asking Google.
_UNRELATED_SIMILARITY = 0.5


@dataclass(frozen=True, slots=True)
class _Family:
    """
    Models that are asked in one way.

    Attributes:
        max_tokens: What a text may have.
        prompts: What stands before a text, where the model takes no task type.
    """

    pattern: str
    max_tokens: int
    prompts: dict[str, str]
    task_types: dict[str, str | None]


_FAMILIES = (
    # https://ai.google.dev/gemini-api/docs/embeddings#task-types
    _Family(
        r"gemini-embedding-001",
        2048,
        {"query": "", "document": ""},
        {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"},
    ),
    # https://docs.cloud.google.com/vertex-ai/generative-ai/docs/models/gemini/embedding-2
    _Family(
        r"gemini-embedding-2(?:-[\w.-]+)?",
        8192,
        {"query": "task: search result | query: ", "document": "title: none | text: "},
        {"query": None, "document": None},
    ),
)


def is_gemini(model: str) -> bool:
    """Return whether *model* is one that Google runs."""
    return model.startswith("gemini-")


def describe_gemini(model: str, *, dimension: int | None) -> dict[str, Any]:
    """
    Return what model.json says of *model*, without its files.

    Raises:
        ExportError: It is not known, or has no such dimension.
    """
    family = next((one for one in _FAMILIES if re.fullmatch(one.pattern, model)), None)
    if family is None:
        raise ExportError(
            f"{model} (EMBEDDING_MODEL_NAME) is unknown; use gemini-embedding-001 or"
            " gemini-embedding-2"
        )
    chosen = dimension or DEFAULT_DIMENSION
    if chosen > _MAX_DIMENSION:
        raise ExportError(f"{model} gives {_MAX_DIMENSION} numbers at most, not {chosen}")
    identity = {
        "model": model,
        "dimension": chosen,
        "prompts": family.prompts,
        "task_types": family.task_types,
    }
    return {
        "format": FORMAT,
        "kind": GEMINI,
        "export": _EXPORT,
        "name": model,
        "dimension": chosen,
        # Tokens are estimated: a tenth is left over.
        "max_tokens": family.max_tokens * 9 // 10,
        "digest": hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        "prompts": family.prompts,
        "task_types": family.task_types,
        "unrelated_similarity": _UNRELATED_SIMILARITY,
        "multilingual": True,
    }


def write_gemini(description: dict[str, Any], folder: Path) -> None:
    """Write the folder of the model that describe_gemini() described."""
    _write_tokenizer(folder / TOKENIZER_FILE, max_tokens=description["max_tokens"])
    size = (folder / TOKENIZER_FILE).stat().st_size
    whole = description | {"files": {TOKENIZER_FILE: size}}
    text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    (folder / DESCRIPTION_FILE).write_text(text, encoding="utf-8")


def _write_tokenizer(path: Path, *, max_tokens: int) -> None:
    """
    Write a tokenizer that counts about as many tokens as Gemini does.

    A token has about four characters (https://ai.google.dev/gemini-api/docs/tokens); a sign of a
    script without spaces is about one.
    """
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Sequence, Split, WhitespaceSplit

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    piece = (
        r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
        r"|[\p{L}\p{M}\p{N}_]{1,4}|[^\p{L}\p{M}\p{N}_]"
    )
    tokenizer.pre_tokenizer = Sequence(
        [WhitespaceSplit(), Split(Regex(piece), behavior="isolated")]
    )
    tokenizer.enable_truncation(max_length=max_tokens)
    tokenizer.save(str(path))
