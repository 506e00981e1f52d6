/**
 * Some fifty pages with the client as it is shipped, each of which keeps a ledger of what it handled.
 *
 *     node --experimental-vm-modules pages.js
 *
 * Reads commands, a JSON object a line: { do: "open", seed, url, tabs }, then { do: "report" },
 * { do: "beats" }, { do: "wake" }, { do: "rest" }, and answers each with a line.
 */

import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import vm from "node:vm";

const STATIC = new URL("../../django_live_notify/static/django_live_notify/", import.meta.url);
const MODULES = ["live-notify.js", "live-notify-fallback.js"];

// Any token that cookie and header agree on is one to Django.
const CSRF_TOKEN = "0123456789abcdefghijklmnopqrstuv";

// Milliseconds between two acts of a reader, on average.
const PAUSE = 1_500;

/** Numbers from 0 to 1 that a seed determines (mulberry32). */
function chance(seed) {
  let state = [...seed].reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) | 0, 7);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What browsers keep between pages. */
class Storage {
  #values = new Map();
  getItem(key) { return this.#values.get(key) ?? null; }
  setItem(key, value) { this.#values.set(key, String(value)); }
  removeItem(key) { this.#values.delete(key); }
}

/** What one tab handled, over all pages that were in it. */
class Ledger {
  handled = {};
  listed = {};
  resets = 0;

  listen(client) {
    // A page shows the state of what it told itself; what was there before, it loads when it has to.
    // What is answered to a page that was left shows nowhere.
    this.client = client;
    [this.shown, this.read, this.archived] = [new Set(), new Set(), new Set()];
    this.meanwhile = null; // what is told while a list is loaded, which may be older
    this.isComplete = false; // all that is there was loaded, and it has followed since
    this.unread = 0;
    const on = (name, handle) => client.addEventListener(name, ({ detail }) => client === this.client && handle(detail));
    const follow = (change) => {
      this.meanwhile?.push(change);
      change();
    };
    on("notification", (item) => {
      this.handled[item.id] = (this.handled[item.id] ?? 0) + 1;
      follow(() => this.#show(item));
    });
    on("reset", () => {
      this.resets++;
      this.#load(client);
    });
    on("state", (change) => follow(() => this.#change(change)));
    on("unread", ({ unread }) => { this.unread = unread; });
  }

  #change({ action, ids, up_to: upTo }) {
    const known = ids ?? [...this.shown].filter((id) => id <= upTo);
    if (action === "read" || action === "unread") this.#put(this.read, known, action === "read");
    if (action === "archive" || action === "unarchive") this.#put(this.archived, known, action === "archive");
    // It was archived when the list was loaded, and may be old: where it belongs, the list knows.
    // Without a reset, all of it was to be told: what was lost may not come by a list.
    const isThere = (id) => (this.isComplete ? this.shown.has(id) : id in this.handled || id in this.listed);
    if (this.resets && !this.meanwhile && action === "unarchive" && !known.every(isThere)) this.#load(this.client);
  }

  /** Load everything that is there in place of what is shown. */
  async #load(client) {
    const mine = (this.meanwhile = []);
    const items = [];
    for (let next; next !== null; ) {
      try {
        const page = await client.inbox({ before: next });
        items.push(...page.items);
        next = page.next;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
      }
    }
    // Also of a page that was left: the next one in this tab goes on from there.
    for (const { id } of items) this.listed[id] = true;
    if (mine !== this.meanwhile) return;
    this.meanwhile = null;
    for (const set of [this.shown, this.read, this.archived]) set.clear();
    for (const item of items) this.#show(item);
    this.isComplete = true;
    for (const change of mine) change();
  }

  #show(item) {
    this.shown.add(item.id);
    this.#put(this.read, [item.id], item.read);
    this.#put(this.archived, [item.id], item.archived);
  }

  #put(set, ids, value) {
    for (const id of ids) value ? set.add(id) : set.delete(id);
  }

  report() {
    const { handled, resets, unread, isComplete } = this;
    const [shown, read, archived] = [this.shown, this.read, this.archived].map((set) => [...set]);
    return { handled, listed: Object.keys(this.listed).map(Number), resets, unread, isComplete, shown, read, archived };
  }
}

class Tab {
  ledger = new Ledger();
  pages = 0;
  failed = {};
  beats = 0;
  lost = 0;

  constructor(config, url, sources, random, browsers) {
    Object.assign(this, { config, url, sources, random });
    this.storage = browsers[config.browser] ??= new Storage();
  }

  /** Load a page: a world of its own, but for what the browser keeps. */
  async load() {
    const { cookie, key } = this.config;
    const Cookie = `sessionid=${cookie}; csrftoken=${CSRF_TOKEN}`;
    const window = new EventTarget();
    this.window = window;
    const world = {
      EventTarget, Event, CustomEvent, URL, URLSearchParams, AbortController, AbortSignal, Blob,
      TextDecoder, TextDecoderStream, TextEncoder, setTimeout, clearTimeout, console,
      localStorage: this.storage,
      sessionStorage: new Storage(),
      location: new URL(this.url),
      document: Object.assign(new EventTarget(), { visibilityState: "visible" }),
      addEventListener: window.addEventListener.bind(window),
      removeEventListener: window.removeEventListener.bind(window),
      fetch: async (url, options) => {
        const response = await fetch(url, { ...options, headers: { ...options.headers, Cookie } });
        if (!response.ok) this.#fail(`HTTP ${response.status}`);
        else if (response.url.includes("/poll/")) this.beats++;
        return response;
      },
    };
    if (this.config.transport === "websocket") {
      const Origin = new URL(this.url).origin;
      world.WebSocket = class extends WebSocket {
        constructor(url, protocol) { super(url, { protocols: [protocol], headers: { Cookie, Origin } }); }
      };
    }
    const context = vm.createContext(world);
    const [client, fallback] = await Promise.all(this.sources.map(async (source, number) => {
      const module = new vm.SourceTextModule(source, { context, identifier: MODULES[number] });
      await module.link(() => { throw new Error("The client imports nothing."); });
      await module.evaluate();
      return module.namespace;
    }));
    this.client = new client.LiveNotify({
      endpoint: "/live-notify/", user: key, csrfToken: CSRF_TOKEN, since: new Date().toISOString(),
    });
    fallback.support(this.client);
    this.pages++;
    this.ledger.listen(this.client);
    this.client.addEventListener("frame", ({ detail }) => { this.beats += detail.frame.type === "ping"; });
    this.client.addEventListener("close", () => { this.lost++; });
    this.client.start();
  }

  /** Leave the page and load the next one. */
  async navigate() {
    this.window.dispatchEvent(new Event("pagehide"));
    await this.load();
  }

  act() {
    const known = Object.keys(this.ledger.handled).map(Number);
    const some = known.slice(-8).filter(() => this.random() < 0.4);
    const dice = this.random();
    if (dice < 0.12 && this.config.navigates) return this.navigate();
    if (dice < 0.22) return this.client.markRead(some);
    if (dice < 0.25) return this.client.markAllRead();
    if (dice < 0.29) return this.client.markUnread(some);
    if (dice < 0.32) return this.client.archive(some);
    if (dice < 0.34) return this.client.unarchive(some);
  }

  actSoon() {
    this.timer = setTimeout(async () => {
      try {
        await this.act();
      } catch (error) {
        // What cannot be reached just now; the database is asked at the end.
        this.#fail(error.code ?? error.message);
      }
      if (this.timer) this.actSoon();
    }, 2 * PAUSE * this.random());
  }

  #fail(name) { this.failed[name] = (this.failed[name] ?? 0) + 1; }

  rest() {
    clearTimeout(this.timer);
    this.timer = null;
  }

  /** As a reader does who comes back to a tab that waits; what is half-open is for the page to notice. */
  wake() { if (this.client.status === "waiting") this.window.dispatchEvent(new Event("focus")); }

  report() {
    const { status, transport, cursor } = this.client;
    const { pages, failed, lost } = this;
    const { key } = this.config;
    return { key, status, transport, cursor, pages, failed, lost, ...this.ledger.report() };
  }
}

let tabs = [];

const ask = (question) => Object.fromEntries(tabs.map((tab) => [tab.config.name, question(tab)]));

const commands = {
  async open({ seed, url, tabs: configs }) {
    const sources = await Promise.all(MODULES.map((name) => readFile(new URL(name, STATIC), "utf8")));
    const browsers = {};
    tabs = configs.map((config, n) => new Tab(config, url, sources, chance(`${seed}.${n}`), browsers));
    for (const tab of tabs) await tab.load();
    for (const tab of tabs) tab.actSoon();
    return {};
  },
  wake() { for (const tab of tabs) tab.wake(); return {}; },
  rest() { for (const tab of tabs) tab.rest(); return {}; },
  beats() { return ask((tab) => tab.beats); },
  report() { return ask((tab) => tab.report()); },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  console.log(JSON.stringify(await commands[command.do](command)));
}
process.exit(0);
