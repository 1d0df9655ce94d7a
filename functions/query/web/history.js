// Conversations, kept in this browser: the newest first, nothing of them on the server.

const KEPT = "kaydangpt-conversations";
const OPEN = "kaydangpt-open";
const DRAFT = "kaydangpt-draft";
const MOST = 50;

/** Return the conversations, the one that changed last first. */
export function listConversations() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) ?? [];
  } catch {
    return []; // another release may have written it
  }
}

/** Keep a conversation; return whether there was room for it. */
export function saveConversation(conversation) {
  const others = listConversations().filter((one) => one.id !== conversation.id);
  const turns = conversation.turns.map(withoutUncited);
  const kept = [{ ...conversation, turns, changed: Date.now() }, ...others].slice(0, MOST);
  sessionStorage.setItem(OPEN, conversation.id);
  while (kept.length) {
    try {
      localStorage.setItem(KEPT, JSON.stringify(kept));
      return true;
    } catch {
      kept.pop(); // the oldest gives way
    }
  }
  return false;
}

export function renameConversation(id, name) {
  const all = listConversations();
  const found = all.find((one) => one.id === id);
  if (found) found.name = name;
  localStorage.setItem(KEPT, JSON.stringify(all));
}

export function deleteConversation(id) {
  const left = listConversations().filter((one) => one.id !== id);
  localStorage.setItem(KEPT, JSON.stringify(left));
}

/** Return the conversation that this tab had open, null where it had none. */
export function openedConversation() {
  const id = sessionStorage.getItem(OPEN);
  return listConversations().find((one) => one.id === id) ?? null;
}

export function closeConversation() {
  sessionStorage.removeItem(OPEN);
}

/** Keep what is being typed until the tab is closed. */
export function keepDraft(text) {
  sessionStorage.setItem(DRAFT, text);
}

export function readDraft() {
  return sessionStorage.getItem(DRAFT) ?? "";
}

/** Leave out the long texts of passages that are not cited: they are read again when opened. */
function withoutUncited(turn) {
  if (!turn.passages) return turn;
  const cited = new Set(turn.citations.map((citation) => citation.number));
  const passages = turn.passages.map((one) => (cited.has(one.number) ? one : { ...one, text: "" }));
  return { ...turn, passages };
}
