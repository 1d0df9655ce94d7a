// Pages of a TIFF, which no browser shows by itself, with rectangles marked on them.

import "./vendor/utif2-4.1.0/pako_inflate.min.js";
import "./vendor/utif2-4.1.0/UTIF.js";

import { add } from "./elements.js";
import { addMark, makeSheet, showSheet, widthIn, ZOOMS } from "./sheet.js";
import { text } from "./texts.js";

const MAX_BYTES = 100_000_000;
const MAX_PIXELS = 60_000_000;
// Tags of the format (TIFF 6.0, section 8): a smaller copy of another page, and how it is turned.
const SUBFILE_TYPE = "t254";
const REDUCED = 1;
const ORIENTATION = "t274";
// By orientation: the matrix of the upright page, of a page that is 1 wide and 1 high.
const UPRIGHT = {
  2: [-1, 0, 0, 1, 1, 0],
  3: [-1, 0, 0, -1, 1, 1],
  4: [1, 0, 0, -1, 0, 1],
  5: [0, 1, 1, 0, 0, 0],
  6: [0, 1, -1, 0, 1, 0],
  7: [0, -1, -1, 0, 1, 1],
  8: [0, -1, 1, 0, 0, 1],
};

/** Show *page* of a TIFF in *frame*, and return what turns the pages. */
export async function openTiff({ file, frame, marks, page, onTurn }) {
  if (file.size > MAX_BYTES) throw new Error("too large");
  frame.replaceChildren();
  add(frame, "p", "soft", text("opening"));
  const response = await fetch(file.url);
  if (!response.ok) throw new Error(response.statusText);
  const bytes = await response.arrayBuffer();
  const pages = self.UTIF.decode(bytes).filter((one) => !((one[SUBFILE_TYPE]?.[0] ?? 0) & REDUCED));
  let number = 0;
  let zoomed = 1;
  let picture = null;

  function render() {
    const scale = (zoomed * Math.min(picture.width, widthIn(frame))) / picture.width;
    const height = picture.height * scale;
    const sheet = makeSheet(picture.width * scale, height);
    sheet.append(picture);
    for (const { left, bottom, right, top } of marks.filter((one) => one.page === number)) {
      addMark(sheet, [left * scale, height - bottom * scale], [right * scale, height - top * scale]);
    }
    frame.dataset.page = number;
    showSheet(frame, sheet);
  }

  function go(wanted) {
    number = Math.min(Math.max(1, wanted), pages.length);
    picture = draw(bytes, pages[number - 1]);
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", text("picture", { page: number, name: file.name }));
    onTurn(number, pages.length);
    render();
  }

  go(marks[0]?.page ?? page);
  return {
    turn: (steps) => go(number + steps),
    zoom(factor) {
      zoomed = Math.min(Math.max(zoomed * factor, ZOOMS[0]), ZOOMS[1]);
      render();
    },
    end() {},
  };
}

/** Return a page as a canvas, upright. */
function draw(bytes, page) {
  // Known before the page is unpacked, which takes memory for all of it.
  if (page.t256[0] * page.t257[0] > MAX_PIXELS) throw new Error("too large");
  self.UTIF.decodeImage(bytes, page);
  const { width, height } = page;
  const flat = new OffscreenCanvas(width, height);
  const pixels = new Uint8ClampedArray(self.UTIF.toRGBA8(page));
  flat.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
  const orientation = page[ORIENTATION]?.[0] ?? 1;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = orientation > 4 ? [height, width] : [width, height];
  const context = canvas.getContext("2d");
  const [a, b, c, d, x, y] = UPRIGHT[orientation] ?? [1, 0, 0, 1, 0, 0];
  context.setTransform(a, b, c, d, x * canvas.width, y * canvas.height);
  context.drawImage(flat, 0, 0);
  return canvas;
}
