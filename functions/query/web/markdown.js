// The Markdown of an answer as a tree of an allow-listed kind, and the tree as elements: paragraphs,
// headings, lists, tables, code, quotes, emphasis and marks. Images, HTML and links have no node in
// it: they stay the text that they are.

import { add } from "./elements.js";

// Deeper structure is shown as the text it is.
const MAX_DEPTH = 8;

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*[^`]{0,40}$/;
const HEADING = /^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,3}[.)])(?:[ \t]+|$)/;
const DELIMITERS = /^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const MARK = /\[(\d{1,3})\]/y;
const WORD = /[\p{L}\p{N}_]/u;

/** Return the blocks of *source*. */
export function parse(source) {
  return parseBlocks(source.replaceAll("\t", "    ").split("\n"), 0);
}

function parseBlocks(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    if (!line.trim()) {
      at += 1;
    } else if (depth >= MAX_DEPTH) {
      blocks.push({ kind: "paragraph", content: [{ kind: "text", text: lines.slice(at).join("\n") }] });
      at = lines.length;
    } else if (FENCE.test(line)) {
      const fence = FENCE.exec(line)[1];
      const end = findFenceEnd(lines, at + 1, fence);
      blocks.push({ kind: "code", text: lines.slice(at + 1, end).join("\n") });
      at = end + 1;
    } else if (HEADING.test(line)) {
      blocks.push({ kind: "heading", content: parseInline(HEADING.exec(line)[1], 0) });
      at += 1;
    } else if (QUOTE.test(line)) {
      let end = at;
      while (end < lines.length && QUOTE.test(lines[end])) end += 1;
      const inner = lines.slice(at, end).map((one) => one.replace(QUOTE, ""));
      blocks.push({ kind: "quote", blocks: parseBlocks(inner, depth + 1) });
      at = end;
    } else if (beginsTable(lines, at)) {
      let end = at + 2;
      while (end < lines.length && lines[end].includes("|")) end += 1;
      blocks.push(parseTable(lines.slice(at, end)));
      at = end;
    } else if (ITEM.test(line)) {
      const { list, end } = parseList(lines, at, depth);
      blocks.push(list);
      at = end;
    } else {
      let end = at + 1;
      while (end < lines.length && !endsParagraph(lines, end)) end += 1;
      const text = lines.slice(at, end).map((one) => one.trim()).join("\n");
      blocks.push({ kind: "paragraph", content: parseInline(text, 0) });
      at = end;
    }
  }
  return blocks;
}

function endsParagraph(lines, at) {
  const line = lines[at];
  return (
    !line.trim() ||
    FENCE.test(line) ||
    HEADING.test(line) ||
    QUOTE.test(line) ||
    ITEM.test(line) ||
    beginsTable(lines, at)
  );
}

function findFenceEnd(lines, from, fence) {
  for (let at = from; at < lines.length; at += 1) {
    const line = lines[at].trim();
    if (line.startsWith(fence) && !line.replaceAll(fence[0], "")) return at;
  }
  return lines.length;
}

function beginsTable(lines, at) {
  const under = lines[at + 1];
  return (
    lines[at].includes("|") &&
    under !== undefined &&
    under.includes("-") &&
    DELIMITERS.test(under) &&
    cellsOf(under).length === cellsOf(lines[at]).length
  );
}

function parseTable(lines) {
  const [header, under, ...rows] = lines;
  const numeric = cellsOf(under).map((cell) => cell.endsWith(":"));
  const parseRow = (row) => cellsOf(row).map((cell) => parseInline(cell, 0));
  return {
    kind: "table",
    numeric,
    header: parseRow(header),
    rows: rows.map((row) => parseRow(row).slice(0, numeric.length)),
  };
}

/** Return the cells of a row; a bar behind a backslash ends none. */
function cellsOf(row) {
  const cells = [""];
  const inside = row.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  for (const piece of inside.match(/\\.|\||[^\\|]+|\\/g) ?? []) {
    if (piece === "|") cells.push("");
    else cells[cells.length - 1] += piece === "\\|" ? "|" : piece;
  }
  return cells.map((cell) => cell.trim());
}

function parseList(lines, from, depth) {
  const first = ITEM.exec(lines[from])[2];
  const ordered = /\d/.test(first);
  const list = { kind: "list", start: ordered ? Number.parseInt(first, 10) : null, items: [] };
  let at = from;
  while (at < lines.length) {
    const found = ITEM.exec(lines[at]);
    if (!found || /\d/.test(found[2]) !== ordered) break;
    const inner = [lines[at].slice(found[0].length)];
    at += 1;
    while (at < lines.length) {
      const line = lines[at];
      const indent = line.length - line.trimStart().length;
      if (!line.trim()) {
        // A blank line belongs to the item where what follows stands under it.
        const next = lines.slice(at).find((one) => one.trim());
        if (next === undefined || !/^ {2,}/.test(next)) break;
        inner.push("");
      } else if (indent >= 2) {
        inner.push(line.slice(Math.min(indent, found[0].length)));
      } else if (endsParagraph(lines, at)) break;
      else inner.push(line);
      at += 1;
    }
    list.items.push(parseBlocks(inner, depth + 1));
    let next = at;
    while (next < lines.length && !lines[next].trim()) next += 1;
    if (next < lines.length && ITEM.test(lines[next])) at = next;
  }
  return { list, end: at };
}

function parseInline(text, depth) {
  const nodes = [];
  // Delimiters that are known to close nowhere in the rest of the text.
  const unclosed = new Set();
  let held = "";
  let at = 0;
  const push = (node, end) => {
    if (held) nodes.push({ kind: "text", text: held });
    held = "";
    nodes.push(node);
    at = end;
  };
  while (at < text.length) {
    const sign = text[at];
    if (sign === "\\" && /[!-/:-@[-`{-~]/.test(text[at + 1] ?? "")) {
      held += text[at + 1];
      at += 2;
    } else if (sign === "`") {
      const ticks = /`+/.exec(text.slice(at))[0];
      const end = unclosed.has(ticks) ? -1 : findTicks(text, at + ticks.length, ticks);
      if (end < 0) {
        unclosed.add(ticks);
        held += ticks;
        at += ticks.length;
      } else {
        push({ kind: "code", text: codeOf(text.slice(at + ticks.length, end)) }, end + ticks.length);
      }
    } else if (sign === "[" && (MARK.lastIndex = at, MARK.test(text))) {
      MARK.lastIndex = at;
      const [whole, number] = MARK.exec(text);
      push({ kind: "mark", number: Number(number), text: whole }, at + whole.length);
    } else if ((sign === "*" || sign === "_") && depth < MAX_DEPTH) {
      const delimiter = text[at + 1] === sign ? sign + sign : sign;
      const end = unclosed.has(delimiter) ? -1 : findClosing(text, at, delimiter);
      if (end === -1) unclosed.add(delimiter);
      if (end < 0) {
        held += delimiter;
        at += delimiter.length;
      } else {
        const inner = parseInline(text.slice(at + delimiter.length, end), depth + 1);
        const kind = delimiter.length === 2 ? "strong" : "emphasis";
        push({ kind, content: inner }, end + delimiter.length);
      }
    } else {
      held += sign;
      at += 1;
    }
  }
  if (held) nodes.push({ kind: "text", text: held });
  return nodes;
}

function findTicks(text, from, ticks) {
  for (const run of text.slice(from).matchAll(/`+/g)) {
    if (run[0].length === ticks.length) return from + run.index;
  }
  return -1;
}

function codeOf(text) {
  const line = text.replaceAll("\n", " ");
  return /^ .*[^ ].* $/.test(line) ? line.slice(1, -1) : line;
}

/**
 * Return where the emphasis that opens at *at* closes; -1 where nothing closes it, -2 where it is
 * no opening: 5 * 3, snake_case and a*b*c are what they are.
 */
function findClosing(text, at, delimiter) {
  const after = text[at + delimiter.length] ?? " ";
  const narrow = delimiter !== "**";
  if (/\s/.test(after) || (narrow && WORD.test(text[at - 1] ?? " "))) return -2;
  let end = at + delimiter.length;
  for (;;) {
    end = text.indexOf(delimiter, end + 1);
    if (end < 0) return -1;
    const following = text[end + delimiter.length] ?? " ";
    const alone = delimiter.length === 2 || (following !== delimiter && text[end - 1] !== delimiter);
    if (!/[\s\\]/.test(text[end - 1]) && alone && !(narrow && WORD.test(following))) return end;
    if (!alone) end += 1;
  }
}

/**
 * Append *blocks* to *parent*.
 *
 * addMark(parent, number) appends what opens a passage, and returns whether there is such a one.
 */
export function build(parent, blocks, addMark) {
  for (const block of blocks) {
    if (block.kind === "paragraph") buildInline(add(parent, "p", ""), block.content, addMark);
    else if (block.kind === "heading") {
      buildInline(add(parent, "p", "answer-heading"), block.content, addMark);
    } else if (block.kind === "code") {
      const code = add(parent, "pre", "");
      code.tabIndex = 0; // what is wider than the page is scrolled by the keyboard too
      add(code, "code", "", block.text);
    } else if (block.kind === "quote") build(add(parent, "blockquote", ""), block.blocks, addMark);
    else if (block.kind === "table") buildTable(parent, block, addMark);
    else {
      const list = add(parent, block.start === null ? "ul" : "ol", "");
      if (block.start !== null) list.start = block.start;
      for (const item of block.items) {
        const element = add(list, "li", "");
        const [first, ...rest] = item;
        if (first?.kind === "paragraph") {
          buildInline(element, first.content, addMark);
          build(element, rest, addMark);
        } else build(element, item, addMark);
      }
    }
  }
}

function buildTable(parent, { header, numeric, rows }, addMark) {
  const frame = add(parent, "div", "table");
  frame.tabIndex = 0;
  const table = add(frame, "table", "");
  const head = add(add(table, "thead", ""), "tr", "");
  header.forEach((cell, column) => {
    const element = add(head, "th", numeric[column] ? "numeric" : "");
    element.scope = "col";
    buildInline(element, cell, addMark);
  });
  const body = add(table, "tbody", "");
  for (const row of rows) {
    const line = add(body, "tr", "");
    row.forEach((cell, column) => {
      buildInline(add(line, "td", numeric[column] ? "numeric" : ""), cell, addMark);
    });
  }
}

function buildInline(parent, nodes, addMark) {
  for (const node of nodes) {
    if (node.kind === "text") parent.append(node.text);
    else if (node.kind === "code") add(parent, "code", "", node.text);
    else if (node.kind === "mark") {
      if (!addMark(parent, node.number)) parent.append(node.text);
    } else {
      buildInline(add(parent, node.kind === "strong" ? "strong" : "em", ""), node.content, addMark);
    }
  }
}
