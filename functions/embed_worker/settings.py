"""The settings of the embed worker."""

from __future__ import annotations

from shared.embedding.embedder import Device
from shared.settings import (
    DatabaseSettings,
    DocumentEventSettings,
    LogSettings,
    ModelSettings,
    RetrySettings,
)


class Settings(DatabaseSettings, DocumentEventSettings, ModelSettings, RetrySettings, LogSettings):
    """EMBEDDING_DEVICE=cuda embeds on a GPU; it takes a float32 export and onnxruntime-gpu."""

    embedding_device: Device = "cpu"
