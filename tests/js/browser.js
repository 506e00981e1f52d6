/** The parts of a browser that Node lacks, small and obedient: sockets, streams, storage, fetch, events. */

export class FakeSocket {
  static all = [];
  static get last() { return FakeSocket.all.at(-1); }

  constructor(url, protocol) {
    Object.assign(this, { url, protocol, readyState: 0, sent: [], bufferedAmount: 0 });
    FakeSocket.all.push(this);
  }

  /** Text as what it says, anything else as it is. */
  send(data) { this.sent.push(typeof data === "string" ? JSON.parse(data) : data); }

  close(...why) { Object.assign(this, { readyState: 3, why }); }

  open() {
    this.readyState = 1;
    this.onopen({});
  }

  receive(frame) {
    const asItIs = typeof frame === "string" || frame instanceof ArrayBuffer;
    this.onmessage({ data: asItIs ? frame : JSON.stringify(frame) });
  }

  /** Open and say `ready`, as a server does that knows the reader. */
  ready(keys = {}) {
    this.open();
    this.receive({ type: "ready", version: 1, user: "7", unread: 0, reset: false, heartbeat: 25, cursor: "1.e.0", ...keys });
  }

  end(code = 1006, reason = "") {
    this.readyState = 3;
    this.onclose({ code, reason, wasClean: code !== 1006 });
  }

  sentOf(type) { return this.sent.filter((frame) => frame.type === type); }
}

/** What a request for an event stream is answered with; its frames come when the test says so. */
export class FakeStream {
  static all = [];
  static get last() { return FakeStream.all.at(-1); }

  constructor(request) {
    Object.assign(this, { request, aborted: false });
    FakeStream.all.push(this);
    this.body = new ReadableStream({ start: (controller) => { this.controller = controller; } });
    request.signal.addEventListener("abort", () => {
      this.aborted = true;
      this.controller.error(request.signal.reason);
    });
  }

  get query() { return this.request.url.searchParams; }

  refuse(status, body = {}) {
    return { ok: status < 400, status, headers: new Headers(), json: async () => body };
  }

  accept(type = "text/event-stream; charset=utf-8") {
    return { ok: true, status: 200, headers: new Headers({ "Content-Type": type }), body: this.body };
  }

  /** Wherever the network cuts it. */
  write(...pieces) {
    for (const piece of pieces) this.controller.enqueue(typeof piece === "string" ? new TextEncoder().encode(piece) : piece);
    return settleStreams();
  }

  receive(...frames) { return this.write(frames.map((frame) => `data: ${JSON.stringify(frame)}\n\n`).join("")); }

  ready(keys = {}) {
    return this.receive({ type: "ready", version: 1, user: "7", unread: 0, reset: false, heartbeat: 25, cursor: "1.e.0", ...keys });
  }

  end() {
    this.controller.close();
    return settleStreams();
  }

  cut() {
    this.controller.error(new TypeError("network error"));
    return settleStreams();
  }
}

export class FakeStorage {
  constructor() { this.values = new Map(); }
  getItem(key) { return this.values.get(key) ?? null; }
  setItem(key, value) { this.values.set(key, String(value)); }
  removeItem(key) { this.values.delete(key); }
}

/** Tabs of one browser: what their pages share beside storage. Each `#gather()` makes one of each. */
export class FakeTabs {
  members = [];

  constructor() {
    const tabs = this;
    this.BroadcastChannel = class {
      constructor(name) {
        tabs.members.push(Object.assign(this, { name, held: [], muted: false, lock: null }));
      }

      postMessage(message) {
        if (this.muted) return;
        const data = structuredClone(message);
        for (const other of tabs.members) {
          if (other !== this && other.name === this.name) Promise.resolve().then(() => other.receive(data));
        }
      }

      receive(data) {
        if (this.hung) this.held.push(data);
        else if (!this.muted) this.onmessage?.({ data });
      }

      close() { this.muted = true; }
    };
    this.locks = {
      request(name, { signal }, callback) {
        const member = tabs.members.at(-1);
        return new Promise((resolve, reject) => {
          member.lock = { name, callback, state: "waiting", resolve };
          signal.addEventListener("abort", () => {
            if (member.lock.state !== "waiting") return;
            member.lock.state = "gone";
            reject(signal.reason);
          });
          tabs.grant(name);
        });
      },
    };
  }

  /** As by the browser: later, and to the first in line. */
  grant(name) {
    Promise.resolve().then(() => {
      const locks = this.members.map(({ lock }) => lock).filter((lock) => lock?.name === name);
      const next = locks.find(({ state }) => state === "waiting");
      if (!next || locks.some(({ state }) => state === "held")) return;
      next.state = "held";
      Promise.resolve(next.callback({ name })).then(() => this.release(next));
    });
  }

  release(lock) {
    lock.state = "gone";
    lock.resolve();
    this.grant(lock.name);
  }

  /** The tab that a member belongs to ends without a word. */
  crash(member) {
    member.muted = true;
    this.release(member.lock);
  }

  /** It hears and says nothing, but is there. */
  hang(member) { member.hung = member.muted = true; }

  wakeUp(member) {
    member.hung = member.muted = false;
    for (const data of member.held.splice(0)) member.receive(data);
  }
}

/** A browser in which every request fails until `answer` says otherwise. */
export function makeBrowser() {
  const window = new EventTarget();
  // As in a browser, whoever captures at the window hears of what happens to the document.
  const document = {
    hidden: false,
    get visibilityState() { return this.hidden ? "hidden" : "visible"; },
    dispatchEvent: ({ type }) => window.dispatchEvent(new Event(type)),
  };
  const browser = {
    requests: [],
    answer: () => { throw new TypeError("Failed to fetch"); },
    events: (stream) => stream.refuse(406, { code: "unsupported" }), // as where nothing is held
    wake: (name) => window.dispatchEvent(new Event(name)),
    hide(hidden) {
      globalThis.document.hidden = hidden;
      globalThis.document.dispatchEvent(new Event("visibilitychange"));
    },
  };
  FakeSocket.all = [];
  FakeStream.all = [];
  Object.assign(globalThis, {
    WebSocket: FakeSocket,
    localStorage: new FakeStorage(),
    sessionStorage: new FakeStorage(),
    location: new URL("https://site.example/page/"),
    document,
    addEventListener: window.addEventListener.bind(window),
    removeEventListener: window.removeEventListener.bind(window),
    async fetch(url, options) {
      const request = { url: new URL(url), ...options, body: options.body && JSON.parse(options.body) };
      if (request.url.pathname.endsWith("/events/")) return browser.events(new FakeStream(request));
      browser.requests.push(request);
      const { status = 200, ...body } = await browser.answer(request);
      return { ok: status < 400, status, headers: new Headers(), json: async () => body };
    },
  });
  // No locks, as on a site without https, unless a test has tabs.
  browser.share = () => {
    const tabs = new FakeTabs();
    globalThis.navigator.locks = tabs.locks;
    globalThis.BroadcastChannel = tabs.BroadcastChannel;
    return tabs;
  };
  Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true, writable: true });
  return browser;
}

/** Let everything that is already promised happen. */
export async function settle() {
  for (let turn = 0; turn < 50; turn++) await Promise.resolve();
}

/** The same where bytes go through streams, which take turns of the event loop. */
export async function settleStreams() {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}
