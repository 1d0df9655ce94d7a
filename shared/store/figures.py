"""Descriptions of pictures, kept with the build that asked for them."""

from __future__ import annotations

from dataclasses import dataclass

from shared.store.connection import Connection


@dataclass(frozen=True, slots=True)
class KeptDescription:
    """
    What a model said of a picture.

    Attributes:
        text: Empty if the picture is a decoration.
        refused: The model gives no description of it.
    """

    text: str
    refused: bool


def find_description(
    connection: Connection, *, build_id: int, picture: bytes, model: str
) -> KeptDescription | None:
    """
    Return what *model* said of a picture, None if it was not asked.

    Only documents with the collection and the readers of this build's are looked at: what it cost
    must not tell that another, closed one has the picture.

    Args:
        picture: SHA-256 of the picture and its caption.
    """
    row = connection.execute(
        """
        SELECT figures.description, figures.refused
        FROM builds AS asking
        JOIN builds AS known ON known.collection = asking.collection
            AND readers_of(known.metadata) IS NOT DISTINCT FROM readers_of(asking.metadata)
        JOIN figures ON figures.build_id = known.id
        WHERE asking.id = %(build_id)s
            AND figures.picture = %(picture)s
            AND figures.model = %(model)s
        LIMIT 1
        """,
        {"build_id": build_id, "picture": picture, "model": model},
    ).fetchone()
    return None if row is None else KeptDescription(*row)


def keep_description(
    connection: Connection,
    description: KeptDescription,
    *,
    build_id: int,
    picture: bytes,
    model: str,
) -> None:
    """Keep what *model* said of a picture for as long as the build lives; it may be gone."""
    connection.execute(
        """
        INSERT INTO figures (build_id, picture, model, description, refused)
        SELECT id, %(picture)s, %(model)s, %(description)s, %(refused)s
        FROM builds
        WHERE id = %(build_id)s
        ON CONFLICT DO NOTHING
        """,
        {
            "build_id": build_id,
            "picture": picture,
            "model": model,
            "description": description.text,
            "refused": description.refused,
        },
    )
