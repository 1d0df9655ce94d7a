// An answer on its sheet: the text as it comes and as it is in the end, its sources, what was found.
// Whatever comes from a document or a model becomes text, or a node of markdown.js, and nothing else.

import { add } from "./elements.js";
import { build, parse } from "./markdown.js";
import { nameOfPlace, openPassage, verdictOn } from "./passage.js";
import { hasText, text } from "./texts.js";

/** Append an empty sheet to *parent* and return what fills it. */
export function addSheet(parent) {
  const sheet = add(parent, "div", "answer busy");
  // A screen reader waits for the whole answer and then reads it once.
  sheet.setAttribute("aria-busy", "true");
  const understood = add(sheet, "p", "understood");
  understood.hidden = true;
  const answer = add(sheet, "div", "answer-text");
  add(answer, "p", "", text("searching"));
  let streamed = "";
  let passages = [];
  return {
    sheet,
    find(found) {
      passages = found;
    },
    /** Forget what came so far: it is asked for again. */
    clear() {
      streamed = "";
      answer.replaceChildren();
      add(answer, "p", "", text("searching"));
    },
    append(piece) {
      streamed += piece;
      showMarkdown(answer, streamed, passages, []);
    },
    /** Show a whole answer; *asked* is the question as it was typed. */
    show(response, found, citations, asked) {
      streamed = response.answer;
      passages = found;
      showMarkdown(answer, response.answer, passages, citations);
      if (isAnother(response.question, asked)) {
        understood.textContent = text("understoodAs", { question: response.question });
        understood.hidden = false;
      }
      if (response.degraded) {
        this.warn(text("degraded", { message: describeFailure(response.degraded) }));
      }
      if (citations.length) listSources(sheet, citations, passages);
      describeAnswer(sheet, response);
      if (passages.length) listPassages(sheet, passages);
    },
    warn(message) {
      if (!streamed) answer.replaceChildren();
      return add(sheet, "p", "warning", message);
    },
    finish() {
      sheet.classList.remove("busy");
      sheet.setAttribute("aria-busy", "false");
    },
  };
}

/** Return whether a question was understood as more than another spelling of the one asked. */
function isAnother(understood, asked) {
  const plain = (one) =>
    one
      .normalize("NFC")
      .toLocaleLowerCase()
      .replace(/[\s\p{P}]+/gu, " ")
      .trim();
  return Boolean(understood) && plain(understood) !== plain(asked);
}

/** Return why Gemini gave no answer, in the reader's language where the code is known. */
function describeFailure({ code, message }) {
  const like = { circuit_open: "unavailable", empty: "cut_off" };
  const name = `gemini_${like[code] ?? code}`;
  return hasText(name) ? text(name) : `${message}.`;
}

function showMarkdown(element, answer, passages, citations) {
  element.replaceChildren();
  build(element, parse(answer), (parent, number) => {
    const passage = passages[number - 1];
    if (!passage) return false;
    const own = citations.filter((one) => one.number === number);
    const citation = own.find((one) => one.verified || one.description) ?? own[0] ?? null;
    const verdict = citation === null ? "verified" : verdictOn(citation);
    const unverified = verdict === "unverified";
    const button = add(parent, "button", `reference${unverified ? " doubtful" : ""}`, String(number));
    button.type = "button";
    const name = text("openPassage", { number, name: passage.name });
    button.setAttribute("aria-label", verdict === "verified" ? name : `${name}: ${text(verdict)}`);
    button.addEventListener("click", () => openPassage(passage, citation));
    return true;
  });
}

function describeAnswer(sheet, response) {
  if (response.model !== "extractive") {
    const by = text("answeredBy", { model: response.model });
    add(sheet, "p", "facts", response.grounded ? by : `${text("notGrounded")} ${by}`);
  } else if (!response.degraded) {
    const facts = add(sheet, "p", "facts", response.grounded ? `${text("extractive")} ` : "");
    const how = add(facts, "button", "link", text("howToGemini"));
    how.type = "button";
    how.addEventListener("click", () => document.getElementById("gemini-dialog").showModal());
  } else if (response.grounded) add(sheet, "p", "facts", text("extractive"));
}

/** List the citations, those of one document together. */
function listSources(sheet, citations, passages) {
  const list = add(sheet, "ul", "citations");
  list.setAttribute("aria-label", text("sources"));
  const byDocument = Map.groupBy(citations, (citation) => citation.document_id);
  for (const own of byDocument.values()) {
    const item = add(list, "li", "source");
    const head = add(item, "p", "where");
    add(head, "span", "name", own[0].name);
    add(head, "span", "", text("quotes", { count: own.length }));
    const also = new Set(own.flatMap((one) => passages[one.number - 1]?.also_in ?? []));
    if (also.size) add(head, "span", "", text("alsoIn", { names: [...also].join(", ") }));
    const quotes = add(item, "ul", "");
    for (const citation of own) addCitation(quotes, citation, passages[citation.number - 1]);
  }
}

const SIGNS = { verified: "✓", described: "▦", unverified: "✗" };

function addCitation(list, citation, passage) {
  const button = add(add(list, "li", ""), "button", "citation");
  button.type = "button";
  const where = add(button, "span", "where");
  add(where, "span", "number", String(citation.number));
  add(where, "span", "visually-hidden", citation.name);
  if (citation.page !== null) add(where, "span", "", nameOfPlace(citation.name, citation.page));
  const verdict = verdictOn(citation);
  add(where, "span", verdict, `${SIGNS[verdict]} ${text(verdict)}`);
  if (citation.quote) add(button, "span", "quote", `“${citation.quote}”`);
  button.addEventListener("click", () => openPassage(passage, citation));
}

/** List what was found, cited or not: the reader may look where the answer did not. */
function listPassages(sheet, passages) {
  const details = add(sheet, "details", "passages");
  add(details, "summary", "", text("found", { count: passages.length }));
  const list = add(details, "ol", "");
  for (const passage of passages) {
    const button = add(add(list, "li", ""), "button", "passage");
    button.type = "button";
    add(button, "span", "number", String(passage.number));
    add(button, "span", "name", passage.name);
    if (passage.page !== null) add(button, "span", "", nameOfPlace(passage.name, passage.page));
    if (passage.heading) add(button, "span", "heading", passage.heading);
    if (passage.source === "figure") add(button, "span", "described", text("described"));
    button.addEventListener("click", () => openPassage(passage, null));
  }
}
