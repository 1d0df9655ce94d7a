"""
Work out what a deployment costs a month, part by part, beside what others ask.

    python -m infra.cost --environment production --documents 50000 --questions 20000
    python -m infra.cost --write                  # the tables of docs/cost.md

List prices of a tier-1 region (europe-west1, us-central1) in US dollars, free allowances left out
except where a part lies wholly inside one. Pure but for the command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

DOCUMENT = Path(__file__).resolve().parent.parent / "docs/cost.md"
HOURS, SECONDS = 730, 2_628_000


@dataclass(frozen=True, slots=True)
class Price:
    """
    A list price in US dollars.

    Attributes:
        read: When the page, or a copy of it, was read; "" if it is from memory.
    """

    dollars: float
    unit: str
    url: str
    read: str = ""


_RUN = "https://cloud.google.com/run/pricing"
_SQL = "https://cloud.google.com/sql/pricing"
_MODELS = "https://cloud.google.com/vertex-ai/generative-ai/pricing"
PRICES = {
    "run vCPU": Price(0.000024, "vCPU-second", _RUN),
    "run memory": Price(0.0000025, "GiB-second", _RUN),
    "run idle": Price(0.0000025, "vCPU-second and GiB-second, warm and unused", _RUN),
    "run job": Price(0.000018, "vCPU-second, a minute at least", _RUN),
    "run request": Price(0.40 / 1e6, "request", _RUN),
    "pubsub": Price(
        40 / 2**40, "byte, 1 kB a message at least", "https://cloud.google.com/pubsub/pricing"
    ),
    "sql micro": Price(0.0105, "hour of db-f1-micro", _SQL),
    "sql vCPU": Price(0.0413 / 3600, "vCPU-second", _SQL),
    "sql memory": Price(0.0070 / 3600, "GiB-second", _SQL),
    "sql disk": Price(0.17, "GB-month", _SQL),
    "sql backup": Price(0.08, "GB-month", _SQL),
    "storage": Price(0.02, "GB-month", "https://cloud.google.com/storage/pricing"),
    "logs": Price(0.50, "GiB beyond 50", "https://cloud.google.com/products/observability/pricing"),
    "alert condition": Price(
        0.10, "condition a month", "https://cloud.google.com/products/observability/pricing"
    ),
    "alert points": Price(
        0.35 / 1e6, "point returned", "https://cloud.google.com/products/observability/pricing"
    ),
    "images": Price(0.10, "GB-month", "https://cloud.google.com/artifact-registry/pricing"),
    "load balancer": Price(0.025, "hour", "https://cloud.google.com/vpc/network-pricing#lb"),
    "armor": Price(
        8.0, "month, a policy and three rules", "https://cloud.google.com/armor/pricing"
    ),
    "gemini in": Price(0.30 / 1e6, "token", _MODELS, "2026-10-07"),
    "gemini out": Price(2.50 / 1e6, "token", _MODELS, "2026-10-07"),
}


@dataclass(frozen=True, slots=True)
class Sizing:
    """What a file of infra/deployment/environments deploys; tests hold the two together."""

    processors: int  # 0: db-f1-micro
    memory_gib: int
    zones: int
    disk_gb: int
    backups_kept: int
    log_days: int
    warm_processors: int
    warm_gib: int
    sweeps_a_month: int
    old_days: int
    query_processors: int
    query_gib: int
    balanced: bool = False
    alert_conditions: int = 17


ENVIRONMENTS = {
    "small": Sizing(
        processors=0,
        memory_gib=0,
        zones=1,
        disk_gb=10,
        backups_kept=7,
        log_days=0,
        warm_processors=0,
        warm_gib=0,
        sweeps_a_month=730,
        old_days=37,
        query_processors=1,
        query_gib=1,
    ),
    "production": Sizing(
        processors=4,
        memory_gib=15,
        zones=2,
        disk_gb=50,
        backups_kept=14,
        log_days=7,
        warm_processors=2,
        warm_gib=2,
        sweeps_a_month=4380,
        old_days=60,
        query_processors=2,
        query_gib=2,
    ),
}
ENVIRONMENTS["production, public"] = replace(
    ENVIRONMENTS["production"], balanced=True, alert_conditions=18
)


@dataclass(frozen=True, slots=True)
class Usage:
    """
    What is done with it in a month.

    Attributes:
        replaced: Share of the documents that are replaced each month.
    """

    documents: int = 10_000
    chunks_a_document: int = 20
    megabytes_a_document: float = 0.5
    replaced: float = 0.1
    questions: int = 10_000
    tokens_in: int = 4_000
    tokens_out: int = 300

    @property
    def chunks(self) -> int:
        return self.documents * self.chunks_a_document

    @property
    def gigabytes(self) -> float:
        return self.documents * self.megabytes_a_document / 1000

    @property
    def tokens(self) -> int:
        return self.chunks * TOKENS_A_CHUNK


# Measured: docs/cost.md and docs/scaling.md say by which command.
TOKENS_A_CHUNK = 170
CHUNKS_A_SECOND = 75  # on two processors
GB_A_MILLION_CHUNKS = 3.5
# Assumed: an instance works on one question alone for so long; a line of the log is 1 kB.
SECONDS_A_QUESTION = 3
LOG_LINES_A_QUESTION, LOG_LINES_A_CHUNK = 4, 0.1
# Share of the database that changes between two backups, which keep the differences.
CHANGED_BETWEEN_BACKUPS = 0.05
# One a minute of each of three services or so.
POINTS_A_CONDITION = 3 * HOURS * 60
IMAGES_GB = 6  # the last ten of three images, which share most of their layers


def cost(usage: Usage, sizing: Sizing) -> dict[str, float]:
    """Return the dollars of a month by part."""
    price = {name: value.dollars for name, value in PRICES.items()}
    written = usage.chunks * usage.replaced
    if sizing.processors:
        machine = SECONDS * (
            sizing.processors * price["sql vCPU"] + sizing.memory_gib * price["sql memory"]
        )
    else:
        machine = HOURS * price["sql micro"]
    data = usage.chunks / 1e6 * GB_A_MILLION_CHUNKS
    backups = data * (1 + CHANGED_BETWEEN_BACKUPS * (sizing.backups_kept - 1))
    backups += written / 1e6 * GB_A_MILLION_CHUNKS * sizing.log_days / 30
    running = price["run vCPU"] * 2 + price["run memory"] * 2
    asking = sizing.query_processors * price["run vCPU"] + sizing.query_gib * price["run memory"]
    work = written / CHUNKS_A_SECOND * running
    work += usage.questions * SECONDS_A_QUESTION * asking
    work += (written / 64 + usage.questions) * price["run request"]
    jobs = max(0.0, sizing.sweeps_a_month * 60 - 240_000) * price["run job"]
    lines = usage.questions * LOG_LINES_A_QUESTION + written * LOG_LINES_A_CHUNK
    replaced = usage.gigabytes * usage.replaced
    return {
        "Cloud SQL: processor and memory": machine * sizing.zones,
        "Cloud SQL: disk": max(sizing.disk_gb, 1.3 * data) * price["sql disk"] * sizing.zones,
        "Cloud SQL: backups and logs": backups * price["sql backup"],
        "Cloud Run: warm instance": SECONDS
        * (sizing.warm_processors + sizing.warm_gib)
        * price["run idle"],
        "Cloud Run: indexing and questions": work,
        "Cloud Run: maintenance jobs": jobs,
        "Pub/Sub": written / 64 * 2_000 * price["pubsub"],
        "documents": usage.gigabytes * price["storage"],
        "replaced and deleted documents, as long as they are kept": replaced
        * sizing.old_days
        / 30
        * price["storage"],
        "logs": max(0.0, lines / 2**20 - 50) * price["logs"],
        "alerts": sizing.alert_conditions
        * (price["alert condition"] + POINTS_A_CONDITION * price["alert points"]),
        "images": IMAGES_GB * price["images"],
        "load balancer and Cloud Armor": (
            HOURS * price["load balancer"] + price["armor"] if sizing.balanced else 0.0
        ),
        "Gemini": gemini_cost(usage),
    }


def gemini_cost(usage: Usage) -> float:
    """Return what the answers' tokens cost."""
    return usage.questions * (
        usage.tokens_in * PRICES["gemini in"].dollars
        + usage.tokens_out * PRICES["gemini out"].dollars
    )


def first_indexing(usage: Usage) -> float:
    """Return what it costs to index all documents once."""
    seconds = usage.chunks / CHUNKS_A_SECOND
    return seconds * 2 * (PRICES["run vCPU"].dollars + PRICES["run memory"].dollars)


@dataclass(frozen=True, slots=True)
class Other:
    """
    What another system asks; the model that writes answers is counted alike for all.

    Attributes:
        idle: Dollars a month with nothing in it.
        a_million_tokens: For reading documents in, once and at each replacement.
        a_gib: A GiB of the index a month.
        a_thousand: A thousand questions, without the model that writes answers.
    """

    name: str
    idle: float
    a_million_tokens: float
    a_gib: float
    a_thousand: float
    source: str
    read: str = ""


OTHERS = (
    Other(
        "Gemini File Search",
        0,
        0.15,
        0,
        0,
        "https://ai.google.dev/gemini-api/docs/pricing",
        "2026-10-07",
    ),
    Other(
        "Vertex AI Search, standard",
        0,
        0,
        5.0,
        1.50,
        "https://cloud.google.com/generative-ai-app-builder/pricing",
        "2026-10-07, storage from memory",
    ),
    Other(
        "Vertex AI Search, enterprise with answers",
        0,
        0,
        5.0,
        8.00,
        "https://cloud.google.com/generative-ai-app-builder/pricing",
        "2026-10-07, storage from memory",
    ),
    Other(
        "Vertex AI RAG Engine, basic (Spanner, 100 units)",
        90,
        0.15,
        0.39,
        0,
        "https://cloud.google.com/spanner/pricing",
    ),
    Other(
        "Vertex AI RAG Engine, scaled (Spanner, one node at least)",
        900,
        0.15,
        0.39,
        0,
        "https://cloud.google.com/spanner/pricing",
    ),
    Other(
        "Bedrock Knowledge Bases, OpenSearch Serverless, 2 units",
        350,
        0.02,
        0.024,
        0,
        "https://dropinfinops.com/resources/finops-for-ai/bedrock-costs-hidden-in-opensearch",
        "2026-11-30",
    ),
    Other(
        "Bedrock Knowledge Bases, OpenSearch Serverless, 4 units",
        700,
        0.02,
        0.024,
        0,
        "https://ercanermis.com/?p=5738",
        "2026-11-30",
    ),
    Other(
        "Bedrock Knowledge Bases, S3 Vectors",
        0,
        0.02,
        0.06,
        0.01,
        "https://aws.amazon.com/s3/pricing/",
    ),
    Other(
        "Azure AI Search, basic",
        74,
        0.02,
        0,
        1.0,
        "https://azure.microsoft.com/pricing/details/search/",
    ),
)


def other_cost(other: Other, usage: Usage) -> float:
    """Return the dollars of a month, Gemini's tokens included, as for ours."""
    gib = usage.chunks / 1e6 * GB_A_MILLION_CHUNKS
    read_in = usage.tokens * usage.replaced / 1e6 * other.a_million_tokens
    asked = usage.questions / 1000 * other.a_thousand
    return other.idle + read_in + gib * other.a_gib + asked + gemini_cost(usage)


def write_tables(usage: Usage, environments: Sequence[str]) -> str:
    """Return the parts of each environment, the systems of others, and the prices behind them."""
    costs = {name: cost(usage, ENVIRONMENTS[name]) for name in environments}
    idle = Usage(documents=0, questions=0)
    rows = [
        (part, *(_dollars(costs[name][part]) for name in environments))
        for part in next(iter(costs.values()))
    ]
    rows.append(("**a month**", *(f"**{sum(costs[name].values()):.0f}**" for name in environments)))
    rows.append(
        (
            "with nothing in it and no questions",
            *(f"{sum(cost(idle, ENVIRONMENTS[name]).values()):.0f}" for name in environments),
        )
    )
    others = [
        (
            f"KaydangPT, {name}",
            f"{sum(cost(idle, ENVIRONMENTS[name]).values()):.0f}",
            f"{sum(costs[name].values()):.0f}",
            f"{first_indexing(usage):.2f}",
            "above",
            "",
        )
        for name in environments
    ] + [
        (
            other.name,
            f"{other.idle:.0f}",
            f"{other_cost(other, usage):.0f}",
            f"{usage.tokens / 1e6 * other.a_million_tokens:.2f}",
            other.source,
            other.read or "from memory",
        )
        for other in OTHERS
    ]
    said = (
        f"{usage.documents:,} documents of {usage.chunks_a_document} chunks and"
        f" {usage.megabytes_a_document:g} MB, {usage.replaced:.0%} replaced a month,"
        f" {usage.questions:,} questions of {usage.tokens_in:,} tokens in and {usage.tokens_out}"
        " out:"
    )
    beside = (
        "Beside others, with the same documents, questions and model that writes the answers."
        " Vertex AI Search with answers writes them itself, so a part is counted twice there:"
    )
    return "\n\n".join(
        (
            said,
            _table(("US dollars a month", *environments), rows),
            beside,
            _table(("", "idle a month", "a month", "first indexing", "source", "read"), others),
        )
    )


def write_prices() -> str:
    """Return the prices, each with its page."""
    return _table(
        ("price", "US dollars", "a", "page", "read"),
        [
            (name, f"{p.dollars:.3g}", p.unit, p.url, p.read or "from memory")
            for name, p in PRICES.items()
        ],
    )


def _dollars(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_document(text: str) -> str:
    """Return *text* with the tables of this command between its marks."""
    begin, end = "<!-- cost: python -m infra.cost --write -->", "<!-- end of cost -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise click.ClickException(f"{DOCUMENT} lacks {begin} or {end}")
    tables = write_tables(Usage(), list(ENVIRONMENTS))
    return f"{head}{begin}\n{tables}\n\n{write_prices()}\n{end}{tail}"


@click.command(help="Work out what a deployment costs a month, beside what others ask.")
@click.option("--environment", "names", multiple=True, type=click.Choice(list(ENVIRONMENTS)))
@click.option("--documents", default=Usage().documents, show_default=True)
@click.option("--chunks-a-document", default=Usage().chunks_a_document, show_default=True)
@click.option("--megabytes-a-document", default=Usage().megabytes_a_document, show_default=True)
@click.option("--replaced", default=Usage().replaced, show_default=True, help="Share a month.")
@click.option("--questions", default=Usage().questions, show_default=True, help="A month.")
@click.option("--tokens-in", default=Usage().tokens_in, show_default=True)
@click.option("--tokens-out", default=Usage().tokens_out, show_default=True)
@click.option("--write", is_flag=True, help="Write the tables of docs/cost.md.")
def main(*, names: Sequence[str], write: bool, **numbers: float) -> None:
    if write:
        DOCUMENT.write_text(write_document(DOCUMENT.read_text()))
        return
    click.echo(write_tables(Usage(**numbers), names or list(ENVIRONMENTS)))  # type: ignore[arg-type]
    click.echo()
    click.echo(write_prices())


if __name__ == "__main__":
    main()
