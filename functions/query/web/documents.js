// The documents: state, progress, reason; upload, delete and retry where the service may write.

import { offerCollections } from "./conversation.js";
import { add } from "./elements.js";
import { call, upload } from "./service.js";
import { text } from "./texts.js";

const POLL_MILLISECONDS = 2000;
const UPLOADS_AT_ONCE = 3;

const page = document.getElementById("documents-page");
const list = document.getElementById("document-list");
const empty = document.getElementById("no-documents");
const more = document.getElementById("more");
const prefix = document.getElementById("prefix");
const state = document.getElementById("state");
const folder = document.getElementById("folder");
const drop = document.getElementById("drop");
const files = document.getElementById("files");
const confirmation = document.getElementById("confirm");

let mayWrite = false;
let pagesShown = 1;
let shownAs = "";

export function startDocuments({ uploads, notify }) {
  mayWrite = uploads;
  document.getElementById("upload").hidden = !uploads;
  for (const control of [prefix, state]) {
    control.addEventListener("input", () => {
      pagesShown = 1;
      refresh(notify);
    });
  }
  more.addEventListener("click", () => {
    pagesShown += 1;
    refresh(notify);
  });
  files.addEventListener("change", () => {
    send([...files.files], notify);
    files.value = "";
  });
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    send([...event.dataTransfer.files], notify);
  });
  setInterval(() => {
    if (!page.hidden && !document.hidden) refresh(notify);
  }, POLL_MILLISECONDS);
}

/** Read the documents and show what has changed. */
export async function refresh(notify) {
  try {
    const query = new URLSearchParams({ limit: "100" });
    if (prefix.value) query.set("prefix", prefix.value);
    if (state.value) query.set("state", state.value);
    const documents = [];
    let cursor = null;
    for (let count = 0; count < pagesShown; count += 1) {
      if (cursor) query.set("cursor", cursor);
      const found = await call(`/documents?${query}`);
      documents.push(...found.documents);
      cursor = found.next;
      if (!cursor) break;
    }
    show(documents, cursor, notify);
  } catch (error) {
    notify(error.message);
  }
}

function show(documents, cursor, notify) {
  more.hidden = !cursor;
  empty.hidden = documents.length > 0;
  const now = JSON.stringify(documents);
  if (now === shownAs) return; // a list that is rebuilt for nothing takes the focus away
  shownAs = now;
  const focused = document.activeElement?.id;
  list.replaceChildren(...documents.map((one) => describe(one, notify)));
  if (focused) document.getElementById(focused)?.focus();
}

function describe(one, notify) {
  const item = document.createElement("li");
  item.dataset.name = one.name;
  const line = add(item, "div", "row");
  add(line, "span", "name", one.name);
  add(line, "span", `state ${one.state}`, text(one.state));
  add(line, "span", "grow");
  if (mayWrite) {
    button(line, `retry-${one.id}`, "retry", () => change(one, "retry", notify));
    button(line, `delete-${one.id}`, "delete", () => askDelete(one, notify));
  }
  const known = [one.collection];
  if (one.pages !== null) known.push(text("pages", { pages: one.pages }));
  if (one.chunks && one.state === "indexing") {
    known.push(text("chunks", { done: one.chunks_embedded, all: one.chunks }));
    const progress = add(item, "progress", "");
    progress.max = one.chunks;
    progress.value = one.chunks_embedded;
    progress.setAttribute("aria-label", one.name);
  } else if (one.chunks) {
    known.push(text("passages", { all: one.chunks }));
  }
  known.push(new Date(one.updated).toLocaleString());
  add(item, "p", "facts", known.join(" · "));
  if (one.pages_without_text.length && one.state === "ready") {
    add(item, "p", "facts", text("withoutText", { pages: one.pages_without_text.join(", ") }));
  }
  if (one.reason) add(item, "p", "reason", one.reason.message);
  return item;
}

function button(parent, id, name, action) {
  const element = add(parent, "button", "quiet", text(name));
  element.type = "button";
  element.id = id;
  element.addEventListener("click", action);
}

function askDelete(one, notify) {
  document.getElementById("confirm-text").textContent = text("askDelete", { name: one.name });
  document.getElementById("confirm-yes").onclick = () => {
    confirmation.close();
    change(one, "delete", notify);
  };
  confirmation.showModal();
}

async function change(one, kind, notify) {
  const [path, method, told] =
    kind === "delete"
      ? [`/documents/${one.id}`, "DELETE", "deleting"]
      : [`/documents/${one.id}/retry`, "POST", "retrying"];
  try {
    await call(path, { method });
    notify(text(told, { name: one.name }));
    await refresh(notify);
  } catch (error) {
    notify(error.message);
  }
}

async function send(chosen, notify) {
  const directory = folder.value.trim().replace(/^\/+|\/+$/g, "");
  const waiting = chosen.map((file) => ({
    file,
    name: directory ? `${directory}/${file.name}` : file.name,
    line: add(document.getElementById("uploads"), "li", ""),
  }));
  const worker = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const { file, name, line } = next;
      try {
        await upload(file, name, (percent) => {
          line.textContent = text("uploading", { name, percent });
        });
        line.textContent = text("uploaded", { name });
      } catch (error) {
        line.textContent = text("uploadFailed", { name, message: error.message });
      }
    }
  };
  await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, worker));
  await refresh(notify);
  await offerCollections().catch((error) => notify(error.message));
}
