"""Words that the end of a line parts: which of them keep their hyphen."""

from __future__ import annotations

import re
from collections.abc import Container

# Words that keep their hyphen at the end of a line, where it might also only part a word.
_COMPOUND = re.compile(
    r"(?:(?:well|ill)-(?!ness|ington|ies)\w{4}"
    r"|self-(?!ish|less|same)\w{4}"
    r"|(?:long|short|medium|mid|near)-(?:term|lived|range|standing|lasting|distance|haul)"
    r"|(?:high|low|full|first|second|third|top|entry|mid|sea|ground)-"
    r"(?:level|speed|quality|pressure|voltage|scale|resolution|frequency|performance|density|power"
    r"|cost|income|energy|risk|class|rate|time|size|temperature|end|tech|res|profile|fat)"
    r"|(?:full|part|real|half|run|some|all|one|lead|response|flexi)-time\b"
    r"|(?:up|down|in|out|state|up|day|face|end|step|side|year|month|week|door|word|point)-(?:to|of|by)\b"
    r"|(?:one|two|three|four|five|six|seven|eight|nine|ten|multi|double|single|triple)-"
    r"(?:sided|way|year|day|week|month|hour|page|part|phase|stage|step|storey|wheel|digit|line|fold)"
    r"|(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)-(?:one|two|three|four|five|six|seven"
    r"|eight|nine)\b"
    r"|\w{3,}-(?:based|driven|oriented|specific|friendly|owned|wide\b|free\b|like\b))",
    re.IGNORECASE,
)
_LAST_WORD = re.compile(r"(?<![\w-])[\w-]*$")
_FIRST_WORD = re.compile(r"[\w-]*")
SUSPENDED = re.compile(r"(?:and|or|und|oder|bzw|sowie|et|ou|y|och|og|en|of)\b|[^\w\s]")


def keeps_hyphen(before: str, after: str, compounds: Container[str]) -> bool:
    """Return whether a word keeps the hyphen at the end of a line: well-known, state-of-the-art."""
    first, second = _LAST_WORD.search(before), _FIRST_WORD.match(after)
    if first is None or second is None:
        return False
    word = f"{first.group()}-{second.group()}"
    if word.count("-") > 1 and not word.startswith("-"):
        return True
    return word.lower() in compounds or _COMPOUND.match(word) is not None
