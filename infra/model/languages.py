"""
What a model makes of translations: whether they are near, and which directions tell languages.

A multilingual model puts a text and its translation near each other, but texts of one language
nearer still, so that a question finds what is written in its own language before what answers it.
The directions in which languages differ are found from sentences of the same meaning, by what their
means differ in, and are taken out of questions (Yang et al. 2021, "A Simple and Effective Method To
Eliminate the Self Language Bias in Multilingual Representations",
https://aclanthology.org/2021.emnlp-main.470/). Documents keep the model's own vectors: a product
with what is left of a question is the same either way.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from shared.embedding.embedder import Embedder

# The same sentences in languages of different families and scripts.
TRANSLATIONS = {
    "en": (
        "The invoice must be paid within thirty days.",
        "The bridge was destroyed by a flood in the winter.",
        "Children under six travel free of charge.",
        "The pump stops when the water gets too hot.",
        "She won the election with a small majority.",
    ),
    "de": (
        "Die Rechnung muss innerhalb von dreißig Tagen bezahlt werden.",
        "Die Brücke wurde im Winter durch ein Hochwasser zerstört.",
        "Kinder unter sechs Jahren fahren kostenlos.",
        "Die Pumpe hält an, wenn das Wasser zu heiß wird.",
        "Sie gewann die Wahl mit knapper Mehrheit.",
    ),
    "es": (
        "La factura debe pagarse en un plazo de treinta días.",
        "El puente fue destruido por una inundación en invierno.",
        "Los niños menores de seis años viajan gratis.",
        "La bomba se detiene cuando el agua se calienta demasiado.",
        "Ella ganó las elecciones por una estrecha mayoría.",
    ),
    "vi": (
        "Hóa đơn phải được thanh toán trong vòng ba mươi ngày.",
        "Cây cầu đã bị lũ lụt phá hủy vào mùa đông.",
        "Trẻ em dưới sáu tuổi được đi miễn phí.",
        "Máy bơm dừng lại khi nước quá nóng.",
        "Bà ấy thắng cử với đa số sít sao.",
    ),
    "zh": (
        "发票必须在三十天内付款。",
        "这座桥在冬天被洪水冲毁了。",
        "六岁以下儿童免费乘车。",
        "水温过高时水泵会停止运转。",
        "她以微弱多数赢得了选举。",
    ),
    "fr": (
        "La facture doit être payée dans un délai de trente jours.",
        "Le pont a été détruit par une crue pendant l'hiver.",
        "Les enfants de moins de six ans voyagent gratuitement.",
        "La pompe s'arrête quand l'eau devient trop chaude.",
        "Elle a gagné l'élection avec une faible majorité.",
    ),
    "it": (
        "La fattura deve essere pagata entro trenta giorni.",
        "Il ponte è stato distrutto da un'alluvione durante l'inverno.",
        "I bambini sotto i sei anni viaggiano gratis.",
        "La pompa si ferma quando l'acqua diventa troppo calda.",
        "Ha vinto le elezioni con una maggioranza risicata.",
    ),
    "pt": (
        "A fatura deve ser paga no prazo de trinta dias.",
        "A ponte foi destruída por uma cheia no inverno.",
        "As crianças com menos de seis anos viajam de graça.",
        "A bomba para quando a água fica quente demais.",
        "Ela venceu a eleição por uma pequena maioria.",
    ),
    "ru": (
        "Счёт должен быть оплачен в течение тридцати дней.",
        "Зимой мост был разрушен наводнением.",
        "Дети до шести лет ездят бесплатно.",
        "Насос останавливается, когда вода становится слишком горячей.",
        "Она победила на выборах с небольшим перевесом.",
    ),
    "ja": (
        "請求書は三十日以内に支払わなければなりません。",
        "その橋は冬の洪水で壊された。",
        "六歳未満の子供は無料で乗車できます。",
        "水が熱くなりすぎるとポンプは止まります。",
        "彼女は僅差で選挙に勝った。",
    ),
    "pl": (
        "Faktura musi zostać zapłacona w ciągu trzydziestu dni.",
        "Most został zniszczony zimą przez powódź.",
        "Dzieci poniżej sześciu lat podróżują bezpłatnie.",
        "Pompa zatrzymuje się, gdy woda staje się zbyt gorąca.",
        "Wygrała wybory niewielką większością głosów.",
    ),
}
# By how much a translation is nearer than other sentences of its language, as a share of the way
# from unrelated texts to equal ones; the worst two languages count. multilingual-e5-small in eight
# bits has .34, all-MiniLM-L6-v2 less than .01.
LEAST_NEARNESS = 0.2
# Directions taken out of questions: with fewer, passages of the question's language stay before
# others that answer it; with more, the model distinguishes subjects less well (docs/retrieval.md).
_DIRECTIONS = 6
_LEAST_SPREAD = 1e-3

Vectors = NDArray[np.float32]


def embed_translations(embedder: Embedder) -> tuple[Vectors, Vectors]:
    """Return the sentences as questions and as documents, each by language, sentence, number."""
    questions = np.stack(
        [[embedder.embed_query(text) for text in texts] for texts in TRANSLATIONS.values()]
    )
    documents = np.stack([embedder.embed_documents(texts) for texts in TRANSLATIONS.values()])
    return questions, documents


def measure_nearness(questions: Vectors, documents: Vectors) -> float:
    """Return by how much a translation is nearer than other sentences, for the worst two."""
    nearness = []
    for own, other in itertools.permutations(range(len(questions)), 2):
        cosines = questions[own] @ documents[other].T
        nearness.append(float(cosines.diagonal().mean()) - mean_beside_diagonal(cosines))
    return min(nearness)


def find_directions(questions: Vectors, documents: Vectors) -> Vectors:
    """Return the directions in which languages differ most: unit rows, at right angles."""
    means = [vectors.mean(axis=1) - vectors.mean(axis=(0, 1)) for vectors in (questions, documents)]
    _, spreads, directions = np.linalg.svd(np.vstack(means), full_matrices=False)
    # Where languages do not differ, a direction is any.
    differing = int((spreads > _LEAST_SPREAD * spreads[0]).sum())
    return np.asarray(directions[: min(_DIRECTIONS, differing)], dtype=np.float32)


def mean_beside_diagonal(square: Vectors) -> float:
    """Return the mean of what is not on the diagonal."""
    count = len(square)
    return float((square.sum() - square.trace()) / (count * (count - 1)))
