"""
Roles, grants and policies: recorded when they are made, restored where they are missing.

A dump contains no roles, and pg_restore drops every grant and policy that names a role missing on
the new server, although the migrations count as applied.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from shared.errors import Misconfigured
from shared.store.connection import Connection

_ROLES = ("kaydang_worker", "kaydang_query")
_OWNER = "{owner}"

# Every right that the migrations gave, as the statement that gives it. The owner of a restored
# table may have another name, so its policy names a place instead.
_RIGHTS = r"""
WITH roles AS (
    SELECT oid, rolname FROM pg_roles WHERE rolname = ANY (%(roles)s)
),
relations AS (
    SELECT pg_class.oid, format('%%I.%%I', nspname, relname) AS name, relkind, relacl, relowner
    FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = current_schema() AND relkind IN ('r', 'p', 'v', 'S')
),
functions AS (
    SELECT pg_proc.oid, pg_proc.oid::regprocedure AS name, proacl
    FROM pg_proc
    WHERE pronamespace = current_schema()::regnamespace
        AND NOT EXISTS (
            SELECT FROM pg_depend
            WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e'
        )
)
SELECT format(
           'GRANT %%s ON %%s %%s TO %%I',
           privilege_type,
           CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
           relations.name,
           rolname
       )
FROM relations
CROSS JOIN aclexplode(relacl) AS granted
JOIN roles ON roles.oid = granted.grantee
UNION
SELECT format('GRANT %%s (%%I) ON TABLE %%s TO %%I', privilege_type, attname, name, rolname)
FROM relations
JOIN pg_attribute ON attrelid = relations.oid AND attnum > 0 AND NOT attisdropped
CROSS JOIN aclexplode(attacl) AS granted
JOIN roles ON roles.oid = granted.grantee
UNION
SELECT format('GRANT EXECUTE ON FUNCTION %%s TO %%I', name, rolname)
FROM functions
CROSS JOIN aclexplode(proacl) AS granted
JOIN roles ON roles.oid = granted.grantee
UNION
SELECT format('REVOKE EXECUTE ON FUNCTION %%s FROM PUBLIC', name)
FROM functions
WHERE proacl IS NOT NULL
    AND NOT EXISTS (SELECT FROM aclexplode(proacl) AS granted WHERE granted.grantee = 0)
UNION
SELECT format(
           'CREATE POLICY %%I ON %%I.%%I AS %%s FOR %%s TO %%s%%s%%s',
           policyname,
           schemaname,
           tablename,
           permissive,
           cmd,
           CASE
               WHEN roles = ARRAY[pg_get_userbyid(relowner)] THEN %(owner)s
               ELSE (SELECT string_agg(format('%%I', role), ', ') FROM unnest(roles) AS role)
           END,
           ' USING (' || qual || ')',
           ' WITH CHECK (' || with_check || ')'
       )
FROM pg_policies
JOIN relations ON relations.oid = format('%%I.%%I', schemaname, tablename)::regclass
"""


def make_roles(connection: Connection) -> None:
    """
    Make the group roles where they are missing.

    Raises:
        Misconfigured: They are, and this login may not make them.
    """
    rows = connection.execute(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [list(_ROLES)]
    ).fetchall()
    for role in sorted(set(_ROLES) - {row[0] for row in rows}):
        try:
            connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
        except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
            continue  # another database's migration made it at the same moment
        except psycopg.errors.InsufficientPrivilege as error:
            raise Misconfigured(
                f"the role {role} is missing, and this login may not create roles. Ask an"
                " administrator of the server to run infra/database_roles.sql, then migrate again"
            ) from error


def repair_rights(connection: Connection) -> int:
    """Give every recorded right that is missing; return how many were."""
    if connection.execute("SELECT to_regclass('rights')").fetchone() == (None,):
        return 0
    recorded = {row[0] for row in connection.execute("SELECT statement FROM rights").fetchall()}
    missing = sorted(recorded - _read_rights(connection))
    owner = sql.Identifier(connection.info.user).as_string()
    row = connection.execute("SELECT current_user").fetchone()
    if row is not None:
        owner = sql.Identifier(row[0]).as_string()
    with connection.transaction():
        for statement in missing:
            connection.execute(statement.replace(_OWNER, owner).encode())
    return len(missing)


def record_rights(connection: Connection) -> None:
    """Record the rights as they are, for a restore on another server."""
    with connection.transaction():
        connection.execute("CREATE TABLE IF NOT EXISTS rights (statement text PRIMARY KEY)")
        connection.execute("DELETE FROM rights")
        connection.cursor().executemany(
            "INSERT INTO rights (statement) VALUES (%s)",
            [(statement,) for statement in sorted(_read_rights(connection))],
        )


def _read_rights(connection: Connection) -> set[str]:
    rows = connection.execute(_RIGHTS, {"roles": list(_ROLES), "owner": _OWNER}).fetchall()
    return {row[0] for row in rows}


def adapt_search_path(connection: Connection) -> str | None:
    """
    Add pgvector's schema to the search path of the database and its functions if needed.

    Returns:
        That schema, None if there was nothing to do.

    Raises:
        Misconfigured: The tables would be made in another schema than public.
    """
    row = connection.execute(
        """
        SELECT current_schema(),
               (SELECT nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid =
                extnamespace WHERE extname = 'vector'),
               to_regtype('vector') IS NOT NULL
        """
    ).fetchone()
    schema, extension_schema, visible = row if row is not None else (None, None, False)
    if schema != "public":
        raise Misconfigured(
            f"the schema {schema or 'public'} comes first in this login's search_path, but the"
            " tables are created in public. Remove it (ALTER ROLE ... RESET search_path), or grant"
            " the login CREATE on public. To keep the tables apart, use a database of their own"
        )
    if extension_schema in (None, "public", "pg_catalog"):
        return None
    path = sql.SQL("public, {}").format(sql.Identifier(extension_schema))
    if not visible:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET search_path = {}").format(
                sql.Identifier(connection.info.dbname), path
            )
        )
        connection.execute(sql.SQL("SET search_path = {}").format(path))
    return str(extension_schema)


def extend_functions(connection: Connection, extension_schema: str) -> None:
    """Let the functions that fix their search_path find pgvector in *extension_schema*."""
    rows = connection.execute(
        """
        SELECT pg_proc.oid::regprocedure::text
        FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
            AND proconfig @> ARRAY['search_path=pg_catalog, public, pg_temp']
        """
    ).fetchall()
    for (name,) in rows:
        connection.execute(
            sql.SQL("ALTER FUNCTION {} SET search_path = pg_catalog, public, {}, pg_temp").format(
                sql.SQL(name), sql.Identifier(extension_schema)
            )
        )
