"""Texts to unit vectors by the exported ONNX graph."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.embedding.tokenizer import (
    GRAPH_FILE,
    LANGUAGES_FILE,
    ModelInfo,
    read_description,
    read_model_info,
    read_tokenizer,
)
from shared.errors import Misconfigured, ModelUnavailable

__all__ = [
    "Embedder",
    "ModelInfo",
    "TextEmbedder",
    "available_cores",
    "open_session",
    "read_model_info",
]

# Tokens of one run on a GPU, padding included: small runs would leave it idle.
GPU_BATCH_TOKENS = 16_384

# The tokens that tokenizers use for unknown text.
_UNKNOWN = frozenset({"[unk]", "<unk>"})

Device = Literal["cpu", "cuda"]
# Operators that the GPU lacks run on the processor.
_PROVIDERS: dict[Device, list[str]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
}
Run = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]


class TextEmbedder(Protocol):
    """An embedding model, wherever it runs; threads may share it."""

    info: ModelInfo

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector a text: float32, shape (texts, dimension), rows of unit length."""
        ...

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a question: float32, shape (dimension,), unit length."""
        ...

    def is_word(self, word: str) -> bool:
        """Return whether *word* is known to be a common one."""
        ...

    def warm_up(self) -> None:
        """Do the work that the first question should not wait for."""
        ...


class Embedder:
    """
    A model loaded in this process; threads may share it.

    Args:
        model_dir: Folder written by infra.model.export.
        threads: Runs of the graph at once; 0 takes the cores that this process may use.
        device: What runs the graph.

    Raises:
        ModelUnavailable: The folder is missing, incomplete or damaged.
        Misconfigured: The installed onnxruntime has no such *device*, or the graph is quantised.
    """

    info: ModelInfo

    def __init__(
        self,
        model_dir: Path,
        *,
        threads: int = 0,
        device: Device = "cpu",
    ) -> None:
        self.info = read_model_info(model_dir)
        description = read_description(model_dir)
        files: Mapping[str, int] = description["files"]
        self._document_prompt: str = description["prompts"]["document"]
        self._query_prompt: str = description["prompts"]["query"]
        self._pad_id: int = description["pad_id"]
        self._tokenizer = read_tokenizer(model_dir)
        self._languages = _read_languages(model_dir) if LANGUAGES_FILE in files else None
        if device == "cuda":
            _check_cuda(model_dir, quantisation=description["quantisation"])
            # One run at a time: a run of this size uses all of a GPU.
            threads, self._batch_tokens = 1, GPU_BATCH_TOKENS
        else:
            # A text a run: on a processor, batches save less than an attention mask costs.
            self._batch_tokens = 0
        self._run = _open_graph(model_dir, device=device)
        self._threads = threads or available_cores()
        # Shared by all callers: a core that one leaves idle at the end of its texts serves another.
        self._runs = ThreadPoolExecutor(self._threads, thread_name_prefix="embed")

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """
        Return one vector a text, in the order of *texts*.

        A text longer than the model reads counts by its beginning only.

        Returns:
            float32, shape (len(texts), dimension), rows of unit length.
        """
        return self._embed([self._document_prompt + text for text in texts])

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """
        Return the vector of a question: float32, shape (dimension,), unit length.

        What tells its language is taken out, so that it is as near to a passage in another one.
        """
        vector: NDArray[np.float32] = self._embed([self._query_prompt + text])[0]
        if self._languages is None:
            return vector
        rest: NDArray[np.float32] = vector - self._languages.T @ (self._languages @ vector)
        length = np.linalg.norm(rest)
        return rest / length if length else vector

    def is_word(self, word: str) -> bool:
        """Return whether *word* is common enough to be one token; mistyped ones are several."""
        tokens = self._tokenizer.encode(word, add_special_tokens=False).tokens
        return len(tokens) == 1 and tokens[0].lower() not in _UNKNOWN

    def warm_up(self) -> None:
        """
        Run the graph at its largest, on all threads.

        The first question does not pay for the first run, and memory is what it will be.
        """
        self.embed_documents([self.info.max_tokens * "warm up "] * self._threads)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        # One by one: encode_batch starts a thread pool that a later fork() breaks, and
        # tokenizing is a hundredth of the work.
        tokens = [self._tokenizer.encode(text).ids for text in texts]
        vectors = np.empty((len(texts), self.info.dimension), dtype=np.float32)

        def run(batch: list[int]) -> None:
            width = max(len(tokens[index]) for index in batch)
            ids = np.full((len(batch), width), self._pad_id, dtype=np.int64)
            mask = np.zeros((len(batch), width), dtype=np.int64)
            for row, index in enumerate(batch):
                ids[row, : len(tokens[index])] = tokens[index]
                mask[row, : len(tokens[index])] = 1
            vectors[batch] = self._run(ids, mask)

        lengths = [len(ids) for ids in tokens]
        batches = list(_batches(lengths, budget=self._batch_tokens))
        if len(batches) == 1:
            run(batches[0])
        else:
            # The longest first, so that no thread is left with a long one at the end.
            list(self._runs.map(run, reversed(batches)))
        return vectors


def open_session(model_dir: Path, *, device: Device = "cpu") -> Any:
    """
    Return onnxruntime's session of a model's graph, whose runs are one thread each.

    Raises:
        ModelUnavailable: The graph is missing or damaged.
    """
    # Not at import: the server forks after it, and a child whose parent has loaded onnxruntime
    # hangs or aborts at exit, waiting for threads that exist only in the parent.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # A run is one thread, and texts run side by side: threads that share a run wait for each
    # other at each of its hundreds of nodes. benchmarks/embedding.py compares the two.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # It keeps a plan of its memory for each shape, and texts have nearly all shapes there are: the
    # process grew for ten minutes (make load) and was no faster for it.
    options.enable_mem_pattern = False
    try:
        return onnxruntime.InferenceSession(
            model_dir / GRAPH_FILE, options, providers=_PROVIDERS[device]
        )
    except Exception as error:  # onnxruntime's own errors have no public base class
        message = (
            f"{model_dir / GRAPH_FILE} cannot be loaded ({error}); write it again by: "
            f"python -m infra.model.export --force --output {model_dir}"
        )
        raise ModelUnavailable(message) from error


def _read_languages(model_dir: Path) -> NDArray[np.float32]:
    """
    Return the directions that tell languages.

    Raises:
        ModelUnavailable: The file is damaged.
    """
    path = model_dir / LANGUAGES_FILE
    try:
        directions: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"{path} is damaged; write it again by: python -m infra.model.export --force --output"
            f" {model_dir}"
        ) from error
    return directions


def _open_graph(model_dir: Path, *, device: Device) -> Run:
    session = open_session(model_dir, device=device)
    # Only graphs for batches take a mask.
    takes_mask = any(each.name == "attention_mask" for each in session.get_inputs())

    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        inputs = {"input_ids": ids} | ({"attention_mask": mask} if takes_mask else {})
        vectors: NDArray[np.float32] = session.run(None, inputs)[0]
        return vectors

    return run


def _check_cuda(model_dir: Path, *, quantisation: str) -> None:
    """
    Make sure that a GPU gives the served vectors.

    Raises:
        Misconfigured: The installed onnxruntime has no CUDA, or the graph is quantised.
    """
    import onnxruntime

    if quantisation != "none":
        # Each rounding to eight bits enlarges the last bit in which two devices differ.
        raise Misconfigured(
            f"EMBEDDING_DEVICE=cuda gives the served vectors of a float32 model only, and"
            f" {model_dir} has {quantisation}; write another by: python -m infra.model.export"
            " --precision float32 --output FOLDER"
        )
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise Misconfigured(
            "EMBEDDING_DEVICE=cuda needs an onnxruntime with CUDA: install onnxruntime-gpu in the"
            " place of onnxruntime, or leave EMBEDDING_DEVICE=cpu"
        )


def available_cores() -> int:
    """Return the cores this process may use: its affinity, bounded by the cgroup's quota."""
    cores = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _cgroup_quota() -> float | None:
    """
    Return the cores granted by the control group, or None if it sets no limit.

    https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    """
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _batches(lengths: Sequence[int], *, budget: int) -> Iterator[list[int]]:
    """
    Yield the indices of *lengths*, alike ones together, so that a padded batch keeps the budget.

    An item longer than the budget makes a batch of its own.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[index] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
