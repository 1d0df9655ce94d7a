// Asking: the conversation, and the answers as they come.

import { addSheet } from "./answer.js";
import { add } from "./elements.js";
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
    const answer = await followAnswer(turn, asked, ask(body, asking.signal));
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
async function followAnswer(turn, asked, events) {
  let passages = [];
  let citations = [];
  for await (const [event, data] of events) {
    if (event === "passages") {
      passages = data.passages;
      turn.find(passages);
    } else if (event === "token") turn.append(data.text);
    else if (event === "citations") citations = data.citations;
    else {
      turn.show(data, passages, event === "error" ? data.citations : citations, asked);
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
  const sheet = addSheet(item);
  heading.scrollIntoView({ block: "start" });
  return sheet;
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
