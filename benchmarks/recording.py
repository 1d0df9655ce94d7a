"""Results of the benchmarks as files, and the tables in docs/ that are made of them."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results")


def describe_machine() -> dict[str, Any]:
    """Return what a reader has to know of the machine, how busy it is, and which code ran."""
    processor = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    revision = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "processor": processor[1] if processor else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(memory[1]) / 2**20, 1) if memory else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "revision": revision.stdout.strip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_result(
    kind: str, result: dict[str, Any], *, file: Path | None = None, folder: Path = RESULTS
) -> Path:
    """Write *result* over *file*, or beside the earlier ones of its kind; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    file = file or folder / f"{kind}-{moment}.json"
    file.write_text(json.dumps(result, indent=1) + "\n")
    return file


def publish(
    kind: str,
    result: dict[str, Any],
    *,
    document: Path,
    write_table: Callable[[dict[str, Any]], str],
) -> None:
    """Keep *result*, print its table and put it into *document*."""
    print(write_result(kind, result))
    show_latest(kind, document=document, blocks={kind: write_table})


def show_latest(
    kind: str, *, document: Path, blocks: Mapping[str, Callable[[dict[str, Any]], str]]
) -> dict[str, Any]:
    """Put the newest result's tables into blocks of *document*, print them, return the result."""
    result = read_latest(kind)
    for block, write_table in blocks.items():
        table = write_table(result)
        replace_block(document, block, table)
        print(table)
    return result


def read_latest(kind: str, *, folder: Path = RESULTS) -> dict[str, Any]:
    """Return the newest result of a kind, with its file's name under "file"."""
    files = sorted(folder.glob(f"{kind}-[0-9]*.json"))
    if not files:
        raise FileNotFoundError(f"there is no {kind}-*.json in {folder} yet")
    result: dict[str, Any] = json.loads(files[-1].read_text())
    return {**result, "file": files[-1].name}


def make_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; the first column is text, the others stand to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def describe_run(result: dict[str, Any]) -> str:
    """Return the sentence under a table that says where its figures come from."""
    machine = result["machine"]
    return (
        f"benchmarks/results/{result['file']}: {machine['date'][:16]} UTC, {machine['processor']},"
        f" {machine['cores']} cores, {machine['memory_gb']} GB, load average at the start"
        f" {machine['load_average'][0]}, revision {machine['revision']}."
    )


def replace_block(file: Path, name: str, text: str) -> None:
    """Put *text* between the lines that mark block *name* in a document."""
    begin, end = f"<!-- {name}: made by a command -->", f"<!-- end of {name} -->"
    before, found, rest = file.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{file} has no block {begin} ... {end}")
    file.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}")
