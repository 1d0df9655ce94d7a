"""The models of a process: each loaded from its folder when it is first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from shared.embedding.embedder import Device, Embedder, TextEmbedder, available_cores
from shared.embedding.tokenizer import GEMINI, read_description, read_model_info
from shared.errors import Misconfigured
from shared.settings import GeminiSettings, load

# Those that wait for Google use no processor.
_REMOTE_QUESTIONS = 32


class Embedders:
    """
    The models of this process, each loaded when it is first needed; threads may share them.

    There are two during a change of models, otherwise one.

    Args:
        count_tokens: Called with what each call of a model of Gemini's has cost.

    Raises:
        ModelUnavailable: A folder is missing, incomplete or damaged.
    """

    def __init__(
        self,
        model_dirs: Sequence[Path | None],
        *,
        threads: int = 0,
        device: Device = "cpu",
        count_tokens: Callable[[int], None] | None = None,
    ) -> None:
        self._folders = {
            read_model_info(folder).digest: folder for folder in model_dirs if folder is not None
        }
        self._threads = threads
        self._device = device
        self._count_tokens = count_tokens
        self._loaded: dict[str, TextEmbedder] = {}
        self._loading = threading.Lock()

    def warm_up(self) -> None:
        """Load the model where there is only one."""
        if len(self._folders) == 1:
            self.find(next(iter(self._folders)))

    @property
    def questions_at_once(self) -> int:
        """How many questions are worth embedding at once."""
        remote = any(
            read_description(folder).get("kind") == GEMINI for folder in self._folders.values()
        )
        return _REMOTE_QUESTIONS if remote else available_cores()

    def find(self, digest: str) -> TextEmbedder:
        """
        Return the model of this digest.

        Raises:
            Misconfigured: No folder of this process holds it.
        """
        with self._loading:
            if digest not in self._loaded:
                if digest not in self._folders:
                    known = ", ".join(map(str, self._folders.values()))
                    raise Misconfigured(
                        f"the database asks for the embedding model with digest {digest[:12]}, and"
                        f" {known} hold others: set MODEL_DIR (or OTHER_MODEL_DIR) to its folder,"
                        " or change the model as docs/models.md says"
                    )
                embedder = open_embedder(
                    self._folders[digest],
                    threads=self._threads,
                    device=self._device,
                    count_tokens=self._count_tokens,
                )
                embedder.warm_up()
                self._loaded[digest] = embedder
            return self._loaded[digest]


def open_embedder(
    model_dir: Path,
    *,
    threads: int = 0,
    device: Device = "cpu",
    count_tokens: Callable[[int], None] | None = None,
) -> TextEmbedder:
    """
    Return the model of a folder that infra.model.export wrote: of this process, or Gemini's.

    Args:
        threads, device: As Embedder().
        count_tokens: Called with what each call of a model of Gemini's has cost.

    Raises:
        ModelUnavailable: The folder is missing, incomplete or damaged.
        Misconfigured: The model cannot run, or be asked, with these settings.
    """
    if read_description(model_dir).get("kind") != GEMINI:
        return Embedder(model_dir, threads=threads, device=device)
    # Its client takes a second to import.
    from shared.embedding.gemini_embedder import GeminiEmbedder

    return GeminiEmbedder(model_dir, load(GeminiSettings), count_tokens=count_tokens)
