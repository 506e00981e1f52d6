/**
 * A phone with WeChat, as a mini-program meets it: its `wx`, its timers, its modules, and nothing of a
 * browser. Faithful where that hurts: see example_project/wechat/README.md for what it imitates.
 */

import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { compileFunction } from "node:vm";

export const ROOT = fileURLToPath(new URL("../../example_project/wechat/miniprogram", import.meta.url));

const MAX_SOCKETS = 5;
const SUSPENDED_AFTER = 5_000;
const DEFAULT_TIMEOUT = 60_000;

// What Node has and a mini-program has not.
const MISSING = (
  "window document self globalThis WebSocket EventTarget Event CustomEvent fetch localStorage URL URLSearchParams "
  + "TextDecoder TextEncoder AbortController AbortSignal Blob structuredClone queueMicrotask process Buffer"
).split(" ");

/** A socket whose other end is the test. */
export class FakeTask {
  constructor(phone, options) {
    Object.assign(this, { phone, options, sent: [], state: "connecting", handlers: {} });
    // Of a real one, it is undocumented and said to be wrong.
    Object.defineProperty(this, "readyState", { get() { throw new Error("readyState was asked for."); } });
  }

  onOpen(handler) { this.handlers.open = handler; }
  onMessage(handler) { this.handlers.message = handler; }
  onError(handler) { this.handlers.error = handler; }
  onClose(handler) { this.handlers.close = handler; }

  send({ data, success, fail }) {
    if (typeof data !== "string" && !(data instanceof ArrayBuffer)) throw new TypeError("Neither a string nor an ArrayBuffer.");
    if (this.state !== "open" || this.takesNothing) return this.phone.later(fail, { errMsg: "sendSocketMessage:fail WebSocket is not connected" });
    this.sent.push(JSON.parse(data));
    this.phone.later(success, {});
  }

  close({ code = 1000, fail }) {
    if (this.state !== "open") return this.phone.later(fail, { errMsg: "closeSocket:fail WebSocket is not connected" });
    this.gone();
    this.tell("close", { code, reason: "normal closure" });
  }

  // The other end

  open() {
    if (this.state !== "connecting") return;
    this.state = "open";
    this.tell("open", {});
  }

  receive(frame) {
    const data = typeof frame === "string" || frame instanceof ArrayBuffer ? frame : JSON.stringify(frame);
    this.tell("message", { data });
  }

  /** Open and say `ready`, as a server does that knows the reader. */
  ready(keys = {}) {
    this.open();
    this.receive({ type: "ready", version: 1, user: "7", unread: 0, reset: false, heartbeat: 25, cursor: "1.e.0", ...keys });
  }

  /** End, and tell what phones tell: "close", "error", or both. */
  end(code = 1006, reason = "abnormal closure", told = ["close"]) {
    this.gone();
    if (told.includes("error")) this.tell("error", { errMsg: reason });
    if (told.includes("close")) this.tell("close", { code, reason });
  }

  gone() {
    this.state = "closed";
    this.phone.sockets.delete(this);
  }

  tell(name, detail) { this.phone.call(() => this.handlers[name]?.(detail)); }

  sentOf(type) { return this.sent.filter((frame) => frame.type === type); }
}

export class Phone {
  constructor({ makeTask = (phone, options) => new FakeTask(phone, options), site = "https://site.example", demoUser = "" } = {}) {
    Object.assign(this, { makeTask, config: { site, demoUser } });
    this.storage = new Map();
    this.tasks = []; // that were ever made
    this.sockets = new Set(); // that count among the five
    this.requests = [];
    this.codes = 0;
    this.allowed = site.replace(/^http/, "ws");
    this.isSuspended = false;
    this.waiting = []; // calls for the time after the suspension
    this.badge = null;
    this.toasts = [];
    this.wx = this.#makeWx();
  }

  get last() { return this.tasks.at(-1); }

  /** Answers to wx.request(): { statusCode, data }, or an error. */
  answer() { throw new Error("request:fail"); }

  /** Start the mini-program: modules anew, the phone's storage as it was. */
  launch() {
    this.listeners = { show: [], hide: [], network: [] };
    this.modules = new Map();
    this.pages = [];
    this.require("app");
    this.app.onLaunch?.();
    return this.app;
  }

  /** WeChat ends the mini-program: nothing of it happens any more. */
  kill() {
    this.run = Symbol("run");
    this.waiting = [];
    this.isSuspended = false;
    for (const task of this.sockets) task.gone();
  }

  /** Open a page as WeChat does, with setData(). */
  openPage(name) {
    this.require(`pages/${name}/index`);
    const page = Object.create(this.pages.at(-1));
    page.data = structuredClone(page.data);
    page.setData = (more) => Object.assign(page.data, structuredClone(more));
    page.onLoad();
    return page;
  }

  require(name, from = ".") {
    const path = `${normalize(join(from, name))}.js`;
    if (path === "config.js") return this.config;
    if (!this.modules.has(path)) {
      const module = { exports: {} };
      this.modules.set(path, module);
      const names = { require: (other) => this.require(other, dirname(path)), module, exports: module.exports, ...this.#globals() };
      const file = join(ROOT, path);
      compileFunction(readFileSync(file, "utf8"), [...Object.keys(names), ...MISSING], { filename: file })(...Object.values(names));
    }
    return this.modules.get(path).exports;
  }

  /** Go to the background: 5 seconds later, code stands still and sockets are cut. */
  hide({ told = true } = {}) {
    if (told) for (const handler of this.listeners.hide) handler({});
    this.suspension = setTimeout(() => this.suspend(), SUSPENDED_AFTER);
  }

  suspend() {
    this.isSuspended = true;
    for (const task of [...this.sockets]) {
      const wasOpen = task.state === "open";
      task.gone();
      // Said when the code goes on, if at all.
      if (wasOpen && this.tellsInterrupted) task.tell("close", { code: 1000, reason: "interrupted" });
    }
  }

  /** Come back: what waited is told before onAppShow, or after it. */
  show({ told = true, waitingFirst = false } = {}) {
    clearTimeout(this.suspension);
    this.isSuspended = false;
    const tellWaiting = () => { for (const call of this.waiting.splice(0)) call(); };
    if (waitingFirst) tellWaiting();
    if (told) for (const handler of this.listeners.show) handler({});
    tellWaiting();
  }

  changeNetwork(networkType) {
    for (const handler of this.listeners.network) handler({ isConnected: networkType !== "none", networkType });
  }

  /** Call into the mini-program, when it is not suspended. */
  call(callback) {
    const { run } = this;
    const once = () => { if (run === this.run) callback(); };
    if (this.isSuspended) this.waiting.push(once);
    else once();
  }

  later(callback, detail) {
    if (callback) Promise.resolve().then(() => this.call(() => callback(detail)));
  }

  #globals() {
    return {
      wx: this.wx,
      App: (app) => { this.app = app; },
      Page: (page) => this.pages.push(page),
      getApp: () => this.app,
      // A timer that is due while the code stands still fires when it goes on.
      setTimeout: (callback, delay) => {
        const { run } = this;
        const timer = { isCleared: false };
        const fire = () => { if (!timer.isCleared) callback(); };
        timer.timeout = setTimeout(() => { if (run === this.run) this.call(fire); }, delay);
        return timer;
      },
      clearTimeout: (timer) => {
        if (!timer) return;
        timer.isCleared = true;
        clearTimeout(timer.timeout);
      },
    };
  }

  #makeWx() {
    return {
      connectSocket: (options) => this.#connectSocket(options),
      onAppShow: (handler) => this.listeners.show.push(handler),
      onAppHide: (handler) => this.listeners.hide.push(handler),
      onNetworkStatusChange: (handler) => this.listeners.network.push(handler),
      getStorageSync: (key) => (this.storage.has(key) ? structuredClone(this.storage.get(key)) : ""),
      setStorageSync: (key, value) => {
        if (this.storageIsFull) throw new Error("setStorageSync:fail exceed storage max size 10Mb");
        this.storage.set(key, structuredClone(value));
      },
      removeStorageSync: (key) => this.storage.delete(key),
      getAppBaseInfo: () => ({ language: "zh_CN" }),
      login: ({ success }) => this.later(success, { errMsg: "login:ok", code: `code${++this.codes}` }),
      request: (options) => this.#request(options),
      setTabBarBadge: ({ index, text }) => {
        if (typeof text !== "string") throw new TypeError("text must be a string.");
        this.badge = { index, text };
      },
      removeTabBarBadge: () => { this.badge = null; },
      showToast: ({ title }) => this.toasts.push(title),
      stopPullDownRefresh: () => {},
    };
  }

  #connectSocket(options) {
    const { url, protocols, header = {}, timeout = DEFAULT_TIMEOUT, success, fail } = options;
    if (protocols !== undefined && !Array.isArray(protocols)) throw new TypeError("protocols must be an array.");
    if ("Referer" in header) throw new TypeError("Referer cannot be set.");
    const task = this.makeTask(this, options);
    const refuse = (errMsg) => {
      task.state = "closed";
      this.later(fail, { errMsg });
      return task;
    };
    if (!url.startsWith(`${this.allowed}/`)) return refuse("connectSocket:fail url not in domain list");
    if (this.sockets.size >= MAX_SOCKETS) return refuse("connectSocket:fail exceed max socket count");
    this.tasks.push(task);
    this.sockets.add(task);
    // The call has come through, and nothing more: the socket may never open.
    this.later(success, { errMsg: "connectSocket:ok" });
    setTimeout(() => task.state === "connecting" && task.end(1006, "connectSocket:fail timeout", ["error"]), timeout);
    return task;
  }

  async #request(options) {
    const { url, method = "GET", header = {}, data, success, fail } = options;
    const request = { url: new URL(url), method, header, data };
    this.requests.push(request);
    try {
      const { statusCode = 200, data: answer } = await this.answer(request);
      this.later(success, { errMsg: "request:ok", statusCode, data: answer });
    } catch (error) {
      this.later(fail, { errMsg: error.message });
    }
  }
}

/** Let everything that is already promised happen. */
export async function settle() {
  for (let turn = 0; turn < 50; turn++) await Promise.resolve();
}
