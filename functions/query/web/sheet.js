// A page of a document as a sheet in a frame, with rectangles marked on it.

import { add } from "./elements.js";

export const ZOOMS = [0.5, 4];
// A page is shown no narrower than this: on a phone its text would be too small to read.
const LEAST_WIDTH = 560;

/** Return how wide a sheet is to be, in pixels, that fills *frame* at a zoom of 1. */
export function widthIn(frame) {
  return Math.max(LEAST_WIDTH, frame.clientWidth - 2);
}

/** Return an empty sheet of this size, in pixels. */
export function makeSheet(width, height) {
  const sheet = document.createElement("div");
  sheet.className = "sheet";
  sheet.style.width = `${width}px`;
  sheet.style.height = `${height}px`;
  return sheet;
}

/** Mark the rectangle between two points of the sheet. */
export function addMark(sheet, [x1, y1], [x2, y2]) {
  const box = add(sheet, "div", "page-mark");
  box.style.left = `${Math.min(x1, x2)}px`;
  box.style.top = `${Math.min(y1, y2)}px`;
  box.style.width = `${Math.abs(x2 - x1)}px`;
  box.style.height = `${Math.abs(y2 - y1)}px`;
}

/** Show *sheet* in *frame*, scrolled to its first mark. */
export function showSheet(frame, sheet) {
  frame.replaceChildren(sheet);
  const mark = sheet.querySelector(".page-mark");
  frame.scrollTop = mark ? mark.offsetTop - frame.clientHeight / 3 : 0;
  frame.scrollLeft = mark ? mark.offsetLeft - 16 : 0;
}
