"""Which embedding model answers, and where its vectors lie."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from shared.errors import Misconfigured
from shared.store.connection import Connection


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model as the database knows it; equal digests make equal vectors."""

    id: int
    name: str
    dimension: int
    digest: str


def serving_model(connection: Connection) -> RegisteredModel | None:
    """Return the model whose vectors answer, None where none was registered yet."""
    with connection.cursor(row_factory=class_row(RegisteredModel)) as cursor:
        return cursor.execute("SELECT id, name, dimension, digest FROM serving_model").fetchone()


def check_model(connection: Connection, *, name: str, dimension: int, digest: str) -> None:
    """
    Check that this process embeds with the model whose vectors answer.

    Raises:
        Misconfigured: Another model, or none, is registered.
    """
    serving = serving_model(connection)
    if serving is None:
        raise Misconfigured(
            "the database has no embedding model: run python -m shared.migrate with MODEL_DIR set"
        )
    if (serving.dimension, serving.digest) != (dimension, digest):
        raise Misconfigured(
            f"the database holds embeddings of {serving.name} (dimension {serving.dimension},"
            f" digest {serving.digest[:12]}), but MODEL_DIR holds {name} (dimension {dimension},"
            f" digest {digest[:12]}): set MODEL_DIR to that model, or change the model as"
            " docs/operations.md says"
        )


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
