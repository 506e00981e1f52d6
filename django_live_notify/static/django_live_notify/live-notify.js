/**
 * live-notify.js: the browser's end of `live-notify.v1`.
 *
 * `LiveNotify` keeps a connection, hands each notification to the page exactly once, and resumes
 * where it stopped. It knows nothing of how notifications look: see live-notify-ui.js.
 */

const SUBPROTOCOL = "live-notify.v1";

// Milliseconds. What the wire gives in seconds is converted where it is read.
const BASE_DELAY = 1_000;
const MAX_DELAY = 30_000;
const MAX_HIDDEN_DELAY = 120_000;
const STEADY_DELAY = 5_000; // the first retry after a connection that had lasted
const GRACE = 10_000; // what a beat, a handshake or an answer may be late
const PROBE = 5_000; // what a ping may take when the browser says that it is offline
const READY_TIMEOUT = 30_000; // how long send() waits for a connection
const SOCKET_RETRY = 300_000; // how long a page polls before it tries a socket again
const HIDDEN_POLL_FACTOR = 6;

const RING_SIZE = 1_000;

/** The verdict of a close code: "retry", "refresh" (retry after doing something) or "stop". */
export function verdict(code) {
  if (code >= 4500 && code <= 4999) return "stop";
  if (code >= 4400 && code <= 4499) return "refresh";
  return "retry";
}

/** Milliseconds before the retry after `attempt` failures: full jitter, exponential, capped. */
export function backoff(attempt, { hidden = false, random = Math.random } = {}) {
  const cap = hidden ? MAX_HIDDEN_DELAY : MAX_DELAY;
  return random() * Math.min(cap, BASE_DELAY * 2 ** Math.min(attempt, 20));
}

/** Epoch and id of a cursor, or null. Opaque otherwise: only this order is known of it. */
export function parseCursor(cursor) {
  const match = /^1\.(.*)\.(\d+)$/.exec(cursor ?? "");
  return match && { epoch: match[1], id: Number(match[2]) };
}

/**
 * What this page has handled, and what the browser has: a cursor, a ring of ids above or below it,
 * and the server's time up to which changes are known. A page starts with what earlier pages of the
 * browser left, then has a position of its own.
 */
export class Memory {
  constructor(key, storage) {
    this.key = key;
    this.storage = storage;
    const { cursor, ring, time } = this.#load();
    this.cursor = cursor;
    this.ring = new Set(ring);
    this.time = time;
    this.next = null; // cursor and time as they will be when the page of a reset is loaded
  }

  /** Whether an item is new to this page. Only a replay is judged by the cursor as well. */
  isNew(id, replay) {
    const reached = parseCursor(this.cursor);
    return !this.ring.has(id) && !(replay && reached && id <= reached.id);
  }

  /** Remember an id as handled. */
  add(id) {
    this.ring.delete(id);
    this.ring.add(id);
    for (const oldest of this.ring) {
      if (this.ring.size <= RING_SIZE) break;
      this.ring.delete(oldest);
    }
  }

  /** Move the cursor forward; another epoch is another log, whose ids mean other things. */
  advance(cursor, time) {
    const place = this.next ?? this;
    if (time) place.time = time;
    const [mine, next] = [parseCursor(place.cursor), parseCursor(cursor)];
    if (!next) return;
    if (mine && mine.epoch !== next.epoch) this.ring.clear();
    if (!mine || mine.epoch !== next.epoch || next.id > mine.id) place.cursor = cursor;
  }

  /** Merge with what other tabs have written, for the pages that follow. */
  save() {
    const stored = this.#load();
    const [mine, theirs] = [parseCursor(this.cursor), parseCursor(stored.cursor)];
    const same = !mine || !theirs || mine.epoch === theirs.epoch;
    const ahead = same && (theirs?.id ?? -1) > (mine?.id ?? -1);
    const ring = [...new Set([...(same ? stored.ring : []), ...this.ring])].slice(-RING_SIZE);
    try {
      const cursor = ahead ? stored.cursor : this.cursor;
      const time = same && stored.time > this.time ? stored.time : this.time;
      this.storage?.setItem(this.key, JSON.stringify({ cursor, ring, time }));
    } catch {
      // Full or forbidden: this page goes on with what it knows.
    }
  }

  #load() {
    try {
      const { cursor, ring, time } = JSON.parse(this.storage?.getItem(this.key) ?? "{}") ?? {};
      const ids = Array.isArray(ring) ? ring.filter(Number.isInteger) : [];
      return { cursor: parseCursor(cursor) ? cursor : null, ring: ids, time: typeof time === "string" ? time : "" };
    } catch {
      return { cursor: null, ring: [], time: "" };
    }
  }
}

/** An error that the server answered, or that kept a request from being answered. */
class LiveNotifyError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "LiveNotifyError";
    this.code = code;
  }
}

/**
 * A reader's connection. Events: `notification`, `unread`, `state`, `retracted`, `emitted`,
 * `status`, `close`, `reset`, `error`, and `frame` for whoever wants to watch the wire.
 */
export class LiveNotify extends EventTarget {
  #options;
  #memory;
  #status = "stopped";
  #transport = null;
  #unread = 0;
  #socket = null;
  #generation = 0; // frames and closes of earlier sockets are not ours any more
  #ready = false;
  #readyAt = 0;
  #beat = 25_000;
  #deadline = 0;
  #attempt = 0;
  #bye = null;
  #timer = null;
  #watch = null;
  #socketsBlockedUntil;
  #refused = 0; // handshakes in a row that failed while HTTP was answered
  #polling = false;
  #refs = 0;
  #pending = new Map();
  #topics = new Set();
  #read = new Set();
  #retracted = new Set();
  #tags = new Map(); // the highest id of each: what was committed late may have been replaced
  #highest = 0;

  /**
   * @param {object} options endpoint (the path of the include), user (their key, or none),
   *   since (when the page was rendered, ISO 8601), csrfToken, token (where there are no cookies).
   */
  constructor({ endpoint = "/live-notify/", user = null, since = null, csrfToken, token } = {}) {
    super();
    this.#options = { endpoint: new URL(endpoint, globalThis.location?.href), user, csrfToken, token };
    this.#memory = new Memory(`live-notify:${endpoint}:${user ?? ""}`, storage("localStorage"));
    // A first visit: what was said since the page was rendered, also for the next page where this
    // one never gets a connection.
    if (!this.#memory.time && since) {
      this.#memory.time = since;
      this.#memory.save();
    }
    this.#socketsBlockedUntil = Number(recall("live-notify:poll-until")) || 0;
  }

  /** "connecting", "live", "waiting" (for the next attempt) or "stopped". */
  get status() { return this.#status; }
  /** "websocket", "poll" or null. */
  get transport() { return this.#transport; }
  /** Unread notifications, up to 100. */
  get unread() { return this.#unread; }
  /** The key of the user whose page this is. */
  get user() { return this.#options.user; }
  /** How far this page got. */
  get cursor() { return this.#memory.cursor; }
  /** Bytes that the socket has not sent yet. */
  get bufferedAmount() { return this.#socket?.bufferedAmount ?? 0; }

  /** Connect, and stay connected until stop(). */
  start() {
    if (this.#status !== "stopped") return;
    for (const [target, name] of wakeUps()) target.addEventListener(name, this);
    this.#connect();
  }

  /** Disconnect, and stay so until start(). */
  stop() {
    if (this.#status === "stopped") return;
    for (const [target, name] of wakeUps()) target.removeEventListener(name, this);
    this.#abandon("The client was stopped.");
    this.#setStatus("stopped");
  }

  /** Send something to the site's LIVE_NOTIFY_ON_MESSAGE; resolves to what it returns. */
  async send(name, data = null) {
    await this.#untilReady();
    return this.#request({ type: "message", name, data });
  }

  /** Hear what is emitted to a topic, on this connection and those that follow it. */
  async join(topic) {
    await this.#untilReady();
    await this.#request({ type: "join", topic });
    this.#topics.add(topic);
  }

  async leave(topic) {
    this.#topics.delete(topic);
    if (this.#ready) await this.#request({ type: "leave", topic });
  }

  markRead(ids) { return this.#change("read", { ids: [ids].flat() }); }
  markUnread(ids) { return this.#change("unread", { ids: [ids].flat() }); }
  markSeen(ids) { return this.#change("seen", { ids: [ids].flat() }); }
  archive(ids) { return this.#change("archive", { ids: [ids].flat() }); }
  unarchive(ids) { return this.#change("unarchive", { ids: [ids].flat() }); }

  /** Mark everything as read that this page knows of; what arrives meanwhile is not swallowed. */
  async markAllRead(upTo = this.#highest) {
    if (upTo) await this.#change("read", { up_to: upTo });
  }

  /** Load a page of the inbox: { items, next, unread, cursor }, with counts also { unseen, kinds }. */
  async inbox({ before, limit, kind, level, ...flags } = {}) {
    const query = { before, limit, kind, level };
    for (const name of ["unread", "unseen", "archived", "counts"]) query[name] = flags[name] ? 1 : null;
    const page = await this.#fetch("inbox/", query);
    for (const item of page.items) this.#note(item.id);
    // With a socket, this may come behind a later count.
    if (!this.#ready) this.#setUnread(page.unread);
    return page;
  }

  // Waking up: timers of hidden pages are slow, and of sleeping machines they stand still.

  handleEvent(event) {
    if (event.type === "pagehide" || event.type === "freeze") return this.#suspend();
    if (event.type === "offline") return this.#probe();
    if (event.type === "visibilitychange" && isHidden()) return;
    if (this.#status === "waiting" || this.#polling) this.#connect();
    else if (this.#socket && Date.now() >= this.#deadline) {
      // After a sleep, not after a failure: nobody else wakes up in the same moment.
      this.#lose("No sign of life.");
      if (this.#status === "waiting") this.#connect();
    }
  }

  /**
   * An open socket would keep the page out of the browser's back/forward cache, and one of a frozen
   * page is cut by the browser, which tells it only after the thaw.
   */
  #suspend() {
    this.#abandon("The page was left.");
    this.#setStatus("waiting");
  }

  /** The browser's word is not taken for it: a beat that comes back soon proves the contrary. */
  #probe() {
    if (!this.#ready) return;
    this.#transmit({ type: "ping" });
    this.#deadline = Math.min(this.#deadline, Date.now() + PROBE);
    this.#keepWatch();
  }

  // Connecting

  #connect() {
    this.#abandon("A new connection is made.");
    this.#setStatus("connecting");
    if (!globalThis.WebSocket || Date.now() < this.#socketsBlockedUntil) this.#poll();
    else this.#open();
  }

  #open() {
    const generation = this.#generation;
    const ours = (handle) => (event) => generation === this.#generation && handle(event);
    let socket;
    try {
      socket = new WebSocket(this.#url("socket/", {}, "ws"), SUBPROTOCOL);
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", ours(() => this.#hello()));
    socket.addEventListener("message", ours((event) => this.#receive(event.data)));
    socket.addEventListener("close", ours((event) => this.#closed(event)));
    // From here to `ready`: a proxy may accept a socket and let nothing through.
    this.#deadline = Date.now() + GRACE;
    this.#keepWatch();
  }

  #hello() {
    const { user, token } = this.#options;
    this.#transmit({
      type: "hello",
      ...this.#place(),
      ...(user !== null && { user }),
      ...(token && { token }),
      ...(this.#topics.size && { join: [...this.#topics] }),
    });
  }

  #place() {
    const { cursor, time, ring } = this.#memory;
    return { cursor, since: time || null, seen: Math.max(0, ...ring) || undefined };
  }

  #closed({ code = 1006, reason = "", wasClean = false }) {
    const bye = this.#bye;
    const [answered, steady] = [this.#ready || bye, this.#isSteady()];
    this.#abandon("The connection was lost.");
    const decision = verdict(bye?.code ?? code);
    this.#dispatch("close", {
      code: bye?.code ?? code,
      reason: bye?.reason || reason,
      wasClean,
      verdict: decision,
    });
    if (decision === "stop") return this.stop();
    if (!answered && code < 4000) return this.#poll();
    const delay = steady ? between(0, STEADY_DELAY) : this.#backoff();
    // A server that says bye again and again is met with growing pauses all the same.
    const asked = bye?.after ? between(bye.after[0] * 1000, bye.after[1] * 1000) : 0;
    this.#retry(asked && steady ? asked : Math.max(asked, delay));
  }

  /** A connection that lasted for a beat: before that, the next failure is one more in the row. */
  #isSteady() {
    return this.#ready && Date.now() - this.#readyAt >= this.#beat;
  }

  #lose(reason) {
    if (this.#socket) this.#closed({ reason });
    else this.#connect();
  }

  #backoff() {
    return backoff(this.#attempt++, { hidden: isHidden() });
  }

  #retry(delay = this.#backoff()) {
    this.#setStatus("waiting");
    this.#timer = setTimeout(() => this.#connect(), delay);
  }

  #fail(error) {
    this.#dispatch("error", error);
    this.#retry();
  }

  /** Let go of whatever connection there is; nothing of it is heard from now on. */
  #abandon(reason) {
    const socket = this.#socket;
    this.#generation++;
    this.#memory.next = null;
    this.#socket = this.#bye = null;
    this.#ready = this.#polling = false;
    this.#transport = null;
    clearTimeout(this.#timer);
    clearTimeout(this.#watch);
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(new LiveNotifyError("lost", reason));
    try {
      socket?.close(1000);
    } catch {
      // It was never open.
    }
  }

  /** One timer for the deadline of the beat, compared by the clock: it may fire late. */
  #keepWatch() {
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => {
      if (Date.now() >= this.#deadline) this.#lose("No sign of life.");
      else this.#keepWatch();
    }, Math.max(0, this.#deadline - Date.now()));
  }

  // Frames

  #receive(data) {
    this.#deadline = Math.max(this.#deadline, Date.now() + this.#beat + GRACE);
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return; // Not of this version.
    }
    if (typeof frame?.type !== "string") return;
    this.#dispatch("frame", { direction: "in", frame });
    if (this.#isSteady()) this.#attempt = 0;
    this.#handle(frame);
  }

  #handle(frame) {
    if (frame.type === "ready") return this.#becomeReady(frame);
    this.#memory.advance(null, frame.time);
    switch (frame.type) {
      case "notifications": return this.#take(frame.items ?? [], frame);
      case "unread": return this.#setUnread(frame.unread);
      case "state": return this.#changed(frame);
      case "retracted": return this.#takeBack(frame);
      case "emitted": return this.#dispatch("emitted", frame);
      case "ok":
      case "error": return this.#answered(frame);
      case "bye": this.#bye = frame; return;
      case "ping": this.#advance(frame.cursor); return this.#transmit({ type: "pong", cursor: this.cursor });
      case "pong": return this.#advance(frame.cursor);
    }
  }

  #becomeReady(frame) {
    this.#ready = true;
    this.#readyAt = Date.now();
    this.#beat = (frame.heartbeat ?? 25) * 1000;
    this.#deadline = Date.now() + this.#beat + GRACE;
    this.#keepWatch();
    this.#transport = "websocket";
    this.#refused = 0;
    this.#block(0);
    this.#welcome(frame);
  }

  /** Common to a socket's `ready` and to the answer of a poll. */
  #welcome(frame) {
    if (!frame.reset) this.#advance(frame.cursor, frame.time);
    else if (!this.#memory.next) this.#reset(frame);
    this.#setUnread(frame.unread);
    this.#setStatus("live");
  }

  /** Too far behind, or another log: what is there now is loaded, not announced. */
  async #reset({ cursor, time }) {
    const [generation, memory] = [this.#generation, this.#memory];
    memory.next = { cursor: memory.cursor, time: memory.time };
    memory.advance(cursor, time);
    for (let attempt = 0; generation === this.#generation; attempt++) {
      try {
        const pages = [];
        // All that a replay may repeat; what comes live has room in the ring as well.
        do {
          pages.push(await this.inbox({ limit: 100, before: pages.at(-1)?.next }));
          if (generation !== this.#generation) return;
        } while (pages.at(-1).next > parseCursor(cursor)?.id && pages.length < 9);
        for (const { id } of pages.flatMap(({ items }) => items).reverse()) memory.add(id);
        Object.assign(memory, memory.next, { next: null });
        memory.save();
        return this.#dispatch("reset", pages[0]);
      } catch (error) {
        this.#dispatch("error", error);
      }
      await new Promise((resolve) => setTimeout(resolve, backoff(attempt, { hidden: isHidden() })));
    }
  }

  #take(items, { replay = false, cursor } = {}) {
    for (const item of items) {
      this.#note(item.id);
      if (!this.#memory.isNew(item.id, replay) || this.#retracted.has(item.id)) continue;
      this.#memory.add(item.id);
      if (item.tag && !this.#isNewest(item)) continue;
      const read = item.read || this.#read.has(item.id);
      if (!replay && !read && !item.archived && !item.tag && !item.muted) this.#setUnread(this.#unread + 1);
      this.#dispatch("notification", { ...item, read, replay });
    }
    // Only now: a page that dies halfway must be told again.
    this.#advance(cursor);
    this.#memory.save();
  }

  #isNewest({ tag, id }) {
    if (this.#tags.get(tag) > id) return false;
    this.#tags.delete(tag);
    this.#tags.set(tag, id);
    if (this.#tags.size > RING_SIZE) this.#tags.delete(this.#tags.keys().next().value);
    return true;
  }

  #changed(frame) {
    if (frame.action === "read") for (const id of frame.ids ?? []) remember(this.#read, id);
    if (frame.action === "unread") for (const id of frame.ids ?? []) this.#read.delete(id);
    this.#dispatch("state", frame);
  }

  #takeBack(frame) {
    for (const id of frame.ids ?? []) remember(this.#retracted, id);
    this.#dispatch("retracted", frame);
  }

  #advance(cursor, time) {
    this.#memory.advance(cursor, time);
    if (cursor) this.#memory.save();
  }

  #note(id) {
    if (id > this.#highest) this.#highest = id;
  }

  #transmit(frame) {
    if (this.#socket?.readyState !== 1) return;
    this.#socket.send(JSON.stringify(frame));
    this.#dispatch("frame", { direction: "out", frame });
  }

  // Requests

  #request(command) {
    if (!this.#ready) return Promise.reject(new LiveNotifyError("lost", "There is no connection."));
    const ref = ++this.#refs;
    return new Promise((resolve, reject) => {
      this.#pending.set(ref, { resolve, reject });
      this.#transmit({ ...command, ref });
    });
  }

  #answered({ type, ref, data, code, message }) {
    const request = this.#pending.get(ref);
    this.#pending.delete(ref);
    if (type === "ok") request?.resolve(data);
    else if (request) request.reject(new LiveNotifyError(code, message));
    else this.#dispatch("error", new LiveNotifyError(code, message));
  }

  /** Changes of state are idempotent, so one that the socket lost is simply made by HTTP. */
  async #change(action, keys) {
    if (keys.ids && !keys.ids.length) return;
    try {
      if (this.#ready) return void (await this.#request({ type: action, ...keys }));
    } catch (error) {
      if (error.code !== "lost") throw error;
    }
    const { unread } = await this.#fetch(`${action}/`, {}, keys);
    // With a socket, this would come late, perhaps after another change.
    if (this.#ready) return;
    this.#changed({ type: "state", action, ...keys });
    this.#setUnread(unread);
  }

  #untilReady() {
    if (this.#ready) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const settle = () => {
        if (!this.#ready && this.#status !== "stopped" && this.#transport !== "poll") return;
        finish();
      };
      const finish = () => {
        clearTimeout(timer);
        this.removeEventListener("status", settle);
        if (this.#ready) resolve();
        else reject(new LiveNotifyError("lost", "There is no WebSocket to send this by."));
      };
      const timer = setTimeout(finish, READY_TIMEOUT);
      this.addEventListener("status", settle);
      settle();
    });
  }

  async #fetch(path, query = {}, body) {
    const { csrfToken, token } = this.#options;
    const response = await fetch(this.#url(path, { ...query, user: this.#options.user }), {
      method: body ? "POST" : "GET",
      body: body && JSON.stringify(body),
      keepalive: !!body,
      credentials: "same-origin",
      // A browser waits for minutes on a connection that has gone silent.
      signal: globalThis.AbortSignal?.timeout?.(GRACE),
      headers: {
        Accept: "application/json",
        ...(body && { "Content-Type": "application/json", "X-CSRFToken": csrfToken ?? "" }),
        ...(token && { Authorization: `Bearer ${token}` }),
      },
    });
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) {
      const { code = response.status, message = `The server answered ${response.status}.` } = answer;
      throw new LiveNotifyError(code, message);
    }
    return answer;
  }

  #url(path, query = {}, scheme) {
    const url = new URL(path, this.#options.endpoint);
    for (const [key, value] of Object.entries(query)) {
      if (value !== null && value !== undefined) url.searchParams.set(key, value);
    }
    if (scheme) url.protocol = url.protocol.replace("http", scheme);
    return url.href;
  }

  // Polling: where the server answers, but a WebSocket does not come through.

  async #poll() {
    const generation = this.#generation;
    let answer;
    try {
      answer = await this.#fetch("poll/", this.#place());
      if (!Array.isArray(answer.items)) throw new LiveNotifyError("invalid", "Not a poll's answer.");
    } catch (error) {
      if (generation !== this.#generation) return;
      if (verdict(error.code) === "stop") {
        this.#dispatch("close", { code: error.code, reason: error.message, verdict: "stop" });
        return this.stop();
      }
      // Nothing answers: an outage, in which a socket is as good to try as a poll.
      this.#block(0);
      return this.#retry();
    }
    if (generation !== this.#generation) return;
    const next = (answer.next ?? 5) * 1000;
    if (Date.now() >= this.#socketsBlockedUntil) {
      if (this.#polling) return this.#connect();
      // Once may be the moment at which the server came up.
      this.#block(Date.now() + (this.#refused++ ? SOCKET_RETRY : next));
    }
    this.#attempt = 0;
    this.#polling = true;
    this.#transport = "poll";
    this.#take(answer.items, { replay: true });
    for (const frame of answer.states ?? []) this.#handle(frame);
    this.#welcome(answer);
    this.#timer = setTimeout(() => this.#poll(), next * (isHidden() ? HIDDEN_POLL_FACTOR : 1));
  }

  #block(until) {
    this.#socketsBlockedUntil = until;
    try {
      if (until) storage("sessionStorage")?.setItem("live-notify:poll-until", until);
      else storage("sessionStorage")?.removeItem("live-notify:poll-until");
    } catch {
      // Full or forbidden: the next page finds out for itself.
    }
  }

  // Telling

  #setStatus(status) {
    if (status === this.#status) return;
    const previous = this.#status;
    this.#status = status;
    this.#dispatch("status", { status, previous, transport: this.#transport });
  }

  #setUnread(unread) {
    if (typeof unread !== "number" || unread === this.#unread) return;
    this.#unread = unread;
    this.#dispatch("unread", { unread });
  }

  #dispatch(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

const EVENTS = "notification unread state retracted emitted status close reset error frame".split(" ");

function storage(name) {
  try {
    return globalThis[name] ?? null;
  } catch {
    return null; // Some browsers throw where storage is forbidden.
  }
}

function recall(key) {
  try {
    return storage("sessionStorage")?.getItem(key);
  } catch {
    return null;
  }
}

function remember(set, id) {
  set.add(id);
  if (set.size > RING_SIZE) set.delete(set.values().next().value);
}

function between(least, most) {
  return least + Math.random() * Math.max(0, most - least);
}

function isHidden() {
  return globalThis.document?.visibilityState === "hidden";
}

function wakeUps() {
  const { document } = globalThis;
  const events = ["pageshow", "pagehide", "online", "offline", "focus"].map((name) => [globalThis, name]);
  if (document) for (const name of ["visibilitychange", "freeze", "resume"]) events.push([document, name]);
  return events.filter(([target]) => target.addEventListener);
}

/** `<live-notify>`: the client of a page. Its events bubble from here as `live-notify:<name>`. */
if (globalThis.customElements && !customElements.get("live-notify")) {
  customElements.define(
    "live-notify",
    class extends HTMLElement {
      #client = null;

      get client() {
        if (!this.#client) {
          this.#client = new LiveNotify({
            endpoint: this.getAttribute("endpoint") ?? undefined,
            user: this.getAttribute("user"),
            since: this.getAttribute("since"),
            csrfToken: this.getAttribute("csrf-token"),
          });
          for (const name of EVENTS) {
            this.#client.addEventListener(name, ({ detail }) => this.#bubble(name, detail));
          }
        }
        return this.#client;
      }

      connectedCallback() { this.client.start(); }
      disconnectedCallback() { this.client.stop(); }

      #bubble(name, detail) {
        this.dispatchEvent(new CustomEvent(`live-notify:${name}`, { detail, bubbles: true }));
        if (name === "emitted") this.#bubble(`emitted:${detail.name}`, detail.data);
      }
    },
  );
}
