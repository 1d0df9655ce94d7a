// Asking: the conversation, the answers as they come, and the citations that open their passage.
// Whatever comes from a document or a model is shown by textContent alone.

import { add } from "./elements.js";
import { openPassage } from "./passage.js";
import { ask, call } from "./service.js";
import { text } from "./texts.js";

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
  const body = { question: asked, history: turns.slice(-10) };
  if (collection.value.trim()) body.filter = { collection: collection.value.trim() };
  try {
    await followAnswer(turn, ask(body, asking.signal));
    turns.push({ role: "user", content: asked }, { role: "assistant", content: turn.answer });
  } catch (error) {
    turn.warn(error.name === "AbortError" ? text("stopped") : error.message);
  } finally {
    turn.finish();
    asking = null;
    setBusy(false);
    question.focus({ preventScroll: true });
  }
}

async function followAnswer(turn, events) {
  let passages = [];
  let citations = [];
  for await (const [event, data] of events) {
    if (event === "passages") passages = data.passages;
    else if (event === "token") turn.append(data.text);
    else if (event === "citations") citations = data.citations;
    else turn.show(data, passages, event === "error" ? data.citations : citations);
  }
}

function setBusy(busy) {
  send.disabled = busy;
  stop.hidden = !busy;
  forget.hidden = busy || !conversation.children.length;
}

function addTurn(asked) {
  welcome.hidden = true;
  const item = document.createElement("li");
  const heading = add(item, "p", "asked", asked);
  const sheet = add(item, "div", "answer busy");
  const answer = add(sheet, "p", "answer-text", text("searching"));
  conversation.append(item);
  heading.scrollIntoView({ block: "start" });
  let streamed = "";
  return {
    answer: "",
    append(piece) {
      streamed += piece;
      answer.textContent = streamed;
    },
    show(response, passages, citations) {
      this.answer = response.answer;
      showAnswer(answer, response.answer, passages, citations);
      const note = response.degraded
        ? text("degraded", { message: response.degraded.message })
        : response.model === "extractive"
          ? text("extractive")
          : text("answeredBy", { model: response.model });
      if (citations.length) sheet.append(listCitations(citations, passages));
      add(sheet, "p", "facts", response.grounded ? note : `${text("notGrounded")} ${note}`);
      if (response.status >= 400) this.warn(response.detail);
    },
    warn(message) {
      if (!streamed && !this.answer) answer.textContent = "";
      add(sheet, "p", "warning", message);
    },
    finish() {
      sheet.classList.remove("busy");
    },
  };
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

function listCitations(citations, passages) {
  const list = document.createElement("ul");
  list.className = "citations";
  list.setAttribute("aria-label", text("sources"));
  for (const citation of citations) {
    const passage = passages[citation.number - 1];
    const button = add(add(list, "li", ""), "button", "citation");
    button.type = "button";
    const where = [`[${citation.number}]`, citation.name];
    if (citation.page !== null) where.push(text("page", { page: citation.page }));
    add(button, "span", "quote", `“${citation.quote}”`);
    const line = add(button, "span", "where", `${where.join(" · ")} · `);
    const verdict = citation.verified ? "verified" : "unverified";
    add(line, "span", verdict, `${citation.verified ? "✓" : "✗"} ${text(verdict)}`);
    button.addEventListener("click", () => openPassage(passage, citation));
  }
  return list;
}

/** Offer the collections that there are. */
export async function offerCollections() {
  const { documents } = await call("/documents?limit=500");
  const names = [...new Set(documents.map((one) => one.collection))].sort();
  document.getElementById("collections").replaceChildren(
    ...names.map((name) => {
      const option = document.createElement("option");
      option.value = name;
      return option;
    }),
  );
}
