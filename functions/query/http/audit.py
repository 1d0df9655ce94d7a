"""
The audit log: one line for each request, with caller, ids and status, never text.

The member "ocsf" of a line follows the class API Activity of the Open Cybersecurity Schema
Framework (https://schema.ocsf.io/classes/api_activity), so that a SIEM can take it as it is.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from uuid import UUID

from flask import g, request

from shared.runtime.logs import get_logger
from shared.version import VERSION

from .callers import NOBODY, Caller

_CLASS, _CATEGORY = 6003, 6
_CREATE, _READ, _UPDATE, _DELETE = 1, 2, 3, 4
_SUCCESS, _FAILURE = 1, 2
_INFORMATIONAL = 1
# What shows or changes the content of documents; lists and counts show none.
_ACTIVITIES = {
    "query": _READ,
    "retrieve": _READ,
    "chat_completion": _READ,
    "mcp": _READ,
    "show_document": _READ,
    "show_text": _READ,
    "show_marks": _READ,
    "link_original": _READ,
    "original": _READ,
    "list_document_tables": _READ,
    "query_table": _READ,
    "upload_document": _CREATE,
    "retry_document": _UPDATE,
    "delete_document": _DELETE,
}

logger = get_logger(__name__)


def note_documents(ids: Iterable[UUID]) -> None:
    """Record documents that this request reads or asks for."""
    g.setdefault("audited_documents", {}).update(dict.fromkeys(map(str, ids)))


def note_link(token: str) -> None:
    """Record a link to an original, so that its uses can be traced to this request."""
    g.audited_link = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()[:32]


def write_audit_line(status: int) -> None:
    """Write the line of this request, if it is audited."""
    activity = _ACTIVITIES.get(request.endpoint or "")
    if activity is None or request.method == "OPTIONS":
        return
    caller: Caller = g.get("caller", NOBODY)
    route = request.url_rule.rule if request.url_rule else ""
    link = {"request": {"uid": g.audited_link}} if "audited_link" in g else {}
    logger.info(
        "audit",
        ocsf={
            "metadata": {
                "version": "1.6.0",
                "product": {"name": "KaydangPT", "vendor_name": "KaydangPT", "version": VERSION},
            },
            "class_uid": _CLASS,
            "category_uid": _CATEGORY,
            "activity_id": activity,
            "type_uid": _CLASS * 100 + activity,
            "severity_id": _INFORMATIONAL,
            "time": int(time.time() * 1000),
            "actor": {"user": _describe(caller)},
            "api": {"operation": f"{request.method} {route}"} | link,
            "resources": [
                {"type": "document", "uid": document} for document in g.get("audited_documents", ())
            ],
            "status_id": _SUCCESS if status < 400 else _FAILURE,
            "status_code": str(status),
        },
    )


def _describe(caller: Caller) -> dict[str, str]:
    """Return the caller's subject and, where it has one, the name of its key or its address."""
    user = {"uid": caller.subject or "anonymous"}
    kinds = [principal.partition(":") for principal in caller.principals]
    names = [name for kind, _, name in kinds if kind == "email"]
    # A key without a name has only its digest, which the subject says.
    names += [name for kind, _, name in kinds if kind == "key" and f"key {name}" != caller.subject]
    return user | ({"name": names[0]} if names else {})
