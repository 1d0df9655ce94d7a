"""The sentence that says that the documents do not answer, in the language of the question."""

from __future__ import annotations

from collections.abc import Sequence

_TEXTS = {
    "en": "The documents do not answer this question.",
    "de": "Die Dokumente beantworten diese Frage nicht.",
    "es": "Los documentos no responden a esta pregunta.",
    "fr": "Les documents ne répondent pas à cette question.",
    "it": "I documenti non rispondono a questa domanda.",
    "pt": "Os documentos não respondem a esta pergunta.",
    "vi": "Các tài liệu không trả lời câu hỏi này.",
}


def refusal_text(languages: Sequence[str]) -> str:
    """
    Return the sentence in the first of *languages* that there is one for; English else.

    Args:
        languages: ISO 639-1 codes of the languages that the question may be in, likeliest first.
    """
    known = [language for language in languages if language in _TEXTS]
    return _TEXTS[known[0] if known else "en"]
