// A passage in its context: the quoted characters marked, the page named.

import { call } from "./service.js";
import { text } from "./texts.js";

const CONTEXT_CHARACTERS = 1500;

const dialog = document.getElementById("passage");
const title = document.getElementById("passage-title");
const facts = document.getElementById("passage-facts");
const shown = document.getElementById("passage-text");

/** Open *passage* with the quote of *citation* marked, or the whole passage where there is none. */
export async function openPassage(passage, citation) {
  title.textContent = passage.name;
  const known = [passage.uri];
  if (passage.page !== null) known.push(text("page", { page: passage.page }));
  if (passage.heading) known.push(passage.heading);
  facts.textContent = known.join(" · ");
  shown.textContent = passage.text;
  dialog.showModal();
  const quoted = citation?.verified ? citation : passage;
  try {
    const around = await call(
      `/documents/${passage.document_id}/text?char_start=${quoted.char_start}` +
        `&char_end=${quoted.char_end}&context=${CONTEXT_CHARACTERS}`,
    );
    if (around.generation !== passage.generation) throw new Error(text("changed"));
    mark(around);
  } catch (error) {
    facts.textContent = `${known.join(" · ")} · ${error.message}`;
  }
}

function mark(around) {
  // Offsets count characters; a string's own index counts UTF-16 units.
  const characters = Array.from(around.text);
  const start = around.highlight_start - around.char_start;
  const end = around.highlight_end - around.char_start;
  const quote = document.createElement("mark");
  quote.textContent = characters.slice(start, end).join("");
  shown.replaceChildren(
    characters.slice(0, start).join(""),
    quote,
    characters.slice(end).join(""),
  );
  quote.scrollIntoView({ block: "center" });
}
