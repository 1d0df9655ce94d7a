"""
Words that ask, and words that only fill, in the languages of the page.

A document that lacks one lacks nothing: "How much does it cost?", "ein paar Wochen".
"""

from __future__ import annotations

from shared.spellings import unmark

_WORDS = (
    # English
    "what which who whom whose when where why how does did do is are was were can could may"
    " might should would will shall must much many few some several any cost costs mean means"
    " tell explain describe show list name give know need want please just also really actually"
    " exactly there"
    # German
    " welche welcher welches welchem welchen wann warum wieso weshalb wie wer wen wem wessen was"
    " wo wohin woher womit wofür worauf viel viele vielen kostet kosten heißt bedeutet nennt"
    " erkläre zeige zeigen nenne nennen gibt geht brauche braucht darf muss soll paar bisschen"
    " etwas mal denn eigentlich genau gerade ungefähr etwa circa bitte gern überhaupt eben halt"
    " lang"
    # Spanish
    " cuánto cuánta cuántos cuántas cuándo dónde adónde cómo cuál cuáles quién quiénes qué"
    " cuesta cuestan costó vale valen significa llama llaman puedo puede debo debe necesito"
    " necesita quiero hay tengo tiene diga dígame explique explica muestre muestra algún alguno"
    " alguna algunos algunas unos unas pocos favor exactamente"
    # French
    " quel quelle quels quelles quand comment combien pourquoi quoi qui où lequel laquelle coûte"
    " coûtent vaut valent signifie appelle puis peux peut dois doit veux veut faut dites"
    " expliquez montrez quelques quelque peu plaît exactement"
    # Italian
    " quanto quanta quanti quante quando dove come quale quali perché chi cosa costa costano"
    " significa chiama posso può devo deve voglio vuole bisogna dimmi spiega spiegare mostra"
    " alcuni alcune qualche poco pochi favore esattamente"
    # Portuguese
    " quantos quantas onde aonde quem qual quais porque custa custam custou chama pode devo"
    " preciso precisa quero diga explique mostre alguns algumas poucos exatamente"
    # Vietnamese
    " bao nhiêu mấy gì nào ai đâu sao thế khi vài xin hãy vui lòng"
    # What measures something: a column says "%" or "€" instead.
    " percentage percent proportion amount price number prozentsatz prozent anteil anzahl betrag"
    " preis porcentaje cantidad importe precio número pourcentage montant prix nombre percentuale"
    " importo prezzo numero percentagem quantia preço"
)
EMPTY_WORDS = frozenset(word for each in _WORDS.split() for word in (each, unmark(each)))
