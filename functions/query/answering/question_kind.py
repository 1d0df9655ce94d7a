"""What kind of thing a question asks for, and its parts; by question words of seven languages."""

# ruff: noqa: E501 -- patterns of one language each stand in one line

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from .quantities import TIMES, name_units

_FLAGS = re.IGNORECASE

# Numbers that are written as words in the languages of the page.
NUMBER_WORDS = frozenset(
    word
    for words in (
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen",
        "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand",
        "million billion once twice half zero none no unlimited",
        "ein eine einen zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig dreißig hundert",
        "tausend",
        "dos tres cuatro cinco seis siete ocho nueve diez once doce veinte cien mil",
        "deux trois quatre cinq sept huit neuf dix onze douze vingt cent mille",
        "due quattro sei sette otto nove dieci venti cento",
        "dois quatro oito dez vinte",
        "một hai ba bốn năm sáu bảy tám chín mười trăm nghìn",
    )
    for word in words.split()
)
_NUMBER = re.compile(
    r"\bhow (?:many|much|long|old|often|big|large|high|far|fast|tall|deep|heavy|wide)\b"
    r"|\b(?:number|percentage|percent|price|cost|costs|port|ports|version|size|limit|amount|rate|code"
    r"|total|value|maximum|minimum|count|majority|year|height|length|weight|square|age|salary|fee"
    r"|budget|revenue|population|phone|telephone)\b"
    r"|\bwie ?(?:viele?|lange|oft|alt|groß|hoch|weit|teuer)\b|\b(?:anzahl|preis|kosten|höhe)\b"
    r"|\bcu[áa]nt[oa]s?\b|\bcombien\b|\bquant[oiae]s?\b|\bbao (?:nhiêu|lâu)\b|\bmấy\b"
    r"|幾|いくつ|多少|몇",
    _FLAGS,
)
# Only a number answers.
_QUANTITY = re.compile(
    r"\bhow (?:many|much) [\w-]+|\bwie ?viele? \w+|\bcu[áa]nt[oa]s? \w+"
    r"|\bcombien (?:de |d')\w+|\bquant[ie] \w+|\bquant[oa]s \w+"
    r"|\bbao nhiêu \w+(?: \w+)?|\b(?:phone|telephone|fax) number\b"
    r"|\bin (?:days|hours|minutes|seconds|weeks|months|years|dollars|euros|percent|bytes|metres)"
    r"\W*$",
    _FLAGS,
)
_DATE = re.compile(
    r"\b(?:when|what year|which year|what date|since when|wann|seit wann|cu[áa]ndo|quand|quando"
    r"|khi nào|năm nào|ngày nào)\b",
    _FLAGS,
)
_PERSON = re.compile(
    r"\b(?:who|whom|whose|wer|wen|wem|qui[ée]n(?:es)?|qui|chi|quem|ai|where|wo|d[óo]nde|où|dove|onde"
    r"|ở đâu|which (?:company|person|city|country|team))\b",
    _FLAGS,
)
_HOW_TO = re.compile(
    r"\bhow (?:do|can|to|should|would|does one|are|is)\b|\b(?:what|which) command\b|\bcommands?\b"
    r"|\bwhat do i run\b|\bwhat (?:should|must|do) (?:i|we|you) do (?:when|if|in case|after)\b"
    r"|\bwie (?:kann|man|mache?|installier|stell|änder|lösch|richt)|\bbefehl\b"
    r"|\bc[óo]mo\b|\bcomment\b|\bcome (?:si|posso|faccio)\b|\bcomo\b|\blàm (?:thế nào|sao)\b|\blệnh\b",
    _FLAGS,
)
# What is typed answers, and no step that only says what to do.
_COMMAND = re.compile(
    r"\b(?:commands?|befehle?n?|comandos?|commandes?|comand[oi]|lệnh)\b|\bwhat do i (?:run|type)\b",
    _FLAGS,
)
# "Which program": what is called so answers.
_NOUN = re.compile(
    r"\b(?:which|welche[rnms]?|quel(?:le)?s?|quale|qual|what(?! (?:is|are|was|were|do|does|did|can|could|must|should|will"
    r"|would|has|have|had|happens?|kinds?|types?|sorts?|time|year|date)\b)|qué(?! (?:es|son|fue|hay|debe|pasa|hora)\b)) (?P<noun>[^\W\d_]{3,})",
    _FLAGS,
)
_LISTING = re.compile(
    r"\b(?:which|what) (?:are (?:the|all)|(?:\w+ ){0,3}?(?!is\b|was\b|does\b|has\b)\w{3,}s)\b"
    r"|\b(?:list|name|enumerate) (?:the|all)\b|\bwelche\b|\bcu[áa]les\b|\bquels|\bquelles|\bquali\b"
    r"|\bquais\b|\bnhững\b|\bcác\b",
    _FLAGS,
)
_DEFINITION = re.compile(
    r"^\W*(?:what (?:is|are) (?:an? |the |meant by )?|what does (?=.* mean)|define |was (?:ist|sind) "
    r"(?:eine? |der |die |das )?|qu[ée] (?:es|son) (?:una? |el |la )?|qu'est-ce qu(?:e|'une? ?)?"
    r"|(?:che )?cos(?:a è|'è) |o que (?:é|são) )(?P<subject>[^?]{1,60}?)(?: mean| in \w+| là gì)?\W*$",
    _FLAGS,
)
_DEFINITION_VI = re.compile(r"^\W*(?P<subject>[^?]{1,60}?) là (?:gì|ai)\W*$", _FLAGS)
_REASON = re.compile(
    r"\b(?:why|for what reason|warum|wieso|weshalb|por qu[ée]|pourquoi|perch[ée]|porqu[eê]"
    r"|vì sao|tại sao)\b|なぜ|为什么|왜",
    _FLAGS,
)
_GIVES_REASON = re.compile(
    r"\b(?:because|since|as a result|due to|so that|in order to|therefore|weil|denn|damit|deshalb"
    r"|porque|debido|ya que|car|parce|puisque|perché|poiché|pois|vì|nhằm|để)\b",
    _FLAGS,
)
_DURATION = re.compile(
    r"\bhow (?:long|quickly|soon|often|fast)\b|\bhow (?:many|much) (?:days|hours|minutes|seconds|weeks|months"
    r"|years|time)\b|\bwie (?:lange|oft|schnell)\b|\bwie ?viele? (?:tage|stunden|minuten|wochen|monate|jahre|zeit)\b"
    r"|\bfrist\b|\bcu[áa]nto tiempo\b|\bcada cu[áa]nto\b|\bcu[áa]nt[oa]s (?:días|horas|minutos|semanas|meses|años)\b"
    r"|\bcombien de (?:temps|jours|heures|minutes|semaines|mois|ans)\b|\bquanto tempo\b"
    r"|\bquant[oiae]s? (?:giorni|ore|minuti|settimane|mesi|anni|dias|horas|semanas|meses|anos)\b"
    r"|\bbao lâu\b|\bbao nhiêu (?:ngày|giờ|phút|tuần|tháng|năm|thời gian)\b",
    _FLAGS,
)
# "An" is a year in French behind a number alone.
_TIME_SPAN = re.compile(
    rf"\b(?:{name_units(*TIMES)}|daily|weekly|monthly|yearly|once|twice|täglich|wöchentlich|monatlich|jährlich)\b"
    r"|\d ?(?:s|ms|min|h)\b|(?:\d|\bun) an\b",
    _FLAGS,
)
_MONEY = re.compile(
    r"\b(?:price[sd]?|costs?|fares?|charge[sd]?|salary|salaries|wages?|fees?|rent|budget|how much (?:is|are|does|do|did)\b(?!.*\b(?:weigh|hold|contain|fit|use|consume|need|space|memory|time)\b)|paid)\b"
    r"|\b(?:kosten|kostet|preis|miete|gehalt|lohn|gebühr|teuer)\b|\b(?:cuesta|costó|cuestan|precio|sueldo|salario|alquiler)\b"
    r"|\b(?:coûte|coûtent|prix|salaire|loyer)\b|\b(?:costa|costano|prezzo|stipendio|affitto|custa|preço|salário|aluguel)\b"
    r"|\b(?:giá|tiền|lương|chi phí)\b",
    _FLAGS,
)
# "Which sum does the invoice have?" asks for its total, by whatever word it says so.
_TOTAL = re.compile(
    r"\b(?:total|sum|amount)\b(?=.*\b(?:invoices?|bills?|orders?|receipts?|due|owed|payable|charged|paid|costs?)\b)"
    r"|\b(?:invoices?|bills?|orders?|receipts?)\b.*\b(?:total|sum|amount|come to)\b"
    r"|\b(?:gesamt|rechnungs|end)?(?:summe|betrag)\b|\bwie hoch (?:ist|war) die rechnung\b|\bwie ?viel macht\b"
    r"|\b(?:importe|suma total|total de la factura|a cuánto asciende)\b|\b(?:montant|somme|à combien s'élève)\b"
    r"|\b(?:importo|somma|a quanto ammonta)\b|\b(?:montante|soma|valor total|valor da (?:fatura|nota))\b"
    r"|\b(?:tổng (?:số )?tiền|số tiền|tổng cộng)\b",
    _FLAGS,
)
_SAYS_TOTAL = re.compile(
    r"(?<!sub)(?<!sub )(?<!sub-)\btotal\b|\b(?:gesamt|rechnungs|end|brutto)(?:summe|betrag|preis)\b|\bamount due\b"
    r"|\b(?:importe|montant|montante|importo) (?:total|dû|à payer|a pagar|totale|dovuto)\b|\bzu zahlen\b|\btotale\b"
    r"|\btổng cộng\b|\btổng (?:số )?tiền\b",
    _FLAGS,
)
# What is asked for is a sum and nothing else.
_PRICE = re.compile(
    r"\bhow much\b.*\b(?:costs?|pay|paid)\b|\b(?:price|cost) of\b|\bwhat (?:do|does|did|will|would)\b.*\bcost\b"
    r"|\b(?:what|how (?:much|high)) (?:is|are|was) the (?:\w+ )?(?:fares?|fees?|rent|price|charge|salary)\b|\bwas kost(?:et|eten?|en)\b"
    r"|\bwie hoch (?:ist|sind|war) (?:die|der|das) (?:miete|gebühr|pacht|beitrag|preis|gehalt|lohn)\b|\bwie ?viel\b.*\bkoste\w*"
    r"|\bcu[áa]nto (?:cuesta|cost[óo]|vale)\w*|\bcombien coût\w*|\bquanto (?:costa|custa|custou|costò)\w*"
    r"|\bgiá bao nhiêu\b|\bbao nhiêu tiền\b",
    _FLAGS,
)
_CURRENCY = (
    r"(?:euros?|dollars?|pounds?|pence|cents?|bucks|yen|francs?|franken|pesos?|libras?|reais|dólares"
    r"|eur|usd|gbp|chf|vnd|đồng|đô la|[$€£¥₫₹])(?!\w)"
)
_SHARE = r"(?:percent|per cent|prozent|phần trăm|por ciento|pour cent|per cento|%)(?!\w)"
# With the number that it counts: a conference of weights and pesos is no sum.
_SUM_OF_MONEY = re.compile(
    rf"(?:\d|\b(?:{'|'.join(sorted(NUMBER_WORDS))}|millones|millions?|mio\.?|triệu)) ?(?:millones|millions?|mio\.?|triệu)?"
    rf"\s?(?:de |d['’])?(?:{_CURRENCY}|{_SHARE})|(?<![^\W_]){_CURRENCY}[: ]{{0,2}}\d"
    r"|(?:price|cost|preis|precio|prix|prezzo|preço|giá)\w*: ?\d",
    _FLAGS,
)
# A price without its currency, and what costs nothing.
_PRICED = re.compile(
    r"(?:price|cost|fees?(?![^\W_])|rate|rent|eur|usd|gbp|chf|vnd|preis|kosten|miete|precio|coste|prix|tarif|prezzo|preço|giá)\w*\W{1,3}\d"
    # A column: "Giá vé (đồng): 475,000".
    r"|(?:price|cost|fare|preis|precio|prix|prezzo|preço|giá)\w*[^\d;:.\n]{0,40}: ?\d"
    rf"|\({_CURRENCY}[^)\n]{{0,10}}\): ?\d"
    r"|\b(?:free(?: of charge)?|no charge|included|kostenlos|gratis|umsonst|inbegriffen|gratuit\w*|compris\w*|inclus\w*|incluid\w*|grátis|miễn phí)\b",
    _FLAGS,
)
# Asked for is something that is written as it is typed.
_LITERAL = re.compile(
    r"\b(?:commands?|options?|settings?|switch(?:es)?|flags?|parameters?|variables?|files?|director(?:y|ies)|folders?|paths?"
    r"|functions?|methods?|modules?|headers?|fields?|address(?:es)?|programs?|packages?|tools?|utilit(?:y|ies)|url|domain"
    r"|befehle?|optionen|einstellung|schalter|variablen?|datei|ordner|verzeichnis|funktion|programm|paket|adresse"
    r"|comandos?|opci[óo]n|variable|archivo|carpeta|funci[óo]n|programa|paquete|direcci[óo]n"
    r"|commande|fichier|dossier|fonction|programme|paquet|adresse|comando|opzione|cartella|funzione|pacchetto|indirizzo"
    r"|opção|arquivo|pasta|função|pacote|endereço|lệnh|tùy chọn|tệp|tập tin|thư mục|hàm|chương trình|gói|địa chỉ|biến)\b",
    _FLAGS,
)
_INSTRUCTS = re.compile(
    r"\b(?:use|using|run|running|type|enter|execute|invoke|call|click|select|open|install|add|set|edit|press|switch"
    r"|you (?:can|could|must|should|may|need|have|might)|(?:must|can|could|should) be|by \w+ing|in order to|let you)\b"
    r"|^To \w+|\b(?:verwenden|benutzen|nutzen|mittels|mit dem befehl|sie (?:können|müssen|sollten)|geben sie|man kann)\b"
    r"|\b(?:use|utilice|ejecute|puede|debe|hay que|haga|pulse|para \w+r)\b"
    r"|\b(?:utilisez|exécutez|vous (?:pouvez|devez)|il faut)\b|\b(?:usare|eseguire|si può|bisogna)\b"
    r"|\b(?:pode|deve|clique)\b|\b(?:hãy|dùng|sử dụng|chạy|bạn (?:có thể|cần|phải))\b",
    _FLAGS,
)
_PLACE = re.compile(r"\b(?:where|wo|wohin|d[óo]nde|où|dove|onde|ở đâu)\b", _FLAGS)
_QUESTION_WORD = (
    r"(?:(?:by|to|in|on|at|of|from|for|with|under|since|until|after|before|seit|bis|ab|von|mit|für"
    r"|desde|hasta|con|de|por|depuis|avec|da|dal|con) )?"
    r"(?:what|which|who|whom|whose|when|where|why|how|is|are|was|were|does|do|did|can|may|must|should"
    r"|welche[rsmn]?|was|wer|wann|wo|warum|wie|qu[ée]|cu[áa]l(?:es)?|qui[ée]n|cu[áa]ndo|d[óo]nde"
    r"|c[óo]mo|cu[áa]nt[oa]s?|quels?|quelles?|qui|quand|où|comment|combien|quale|quali|chi|quando|dove"
    r"|come|quant[oi]|quem|onde|como|ai|bao nhiêu)\b"
)
_JOINT = re.compile(
    rf"(?:[,;]\s?(?:and|und|y|et|e|và)?|\s(?:and|und|y|et|e|và))\s(?={_QUESTION_WORD})", _FLAGS
)
_COMPARISON = re.compile(
    r"\b(?:difference[s]? between|compare|unterschied[e]? zwischen|diferencias? entre|diff[ée]rences?"
    r" entre|differenz[ae] tra|diferenças? entre|khác nhau giữa)\s+(?P<first>[^,?]{2,60}?)\s+"
    r"(?:and|with|to|und|mit|y|et|e|và)\s+(?P<second>[^,?]{2,60})",
    _FLAGS,
)
_MAX_PARTS = 3
_MIN_PART_WORDS = 2


@dataclass(frozen=True, slots=True)
class Kinds:
    """What a question asks for; several may hold."""

    number: bool
    date: bool
    person: bool
    how_to: bool
    listing: bool
    reason: bool
    subject: str
    quantity: bool = False
    duration: bool = False
    money: bool = False
    literal: bool = False
    place: bool = False
    price: bool = False
    total: bool = False
    command: bool = False
    noun: str = ""

    @property
    def asks_for_one(self) -> bool:
        """Return whether one thing is asked for: a person, a place, a number, a time, a reason."""
        return self.person or self.place or self.number or self.date or self.reason

    def is_definition_in(self, text: str) -> bool:
        """Return whether *text* says what the subject of a definition question is."""
        if not self.subject:
            return False
        subject = re.escape(self.subject.strip().rstrip("s"))
        return bool(
            re.search(
                rf"\b{subject}\w{{0,2}}\b[^.]{{0,60}}?\b(?:is|are|was|means|stands for|refers to|ist"
                rf"|sind|es|son|est|sont|è|sono|é|são|là)\b|\b{subject}\w{{0,2}}\s*[(（–—]"
                rf"|[(（]{subject}\w{{0,2}}\b|\bcalled (?:an? |the )?[\"“]?{subject}",
                text,
                _FLAGS,
            )
        )

    def gives_reason(self, text: str) -> bool:
        """Return whether *text* holds a word that gives a reason."""
        return bool(_GIVES_REASON.search(text))


@lru_cache(maxsize=64)
def detect_kinds(question: str) -> Kinds:
    """Return what *question* asks for."""
    quantity = bool(_QUANTITY.search(question))
    total = not quantity and bool(_TOTAL.search(question))
    definition = _DEFINITION.match(question) or _DEFINITION_VI.match(question)
    return Kinds(
        number=bool(_NUMBER.search(question)),
        date=bool(_DATE.search(question)),
        person=bool(_PERSON.search(question)),
        how_to=bool(_HOW_TO.search(question)),
        listing=bool(_LISTING.search(question)),
        reason=bool(_REASON.search(question)),
        subject=definition["subject"] if definition else "",
        quantity=quantity,
        duration=bool(_DURATION.search(question)),
        money=total or bool(_MONEY.search(question)),
        literal=bool(_LITERAL.search(question)),
        price=total or bool(_PRICE.search(question)),
        total=total,
        noun=noun["noun"] if (noun := _NOUN.search(question)) else "",
        command=bool(_COMMAND.search(question)),
        place=bool(_PLACE.search(question)),
    )


def compares(question: str) -> bool:
    """Return whether *question* asks how two things differ: each is a part of it."""
    return bool(_COMPARISON.search(question))


def split_question(question: str) -> list[str]:
    """Return the parts of *question* that ask for a thing each; itself where it asks for one."""
    if comparison := _COMPARISON.search(question):
        return [comparison["first"].strip(), comparison["second"].strip()]
    parts = [part.strip() for part in _JOINT.split(question) if part.strip()]
    whole = all(len(part.split()) > _MIN_PART_WORDS for part in parts)
    return parts if 1 < len(parts) <= _MAX_PARTS and whole else [question]


# What questions begin with.
ASKING_WORDS = frozenset(
    word
    for words in (
        "what which when where whose does did how who why are was were can may",
        "welche welcher welches welchem welchen wann warum wieso wie wer wen wem was wo viele viel",
        "cuánto cuánta cuántos cuántas cuándo dónde cómo cuál cuáles quién quiénes qué",
        "quel quelle quels quelles quand comment combien pourquoi quoi qui que où",
        "quanto quanta quanti quante quando dove come quale quali perché chi cosa",
        "quantos quantas onde quem qual quais porque como",
    )
    for word in words.split()
)


def holds_duration(text: str) -> bool:
    """Return whether *text* holds a unit of time."""
    return bool(_TIME_SPAN.search(text))


def holds_money(text: str) -> bool:
    """Return whether *text* holds a sum of money or a share."""
    return bool(_SUM_OF_MONEY.search(text))


def holds_price(text: str) -> bool:
    """Return whether *text* says what something costs."""
    return holds_money(text) or bool(_PRICED.search(text))


def holds_total(text: str) -> bool:
    """Return whether *text* says what all comes to."""
    return bool(_SAYS_TOTAL.search(text))


def instructs(text: str) -> bool:
    """Return whether *text* says what to do."""
    return bool(_INSTRUCTS.search(text))


def holds_number(text: str, *, beside: str) -> bool:
    """Return whether *text* holds a number, in digits or as a word, that *beside* does not."""
    known = set(re.findall(r"\w+", beside.casefold()))
    return any(
        (word.lstrip("v")[:1].isdigit() or word in NUMBER_WORDS) and word not in known
        for word in re.findall(r"\w+", text.casefold())
    )
