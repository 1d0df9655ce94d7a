// The documents: search, state, progress, reason; upload, delete and retry where the service may write.

import { askIn, describeUnknown, offerCollections } from "./conversation.js";
import { add } from "./elements.js";
import { call, upload } from "./service.js";
import { hasText, locale, text } from "./texts.js";

const A_PAGE = 100;
const MOST_A_REQUEST = 500;
const UPLOADS_AT_ONCE = 3;
const CHANGES_AT_ONCE = 4;
const SIZES = ["kilobyte", "megabyte", "gigabyte"];

// How soon the list is read again: sooner while documents are indexed, later and later while nothing
// changes, and not at all after a while, until somebody comes back to the page.
const FIRST_MILLISECONDS = 2_000;
const BUSY_MILLISECONDS = 30_000;
const IDLE_MILLISECONDS = 300_000;
const GIVE_UP_MILLISECONDS = 900_000;
const WHILE_SENDING_MILLISECONDS = 3_000;

// Another try can help where the service was at fault, or where something outside has changed.
const RETRIED = ["attempts_exhausted", "embedding_failed", "access_denied"];
const REASONS_LIKE = {
  too_many_pages: "too_large",
  too_many_pixels: "too_large",
  too_many_chunks: "too_large",
  too_much_text: "too_large",
  decompression_limit: "too_large",
  cell_limit: "too_large",
  out_of_memory: "timeout",
  embedding_failed: "attempts_exhausted",
};

const page = document.getElementById("documents-page");
const list = document.getElementById("document-list");
const empty = document.getElementById("no-documents");
const more = document.getElementById("more");
const filter = document.getElementById("document-filter");
const search = document.getElementById("search");
const collection = document.getElementById("shown-collection");
const state = document.getElementById("state");
const type = document.getElementById("type");
const sort = document.getElementById("sort");
const totals = document.getElementById("totals");
const bulk = document.getElementById("bulk");
const all = document.getElementById("select-all");
const folder = document.getElementById("folder");
const files = document.getElementById("files");
const uploads = document.getElementById("uploads");
const confirmation = document.getElementById("confirm");

let mayWrite = false;
let notify = null;
let wanted = A_PAGE;
let next = null;
let documents = [];
let lastRead = 0;
let timer = 0;
let wait = FIRST_MILLISECONDS;
let unchangedSince = Date.now();
let countedAs = "";
let names = null;
let reading = false;
const selected = new Set();

export function startDocuments(service) {
  mayWrite = service.uploads;
  notify = service.notify;
  document.getElementById("upload").hidden = !mayWrite;
  bulk.hidden = !mayWrite;
  filter.addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("input", () => {
    wanted = A_PAGE;
    selected.clear();
    refresh();
  });
  document.getElementById("refresh").addEventListener("click", refresh);
  more.addEventListener("click", readMore);
  new IntersectionObserver(([seen]) => {
    if (seen.isIntersecting && !more.hidden) more.click();
  }).observe(more);
  files.addEventListener("change", () => {
    send([...files.files].map((file) => ({ file, path: file.name })));
    files.value = "";
  });
  all.addEventListener("change", () => {
    for (const one of documents) {
      if (all.checked) selected.add(one.id);
      else selected.delete(one.id);
    }
    for (const box of list.querySelectorAll("input")) box.checked = all.checked;
    showSelection();
  });
  document.getElementById("delete-selected").addEventListener("click", () => {
    const chosen = documents.filter((one) => selected.has(one.id));
    confirm(text("askDeleteMany", { count: chosen.length }), () => changeMany(chosen, "delete"));
  });
  document.getElementById("retry-selected").addEventListener("click", () =>
    changeMany(documents.filter((one) => selected.has(one.id) && canRetry(one)), "retry"),
  );
  acceptDrops();
  for (const kind of ["visibilitychange", "focus", "pointerdown", "keydown"]) {
    addEventListener(kind, comeBack);
  }
}

/** Read on where the reading had ended because nothing changed for long. */
function comeBack() {
  if (isShown() && !timer && !reading) refresh();
}

function setReading(now) {
  reading = now;
  list.setAttribute("aria-busy", String(now));
}

function isShown() {
  return !page.hidden && !document.hidden;
}

function readLater({ changed }) {
  clearTimeout(timer);
  timer = 0;
  if (changed) {
    wait = FIRST_MILLISECONDS;
    unchangedSince = Date.now();
  }
  if (!isShown() || Date.now() - unchangedSince > GIVE_UP_MILLISECONDS) return;
  const busy = documents.some((one) => ["queued", "indexing"].includes(one.state));
  timer = setTimeout(() => {
    timer = 0;
    if (isShown()) refresh({ byItself: true });
  }, wait);
  wait = Math.min(wait * 2, busy ? BUSY_MILLISECONDS : IDLE_MILLISECONDS);
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
export async function refresh({ byItself = false } = {}) {
  const number = ++lastRead;
  clearTimeout(timer);
  timer = 0;
  const asked = describeFilter();
  setReading(true);
  try {
    const found = await readPages(asked);
    // A later look, with another filter perhaps, has overtaken this one.
    if (number !== lastRead) return;
    const changed = show(found);
    if (changed || !byItself) wait = FIRST_MILLISECONDS;
    if (changed || countedAs !== String(asked)) await count(asked, number);
    if (number === lastRead) readLater({ changed: changed || !byItself });
  } catch (error) {
    if (number !== lastRead) return;
    notify(error.message);
    readLater({ changed: false });
  } finally {
    if (number === lastRead) setReading(false);
  }
}

function describeFilter() {
  const [by, order] = sort.value.split(" ");
  const query = new URLSearchParams({ sort: by, order });
  if (search.value.trim()) query.set("search", search.value.trim());
  if (collection.value.trim()) query.set("collection", collection.value.trim());
  if (state.value) query.set("state", state.value);
  if (type.value) query.set("content_type", type.value);
  return query;
}

/** Read the documents that are shown, or would be, as they are now. */
async function readPages(asked) {
  const found = { documents: [], next: null };
  do {
    const left = wanted - found.documents.length;
    const answer = await readPage(asked, { cursor: found.next, limit: left });
    found.documents.push(...answer.documents);
    found.next = answer.next;
  } while (found.next && found.documents.length < wanted);
  return found;
}

function readPage(asked, { cursor, limit }) {
  const query = new URLSearchParams(asked);
  query.set("limit", String(Math.min(MOST_A_REQUEST, limit)));
  if (cursor) query.set("cursor", cursor);
  return call(`/documents?${query}`);
}

/** Read on behind what is shown, more at a time the more there is already. */
async function readMore() {
  if (!next) return;
  const number = ++lastRead;
  clearTimeout(timer);
  timer = 0;
  more.disabled = true;
  setReading(true);
  try {
    const read = await readPage(describeFilter(), { cursor: next, limit: documents.length });
    if (number !== lastRead) return;
    const known = new Set(documents.map((one) => one.id));
    show({
      documents: [...documents, ...read.documents.filter((one) => !known.has(one.id))],
      next: read.next,
    });
    wanted = documents.length;
    readLater({ changed: true });
  } catch (error) {
    notify(error.message);
    if (number === lastRead) readLater({ changed: false });
  } finally {
    more.disabled = false;
    if (number === lastRead) setReading(false);
  }
}

/** Show the list; return whether it is another one than before. Items that stayed are kept. */
function show(found) {
  documents = found.documents;
  next = found.next;
  more.hidden = !next;
  const known = new Map([...list.children].map((item) => [item.dataset.id, item]));
  const focused = document.activeElement?.id;
  let changed = known.size !== documents.length;
  let before = null;
  for (const one of documents) {
    let item = known.get(one.id);
    known.delete(one.id);
    // What was read before and stays is the same object.
    const now = item?.one === one ? item.described : JSON.stringify(one);
    if (item?.described !== now) {
      const made = describe(one);
      made.one = one;
      made.described = now;
      if (item) item.replaceWith(made);
      item = made;
      changed = true;
    }
    const after = before ? before.nextElementSibling : list.firstElementChild;
    if (after !== item) {
      list.insertBefore(item, after);
      changed = true;
    }
    before = item;
  }
  for (const item of known.values()) item.remove();
  if (changed && focused && document.activeElement?.id !== focused) {
    document.getElementById(focused)?.focus();
  }
  for (const id of selected) {
    if (!documents.some((one) => one.id === id)) selected.delete(id);
  }
  bulk.hidden = !mayWrite || !documents.length;
  showSelection();
  showEmptiness();
  return changed;
}

function showEmptiness() {
  empty.hidden = documents.length > 0;
  if (empty.hidden) return;
  const named = collection.value.trim();
  const unknown = named && names && !names.includes(named);
  empty.textContent = unknown ? describeUnknown(named) : text("noDocuments");
}

/** Say how many documents there are in each state, and offer the types that there are. */
async function count(asked, number) {
  const query = new URLSearchParams(asked);
  for (const name of ["sort", "order", "state"]) query.delete(name);
  query.set("values", "100");
  const [facets, known] = await Promise.all([call(`/facets?${query}`), offerCollections()]);
  if (number !== lastRead) return;
  countedAs = String(asked);
  names = known;
  showEmptiness();
  const byState = facets.state.values.map((one) =>
    text("countOf", { state: text(one.value), count: one.documents }),
  );
  const whole = text("total", { count: facets.documents }) + (facets.is_complete ? "" : " +");
  totals.textContent = [whole, ...byState].join(" · ");
  const chosen = type.value;
  const types = new Set(facets.content_type.values.map((one) => one.value).filter(Boolean));
  if (chosen) types.add(chosen);
  const options = [...types].sort().map((name) => new Option(nameOfType(name), name));
  type.replaceChildren(new Option(text("allTypes"), ""), ...options);
  type.value = chosen;
}

function nameOfType(type) {
  const short = type.split("/").pop().split(".").pop().replace(/^x-/, "");
  return short === type ? type : `${short} (${type})`;
}

function describe(one) {
  const item = document.createElement("li");
  item.dataset.name = one.name;
  item.dataset.id = one.id;
  const line = add(item, "div", "headline");
  const title = add(line, "div", "row");
  if (mayWrite) {
    const box = add(title, "input", "");
    box.type = "checkbox";
    box.id = `select-${one.id}`;
    box.checked = selected.has(one.id);
    box.setAttribute("aria-label", text("selectOne", { name: one.name }));
    box.addEventListener("change", () => {
      if (box.checked) selected.add(one.id);
      else selected.delete(one.id);
      showSelection();
    });
  }
  showName(add(title, "span", "name"), one.name);
  add(title, "span", `state ${one.state}`, text(one.state));
  const actions = add(line, "div", "actions");
  if (one.answering_generation !== null) {
    addButton(actions, one, "askAbout", () => askIn({ name: one.name }));
  }
  if (mayWrite) {
    if (canRetry(one)) addButton(actions, one, "retry", () => change(one, "retry"));
    addButton(actions, one, "delete", () =>
      confirm(text("askDelete", { name: one.name }), () => change(one, "delete")),
    );
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
  if (one.state === "ready") for (const notice of one.notices) add(item, "p", "facts", notice);
  if (["queued", "indexing"].includes(one.state) && one.answering_generation !== null) {
    add(item, "p", "facts", text("oldAnswers"));
  }
  if (one.reason) showReason(item, one.reason);
  return item;
}

/** Show a name, its folder as what can be asked by itself. */
function showName(parent, name) {
  const end = name.lastIndexOf("/") + 1;
  if (end) {
    const prefix = name.slice(0, end);
    const button = add(parent, "button", "link folder", prefix);
    button.type = "button";
    button.setAttribute("aria-label", `${text("askFolder")}: ${prefix}`);
    button.title = text("askFolder");
    button.addEventListener("click", () => askIn({ prefix }));
  }
  parent.append(name.slice(end));
}

/** Say in the reader's language why a document failed and what to do, and the service's own words. */
function showReason(item, { code, message }) {
  const name = `reason_${REASONS_LIKE[code] ?? code}`;
  if (!hasText(name)) {
    add(item, "p", "reason", message);
    return;
  }
  add(item, "p", "reason", text(name));
  const details = add(item, "details", "facts");
  add(details, "summary", "", text("serviceSays"));
  add(details, "p", "", message);
}

function canRetry(one) {
  return one.state === "failed" && RETRIED.includes(one.reason?.code);
}

function knownOf(one) {
  const known = [];
  if (!one.name.startsWith(`${one.collection}/`)) known.push(one.collection);
  known.push(formatSize(one.size));
  if (one.pages !== null) known.push(text("pages", { count: one.pages }));
  if (one.chunks && one.state === "indexing") {
    known.push(
      text("chunks", {
        done: one.chunks_embedded,
        all: one.chunks,
        percent: Math.floor((100 * one.chunks_embedded) / one.chunks),
      }),
    );
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

function confirm(message, act) {
  document.getElementById("confirm-text").textContent = message;
  document.getElementById("confirm-yes").onclick = () => {
    confirmation.close();
    act();
  };
  confirmation.showModal();
}

function showSelection() {
  const count = selected.size;
  document.getElementById("selected").textContent = count ? text("selected", { count }) : "";
  all.checked = count > 0 && count === documents.length;
  all.indeterminate = count > 0 && count < documents.length;
  document.getElementById("delete-selected").hidden = !count;
  document.getElementById("retry-selected").hidden = !documents.some(
    (one) => selected.has(one.id) && canRetry(one),
  );
}

function request(one, kind) {
  return kind === "delete"
    ? call(`/documents/${one.id}`, { method: "DELETE" })
    : call(`/documents/${one.id}/retry`, { method: "POST" });
}

async function change(one, kind) {
  try {
    await request(one, kind);
    notify(text(kind === "delete" ? "deleting" : "retrying", { name: one.name }));
    await refresh();
  } catch (error) {
    notify(error.message);
  }
}

/** Change many documents, some at a time, and say how far it is. */
async function changeMany(chosen, kind) {
  const waiting = [...chosen];
  const failures = [];
  let done = 0;
  const worker = async () => {
    for (let one = waiting.shift(); one; one = waiting.shift()) {
      try {
        await request(one, kind);
        selected.delete(one.id);
        done += 1;
      } catch (error) {
        failures.push(`${one.name}: ${error.message}`);
      }
      notify([text("manyDone", { done, all: chosen.length }), failures.at(-1)].filter(Boolean).join(". "));
    }
  };
  await Promise.all(Array.from({ length: CHANGES_AT_ONCE }, worker));
  await refresh();
}

async function send(chosen) {
  const directory = folder.value.trim().replace(/^\/+|\/+$/g, "");
  const waiting = chosen.map(({ file, path }) => {
    const name = directory ? `${directory}/${path}` : path;
    return { file, name, line: addUpload(name) };
  });
  let sent = 0;
  const meanwhile = setInterval(() => {
    if (isShown() && !reading) refresh({ byItself: true });
  }, WHILE_SENDING_MILLISECONDS);
  const worker = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const { file, name, line } = next;
      try {
        await upload(file, name, line.progress);
        line.remove();
        sent += 1;
        notify(chosen.length > 1 ? text("uploadedMany", { count: sent }) : text("uploaded", { name }));
      } catch (error) {
        line.fail(error.message);
      }
    }
  };
  await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, worker));
  clearInterval(meanwhile);
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
  const percent = add(item, "span", "soft");
  const remove = () => {
    item.remove();
    uploads.hidden = !uploads.children.length;
  };
  return {
    remove,
    progress(done) {
      progress.value = done;
      percent.textContent = new Intl.NumberFormat(locale, { style: "percent" }).format(done / 100);
    },
    fail(message) {
      progress.remove();
      percent.remove();
      add(item, "span", "reason", message).setAttribute("role", "alert");
      const close = add(item, "button", "quiet small", text("close"));
      close.type = "button";
      close.setAttribute("aria-label", `${text("close")}: ${name}`);
      close.addEventListener("click", remove);
    },
  };
}
