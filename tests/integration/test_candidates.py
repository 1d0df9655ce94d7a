"""The benchmark of what the text leg scores, in its small form: that it measures."""

from __future__ import annotations

import time

from admin.evaluation import Question
from benchmarks.candidates import RULES, load, measure, write_table
from shared.store import Connection

_COMMON = ["lift", "drag", "wing", "flow", "heat", "plate", "shock", "wave", "layer", "speed"]


def test_candidates_when_common(connection: Connection) -> None:
    """Words that are rare together find the best of all, and fewer chunks are scored for them."""
    texts = [
        f"The {_COMMON[n % 10]} and the {_COMMON[n // 10 % 10]} of item{n}." for n in range(3000)
    ]
    load(connection, [(f"{n}.txt", texts[n : n + 10]) for n in range(0, 3000, 10)])
    asked = [Question("1", "Which wing has drag in a flow like item7?", "en", {"0": 1.0})]
    rows = {
        row["rule"]: row
        for row in measure(connection, {"own": asked}, cpu_seconds=time.process_time)
    }
    assert list(rows) == list(RULES)
    assert rows["shipped"]["ten"] == 1.0
    assert rows["shipped"]["ndcg"] == rows["all"]["ndcg"] > 0
    assert 0 < rows["shipped"]["scored"] < rows["all"]["scored"]
    machine = {"date": "2026", "processor": "", "cores": 1, "memory_gb": 1, "revision": ""}
    result = {"machine": machine | {"load_average": [0.0]}, "file": "a.json", "chunks": 3000}
    assert "| own (1) | shipped |" in write_table(result | {"rows": list(rows.values())})
