// The HTTP interface as functions. Every failure is a Failure with a message for a person.

import { session } from "./storage.js";
import { hasText, text } from "./texts.js";

const KEY = "kaydangpt-key";

let askForKey = null;

export class Failure extends Error {
  /** brokeOff: An answer had begun and did not come whole. */
  constructor(message, { status = 0, problem = null, brokeOff = false } = {}) {
    super(message);
    this.status = status;
    this.problem = problem;
    this.brokeOff = brokeOff;
  }
}

/** Keep an API key for as long as the tab lives. */
export function useKey(key) {
  session.set(KEY, key);
}

/** Let *ask* get a key where the service wants one; it resolves when useKey was called. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

async function request(path, { method = "GET", body, accept = "application/json", signal } = {}) {
  const headers = { Accept: accept };
  const key = session.get(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    throw asFailure(error);
  }
  if (response.ok) return response;
  if (response.status === 401 && askForKey) {
    // A key that came in while this request was on its way is tried before one is asked for.
    if (session.get(KEY) === key) await askForKey({ refused: key !== null });
    return request(path, { method, body, accept, signal });
  }
  const problem = await response.json().catch(() => null);
  throw new Failure(describeProblem(problem, response.status), { status: response.status, problem });
}

// Codes that mean the same to a reader.
const PROBLEMS_LIKE = {
  overloaded: "busy",
  database_unavailable: "busy",
  storage_unavailable: "busy",
  model_switched: "busy",
  keys_unavailable: "busy",
  not_answering: "unknown_document",
  object_gone: "object_changed",
};

/** Return a problem in the reader's language where its code is known, else in the service's words. */
function describeProblem(problem, status) {
  const name = `problem_${PROBLEMS_LIKE[problem?.code] ?? problem?.code}`;
  if (hasText(name)) return text(name);
  return problem?.detail ?? text("failedRequest", { message: status });
}

function asFailure(error) {
  if (error.name === "AbortError" || error instanceof Failure) return error;
  return new Failure(text("offline"));
}

/** Return the JSON of a request. */
export async function call(path, options) {
  return (await request(path, options)).json();
}

/** Ask a question and yield [event, data] as the answer comes. */
export async function* ask(body, signal) {
  const response = await request("/query", {
    method: "POST",
    body,
    accept: "text/event-stream",
    signal,
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Failure(text("cut"), { brokeOff: true });
    });
    if (done) return;
    held += value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) {
      const name = /^event: (.*)$/m.exec(event)?.[1];
      const data = /^data: (.*)$/m.exec(event)?.[1];
      if (name && data) yield [name, JSON.parse(data)];
    }
  }
}

/** Send a file to the bucket by a resumable session; *onProgress* gets 0 to 100. */
export async function upload(file, name, onProgress) {
  const contentType = file.type || "application/octet-stream";
  const session = await call("/documents", {
    method: "POST",
    body: { name, content_type: contentType, size: file.size },
  });
  await new Promise((resolve, reject) => {
    // fetch tells no progress of what it sends.
    const sending = new XMLHttpRequest();
    sending.open(session.method, session.upload_url);
    for (const [header, value] of Object.entries(session.headers)) {
      sending.setRequestHeader(header, value);
    }
    sending.upload.onprogress = (event) => onProgress(Math.round((100 * event.loaded) / event.total));
    sending.onload = () =>
      sending.status < 300
        ? resolve()
        : reject(new Failure(text("failedUpload", { message: sending.status })));
    sending.onerror = () => reject(new Failure(text("failedUpload", { message: text("noAnswer") })));
    sending.send(file);
  });
}
