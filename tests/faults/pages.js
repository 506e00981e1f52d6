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
    // A page shows the state of what it told itself; what was there before, it loads when asked.
    // What is answered to a page that was left shows nowhere.
    this.client = client;
    [this.shown, this.read, this.archived] = [new Set(), new Set(), new Set()];
    this.unread = 0;
    const isShown = () => client === this.client;
    const on = (name, handle) => client.addEventListener(name, ({ detail }) => isShown() && handle(detail));
    on("notification", (item) => {
      this.handled[item.id] = (this.handled[item.id] ?? 0) + 1;
      this.#show(item);
    });
    // What is told while a page is under way may be later than the page.
    let meanwhile;
    const follow = (change) => {
      meanwhile?.push(change);
      change();
    };
    on("reset", async () => {
      this.resets++;
      const mine = (meanwhile = []);
      for (let page = {}; page.next !== null; ) {
        const loaded = await client.inbox({ before: page.next }).catch(() => null);
        if (!loaded) {
          await new Promise((resolve) => setTimeout(resolve, PAUSE));
          continue;
        }
        page = loaded;
        // The next page in this tab goes on from after the reset, too.
        for (const { id } of page.items) this.listed[id] = true;
        if (mine !== meanwhile || !isShown()) continue;
        for (const item of page.items) this.#show(item);
        for (const change of mine) change();
      }
      if (mine === meanwhile) meanwhile = null;
    });
    on("state", ({ action, ids, up_to: upTo }) => follow(() => {
      const known = ids ?? [...this.shown].filter((id) => id <= upTo);
      if (action === "read" || action === "unread") this.#put(this.read, known, action === "read");
      if (action === "archive" || action === "unarchive") this.#put(this.archived, known, action === "archive");
    }));
    on("unread", ({ unread }) => { this.unread = unread; });
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
    const { handled, resets, unread } = this;
    const [shown, read, archived] = [this.shown, this.read, this.archived].map((set) => [...set]);
    return { handled, listed: Object.keys(this.listed).map(Number), resets, unread, shown, read, archived };
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
