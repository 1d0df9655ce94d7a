"""
The tree of errors, and with it the one decision of the event path: again or never.

    KaydangError
    ├── Transient                  another try may help: refuse the message, it comes again
    │   ├── ModelSwitched          another embedding model answers than a moment ago
    │   ├── DatabaseUnavailable    no connection, a lock timeout, a restart, missing tables
    │   ├── StorageUnavailable     Cloud Storage answered 429 or 5xx, or not at all
    │   ├── PublishFailed          Pub/Sub did not take a message
    │   ├── KeysUnavailable        the issuer of identity tokens does not give its keys
    │   ├── ParserDied             the parser child was killed, and not by its own limits
    │   ├── EmbeddingUnavailable   Gemini made no vectors, or takes no more requests just now
    │   └── GenerationUnavailable  Gemini did not answer in time, or not with a whole answer
    │       └── TriesExhausted     it failed each time that it was asked
    ├── Permanent                  no try will ever help: record the reason, acknowledge
    │   ├── Malformed              a message that is no event of ours
    │   ├── Unreadable             a document that cannot be indexed; the reason is for its owner
    │   ├── RejectedByModel        Gemini refuses a text
    │   └── RejectedByDatabase     the data does not fit its column (dimension, NUL byte, ...)
    ├── Misconfigured              settings, model and database do not fit together: for an operator
    │   └── ModelUnavailable       MODEL_DIR holds no complete exported model
    ├── ExportError                the model cannot be exported, or the result is not good enough
    ├── TokenRefused               an identity token proves nothing here
    ├── NotPermitted               an account may not do something to the bucket: for an operator
    ├── FileChanged                a file is written to while it is uploaded
    ├── ObjectChanged              the live generation is not the one that was seen
    └── ObjectGone                 the generation is no longer in the bucket: a fact, not a fault
"""

from __future__ import annotations


class KaydangError(Exception):
    """The root of all errors raised here."""


class Transient(KaydangError):
    """Another try may help."""


class DatabaseUnavailable(Transient):
    """The database cannot be reached, or did not answer in time."""


class ModelSwitched(Transient):
    """The question was embedded with a model that has ceased to answer."""


class StorageUnavailable(Transient):
    """Cloud Storage cannot be reached, or asks to come back later."""


class PublishFailed(Transient):
    """Pub/Sub did not accept a message."""


class KeysUnavailable(Transient):
    """The keys with which identity tokens are checked cannot be fetched."""


class ParserDied(Transient):
    """The parser child ended without a result, and not by one of its own limits."""


class GenerationUnavailable(Transient):
    """
    The model gave no whole answer.

    Attributes:
        code: timeout, rate_limited, quota_exhausted, unavailable, blocked, empty, cut_off, budget,
            circuit_open or rejected.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class EmbeddingUnavailable(Transient):
    """An embedding model that Google runs made no vectors, or not in time."""


class RankingUnavailable(Transient):
    """A reranker gave no scores, or not in time."""


class TriesExhausted(GenerationUnavailable):
    """The service failed each time that it was asked, until tries or time were used up."""


class Permanent(KaydangError):
    """
    No further try can help.

    Attributes:
        code: One of the reason codes in docs/api.md.
        message: A sentence that the owner of the document can act on; no document text.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Malformed(Permanent):
    """A message is no event of ours."""

    def __init__(self, message: str) -> None:
        super().__init__("malformed", message)


class Unreadable(Permanent):
    """A document cannot be indexed as it is."""


class RejectedByDatabase(Permanent):
    """The database rejects a value: no retry will make it fit."""

    def __init__(self, message: str) -> None:
        super().__init__("rejected_by_database", message)


class RejectedByModel(Permanent):
    """An embedding model that Google runs refuses a text: it will refuse it again."""

    def __init__(self, message: str) -> None:
        super().__init__("rejected_by_model", message)


class Misconfigured(KaydangError):
    """Settings, model and database do not fit together."""


class ModelUnavailable(Misconfigured):
    """MODEL_DIR holds no complete exported model: a fault of this instance, not of a document."""


class ExportError(KaydangError):
    """A model cannot be exported, or the result is not good enough."""


class TokenRefused(KaydangError):
    """
    An identity token is invalid, or its bearer lacks the required access.

    Attributes:
        forbidden: Whether the token is valid and its bearer lacks access.
    """

    def __init__(self, message: str, *, forbidden: bool = False) -> None:
        super().__init__(message)
        self.forbidden = forbidden


class NotPermitted(KaydangError):
    """This account may not do that; the message is the permission that it lacks."""


class FileChanged(KaydangError):
    """A file changed while it was uploaded."""


class ObjectChanged(KaydangError):
    """The live generation of an object is no longer the one that was seen."""


class ObjectGone(KaydangError):
    """The generation asked for is no longer in the bucket."""


def describe(error: Exception) -> str:
    """Return what a log and a document's status may say of *error*: never text of a document."""
    known = isinstance(error, KaydangError)
    return f"{type(error).__name__}: {error}" if known else type(error).__name__
