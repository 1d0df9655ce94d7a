// Whether an answer was of use: two buttons, and a few words for those who like to add some.

import { add } from "./elements.js";
import { call } from "./service.js";
import { text } from "./texts.js";

// The interface's own limit, of /openapi.json.
const COMMENT_CHARACTERS = 1_000;
const NAMES = { up: "helpful", down: "notHelpful" };
const ASKED = { up: "whatHelped", down: "whatIsWrong" };

let enabled = false;

/** Offer ratings from now on, below the answers that are there too. */
export function offerFeedback() {
  enabled = true;
  for (const one of document.querySelectorAll(".feedback")) one.hidden = false;
}

/**
 * Add the two buttons to *row*, what follows them to *below*.
 *
 * A turn keeps {rating, comment} as its feedback; *keep* is called when that changes.
 */
export function addFeedback(row, below, turn, { keep }) {
  const group = add(row, "div", "feedback row");
  group.hidden = !enabled;
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", text("wasHelpful"));
  const more = add(below, "div", "feedback-more");
  const said = add(more, "p", "soft");
  said.setAttribute("role", "status");
  const buttons = Object.fromEntries(Object.keys(NAMES).map((rating) => [rating, addButton(rating)]));
  showRating();
  if (turn.feedback?.comment) said.textContent = text("thanks");

  function addButton(rating) {
    const button = add(group, "button", `quiet small thumb ${rating}`);
    button.type = "button";
    button.title = text(NAMES[rating]);
    button.setAttribute("aria-label", text(NAMES[rating]));
    button.addEventListener("click", () => rate(rating));
    return button;
  }

  function showRating() {
    for (const [rating, button] of Object.entries(buttons)) {
      button.setAttribute("aria-pressed", String(turn.feedback?.rating === rating));
    }
  }

  async function send(feedback) {
    await call("/feedback", {
      method: "POST",
      body: { answer_id: turn.response.answer_id, ...feedback },
    });
    turn.feedback = feedback;
    keep();
    showRating();
    said.textContent = text("thanks");
  }

  async function rate(rating) {
    closeForm();
    try {
      await send({ rating });
    } catch (error) {
      said.textContent = error.message;
      return;
    }
    askForWords(rating);
  }

  function askForWords(rating) {
    closeForm();
    const form = add(more, "form", "");
    const label = add(form, "label", "", text(ASKED[rating]));
    const field = add(form, "textarea", "");
    field.id = label.htmlFor = `comment-${turn.response.answer_id.slice(-16)}`;
    field.rows = 2;
    field.maxLength = COMMENT_CHARACTERS;
    const actions = add(form, "div", "row");
    const submit = add(actions, "button", "small", text("sendComment"));
    const close = add(actions, "button", "quiet small", text("close"));
    close.type = "button";
    close.addEventListener("click", () => {
      closeForm();
      buttons[rating].focus();
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const comment = field.value.trim();
      submit.disabled = true;
      try {
        if (comment) await send({ rating, comment });
        closeForm();
        buttons[rating].focus();
      } catch (error) {
        submit.disabled = false;
        said.textContent = error.message;
      }
    });
    form.scrollIntoView({ block: "nearest" });
  }

  function closeForm() {
    more.querySelector("form")?.remove();
  }
}
