"""
Fits the weights of meaning, words and likeness (shared.search.fusion) to questions.

The candidates of each question are fetched once; each choice of weights reorders them, outside
of the database. A choice is kept only if it wins on questions that it was not fitted to.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

import click
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from admin.evaluation import (
    CUT,
    CalibrationSettings,
    Question,
    QuestionSet,
    Span,
    measure_documents,
    measure_spans,
    read_set,
)
from admin.terminal import (
    dry_run_option,
    json_option,
    one_sentence,
    print_json,
    print_table,
    progress,
)
from shared import store
from shared.embedding.embedder import TextEmbedder
from shared.embedding.embedders import open_embedder
from shared.search.fusion import Fusion, combine, default_fusion, is_known, lift_neighbours
from shared.search.statement import prepare, run
from shared.settings import load
from shared.store import Connection
from shared.values import Filter, Hit

# Candidates of a question: those of either leg, far more than ten documents.
_CANDIDATES = 100
_SPAN_CHUNKS = 5
# More questions of one set tell hardly more.
_MAX_QUESTIONS = 400
# A choice that wins less on questions that it was not fitted to, or loses more on one set, is luck.
_LEAST_GAIN = 0.002
_MOST_LOSS = 0.002
_VECTOR = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_FEEDBACK = (0.0, 0.15, 0.3, 0.5, 0.7)
_OTHER_LANGUAGE = (0.0, 0.04, 0.08, 0.12)
# Each part whole, so that it can be weighed afterwards.
_PROBE = Fusion(
    vector=0.5, vector_foreign=0.5, feedback=0.0, feedback_foreign=0.0, other_language=1.0
)


@dataclass(frozen=True, slots=True)
class JudgedQuestion:
    """
    A question with its candidates, as combine() takes them, and what answers it.

    Attributes:
        known: It is in a language that the model knows well.
        places: Document and characters of each candidate.
        chunks: Build and ordinal of each candidate.
    """

    question: Question
    known: bool
    places: Sequence[Span]
    chunks: Sequence[tuple[int, int]]
    vector: NDArray[np.float64]
    text: NDArray[np.float64]
    exact: NDArray[np.float64]
    foreign: NDArray[np.float64]
    likeness: NDArray[np.float64]

    def measure(self, scores: NDArray[np.float64]) -> float:
        """Return nDCG@10 of the documents, or the share of the answering characters in the best."""
        ranked = [self.places[place] for place in np.argsort(-scores, kind="stable")]
        if self.question.spans:
            return measure_spans(ranked[:_SPAN_CHUNKS], self.question.spans)["span_recall"]
        documents = list(dict.fromkeys(span.document for span in ranked))
        return measure_documents(documents[:CUT], self.question.gains)["ndcg"]


@dataclass(frozen=True, slots=True)
class SetFigures:
    """
    The scores of a set's questions.

    Attributes:
        held_out: By weights that were fitted without these questions.
    """

    name: str
    questions: int
    vector: float
    text: float
    before: float
    held_out: float


@dataclass(frozen=True, slots=True)
class FittedFusion:
    """
    What fitting found.

    Attributes:
        fusion: The weights to use: those of before where the fitted ones do not win.
        wins: Whether the fitted ones do.
    """

    fusion: Fusion
    wins: bool
    sets: Sequence[SetFigures]


def judge(
    questions: QuestionSet,
    connection: Connection,
    embedder: TextEmbedder,
    *,
    prefix: str,
    seed: int = 0,
) -> list[JudgedQuestion]:
    """Return the questions of a set, some of a large one, with their candidates."""
    chosen = list(questions.questions)
    if len(chosen) > _MAX_QUESTIONS:
        places = np.random.default_rng(seed).permutation(len(chosen))[:_MAX_QUESTIONS]
        chosen = [chosen[place] for place in places]
    judged = []
    for question in chosen:
        with connection.transaction():
            prepared = prepare(
                connection,
                question=question.text,
                embedding=embedder.embed_query(question.text),
                model_digest=embedder.info.digest,
                unrelated_similarity=embedder.info.unrelated_similarity,
                multilingual=embedder.info.multilingual,
                limit=_CANDIDATES,
                filter=Filter(prefix=prefix or None),
                per_document=_CANDIDATES,
                fusion=_PROBE,
            )
            if prepared is None:
                continue
            hits = run(connection, prepared).hits
            vectors = _read_vectors(connection, hits, model_id=prepared.model_id)
        parts = [hit.parts for hit in hits if hit.parts is not None]
        unrelated = embedder.info.unrelated_similarity
        judged.append(
            JudgedQuestion(
                question=question,
                known=is_known(
                    prepared.question.languages, multilingual=embedder.info.multilingual
                ),
                places=[
                    Span(questions.document_of(hit.name), hit.char_start, hit.char_end)
                    for hit in hits
                ],
                chunks=[(hit.build_id, hit.ordinal) for hit in hits],
                vector=np.array([part.vector for part in parts]) / _PROBE.vector,
                text=np.array([part.text for part in parts]) / (1 - _PROBE.vector),
                exact=np.array([part.exact for part in parts]),
                foreign=-np.array([part.other_language for part in parts]),
                likeness=np.maximum(vectors @ vectors.T - unrelated, 0) / (1 - unrelated),
            )
        )
    return judged


def _read_vectors(
    connection: Connection, hits: Sequence[Hit], *, model_id: int
) -> NDArray[np.float64]:
    rows = connection.execute(
        """
        SELECT embedding
        FROM unnest(%(builds)s::bigint[], %(ordinals)s::integer[])
            WITH ORDINALITY AS keys (build_id, ordinal, place)
        JOIN embeddings USING (build_id, ordinal)
        WHERE model_id = %(model_id)s
        ORDER BY place
        """,
        {
            "builds": [hit.build_id for hit in hits],
            "ordinals": [hit.ordinal for hit in hits],
            "model_id": model_id,
        },
    ).fetchall()
    return np.array([row[0].to_numpy() for row in rows], dtype=np.float64).reshape(len(hits), -1)


def fit(
    sets: Mapping[str, Sequence[JudgedQuestion]], *, before: Fusion, multilingual: bool
) -> FittedFusion:
    """
    Return the best weights, if they also win on questions that they were not fitted to.

    With several sets each is scored by weights fitted to the others, a single one by halves.
    """
    groups = dict(sets)
    if len(groups) == 1:
        ((name, judged),) = groups.items()
        groups = {f"{name}, first half": judged[::2], f"{name}, second half": judged[1::2]}
    figures = []
    for name, judged in groups.items():
        others = {other: group for other, group in groups.items() if other != name}
        held_out = _choose(others, before=before, multilingual=multilingual)
        figures.append(
            SetFigures(
                name=name,
                questions=len(judged),
                vector=fmean(each.measure(each.vector) for each in judged),
                text=fmean(each.measure(each.text) for each in judged),
                before=_measure(judged, before),
                held_out=_measure(judged, held_out),
            )
        )
    gains = [each.held_out - each.before for each in figures]
    wins = fmean(gains) >= _LEAST_GAIN and min(gains) >= -_MOST_LOSS
    fitted = _choose(groups, before=before, multilingual=multilingual) if wins else before
    return FittedFusion(fusion=fitted, wins=wins, sets=figures)


def _choose(
    sets: Mapping[str, Sequence[JudgedQuestion]], *, before: Fusion, multilingual: bool
) -> Fusion:
    """Return the weights with the best mean over *sets*, those of *before* among equals."""
    costs = (0.0,) if multilingual else _OTHER_LANGUAGE
    choices = []
    for cost in dict.fromkeys((before.other_language, *costs)):
        total, chosen = 0.0, replace(before, other_language=cost)
        for known in (True, False):
            chosen, part = _choose_for(sets, chosen, known=known)
            total += part
        choices.append((total, chosen))
    best, chosen = choices[0]
    for total, choice in choices[1:]:
        if total > best + 1e-9:
            best, chosen = total, choice
    return chosen


def _choose_for(
    sets: Mapping[str, Sequence[JudgedQuestion]], start: Fusion, *, known: bool
) -> tuple[Fusion, float]:
    """Return *start* with the best weights of the questions that are *known*, and their score."""
    groups = [
        (sum(each.known == known for each in judged) / len(judged), judged)
        for judged in sets.values()
        if judged
    ]
    if not any(share for share, _ in groups):
        return start, 0.0
    best, chosen = -1.0, start
    own = (
        (start.vector, start.feedback) if known else (start.vector_foreign, start.feedback_foreign)
    )
    for vector, feedback in [own, *itertools.product(_VECTOR, _FEEDBACK)]:
        choice = (
            replace(start, vector=vector, feedback=feedback)
            if known
            else replace(start, vector_foreign=vector, feedback_foreign=feedback)
        )
        score = fmean(
            share * _measure((each for each in judged if each.known == known), choice)
            for share, judged in groups
            if share
        )
        if score > best + 1e-9:
            best, chosen = score, choice
    return chosen, best


def _measure(judged: Iterable[JudgedQuestion], fusion: Fusion) -> float:
    return fmean(
        each.measure(
            lift_neighbours(
                combine(
                    fusion.weights_for(["en"] if each.known else [], multilingual=False),
                    vector=each.vector,
                    text=each.text,
                    exact=each.exact,
                    foreign=each.foreign,
                    likeness=each.likeness,
                ),
                each.chunks,
            )
        )
        for each in judged
    )


@click.command("fit")
@click.argument("sets", metavar="[SET]...", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--prefix", help="Search only under this prefix.  [default for a folder: its name]")
@click.option("--reset", is_flag=True, help="Forget what was fitted.")
@dry_run_option
@json_option
def fit_model(
    sets: tuple[Path, ...],
    *,
    prefix: str | None,
    reset: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """
    Fit what meaning and words weigh to the questions of each SET, for the model that answers.

    A SET is what evaluate takes, and its documents are indexed. The weights are stored with the
    model if they find more for questions that they were not fitted to; needs MODEL_DIR and the
    rights of the tables' owner.
    """
    if not (sets or reset):
        raise click.UsageError("Give a SET or --reset.")
    with one_sentence():
        settings = load(CalibrationSettings)
        with store.open_pool(settings) as pool, store.connect(pool) as connection:
            if reset:
                store.store_fusion(connection, None)
                click.echo("The default weights of the model apply again.")
                return
            embedder = open_embedder(settings.model_dir)
            store.check_model(connection, [embedder.info.digest])
            stored = store.read_fusion(connection)
            before = (
                Fusion.read(stored)
                if stored
                else default_fusion(multilingual=embedder.info.multilingual)
            )
            chosen = [read_set(path) for path in sets]
            judged = {
                questions.name: judge(
                    questions,
                    connection,
                    embedder,
                    prefix=prefix or (f"{questions.name}/" if questions.corpus else ""),
                )
                for questions in track(chosen, "asking", console=progress, transient=True)
            }
            fitted = fit(
                {name: each for name, each in judged.items() if each},
                before=before,
                multilingual=embedder.info.multilingual,
            )
            if fitted.wins and not dry_run:
                store.store_fusion(connection, fitted.fusion.store())
    _print_fitted(fitted, stored=fitted.wins and not dry_run, as_json=as_json)


def _print_fitted(fitted: FittedFusion, *, stored: bool, as_json: bool) -> None:
    if as_json:
        print_json(asdict(fitted) | {"stored": stored})
        return
    print_table(
        ("set", "questions", "vector", "text", "before", "fitted without it"),
        [
            (
                each.name,
                str(each.questions),
                *(f"{value:.4f}" for value in (each.vector, each.text, each.before, each.held_out)),
            )
            for each in fitted.sets
        ],
    )
    weights = ", ".join(f"{name} {value:g}" for name, value in fitted.fusion.store().items())
    if stored:
        click.echo(f"Stored with the model: {weights}")
    elif fitted.wins:
        click.echo(f"Would be stored with the model: {weights}")
    else:
        click.echo(f"No other weights are better. These stay: {weights}")
