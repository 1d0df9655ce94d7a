// The page: two views, chosen by the address, over the HTTP interface.

import { offerCollections, offerQuestions, startConversation } from "./conversation.js";
import { refresh, startDocuments } from "./documents.js";
import { add } from "./elements.js";
import { startPassages } from "./passage.js";
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
  const service = await call("/readyz").catch((error) => {
    notify(error.message);
    return { uploads: false };
  });
  startDocuments({ uploads: service.uploads, notify });
  addEventListener("hashchange", showView);
  showView();
  await Promise.all([offerCollections(), offerQuestions()]).catch((error) => notify(error.message));
}

start();
