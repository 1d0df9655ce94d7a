"""Login roles for the functions: each gets the rights of the group role that is named for it."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo


def ensure_login(owner_url: str, login_url: str, *, group: str) -> None:
    """
    Let the user and password of *login_url* log in with the rights of *group*.

    Raises:
        psycopg.Error: The owner may not make roles, or there is no such group.
    """
    login = conninfo_to_dict(login_url)
    user = sql.Identifier(str(login["user"]))
    password = sql.Literal(str(login["password"]))
    with psycopg.connect(owner_url, autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [login["user"]])
        if known.fetchone() is None:
            with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                connection.execute(sql.SQL("CREATE ROLE {}").format(user))
        connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(user, password))
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), user))


def make_login(owner_url: str, *, group: str) -> str:
    """
    Make a login with the rights of *group* and the owner's password, and return its URL.

    Raises:
        psycopg.Error: As ensure_login().
    """
    user = f"{group}_login"
    if "://" in owner_url:
        parts = urlsplit(owner_url)
        place = parts.netloc.rpartition("@")[2]
        url = urlunsplit(parts._replace(netloc=f"{user}:{parts.password}@{place}"))
    else:
        url = make_conninfo(owner_url, user=user)
    ensure_login(owner_url, url, group=group)
    return url
