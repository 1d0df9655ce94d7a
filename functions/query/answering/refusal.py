"""The sentences that say that the documents do not answer, in the language of the question."""

from __future__ import annotations

from collections.abc import Sequence

from .query import Refusal
from .sanitizer import quote_line

_NOT_ANSWERED = {
    "en": "The documents do not answer this question.",
    "de": "Die Dokumente beantworten diese Frage nicht.",
    "es": "Los documentos no responden a esta pregunta.",
    "fr": "Les documents ne répondent pas à cette question.",
    "it": "I documenti non rispondono a questa domanda.",
    "pt": "Os documentos não respondem a esta pergunta.",
    "vi": "Các tài liệu không trả lời câu hỏi này.",
}
# The embedding model knows one language: what others say was found by its names alone, if at all.
_NOT_IN_THIS_LANGUAGE = {
    "en": "No document in English answers this question. The passages found in other languages"
    " are shown.",
    "de": "Kein Dokument auf Deutsch beantwortet diese Frage. Die Fundstellen in anderen Sprachen"
    " werden angezeigt.",
    "es": "Ningún documento en español responde a esta pregunta. Se muestran los pasajes hallados"
    " en otros idiomas.",
    "fr": "Aucun document en français ne répond à cette question. Les passages trouvés dans"
    " d'autres langues sont affichés.",
    "it": "Nessun documento in italiano risponde a questa domanda. Sono mostrati i passaggi trovati"
    " in altre lingue.",
    "pt": "Nenhum documento em português responde a esta pergunta. São mostrados os trechos"
    " encontrados em outras línguas.",
    "vi": "Không có tài liệu tiếng Việt nào trả lời câu hỏi này. Các đoạn tìm thấy bằng ngôn ngữ"
    " khác được hiển thị.",
}
_MISSING = {
    "en": "{names} does not occur in these documents.",
    "de": "{names} kommt in diesen Dokumenten nicht vor.",
    "es": "{names} no aparece en estos documentos.",
    "fr": "{names} ne figure pas dans ces documents.",
    "it": "{names} non compare in questi documenti.",
    "pt": "{names} não aparece nestes documentos.",
    "vi": "{names} không có trong các tài liệu này.",
}
_WORDS_MISSING = {
    "en": "None of them holds: {names}.",
    "de": "In keinem davon steht: {names}.",
    "es": "Ninguno contiene: {names}.",
    "fr": "Aucun ne contient : {names}.",
    "it": "Nessuno contiene: {names}.",
    "pt": "Nenhum contém: {names}.",
    "vi": "Không tài liệu nào có: {names}.",
}
_NEAR = {
    "en": "Similar: {names}.",
    "de": "Ähnlich: {names}.",
    "es": "Parecidos: {names}.",
    "fr": "Proches : {names}.",
    "it": "Simili: {names}.",
    "pt": "Parecidos: {names}.",
    "vi": "Gần giống: {names}.",
}
_NOTHING_ASKED = {
    "en": "Ask a question about the documents.",
    "de": "Stellen Sie eine Frage zu den Dokumenten.",
    "es": "Haga una pregunta sobre los documentos.",
    "fr": "Posez une question sur les documents.",
    "it": "Fai una domanda sui documenti.",
    "pt": "Faça uma pergunta sobre os documentos.",
    "vi": "Hãy đặt câu hỏi về các tài liệu.",
}


def refusal_text(
    languages: Sequence[str],
    refusal: Refusal | None = None,
    *,
    passages_in_others: bool = False,
) -> str:
    """
    Return the answer to a refused question, in the first known of *languages*, else in English.

    Args:
        languages: ISO 639-1 codes of the languages that the question may be in, likeliest first.
        refusal: Why; it may name what is missing.
        passages_in_others: Some of the passages are in another language, which the model that
            found them does not know.
    """
    known = [language for language in languages if language in _NOT_ANSWERED]
    language = known[0] if known else "en"
    if refusal is None:
        refusal = Refusal("not_found", "")
    if refusal.kind == "nothing_asked":
        return _NOTHING_ASKED[language]
    sentences = []
    if refusal.kind == "not_found":
        if known and passages_in_others:
            return _NOT_IN_THIS_LANGUAGE[language]
        sentences.append(_NOT_ANSWERED[language])
    if refusal.missing:
        said = _WORDS_MISSING if refusal.kind == "not_found" else _MISSING
        sentences.append(said[language].format(names=_join(refusal.missing)))
    if refusal.near:
        sentences.append(_NEAR[language].format(names=_join(refusal.near)))
    return " ".join(sentences)


def _join(names: Sequence[str]) -> str:
    return ", ".join(quote_line(name) for name in names)
