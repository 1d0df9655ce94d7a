// A passage in its document: in the extracted text, and on the page of the PDF or in the picture.

import { add } from "./elements.js";
import { call } from "./service.js";
import { text } from "./texts.js";

const CONTEXT_CHARACTERS = 1500;
// What can be shown, by the name's ending where the type says nothing.
const VIEWERS = {
  "application/pdf": "pdf",
  "image/png": "picture",
  "image/jpeg": "picture",
  "image/webp": "picture",
  "image/tiff": "tiff",
};
const ENDINGS = {
  pdf: "pdf",
  png: "picture",
  jpg: "picture",
  jpeg: "picture",
  webp: "picture",
  tif: "tiff",
  tiff: "tiff",
};
const SAYS_NOTHING = ["", "application/octet-stream", "binary/octet-stream"];
const BETWEEN_CELLS = /\t| \| /;
const SHEETS = ["xlsx", "xls", "xlsb", "ods", "csv"];
const SLIDES = ["pptx", "ppt", "odp"];

const dialog = document.getElementById("passage");
const title = document.getElementById("passage-title");
const facts = document.getElementById("passage-facts");
const note = document.getElementById("passage-note");
const shown = document.getElementById("passage-text");
const views = document.getElementById("passage-views");
const original = document.getElementById("passage-original");
const frame = document.getElementById("page-frame");
const tools = document.getElementById("page-tools");
const turning = document.getElementById("page-turning");
const place = document.getElementById("page-place");
const download = document.getElementById("download");

let opened = null;
let viewer = null;

export function startPassages() {
  // The page was loaded again while a passage was open.
  if (history.state?.passage) history.replaceState(null, "");
  dialog.addEventListener("close", () => {
    opened = null;
    endViewer();
    // The Back that would have closed it has nothing left to do.
    if (history.state?.passage) history.back();
  });
  addEventListener("popstate", () => {
    if (dialog.open && !history.state?.passage) dialog.close();
  });
  for (const choice of views.querySelectorAll("input")) {
    choice.addEventListener("change", () => showView(choice.value));
  }
  for (const [id, act] of Object.entries({
    "previous-page": () => viewer?.turn(-1),
    "next-page": () => viewer?.turn(1),
    "zoom-out": () => viewer?.zoom(1 / 1.25),
    "zoom-in": () => viewer?.zoom(1.25),
  })) {
    document.getElementById(id).addEventListener("click", act);
  }
  download.addEventListener("click", async () => {
    const { document_id: id } = opened.passage;
    try {
      // Fetched only now: a link is good for some minutes.
      location.assign((await call(`/documents/${id}/original`)).url);
    } catch (error) {
      note.textContent = error.message;
    }
  });
}

/** Return what is known of a quote: verified, described (by Gemini, of a picture) or unverified. */
export function verdictOn(citation) {
  if (citation.description) return "described";
  return citation.verified ? "verified" : "unverified";
}

/** Return what the parts of a document are called: pages, slides or sheets. */
export function nameOfPlace(name, page) {
  const ending = name.toLowerCase().split(".").pop();
  if (SHEETS.includes(ending)) return text("sheet", { page });
  return text(SLIDES.includes(ending) ? "slide" : "page", { page });
}

/** Open *passage* with the quote of *citation* marked, or the whole passage where there is none. */
export async function openPassage(passage, citation) {
  const opening = { passage, citation };
  opened = opening;
  endViewer();
  title.textContent = passage.name;
  facts.replaceChildren();
  const page = citation?.page ?? passage.page;
  if (page !== null) add(facts, "span", "chip", nameOfPlace(passage.name, page));
  if (passage.heading) add(facts, "span", "", passage.heading);
  add(facts, "span", "uri", passage.uri);
  const verdict = passage.source === "figure" ? "described" : citation ? verdictOn(citation) : "verified";
  note.textContent = verdict === "verified" ? "" : text(verdict);
  views.hidden = true;
  download.hidden = true;
  showView("text");
  const quoted = citation?.verified ? citation : passage;
  const first = passage.char_start;
  show(passage, passage.text, quoted.char_start - first, quoted.char_end - first);
  if (!dialog.open) {
    history.pushState({ passage: true }, "");
    dialog.showModal();
  }
  scrollToMark();
  const isCurrent = () => opened === opening;
  await Promise.all([readAround(passage, quoted, isCurrent), readOriginal(passage, quoted, page, isCurrent)]);
}

/** Show the text around the quote. */
async function readAround(passage, quoted, isCurrent) {
  try {
    const around = await call(
      `/documents/${passage.document_id}/text?char_start=${quoted.char_start}` +
        `&char_end=${quoted.char_end}&context=${CONTEXT_CHARACTERS}`,
    );
    if (!isCurrent()) return;
    if (around.generation !== passage.generation) {
      note.textContent = text("changed");
      return;
    }
    const { char_start: first, highlight_start: start, highlight_end: end } = around;
    show(passage, around.text, start - first, end - first);
    scrollToMark();
  } catch (error) {
    if (isCurrent()) note.textContent = error.message;
  }
}

/** Show the page or the picture that the quote stands on, where the browser can show one. */
async function readOriginal(passage, quoted, page, isCurrent) {
  const path = `/documents/${passage.document_id}`;
  // Without it there is still the text; why it fails is said by that.
  const file = await call(`${path}/original`).catch(() => null);
  if (!file || !isCurrent() || file.generation !== passage.generation) return;
  download.hidden = false;
  const kind = viewerOf(file);
  if (!kind) return;
  const where = `generation=${file.generation}&char_start=${quoted.char_start}&char_end=${quoted.char_end}`;
  try {
    const [open, { marks }] = await Promise.all([loadViewer(kind), call(`${path}/marks?${where}`)]);
    if (!isCurrent()) return;
    turning.hidden = kind === "picture";
    tools.hidden = false;
    views.hidden = false;
    showView("page");
    const started = await open({ file, frame, marks, page: page ?? 1, onTurn: describePlace });
    if (!isCurrent()) started.end();
    else viewer = started;
    if (isCurrent() && !marks.length && !note.textContent) note.textContent = text("notMarked");
  } catch {
    if (!isCurrent()) return;
    views.hidden = true;
    showView("text");
    note.textContent = text("notShown");
  }
}

/** Return what shows a file, undefined where nothing does. */
function viewerOf({ content_type: type, name }) {
  const ending = name.toLowerCase().split(".").pop();
  return SAYS_NOTHING.includes(type ?? "") ? ENDINGS[ending] : VIEWERS[type];
}

async function loadViewer(kind) {
  if (kind === "pdf") return (await import("./pdf.js")).openPdf;
  if (kind === "tiff") return (await import("./tiff.js")).openTiff;
  return (await import("./picture.js")).openPicture;
}

function describePlace(page, pages) {
  place.textContent = text("pageOf", { page, pages });
  document.getElementById("previous-page").disabled = page <= 1;
  document.getElementById("next-page").disabled = page >= pages;
}

function endViewer() {
  viewer?.end();
  viewer = null;
  frame.replaceChildren();
}

function showView(name) {
  for (const choice of views.querySelectorAll("input")) choice.checked = choice.value === name;
  original.hidden = name !== "page";
  shown.hidden = name !== "text";
  // The dialog keeps its size while its views are changed.
  dialog.classList.toggle("wide", name === "page" || !views.hidden);
  if (name === "text") scrollToMark();
}

/** Show *content* with its structure, the characters from *start* to *end* marked. */
function show(passage, content, start, end) {
  // Offsets count characters; a string's own index counts UTF-16 units.
  const characters = Array.from(content);
  const from = characters.slice(0, start).join("").length;
  const to = from + characters.slice(start, end).join("").length;
  shown.replaceChildren();
  const mark = (parent, first, last) => {
    const cuts = [first, Math.min(Math.max(from, first), last), Math.min(Math.max(to, first), last), last];
    parent.append(content.slice(cuts[0], cuts[1]));
    if (cuts[2] > cuts[1]) add(parent, "mark", "", content.slice(cuts[1], cuts[2]));
    parent.append(content.slice(cuts[2], cuts[3]));
  };
  for (const block of blocksOf(content)) {
    if (block.kind === "table") showTable(content, block, passage.header, mark);
    else mark(add(shown, "div", block.kind), block.start, block.end);
  }
}

/** Return the parts of extracted text: headings, rows with signs between their cells, all else. */
function blocksOf(content) {
  const blocks = [];
  let start = 0;
  for (const line of content.split("\n")) {
    const end = start + line.length;
    const heading = /^#{1,6} /.exec(line);
    const kind = heading ? "heading" : BETWEEN_CELLS.test(line) ? "table" : "plain";
    const last = blocks.at(-1);
    if (kind !== "heading" && last?.kind === kind) last.end = end;
    else blocks.push({ kind, start: start + (heading?.[0].length ?? 0), end });
    start = end + 1;
  }
  return blocks.filter((block) => content.slice(block.start, block.end).trim());
}

function showTable(content, block, header, mark) {
  const table = add(add(shown, "div", "table"), "table", "");
  // Rows far below the header have it repeated.
  if (header && !content.includes(header)) {
    const head = add(table, "thead", "");
    for (const line of header.split("\n")) {
      const row = add(head, "tr", "");
      for (const cell of line.split(BETWEEN_CELLS)) add(row, "th", "", cell);
    }
  }
  const body = add(table, "tbody", "");
  let start = block.start;
  for (const line of content.slice(block.start, block.end).split("\n")) {
    const row = add(body, "tr", "");
    for (const cell of line.split(BETWEEN_CELLS)) {
      // Between two cells stands one sign, or one with a blank on both sides.
      start = content.indexOf(cell, start);
      mark(add(row, "td", ""), start, start + cell.length);
      start += cell.length;
    }
    start = content.indexOf("\n", start) + 1;
  }
}

function scrollToMark() {
  const mark = shown.querySelector("mark");
  // Not scrollIntoView: on a phone it would move the page behind the dialog as well.
  if (mark) shown.scrollTop = mark.offsetTop - shown.clientHeight / 3;
}
