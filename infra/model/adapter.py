"""
The file of what a reader adds to a model's weights (infra.model.reader).

Apart from what writes the reader, because a complete folder is recognised without numpy.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

ADAPTER = Path(__file__).with_name("reader.safetensors")
# What its metadata names: the sha256 of the weights that it adds to.
BASE = "base"
# safetensors begin with the length of their header, in JSON:
# https://github.com/huggingface/safetensors#format
_LENGTH_BYTES = 8


def find_adapter(weights: str) -> str | None:
    """Return the digest of the reader that adds to *weights* (a sha256), None if none does."""
    content = ADAPTER.read_bytes()
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    metadata = json.loads(content[_LENGTH_BYTES:end]).get("__metadata__", {})
    return hashlib.sha256(content).hexdigest() if metadata.get(BASE) == weights else None
