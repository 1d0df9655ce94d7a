// Asking: the conversation, the answers as they come, and the conversations before.

import { addSheet } from "./answer.js";
import { add } from "./elements.js";
import { addFeedback } from "./feedback.js";
import {
  closeConversation,
  deleteConversation,
  keepDraft,
  listConversations,
  newId,
  onKeptElsewhere,
  openedConversation,
  readDraft,
  renameConversation,
  saveConversation,
} from "./history.js";
import { ask, call, Failure } from "./service.js";
import { local } from "./storage.js";
import { locale, text } from "./texts.js";

// The interface's own limits, of /openapi.json.
const TURNS = 10;
const TURN_CHARACTERS = 16_000;
const NAME_CHARACTERS = 80;
const MOST_SUGGESTIONS = 4;
const LONG_QUESTION = 200;
// What a question may be asked within, beside a collection.
const SCOPES = ["name", "prefix"];

const form = document.getElementById("question-form");
const question = document.getElementById("question");
const collection = document.getElementById("collection");
const conversation = document.getElementById("conversation");
const stop = document.getElementById("stop");
const forget = document.getElementById("forget");
const send = document.getElementById("send");
const welcome = document.getElementById("welcome");
const suggestions = document.getElementById("suggestions");
const scopeLine = document.getElementById("scope");
const scopeName = document.getElementById("scope-name");
const chooser = document.getElementById("conversations");
const confirmation = document.getElementById("confirm");

// A turn is {asked, filter} and, once it was answered, {response, passages, citations} as well.
let current = newConversation();
// A document or a folder that alone is asked: {name} or {prefix}.
let scope = null;
let asking = null;
let notify = null;
let known = [];
let saidBlocked = false;

export function startConversation(options) {
  notify = options.notify;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = question.value.trim();
    if (asked && !asking) askQuestion(asked);
  });
  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  question.addEventListener("input", () => {
    keepDraft(question.value);
    // The browser cuts what is pasted without a word.
    if (question.value.length >= question.maxLength) {
      notify(text("questionLimit", { count: question.maxLength }));
    }
  });
  onKeptElsewhere(followOtherTab);
  stop.addEventListener("click", () => asking?.abort());
  forget.addEventListener("click", () => {
    closeConversation();
    show(newConversation());
    question.focus();
  });
  document.getElementById("scope-clear").addEventListener("click", () => askIn(null));
  document.getElementById("show-conversations").addEventListener("click", () => {
    listKept();
    chooser.showModal();
  });
  show(openedConversation() ?? current);
  // Somebody may have typed before this ran.
  if (!takeShared()) question.value ||= readDraft();
}

/** Show what another tab has added to the conversation that is open here, too. */
function followOtherTab() {
  if (chooser.open) listKept();
  const stored = listConversations().find((one) => one.id === current.id);
  if (!asking && stored && stored.changed !== current.changed) show(stored);
}

/** Ask one document ({name}), one folder ({prefix}), or all again (null). */
export function askIn(chosen) {
  scope = chosen;
  scopeLine.hidden = scope === null;
  scopeName.textContent = scope ? text("onlyIn", { name: scope.name ?? scope.prefix }) : "";
  location.hash = "#ask";
  question.focus({ preventScroll: true });
}

function newConversation() {
  return { id: newId(), name: "", turns: [] };
}

/**
 * Put the question of a link that was shared into its field; it stands in the address no longer.
 *
 * Return whether there was one.
 */
export function takeShared() {
  const shared = new URLSearchParams(/^#ask\?(.*)$/.exec(location.hash)?.[1] ?? "");
  const asked = shared.get("q");
  if (!asked) return false;
  history.replaceState(null, "", "#ask");
  collection.value = shared.get("collection") ?? "";
  const within = SCOPES.find((name) => shared.get(name));
  askIn(within ? { [within]: shared.get(within) } : null);
  question.value = asked;
  keepDraft(asked);
  return true;
}

/** Show *one* in the place of the conversation that is open. */
function show(one) {
  asking?.abort();
  current = one;
  conversation.replaceChildren();
  for (const turn of current.turns) {
    const { item, sheet } = addTurn(turn);
    if (turn.response) sheet.show(turn.response, turn.passages, turn.citations, turn.asked);
    else sheet.warn(text("cut"));
    finish(item, sheet, turn);
  }
  conversation.lastElementChild?.scrollIntoView({ block: "start" });
  setBusy(false);
}

async function askQuestion(asked) {
  const named = collection.value.trim();
  if (named && !(await isKnown(named))) return;
  const filter = {};
  if (named) filter.collection = named;
  if (scope) Object.assign(filter, scope);
  const turn = { asked, filter };
  current.turns.push(turn);
  current.name ||= asked.slice(0, NAME_CHARACTERS);
  question.value = "";
  keepDraft("");
  const { item, sheet } = addTurn(turn);
  await answer(turn, item, sheet);
}

/** Return whether there is a collection of this name; say so where there is none. */
async function isKnown(name) {
  if (known.includes(name)) return true;
  try {
    await offerCollections();
  } catch {
    return true; // the question itself will say what is wrong
  }
  const found = known.includes(name);
  if (!found) notify(describeUnknown(name));
  return found;
}

/** Return what is said of a collection that there is not, with those that are like it. */
export function describeUnknown(name) {
  const like = known
    .map((one) => ({ one, away: distance(one.toLowerCase(), name.toLowerCase()) }))
    .filter(({ one, away }) => away <= Math.max(2, name.length / 3) || one.startsWith(name))
    .sort((first, second) => first.away - second.away)
    .slice(0, 3)
    .map(({ one }) => one);
  const said = text("noCollection", { name });
  return like.length ? `${said} ${text("didYouMean", { names: like.join(", ") })}` : said;
}

/** Return how many letters must be changed, added or left out to make one name of the other. */
function distance(first, second) {
  let row = Array.from({ length: second.length + 1 }, (_, at) => at);
  for (let at = 1; at <= first.length; at += 1) {
    const next = [at];
    for (let to = 1; to <= second.length; to += 1) {
      const changed = row[to - 1] + (first[at - 1] === second[to - 1] ? 0 : 1);
      next.push(Math.min(changed, row[to] + 1, next[to - 1] + 1));
    }
    row = next;
  }
  return row[second.length];
}

async function answer(turn, item, sheet) {
  const own = new AbortController();
  asking = own;
  setBusy(true);
  // A page that is closed meanwhile still has the question.
  keep();
  try {
    Object.assign(turn, await followAnswer(turn, sheet, own.signal));
    delete turn.feedback;
    sheet.show(turn.response, turn.passages, turn.citations, turn.asked);
  } catch (error) {
    const said = error.name === "AbortError" ? text("stopped") : error.message;
    if (turn.response) {
      // The answer that was there stays.
      sheet.show(turn.response, turn.passages, turn.citations, turn.asked);
      notify(said);
    } else sheet.warn(said);
  }
  finish(item, sheet, turn);
  if (asking !== own) return;
  asking = null;
  keep();
  setBusy(false);
  question.focus({ preventScroll: true });
}

/** Return the events of an answer as a turn keeps them; a stream that breaks is asked for again. */
async function followAnswer(turn, sheet, signal) {
  const body = { question: turn.asked, history: turnsBefore(turn) };
  if (Object.keys(turn.filter).length) body.filter = turn.filter;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await readEvents(sheet, ask(body, signal));
    } catch (error) {
      if (!error.brokeOff || attempt > 1) throw error;
      sheet.clear();
    }
  }
}

async function readEvents(sheet, events) {
  let passages = [];
  let citations = [];
  for await (const [event, data] of events) {
    if (event === "passages") {
      passages = data.passages;
      sheet.find(passages);
    } else if (event === "token") sheet.append(data.text);
    else if (event === "citations") citations = data.citations;
    else if (event === "done" || event === "error") {
      const { passages: _passages, citations: own, ...response } = data;
      return { response, passages, citations: event === "error" ? own : citations };
    }
  }
  throw new Failure(text("cut"), { brokeOff: true });
}

/** Return the turns before *turn* as the interface takes them. */
function turnsBefore(turn) {
  return current.turns
    .slice(0, current.turns.indexOf(turn))
    .filter((one) => one.response)
    .flatMap((one) => [
      { role: "user", content: one.asked },
      { role: "assistant", content: one.response.answer.slice(0, TURN_CHARACTERS) },
    ])
    .slice(-TURNS);
}

function keep() {
  if (saveConversation(current)) return;
  if (!local.isBlocked) notify(text("notKept"));
  else if (!saidBlocked) notify(text("blocked"));
  saidBlocked = true;
}

function setBusy(busy) {
  send.disabled = busy;
  stop.hidden = !busy;
  forget.hidden = busy || !conversation.children.length;
  welcome.hidden = current.turns.length > 0;
  for (const button of conversation.querySelectorAll("button.again")) button.disabled = busy;
}

function addTurn(turn) {
  const item = add(conversation, "article", "turn");
  const heading = add(item, "h3", "asked", turn.asked);
  if (turn.asked.length > LONG_QUESTION) heading.tabIndex = 0; // it is scrolled by the keyboard too
  const within = turn.filter.name ?? turn.filter.prefix;
  if (within) add(item, "p", "within", text("onlyIn", { name: within }));
  const sheet = addSheet(item);
  heading.scrollIntoView({ block: "start" });
  return { item, sheet };
}

/** Add what can be done with an answer, or with a question that has none. */
function finish(item, sheet, turn) {
  sheet.finish();
  const row = add(item, "div", "row actions");
  const below = add(item, "div", "");
  const addAction = (name, act, className = "") => {
    const button = add(row, "button", `quiet small ${className}`, text(name));
    button.type = "button";
    button.addEventListener("click", () => act(button));
  };
  const again = () => {
    for (const part of [row, below, sheet.sheet]) part.remove();
    answer(turn, item, addSheet(item));
  };
  if (turn.response) {
    addAction("copy", async (button) => {
      await copy(withSources(turn));
      button.textContent = text("copied");
    });
    addAction("regenerate", again, "again");
  } else addAction("askAgain", again, "again");
  addAction("share", async () => {
    const shared = new URLSearchParams({ q: turn.asked });
    for (const name of ["collection", ...SCOPES]) {
      if (turn.filter[name]) shared.set(name, turn.filter[name]);
    }
    await copy(`${location.origin}${location.pathname}#ask?${shared}`);
    notify(text("shared"));
  });
  if (turn.response?.answer_id) addFeedback(row, below, turn, { keep });
}

/** Return an answer with the names that its marks stand for. */
function withSources(turn) {
  const names = new Map(turn.citations.map((one) => [one.number, one.name]));
  const lines = [...names].map(([number, name]) => `[${number}] ${name}`);
  return [turn.response.answer, lines.join("\n")].filter(Boolean).join("\n\n");
}

async function copy(content) {
  try {
    await navigator.clipboard.writeText(content);
    return;
  } catch {
    // Not allowed, or not there: a page that comes unencrypted from another machine has none.
  }
  const field = add(document.body, "textarea", "visually-hidden");
  field.value = content;
  field.select();
  document.execCommand("copy");
  field.remove();
}

function listKept() {
  const list = document.getElementById("conversation-list");
  const all = listConversations();
  document.getElementById("no-conversations").hidden = all.length > 0;
  list.replaceChildren();
  const when = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
  for (const one of all) {
    const item = add(list, "li", "");
    const open = add(item, "button", "kept");
    open.type = "button";
    add(open, "span", "name", one.name);
    add(open, "span", "soft", when.format(one.changed));
    open.addEventListener("click", () => {
      chooser.close();
      saveConversation(one);
      show(one);
    });
    const addAction = (name, act) => {
      const button = add(item, "button", "quiet small", text(name));
      button.type = "button";
      button.setAttribute("aria-label", `${text(name)}: ${one.name}`);
      button.addEventListener("click", act);
    };
    addAction("rename", () => rename(item, one));
    addAction("delete", () => {
      document.getElementById("confirm-text").textContent = text("askForget", { name: one.name });
      document.getElementById("confirm-yes").onclick = () => {
        confirmation.close();
        deleteConversation(one.id);
        if (one.id === current.id) show(newConversation());
        listKept();
      };
      confirmation.showModal();
    });
  }
}

function rename(item, one) {
  item.replaceChildren();
  const edit = add(item, "form", "row");
  const field = add(edit, "input", "");
  field.value = one.name;
  field.maxLength = NAME_CHARACTERS;
  field.required = true;
  field.setAttribute("aria-label", text("newName"));
  add(edit, "button", "small", text("save"));
  edit.addEventListener("submit", (event) => {
    event.preventDefault();
    renameConversation(one.id, field.value.trim() || one.name);
    if (one.id === current.id) current.name = field.value.trim() || one.name;
    listKept();
  });
  field.focus();
}

/** Offer the collections that there are. */
export async function offerCollections() {
  const { collections } = await call("/collections");
  known = collections.map((one) => one.name);
  document.getElementById("collections").replaceChildren(
    ...known.map((name) => {
      const option = document.createElement("option");
      option.value = name;
      return option;
    }),
  );
  document.getElementById("nothing-yet").hidden = known.length > 0;
  return known;
}

/** Offer questions about what the documents' headings name, where nothing was asked yet. */
export async function offerQuestions() {
  const { headings } = await call("/suggestions");
  const list = document.getElementById("suggestion-list");
  list.replaceChildren();
  for (const heading of headings.slice(0, MOST_SUGGESTIONS)) {
    const button = add(add(list, "li", ""), "button", "quiet", text("suggestion", { heading }));
    button.type = "button";
    button.addEventListener("click", () => {
      if (!asking) askQuestion(button.textContent);
    });
  }
  suggestions.hidden = !headings.length;
}
