"""The HNSW index of the vectors: when it is useful, and how it is built without stopping writes."""

from __future__ import annotations

import math

from psycopg import sql

from shared.store.connection import Connection, fetch_one

# Documents that are nearly alike make islands in a graph of pgvector's default (docs/scaling.md).
HNSW_EF_CONSTRUCTION = 200
_DEFAULT_EF_CONSTRUCTION = 64  # pgvector's own, of an index that names none
# From here on an exact scan of all vectors takes longer than a user notices.
INDEX_USEFUL_CHUNKS = 50_000
# Of the graph in memory while it is built, beside the vector (docs/scaling.md).
_GRAPH_BYTES_A_VECTOR = 700
_LOCK = int.from_bytes(b"vectors")


def create_vector_index(
    connection: Connection, *, from_chunks: int = INDEX_USEFUL_CHUNKS, dry_run: bool = False
) -> str:
    """
    Build the HNSW index of the serving model's vectors where it is useful, without stopping writes.

    An index with older options is replaced; it serves until the new one does.

    Args:
        from_chunks: How many vectors make it useful.
        dry_run: Only say what would be done.

    Returns:
        A sentence that says what was done, or at which size it will be useful.
    """
    model = connection.execute("SELECT id, dimension FROM serving_model").fetchone()
    if model is None:
        return "There is no model yet: nothing to index."
    model_id, dimension = model
    partition = f"embeddings_{model_id}"
    index = f"{partition}_hnsw"
    (count,) = fetch_one(
        connection,
        "SELECT count(*) FROM embeddings WHERE model_id = %(model_id)s",
        {"model_id": model_id},
    )
    if count < from_chunks:
        return (
            f"{count} vectors are compared one by one, exactly and fast enough; "
            f"an index is useful from {from_chunks} on."
        )
    if dry_run:
        valid, ef_construction = _look_at_index(connection, index)
        if valid and ef_construction >= HNSW_EF_CONSTRUCTION:
            return f"The index {index} over {count} vectors is there already."
        verb = "rebuilt" if valid else "built"
        advice = _advise_memory(connection, vectors=count, dimension=dimension)
        return f"The index {index} over {count} vectors would be {verb}.{advice}"
    # For the session: a build goes over several transactions.
    lock = {"lock": _LOCK}
    (mine,) = fetch_one(connection, "SELECT pg_try_advisory_lock(%(lock)s)", lock)
    if not mine:
        return f"The index {index} is being built already."
    try:
        return _build_index(
            connection, index, partition=partition, dimension=dimension, vectors=count
        )
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%(lock)s)", lock)


def _build_index(
    connection: Connection, index: str, *, partition: str, dimension: int, vectors: int
) -> str:
    new, old = f"{index}_new", f"{index}_old"
    # What these wait for goes on beside them: neither readers nor writers stand behind their locks.
    connection.execute("SET statement_timeout = 0")
    connection.execute("SET lock_timeout = 0")
    drop = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}")
    # Of a run that was cut off: each of them is beside the one that serves, or of no use.
    for left in (new, old):
        connection.execute(drop.format(sql.Identifier(left)))
    valid, ef_construction = _look_at_index(connection, index)
    if valid and ef_construction >= HNSW_EF_CONSTRUCTION:
        return f"The index {index} over {vectors} vectors is there already."
    advice = _advise_memory(connection, vectors=vectors, dimension=dimension)
    if valid is False:
        connection.execute(drop.format(sql.Identifier(index)))
    connection.execute(
        sql.SQL(
            """
            CREATE INDEX CONCURRENTLY {index}
            ON {partition}
            USING hnsw ((embedding::halfvec({dimension})) halfvec_cosine_ops)
            WITH (ef_construction = {ef_construction})
            """
        ).format(
            index=sql.Identifier(new if valid else index),
            partition=sql.Identifier(partition),
            dimension=sql.Literal(dimension),
            ef_construction=sql.Literal(HNSW_EF_CONSTRUCTION),
        )
    )
    if not valid:
        return f"The index {index} over {vectors} vectors is built.{advice}"
    rename = sql.SQL("ALTER INDEX {} RENAME TO {}")
    with connection.transaction():
        connection.execute(rename.format(sql.Identifier(index), sql.Identifier(old)))
        connection.execute(rename.format(sql.Identifier(new), sql.Identifier(index)))
    connection.execute(drop.format(sql.Identifier(old)))
    return (
        f"The index {index} over {vectors} vectors is rebuilt: ef_construction was"
        f" {ef_construction}, and is {HNSW_EF_CONSTRUCTION}.{advice}"
    )


def _look_at_index(connection: Connection, index: str) -> tuple[bool | None, int]:
    """Return whether an index is whole, None where there is none, and its ef_construction."""
    row: tuple[bool | None, int] | None = connection.execute(
        """
        SELECT indisvalid,
               coalesce((SELECT option_value::integer
                         FROM pg_options_to_table(reloptions)
                         WHERE option_name = 'ef_construction'), %(default)s)
        FROM pg_index
        JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indexrelid = to_regclass(%(index)s)
        """,
        {"index": index, "default": _DEFAULT_EF_CONSTRUCTION},
    ).fetchone()
    return row or (None, 0)


def _advise_memory(connection: Connection, *, vectors: int, dimension: int) -> str:
    """Return what to say where the graph does not fit into the memory that it is built in."""
    (allowed,) = fetch_one(
        connection, "SELECT pg_size_bytes(current_setting('maintenance_work_mem'))", {}
    )
    needed = vectors * (2 * dimension + _GRAPH_BYTES_A_VECTOR)
    if allowed >= needed:
        return ""
    return (
        f" It would have been quicker with maintenance_work_mem = {math.ceil(needed / 2**20)} MB"
        f" ({allowed // 2**20} MB are set)."
    )
