"""Why there is no connection, in a sentence an operator can act on; never with a password in it."""

from __future__ import annotations

import re

import psycopg

# What libpq or the server says, and what to do about it. {0} is the pattern's group.
_ADVICE = (
    (
        r"password authentication failed for user (\"[^\"]*\")",
        "password authentication failed for user {0}. Set the right password in DATABASE_URL.",
    ),
    (
        r"role (\"[^\"]*\") does not exist",
        "the role {0} does not exist. Set a login of this server in DATABASE_URL.",
    ),
    (
        r"role (\"[^\"]*\") is not permitted to log in",
        "the role {0} is not permitted to log in. Set a login of this server in DATABASE_URL.",
    ),
    (
        r"database (\"[^\"]*\") does not exist",
        "the database {0} does not exist. Create it, or set another in DATABASE_URL.",
    ),
    (
        r"(permission denied for database \"[^\"]*\")",
        "{0}. Grant the login CONNECT on it.",
    ),
    (
        r"(server does not support SSL)",
        "{0}, and DATABASE_URL requires it. Enable SSL on the server, or change sslmode.",
    ),
    (
        r"(no pg_hba\.conf entry for [^\n]*)",
        "the server takes no such connection: {0}. Add an entry, or set sslmode=require.",
    ),
    (
        r"(root certificate file [^\n]* does not exist|certificate verify failed)",
        "the server's SSL certificate cannot be checked: {0}. Set sslrootcert in DATABASE_URL.",
    ),
    (
        r"(server certificate for [^\n]* does not match host name [^\n]*)",
        "{0}. Use the name in the certificate, or sslmode=verify-ca.",
    ),
    (
        r"(SSL error: [^\n]*|sslmode value [^\n]* invalid[^\n]*)",
        "{0}. See sslmode in DATABASE_URL.",
    ),
    (
        r"port (\d+) failed: Connection refused",
        (
            "connection refused: nothing listens at port {0}. Start the server, or set the right"
            " host and port in DATABASE_URL."
        ),
    ),
    (
        # Either may be a part of a password that holds a sign of URLs.
        r"(invalid port number|for connection option \"port\"|resolve host '[^']*@)",
        (
            "DATABASE_URL has no host and port where they belong. Write @, /, # and ? in its"
            " password as %40, %2F, %23 and %3F."
        ),
    ),
    (
        r"invalid (\w+) value: ",
        "DATABASE_URL gives {0} a value that PostgreSQL's client does not know.",
    ),
    (
        r"(could not translate host name [^\n:]*|failed to resolve host '[^']*')",
        "{0}. Set the right host in DATABASE_URL.",
    ),
    (
        r"(timeout expired|Connection timed out|No route to host|Network is unreachable)",
        "{0}: the server cannot be reached. Is a firewall between, or the host wrong?",
    ),
    (
        r"(unsupported startup parameter: [^\n]*)",
        "{0}. This is a pooler: let it pass, for PgBouncer by ignore_startup_parameters = options.",
    ),
    (
        r"(too many clients already|remaining connection slots [^\n]*|too many connections [^\n]*)",
        "{0}. Raise max_connections, or lower DATABASE_POOL_SIZE or the number of instances.",
    ),
    (
        r"(the database system is [^\n]*)",
        "{0}. Try again in a moment.",
    ),
)


def describe_connection_fault(error: psycopg.Error) -> str:
    """Return why *error* kept a connection from being made."""
    said = str(error)
    for pattern, advice in _ADVICE:
        if found := re.search(pattern, said):
            return advice.format(found[1])
    if isinstance(error, psycopg.ProgrammingError):
        # libpq quotes the whole string, password and all.
        return "DATABASE_URL is not a connection string that PostgreSQL's client can read."
    # "connection failed: connection to server at HOST, port N failed: FATAL: what the server said"
    last = said.strip().splitlines()[-1] if said.strip() else "no connection"
    return f"{type(error).__name__}: {last.rpartition('FATAL:')[2].strip()[:300]}"
