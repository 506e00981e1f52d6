/**
 * A WeChat mini-program's end of `live-notify.v1`.
 *
 * `LiveNotify` keeps one socket while the mini-program is in the foreground, tells each notification
 * once, and resumes where it stopped. It knows neither pages nor how somebody logs in.
 */

const { Memory, parseCursor, remember } = require("./memory");
const { openSocket } = require("./socket");

// Milliseconds. What the wire gives in seconds is converted where it is read.
const BASE_DELAY = 1000;
const MAX_DELAY = 30000;
const STEADY_DELAY = 5000; // the first retry after a connection that had lasted
const GRACE = 10000; // what a beat, a handshake or a request may be late
const LOGIN_TIMEOUT = 25000; // wx.login and a request
const PROBE = 5000; // what a ping may take when the network has changed
const READY_TIMEOUT = 30000; // how long send() waits for a connection

// All that the replay after a reset may repeat: the server's limit is 900.
const RESET_PAGES = 9;

/** The verdict of a close code: "retry", "refresh" (retry with a new token) or "stop". */
function verdict(code) {
  if (code >= 4500 && code <= 4999) return "stop";
  if (code >= 4400 && code <= 4499) return "refresh";
  return "retry";
}

/** An error that the server answered, or that kept a request from being answered. */
class LiveNotifyError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/**
 * A reader's connection. Events: `notification`, `unread`, `state`, `retracted`, `emitted`,
 * `status`, `close`, `reset` (load anew what is shown) and `error`.
 */
class LiveNotify {
  /**
   * @param {object} options
   *   endpoint: where the site includes `django_live_notify.urls`, "https://site.example/live-notify/";
   *   logIn(refresh): returns a promise of { token, user }, asks for a new token if `refresh` is true,
   *     and rejects with `stop: true` where trying again is pointless;
   *   header: of all requests, for example { "Accept-Language": "zh-CN" }.
   */
  constructor({ endpoint, logIn, header = {} }) {
    this.endpoint = endpoint;
    this.status = "stopped"; // "connecting", "live", "waiting" (for the next attempt)
    this.unread = 0; // up to 100
    this._logIn = logIn;
    this._header = header;
    this._handlers = {};
    this._listens = false;
    this._hidden = false;
    this._memory = null;
    this._socket = null;
    this._generation = 0; // what was asked for an earlier connection is not heard any more
    this._ready = false;
    this._readyAt = 0;
    this._beat = 25000;
    this._deadline = 0;
    this._attempt = 0;
    this._refresh = false; // the next connection needs a new token
    this._timer = null;
    this._watch = null;
    this._refs = 0;
    this._asked = []; // what the server has not answered yet
    this._topics = new Set();
    this._read = new Set();
    this._retracted = new Set();
    this._highest = 0;
  }

  /** Call `handler` with the detail of each such event; returns a function that ends it. */
  on(name, handler) {
    const handlers = this._handlers[name] || (this._handlers[name] = new Set());
    handlers.add(handler);
    return () => handlers.delete(handler);
  }

  /** Connect, and stay connected in the foreground until stop(). */
  start() {
    if (this.status !== "stopped") return;
    if (!this._listens) {
      this._listens = true;
      wx.onAppShow(() => this._shown());
      wx.onAppHide(() => this._wasHidden());
      wx.onNetworkStatusChange((network) => this._networkChanged(network));
    }
    this._attempt = 0;
    if (this._hidden) this._setStatus("waiting");
    else this._connect();
  }

  /** Disconnect, and stay so until start(). What the server has not answered is given up. */
  stop() {
    if (this.status === "stopped") return;
    this._abandon();
    this._giveUp(() => true);
    this._setStatus("stopped");
  }

  markRead(ids) { return this._change("read", [].concat(ids)); }
  markUnread(ids) { return this._change("unread", [].concat(ids)); }
  markSeen(ids) { return this._change("seen", [].concat(ids)); }
  archive(ids) { return this._change("archive", [].concat(ids)); }
  unarchive(ids) { return this._change("unarchive", [].concat(ids)); }

  /** Use a button of a notification: it reaches the site once, however often it is asked for. */
  act(id, name) { return this._ask({ type: "action", id, name }, { again: true }); }

  /** Mark everything as read that was told or loaded; what arrives meanwhile is not swallowed. */
  markAllRead() {
    if (!this._highest) return Promise.resolve();
    return this._ask({ type: "read", up_to: this._highest }, { again: true });
  }

  /** Send something to the site's LIVE_NOTIFY_ON_MESSAGE; resolves to what it returns. */
  send(name, data = null) {
    if (data instanceof ArrayBuffer || ArrayBuffer.isView(data)) {
      return Promise.reject(new LiveNotifyError("invalid", "This client sends JSON alone."));
    }
    return this._ask({ type: "message", name, data });
  }

  /** Hear what is emitted to a topic, on this connection and those that follow it. */
  join(topic) {
    return this._ask({ type: "join", topic }).then(() => { this._topics.add(topic); });
  }

  leave(topic) {
    this._topics.delete(topic);
    return this._ready ? this._ask({ type: "leave", topic }) : Promise.resolve();
  }

  /** Load a page of the inbox: { items, next, unread, cursor }; the next one is `before: next`. */
  inbox({ before, limit = 20 } = {}) {
    return Promise.resolve().then(() => this._logIn(false)).then(({ token, user }) => {
      const query = { user, limit, before };
      const given = Object.keys(query).filter((name) => query[name] !== undefined && query[name] !== null);
      const text = given.map((name) => `${name}=${encodeURIComponent(query[name])}`).join("&");
      return this._request(`${this.endpoint}inbox/?${text}`, token);
    }).then((page) => {
      for (const item of page.items) this._note(item.id);
      // A connection may have told a later count.
      if (!this._ready) this._setUnread(page.unread);
      return page;
    });
  }

  // What the phone does

  /** WeChat cuts the socket after 5 seconds and halts timers: often nothing tells of either. */
  _wasHidden() {
    this._hidden = true;
    if (this.status === "stopped") return;
    this._abandon();
    this._setStatus("waiting");
  }

  _shown() {
    this._hidden = false;
    this._wake();
  }

  /** The socket of the former network mostly stays open and silent. */
  _networkChanged({ isConnected }) {
    if (!this._hidden && (isConnected || this._ready)) this._wake();
  }

  _wake() {
    if (this.status === "stopped") return;
    if (this.status === "waiting" || Date.now() >= this._deadline) {
      this._attempt = 0;
      this._connect();
    } else if (this._ready) {
      this._socket.send({ type: "ping" });
      this._expectWithin(Math.min(PROBE, this._deadline - Date.now()));
    }
  }

  // Connecting

  _connect() {
    this._abandon();
    this._setStatus("connecting");
    this._expectWithin(LOGIN_TIMEOUT);
    const refresh = this._refresh;
    Promise.resolve().then(() => this._logIn(refresh)).then(
      this._mine((session) => {
        this._refresh = false;
        this._open(session);
      }),
      this._mine((error) => {
        this._emit("error", error);
        if (error && error.stop) this.stop();
        else this._retry(this._backoff());
      })
    );
  }

  /** A handler that is not called any more once this attempt was abandoned. */
  _mine(handle) {
    const generation = this._generation;
    return (value) => {
      if (generation === this._generation) handle(value);
    };
  }

  _open({ token, user }) {
    const key = `live-notify:${this.endpoint}:${user}`;
    if (!this._memory || this._memory.key !== key) this._meet(new Memory(key));
    this._expectWithin(GRACE);
    this._socket = openSocket({
      url: `${this.endpoint.replace(/^http/, "ws")}socket/`,
      header: this._header,
      timeout: GRACE,
      opened: () => this._hello(token, user),
      heard: (frame) => this._receive(frame),
      ended: (close) => this._lost(close),
    });
  }

  /** Another user: nothing of the one before is known any more. */
  _meet(memory) {
    this._memory = memory;
    this._read.clear();
    this._retracted.clear();
    this._highest = 0;
  }

  _hello(token, user) {
    const { cursor, time, ring } = this._memory;
    const hello = { type: "hello", token, user, cursor, since: time || null };
    if (ring.size) hello.seen = Math.max.apply(null, Array.from(ring));
    if (this._topics.size) hello.join = Array.from(this._topics);
    this._socket.send(hello);
  }

  _lost({ code = 1006, reason, after }) {
    const steady = this._isSteady();
    this._abandon();
    const decision = verdict(code);
    if (decision !== "retry") this._refresh = true;
    if (decision === "stop") this.stop();
    else {
      const delay = steady ? between(0, STEADY_DELAY) : this._backoff();
      // A server that says bye again and again is met with growing pauses all the same.
      const asked = after ? between(after[0] * 1000, after[1] * 1000) : 0;
      this._retry(asked && steady ? asked : Math.max(asked, delay));
    }
    this._emit("close", { code, reason, verdict: decision });
  }

  /** A connection that lasted for a beat: before that, the next failure is one more in the row. */
  _isSteady() {
    return this._ready && Date.now() - this._readyAt >= this._beat;
  }

  /** Full jitter, exponential, capped. */
  _backoff() {
    return Math.random() * Math.min(MAX_DELAY, BASE_DELAY * Math.pow(2, Math.min(this._attempt++, 20)));
  }

  _retry(delay) {
    this._setStatus("waiting");
    this._timer = setTimeout(() => this._connect(), delay);
  }

  /** Let go of whatever connection there is; nothing of it is heard from now on. */
  _abandon() {
    const socket = this._socket;
    this._generation++;
    this._socket = null;
    this._ready = false;
    if (this._memory) this._memory.next = null;
    clearTimeout(this._timer);
    clearTimeout(this._watch);
    this._giveUp((asked) => asked.ref && !asked.again);
    for (const asked of this._asked) asked.ref = 0;
    if (socket) socket.close();
  }

  /** One timer for what is expected next, compared by the clock: in the background it stands still. */
  _expectWithin(milliseconds) {
    this._deadline = Date.now() + milliseconds;
    this._keepWatch();
  }

  _keepWatch() {
    clearTimeout(this._watch);
    this._watch = setTimeout(() => {
      if (Date.now() >= this._deadline) this._lost({ reason: "No sign of life." });
      else this._keepWatch();
    }, Math.max(0, this._deadline - Date.now()));
  }

  // Frames

  _receive(frame) {
    this._deadline = Math.max(this._deadline, Date.now() + this._beat + GRACE);
    if (!frame || typeof frame.type !== "string") return; // Not of this version.
    if (this._isSteady()) this._attempt = 0;
    if (frame.type === "ready") this._becomeReady(frame);
    else this._handle(frame);
  }

  _handle(frame) {
    this._memory.advance(null, frame.time);
    switch (frame.type) {
      case "notifications": return this._take(frame);
      case "unread": return this._setUnread(frame.unread);
      case "state": return this._changed(frame);
      case "retracted": return this._takeBack(frame);
      case "emitted": return this._emit("emitted", frame);
      case "ok":
      case "error": return this._answered(frame);
      // The close itself may never be told, or without its code.
      case "bye": return this._lost(frame);
      case "ping":
        this._advance(frame.cursor);
        return this._socket.send({ type: "pong", cursor: this._memory.cursor });
      case "pong": return this._advance(frame.cursor);
    }
  }

  _becomeReady(frame) {
    this._ready = true;
    this._readyAt = Date.now();
    this._beat = (frame.heartbeat || 25) * 1000;
    this._expectWithin(this._beat + GRACE);
    if (frame.reset || !this._memory.cursor) this._reset(frame);
    else this._advance(frame.cursor, frame.time);
    for (const asked of this._asked) this._say(asked);
    const live = this._mine(() => this._setStatus("live"));
    this._setUnread(frame.unread);
    live();
  }

  /** A first visit, too far behind, or another log: what is there is loaded, not announced. */
  _reset({ cursor, time }) {
    const memory = this._memory;
    memory.next = { cursor: memory.cursor, time: memory.time };
    memory.advance(cursor, time);
    this._loadAll(this._mine((pages) => {
      const items = [].concat.apply([], pages.map((page) => page.items));
      for (const item of items.reverse()) memory.add(item.id);
      Object.assign(memory, memory.next, { next: null });
      memory.save();
      this._emit("reset");
    }), cursor);
  }

  _loadAll(done, cursor, pages = [], attempt = 0) {
    const reached = parseCursor(cursor);
    const last = pages[pages.length - 1];
    if (last && !(reached && last.next > reached.id && pages.length < RESET_PAGES)) return done(pages);
    this.inbox({ limit: 100, before: last && last.next }).then(
      this._mine((page) => this._loadAll(done, cursor, pages.concat([page]))),
      this._mine((error) => {
        this._emit("error", error);
        const delay = Math.random() * Math.min(MAX_DELAY, BASE_DELAY * Math.pow(2, attempt));
        this._timer = setTimeout(() => this._loadAll(done, cursor, pages, attempt + 1), delay);
      })
    );
  }

  _take({ items = [], replay = false, cursor }) {
    for (const item of items) {
      this._note(item.id);
      if (!this._memory.isNew(item.id, replay) || this._retracted.has(item.id)) continue;
      this._memory.add(item.id);
      const read = item.read || this._read.has(item.id);
      if (!replay && !read && !item.archived && !item.tag) this._setUnread(this.unread + 1);
      this._emit("notification", Object.assign({}, item, { read, replay }));
    }
    // Only now: what dies halfway must be told again.
    this._memory.advance(cursor);
    this._memory.save();
  }

  _changed(frame) {
    for (const id of frame.ids || []) {
      if (frame.action === "read") remember(this._read, id);
      if (frame.action === "unread") this._read.delete(id);
    }
    this._emit("state", frame);
  }

  _takeBack(frame) {
    for (const id of frame.ids || []) remember(this._retracted, id);
    this._emit("retracted", frame);
  }

  _advance(cursor, time) {
    this._memory.advance(cursor, time);
    if (cursor) this._memory.save();
  }

  _note(id) {
    if (id > this._highest) this._highest = id;
  }

  // Asking

  _change(action, ids) {
    return ids.length ? this._ask({ type: action, ids }, { again: true }) : Promise.resolve();
  }

  /**
   * Ask as soon as there is a connection. What may be said `again` without harm survives a connection
   * that is lost before the answer; a message, which may have been heard, does not.
   */
  _ask(frame, { again = false } = {}) {
    if (this.status === "stopped") return Promise.reject(new LiveNotifyError("lost", "The client is stopped."));
    return new Promise((resolve, reject) => {
      const asked = { frame, again, ref: 0, resolve, reject };
      this._asked.push(asked);
      if (this._ready) this._say(asked);
      else if (!again) setTimeout(() => this._giveUp((other) => other === asked && !asked.ref), READY_TIMEOUT);
    });
  }

  _say(asked) {
    asked.ref = ++this._refs;
    this._socket.send(Object.assign({}, asked.frame, { ref: asked.ref }));
  }

  _answered({ type, ref, data, code, message }) {
    const asked = this._asked.find((one) => ref && one.ref === ref);
    const error = type === "error" && new LiveNotifyError(code, message);
    if (!asked) return error && this._emit("error", error);
    this._asked = this._asked.filter((one) => one !== asked);
    if (error) asked.reject(error);
    else asked.resolve(data);
  }

  _giveUp(condition) {
    const lost = this._asked.filter(condition);
    this._asked = this._asked.filter((asked) => !condition(asked));
    for (const asked of lost) asked.reject(new LiveNotifyError("lost", "The connection was lost, or never came."));
  }

  _request(url, token) {
    const header = Object.assign({}, this._header, { Authorization: `Bearer ${token}` });
    return new Promise((resolve, reject) => {
      wx.request({
        url,
        header,
        timeout: GRACE,
        success({ statusCode, data }) {
          if (statusCode === 200 && data && Array.isArray(data.items)) return resolve(data);
          const { code = statusCode, message = `The server answered ${statusCode}.` } = Object(data);
          reject(new LiveNotifyError(code, message));
        },
        fail: ({ errMsg }) => reject(new LiveNotifyError("lost", errMsg)),
      });
    });
  }

  // Telling

  _setStatus(status) {
    if (status === this.status) return;
    const previous = this.status;
    this.status = status;
    this._emit("status", { status, previous });
  }

  _setUnread(unread) {
    if (typeof unread !== "number" || unread === this.unread) return;
    this.unread = unread;
    this._emit("unread", { unread });
  }

  _emit(name, detail) {
    for (const handler of Array.from(this._handlers[name] || [])) {
      try {
        handler(detail);
      } catch (error) {
        // A page's mistake must not cost the frame.
        console.error(error);
      }
    }
  }
}

function between(least, most) {
  return least + Math.random() * Math.max(0, most - least);
}

module.exports = { LiveNotify, verdict };
