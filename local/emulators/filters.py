"""
Read the filter language of Pub/Sub subscriptions.

https://cloud.google.com/pubsub/docs/subscription-message-filter#filtering_syntax
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Predicate = Callable[[Mapping[str, str]], bool]

# The service's own bound: "The maximum length of a filter is 256 bytes".
MAX_FILTER_BYTES = 256

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<word>[A-Za-z_][A-Za-z0-9_/-]*)
      | (?P<symbol>!=|[=:.,()\-])
    )""",
    re.VERBOSE,
)


class InvalidFilter(ValueError):
    """The text is not an expression of the filter language."""


def parse_filter(text: str) -> Predicate:
    """
    Return the predicate over a message's attributes that *text* describes.

    Raises:
        InvalidFilter: The text is too long or breaks the grammar.
    """
    if len(text.encode()) > MAX_FILTER_BYTES:
        raise InvalidFilter(f"the filter is longer than {MAX_FILTER_BYTES} bytes")
    if not text.strip():
        return lambda _: True
    reader = _Reader(text)
    predicate = reader.expression()
    reader.expect_end()
    return predicate


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        self._next = 0
        position = 0
        end = len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                raise InvalidFilter(f"unexpected {text[position:].strip()[:10]!r} in {text!r}")
            self._tokens.append(match.group().strip())
            position = match.end()

    def expression(self) -> Predicate:
        terms = [self._term()]
        operator = ""
        while self._peek() in ("AND", "OR"):
            following = self._take()
            if operator and following != operator:
                raise self._error("AND and OR side by side need parentheses")
            operator = following
            terms.append(self._term())
        if operator == "OR":
            return lambda attributes: any(term(attributes) for term in terms)
        return lambda attributes: all(term(attributes) for term in terms)

    def expect_end(self) -> None:
        if self._peek():
            raise self._error(f"unexpected {self._peek()!r}")

    def _term(self) -> Predicate:
        if self._peek() in ("NOT", "-"):
            self._take()
            negated = self._term()
            return lambda attributes: not negated(attributes)
        if self._peek() == "(":
            self._take()
            inner = self.expression()
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Predicate:
        if self._peek() == "hasPrefix":
            self._take()
            self._expect("(")
            self._expect("attributes")
            self._expect(".")
            key = self._key()
            self._expect(",")
            prefix = self._string()
            self._expect(")")
            return lambda attributes: key in attributes and attributes[key].startswith(prefix)
        self._expect("attributes")
        if self._peek() == ":":
            self._take()
            key = self._key()
            return lambda attributes: key in attributes
        self._expect(".")
        key = self._key()
        operator = self._take()
        if operator not in ("=", "!="):
            raise self._error(f"= or != must follow {key!r}")
        value = self._string()
        if operator == "=":
            return lambda attributes: attributes.get(key) == value
        return lambda attributes: attributes.get(key) != value

    def _key(self) -> str:
        token = self._take()
        if token.startswith('"'):
            return _unquote(token)
        if not re.match(r"[A-Za-z_]", token):
            raise self._error("an attribute's key is missing")
        return token

    def _string(self) -> str:
        token = self._take()
        if not token.startswith('"'):
            raise self._error("a value stands in double quotes")
        return _unquote(token)

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _expect(self, token: str) -> None:
        if self._take() != token:
            raise self._error(f"{token!r} is missing")

    def _error(self, reason: str) -> InvalidFilter:
        return InvalidFilter(f"{reason} in the filter {self._text!r}")


def _unquote(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1])
