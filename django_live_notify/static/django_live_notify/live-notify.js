/**
 * The browser's end of `live-notify.v1`: keeps a connection, tells the page each notification once,
 * resumes where it stopped. One tab of a browser has the socket; to the others it is the server.
 * See live-notify.d.ts for the interface, live-notify-fallback.js for what stands in for a socket.
 */

// Milliseconds
const MAX_DELAY = 30_000;
const GRACE = 10_000; // what a beat, a handshake or an answer may be late
const PROBE = 5_000; // the same in doubt, and between tabs
const PATIENCE = 30_000; // of what waits to be sent

const FULL = 65_536; // bytes in a socket
const RING_SIZE = 1_000;
const LOG_SIZE = 200;

/** What to do after a close. */
export function verdict(code) {
  return code < 4400 ? "retry" : code < 4500 ? "refresh" : "stop";
}

/** Milliseconds until the next attempt: full jitter, exponential, capped. */
export function backoff(attempt, { hidden = isHidden(), random = Math.random } = {}) {
  return random() * Math.min(hidden ? 120_000 : MAX_DELAY, 1_000 * 2 ** attempt);
}

/** Epoch and id of a cursor, or null. */
export function parseCursor(cursor) {
  const match = /^1\.(.*)\.(\d+)$/.exec(cursor);
  return match && { epoch: match[1], id: +match[2] };
}

/**
 * How far a page got: a cursor, the ids handled last, and the server's time up to which changes are
 * known. It begins with what the browser has, then goes its own way.
 */
export class Memory {
  next = null; // cursor and time after a reset whose pages are loading

  constructor(key) {
    let kept;
    try {
      kept = JSON.parse(localStorage.getItem(key));
    } catch {
      // Broken or forbidden storage, as a full one below, costs the next page its memory alone.
    }
    const { cursor, ring, time = "" } = kept ?? {};
    this.key = key;
    this.cursor = parseCursor(cursor) && cursor;
    this.ring = new Set([ring].flat().filter(Number.isInteger));
    this.time = time;
  }

  /** Only a replay is judged by the cursor as well: late commits have low ids. */
  isNew(id, replay) {
    return !(this.ring.has(id) || (replay && id <= parseCursor(this.cursor)?.id));
  }

  add(id) { remember(this.ring, id); }

  get place() { return this.next ?? this; }

  /** Move forward; another epoch is another log, whose ids mean other things. */
  advance(cursor, time) {
    const { place } = this;
    if (time > place.time) place.time = time;
    const [mine, next] = [place.cursor, cursor].map(parseCursor);
    const same = mine?.epoch === next?.epoch;
    if (!next || (same && next.id <= mine.id)) return;
    if (mine && !same) this.ring.clear();
    place.cursor = cursor;
  }

  /** Merge with what other tabs have left for the next page. */
  save() {
    const all = new Memory(this.key);
    all.advance(this.cursor, this.time);
    for (const id of this.ring) all.add(id);
    try {
      localStorage.setItem(this.key, JSON.stringify({ ...all, ring: [...all.ring] }));
    } catch {}
  }
}

/** JSON, or the length of a header in two bytes, the header, and bytes. */
function pack(frame) {
  const { data, ...rest } = frame;
  if (!(data instanceof Blob || data instanceof ArrayBuffer || ArrayBuffer.isView(data))) return JSON.stringify(frame);
  const header = new TextEncoder().encode(JSON.stringify(rest));
  return new Blob([Uint8Array.of(header.length >> 8, header.length), header, data]);
}

function unpack(data) {
  try {
    if (typeof data === "string") return JSON.parse(data);
    const end = 2 + new DataView(data).getUint16();
    return { ...JSON.parse(new TextDecoder().decode(data.slice(2, end))), data: data.slice(end) };
  } catch {
    // Not of this version.
  }
}

/** A transport: calls `hello` when it is open, `hear` with each frame, and `end`. */
function openSocket({ url, hello, hear, end }) {
  const socket = new WebSocket(url, "live-notify.v1");
  socket.binaryType = "arraybuffer";
  socket.onopen = hello;
  socket.onmessage = ({ data }) => hear(unpack(data));
  socket.onclose = end;
  return {
    get buffered() { return socket.bufferedAmount; },
    send: (frame) => socket.send(pack(frame)),
    close: (...why) => socket.close(...why),
  };
}

export class LiveNotify extends EventTarget {
  status = "stopped";
  transport = null;
  unread = 0;
  leading = false;
  fallback = null;
  instead = null; // the fallback, where it is used

  #options;
  #endpoint;
  #memory;
  #link; // the transport's; earlier ones are not heard
  #beat = 25_000;
  #deadline;
  #attempt = 0; // -1 after a beat: before that, a loss is one more failure in the row
  #timer;
  #refs = 0;
  #pending = new Map();
  #turn = Promise.resolve();
  #resume;
  #topics = new Set();
  #read = new Set();
  #tags = new Map(); // the highest id of each: what is committed late may be replaced already
  #highest = 0;

  // Between tabs
  #channel;
  #member; // ends with stop()
  #id;
  #following = false; // nor leading: alone, since a leader is not heard
  #tabs = new Map(); // the leader's: the topics of each
  #number = 0; // of the last broadcast
  #log = []; // frames, with cursor and time before each

  constructor({ endpoint, user = null, since, ...options } = {}) {
    super();
    endpoint ??= "/live-notify/";
    this.user = user;
    this.#options = options;
    this.#endpoint = new URL(endpoint, globalThis.location?.href);
    this.#memory = new Memory(`live-notify:${endpoint}:${user ?? ""}`);
    // The next page has to know when the first visit was, should this one never connect.
    if (!this.#memory.time) this.#memory.advance(null, since);
    this.#memory.save();
    this.#record({});
  }

  get cursor() { return this.#memory.cursor; }
  get bufferedAmount() {
    let sum = 0;
    for (const { size } of this.#pending.values()) sum += size;
    return this.#link?.buffered ?? sum;
  }

  start() {
    if (this.status !== "stopped") return;
    this.#listen("add");
    this.#connect();
  }

  stop(...why) {
    if (this.status === "stopped") return;
    this.#listen("remove");
    this.#leave("stopped", why);
  }

  send(name, data = null) { return this.#send({ type: "message", name, data }); }

  async join(topic) {
    await this.#send({ type: "join", topic });
    this.#topics.add(topic);
  }

  leave(topic) { return this.#unjoin(this.#topics, topic); }

  markRead(ids) { return this.#change("read", ids); }
  markUnread(ids) { return this.#change("unread", ids); }
  markSeen(ids) { return this.#change("seen", ids); }
  archive(ids) { return this.#change("archive", ids); }
  unarchive(ids) { return this.#change("unarchive", ids); }
  act(id, name) { return this.#change("action", id, { id, name }); }

  /** All that this page knows of: what arrives meanwhile stays unread. */
  async markAllRead(upTo = this.#highest) {
    if (upTo) await this.#change("read", [], { up_to: upTo });
  }

  async inbox(query) {
    const page = await this.#fetch("inbox/", query);
    this.#note(page.items);
    for (const { id, tag } of page.items) if (!(this.#tags.get(tag) > id)) this.#tags.set(tag, id);
    // A connection may have told a later count.
    if (!this.transport) this.#setUnread(page.unread);
    return page;
  }

  // Waking up: timers of hidden pages are slow, and of sleeping machines they stand still.

  handleEvent({ type }) {
    if (type === "visibilitychange" && isHidden()) return;
    // An open socket keeps a page out of the back/forward cache, and one of a frozen page is cut.
    if (type === "pagehide" || type === "freeze") this.#leave("waiting");
    // A browser may be wrong about being offline, and a leader may hang.
    else if (this.transport && (type === "offline" || this.#following)) {
      this.#transmit({ type: "ping" });
      this.#watchFor(PROBE);
    } else if (this.status === "waiting" || this.transport === "poll" || Date.now() >= this.#deadline) this.#connect();
  }

  #listen(verb) {
    for (const name of "pageshow pagehide online offline focus visibilitychange freeze resume".split(" ")) {
      // Those of the document may not bubble, and elements have a focus, too.
      globalThis[`${verb}EventListener`]?.(name, this, { capture: name !== "focus" });
    }
  }

  // Connecting

  #connect() {
    this.#abandon();
    this.#setStatus("connecting");
    this.#gather();
    // Until `ready`: a proxy may accept a socket and let nothing through.
    this.#watchFor(this.#following ? PROBE : GRACE);
    const mine = (handle) => (value) => link === this.#link && handle(value);
    const best = globalThis.WebSocket ? openSocket : this.fallback;
    const link = (this.#following ? this.#openTab : this.instead ?? best).call(this, {
      url: this.#url("socket/").replace("http", "ws"),
      ask: (...what) => this.#fetch(...what),
      place: () => this.#place(),
      hello: mine(() => {
        this.#transmit({ type: "hello", ...this.#place(), user: this.user, token: this.#options.token });
      }),
      hear: mine((frame) => this.#hear(frame)),
      end: mine((why) => this.#ended(why)),
    });
    this.#link = link;
  }

  #place() {
    const { cursor, time, ring } = this.#memory;
    return { cursor, since: time, seen: Math.max(0, ...ring) || undefined, join: this.#joined() };
  }

  #ended({ code = 1006, reason = "", wasClean = false, after }) {
    const answered = this.transport;
    this.#abandon();
    const close = { code, reason, wasClean, verdict: verdict(code) };
    this.#tell({ close });
    this.#closed(close);
    if (this.status === "stopped") return;
    // What else comes through tells a blocked socket from a server that is down.
    this.instead = this.instead || answered || code >= 4000 ? null : this.fallback;
    if (this.instead) return this.#connect();
    // Whoever says bye again and again is met with growing pauses.
    const attempt = this.#attempt++;
    const [least, most] = after ?? [0, attempt < 0 ? 5 : 0];
    const asked = 1_000 * (least + Math.random() * (most - least));
    this.#retry(Math.max(asked, attempt < 0 ? 0 : backoff(attempt)));
  }

  #closed(close) {
    this.#dispatch("close", close);
    if (close.verdict === "stop") this.stop();
  }

  #retry(delay) {
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.#setStatus("waiting");
  }

  #abandon(why = [1000]) {
    const link = this.#link;
    this.#link = this.#memory.next = this.transport = null;
    clearTimeout(this.#timer);
    for (const ref of this.#pending.keys()) this.#answered({ ref });
    link?.close(...why);
  }

  #leave(status, why) {
    this.#abandon(why);
    this.#scatter();
    this.#setStatus(status);
  }

  /** One timer for whatever is due, compared by the clock: it may fire late. */
  #watchFor(milliseconds) {
    this.#deadline = Date.now() + milliseconds;
    const look = () => {
      const left = this.#deadline - Date.now();
      clearTimeout(this.#timer);
      if (left > 0) this.#timer = setTimeout(look, left);
      else if (this.#following) {
        this.#following = false;
        this.#connect();
      } else this.#ended({ reason: "No sign of life." });
    };
    look();
  }

  // Frames

  #hear(frame) {
    if (!frame?.type) return;
    this.#deadline = Math.max(this.#deadline, Date.now() + this.#beat + GRACE);
    this.#dispatch("frame", { direction: "in", frame });
    if (frame.items ?? frame.ids ?? frame.up_to) this.#record(frame);
    if (this.leading && this.transport && !("ref" in frame)) this.#tell({ n: ++this.#number, frames: [frame] });
    this.#handle(frame);
    // Only now: a page that dies halfway must be told again.
    if (!frame.reset) this.#memory.advance(frame.cursor, frame.time);
    if (frame.cursor ?? frame.items) this.#memory.save();
    if (frame.type === "ping") {
      this.#attempt = -1;
      if (!this.#following) this.#transmit({ type: "pong", cursor: this.cursor });
    }
  }

  #handle(frame) {
    const { type, action, ids = [] } = frame;
    switch (type) {
      case "ready": return this.#welcome(frame);
      case "notifications": return this.#take(frame);
      case "unread": return this.#setUnread(frame.unread);
      case "ok":
      case "error": return this.#answered(frame);
      case "bye": return this.#ended({ ...frame, wasClean: true });
      case "state":
      case "retracted":
      case "emitted":
        if (frame.joined && !this.#topics.has(frame.topic)) return;
        // Also of what has not arrived yet.
        for (const id of ids) {
          if (type === "retracted") this.#memory.add(id);
          if (action === "read") remember(this.#read, id);
          if (action === "unread") this.#read.delete(id);
        }
        this.#dispatch(type, frame);
    }
  }

  #welcome(frame) {
    this.transport = frame.transport ?? "websocket";
    this.#beat = frame.heartbeat * 1000;
    this.#watchFor(this.#beat + GRACE);
    if (frame.reset && !this.#memory.next) this.#reset(frame);
    this.#setUnread(frame.unread);
    this.#setStatus("live");
  }

  /** Too far behind, or another log: what is there now is loaded, not announced. */
  async #reset({ cursor, time }) {
    const link = this.#link;
    const memory = this.#memory;
    memory.next = { ...memory };
    memory.advance(cursor, time);
    this.#log = [];
    this.#record({});
    for (let attempt = 0; link === this.#link; attempt++) {
      try {
        const pages = [];
        // All that a replay may repeat; what comes live has room in the ring as well.
        do {
          pages.push(await this.inbox({ limit: 100, before: pages.at(-1)?.next }));
          if (link !== this.#link) return;
        } while (pages.at(-1).next > parseCursor(cursor)?.id && pages.length < 9);
        for (const { id } of pages.flatMap(({ items }) => items).reverse()) memory.add(id);
        Object.assign(memory, memory.next, { next: null });
        memory.save();
        return this.#dispatch("reset");
      } catch (error) {
        this.#dispatch("error", error);
      }
      await new Promise((resolve) => setTimeout(resolve, backoff(attempt)));
    }
  }

  #take({ items, replay }) {
    this.#note(items);
    for (const item of items) {
      const { id, tag } = item;
      if (!this.#memory.isNew(id, replay)) continue;
      this.#memory.add(id);
      if (tag && this.#tags.get(tag) > id) continue;
      this.#tags.set(tag, id);
      const read = item.read || this.#read.has(id);
      if (!replay && !read && !item.archived && !tag && !item.muted) this.#setUnread(this.unread + 1);
      this.#dispatch("notification", { ...item, read, replay });
    }
  }

  #note(items) {
    this.#highest = Math.max(this.#highest, ...items.map(({ id }) => id));
  }

  #transmit(frame) {
    this.#link?.send(frame);
    this.#dispatch("frame", { direction: "out", frame });
  }

  // Between tabs. A lock elects the leader. The others greet it as they would a server, and it
  // answers from what it heard. Its broadcasts are numbered: whoever misses one greets it again.

  #gather() {
    const locks = globalThis.navigator?.locks;
    // Only secure contexts have them; elsewhere each tab is on its own.
    if (this.#channel || !locks) return;
    const { key } = this.#memory;
    const { signal } = (this.#member = new AbortController());
    this.#id = crypto.randomUUID();
    this.#channel = new BroadcastChannel(key);
    this.#channel.onmessage = ({ data }) => this.#told(data);
    this.#following = true;
    const lead = () => signal.aborted || new Promise((release) => {
      signal.onabort = release;
      this.leading = true;
      if (this.transport && !this.#following) return this.#tell({ status: "live" });
      this.#following = false;
      this.#connect();
    });
    locks.request(key, { signal }, lead).catch(() => {});
  }

  #scatter() {
    if (!this.#channel) return;
    this.#tell({ from: this.#id, frame: { type: "bye" } });
    this.#channel.close();
    this.#member.abort();
    this.#channel = null;
    this.leading = this.#following = false;
    this.#tabs.clear();
  }

  #tell(message) {
    if (this.leading || message.from) this.#channel.postMessage(message);
  }

  #openTab({ hello }) {
    Promise.resolve().then(hello);
    return { close() {}, send: (frame) => this.#tell({ from: this.#id, frame }) };
  }

  #told({ from, to, frame, frames, n, status, close }) {
    if (this.leading) return from && this.#serve(from, frame);
    if (from || (to && to !== this.#id)) return;
    if (status === "live" || (!this.#following && n)) {
      this.#following = true;
      this.#connect();
    } else if (!this.#following) return;
    else if (close) this.#closed(close);
    else if (status) {
      this.#abandon();
      // A hidden leader's timers are slow.
      if (status === "waiting" && !isHidden()) this.#retry(MAX_DELAY * (1 + Math.random()));
      else this.#setStatus(status);
    } else if (n === this.#number + !to || (to && frames[0].type === "ready")) {
      this.#number = n;
      for (const heard of frames) this.#hear(heard);
    } else if (this.transport) this.#connect();
  }

  /** Answer another tab as the server would. */
  async #serve(to, { ref, ...frame }) {
    const { type, topic } = frame;
    const tell = (...frames) => this.#tell({ to, n: this.#number, frames });
    const topics = this.#tabs.get(to) ?? new Set(frame.join);
    if (type === "ping") return tell({ type: "pong" });
    if (type === "bye") this.#tabs.delete(to);
    if (type === "hello") {
      this.#tabs.set(to, topics);
      if (this.status === "waiting") this.#connect();
      if (!this.transport) return this.#tell({ to, status: this.status });
      for (const name of topics) this.#request({ type: "join", topic: name }).catch(() => {});
      const { cursor, time } = this.#memory.place;
      const ready = { type: "ready", transport: this.transport, unread: this.unread, heartbeat: this.#beat / 1000 };
      const missed = this.#missed(frame, cursor, time);
      if (!missed) return tell({ ...ready, reset: true, cursor, time });
      return tell(ready, ...missed, { type: "pong", cursor, time });
    }
    if (type === "bye" || type === "leave") {
      for (const name of topic ? [topic] : topics) this.#unjoin(topics, name);
      return tell({ type: "ok", ref });
    }
    try {
      const data = await this.#request(frame);
      if (type === "join") topics.add(topic);
      tell({ type: "ok", ref, data });
    } catch ({ code, message }) {
      tell({ type: "error", ref, code, message });
    }
  }

  #record(frame) {
    const { cursor, time } = this.#memory.place;
    // A late commit is below the cursor, for the others as well.
    const late = !frame.replay && frame.items?.[0]?.id <= parseCursor(cursor)?.id;
    this.#log = [...this.#log, { frame: { ...frame, replay: !late }, cursor, time }].slice(-LOG_SIZE);
  }

  /** What a tab that got so far has not heard, if the log goes back that far. */
  #missed({ cursor, since }, mine, now) {
    const known = now <= since ? now : this.#log.findLast(({ time }) => time <= since)?.time;
    const [theirs, ours, least] = [cursor, mine, this.#log[0].cursor].map(parseCursor);
    if (known === undefined || !theirs || theirs.epoch !== ours?.epoch || theirs.id < least?.id) return;
    return this.#log.filter(({ time }) => time >= known).map(({ frame }) => frame);
  }

  #joined() {
    return [...new Set([this.#topics, ...this.#tabs.values()].flatMap((topics) => [...topics]))];
  }

  async #unjoin(topics, topic) {
    topics.delete(topic);
    if (!this.#joined().includes(topic)) await this.#request({ type: "leave", topic }).catch(() => {});
  }

  // Requests

  #send(command) {
    const until = Date.now() + PATIENCE;
    const sent = (this.#turn = this.#turn.then(async () => {
      while ((!this.transport || this.bufferedAmount > FULL) && this.status !== "stopped" && Date.now() < until) {
        await new Promise((resolve) => {
          this.#resume = resolve;
          setTimeout(resolve, 10);
        });
      }
      // In an array: what is sent next does not wait for the answer.
      return [this.#request(command)];
    }));
    return sent.then(([answer]) => answer);
  }

  #request(command) {
    return new Promise((resolve, reject) => {
      if (!this.transport) throw failure();
      const packed = pack(command);
      this.#pending.set(++this.#refs, { resolve, reject, size: packed.size ?? packed.length });
      this.#transmit({ ...command, ref: this.#refs });
    });
  }

  #answered({ type, ref, data, code, message }) {
    const request = this.#pending.get(ref);
    this.#pending.delete(ref);
    if (type === "ok") return request?.resolve(data);
    const error = failure(code, message);
    request ? request.reject(error) : this.#dispatch("error", error);
  }

  /** Idempotent: what the connection lost is made by HTTP. */
  async #change(action, ids, keys = { ids: [ids].flat() }) {
    if (keys.ids?.length === 0) return;
    try {
      await this.#request({ type: action, ...keys });
    } catch (error) {
      if (error.code !== "lost") throw error;
      const { unread } = await this.#fetch(`${action}/`, {}, keys);
      // A connection tells it, in order with other changes.
      if (this.transport) return;
      const { id, ...told } = keys;
      if (id) this.#handle({ type: "state", action: "read", ids: (told.ids = [id]) });
      this.#handle({ type: "state", action, ...told });
      this.#setUnread(unread);
    }
  }

  async #fetch(path, query, body, signal) {
    const { csrfToken = "", token } = this.#options;
    const response = await fetch(this.#url(path, { ...query, user: this.user }), {
      method: body ? "POST" : "GET",
      body: body && JSON.stringify(body),
      keepalive: !!body,
      // Browsers wait for minutes on a silent connection.
      signal: signal ?? AbortSignal.timeout(GRACE),
      headers: {
        "Content-Type": "application/json",
        "X-CSRFToken": csrfToken,
        ...(token && { Authorization: `Bearer ${token}` }),
      },
    });
    if (signal && response.ok) return response;
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    const { code = response.status, message = `HTTP ${code}` } = answer;
    throw failure(code, message);
  }

  #url(path, query) {
    const url = new URL(path, this.#endpoint);
    for (const key in query) for (const value of [query[key]].flat()) if (value) url.searchParams.append(key, value);
    return url.href;
  }

  // Telling

  #setStatus(status) {
    const previous = this.status;
    if (status === previous) return;
    this.status = status;
    this.#tell({ status });
    this.#resume?.();
    this.#dispatch("status", { status, previous, transport: this.transport });
  }

  #setUnread(unread = this.unread) {
    if (unread === this.unread) return;
    this.unread = unread;
    this.#dispatch("unread", { unread });
  }

  #dispatch(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
    this.#options.bubble?.(name, detail);
  }
}

function remember(set, id) {
  set.delete(id);
  set.add(id);
  if (set.size > RING_SIZE) set.delete(set.values().next().value);
}

function failure(code = "lost", message = "No connection.") {
  return Object.assign(new Error(message), { name: "LiveNotifyError", code });
}

function isHidden() {
  return globalThis.document?.hidden;
}

// <live-notify>: the client of a page, whose events bubble from here.
globalThis.customElements?.get("live-notify") ?? globalThis.customElements?.define(
  "live-notify",
  class extends HTMLElement {
    #client;

    get client() {
      const bubble = (name, detail) => {
        this.dispatchEvent(new CustomEvent(`live-notify:${name}`, { detail, bubbles: true }));
        if (name === "emitted") bubble(`emitted:${detail.name}`, detail.data);
      };
      return (this.#client ??= new LiveNotify({
        endpoint: this.getAttribute("endpoint"),
        user: this.getAttribute("user"),
        since: this.getAttribute("since"),
        csrfToken: this.getAttribute("csrf-token"),
        bubble,
      }));
    }

    connectedCallback() { this.client.start(); }
    disconnectedCallback() { this.client.stop(); }
  },
);
