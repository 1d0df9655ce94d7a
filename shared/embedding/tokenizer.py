"""The folder that infra.model.export writes: what it says of the model, and its tokenizer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from shared.errors import ModelUnavailable

DESCRIPTION_FILE = "model.json"
TOKENIZER_FILE = "tokenizer.json"
GRAPH_FILE = "model.onnx"
# The directions that tell languages, of a multilingual model: unit rows at right angles.
LANGUAGES_FILE = "languages.npy"
# Of the reader that was made of the same weights, if there is one (shared.embedding.reader).
READER_FOLDER = "reader"
FORMAT = 1
# The kind of a folder whose vectors Google makes.
GEMINI = "gemini"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """
    What identifies a model's vectors and bounds its texts.

    Attributes:
        name: The model's name on the hub, or its folder's name.
        dimension: Length of a vector.
        max_tokens: Tokens of text that the model reads; special tokens and the prompt before
            documents are already subtracted. The rest is cut.
        digest: Equal for two exports whose vectors may stand in one index: sha256 (hex) over the
            source weights, the pooling, the prompts, the sequence length and the quantisation.
        unrelated_similarity: The cosine that texts without anything in common have on average.
        multilingual: Whether a text and its translation are near.
    """

    name: str
    dimension: int
    max_tokens: int
    digest: str
    unrelated_similarity: float = 0.0
    multilingual: bool = False


def read_description(model_dir: Path) -> dict[str, Any]:
    """
    Return model.json after checking that every file it lists is there in full length.

    Raises:
        ModelUnavailable: The folder is missing, incomplete or of another format.
    """
    try:
        description: dict[str, Any] = json.loads(
            (model_dir / DESCRIPTION_FILE).read_text(encoding="utf-8")
        )
        if description["format"] != FORMAT:
            raise ModelUnavailable(_advice(model_dir, f"has format {description['format']}"))
        for name, size in description["files"].items():
            if (model_dir / name).stat().st_size != size:
                raise ModelUnavailable(_advice(model_dir, f"has an incomplete {name}"))
    except OSError as error:
        missing = Path(error.filename or model_dir).name
        fault = f"has no {missing}" if model_dir.is_dir() else "does not exist"
        raise ModelUnavailable(_advice(model_dir, fault)) from error
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise ModelUnavailable(_advice(model_dir, f"has a damaged {DESCRIPTION_FILE}")) from error
    return description


def read_model_info(model_dir: Path) -> ModelInfo:
    """
    Return what model_dir says of its model, without loading the model.

    Raises:
        ModelUnavailable: The folder is missing, incomplete or of another format.
    """
    description = read_description(model_dir)
    return ModelInfo(
        name=description["name"],
        dimension=description["dimension"],
        max_tokens=description["max_tokens"],
        digest=description["digest"],
        # Folders of older exports do not say.
        unrelated_similarity=float(description.get("unrelated_similarity", 0.0)),
        multilingual=bool(description.get("multilingual", False)),
    )


def has_reader(model_dir: Path) -> bool:
    """
    Return whether the export in *model_dir* made a reader, even if that is missing now.

    Raises:
        ModelUnavailable: The folder is missing, incomplete or of another format.
    """
    return bool(read_description(model_dir).get("reader"))


def read_tokenizer(model_dir: Path) -> Tokenizer:
    """
    Return the model's tokenizer, which cuts at the model's sequence length and does not pad.

    Raises:
        ModelUnavailable: The file cannot be read as a tokenizer.
    """
    try:
        return Tokenizer.from_file(str(model_dir / TOKENIZER_FILE))
    except Exception as error:  # tokenizers raises plain Exception
        raise ModelUnavailable(_advice(model_dir, f"has a damaged {TOKENIZER_FILE}")) from error


def _advice(model_dir: Path, fault: str) -> str:
    return (
        f"the embedding model's folder {model_dir} (MODEL_DIR) {fault}; "
        f"write it by: python -m infra.model.export --output {model_dir}"
    )
