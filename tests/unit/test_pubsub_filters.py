"""The filter language of Pub/Sub subscriptions, as its documentation describes it."""

from __future__ import annotations

import pytest

from local.emulators.filters import InvalidFilter, parse_filter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("attributes:domain", True),
        ("attributes:absent", False),
        ('attributes:"iana.org/language"', True),
        ('attributes.domain = "com"', True),
        ('attributes.domain = "org"', False),
        ('attributes.domain != "org"', True),
        ('attributes.absent != "org"', True),
        ('hasPrefix(attributes.domain, "co")', True),
        ('hasPrefix(attributes.domain, "om")', False),
        ('hasPrefix(attributes.absent, "")', False),
        ("NOT attributes:absent", True),
        ("-attributes:domain", False),
        ('attributes:domain AND attributes."iana.org/language" = "en"', True),
        ("attributes:absent OR attributes:domain", True),
        ("attributes:domain AND (attributes:absent OR NOT attributes:missing)", True),
        ('attributes.quoted = "say \\"hi\\""', True),
    ],
)
def test_filter_decides(text: str, expected: bool) -> None:
    """Each form of the language selects what it says."""
    attributes = {"domain": "com", "iana.org/language": "en", "quoted": 'say "hi"'}
    assert parse_filter(text)(attributes) is expected


@pytest.mark.parametrize(
    "text",
    [
        "domain",
        "attributes",
        "attributes.domain",
        "attributes.domain = com",
        "attributes.domain > 1",
        "attributes:",
        "(attributes:domain",
        "attributes:domain)",
        "attributes:a AND attributes:b OR attributes:c",
        "hasPrefix(attributes.domain)",
        'attributes.domain = "open',
        "NOT",
        'attributes.domain = "' + "x" * 256 + '"',
    ],
)
def test_filter_when_malformed(text: str) -> None:
    """What the service refuses is refused, not ignored."""
    with pytest.raises(InvalidFilter):
        parse_filter(text)
