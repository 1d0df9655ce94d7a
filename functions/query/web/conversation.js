// Asking: the conversation, the answers as they come, and the citations that open their passage.
// Whatever comes from a document or a model is shown by textContent alone.

import { add } from "./elements.js";
import { openPassage } from "./passage.js";
import { ask, call, Failure } from "./service.js";
import { text } from "./texts.js";

// The interface's own limits, of /openapi.json.
const TURNS = 10;
const TURN_CHARACTERS = 16_000;
const DOCUMENTS_A_PAGE = 500;

const form = document.getElementById("question-form");
const question = document.getElementById("question");
const collection = document.getElementById("collection");
const conversation = document.getElementById("conversation");
const stop = document.getElementById("stop");
const forget = document.getElementById("forget");
const send = document.getElementById("send");
const welcome = document.getElementById("welcome");

// The turns so far, as the interface takes them; the server folds them into the next question.
let turns = [];
let asking = null;

export function startConversation() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = question.value.trim();
    if (asked && !asking) answerQuestion(asked);
  });
  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  stop.addEventListener("click", () => asking?.abort());
  forget.addEventListener("click", () => {
    turns = [];
    conversation.replaceChildren();
    forget.hidden = true;
    welcome.hidden = false;
    question.focus();
  });
}

async function answerQuestion(asked) {
  const turn = addTurn(asked);
  asking = new AbortController();
  setBusy(true);
  question.value = "";
  const body = { question: asked, history: turns.slice(-TURNS) };
  if (collection.value.trim()) body.filter = { collection: collection.value.trim() };
  try {
    const answer = await followAnswer(turn, ask(body, asking.signal));
    turns.push(
      { role: "user", content: asked },
      { role: "assistant", content: answer.slice(0, TURN_CHARACTERS) },
    );
  } catch (error) {
    turn.warn(error.name === "AbortError" ? text("stopped") : error.message);
  } finally {
    turn.finish();
    asking = null;
    setBusy(false);
    question.focus({ preventScroll: true });
  }
}

/** Show the events of an answer; return its text when it is whole. */
async function followAnswer(turn, events) {
  let passages = [];
  let citations = [];
  for await (const [event, data] of events) {
    if (event === "passages") passages = data.passages;
    else if (event === "token") turn.append(data.text);
    else if (event === "citations") citations = data.citations;
    else {
      turn.show(data, passages, event === "error" ? data.citations : citations);
      return data.answer;
    }
  }
  throw new Failure(text("cut"));
}

function setBusy(busy) {
  send.disabled = busy;
  stop.hidden = !busy;
  forget.hidden = busy || !conversation.children.length;
}

function addTurn(asked) {
  welcome.hidden = true;
  const item = add(conversation, "article", "turn");
  const heading = add(item, "h3", "asked", asked);
  const sheet = add(item, "div", "answer busy");
  // A screen reader waits for the whole answer and then reads it once.
  sheet.setAttribute("aria-busy", "true");
  const answer = add(sheet, "p", "answer-text", text("searching"));
  heading.scrollIntoView({ block: "start" });
  let streamed = "";
  return {
    append(piece) {
      streamed += piece;
      answer.textContent = streamed;
    },
    show(response, passages, citations) {
      streamed = response.answer;
      showAnswer(answer, response.answer, passages, citations);
      if (response.degraded) {
        this.warn(text("degraded", { message: response.degraded.message }));
      }
      if (citations.length) listCitations(sheet, citations, passages);
      const description = describeAnswer(response);
      if (description) add(sheet, "p", "facts", description);
      if (passages.length) listPassages(sheet, passages);
    },
    warn(message) {
      if (!streamed) answer.textContent = "";
      add(sheet, "p", "warning", message);
    },
    finish() {
      sheet.classList.remove("busy");
      sheet.setAttribute("aria-busy", "false");
    },
  };
}

function describeAnswer(response) {
  if (response.model !== "extractive") {
    const by = text("answeredBy", { model: response.model });
    return response.grounded ? by : `${text("notGrounded")} ${by}`;
  }
  return response.grounded ? text("extractive") : "";
}

/** Show an answer with its [n] marks as buttons. */
function showAnswer(element, answer, passages, citations) {
  element.replaceChildren();
  for (const piece of answer.split(/(\[\d+\])/)) {
    const passage = passages[Number(/^\[(\d+)\]$/.exec(piece)?.[1]) - 1];
    if (passage) {
      const citation = citations.find((one) => one.number === passage.number) ?? null;
      const button = add(element, "button", "reference", String(passage.number));
      button.type = "button";
      button.setAttribute(
        "aria-label",
        text("openPassage", { number: passage.number, name: passage.name }),
      );
      button.addEventListener("click", () => openPassage(passage, citation));
    } else {
      element.append(piece);
    }
  }
}

function listCitations(sheet, citations, passages) {
  const list = add(sheet, "ul", "citations");
  list.setAttribute("aria-label", text("sources"));
  for (const citation of citations) {
    const passage = passages[citation.number - 1];
    const button = add(add(list, "li", ""), "button", "citation");
    button.type = "button";
    const where = add(button, "span", "where");
    add(where, "span", "number", String(citation.number));
    add(where, "span", "name", citation.name);
    if (citation.page !== null) add(where, "span", "", text("page", { page: citation.page }));
    const verdict = citation.verified ? "verified" : "unverified";
    add(where, "span", verdict, `${citation.verified ? "✓" : "✗"} ${text(verdict)}`);
    if (citation.quote) add(button, "span", "quote", `“${citation.quote}”`);
    button.addEventListener("click", () => openPassage(passage, citation));
  }
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
    if (passage.page !== null) add(button, "span", "", text("page", { page: passage.page }));
    if (passage.heading) add(button, "span", "heading", passage.heading);
    button.addEventListener("click", () => openPassage(passage, null));
  }
}

/** Offer the collections that there are. */
export async function offerCollections() {
  const { documents } = await call(`/documents?limit=${DOCUMENTS_A_PAGE}`);
  const names = [...new Set(documents.map((one) => one.collection))].filter(Boolean).sort();
  document.getElementById("collections").replaceChildren(
    ...names.map((name) => {
      const option = document.createElement("option");
      option.value = name;
      return option;
    }),
  );
  document.getElementById("nothing-yet").hidden = documents.length > 0;
}
