"""
Measure how well the running service finds and answers.

SET is a folder with corpus/, queries.jsonl, qrels.tsv (query-id, corpus-id, score) and optionally
spans.tsv (query-id, corpus-id, start, end), or a file of JSON lines {"question": "...", "expected":
"object name" or ["...", ...]} about documents that are already in the bucket.

Each question is asked three times: by vectors, by text and by both fused. Documents are ranked by
their best chunk. --upload first uploads the corpus under the name of SET as prefix, and waits until
it is indexed.

With --answers, SET is a file of JSON lines {"question": "...", "gold": [["...", ...], ...],
"passages": ["...", ...]}, and answers are graded: each part of the gold must occur in the answer in
one of its forms. docs/answers.md describes the fields and figures. --compare compares with a
file that --json printed earlier; with --fail-on-drop the exit status is 1 if the run is worse by
more than chance. --judge has Gemini grade each answer too; grades are cached. --keep FOLDER keeps
the results of the run, and --history FOLDER makes a page of all kept results. --fit fits the choice
of sentences without Gemini to one or more sets, and writes it into the model's folder, where the
query function reads it when it starts.

--generate N makes such a set: Gemini writes questions about passages of the index, and only those
whose quotes occur in the passage word for word are kept.

--upload reads GOOGLE_CLOUD_PROJECT and DOCUMENTS_BUCKET; --calibrate and --generate read
DATABASE_URL and MODEL_DIR; --fit reads MODEL_DIR; --judge and --generate read GEMINI_API_KEY or the
settings of Vertex AI. QUERY_TOKEN is sent if the service requires a key.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from statistics import fmean
from typing import Any, TextIO

import click
import numpy as np
import requests
from requests.adapters import HTTPAdapter
from rich.console import Console
from rich.progress import track
from rich.table import Table
from urllib3.util.retry import Retry

from admin.answer_evaluation import as_json as answers_as_json
from admin.answer_evaluation import (
    ask_all,
    compare,
    fit_choosing,
    grade_all,
    has_dropped,
    print_comparison,
    print_faults,
    print_grades,
    read_questions,
    share_as_it_should_be,
)
from admin.answer_history import keep_run, read_runs, render
from admin.answer_judging import judge_all
from admin.folder_sync import upload_folder
from admin.model_calls import ModelCalls
from admin.question_making import make_questions
from admin.service import ServiceSettings
from shared.bucket import DocumentBucket
from shared.embedding.embedders import open_embedder
from shared.errors import KaydangError, StorageUnavailable
from shared.search.query_terms import Support, measure_support
from shared.search.statement import search
from shared.settings import BucketSettings, DatabaseSettings, ModelSettings, load
from shared.store import connect, open_pool, sample_chunks
from shared.values import Filter

MODES = ("vector", "text", "fused")
CUT = 10
# Chunks asked for: with one chunk a document first, far more than ten documents.
_CHUNKS = 50
_SPAN_CHUNKS = 5
_WAIT_SECONDS = 1800.0
# Of a hundred questions that the documents answer, at most so many are refused.
_MAX_FALSE_REFUSALS = 0.01
_progress = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Span:
    """Characters of a document that answer."""

    document: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Question:
    """
    A question and its relevant documents.

    Attributes:
        gains: Relevance by document, as the set names documents; higher is better.
    """

    id: str
    text: str
    language: str
    gains: Mapping[str, float]
    spans: Sequence[Span] = ()


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions, and how the service's object names become the set's document names."""

    name: str
    questions: Sequence[Question]
    corpus: Path | None
    document_of: Callable[[str], str] = field(default=str)


class Settings(BucketSettings):
    """Where --upload puts the corpus."""


class CalibrationSettings(DatabaseSettings, ModelSettings):
    """What --calibrate searches with."""


def read_set(path: Path) -> QuestionSet:
    """Return the questions of a folder or a file of JSON lines."""
    if path.is_dir():
        return _read_folder(path)
    questions = []
    for number, line in enumerate(_json_lines(path), 1):
        expected = line.get("expected")
        names = [expected] if isinstance(expected, str) else expected
        if not line.get("question") or not names:
            raise click.ClickException(
                f'{path}, line {number}: give {{"question": "...", "expected": "object name"}}.'
            )
        questions.append(
            Question(
                id=str(number),
                text=line["question"],
                language=line.get("lang", ""),
                gains=dict.fromkeys(names, 1.0),
            )
        )
    return QuestionSet(name=path.stem, questions=questions, corpus=None)


def _read_folder(path: Path) -> QuestionSet:
    gains: dict[str, dict[str, float]] = defaultdict(dict)
    for query, document, score in _rows(path / "qrels.tsv", columns=3):
        gains[query][document] = float(score)
    spans: dict[str, list[Span]] = defaultdict(list)
    if (path / "spans.tsv").exists():
        for query, document, start, end in _rows(path / "spans.tsv", columns=4):
            spans[query].append(Span(document, int(start), int(end)))
    return QuestionSet(
        name=path.name,
        questions=[
            Question(
                id=str(line["id"]),
                text=line["text"],
                language=line.get("lang", ""),
                gains=gains.get(str(line["id"]), {}),
                spans=spans.get(str(line["id"]), ()),
            )
            for line in _json_lines(path / "queries.jsonl")
        ],
        corpus=path / "corpus",
        document_of=lambda name: PurePosixPath(name).stem,
    )


def _json_lines(path: Path) -> Iterable[dict[str, Any]]:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise click.ClickException(f"{path}, line {number} is not JSON: {error}") from error


def _rows(path: Path, *, columns: int) -> Iterable[list[str]]:
    """Yield the rows below the header line."""
    for line in path.read_text("utf-8").splitlines()[1:]:
        if line.strip():
            yield line.split("\t")[:columns]


def measure_documents(ranked: Sequence[str], gains: Mapping[str, float]) -> dict[str, float]:
    """Return nDCG (gain = score, discount log2(rank + 1)), recall and reciprocal rank at ten."""
    ideal = sum(
        gain / math.log2(rank + 1)
        for rank, gain in enumerate(sorted(gains.values(), reverse=True)[:CUT], 1)
    )
    found = [(rank, gains.get(document, 0.0)) for rank, document in enumerate(ranked[:CUT], 1)]
    relevant = [rank for rank, gain in found if gain > 0]
    count = sum(gain > 0 for gain in gains.values())
    return {
        "ndcg": sum(gain / math.log2(rank + 1) for rank, gain in found) / ideal if ideal else 0.0,
        "recall": len(relevant) / count if count else 0.0,
        "mrr": 1 / relevant[0] if relevant else 0.0,
    }


def measure_spans(returned: Sequence[Span], gold: Sequence[Span]) -> dict[str, float]:
    """Return recall, precision and IoU of characters; returned twice counts twice as returned."""
    wanted = {(span.document, place) for span in gold for place in range(span.start, span.end)}
    given = [(span.document, place) for span in returned for place in range(span.start, span.end)]
    hit = len(wanted.intersection(given))
    return {
        "span_recall": hit / len(wanted) if wanted else 0.0,
        "span_precision": hit / len(given) if given else 0.0,
        "span_iou": hit / (len(wanted) + len(given) - hit) if given or wanted else 0.0,
    }


class Service:
    """The query function over HTTP."""

    def __init__(self, url: str, *, key: str | None, headers: Mapping[str, str]) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session()
        # An idle connection may be closed just when the next request is sent on it.
        again = Retry(total=3, backoff_factor=0.1, allowed_methods=None, raise_on_status=False)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=again))
        if key:
            self._session.headers["X-API-Key"] = key
        self._session.headers.update(headers)

    def retrieve(self, question: str, **options: Any) -> list[dict[str, Any]]:
        """Return the passages for *question*, best first."""
        answer = self._call("POST", "/retrieve", json={"question": question} | options)
        passages: list[dict[str, Any]] = answer["passages"]
        return passages

    def ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the reply to a question; empty if the model that writes answers failed."""
        return self._call("POST", "/query", failures=(502, 504), json=body)

    def count_unfinished(self, prefix: str) -> tuple[int, int]:
        """Return how many documents under *prefix* are known, and how many of them unfinished."""
        known = unfinished = 0
        cursor: str | None = None
        while True:
            page = self._call(
                "GET",
                "/documents",
                params={"prefix": prefix, "limit": 500} | ({"cursor": cursor} if cursor else {}),
            )
            known += len(page["documents"])
            unfinished += sum(
                document["state"] in ("queued", "indexing") for document in page["documents"]
            )
            cursor = page["next"]
            if not cursor:
                return known, unfinished

    def _call(
        self, method: str, path: str, *, failures: Sequence[int] = (), **options: Any
    ) -> dict[str, Any]:
        try:
            response = self._session.request(method, self._url + path, timeout=60, **options)
        except requests.ConnectionError as error:
            raise click.ClickException(
                f"Nothing answers at {self._url}. Start the service (make run), or give its --url."
            ) from error
        if response.status_code in failures:
            return {}
        if not response.ok:
            raise click.ClickException(
                f"{self._url}{path} answered {response.status_code}: {response.text[:500]}"
            )
        answer: dict[str, Any] = response.json()
        return answer


def upload(corpus: Path, *, prefix: str, bucket: DocumentBucket) -> int:
    """
    Upload the files of *corpus*; return their number.

    Raises:
        StorageUnavailable: Some could not be uploaded.
    """
    brought = upload_folder(corpus, bucket, prefix=prefix)
    outcomes = list(track(brought, description="uploading", console=_progress))
    if failed := [outcome for outcome in outcomes if outcome.kind == "failed"]:
        raise StorageUnavailable(f"{len(failed)} files, first {failed[0].name}: {failed[0].reason}")
    return len(outcomes)


def wait_until_ready(service: Service, *, prefix: str, documents: int) -> None:
    """Return when all *documents* under *prefix* are ready or failed."""
    deadline = time.monotonic() + _WAIT_SECONDS
    with _progress.status("waiting for the index"):
        while time.monotonic() < deadline:
            known, unfinished = service.count_unfinished(prefix)
            if known >= documents and not unfinished:
                return
            time.sleep(2)
    raise click.ClickException(
        f"{unfinished} of {known} documents are unfinished after {_WAIT_SECONDS:.0f} seconds; "
        "run: kaydangpt status"
    )


def evaluate(
    questions: QuestionSet, service: Service, *, prefix: str, concurrency: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the mean of each measure by language ("all" for all) and mode."""
    scope = {"filter": {"prefix": prefix}} if prefix else {}

    def ask(item: tuple[Question, str]) -> dict[str, float]:
        question, mode = item
        passages = service.retrieve(
            question.text, mode=mode, limit=_CHUNKS, per_document=1, **scope
        )
        names = [questions.document_of(passage["name"]) for passage in passages]
        measured = measure_documents(list(dict.fromkeys(names)), question.gains)
        if question.spans:
            top = service.retrieve(
                question.text, mode=mode, limit=_SPAN_CHUNKS, per_document=_SPAN_CHUNKS, **scope
            )
            measured |= measure_spans(
                [
                    Span(
                        questions.document_of(passage["name"]),
                        passage["char_start"],
                        passage["char_end"],
                    )
                    for passage in top
                ],
                question.spans,
            )
        return measured

    items = [(question, mode) for question in questions.questions for mode in MODES]
    values: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    with ThreadPoolExecutor(concurrency) as threads:
        answers = track(
            threads.map(ask, items), total=len(items), description="asking", console=_progress
        )
        for (question, mode), measured in zip(items, answers, strict=True):
            values["all", mode].append(measured)
            if question.language:
                values[question.language, mode].append(measured)
    table: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for (language, mode), rows in values.items():
        table[language][mode] = {
            measure: fmean(row[measure] for row in rows) for measure in rows[0]
        } | {"questions": len(rows)}
    return dict(table)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Floors for the gate, and what they do to questions with and without their documents."""

    coverage: float
    similarity: float
    refused_unanswerable: float
    refused_answerable: float


def calibrate(questions: QuestionSet, *, prefix: str) -> Calibration:
    """
    Return the floors that refuse most questions whose documents are left out.

    A document that answers is left out together with its translations, which sets of several
    languages name alike but for the language.
    """
    settings = load(CalibrationSettings)
    embedder = open_embedder(settings.model_dir)
    answerable, unanswerable = [], []
    pool = open_pool(settings)
    with pool, connect(pool) as connection:
        for question in track(questions.questions, description="asking", console=_progress):
            hits = search(
                connection,
                question=question.text,
                embedding=embedder.embed_query(question.text),
                unrelated_similarity=embedder.info.unrelated_similarity,
                multilingual=embedder.info.multilingual,
                limit=_CHUNKS,
                filter=Filter(prefix=prefix or None),
            ).hits
            gone = {_untranslated(document) for document in question.gains}
            left = [
                hit for hit in hits if _untranslated(questions.document_of(hit.name)) not in gone
            ]
            unrelated = embedder.info.unrelated_similarity
            answerable.append(measure_support(hits[:CUT], unrelated_similarity=unrelated))
            unanswerable.append(measure_support(left[:CUT], unrelated_similarity=unrelated))
    return choose_floors(answerable, unanswerable)


def choose_floors(answerable: Sequence[Support], unanswerable: Sequence[Support]) -> Calibration:
    """Return the floors that refuse most of *unanswerable* and hardly any of *answerable*."""

    def refused(supports: Sequence[Support], coverage: float, similarity: float) -> float:
        return fmean(
            support.coverage is not None
            and support.coverage < coverage
            and support.similarity < similarity
            for support in supports
        )

    choices = [
        Calibration(
            float(coverage),
            float(similarity),
            refused(unanswerable, coverage, similarity),
            refused(answerable, coverage, similarity),
        )
        for coverage in np.arange(0.0, 0.51, 0.05).round(2)
        for similarity in np.arange(0.0, 0.91, 0.05).round(2)
    ]
    return max(
        (choice for choice in choices if choice.refused_answerable <= _MAX_FALSE_REFUSALS),
        key=lambda choice: (choice.refused_unanswerable, -choice.coverage, -choice.similarity),
    )


def _untranslated(document: str) -> str:
    language, dash, rest = document.partition("-")
    return rest if dash and len(language) == 2 else document


@click.command(help=__doc__)
@click.argument(
    "set_paths",
    metavar="[SET]...",
    nargs=-1,
    type=click.Path(exists=True, path_type=Path),
)
@click.option(
    "--url", envvar="QUERY_URL", default="http://127.0.0.1:8080", show_default=True, help="Service."
)
@click.option("--upload", "with_upload", is_flag=True, help="Upload the corpus first.")
@click.option("--prefix", help="Search only under this prefix.  [default for a folder: its name]")
@click.option(
    "--calibrate", "with_calibration", is_flag=True, help="Choose the thresholds for refusing."
)
@click.option("--answers", "with_answers", is_flag=True, help="Grade answers, not passages.")
@click.option(
    "--fit", "with_fit", is_flag=True, help="With --answers: fit the choice of sentences."
)
@click.option(
    "--compare",
    "earlier",
    type=click.File("r", encoding="utf-8"),
    help="With --answers: compare with what --json printed earlier.",
)
@click.option(
    "--fail-below",
    type=click.FloatRange(0, 1),
    help="With --answers: exit status 1 if fewer questions are correctly answered or refused.",
)
@click.option(
    "--fail-on-drop",
    is_flag=True,
    help="With --compare: exit status 1 if the run is worse by more than chance.",
)
@click.option("--judge", "with_judge", is_flag=True, help="With --answers: Gemini grades them too.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --answers: keep the results in this folder.",
)
@click.option(
    "--history",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Make a page of the results that were kept in this folder.",
)
@click.option(
    "--generate", type=click.IntRange(1, 1000), help="Make this many questions from the documents."
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --generate and --history: the file; a page ends in .md, .html or .svg.",
)
@click.option(
    "--headers",
    type=click.File("r", encoding="utf-8"),
    help="A file of HTTP headers to send, one on each line.",
)
@click.option("--concurrency", type=click.IntRange(1, 16), default=2, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a script to read.")
def main(
    set_paths: tuple[Path, ...],
    *,
    url: str,
    with_upload: bool,
    prefix: str | None,
    with_calibration: bool,
    with_answers: bool,
    with_fit: bool,
    earlier: TextIO | None,
    fail_below: float | None,
    fail_on_drop: bool,
    with_judge: bool,
    keep: Path | None,
    history: Path | None,
    generate: int | None,
    output: Path | None,
    headers: TextIO | None,
    concurrency: int,
    as_json: bool,
) -> None:
    """Measure one set, or the answers to several."""
    if history or generate:
        if set_paths or output is None:
            raise click.UsageError("--history and --generate take no SET, and need --output.")
        if history:
            _write_history(history, output)
        else:
            assert generate is not None, "one of the two"  # noqa: S101
            _generate(generate, output, prefix=prefix or "", as_json=as_json)
        return
    if not set_paths:
        raise click.UsageError("Give a SET.")
    if fail_on_drop and not earlier:
        raise click.UsageError("--fail-on-drop goes with --compare.")
    if (with_judge or keep) and not with_answers:
        raise click.UsageError("--judge and --keep go with --answers.")
    if (with_fit or earlier or fail_below is not None) and not with_answers:
        raise click.UsageError("--fit, --compare and --fail-below go with --answers.")
    if len(set_paths) > 1 and not with_fit:
        raise click.UsageError("Give one SET; only --fit takes several.")
    try:
        if with_answers:
            service = _open_service(url, headers)
            if with_fit:
                _fit_answers(set_paths, service, prefix=prefix or "", as_json=as_json)
            else:
                _evaluate_answers(
                    set_paths[0],
                    service,
                    prefix=prefix or "",
                    earlier=earlier,
                    fail_below=fail_below,
                    fail_on_drop=fail_on_drop,
                    with_judge=with_judge,
                    keep=keep,
                    as_json=as_json,
                )
            return
        questions = read_set(set_paths[0])
        if prefix is None:
            prefix = f"{questions.name}/" if questions.corpus else ""
        if with_upload:
            _upload(questions, prefix=prefix, url=url)
        if with_calibration:
            _report_calibration(calibrate(questions, prefix=prefix), as_json=as_json)
            return
        service = _open_service(url, headers)
        table = evaluate(questions, service, prefix=prefix, concurrency=concurrency)
    except KaydangError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps({"set": questions.name, "results": table}))
    else:
        _print_table(questions.name, table)


def _open_service(url: str, headers: TextIO | None = None) -> Service:
    given: dict[str, str] = {}
    for line in headers or ():
        name, colon, value = line.partition(":")
        if colon:
            given[name.strip()] = value.strip()
    key = load(ServiceSettings).query_token.get_secret_value()
    return Service(url, key=key or None, headers=given)


def _write_history(folder: Path, output: Path) -> None:
    kind = output.suffix.lstrip(".")
    if kind not in ("md", "html", "svg"):
        raise click.UsageError("--output ends in .md, .html or .svg.")
    runs = read_runs(folder)
    output.write_text(render(runs, kind=kind), "utf-8")
    click.echo(f"{output}: {len(runs)} runs")


def _generate(count: int, output: Path, *, prefix: str, as_json: bool) -> None:
    calls = ModelCalls.open(keep=False)
    settings = load(CalibrationSettings)
    embedder = open_embedder(settings.model_dir)
    pool = open_pool(settings)
    try:
        with pool, connect(pool) as connection:
            # Some passages hold nothing worth asking for.
            chunks = sample_chunks(connection, prefix=prefix, limit=3 * count)
        made = make_questions(iter(chunks), calls, embedder.embed_documents, count=count)
    finally:
        calls.close()
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in made.lines)
    output.write_text(lines, "utf-8")
    facts = {
        "questions": len(made.lines),
        "unanswerable": sum(line["gold"] is None for line in made.lines),
        "near_duplicates": sum("near_duplicate_of" in line for line in made.lines),
        "thrown_away": made.thrown_away,
        "tokens": calls.usage.total_tokens,
    }
    if as_json:
        click.echo(json.dumps(facts))
        return
    click.echo(
        f"{output}: {facts['questions']} questions, {facts['unanswerable']} of them without an"
        f" answer, {facts['near_duplicates']} near-duplicates; {facts['tokens']} tokens."
    )
    for reason, times in made.thrown_away.items():
        click.echo(f"rejected: {times} ({reason})")


def _evaluate_answers(
    path: Path,
    service: Service,
    *,
    prefix: str,
    earlier: TextIO | None,
    fail_below: float | None,
    fail_on_drop: bool,
    with_judge: bool,
    keep: Path | None,
    as_json: bool,
) -> None:
    before = None if earlier is None else _read_earlier(earlier)
    calls = ModelCalls.open(keep=True) if with_judge else None
    asked = ask_all(read_questions(path), service.ask, prefix=prefix)
    grades = grade_all(asked)
    if calls is not None:
        try:
            grades = judge_all(asked, grades, calls)
        finally:
            calls.close()
    compared = None if before is None else compare(grades, before)
    printed = answers_as_json(path.stem, grades)
    if calls is not None:
        printed["judge"] = {
            "model": calls.model,
            "tokens": calls.usage.total_tokens,
            "calls": calls.usage.calls,
            "kept": calls.kept,
        }
    if keep is not None:
        keep_run(printed, keep)
    if as_json:
        if compared is not None:
            printed["compared"] = {
                measure: dict(zip(("difference", "from", "to"), values, strict=True))
                for measure, values in compared.items()
            }
        click.echo(json.dumps(printed, ensure_ascii=False))
    else:
        print_grades(path.stem, grades)
        print_faults(grades)
        if calls is not None:
            judge = printed["judge"]
            click.echo(
                f"judged by {judge['model']}: {judge['calls']} calls, {judge['tokens']} tokens,"
                f" {judge['kept']} from the cache"
            )
        if compared is not None:
            print_comparison(compared)
    is_low = fail_below is not None and share_as_it_should_be(grades) < fail_below
    if is_low or (fail_on_drop and compared is not None and has_dropped(compared)):
        raise SystemExit(1)


def _read_earlier(file: TextIO) -> dict[str, Any]:
    try:
        earlier = json.load(file)
    except ValueError as error:
        raise click.ClickException(f"{file.name} is not JSON: {error}") from error
    if not isinstance(earlier, dict) or "answers" not in earlier:
        raise click.ClickException(f"{file.name} is not what evaluate --answers --json printed.")
    return earlier


def _fit_answers(paths: Sequence[Path], service: Service, *, prefix: str, as_json: bool) -> None:
    file = load(ModelSettings).model_dir / "answering.json"
    asked = [
        each
        for path in paths
        for each in ask_all(read_questions(path), service.ask, prefix=prefix, trace=True)
    ]
    fitted = fit_choosing(asked, file=file)
    if as_json:
        click.echo(json.dumps(asdict(fitted) | {"file": str(file)}))
        return
    click.echo(f"Wrote {file}; the query function reads it when it starts.")
    click.echo(
        f"Held out: {fitted.first_right:.1%} of the sentences put first are right."
        f" {fitted.refused_unanswerable:.1%} of the questions without an answer are refused, and"
        f" {fitted.refused_answerable:.1%} of those answered correctly."
    )


def _upload(questions: QuestionSet, *, prefix: str, url: str) -> None:
    if questions.corpus is None:
        raise click.ClickException("A file of questions has no corpus to upload.")
    settings = load(Settings)
    bucket = DocumentBucket(settings.documents_bucket, project=settings.google_cloud_project)
    count = upload(questions.corpus, prefix=prefix, bucket=bucket)
    wait_until_ready(_open_service(url), prefix=prefix, documents=count)


def _print_table(name: str, results: dict[str, dict[str, dict[str, float]]]) -> None:
    measures = [measure for measure in results["all"]["fused"] if measure != "questions"]
    labels = {"ndcg": "nDCG@10", "recall": "Recall@10", "mrr": "MRR@10"}
    table = Table(title=name)
    for heading in ("language", "leg", "questions", *(labels.get(m, m) for m in measures)):
        table.add_column(heading, justify="left" if heading in ("language", "leg") else "right")
    for language, modes in results.items():
        for mode in MODES:
            row = modes[mode]
            table.add_row(
                language, mode, f"{row['questions']:.0f}", *(f"{row[m]:.4f}" for m in measures)
            )
    Console().print(table)


def _report_calibration(chosen: Calibration, *, as_json: bool) -> None:
    if as_json:
        click.echo(
            json.dumps(
                {
                    "REFUSAL_COVERAGE": chosen.coverage,
                    "REFUSAL_SIMILARITY": chosen.similarity,
                    "refused_unanswerable": chosen.refused_unanswerable,
                    "refused_answerable": chosen.refused_answerable,
                }
            )
        )
        return
    click.echo(f"REFUSAL_COVERAGE={chosen.coverage}")
    click.echo(f"REFUSAL_SIMILARITY={chosen.similarity}")
    click.echo(
        f"# refuses {chosen.refused_unanswerable:.1%} of the questions without their documents, "
        f"{chosen.refused_answerable:.1%} of those with them",
        err=True,
    )


if __name__ == "__main__":
    main()
