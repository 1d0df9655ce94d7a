// A picture that is a document, with rectangles marked on it.

import { addMark, makeSheet, showSheet, widthIn, ZOOMS } from "./sheet.js";

/** Show the picture of *file* in *frame*, and return what zooms it. */
export async function openPicture({ file, frame, marks }) {
  const picture = new Image();
  picture.alt = file.name;
  picture.src = file.url;
  await picture.decode();
  let zoomed = 1;

  function render() {
    const scale = (zoomed * Math.min(picture.naturalWidth, widthIn(frame))) / picture.naturalWidth;
    const height = picture.naturalHeight * scale;
    const sheet = makeSheet(picture.naturalWidth * scale, height);
    sheet.append(picture);
    for (const { left, bottom, right, top } of marks) {
      addMark(sheet, [left * scale, height - bottom * scale], [right * scale, height - top * scale]);
    }
    showSheet(frame, sheet);
  }

  render();
  return {
    zoom(factor) {
      zoomed = Math.min(Math.max(zoomed * factor, ZOOMS[0]), ZOOMS[1]);
      render();
    },
    end() {},
  };
}
