"""
How often the answer without a model holds the exact answer of a question.

Against a running service that has indexed the set's corpus:
python -m benchmarks.extractive SET --url http://127.0.0.1:8080. SET is a folder with queries.jsonl,
each line a question with "text" and "answer" (and "lang").
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import requests


def fold(text: str) -> str:
    """Return *text* without differences of case and white space."""
    return " ".join(text.split()).casefold()


def ask(session: requests.Session, url: str, question: str) -> dict[str, Any]:
    """Return the service's answer."""
    response = session.post(f"{url}/query", json={"question": question}, timeout=60)
    response.raise_for_status()
    body: dict[str, Any] = response.json()
    if body["model"] != "extractive":
        raise click.ClickException("this service asks Gemini; start it without GEMINI_API_KEY")
    return body


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--url", default="http://127.0.0.1:8080", show_default=True)
@click.option("--every", default=1, show_default=True, help="Ask every n-th question only.")
@click.option("--no-answer", is_flag=True, help="The corpus does not answer: count refusals.")
def main(folder: Path, url: str, every: int, no_answer: bool) -> None:
    """Print, for each language, how many answers hold the exact answer."""
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    queries = [query for query in map(json.loads, lines) if query.get("answer")][::every]
    answers: dict[str, list[tuple[bool, bool, bool, int]]] = defaultdict(list)
    with requests.Session() as session, click.progressbar(queries, label="asking") as bar:
        for query in bar:
            body = ask(session, url, query["text"])
            answer = fold(query["answer"])
            found = any(answer in fold(passage["text"]) for passage in body["passages"])
            answers[query.get("lang", "all")].append(
                (answer in fold(body["answer"]), found, body["grounded"], len(body["answer"]))
            )
    if no_answer:
        for language, rows in sorted(answers.items()):
            share = statistics.fmean(not row[2] for row in rows)
            click.echo(f"{language}: {share:.3f} of {len(rows)} refused")
        return
    click.echo("language  questions  answer contained  in some passage  refused  characters")
    for language, rows in sorted(answers.items()):
        contained = statistics.fmean(row[0] for row in rows)
        in_passages = statistics.fmean(row[1] for row in rows)
        refused = statistics.fmean(not row[2] for row in rows)
        characters = statistics.median(row[3] for row in rows)
        click.echo(
            f"{language:8}  {len(rows):9}  {contained:16.3f}  {in_passages:15.3f}  {refused:7.3f}"
            f"  {characters:10.0f}"
        )


if __name__ == "__main__":
    main()
