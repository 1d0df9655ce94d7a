// The documents: state, progress, reason; upload, delete and retry where the service may write.

import { offerCollections } from "./conversation.js";
import { add } from "./elements.js";
import { call, upload } from "./service.js";
import { locale, text } from "./texts.js";

const POLL_MILLISECONDS = 2000;
const UPLOADS_AT_ONCE = 3;
const SIZES = ["kilobyte", "megabyte", "gigabyte"];

const page = document.getElementById("documents-page");
const list = document.getElementById("document-list");
const empty = document.getElementById("no-documents");
const more = document.getElementById("more");
const filter = document.getElementById("document-filter");
const prefix = document.getElementById("prefix");
const collection = document.getElementById("shown-collection");
const state = document.getElementById("state");
const folder = document.getElementById("folder");
const files = document.getElementById("files");
const uploads = document.getElementById("uploads");
const confirmation = document.getElementById("confirm");

let mayWrite = false;
let notify = null;
let pagesShown = 1;
let shownAs = "";
let lastRead = 0;
let reading = 0;

export function startDocuments(service) {
  mayWrite = service.uploads;
  notify = service.notify;
  document.getElementById("upload").hidden = !mayWrite;
  filter.addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("input", () => {
    pagesShown = 1;
    refresh();
  });
  more.addEventListener("click", () => {
    pagesShown += 1;
    refresh();
  });
  files.addEventListener("change", () => {
    send([...files.files].map((file) => ({ file, path: file.name })));
    files.value = "";
  });
  acceptDrops();
  setInterval(() => {
    if (!page.hidden && !document.hidden && !reading) refresh();
  }, POLL_MILLISECONDS);
}

/** Take files anywhere on the page: a browser would leave it to open a file that is dropped. */
function acceptDrops() {
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", mayWrite);
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  addEventListener("drop", async (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (!mayWrite) return;
    location.hash = "#documents";
    // Entries must be taken before the first await: the list of items is emptied then.
    const dropped = [...event.dataTransfer.items]
      .filter((item) => item.kind === "file")
      .map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
    try {
      send((await Promise.all(dropped.map(readDropped))).flat());
    } catch (error) {
      notify(error.message);
    }
  });
}

/** Return the files of a file, or of a folder with the folders in it. */
async function readDropped(entry) {
  if (entry instanceof File) return [{ file: entry, path: entry.name }];
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, path: entry.fullPath.replace(/^\//, "") }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A reader hands out a part of a folder at a time, and nothing at its end.
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return found;
    for (const inner of part) found.push(...(await readDropped(inner)));
  }
}

/** Read the documents and show what has changed. */
export async function refresh() {
  const number = ++lastRead;
  reading += 1;
  try {
    const query = new URLSearchParams({ limit: "100" });
    if (prefix.value) query.set("prefix", prefix.value);
    if (collection.value.trim()) query.set("collection", collection.value.trim());
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
    // A later look, with another filter perhaps, has overtaken this one.
    if (number === lastRead) show(documents, cursor);
  } catch (error) {
    notify(error.message);
  } finally {
    reading -= 1;
  }
}

function show(documents, cursor) {
  more.hidden = !cursor;
  empty.hidden = documents.length > 0;
  const now = JSON.stringify(documents);
  if (now === shownAs) return; // a list that is rebuilt for nothing takes the focus away
  shownAs = now;
  const focused = document.activeElement?.id;
  list.replaceChildren(...documents.map(describe));
  if (focused) document.getElementById(focused)?.focus();
}

function describe(one) {
  const item = document.createElement("li");
  item.dataset.name = one.name;
  const line = add(item, "div", "headline");
  const title = add(line, "div", "row");
  add(title, "span", "name", one.name);
  add(title, "span", `state ${one.state}`, text(one.state));
  if (mayWrite) {
    const actions = add(line, "div", "actions");
    if (one.state === "failed") addButton(actions, one, "retry", () => change(one, "retry"));
    addButton(actions, one, "delete", () => askDelete(one));
  }
  if (one.chunks && one.state === "indexing") {
    const progress = add(item, "progress", "");
    progress.max = one.chunks;
    progress.value = one.chunks_embedded;
    progress.setAttribute("aria-label", one.name);
  }
  add(item, "p", "facts", knownOf(one).join(" · "));
  if (one.pages_without_text.length && one.state === "ready") {
    add(item, "p", "facts", text("withoutText", { pages: one.pages_without_text.join(", ") }));
  }
  if (one.reason) add(item, "p", "reason", one.reason.message);
  return item;
}

function knownOf(one) {
  const known = [];
  if (!one.name.startsWith(`${one.collection}/`)) known.push(one.collection);
  known.push(formatSize(one.size));
  if (one.pages !== null) known.push(text("pages", { count: one.pages }));
  if (one.chunks && one.state === "indexing") {
    known.push(text("chunks", {
        done: one.chunks_embedded,
        all: one.chunks,
        percent: Math.floor((100 * one.chunks_embedded) / one.chunks),
      }));
  } else if (one.chunks) {
    known.push(text("passages", { count: one.chunks }));
  }
  const updated = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
  known.push(updated.format(new Date(one.updated)));
  return known.filter(Boolean);
}

function formatSize(bytes) {
  let step = 1;
  while (step < SIZES.length && bytes >= 1000 ** (step + 1)) step += 1;
  return new Intl.NumberFormat(locale, {
    style: "unit",
    unit: SIZES[step - 1],
    maximumFractionDigits: 1,
    roundingMode: "ceil", // a file of a few bytes is not empty
  }).format(bytes / 1000 ** step);
}

function addButton(parent, one, name, action) {
  const element = add(parent, "button", "quiet small", text(name));
  element.type = "button";
  element.id = `${name}-${one.id}`;
  element.setAttribute("aria-label", `${text(name)}: ${one.name}`);
  element.addEventListener("click", action);
}

function askDelete(one) {
  document.getElementById("confirm-text").textContent = text("askDelete", { name: one.name });
  document.getElementById("confirm-yes").onclick = () => {
    confirmation.close();
    change(one, "delete");
  };
  confirmation.showModal();
}

async function change(one, kind) {
  const [path, method, told] =
    kind === "delete"
      ? [`/documents/${one.id}`, "DELETE", "deleting"]
      : [`/documents/${one.id}/retry`, "POST", "retrying"];
  try {
    await call(path, { method });
    notify(text(told, { name: one.name }));
    await refresh();
  } catch (error) {
    notify(error.message);
  }
}

async function send(chosen) {
  const directory = folder.value.trim().replace(/^\/+|\/+$/g, "");
  const waiting = chosen.map(({ file, path }) => {
    const name = directory ? `${directory}/${path}` : path;
    return { file, name, line: addUpload(name) };
  });
  const worker = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const { file, name, line } = next;
      try {
        await upload(file, name, line.progress);
        line.remove();
        notify(text("uploaded", { name }));
      } catch (error) {
        line.fail(error.message);
      }
    }
  };
  await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, worker));
  await refresh();
  await offerCollections().catch((error) => notify(error.message));
}

function addUpload(name) {
  uploads.hidden = false;
  const item = add(uploads, "li", "");
  add(item, "span", "name", name);
  const progress = add(item, "progress", "");
  progress.max = 100;
  progress.setAttribute("aria-label", name);
  const remove = () => {
    item.remove();
    uploads.hidden = !uploads.children.length;
  };
  return {
    remove,
    progress(percent) {
      progress.value = percent;
    },
    fail(message) {
      progress.remove();
      add(item, "span", "reason", message).setAttribute("role", "alert");
      const close = add(item, "button", "quiet small", text("close"));
      close.type = "button";
      close.setAttribute("aria-label", `${text("close")}: ${name}`);
      close.addEventListener("click", remove);
    },
  };
}
