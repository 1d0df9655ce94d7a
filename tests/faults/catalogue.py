"""All faults: importing a module enters its faults into the table."""

from __future__ import annotations

from tests.faults import database, deployment, documents, gemini, messages, objects, processes
from tests.faults.registry import FAULTS

__all__ = [
    "FAULTS",
    "database",
    "deployment",
    "documents",
    "gemini",
    "messages",
    "objects",
    "processes",
]
