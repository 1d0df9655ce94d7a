"""Searching on a real Postgres, as the query function's role; the model is the real one."""

from __future__ import annotations

import json
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from admin.evaluation import Question, QuestionSet
from admin.fusion_fitting import judge
from admin.lexeme_statistics import refresh_statistics
from admin.vector_index import HNSW_EF_CONSTRUCTION, create_vector_index
from functions.query.answering.context import expand
from shared import store
from shared.embedding.embedder import Embedder
from shared.errors import Misconfigured
from shared.language import detect_language, search_config
from shared.search.fusion import ENGLISH, MULTILINGUAL, NEIGHBOUR_SHARE, combine
from shared.search.query_analysis import analyse
from shared.search.query_terms import Question as AnalysedQuestion
from shared.search.query_terms import measure_support
from shared.search.statement import search
from shared.store import Connection, store_fusion
from shared.values import Filter, Hit
from tests.support.asking import index_document
from tests.support.many_documents import load

Find = Callable[..., list[Hit]]


@pytest.fixture(scope="module")
def embedder(model_dir: Path) -> Embedder:
    return Embedder(model_dir, threads=1)


@pytest.fixture
def index(connection: Connection, embedder: Embedder) -> Callable[..., str]:
    """Return a function that indexes paragraphs as the language that they are in."""

    def index(name: str, *paragraphs: str, **options: Any) -> str:
        language = detect_language(" ".join(paragraphs))
        return index_document(
            connection,
            embedder,
            name,
            paragraphs,
            **{"language": language, "search_config": search_config(language)} | options,
        )

    return index


@pytest.fixture
def find(reader: Connection, embedder: Embedder) -> Find:
    """Return a function that searches as the query function does."""

    def find(question: str, *, limit: int = 5, **options: Any) -> list[Hit]:
        return search(
            reader,
            question=question,
            embedding=embedder.embed_query(question),
            limit=limit,
            **options,
        ).hits

    return find


def names(hits: list[Hit]) -> list[str]:
    return [hit.name for hit in hits]


def test_search_when_empty(find: Find) -> None:
    """No documents give no hits."""
    assert find("What is there?") == []


def test_search_when_one_document(find: Find, index: Callable[..., str]) -> None:
    """The first document is found at once, without any statistics."""
    index("lift.txt", "The wing makes lift by turning the flow of air downwards.")
    (hit,) = find("How does a wing make lift?")
    assert (hit.name, hit.vector_rank, hit.text_rank) == ("lift.txt", 1, 1)


def test_search_when_embedding_comes_later(
    reader: Connection, find: Find, index: Callable[..., str], embedder: Embedder
) -> None:
    """A question finds the same while it is being embedded; what goes wrong there is told."""
    index("lift.txt", "The wing makes lift by turning the flow of air downwards.")
    question = "How does a wing make lift?"
    later: Future[NDArray[np.float32]] = Future()
    timer = threading.Timer(0.1, lambda: later.set_result(embedder.embed_query(question)))
    timer.start()
    hits = search(reader, question=question, embedding=later, limit=5).hits
    timer.join()
    assert hits == find(question)
    failed: Future[NDArray[np.float32]] = Future()
    failed.set_exception(MemoryError("the model's"))
    with pytest.raises(MemoryError, match="the model's"):
        search(reader, question=question, embedding=failed, limit=5)
    assert find(question) == hits


def test_search_when_replaced(find: Find, index: Callable[..., str]) -> None:
    """Only the newest generation answers."""
    index("price.txt", "The price of a ticket is five euros.")
    index("price.txt", "The price of a ticket is nine euros.", generation=2)
    assert [hit.text for hit in find("What is the price of a ticket?")] == [
        "The price of a ticket is nine euros."
    ]


@pytest.mark.parametrize("question", ["", "?", "the of and", "'; --", "a & b | !c <-> 'd'", "\\"])
def test_search_when_no_words(find: Find, index: Callable[..., str], question: str) -> None:
    """A question without words that count is answered by the vectors alone."""
    index("a.txt", "The wing makes lift.")
    assert names(find(question)) == ["a.txt"]


FILLER = [
    "The pump stops when its pressure falls. Look at the manual for errors of the pump.",
    "Errors of the valve are written to the log, with the code of the error and the time.",
    "Each part has a number. Order parts by their number from the store in the yard.",
    "The configuration is read from a file when the service starts.",
]


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("E-1234: the disk is full.", "what does error E-1234 mean"),
        ("E-1234: the disk is full.", "what does error E1234 mean"),
        ("E1234: the disk is full.", "what does error e-1234 mean"),
        ("Gasket AB-12.77/C for the flange.", "which part is AB-12.77/C"),
        ("It is read by shared.search.statement in turn.", "who uses shared.search.statement"),
        ("Set max_chunk_count to ten.", "what is max_chunk_count"),
        ("Look in conf.d/pump-main.yaml for it.", "where is pump-main.yaml"),
        ("Written in C++ by the vendor.", "is anything written in C++"),
        ("Install KB5034441 before Monday.", "when to install KB5034441"),
        ("Made by AT&T in Dallas.", "what did AT&T make"),
        ("Ask O'Brien in the yard.", "who is O'Brien"),
    ],
)
def test_search_when_identifier(
    find: Find, index: Callable[..., str], text: str, question: str
) -> None:
    """The passage with the identifier is first, however it is written."""
    for number, filler in enumerate(FILLER):
        index(f"filler{number}.txt", filler, language="en", search_config="english")
    index("wanted.txt", text, language="en", search_config="english")
    assert names(find(question))[0] == "wanted.txt"


@pytest.mark.parametrize(
    "question", ["summarise reports/Q3-report_v2.pdf", "what is in Q3-report_v2?"]
)
def test_search_when_file_is_named(find: Find, index: Callable[..., str], question: str) -> None:
    """A document that the question names is first, whatever it says."""
    for number, filler in enumerate(FILLER):
        index(f"filler{number}.txt", filler)
    index("reports/Q3-report_v2.pdf", "Sales rose by a tenth in all regions.")
    assert names(find(question))[0] == "reports/Q3-report_v2.pdf"


Form = Literal["NFC", "NFD"]


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_search_when_names_are_decomposed(
    find: Find,
    index: Callable[..., str],
    stored: Literal["NFC", "NFD"],
    asked: Literal["NFC", "NFD"],
) -> None:
    """A name in either form, as macOS or others write it, is found by either form."""
    name = unicodedata.normalize(stored, "Bürö/Lageplän.txt")
    for number, filler in enumerate(FILLER):
        index(f"Buro/filler{number}.txt", filler)
    index(name, "The wing makes lift.")
    for prefix in ("Bürö/", "Bü", "Bürö/Lageplä"):
        wanted = Filter(prefix=unicodedata.normalize(asked, prefix))
        assert names(find("wing", filter=wanted)) == [name], prefix
    assert not find("wing", filter=Filter(prefix="Buro/Lage"))
    question = unicodedata.normalize(asked, "what is in Lageplän.txt?")
    assert names(find(question))[0] == name


def test_search_when_only_the_name_tells(find: Find, index: Callable[..., str]) -> None:
    """Two manuals say nearly the same: the one whose file is named after what is asked is meant."""
    index("pump-manual.txt", "Drain the housing before winter. Grease the shaft twice a year.")
    index("compressor.txt", "Drain the vessel every week. Grease the bearing once a year.")
    assert names(find("How often is the compressor greased?"))[0] == "compressor.txt"
    assert names(find("How often to grease, by the manual of the pump?"))[0] == "pump-manual.txt"
    (hit,) = find("the compressor", mode="text")
    assert (hit.name, hit.coverage) == ("compressor.txt", 1.0)


def test_search_when_phrase_is_quoted(find: Find, index: Callable[..., str]) -> None:
    """A passage with the words in a quoted order comes before one with the same words."""
    index("a.txt", "The dog bites the man in the yard, and the man bites back at the dog.")
    index("b.txt", "In the yard a man bites dog food open. The weather was fine all day long.")
    assert names(find('where did "man bites dog" happen'))[0] == "b.txt"


def test_search_when_a_quoted_word_is_another_one_elsewhere(
    find: Find, index: Callable[..., str]
) -> None:
    """The Spanish stem of "metió" is an English word, which is not what was quoted."""
    index("en.txt", "The committee met in Baltimore and met again in Boston, where it was founded.")
    index("es.txt", "El jugador que metió el balón desde la línea corrió por todo el campo.")
    found = {hit.name: hit.parts for hit in find("¿Qué jugador «metió» el balón en Boston?")}
    assert {name: parts.exact for name, parts in found.items() if parts} == {
        "en.txt": 0.0,
        "es.txt": 1.0,
    }


def test_analyse_when_stop_words_are_those_of_two_languages(
    connection: Connection, index: Callable[..., str]
) -> None:
    """A short question is in the language of the documents rather than in a neighbouring one."""
    index("es.txt", "La demostración de radio de Marconi se produjo en el verano de aquel año.")
    for question in ("demostración de radio de Marconi", "¿Radio de Marconi?"):
        assert analyse(connection, question).question.languages == ["es"], question


def test_analyse_when_a_language_has_no_stop_words(
    connection: Connection, index: Callable[..., str]
) -> None:
    """What most of its documents hold says little, however rare it is among all documents."""
    for number, filler in enumerate(FILLER * 3):
        index(f"{number}.txt", filler, language="en", search_config="english")
    for number, team in enumerate(("Broncos", "Panthers", "Steelers", "Ravens", "Bears")):
        text = f"Đội {team} có vai trò rất lớn trong hệ thống và đã thắng ở vòng bảng."
        index(f"vi{number}.txt", text, language="vi", search_config="simple")
    question = analyse(connection, "Broncos có vai trò gì trong hệ thống?").question
    rarity = {term.lexeme: term.rarity for term in question.terms}
    assert question.languages == ["vi"]
    assert rarity["broncos"] > 2 * rarity["thống"]


LANGUAGES = {
    "de": (
        "Der Bürgermeister eröffnete am Montag die neue Brücke über den Fluss.",
        "Wer hat die Brücken eröffnet?",
    ),
    "es": (
        "El alcalde inauguró el lunes el nuevo puente sobre el río de la ciudad.",
        "¿Quién inauguró los puentes de la ciudad?",
    ),
    "vi": (
        "Thị trưởng đã khánh thành cây cầu mới bắc qua sông vào thứ Hai vừa qua.",
        "Ai đã khánh thành cây cầu mới?",
    ),
    "zh": ("市长星期一为横跨河流的新大桥剪彩,许多市民到场观看。", "谁为新大桥剪彩?"),
    "ja": (
        "市長は月曜日に川にかかる新しい橋の開通式を行った。",
        "新しい橋の開通式は誰が行いましたか",
    ),
}
OTHERS = {
    "de": ["Die Schule beginnt im Herbst wieder.", "Das Wetter bleibt die Woche über schön."],
    "es": ["La escuela empieza de nuevo en otoño.", "El tiempo seguirá bueno toda la semana."],
    "vi": ["Trường học bắt đầu lại vào mùa thu.", "Thời tiết sẽ đẹp trong cả tuần này."],
    "zh": ["学校将在秋天重新开学,学生们都很高兴。", "整个星期的天气都会很好。"],
    "ja": ["学校は秋に再び始まります。", "今週はずっと天気が良いでしょう。"],
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_search_when_many_languages(find: Find, index: Callable[..., str], language: str) -> None:
    """A question finds the passage in its own language among those of five."""
    for code, (text, _) in LANGUAGES.items():
        options = {"language": code, "search_config": search_config(code)}
        index(f"{code}.txt", text, **options)
        for number, other in enumerate(OTHERS[code]):
            index(f"{code}{number}.txt", other, **options)
    hits = find(LANGUAGES[language][1])
    assert names(hits)[0] == f"{language}.txt"
    assert hits[0].text_rank == 1


def test_search_when_translated(
    connection: Connection, find: Find, index: Callable[..., str]
) -> None:
    """Without stop words in PostgreSQL a language is known by the words of its documents."""
    for code in ("en", "vi"):
        options = {"language": code, "search_config": search_config(code)}
        for number, year in enumerate((1967, 1978, 1989)):
            name = f"Nguyen Thi Hoa {year}"
            text = {
                "en": f"The singer {name} was born in Hue. {name}, {name}.",
                "vi": f"Ca sĩ {name} đã được sinh ra tại Huế.",
            }
            index(f"{code}{number}.txt", text[code], **options)
    question = "Nguyen Thi Hoa 1978 đã sinh ra tại đâu?"
    assert analyse(connection, question).question.languages == ["vi"]
    assert names(find(question))[0] == "vi1.txt"


def test_search_when_model_is_multilingual(find: Find, index: Callable[..., str]) -> None:
    """A passage in another language gains a little if the model knows both languages."""
    text = "The pump 4711 runs at the plant in Bremen."
    index("en.txt", text, language="en", search_config="english")
    index("de.txt", text, language="de", search_config="german")
    question = "Where does the pump run?"
    english, german = find(question)
    assert (english.name, german.name) == ("en.txt", "de.txt")
    assert english.score - german.score > 0.05
    costs = [hit.parts.other_language for hit in (english, german) if hit.parts]
    assert costs == [0.0, pytest.approx(-0.08)]
    found = find(question, multilingual=True)
    gains = {hit.name: hit.parts.other_language for hit in found if hit.parts}
    assert gains == {"en.txt": 0.0, "de.txt": pytest.approx(0.03)}
    # One word of five says little, although no passage has more of them.
    asked = "Which compressor, valve, gauge and gasket feed the plant?"
    full, share = (find(asked, multilingual=several)[0].parts for several in (False, True))
    assert full is not None
    assert share is not None
    assert full.text == pytest.approx(1 - ENGLISH.vector)
    assert share.text < 0.6 * (1 - MULTILINGUAL.vector)


def test_search_when_cosines_lie_close_together(find: Find, index: Callable[..., str]) -> None:
    """Counted from the cosine of unrelated texts, the vectors' differences decide more."""
    question = "How does a wing make lift?"
    index("wing.txt", "Air that an aerofoil turns downwards pushes the aeroplane upwards.")
    index("lift.txt", "The lift is out of order; take the stairs to the fourth floor.")
    similarities = {hit.name: hit.similarity for hit in find(question, mode="vector")}
    worst, best = sorted(similarities.values())
    unrelated = worst + (best - worst) / 2
    alone = replace(ENGLISH, feedback=0.0)
    before = {hit.name: hit.score for hit in find(question, fusion=alone)}
    found = find(question, fusion=alone, unrelated_similarity=unrelated)
    after = {hit.name: hit.score for hit in found}
    low, high = sorted(similarities, key=similarities.__getitem__)
    # What lies below says nothing: none of the vectors' weight is left to it.
    assert before[low] - after[low] == pytest.approx(0.6 * worst / best, abs=1e-3)
    assert after[high] == pytest.approx(before[high])


def test_search_when_a_passage_is_like_the_best(find: Find, index: Callable[..., str]) -> None:
    """Likeness to the best passage counts, and only as much as it weighs."""
    index("pump.txt", "The coolant pump of the reactor is driven by an electric motor.")
    index("motor.txt", "Its electric motor drives the coolant of the reactor through the loop.")
    index("poem.txt", "The heart is a pump, the poet says, and love is what it moves.")
    question = "What drives the reactor coolant pump?"
    hits = {hit.name: hit for hit in find(question)}
    likeness = {name: hit.parts.feedback for name, hit in hits.items() if hit.parts}
    assert max(likeness.values()) == pytest.approx(ENGLISH.feedback, abs=1e-3)
    assert min(likeness["pump.txt"], likeness["motor.txt"]) > likeness["poem.txt"] + 0.1
    without = replace(ENGLISH, feedback=0.0)
    assert [hit.parts.feedback for hit in find(question, fusion=without) if hit.parts] == [0.0] * 3


def test_search_when_an_answer_goes_on(find: Find, index: Callable[..., str]) -> None:
    """A passage gains beside a better one, and never so much that documents change places."""
    index(
        "pump.txt",
        "The coolant pump of the reactor is driven by an electric motor.",
        "Every second spring its seals are changed by the fitters of the night shift.",
        "Birds nest in the old chimney behind the canteen.",
    )
    index("seal.txt", "Seals of the harbour are fed by the fitters at night.")
    hits = find("What drives the coolant pump of the reactor?")
    gained = {(hit.name, hit.ordinal): hit.parts.neighbour for hit in hits if hit.parts}
    scores = {(hit.name, hit.ordinal): hit.score for hit in hits}
    best, beside = ("pump.txt", 0), ("pump.txt", 1)
    lead = scores[best] - scores[beside] + gained[beside]
    assert gained[beside] == pytest.approx(NEIGHBOUR_SHARE * lead, abs=1e-6)
    assert scores[best] > scores[beside]
    assert gained[best] == gained["seal.txt", 0] == 0.0


def test_search_when_weights_are_stored(
    owner: Connection, find: Find, index: Callable[..., str]
) -> None:
    """What was fitted for the model counts instead of what suits its kind."""
    index("wing.txt", "Air that an aerofoil turns downwards pushes the aeroplane upwards.")
    index("lift.txt", "The lift is out of order; take the stairs to the fourth floor.")
    question = "How does a wing make lift?"
    for vector, first in ((1.0, "wing.txt"), (0.0, "lift.txt")):
        fusion = replace(ENGLISH, vector=vector, feedback=0.0)
        store_fusion(owner, fusion.store())
        assert names(find(question))[0] == first
    store_fusion(owner, {"vector": 1.0})
    with pytest.raises(Misconfigured, match="model fit"):
        find(question)


def test_combine_when_the_database_scores(
    connection: Connection, find: Find, index: Callable[..., str], embedder: Embedder
) -> None:
    """What model fit orders candidates by is what the statement orders them by."""
    for number, text in enumerate(
        (
            "The pump 4711 runs at the plant in Bremen.",
            "Die Pumpe 4711 läuft im Werk in Bremen.",
            "A plant needs water and light.",
            "The plant in Bremen makes pumps and valves for ships.",
        )
    ):
        index(f"{number}.txt", text)
    questions = [Question(id="1", text="Which pump runs in Bremen?", language="en", gains={})]
    (judged,) = judge(QuestionSet("", questions, None), connection, embedder, prefix="")
    weights = ENGLISH.weights_for(["en"], multilingual=False)
    scores = combine(
        weights,
        vector=judged.vector,
        text=judged.text,
        exact=judged.exact,
        foreign=judged.foreign,
        likeness=judged.likeness,
    )
    unrelated = embedder.info.unrelated_similarity
    found = find(questions[0].text, unrelated_similarity=unrelated)
    expected = {hit.name: hit.score for hit in found}
    names = [place.document for place in judged.places]
    assert dict(zip(names, scores, strict=True)) == pytest.approx(expected, abs=2e-3)


def test_search_when_decomposed(find: Find, index: Callable[..., str]) -> None:
    """A Vietnamese question of decomposed letters finds what one of composed letters finds."""
    index("cau.txt", LANGUAGES["vi"][0])
    question = unicodedata.normalize("NFD", LANGUAGES["vi"][1])
    (hit,) = find(question, mode="text")
    assert (hit.name, hit.text_rank) == ("cau.txt", 1)


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(collection="red"),
        Filter(prefix="red/"),
        Filter(metadata={"colour": "red"}),
        Filter(content_type="text/red"),
    ],
)
def test_search_when_filtered(
    connection: Connection, find: Find, index: Callable[..., str], wanted: Filter
) -> None:
    """A filter takes effect in both legs."""
    for colour in ("red", "blue"):
        index(f"{colour}/a.txt", f"The {colour} wing makes lift.")
        connection.execute(
            """
            UPDATE documents
            SET collection = %(colour)s,
                content_type = 'text/' || %(colour)s::text,
                metadata = jsonb_build_object('colour', %(colour)s::text)
            WHERE name = %(name)s
            """,
            {"colour": colour, "name": f"{colour}/a.txt"},
        )
    assert names(find("Which blue wing makes lift?", filter=wanted)) == ["red/a.txt"]


def test_search_when_prefix_has_wildcards(find: Find, index: Callable[..., str]) -> None:
    """A prefix means its characters."""
    index("a_b/x.txt", "The wing makes lift.")
    index("aXb/x.txt", "The wing makes lift.")
    assert names(find("wing", filter=Filter(prefix="a_b/"))) == ["a_b/x.txt"]


def test_search_when_one_document_is_long(find: Find, index: Callable[..., str]) -> None:
    """Other documents come before the fourth chunk of one, which still comes."""
    index("long.txt", *(f"The wing makes lift in case {number}." for number in range(6)))
    index("short.txt", "Birds fly over the sea in autumn.")
    found = names(find("How does the wing make lift?", limit=10))
    assert found == ["long.txt"] * 3 + ["short.txt"] + ["long.txt"] * 3


@pytest.fixture
def many(owner: Connection, embedder: Embedder, index: Callable[..., str]) -> int:
    """Make 6,000 chunks of common words in 3,000 documents, six of them marked."""
    index("seed.txt", "The wing makes lift.")
    owner.execute("SET session_replication_role = replica")
    with owner.transaction():
        owner.execute(
            """
            INSERT INTO builds (document_id, generation, epoch, state, chunk_count)
            OVERRIDING SYSTEM VALUE
            SELECT gen_random_uuid(), 1, 0, 'ready', 2
            FROM generate_series(1, 3000)
            """
        )
        owner.execute(
            """
            INSERT INTO documents
                (id, bucket, name, active_build, active_generation, language, metadata)
            SELECT document_id, 'b', 'many/' || id, id, 1, 'en',
                   jsonb_build_object('marked', (id % 500 = 0)::text)
            FROM builds
            WHERE chunk_count = 2
            """
        )
        owner.execute(
            """
            INSERT INTO chunks (build_id, ordinal, text, heading, header, char_start, char_end,
                                content_hash, search)
            SELECT id, ordinal, 'x', '', '', 0, 1, '',
                   to_tsvector('english', 'wing flow number' || id % 900 || ' case ' || ordinal)
            FROM builds, generate_series(0, 1) AS ordinal
            WHERE chunk_count = 2
            """
        )
        rows = owner.execute(
            "SELECT build_id, ordinal FROM chunks WHERE text = 'x' ORDER BY 1, 2"
        ).fetchall()
        vectors = np.random.default_rng(1).normal(size=(len(rows), embedder.info.dimension))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        with owner.cursor().copy(
            "COPY embeddings (model_id, build_id, ordinal, embedding) FROM STDIN"
        ) as copy:
            for (build_id, ordinal), vector in zip(rows, vectors, strict=True):
                copy.write_row((1, build_id, ordinal, str(vector.round(4).tolist())))
    owner.execute("RESET session_replication_role")
    owner.execute("ANALYZE")
    return len(rows)


def test_search_when_filter_is_narrow(find: Find, many: int) -> None:
    """A filter that six of 3,000 documents pass returns all their chunks."""
    hits = find("flow over a wing", limit=12, filter=Filter(metadata={"marked": "true"}))
    assert len(hits) == 12


def test_search_when_indexed(owner: Connection, find: Find, many: int) -> None:
    """With the HNSW index the nearest chunk is the same, and a narrow filter still fills up."""
    exact = find("How does a wing make lift?", mode="vector")
    assert "is built" in create_vector_index(owner, from_chunks=1000)
    assert "already" in create_vector_index(owner, from_chunks=1000)
    assert names(find("How does a wing make lift?", mode="vector"))[0] == names(exact)[0]
    narrow = Filter(metadata={"marked": "true"})
    assert len(find("wing", limit=12, filter=narrow, mode="vector")) == 12


def test_create_vector_index_when_an_older_release_built_it(
    owner: Connection, find: Find, index: Callable[..., str]
) -> None:
    """An index with less of a look is replaced under its name, whatever a cut-off run has left."""
    index("a.txt", "The wing makes lift.")
    owner.execute(
        """
        CREATE INDEX embeddings_1_hnsw
        ON embeddings_1
        USING hnsw ((embedding::halfvec(384)) halfvec_cosine_ops)
        """
    )
    owner.execute("CREATE INDEX embeddings_1_hnsw_new ON embeddings_1 (ordinal)")
    owner.execute("CREATE INDEX embeddings_1_hnsw_old ON embeddings_1 (ordinal)")
    assert "was 64" in create_vector_index(owner, from_chunks=1)
    indexes = owner.execute(
        """
        SELECT relname, reloptions, indisvalid
        FROM pg_index
        JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indrelid = 'embeddings_1'::regclass AND NOT indisprimary
        """
    ).fetchall()
    expected = [f"ef_construction={HNSW_EF_CONSTRUCTION}"]
    assert indexes == [("embeddings_1_hnsw", expected, True)]
    assert "already" in create_vector_index(owner, from_chunks=1)
    assert names(find("How does a wing make lift?", mode="vector")) == ["a.txt"]


def test_create_vector_index_when_another_builds_it(
    owner: Connection, database_url: str, index: Callable[..., str]
) -> None:
    """A second run leaves the first one's index alone."""
    index("a.txt", "The wing makes lift.")
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [int.from_bytes(b"vectors")])
        assert "being built" in create_vector_index(owner, from_chunks=1)
        # The server ends a session some time after its client.
        other.execute("SELECT pg_advisory_unlock_all()")
    assert "is built" in create_vector_index(owner, from_chunks=1)


def test_create_vector_index_when_small(owner: Connection) -> None:
    """A small collection is told from which size on an index is useful."""
    assert "50000" in create_vector_index(owner)


def test_refresh_statistics_when_large(
    connection: Connection, reader: Connection, find: Find, many: int
) -> None:
    """Statistics are taken once; common lexemes are in them, and rare ones are still counted."""
    assert refresh_statistics(connection) is True
    assert refresh_statistics(connection) is False
    question = analyse(reader, "wing number7").question
    frequencies = {term.lexeme: term.document_frequency for term in question.terms}
    assert frequencies["number7"] == pytest.approx(8, abs=2)
    assert frequencies["wing"] == pytest.approx(many, rel=0.05)
    assert len(find("wing number7", mode="text")) == 5


def test_statistics_when_a_collection_is_closed(
    owner: Connection, connection: Connection, reader: Connection
) -> None:
    """Words of a closed collection weigh as those that nobody wrote, before and after a sample."""
    load(owner, [(f"open/{n}.txt", [f"The flow of item{n}."] * 10) for n in range(60)])
    load(owner, [(f"closed/{n}.txt", ["The flow of budget."] * 10) for n in range(60)])
    owner.execute("UPDATE documents SET collection = 'closed' WHERE name LIKE 'closed/%'")
    words = "flow budget zzyzx"

    def frequencies(*principals: str) -> tuple[float, dict[str, float]]:
        with reader.transaction():
            reader.execute(
                "SELECT set_config('kaydang.principals', %s, true)", [json.dumps(principals)]
            )
            question = analyse(reader, words).question
        return question.chunks, {term.lexeme: term.document_frequency for term in question.terms}

    refresh_statistics(connection)
    assert frequencies() == (1200, {"flow": 1200, "budget": 600, "zzyzx": 0})
    store.set_collection(connection, "closed", closed=True)
    store.grant_collection(connection, principal="key:hr", collection="closed")
    seen: tuple[float, dict[str, float]] = (600, {"flow": 600, "budget": 0, "zzyzx": 0})
    assert frequencies() == seen
    refresh_statistics(connection)
    assert frequencies() == seen
    everything: tuple[float, dict[str, float]] = (1200, {"flow": 1200, "budget": 600, "zzyzx": 0})
    assert frequencies("key:hr") == everything


CLOSED_TEXT = "The secret acquisition of the company will be signed by both of them in spring."


def corrections(reader: Connection, question: str, *principals: str) -> dict[str, str]:
    """Return the corrections for a caller with the rights of the query function."""
    with reader.transaction():
        reader.execute(
            "SELECT set_config('kaydang.principals', %s, true)", [json.dumps(principals)]
        )
        return dict(analyse(reader, question).question.corrections)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (
            "what is a fierwall with iptabels",
            {"fierwall": "firewall", "iptabels": "iptables"},
        ),
        ("where is the certifacte of Kubernetes", {"certifacte": "certificate"}),
        # The text has another word of that stem.
        ("what is a gyrosocpe", {"gyrosocpe": "gyroscopic"}),
        # "Pleases" stands nowhere, "places" does.
        ("how many plases are left", {"plases": "places"}),
        # Words of their language, whatever else begins so or is near.
        ("¿Dónde está el contenedor?", {}),
        ("where is the sage", {}),
        ("Wie lange gilt die Gewährleitung?", {"gewährleitung": "gewährleistung"}),
        ("where is the firewall", {}),
        ("tường lửa fierwall ở đâu", {}),
        ("what is in E-4711", {}),
    ],
)
def test_analyse_when_mistyped(
    reader: Connection, index: Callable[..., str], question: str, expected: dict[str, str]
) -> None:
    """An unknown word is near to one of all documents, spelt as it stands there."""
    index("net.txt", "Administrators configure the firewall with iptables rules on each gateway.")
    index("k8s.txt", "Kubernetes renews the certificate of the gateway once a year.")
    index("drone.txt", "Pilots of the drone trust its gyroscopic horizon in clouds and at night.")
    index("trip.txt", "Please say until June who comes along: there are 48 places on the stage.")
    index("es.txt", "El contenido de la caja se describe en la lista que está en la puerta.")
    index("de.txt", "Die Gewährleistung für das Gerät endet nach zwei Jahren am Ende des Monats.")
    assert corrections(reader, question) == expected


@pytest.mark.parametrize("sampled", [False, True])
def test_analyse_when_mistyped_word_is_closed(
    owner: Connection, connection: Connection, reader: Connection, *, sampled: bool
) -> None:
    """A word of a closed collection is near to nothing, before and after a sample."""
    load(owner, [(f"open/{n}.txt", [f"The flow of item{n}."] * 10) for n in range(60)])
    load(owner, [(f"closed/{n}.txt", [CLOSED_TEXT] * 10) for n in range(60)])
    owner.execute("UPDATE documents SET collection = 'closed' WHERE name LIKE 'closed/%'")
    store.set_collection(connection, "closed", closed=True)
    store.grant_collection(connection, principal="key:hr", collection="closed")
    if sampled:
        refresh_statistics(connection)
    for mistyped in ("acquisiton", "acquixition", "acquisisions"):
        question = f"what is the {mistyped}"
        assert corrections(reader, question) == {}
        assert corrections(reader, question, "key:hr") == {mistyped: "acquisition"}


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("Mütze Kapitän", "cap.txt"),
        ("Muetzen", "cap.txt"),
        ("Was kostet eine Versicherung?", "insurance.txt"),
        ("Ueberstunden", "hours.txt"),
        ("Wo sind die Hallenschuhe?", "shoes.txt"),
        ("Feuerloescher", "fire.txt"),
    ],
)
def test_search_when_german_compound(
    find: Find, index: Callable[..., str], question: str, name: str
) -> None:
    """A compound is found by its parts, and its parts by the compound."""
    index("cap.txt", "Der Verein hat zum Geburtstag eine neue Kapitänsmütze bestellt.")
    index("insurance.txt", "Die Haftpflichtversicherung der Mitarbeiter läuft am Jahresende aus.")
    index("hours.txt", "Das Überstundenkonto wird jedes Quartal durch die Leitung abgerechnet.")
    index("shoes.txt", "Die Schuhe für die Halle stehen im Keller neben der großen Treppe.")
    index("fire.txt", "Der Feuerlöscherprüfdienst kommt jedes Jahr im Mai in das Haus.")
    index("other.txt", "Der Hausmeister öffnet das Tor am Morgen und schließt es am Abend.")
    hits = find(question, mode="text")
    assert names(hits)[:1] == [name]
    assert hits[0].coverage


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("借书", "library.txt"),
        ("onOrderCancelled", "event.txt"),
        ("1.2.3", "release.txt"),
        ("+498941402233", "plumber.txt"),
        ("Anemometr", "wind.txt"),
    ],
)
def test_search_when_spelt_otherwise(
    find: Find, index: Callable[..., str], question: str, name: str
) -> None:
    """What the documents write in another way comes first, whatever the vectors say."""
    index("library.txt", "图书馆的书可以借两周。")
    index("canteen.txt", "员工食堂在三楼，中午十二点开门。")
    index("event.txt", "The event on_order_cancelled frees the stock.")
    index("release.txt", "Release v1.2.3 of the gateway repairs the clock.")
    index("later.txt", "Release v1.3.2 of the gateway repairs the door.")
    index("plumber.txt", "Call the plumber at +49 89 4140-2233.")
    index("painter.txt", "Call the painter at +49 89 4140-2332.")
    index("wind.txt", "The anemometers stand on the roof.")
    assert names(find(question))[:1] == [name]


def test_refresh_statistics_when_small(
    owner: Connection, connection: Connection, reader: Connection, index: Callable[..., str]
) -> None:
    """A small collection needs no statistics; from some hundred documents on it has them."""
    index("a.txt", "The wing makes lift.")
    assert refresh_statistics(connection) is False
    load(owner, [(f"{n}.txt", [f"The flow of item{n}."] * 10) for n in range(100)])
    assert refresh_statistics(connection) is True
    question = analyse(reader, "flow of item7?").question
    frequencies = {term.lexeme: term.document_frequency for term in question.terms}
    assert frequencies.items() >= {"flow": 1000, "item7": 10}.items()


def test_analyse_when_english_among_spanish(reader: Connection, index: Callable[..., str]) -> None:
    """An English question has no English stop words as terms, whatever the documents are in."""
    index("es.txt", LANGUAGES["es"][0])
    question = analyse(reader, "Who is the mayor of the city?").question
    assert question.languages == ["en"]
    assert {"who", "is", "the", "of"}.isdisjoint(term.lexeme for term in question.terms)


def test_measure_support_when_unrelated(
    connection: Connection, find: Find, index: Callable[..., str]
) -> None:
    """A question of words that no passage has is not covered; one of its own words is."""
    index("lift.txt", "The wing makes lift by turning the flow of air downwards.")
    unrelated = "Which bank financed the cathedral?"
    assert measure_support(find(unrelated)).coverage == 0
    own = "What makes lift at the wing?"
    assert measure_support(find(own)).coverage == pytest.approx(1)


def test_measure_support_when_many_languages(
    connection: Connection, find: Find, index: Callable[..., str]
) -> None:
    """What the stemmers of other languages make of a word takes nothing from its being there."""
    for code in ("de", "es"):
        for number, other in enumerate(OTHERS[code]):
            options = {"language": code, "search_config": search_config(code)}
            index(f"{code}{number}.txt", other, **options)
    index("puente.txt", LANGUAGES["es"][0])
    question = "El alcalde inauguró el nuevo puente de la ciudad."
    assert measure_support(find(question)).coverage == pytest.approx(1)


def test_expand_when_adjacent(reader: Connection, find: Find, index: Callable[..., str]) -> None:
    """A hit grows to what stands around it on its page, exactly that part of the document."""
    paragraphs = [f"Paragraph {n} tells of wing number {n}." for n in range(6)]
    text = index("long.txt", *paragraphs, paragraphs_a_page=3)
    hits = find("wing number 1", limit=1)
    (whole,) = expand(reader, hits, max_characters=10_000)
    assert whole.text == text[whole.char_start : whole.char_end]
    assert whole.text.strip() == "\n\n".join(paragraphs[:3])
    assert whole.page == hits[0].page == 1
    (alone,) = expand(reader, hits, max_characters=10)
    assert alone == hits[0]


@pytest.mark.parametrize(
    ("chunks", "breadth"), [(None, 200), (5_000, 200), (1_000_000, 796), (1_000_000_000, 1000)]
)
def test_breadth_when_chunks_grow(
    connection: Connection, reader: Connection, chunks: int | None, breadth: int
) -> None:
    """In more vectors the graph is searched more broadly, as far as pgvector allows."""
    if chunks is not None:
        connection.execute("INSERT INTO search_statistics (chunks) VALUES (%s)", [chunks])
    with reader.transaction():
        analyse(reader, "What is there?")
        row = reader.execute("SELECT current_setting('hnsw.ef_search')").fetchone()
    assert row == (str(breadth),)


def test_question_when_frozen(reader: Connection) -> None:
    """An empty collection has no terms."""
    assert analyse(reader, "What is there?").question == AnalysedQuestion(
        terms=[],
        words=[],
        neighbours=[],
        languages=["en"],
        chunks=0.0,
        configs=[],
        config="english",
    )


def test_search_when_role_reads_more(reader: Connection) -> None:
    """The query function's role reads the columns that answers show, and nothing beside them."""
    for statement in (
        "SELECT content_hash FROM chunks",
        "SELECT last_error FROM builds",
        "SELECT FROM collection_grants",
        "SELECT FROM readable_documents",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(statement)
