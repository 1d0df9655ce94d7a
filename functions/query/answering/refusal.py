"""The sentence that says that the documents do not answer, in the language of the question."""

from __future__ import annotations

import re
from functools import cache

_TEXTS = {
    "en": "The documents do not answer this question.",
    "de": "Die Dokumente beantworten diese Frage nicht.",
    "es": "Los documentos no responden a esta pregunta.",
    "fr": "Les documents ne répondent pas à cette question.",
    "vi": "Các tài liệu không trả lời câu hỏi này.",
}

# Words that a question in the language hardly does without, and the others have not.
_WORDS = {
    "en": "the is are what which who when where how does did was were of in to and why many much",
    "de": "der die das ist sind was welche welcher wer wann wo wie warum wurde war und ein wird",
    "es": "el la los las es son qué cuál cuáles quién cuándo dónde cómo cuántos fue por del y en",
    "fr": "le la les est sont que quel quelle quels qui quand où comment combien des du et",
    "vi": "là gì của và ai khi nào ở đâu thế bao nhiêu những các được có trong người",
}


@cache
def _word_sets() -> dict[str, frozenset[str]]:
    return {language: frozenset(words.split()) for language, words in _WORDS.items()}


def refusal_text(question: str) -> str:
    """Return the sentence in the language that *question* looks most like; English else."""
    words = re.findall(r"\w+", question.casefold())
    counts = {
        language: sum(word in known for word in words) for language, known in _word_sets().items()
    }
    best = max(counts, key=lambda language: counts[language])
    return _TEXTS[best if counts[best] else "en"]
