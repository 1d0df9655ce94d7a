// Elements are made here, and only here: their content is always text.

/** Append a new element to *parent* and return it. */
export function add(parent, kind, className, content = "") {
  const element = document.createElement(kind);
  if (className) element.className = className;
  element.textContent = content;
  parent.append(element);
  return element;
}
