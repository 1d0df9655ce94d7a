"""The benchmark of vectors that are nearly alike, in its small form: that it measures."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.corpus import turn_copies
from benchmarks.near_duplicates import BREADTHS, load, measure, write_table
from shared.store import Connection


def test_near_duplicates_when_few(connection: Connection) -> None:
    """Each breadth has its row, and the widest search of so few vectors misses no best one."""
    own, asked = np.random.default_rng(1).normal(size=(2, 20, 384)).astype(np.float32)
    vectors = turn_copies(own, chunks=400)
    load(connection, vectors)
    rows = list(
        measure(
            connection,
            vectors,
            turn_copies(asked, chunks=20),
            cpu_seconds=time.process_time,
            graphs=[(16, 200)],
        )
    )
    assert [row["ef_search"] for row in rows] == list(BREADTHS)
    # The column rounds to half precision: two copies may change places.
    assert rows[-1]["recall_at_10"] > 0.9
    assert rows[-1]["best_missed"] == 0.0
    machine = {"date": "2026", "processor": "", "cores": 1, "memory_gb": 1, "revision": ""}
    result = {"machine": machine | {"load_average": [0.0]}, "file": "a.json", "rows": rows}
    assert "| 16 | 200 | 400 |" in write_table(
        result | {"chunks": 400, "sources": 20, "questions": 20}
    )


def test_copies_when_turned() -> None:
    """The first rows are the chunks themselves, the others near them and of unit length."""
    own = np.eye(3, 16, dtype=np.float32)
    copies = turn_copies(own, chunks=9)
    assert np.array_equal(copies[:3], own)
    assert np.allclose(np.linalg.norm(copies, axis=1), 1, atol=1e-6)
    assert 0.9 < (copies[3:6] * own).sum(axis=1).min() < 1
