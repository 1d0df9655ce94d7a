"""
Write docs/performance.md's tables and plots, and the README's: make bench-report.

    python -m benchmarks.report [RESULT.json]

Each figure comes from the newest result that holds it, or from RESULT, and names its run. Every
ratio is taken within one round; shown are its median and, behind it, its smallest and largest value
over the rounds.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .compare import OURS
from .recording import RESULTS, ROOT, describe_run, make_table, replace_block

DOCUMENT = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
IMAGES = ROOT / "docs" / "images"
# As people write them.
TITLES = {
    OURS: "KaydangPT",
    "langchain": "LangChain",
    "llamaindex": "LlamaIndex",
    "haystack": "Haystack",
    "txtai": "txtai",
    "django": "Django-shaped",
}
_OURS_COLOUR, _PEER_COLOUR, _INK = "#1a6b5c", "#b9bfc7", "#2b2f36"
# What the README calls the figures that it sums up.
_NAMES = {"ingest": "ingest", "cold": "cold start", "served": "questions"}
Result = Mapping[str, Any]
# The result of each figure.
Runs = Mapping[str, Result]
# A value of one system in one round.
Reading = Callable[[Mapping[str, Any]], float]


@click.command(help=__doc__)
@click.argument("result", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--document", default=DOCUMENT, type=click.Path(path_type=Path, exists=True))
@click.option("--readme", default=README, type=click.Path(path_type=Path, exists=True))
@click.option("--images", default=IMAGES, type=click.Path(path_type=Path, file_okay=False))
@click.option("--only", multiple=True, help="Figures whose tables alone are written.")
def main(
    result: Path | None, document: Path, readme: Path, images: Path, only: tuple[str, ...]
) -> None:
    """Fill in the document, draw the plots, and sum up in the README."""
    runs = read_newest() if result is None else _hold(json.loads(result.read_text()), result.name)
    blocks = make_blocks(runs)
    for name in only or blocks:
        replace_block(document, name, blocks[name])
    if not only:
        draw(runs, images)
        replace_block(readme, "performance", make_summary(runs))


def read_newest(folder: Path = RESULTS) -> dict[str, Result]:
    """Return for each figure the newest result that holds it; the small form's count for none."""
    newest: dict[str, Result] = {}
    for file in sorted(folder.glob("performance-[0-9]*.json")):
        result = json.loads(file.read_text())
        if not result.get("quick"):
            newest |= _hold(result, file.name)
    return newest


def _hold(result: Result, name: str) -> dict[str, Result]:
    named = {**result, "file": name}
    return {figure: named for figure in result["figures"]}  # noqa: C420 -- one result, shared


def make_blocks(runs: Runs) -> dict[str, str]:
    """Return the tables by the name of their block, each with its run."""
    blocks = {"overview": _write_overview(runs), "run": _describe(runs)}
    for name, table in _tables().items():
        blocks[name] = (
            f"{table(runs[name])}\n\n{describe_run(dict(runs[name]))}"
            if name in runs
            else "This figure has no result yet."
        )
    if "served" in runs:
        picture = "![Hybrid search over HTTP in every case](images/performance-questions.png)"
        blocks["served"] = f"{picture}\n\n{blocks['served']}"
    return blocks


def make_table_of(figure: str, result: Result) -> str:
    """Return the table of one figure."""
    return _tables()[figure](result)


def _tables() -> dict[str, Callable[[Result], str]]:
    return {
        "ingest": _ingest_table,
        "cold": _cold_table,
        "questions": _questions_table,
        "served": _served_table,
        "reingest": _reingest_table,
        "memory": _memory_table,
    }


def make_summary(runs: Runs) -> str:
    """Return the README's words and picture: the medians, for better or for worse."""
    names = [
        TITLES[name].replace("Django-shaped", "a Django-shaped baseline")
        for name in _newest(runs)["versions"]
    ]
    compared = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    facts = "; ".join(_find_facts(runs))
    return (
        "![How KaydangPT compares](docs/images/performance.png)\n\n"
        f"Compared with the best of {compared} in each, on the same machine: KaydangPT {facts}."
        f" {_name_runs(runs)}. How that was measured: [Performance](docs/performance.md)."
    )


def _newest(runs: Runs) -> Result:
    return max(runs.values(), key=lambda result: str(result["file"]))


def _name_runs(runs: Runs) -> str:
    """Return which figures are of which day and machine."""
    by_run: dict[str, list[str]] = {}
    for figure, name in _NAMES.items():
        if figure in runs:
            machine = runs[figure]["machine"]
            day = datetime.fromisoformat(machine["date"])
            run = f"{day:%-d %B %Y} ({machine['processor']}, {machine['cores']} cores)"
            by_run.setdefault(run, []).append(name)
    parts = [f"{', '.join(names)} of {run}" for run, names in by_run.items()]
    return f"Measured: {'; '.join(parts)}"


def _write_overview(runs: Runs) -> str:
    picture = "![Ingest, cold start and questions](images/performance.png)"
    facts = "\n".join(f"- {fact}" for fact in _find_facts(runs))
    return (
        f"{picture}\n\nBeside the best of the others in each, KaydangPT\n\n{facts}"
        f"\n\n{_name_runs(runs)}."
    )


def _figure(runs: Runs, name: str) -> list[Any]:
    """Return the rounds of a figure, none where it has no result."""
    return list(runs[name]["figures"][name]) if name in runs else []


def _find_facts(runs: Runs) -> list[str]:
    """Return clauses on the medians, ours to the best peer's."""
    facts = []
    if ratios := _to_best([found["systems"] for found in _figure(runs, "ingest")], _per_second):
        facts.append(f"ingests {_median(ratios)} times as many chunks a second")
    if ratios := _to_best(_figure(runs, "cold"), _cold, most=False):
        facts.append(f"starts {_write_speed(ratios)}")
    served = _figure(runs, "served")
    if ratios := _to_best(_served_rounds(served, "large", 1), _p50, most=False):
        size = f"{runs['served']['corpus']['large_chunks']:,}"
        facts.append(
            f"answers a question over {size} chunks, by hybrid search over HTTP,"
            f" {_write_speed(ratios)}"
        )
    if ratios := _to_best(_served_rounds(served, "large", 16), _per_second):
        facts.append(f"answers {_median(ratios)} times as many questions a second from 16 clients")
    if quality := _best_quality(served):
        facts.append(quality)
    return facts


def _write_speed(ratios: Sequence[float]) -> str:
    """Return the median of our times to theirs, as people say it."""
    ratio = statistics.median(ratios)
    return (
        f"{1 / ratio:.1f} times as fast" if ratio < 0.67 else f"in {100 * ratio:.0f} % of the time"
    )


def draw(runs: Runs, folder: Path) -> None:
    """Draw how ours compares: an overview for the README, and one plot for the latencies."""
    folder.mkdir(parents=True, exist_ok=True)
    panels: list[tuple[str, str, dict[str, float]]] = []
    if ingest := _figure(runs, "ingest"):
        rounds = [found["systems"] for found in ingest]
        panels.append(("Ingest", "chunks/s, more is better", _medians(rounds, _per_second)))
    if cold := _figure(runs, "cold"):
        panels.append(
            ("Cold start", "s to the first answer, less is better", _medians(cold, _cold))
        )
    served = _figure(runs, "served")
    largest = served[-1]["store"] if served else ""
    for clients, reading, title, unit in (
        (1, _p50, "Question, one client", "ms (median), less is better"),
        (16, _per_second, "Questions, 16 clients", "questions/s, more is better"),
    ):
        if rounds := _served_rounds(served, largest, clients):
            size = f", {runs['served']['corpus']['stores'][largest]:,} chunks"
            panels.append((title + size, unit, _medians(rounds, reading)))
    mpl.use("Agg")
    with mpl.rc_context({"font.size": 9, "text.color": _INK, "axes.labelcolor": _INK}):
        if panels:
            figure = Figure(figsize=(10, 2.6 * ((len(panels) + 1) // 2)), layout="constrained")
            axes = figure.subplots((len(panels) + 1) // 2, min(2, len(panels)), squeeze=False)
            for axis in axes.flat:
                axis.set_axis_off()
            for axis, (title, unit, values) in zip(axes.flat, panels, strict=False):
                axis.set_axis_on()
                _bars(axis, title, unit, values)
            figure.savefig(folder / "performance.png", dpi=150)
        if served:
            _draw_latencies(runs["served"], folder / "performance-questions.png")


def _bars(axis: Axes, title: str, unit: str, values: Mapping[str, float]) -> None:
    names = list(values)[::-1]
    bars = axis.barh(
        [TITLES[name] for name in names],
        [values[name] for name in names],
        color=[_OURS_COLOUR if name == OURS else _PEER_COLOUR for name in names],
        height=0.66,
    )
    axis.bar_label(bars, labels=[_number(values[name]) for name in names], padding=4)
    axis.set_title(title, loc="left", fontweight="bold")
    axis.set_xlabel(unit)
    axis.margins(x=0.14)
    _bare(axis)


def _draw_latencies(result: Result, file: Path) -> None:
    """Draw the median and the 95th percentile of every system at every size and load."""
    served = result["figures"]["served"]
    cases = _served_cases(served)
    figure = Figure(figsize=(10, 2.6 * ((len(cases) + 1) // 2)), layout="constrained")
    axes = figure.subplots((len(cases) + 1) // 2, 2, squeeze=False)
    for axis, (store, clients) in zip(axes.flat, cases, strict=False):
        rounds = _served_rounds(served, store, clients)
        medians, tails = _medians(rounds, _p50), _medians(rounds, _p95)
        names = list(medians)[::-1]
        axis.barh(
            [TITLES[name] for name in names],
            [tails[name] for name in names],
            color="#dfe3e8",
            height=0.66,
        )
        axis.barh(
            [TITLES[name] for name in names],
            [medians[name] for name in names],
            color=[_OURS_COLOUR if name == OURS else "#8b95a1" for name in names],
            height=0.4,
        )
        title = _served_title(result, store, clients)
        axis.set_title(title, loc="left", fontweight="bold")
        axis.set_xlabel("ms; dark: the median, light: what 95 % stay below")
        _bare(axis)
    figure.savefig(file, dpi=150)


def _bare(axis: Axes) -> None:
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(left=False)


def _describe(runs: Runs) -> str:
    """Return what was run, newest first, and the packages of the newest run."""
    results: dict[str, Result] = {str(result["file"]): result for result in runs.values()}
    described = []
    for file, result in sorted(results.items(), reverse=True):
        corpus, machine = result["corpus"], result["machine"]
        used = [figure for figure, run in runs.items() if run["file"] == file]
        loads = ", ".join(
            f"{figure} {run['load_average'][0]} to {run['load_average'][1]}"
            for figure, run in result["runs"].items()
            if figure in used
        )
        took = sum(run["seconds"] for run in result["runs"].values()) / 60
        described.append(
            f"{', '.join(used)}: {describe_run(dict(result))} Kernel {machine['kernel']}, Python"
            f" {machine['python']}. {corpus['files']} files, {corpus['megabytes']} MB, digest"
            f" {corpus['digest']}; the larger corpus has {corpus['large_chunks']:,} chunks. The run"
            f" took {took:.0f} minutes. Load average (one minute) before and after each figure:"
            f" {loads}.{_failures(result)}"
        )
    versions = "; ".join(
        f"{TITLES[name]}: " + ", ".join(f"{package} {version}" for package, version in pins.items())
        for name, pins in _newest(runs)["versions"].items()
    )
    return "\n\n".join([*described, f"{versions}."])


def _failures(result: Result) -> str:
    """Name the peers that could not be measured to the end."""
    failed = ", ".join(TITLES[name] for name in result.get("failures", {}))
    return f" Failed and left out from then on: {failed} (the result says why)." if failed else ""


def _ingest_table(result: Result) -> str:
    rounds = result["figures"]["ingest"]
    systems = [found["systems"] for found in rounds]
    best = _best_peers(systems, _per_second, most=True)
    rows: list[Sequence[object]] = []
    for name in systems[0]:
        speeds = [_per_second(found[name]) for found in systems]
        seconds = [found[name]["seconds"] for found in systems]
        ours = [found.get(OURS, found[name]) for found in systems]
        by_chunks = [_per_second(found) / speed for found, speed in zip(ours, speeds, strict=True)]
        by_time = [took / found["seconds"] for found, took in zip(ours, seconds, strict=True)]
        rows.append(
            (
                TITLES[name],
                " + ".join(str(found[name]["chunks"]) for found in systems),
                _number(statistics.median(speeds)),
                _spread(by_chunks),
                _spread(by_time),
                _number(sum(seconds)),
            )
        )
    table = make_table(
        (
            "system",
            "chunks",
            "chunks/s",
            "ours, by chunks/s",
            "ours, by time for the same files",
            "seconds in all",
        ),
        rows,
    )
    shares = _limit_shares(rounds)
    limit = ""
    if shares:
        ways: dict[str, list[float]] = {}
        for found in rounds:
            for way, seconds_alone in found["limit"]["seconds"].items():
                ways.setdefault(way, []).append(found["limit"]["texts"] / seconds_alone)
        described = "; ".join(
            f"{way}: {_number(statistics.median(speeds))} texts/s" for way, speeds in ways.items()
        )
        limit = (
            f"\n\nThe model's runtime alone on the same texts ({described}): ours reaches"
            f" {_spread([100 * share for share in shares], unit=' %')} of the better way."
        )
    fastest = f"\n\nThe best peer is {_named(best)}." if best else ""
    return table + limit + fastest


def _cold_table(result: Result) -> str:
    rounds = result["figures"]["cold"]
    rows: list[Sequence[object]] = []
    for name in rounds[0]:
        for process in rounds[0][name]:
            values = [found[name][process] for found in rounds]
            title = TITLES[name] if process == "process" else f"{TITLES[name]}, {process}"
            ratio = (
                _spread([found[name][process] / _cold(found[OURS]) for found in rounds])
                if OURS in rounds[0] and name != OURS
                else ""
            )
            rows.append((title, f"{statistics.median(values):.2f}", _range(values), ratio))
    return make_table(("process", "seconds", "smallest to largest", "times ours"), rows)


def _questions_table(result: Result) -> str:
    parts = []
    figures = result["figures"]["questions"]
    for large, clients in _cases(figures):
        rounds = _question_rounds(figures, large=large, clients=clients)
        rows: list[Sequence[object]] = [
            (
                TITLES[name],
                _number(statistics.median(_p50(found[name]) for found in rounds)),
                _number(statistics.median(_p95(found[name]) for found in rounds)),
                _number(statistics.median(_per_second(found[name]) for found in rounds)),
                _spread([_p50(found[OURS]) / _p50(found[name]) for found in rounds])
                if OURS in rounds[0]
                else "",
                _spread([_per_second(found[OURS]) / _per_second(found[name]) for found in rounds])
                if OURS in rounds[0]
                else "",
            )
            for name in rounds[0]
        ]
        rows += _inside_rows(rounds)
        header = ("system", "p50 ms", "p95 ms", "questions/s", "our p50 to its", "our q/s to its")
        parts.append(f"**{_case_title(result, large, clients)}**\n\n{make_table(header, rows)}")
    return "\n\n".join(parts)


def _served_table(result: Result) -> str:
    parts = []
    served = result["figures"]["served"]
    for store, clients in _served_cases(served):
        rounds = _served_rounds(served, store, clients)
        quality = _quality(served, store)
        rows: list[Sequence[object]] = [
            (
                TITLES[name],
                _number(statistics.median(_p50(found[name]) for found in rounds)),
                _number(statistics.median(_p95(found[name]) for found in rounds)),
                _number(statistics.median(_per_second(found[name]) for found in rounds)),
                _spread([_p50(found[OURS]) / _p50(found[name]) for found in rounds]),
                _spread([_per_second(found[OURS]) / _per_second(found[name]) for found in rounds]),
                f"{quality[name]:.4f}" if name in quality else "",
            )
            for name in rounds[0]
        ]
        header = (
            "system",
            "p50 ms",
            "p95 ms",
            "questions/s",
            "our p50 to its",
            "our q/s to its",
            "nDCG@10",
        )
        title = _served_title(result, store, clients)
        parts.append(f"**{title}**\n\n{make_table(header, rows)}")
    return "\n\n".join(parts)


def _served_cases(served: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return the stores and numbers of clients, by store."""
    cases = dict.fromkeys((found["store"], found["clients"]) for found in served)
    stores = list(dict.fromkeys(store for store, _ in cases))
    return sorted(cases, key=lambda case: (stores.index(case[0]), case[1]))


def _served_rounds(
    served: Sequence[Mapping[str, Any]], store: str, clients: int
) -> list[Mapping[str, Any]]:
    return [
        found["systems"]
        for found in served
        if found["store"] == store and found["clients"] == clients
    ]


def _served_title(result: Result, store: str, clients: int) -> str:
    asked_by = "one client" if clients == 1 else f"{clients} clients"
    return f"{result['corpus']['stores'][store]:,} chunks, {asked_by}"


def _quality(served: Sequence[Mapping[str, Any]], store: str) -> Mapping[str, float]:
    """Return the nDCG@10 by system: measured once for a store, whatever asks how fast."""
    found = (found.get("ndcg", {}) for found in served if found["store"] == store)
    return next((ndcg for ndcg in found if ndcg), {})


def _best_quality(served: Sequence[Mapping[str, Any]]) -> str:
    """Return a clause on the quality of what ours and the best peer find in the larger store."""
    quality = _quality(served, "large")
    peers = {name: ndcg for name, ndcg in quality.items() if name != OURS}
    if not peers or OURS not in quality:
        return ""
    best = max(peers, key=lambda name: peers[name])
    return (
        f"finds what the labelled questions ask for with an nDCG@10 of {quality[OURS]:.3f}"
        f" ({TITLES[best]}, the best of the others: {peers[best]:.3f})"
    )


def _inside_rows(rounds: Sequence[Mapping[str, Any]]) -> list[Sequence[object]]:
    """Return the row of what ours took inside the service, which is all that peers do."""
    ours = [found[OURS] for found in rounds if "inside_p50_ms" in found.get(OURS, {})]
    if not ours:
        return []
    p50 = statistics.median(found["inside_p50_ms"] for found in ours)
    p95 = statistics.median(found["inside_p95_ms"] for found in ours)
    return [(f"{TITLES[OURS]}, without HTTP", _number(p50), _number(p95), "", "", "")]


def _reingest_table(result: Result) -> str:
    rounds = result["figures"]["reingest"]
    ingests = _ingests_by_part(result)
    rows: list[Sequence[object]] = []
    for name in rounds[0]["systems"]:
        unchanged = [found["systems"][name]["unchanged"] for found in rounds]
        edited = [found["systems"][name]["edited"] for found in rounds]
        first = [ingests.get((found["part"], name)) for found in rounds]
        rows.append(
            (
                TITLES[name],
                _number(statistics.median(step["seconds"] for step in unchanged)),
                _faster(first, unchanged),
                sum(step["embedded"] for step in unchanged),
                _number(statistics.median(step["seconds"] for step in edited)),
                _faster(first, edited),
                sum(step["embedded"] for step in edited),
            )
        )
        renewed = [found["systems"][name].get("renewed") for found in rounds]
        if all(renewed):
            rows.append(
                (
                    f"{TITLES[name]}, every file uploaded again",
                    _number(statistics.median(step["seconds"] for step in renewed)),
                    _faster(first, renewed),
                    sum(step["embedded"] for step in renewed),
                    *("",) * 3,
                )
            )
    header = (
        "system",
        "unchanged, s",
        "faster than ingest",
        "embedded",
        "5 % edited, s",
        "faster than ingest",
        "embedded",
    )
    return make_table(header, rows)


def _memory_table(result: Result) -> str:
    memory = result["figures"]["memory"]
    rows = [
        (
            TITLES[name] if process == "process" else f"{TITLES[name]}, {process}",
            _number(values["peak_rss"]),
            _number(values["pss"]),
            values["processes"],
        )
        for name, processes in memory["processes"].items()
        for process, values in processes.items()
    ]
    table = make_table(("process", "peak RSS of the largest, MB", "PSS of all, MB", "count"), rows)
    if not memory["images"]:
        return table
    images = [
        (name, sizes["packages"], sizes["model"], sizes["code"], sizes["sum"])
        for name, sizes in memory["images"].items()
    ]
    header = ("image", "packages, MB", "model, MB", "our code, MB", "on top of the base image, MB")
    return f"{table}\n\n{make_table(header, images)}"


def _ingests_by_part(result: Result) -> dict[tuple[int, str], float]:
    """Return the seconds of bringing a part in for the first time."""
    rounds = result["figures"].get("ingest", [])
    return {
        (part, name): values["seconds"]
        for part, found in enumerate(rounds)
        for name, values in found["systems"].items()
    }


def _faster(first: Sequence[float | None], steps: Sequence[Mapping[str, float]]) -> str:
    ratios = [
        seconds / step["seconds"]
        for seconds, step in zip(first, steps, strict=True)
        if seconds is not None
    ]
    return _spread(ratios, unit=" x") if ratios else ""


def _limit_shares(rounds: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return ours to the better way to run the model alone, by the texts that were embedded."""
    shares = []
    for found in rounds:
        if "limit" in found and OURS in found["systems"]:
            alone = found["limit"]["texts"] / min(found["limit"]["seconds"].values())
            ours = found["systems"][OURS]
            shares.append(ours["embedded"] / ours["seconds"] / alone)
    return shares


def _to_best(
    rounds: Sequence[Mapping[str, Any]], reading: Reading, *, most: bool = True
) -> list[float]:
    """Return ours to the best peer's value, round by round; "best" is who is best in the median."""
    best = _best_peers(rounds, reading, most=most) if rounds else None
    if best is None or OURS not in rounds[0]:
        return []
    return [reading(found[OURS]) / reading(found[best]) for found in rounds]


def _best_peers(rounds: Sequence[Mapping[str, Any]], reading: Reading, *, most: bool) -> str | None:
    medians = {name: value for name, value in _medians(rounds, reading).items() if name != OURS}
    if not medians:
        return None
    return (max if most else min)(medians, key=lambda name: medians[name])


def _medians(rounds: Sequence[Mapping[str, Any]], reading: Reading) -> dict[str, float]:
    return {
        name: statistics.median(reading(found[name]) for found in rounds)
        for name in TITLES
        if name in rounds[0]
    }


def _question_rounds(
    figures: Sequence[Mapping[str, Any]], *, large: bool, clients: int
) -> list[Mapping[str, Any]]:
    return [
        found["systems"]
        for found in figures
        if found["large"] == large and found["clients"] == clients
    ]


def _cases(figures: Sequence[Mapping[str, Any]]) -> list[tuple[bool, int]]:
    return list(dict.fromkeys((found["large"], found["clients"]) for found in figures))


def _size(result: Result, *, large: bool) -> str:
    """Return how many chunks were searched; ours, of the smaller corpus."""
    if large:
        return f"{result['corpus']['large_chunks']:,}"
    rounds = [found["systems"] for found in result["figures"].get("ingest", [])]
    chunks = sum(found[OURS]["chunks"] for found in rounds if OURS in found)
    return f"{chunks:,}" if chunks else "the corpus's"


def _case_title(result: Result, large: bool, clients: int) -> str:
    asked_by = "one client" if clients == 1 else f"{clients} clients"
    return f"{_size(result, large=large)} chunks, {asked_by}"


def _per_second(values: Mapping[str, Any]) -> float:
    return float(values["per_second"])


def _p50(values: Mapping[str, Any]) -> float:
    return float(values["p50_ms"])


def _p95(values: Mapping[str, Any]) -> float:
    return float(values["p95_ms"])


def _cold(values: Mapping[str, Any]) -> float:
    """Return the start of what answers questions."""
    return float(values.get("query", values.get("process", 0)))


def _named(name: str | None) -> str:
    return TITLES[name] if name else "nobody"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _median(values: Sequence[float]) -> str:
    return _number(statistics.median(values))


def _spread(values: Sequence[float], *, unit: str = "") -> str:
    if len(values) == 1:
        return f"{_number(values[0])}{unit}"
    return f"{_number(statistics.median(values))}{unit} ({_range(values)})"


def _range(values: Sequence[float]) -> str:
    return f"{_number(min(values))} to {_number(max(values))}"


if __name__ == "__main__":
    main()
