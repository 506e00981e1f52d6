/**
 * live-notify-fallback.js: what stands in for a WebSocket where the server answers and no socket
 * comes through: an event stream, or polls where that does not come through either. A plain outage
 * is no reason for it.
 *
 * Imports nothing, since hashed names of static files break imports: it gives itself to the client
 * of the page. Loaded with the page, and not when it is needed: then the network may be down.
 *
 * The stream is read by fetch: an EventSource hides the status, which tells a refusal from an
 * outage, sends no token, and comes back on its own.
 */

const KEY = "live-notify:fallback"; // for other pages: until when sockets are not to be had
const POLL_KEY = "live-notify:poll"; // and until when streams are not

// Milliseconds
const RETRY = 300_000; // how long a page does without a socket
const FIRST_RETRY = 5_000; // once may be the moment at which the server came up
const READY = 5_000; // after this a proxy buffers the stream; half of what the client waits
const GRACE = 10_000; // what an answer may be late
const HIDDEN_FACTOR = 6;

// Seconds
const HELD = 25; // the most that a server holds a poll
const PATIENCE = 90; // a poll has its own time-out, which is late in hidden pages

let until = 0;
let polling = 0; // until when streams are not tried
let refused = false; // the socket that was tried last, too

/** A transport: brings frames by `hear`, what `ask` answers, and ends by `end`. */
export function open({ ask, place, hear, end }) {
  let timer; // of what comes next
  let request; // that waits for the server
  let known = "-"; // nothing yet
  let wait = HELD;
  let streaming;
  let closed = false;

  function close() {
    closed = true;
    clearTimeout(timer);
    request?.abort();
  }

  function finish(why) {
    close();
    end(why);
  }

  /** Whether it is time for a socket. */
  function probes() {
    if (!until || Date.now() < until) return false;
    until = 0;
    refused = true;
    finish({ code: 1000, reason: "A WebSocket is tried again.", wasClean: true, after: [0, 0] });
    return true;
  }

  function works() {
    if (!until) keep(KEY, (until = Date.now() + (refused ? RETRY : FIRST_RETRY)));
  }

  /** Nothing answers: an outage, in which a socket is as good to try as anything. */
  function lost({ code, message }) {
    keep(KEY, (until = 0));
    refused = false;
    // Else it is an answer's own, and no verdict.
    finish({ code: code >= 4000 ? code : 1006, reason: message });
  }

  function later(pause, what = run) {
    clearTimeout(timer);
    timer = setTimeout(what, pause);
  }

  /** Anew: what waits for the server is of an earlier place. */
  function run() {
    clearTimeout(timer);
    request?.abort();
    if (closed || probes()) return;
    request = new AbortController();
    streaming = Date.now() >= polling;
    return streaming ? stream(request) : poll(request);
  }

  function asking(path, query, signal) {
    const { join, ...here } = place();
    const topics = new URLSearchParams(join.map((topic) => ["join", topic]));
    return ask(`${path}?${topics}`, { ...here, ...query }, null, signal);
  }

  async function stream(mine) {
    let ready = false;
    const { signal } = mine;
    later(READY, () => mine.abort());
    try {
      const { body, headers } = await asking("events/", {}, signal);
      if (!headers.get("Content-Type")?.startsWith("text/event-stream")) throw { code: 404 };
      const reader = body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ; ) {
        const { value, done } = await reader.read();
        if (done || signal.aborted) break;
        const lines = (text + value).split("\n");
        text = lines.pop();
        for (const line of lines) {
          if (!line.startsWith("data:")) continue;
          const frame = JSON.parse(line.slice(5));
          if (frame.type === "ready") {
            ready = true;
            works();
            later(until - Date.now());
            frame.transport = "eventstream";
          }
          // As much as may be sent without an answer: the next stream acknowledges it.
          if (frame.type === "bye" && frame.code === 4003) return later(frame.after[1] * 1_000);
          hear(frame);
          if (closed || signal.aborted) return;
        }
      }
      if (!ready && !signal.aborted) throw { code: 404 };
    } catch (error) {
      if (closed || mine !== request) return;
      const { code } = error;
      // A verdict, or an outage. What else is no stream is as good as one that is buffered.
      if (!ready && !signal.aborted && !(code < 500 || code === "unsupported")) return lost(error);
    }
    if (closed || mine !== request) return;
    // It was cut, by a proxy that has its times, or with the server: then the next fails.
    if (ready) return later(1_000 + Math.random() * 4_000);
    keep(POLL_KEY, (polling = Date.now() + (refused ? RETRY : FIRST_RETRY)));
    run();
  }

  async function poll(mine) {
    let answer;
    later(wait * 1_000 + GRACE, () => mine.abort());
    try {
      const response = await asking("poll/", { wait, known: wait && known }, mine.signal);
      answer = await response.json();
      if (!Array.isArray(answer.items)) throw new Error("Not a poll's answer.");
    } catch (error) {
      if (closed || mine !== request) return;
      // A proxy waits for less.
      if (error.code !== 504 || !wait) return lost(error);
      wait = Math.floor(wait / 2);
      return run();
    }
    if (closed || mine !== request) return;
    works();
    const { items, states = [], next = 5, ...rest } = answer;
    known = rest.known;
    const pause = next * (hidden() ? HIDDEN_FACTOR : 1);
    hear({ type: "notifications", items, replay: true });
    for (const frame of states) hear(frame);
    hear({ ...rest, type: "ready", transport: "poll", heartbeat: pause + PATIENCE });
    // It works, so the next failure is the first again.
    hear({ type: "ping" });
    if (!closed && mine === request) later(pause * 1_000);
  }

  /** A command, answered as by a socket. */
  async function carry({ type, ref, topic, ...body }) {
    try {
      if (topic) later(0);
      const { data } = topic ? {} : await post(type, body);
      hear({ type: "ok", ref, data });
    } catch ({ code, message }) {
      hear({ type: "error", ref, code, message });
    }
  }

  async function post(type, body) {
    if (body.data instanceof Blob || body.data instanceof ArrayBuffer || ArrayBuffer.isView(body.data)) {
      throw { code: "invalid", message: "Only a WebSocket carries bytes." };
    }
    const answer = await ask(`${type}/`, {}, body);
    // A stream tells it, in order with other changes.
    if ("unread" in answer && !streaming) {
      const { id, ...told } = body;
      if (id) hear({ type: "state", action: "read", ids: (told.ids = [id]) });
      hear({ type: "state", action: type, ...told });
      hear({ type: "unread", unread: answer.unread });
    }
    return answer;
  }

  // Not before the client knows of this transport.
  Promise.resolve().then(run);
  return {
    send(frame) {
      if ("ref" in frame) carry(frame);
      else if (frame.type === "ping") run();
    },
    close,
  };
}

/** Let a client have this transport, at once where it is known that sockets are not to be had. */
export function support(client) {
  client.fallback = open;
  until = recall(KEY);
  polling = recall(POLL_KEY);
  refused = false;
  if (globalThis.WebSocket && until <= Date.now()) return;
  client.instead = open;
  if (client.status === "stopped") return;
  client.stop();
  client.start();
}

function hidden() {
  return globalThis.document?.visibilityState === "hidden";
}

function recall(key) {
  try {
    return Number(localStorage.getItem(key));
  } catch {
    return 0;
  }
}

function keep(key, time) {
  try {
    localStorage.setItem(key, time);
  } catch {
    // Full or forbidden: the next page finds out for itself.
  }
}

globalThis.customElements?.whenDefined("live-notify").then(() => {
  for (const { client } of document.querySelectorAll("live-notify")) support(client);
  // Those that come later.
  document.addEventListener("live-notify:status", ({ target }) => { target.client.fallback ??= open; });
});
