"""Which embedding model answers, and where its vectors lie."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from shared.errors import Misconfigured
from shared.store.connection import Connection
from shared.values import FillJob, join_embedded_text

NO_MODEL = "the database has no embedding model: run kaydangpt migrate with MODEL_DIR set"
# Held in shared mode while a build is made to answer, exclusively while the model is switched.
_LOCK = int.from_bytes(b"models")


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model as the database knows it; equal digests make equal vectors."""

    id: int
    name: str
    dimension: int
    digest: str


@dataclass(frozen=True, slots=True)
class ModelProgress:
    """
    A registered model and how far it has come.

    Attributes:
        answers: Whether its vectors answer questions now.
        missing: Chunks of what answers that it has not embedded yet.
    """

    id: int
    name: str
    dimension: int
    digest: str
    answers: bool
    missing: int


def serving_model(connection: Connection) -> RegisteredModel | None:
    """Return the model whose vectors answer, None if none was registered yet."""
    with connection.cursor(row_factory=class_row(RegisteredModel)) as cursor:
        return cursor.execute("SELECT id, name, dimension, digest FROM serving_model").fetchone()


def read_fusion(connection: Connection) -> dict[str, Any] | None:
    """Return the fusion weights that were fitted for the model that answers, None if none."""
    row = connection.execute("SELECT fusion FROM serving_model").fetchone()
    return None if row is None else row[0]


def store_fusion(connection: Connection, fusion: Mapping[str, float] | None) -> None:
    """Store fusion weights with the model that answers, or none; needs the owner's rights."""
    connection.execute(
        "UPDATE models SET fusion = %(fusion)s WHERE id = (SELECT id FROM serving_model)",
        {"fusion": None if fusion is None else Jsonb(dict(fusion))},
    )


def check_model(connection: Connection, digests: Collection[str]) -> str:
    """
    Return which of the models that this process has is the one whose vectors answer.

    Raises:
        Misconfigured: None of them is.
    """
    serving = serving_model(connection)
    if serving is None:
        raise Misconfigured(NO_MODEL)
    if serving.digest not in digests:
        known = ", ".join(digest[:12] for digest in digests)
        raise Misconfigured(
            f"the database holds embeddings of {serving.name} (dimension {serving.dimension},"
            f" digest {serving.digest[:12]}), but MODEL_DIR holds a model with digest {known}: set"
            " MODEL_DIR to that model, or change the model as docs/models.md says"
        )
    return serving.digest


def register_model(
    connection: Connection, *, name: str, dimension: int, digest: str
) -> RegisteredModel:
    """
    Make room for a model's vectors, and let it answer where no model does yet.

    Needs the rights of the tables' owner. Doing it twice changes nothing.
    """
    with connection.transaction():
        row = connection.execute(
            """
            INSERT INTO models (name, dimension, digest)
            VALUES (%(name)s, %(dimension)s, %(digest)s)
            ON CONFLICT (digest) DO UPDATE SET name = models.name
            RETURNING id
            """,
            {"name": name, "dimension": dimension, "digest": digest},
        ).fetchone()
        assert row is not None, "INSERT ... DO UPDATE always returns its row"  # noqa: S101
        model_id = row[0]
        partition = sql.Identifier(f"embeddings_{model_id}")
        connection.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} PARTITION OF embeddings"
                " (CHECK (vector_dims(embedding) = {})) FOR VALUES IN ({})"
            ).format(partition, sql.Literal(dimension), sql.Literal(model_id))
        )
        connection.execute(
            "INSERT INTO active_model (model_id) VALUES (%(id)s) ON CONFLICT DO NOTHING",
            {"id": model_id},
        )
        return RegisteredModel(model_id, name, dimension, digest)


def find_model(connection: Connection, model_id: int) -> RegisteredModel | None:
    """Return a registered model, None if it was dropped."""
    with connection.cursor(row_factory=class_row(RegisteredModel)) as cursor:
        return cursor.execute(
            "SELECT id, name, dimension, digest FROM models WHERE id = %(id)s", {"id": model_id}
        ).fetchone()


def list_models(connection: Connection) -> list[ModelProgress]:
    """Return every registered model and how much of what answers it has embedded."""
    with connection.cursor(row_factory=class_row(ModelProgress)) as cursor:
        return cursor.execute(
            """
            SELECT models.id, models.name, models.dimension, models.digest,
                   models.id = (SELECT model_id FROM active_model) AS answers,
                   (
                       SELECT count(*)
                       FROM documents
                       JOIN chunks ON chunks.build_id = documents.active_build
                       WHERE NOT EXISTS (
                           SELECT FROM embeddings
                           WHERE embeddings.build_id = chunks.build_id
                               AND embeddings.ordinal = chunks.ordinal
                               AND embeddings.model_id = models.id
                       )
                   ) AS missing
            FROM models
            ORDER BY models.id
            """
        ).fetchall()


def plan_filling(connection: Connection, *, model_id: int, size: int) -> list[FillJob]:
    """Return the jobs that embed, for a model, all that answers and has no embedding of it yet."""
    rows = connection.execute(
        """
        SELECT chunks.build_id, min(chunks.ordinal), max(chunks.ordinal)
        FROM documents
        JOIN chunks ON chunks.build_id = documents.active_build
        WHERE NOT EXISTS (
            SELECT FROM embeddings
            WHERE embeddings.build_id = chunks.build_id
                AND embeddings.ordinal = chunks.ordinal
                AND embeddings.model_id = %(model_id)s
        )
        GROUP BY chunks.build_id, chunks.ordinal / %(size)s
        ORDER BY chunks.build_id, min(chunks.ordinal)
        """,
        {"model_id": model_id, "size": size},
    ).fetchall()
    return [FillJob(model_id, build_id, first, last) for build_id, first, last in rows]


def read_unfilled(connection: Connection, job: FillJob) -> list[tuple[int, str]]:
    """Return (ordinal, text to embed) of the chunks of *job* that have no embedding yet."""
    rows = connection.execute(
        """
        SELECT ordinal, heading, header, text
        FROM chunks
        WHERE build_id = %(build_id)s
            AND ordinal BETWEEN %(first)s AND %(last)s
            AND NOT EXISTS (
                SELECT FROM embeddings
                WHERE embeddings.build_id = chunks.build_id
                    AND embeddings.ordinal = chunks.ordinal
                    AND embeddings.model_id = %(model_id)s
            )
        ORDER BY ordinal
        """,
        {
            "build_id": job.build_id,
            "first": job.first,
            "last": job.last,
            "model_id": job.model_id,
        },
    ).fetchall()
    return [
        (ordinal, join_embedded_text(heading=heading, header=header, text=text))
        for ordinal, heading, header, text in rows
    ]


def fill(
    connection: Connection,
    job: FillJob,
    ordinals: list[int],
    embeddings: NDArray[np.float32],
) -> None:
    """Store the embeddings of *job*; what another delivery has stored already stays."""
    with connection.transaction():
        connection.cursor().executemany(
            """
            INSERT INTO embeddings (model_id, build_id, ordinal, embedding)
            SELECT %(model_id)s, builds.id, %(ordinal)s, %(embedding)s::halfvec
            FROM builds
            WHERE builds.id = %(build_id)s
            ON CONFLICT DO NOTHING
            """,
            [
                {
                    "model_id": job.model_id,
                    "build_id": job.build_id,
                    "ordinal": ordinal,
                    "embedding": HalfVector(embedding),
                }
                for ordinal, embedding in zip(ordinals, embeddings, strict=True)
            ],
        )


def switch_model(connection: Connection, model_id: int) -> int:
    """
    Let another model answer, if it has embedded all that answers.

    One row changes; documents that are being embedded meanwhile wait for the new model's vectors.

    Returns:
        How many chunks lack its embedding: with any, nothing was changed.
    """
    with connection.transaction():
        lock_serving_model(connection, shared=False)
        missing = next(model for model in list_models(connection) if model.id == model_id).missing
        if not missing:
            connection.execute(
                "UPDATE active_model SET model_id = %(id)s WHERE model_id <> %(id)s",
                {"id": model_id},
            )
        return missing


def drop_model(connection: Connection, model_id: int) -> None:
    """
    Remove a model and its vectors.

    Raises:
        Misconfigured: It is the one that answers.
    """
    with connection.transaction():
        lock_serving_model(connection, shared=False)
        serving = serving_model(connection)
        if serving is not None and serving.id == model_id:
            raise Misconfigured(f"{serving.name} answers now: switch to another model first")
        connection.execute(
            sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(f"embeddings_{model_id}"))
        )
        connection.execute("DELETE FROM models WHERE id = %(id)s", {"id": model_id})


def lock_serving_model(connection: Connection, *, shared: bool) -> None:
    """Keep the model that answers as it is until the end of the transaction, or alone change it."""
    connection.execute(
        "SELECT pg_advisory_xact_lock_shared(%(lock)s)"
        if shared
        else "SELECT pg_advisory_xact_lock(%(lock)s)",
        {"lock": _LOCK},
    )
