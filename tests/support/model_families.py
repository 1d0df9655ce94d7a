"""
Small random models with the configuration files of well-known families, as their repositories hold
them: modules, pooling, prompts, sequence, kind of tokenizer. Only the sizes are smaller.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram

from infra.model.export import CHECKED_PAIRS

_HIDDEN = 32
# Pieces of their own, so that texts have no more tokens than with the real vocabularies.
_WORDS = sorted(
    {word for pair in CHECKED_PAIRS for text in pair for word in text.split() if word.isalpha()}
)
_SEED = 3
_POOLINGS = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken")
_WORD_PIECES = {name: f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
_SIZES: dict[str, Any] = {
    "hidden_size": _HIDDEN,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 2 * _HIDDEN,
    # Of the usual .02 all texts have nearly the same vector.
    "initializer_range": 0.5,
}


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """
    A model of a family.

    Attributes:
        name: Of its repository, without the owner.
        architecture: Of transformers; *configuration* is what differs from its own defaults.
        prompts: In config_sentence_transformers.json; None if that file is not there.
        query, document: What its authors put before both texts.
        dimension: What --dimension asks for; 0 for the whole vector.
    """

    name: str
    architecture: str
    tokenizer: Literal["word pieces", "sentence pieces", "bytes"]
    pooling: str
    sequence: int
    normalises: bool = True
    configuration: Mapping[str, Any] = field(default_factory=dict)
    prompts: Mapping[str, str] | None = None
    query: str = ""
    document: str = ""
    dimension: int = 0


_PASSAGES = "Represent this sentence for searching relevant passages: "
_QWEN_QUERY = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)
FAMILIES = (
    # https://huggingface.co/intfloat/multilingual-e5-small/tree/main
    ModelFamily(
        name="multilingual-e5-small",
        architecture="Bert",
        tokenizer="sentence pieces",
        pooling="mean_tokens",
        sequence=512,
        query="query: ",
        document="passage: ",
    ),
    # https://huggingface.co/BAAI/bge-small-en-v1.5/tree/main
    ModelFamily(
        name="bge-small-en-v1.5",
        architecture="Bert",
        tokenizer="word pieces",
        pooling="cls_token",
        sequence=512,
        prompts={},
        query=_PASSAGES,
    ),
    # https://huggingface.co/thenlper/gte-small/tree/main
    ModelFamily(
        name="gte-small",
        architecture="Bert",
        tokenizer="word pieces",
        pooling="mean_tokens",
        sequence=512,
    ),
    # https://huggingface.co/nomic-ai/nomic-embed-text-v1.5/tree/main
    ModelFamily(
        name="nomic-embed-text-v1.5",
        architecture="NomicBert",
        tokenizer="word pieces",
        pooling="mean_tokens",
        sequence=8192,
        normalises=False,
        configuration={"max_position_embeddings": 8192, "head_dim": _HIDDEN // 2},
        query="search_query: ",
        document="search_document: ",
        dimension=16,
    ),
    # https://huggingface.co/Snowflake/snowflake-arctic-embed-l-v2.0/tree/main
    ModelFamily(
        name="snowflake-arctic-embed-l-v2.0",
        architecture="XLMRoberta",
        tokenizer="sentence pieces",
        pooling="cls_token",
        sequence=8192,
        configuration={"max_position_embeddings": 8194, "type_vocab_size": 1, "pad_token_id": 1},
        prompts={"query": "query: "},
        query="query: ",
        dimension=24,
    ),
    # https://huggingface.co/Qwen/Qwen3-Embedding-0.6B/tree/main
    ModelFamily(
        name="Qwen3-Embedding-0.6B",
        architecture="Qwen3",
        tokenizer="bytes",
        pooling="lasttoken",
        sequence=32768,
        configuration={
            "num_key_value_heads": 1,
            "head_dim": _HIDDEN // 2,
            "max_position_embeddings": 32768,
            "rope_theta": 1_000_000,
            "tie_word_embeddings": True,
        },
        prompts={"query": _QWEN_QUERY, "document": ""},
        query=_QWEN_QUERY,
        dimension=16,
    ),
)


def save_family(family: ModelFamily, folder: Path, *, word_pieces: Path) -> Path:
    """
    Write the model into *folder*/NAME and return that.

    Args:
        word_pieces: A tokenizer.json of BERT's kind.
    """
    import torch
    import transformers

    source = folder / family.name
    source.mkdir(parents=True)
    size = _save_tokenizer(family, source, word_pieces=word_pieces)
    torch.manual_seed(_SEED)
    configuration = getattr(transformers, f"{family.architecture}Config")(
        **_SIZES | {"vocab_size": size, "max_position_embeddings": 512} | dict(family.configuration)
    )
    getattr(transformers, f"{family.architecture}Model")(configuration).save_pretrained(source)
    names = ["Transformer", "Pooling", *(["Normalize"] if family.normalises else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {
            "idx": place,
            "name": str(place),
            "path": paths[place],
            "type": f"sentence_transformers.models.{name}",
        }
        for place, name in enumerate(names)
    ]
    pooling: dict[str, Any] = {"word_embedding_dimension": _HIDDEN}
    pooling |= {f"pooling_mode_{name}": name == family.pooling for name in _POOLINGS}
    files = {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": family.sequence, "do_lower_case": False},
    }
    if family.prompts is not None:
        files["config_sentence_transformers.json"] = {
            "prompts": family.prompts,
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        }
    for path, content in files.items():
        (source / path).parent.mkdir(exist_ok=True)
        (source / path).write_text(json.dumps(content), "utf-8")
    return source


def _save_tokenizer(family: ModelFamily, source: Path, *, word_pieces: Path) -> int:
    """Write the tokenizer's files and return how many tokens it has."""
    configuration: dict[str, Any] = {"model_max_length": family.sequence}
    if family.tokenizer == "word pieces":
        shutil.copy(word_pieces, source / "tokenizer.json")
        configuration |= {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
        configuration |= {f"{name}_token": token for name, token in _WORD_PIECES.items()}
        size = Tokenizer.from_file(str(word_pieces)).get_vocab_size()
    else:
        tokenizer = make_sentence_pieces() if family.tokenizer == "sentence pieces" else _bytes()
        tokenizer.save(str(source / "tokenizer.json"))
        size = tokenizer.get_vocab_size()
        configuration |= (
            {
                "tokenizer_class": "XLMRobertaTokenizer",
                **{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
                **{"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"},
                "mask_token": "<mask>",
            }
            if family.tokenizer == "sentence pieces"
            else {
                "tokenizer_class": "Qwen2Tokenizer",
                **{"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
                **{"unk_token": None, "bos_token": None, "add_prefix_space": False},
            }
        )
    (source / "tokenizer_config.json").write_text(json.dumps(configuration), "utf-8")
    return size


def make_sentence_pieces() -> Tokenizer:
    """Return a tokenizer of XLM-RoBERTa's kind, whose pieces are letters and words."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    letters = [
        chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0x250), *range(0x1EA0, 0x1EFA))
    ]
    words = ["\u2581", *(f"\u2581{word}" for word in _WORDS)]
    pieces = [(piece, -float(place)) for place, piece in enumerate([*words, *letters], start=2)]
    tokenizer = Tokenizer(
        Unigram([*((token, 0.0) for token in special), *pieces, ("<mask>", 0.0)], unk_id=3)
    )
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([*special, "<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return tokenizer


def _bytes() -> Tokenizer:
    """Return a tokenizer of Qwen's kind: bytes and words, a last token at the end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [f"\u0120{word}" for word in _WORDS if word.isascii()]
    joined = list(
        dict.fromkeys(
            (word[:length], word[length]) for word in words for length in range(1, len(word))
        )
    )
    vocabulary = [*alphabet, *("".join(pair) for pair in joined)]
    tokenizer = Tokenizer(
        BPE({token: place for place, token in enumerate(vocabulary)}, joined, fuse_unk=False)
    )
    tokenizer.normalizer = normalizers.NFC()
    split = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_end|>"])
    end = tokenizer.token_to_id("<|endoftext|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>",
        pair="$A $B <|endoftext|>",
        special_tokens=[("<|endoftext|>", end)],
    )
    return tokenizer
