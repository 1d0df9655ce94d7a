// A passage in its context: the quoted characters marked, the page named.

import { add } from "./elements.js";
import { call } from "./service.js";
import { text } from "./texts.js";

const CONTEXT_CHARACTERS = 1500;

const dialog = document.getElementById("passage");
const title = document.getElementById("passage-title");
const facts = document.getElementById("passage-facts");
const note = document.getElementById("passage-note");
const shown = document.getElementById("passage-text");

let opened = null;

/** Open *passage* with the quote of *citation* marked, or the whole passage where there is none. */
export async function openPassage(passage, citation) {
  opened = passage;
  title.textContent = passage.name;
  facts.replaceChildren();
  if (passage.page !== null) add(facts, "span", "chip", text("page", { page: passage.page }));
  if (passage.heading) add(facts, "span", "", passage.heading);
  add(facts, "span", "", passage.uri);
  note.textContent = citation && !citation.verified ? text("unverified") : "";
  const quoted = citation?.verified ? citation : passage;
  show(passage.text, quoted.char_start - passage.char_start, quoted.char_end - passage.char_start);
  if (!dialog.open) dialog.showModal();
  scrollToMark();
  try {
    const around = await call(
      `/documents/${passage.document_id}/text?char_start=${quoted.char_start}` +
        `&char_end=${quoted.char_end}&context=${CONTEXT_CHARACTERS}`,
    );
    if (opened !== passage) return;
    if (around.generation !== passage.generation) {
      note.textContent = text("changed");
      return;
    }
    const { char_start: first, highlight_start: start, highlight_end: end } = around;
    show(around.text, start - first, end - first);
    scrollToMark();
  } catch (error) {
    if (opened === passage) note.textContent = error.message;
  }
}

function show(content, start, end) {
  // Offsets count characters; a string's own index counts UTF-16 units.
  const characters = Array.from(content);
  shown.replaceChildren(characters.slice(0, start).join(""));
  add(shown, "mark", "", characters.slice(start, end).join(""));
  shown.append(characters.slice(end).join(""));
}

function scrollToMark() {
  const mark = shown.querySelector("mark");
  // Not scrollIntoView: on a phone it would move the page behind the dialog as well.
  shown.scrollTop = mark.offsetTop - shown.clientHeight / 3;
}
