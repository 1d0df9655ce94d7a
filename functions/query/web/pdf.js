// Pages of a PDF by PDF.js, with rectangles marked on them. Loaded when the first PDF is opened.

import { add } from "./elements.js";
import { addMark, makeSheet, showSheet, widthIn, ZOOMS } from "./sheet.js";
import { text } from "./texts.js";

const PDFJS = new URL("./vendor/pdfjs-6.5.438/", import.meta.url).href;
// A page of a drawing in a large scale would take gigabytes.
const MAX_PIXELS = 16_000_000;

const library = import(`${PDFJS}pdf.min.mjs`).then((pdfjs) => {
  pdfjs.GlobalWorkerOptions.workerSrc = `${PDFJS}pdf.worker.min.mjs`;
  return pdfjs;
});

/**
 * Show *page* of a PDF in *frame*, and return what turns the pages.
 *
 * Only the parts of the file that the page needs are fetched. The policy of the page lets no code be
 * made at run time, so that pictures are decoded without WebAssembly.
 */
export async function openPdf({ file, frame, marks, page, onTurn }) {
  const pdfjs = await library;
  const loading = pdfjs.getDocument({
    url: new URL(file.url, location.href).href,
    disableAutoFetch: true,
    disableStream: true,
    rangeChunkSize: 512 * 1024,
    cMapUrl: `${PDFJS}cmaps/`,
    standardFontDataUrl: `${PDFJS}standard_fonts/`,
    wasmUrl: `${PDFJS}wasm/`,
    useSystemFonts: true,
    useWasm: false,
    enableXfa: false,
  });
  let rendering = null;
  let zoomed = 1;
  let number = 0;
  frame.replaceChildren();
  add(frame, "p", "soft", text("opening"));

  const opened = await loading.promise.catch((error) => {
    loading.destroy();
    throw error;
  });

  async function render() {
    const shown = await opened.getPage(number);
    rendering?.cancel();
    const unscaled = shown.getViewport({ scale: 1 });
    const viewport = shown.getViewport({ scale: (zoomed * widthIn(frame)) / unscaled.width });
    const sharp = Math.min(devicePixelRatio, Math.sqrt(MAX_PIXELS / (viewport.width * viewport.height)));
    const sheet = makeSheet(viewport.width, viewport.height);
    const canvas = add(sheet, "canvas", "");
    canvas.width = Math.floor(viewport.width * sharp);
    canvas.height = Math.floor(viewport.height * sharp);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", text("picture", { page: number, name: file.name }));
    for (const mark of marks.filter((one) => one.page === number)) {
      addMark(
        sheet,
        viewport.convertToViewportPoint(mark.left, mark.bottom),
        viewport.convertToViewportPoint(mark.right, mark.top),
      );
    }
    const own = shown.render({
      canvas,
      viewport,
      transform: [sharp, 0, 0, sharp, 0, 0],
    });
    rendering = own;
    await own.promise.catch((error) => {
      if (error.name !== "RenderingCancelledException") throw error;
    });
    if (rendering !== own) return;
    frame.dataset.page = number;
    showSheet(frame, sheet);
  }

  async function go(wanted) {
    number = Math.min(Math.max(1, wanted), opened.numPages);
    onTurn(number, opened.numPages);
    await render();
  }

  await go(marks[0]?.page ?? page);
  return {
    turn: (steps) => go(number + steps),
    zoom(factor) {
      zoomed = Math.min(Math.max(zoomed * factor, ZOOMS[0]), ZOOMS[1]);
      return render();
    },
    end() {
      rendering?.cancel();
      loading.destroy();
    },
  };
}
