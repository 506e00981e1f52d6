/**
 * live-notify-fallback.js: what stands in for a WebSocket where the server answers and no socket
 * comes through: polls. A plain outage is no reason for it.
 *
 * Imports nothing, since hashed names of static files break imports: it gives itself to the client
 * of the page. Loaded with the page, and not when it is needed: then the network may be down.
 */

const KEY = "live-notify:fallback"; // for other pages: until when sockets are not to be had

// Milliseconds
const RETRY = 300_000; // how long a page does without a socket
const FIRST_RETRY = 5_000; // once may be the moment at which the server came up
const HIDDEN_FACTOR = 6;

// Seconds. A poll that stays away is noticed by its own time-out; timers of hidden pages are slow.
const PATIENCE = 90;

let until = 0;
let refused = false; // the socket that was tried last, too

/** A transport: brings frames by `hear`, what `ask` answers, and ends by `end`. */
export function open({ ask, hear, end }) {
  let timer;
  let closed = false;

  async function poll() {
    clearTimeout(timer);
    if (until && Date.now() >= until) {
      until = 0;
      refused = true;
      return end({ code: 1000, reason: "A WebSocket is tried again.", wasClean: true, after: [0, 0] });
    }
    let answer;
    try {
      answer = await ask("poll/");
      if (!Array.isArray(answer.items)) throw new Error("Not a poll's answer.");
    } catch (error) {
      // Nothing answers: an outage, in which a socket is as good to try as a poll.
      keep(0);
      refused = false;
      return end({ code: error.code, reason: error.message });
    }
    if (closed) return;
    if (!until) keep(Date.now() + (refused ? RETRY : FIRST_RETRY));
    const { items, states = [], next = 5, ...rest } = answer;
    const pause = next * (hidden() ? HIDDEN_FACTOR : 1);
    hear({ type: "notifications", items, replay: true });
    for (const frame of states) hear(frame);
    hear({ ...rest, type: "ready", transport: "poll", heartbeat: pause + PATIENCE });
    // It works, so the next failure is the first again.
    hear({ type: "ping" });
    if (!closed) timer = setTimeout(poll, pause * 1000);
  }

  // Not before the client knows of this transport.
  Promise.resolve().then(poll);
  return {
    /** Changes are made by HTTP; what is left to send are pings and pongs. */
    send: ({ type }) => type === "ping" && poll(),
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

/** Let a client have this transport, at once where it is known that sockets are not to be had. */
export function support(client) {
  client.fallback = open;
  until = recall();
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

function recall() {
  try {
    return Number(localStorage.getItem(KEY));
  } catch {
    return 0;
  }
}

function keep(time) {
  until = time;
  try {
    localStorage.setItem(KEY, time);
  } catch {
    // Full or forbidden: the next page finds out for itself.
  }
}

globalThis.customElements?.whenDefined("live-notify").then(() => {
  for (const { client } of document.querySelectorAll("live-notify")) support(client);
  // Those that come later.
  document.addEventListener("live-notify:status", ({ target }) => { target.client.fallback ??= open; });
});
