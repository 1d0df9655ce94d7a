// The page: two views, chosen by the address, over the HTTP interface.

import { offerCollections, offerQuestions, startConversation, takeShared } from "./conversation.js";
import { refresh, startDocuments } from "./documents.js";
import { add } from "./elements.js";
import { offerFeedback } from "./feedback.js";
import { openPassage, startPassages } from "./passage.js";
import { call, onKeyNeeded, useKey } from "./service.js";
import { chooseLanguage, LANGUAGES, language, text, translatePage } from "./texts.js";

const NOTICE_MILLISECONDS = 8000;

const notice = document.getElementById("notice");
let noticeEnds = 0;
let keyGiven = null;

function notify(message) {
  notice.textContent = message;
  clearTimeout(noticeEnds);
  noticeEnds = setTimeout(() => (notice.textContent = ""), NOTICE_MILLISECONDS);
}

function showView() {
  const name = location.hash.startsWith("#documents") ? "documents" : "ask";
  for (const view of ["ask", "documents"]) {
    document.getElementById(`${view}-page`).hidden = view !== name;
    const link = document.querySelector(`nav a[href="#${view}"]`);
    if (view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${text(name)} · KaydangPT`;
  if (name === "documents") refresh();
  else document.getElementById("question").focus({ preventScroll: true });
}

/** Open what a citation's address names: /documents/ID#char_start=1&char_end=9&page=2. */
async function openAddress() {
  const id = /^\/documents\/([0-9a-f-]{36})$/.exec(location.pathname)?.[1];
  if (!id) return;
  const place = new URLSearchParams(location.hash.slice(1));
  const asked = new URLSearchParams();
  for (const name of ["char_start", "char_end"]) {
    if (/^\d+$/.test(place.get(name) ?? "")) asked.set(name, place.get(name));
  }
  if (!asked.has("char_end")) asked.set("char_end", String(Number(asked.get("char_start")) + 1000));
  const around = await call(`/documents/${id}/text?${asked}`);
  const page = place.get("page");
  await openPassage({
    document_id: id,
    generation: around.generation,
    name: around.name,
    uri: "",
    heading: "",
    page: /^\d+$/.test(page ?? "") ? Number(page) : null,
    text: around.text,
    char_start: around.char_start,
    char_end: around.char_end,
  });
}

/** Resolve when the reader has given a key; without one the service answers nothing. */
function askForKey({ refused }) {
  keyGiven ??= new Promise((resolve) => {
    const dialog = document.getElementById("key-dialog");
    const field = document.getElementById("key");
    document.getElementById("key-refused").textContent = refused ? text("keyRefused") : "";
    field.value = "";
    dialog.onclose = () => dialog.showModal();
    document.getElementById("key-form").onsubmit = (event) => {
      event.preventDefault();
      useKey(field.value);
      field.value = "";
      dialog.onclose = null;
      dialog.close();
      resolve();
    };
    dialog.showModal();
  }).finally(() => (keyGiven = null));
  return keyGiven;
}

function offerLanguages() {
  const choice = document.getElementById("language");
  for (const [name, spoken] of Object.entries(LANGUAGES)) {
    const option = add(choice, "option", "", spoken);
    option.value = name;
    option.lang = name;
    option.selected = name === language;
  }
  choice.addEventListener("change", () => chooseLanguage(choice.value));
}

async function start() {
  translatePage();
  offerLanguages();
  for (const button of document.querySelectorAll("dialog .close")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  onKeyNeeded(askForKey);
  startConversation({ notify });
  startPassages();
  // The service may take its time, and the page is there.
  addEventListener("hashchange", takeShared);
  const service = await call("/readyz").catch((error) => {
    notify(error.message);
    return { uploads: false, feedback: false };
  });
  if (service.feedback) offerFeedback();
  startDocuments({ uploads: service.uploads, notify });
  addEventListener("hashchange", showView);
  showView();
  await openAddress().catch((error) => notify(error.message));
  await Promise.all([offerCollections(), offerQuestions()]).catch((error) => notify(error.message));
}

start();
