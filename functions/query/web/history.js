// Conversations, kept in this browser: the newest first, nothing of them on the server.

import { local, session } from "./storage.js";

const KEPT = "kaydangpt-conversations";
const OPEN = "kaydangpt-open";
const DRAFT = "kaydangpt-draft";
const MOST = 200;

/** Return the conversations, the one that changed last first. */
export function listConversations() {
  try {
    return JSON.parse(local.get(KEPT)) ?? [];
  } catch {
    return []; // another release may have written it
  }
}

/** Call *act* when another tab has changed what is kept. */
export function onKeptElsewhere(act) {
  addEventListener("storage", (event) => {
    if (event.key === KEPT) act();
  });
}

/** Return a new id for a conversation. */
export function newId() {
  return crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
}

/**
 * Keep a conversation; return whether there was room for it.
 *
 * Where another tab has gone on with it meanwhile, both are kept: this one under another id.
 */
export function saveConversation(conversation) {
  const all = listConversations();
  const stored = all.find((one) => one.id === conversation.id);
  if (stored && stored.changed !== conversation.changed) conversation.id = newId();
  else if (stored) conversation.name = stored.name; // it may have been renamed in another tab
  conversation.changed = Date.now();
  const others = all.filter((one) => one.id !== conversation.id);
  const turns = conversation.turns.map(withoutUncited);
  const kept = [{ ...conversation, turns }, ...others].slice(0, MOST);
  session.set(OPEN, conversation.id);
  if (local.isBlocked) return local.set(KEPT, JSON.stringify(kept));
  while (kept.length) {
    if (local.set(KEPT, JSON.stringify(kept))) return true;
    kept.pop(); // the oldest gives way
  }
  return false;
}

export function renameConversation(id, name) {
  const all = listConversations();
  const found = all.find((one) => one.id === id);
  if (found) found.name = name;
  local.set(KEPT, JSON.stringify(all));
}

export function deleteConversation(id) {
  const left = listConversations().filter((one) => one.id !== id);
  local.set(KEPT, JSON.stringify(left));
}

/** Return the conversation that this tab had open, null where it had none. */
export function openedConversation() {
  const id = session.get(OPEN);
  return listConversations().find((one) => one.id === id) ?? null;
}

export function closeConversation() {
  session.remove(OPEN);
}

/** Keep what is being typed until the tab is closed. */
export function keepDraft(text) {
  session.set(DRAFT, text);
}

export function readDraft() {
  return session.get(DRAFT) ?? "";
}

/** Leave out the long texts of passages that are not cited: they are read again when opened. */
function withoutUncited(turn) {
  if (!turn.passages) return turn;
  const cited = new Set(turn.citations.map((citation) => citation.number));
  const passages = turn.passages.map((one) => (cited.has(one.number) ? one : { ...one, text: "" }));
  return { ...turn, passages };
}
