// The page: two views, chosen by the address, over the HTTP interface.

import { offerCollections, startConversation } from "./conversation.js";
import { refresh, startDocuments } from "./documents.js";
import { call, useKey } from "./service.js";
import { translatePage } from "./texts.js";

const NOTICE_MILLISECONDS = 8000;

const notice = document.getElementById("notice");
let noticeEnds = 0;

function notify(message) {
  notice.textContent = message;
  clearTimeout(noticeEnds);
  noticeEnds = setTimeout(() => (notice.textContent = ""), NOTICE_MILLISECONDS);
}

function showView() {
  const name = location.hash === "#documents" ? "documents" : "ask";
  for (const view of ["ask", "documents"]) {
    document.getElementById(`${view}-page`).hidden = view !== name;
    const link = document.querySelector(`nav a[href="#${view}"]`);
    if (view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (name === "documents") refresh(notify);
  else document.getElementById("question").focus({ preventScroll: true });
}

/** Ask for a key where the service wants one, until it has taken one. */
async function logIn() {
  const dialog = document.getElementById("key-dialog");
  const form = document.getElementById("key-form");
  for (;;) {
    try {
      await offerCollections();
      return;
    } catch (error) {
      if (error.status !== 401) {
        notify(error.message);
        return;
      }
    }
    dialog.showModal();
    await new Promise((resolve) => {
      form.onsubmit = (event) => {
        event.preventDefault();
        useKey(document.getElementById("key").value);
        dialog.close();
        resolve();
      };
    });
  }
}

async function start() {
  translatePage();
  for (const button of document.querySelectorAll("dialog .close")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  startConversation();
  const service = await call("/readyz").catch((error) => {
    notify(error.message);
    return { uploads: false };
  });
  startDocuments({ uploads: service.uploads, notify });
  await logIn();
  addEventListener("hashchange", showView);
  showView();
}

start();
