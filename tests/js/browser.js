/** The parts of a browser that Node lacks, small and obedient: sockets, storage, fetch, events. */

export class FakeSocket extends EventTarget {
  static all = [];
  static get last() { return FakeSocket.all.at(-1); }

  constructor(url, protocol) {
    super();
    Object.assign(this, { url, protocol, readyState: 0, sent: [], bufferedAmount: 0 });
    FakeSocket.all.push(this);
  }

  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.readyState = 3; }

  open() {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }

  receive(frame) {
    const data = typeof frame === "string" ? frame : JSON.stringify(frame);
    this.dispatchEvent(Object.assign(new Event("message"), { data }));
  }

  /** Open and say `ready`, as a server does that knows the reader. */
  ready(keys = {}) {
    this.open();
    this.receive({ type: "ready", version: 1, user: "7", unread: 0, reset: false, heartbeat: 25, cursor: "1.e.0", ...keys });
  }

  end(code = 1006, reason = "") {
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event("close"), { code, reason, wasClean: code !== 1006 }));
  }

  sentOf(type) { return this.sent.filter((frame) => frame.type === type); }
}

export class FakeStorage {
  constructor() { this.values = new Map(); }
  getItem(key) { return this.values.get(key) ?? null; }
  setItem(key, value) { this.values.set(key, String(value)); }
  removeItem(key) { this.values.delete(key); }
}

/** A browser in which every request fails until `answer` says otherwise. */
export function makeBrowser() {
  const window = new EventTarget();
  const browser = {
    requests: [],
    answer: () => { throw new TypeError("Failed to fetch"); },
    wake: (name) => window.dispatchEvent(new Event(name)),
    hide(hidden) {
      globalThis.document.visibilityState = hidden ? "hidden" : "visible";
      globalThis.document.dispatchEvent(new Event("visibilitychange"));
    },
  };
  FakeSocket.all = [];
  Object.assign(globalThis, {
    WebSocket: FakeSocket,
    localStorage: new FakeStorage(),
    sessionStorage: new FakeStorage(),
    location: new URL("https://site.example/page/"),
    document: Object.assign(new EventTarget(), { visibilityState: "visible" }),
    addEventListener: window.addEventListener.bind(window),
    removeEventListener: window.removeEventListener.bind(window),
    async fetch(url, options) {
      const request = { url: new URL(url), ...options, body: options.body && JSON.parse(options.body) };
      browser.requests.push(request);
      const { status = 200, ...body } = await browser.answer(request);
      return { ok: status < 400, status, json: async () => body };
    },
  });
  return browser;
}

/** Let everything that is already promised happen. */
export async function settle() {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}
