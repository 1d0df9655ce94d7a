// What the page says, in the languages it speaks: a file each in texts/. {name} stands for a value; a
// text in several forms takes the one that its language uses for {count}.

import { local } from "./storage.js";

/** Each language by the name that its speakers give it. */
export const LANGUAGES = {
  en: "English",
  de: "Deutsch",
  es: "Español",
  fr: "Français",
  vi: "Tiếng Việt",
};

const CHOSEN = "kaydangpt-language";

const chosen = local.get(CHOSEN);

/** The locale that the user has chosen, or likes best of those the page speaks. */
export const locale =
  chosen in LANGUAGES
    ? chosen
    : (navigator.languages.find((tag) => tag.split("-")[0] in LANGUAGES) ?? "en");

export const language = locale.split("-")[0];

const { default: texts } = await import(`./texts/${language}.js`);
const plurals = new Intl.PluralRules(language);

/** Speak *name* from now on. */
export function chooseLanguage(name) {
  local.set(CHOSEN, name);
  location.reload();
}

/** Return the text called *name* in the user's language, its {places} filled in. */
export function text(name, values = {}) {
  const known = texts[name];
  const form = typeof known === "string" ? known : known[plurals.select(values.count)];
  return form.replace(/\{(\w+)\}/g, (_, place) => shown(values[place]));
}

/** Return whether there is a text called *name*. */
export function hasText(name) {
  return Object.hasOwn(texts, name);
}

function shown(value) {
  return typeof value === "number" ? new Intl.NumberFormat(locale).format(value) : String(value);
}

/** Put the texts into the elements of the page that name one. */
export function translatePage() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text);
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
  }
  for (const element of document.querySelectorAll("[data-placeholder]")) {
    element.placeholder = text(element.dataset.placeholder);
  }
}
