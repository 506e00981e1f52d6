/**
 * live-notify-ui.js: how notifications look. `<live-notify-bell>` and `<live-notify-toasts>`.
 *
 * Imports nothing: hashed names of static files break imports between modules. The client is found
 * through the page: the `<live-notify>` element around, or else the first one.
 */

const TEXTS = {
  notifications: "Notifications",
  unread: "%(count)s unread",
  mark_all_read: "Mark all as read",
  empty: "You’re all caught up",
  empty_hint: "New notifications appear here.",
  loading: "Loading…",
  load_older: "Show older",
  load_failed: "Notifications could not be loaded.",
  change_failed: "That did not work. Please try again.",
  try_again: "Try again",
  reconnecting: "Reconnecting…",
  stopped: "Disconnected. Reload the page to sign in again.",
  dismiss: "Dismiss",
  archive: "Archive",
  more: "and %(count)s more",
};

const MAX_TOASTS = 3;
const TOAST_TIME = 6_000; // milliseconds; errors stay
const REPLAY_AGE = 3_600_000; // milliseconds; what was missed for longer only counts
const PAGE_SIZE = 20;
const TOASTED_RING = 200;
const CLAIM_TIME = 10_000; // milliseconds for a write to reach the other tabs

const STYLE = `
:host {
  --_accent: var(--live-notify-accent, #2563eb);
  --_surface: var(--live-notify-surface, #fff);
  --_raised: var(--live-notify-raised, #f4f6f9);
  --_text: var(--live-notify-text, #1a2230);
  --_muted: var(--live-notify-muted, #5c6675);
  --_line: var(--live-notify-line, #e3e7ed);
  --_badge: var(--live-notify-badge, #d92d20);
  --_radius: var(--live-notify-radius, 12px);
  --_shadow: var(--live-notify-shadow, 0 12px 32px rgb(16 24 40 / .18), 0 2px 6px rgb(16 24 40 / .08));
  --_info: var(--live-notify-info, #2563eb);
  --_success: var(--live-notify-success, #12805c);
  --_warning: var(--live-notify-warning, #b45309);
  --_error: var(--live-notify-error, #d92d20);
  color: var(--_text);
  font: var(--live-notify-font, 400 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif);
}
@media (prefers-color-scheme: dark) {
  :host {
    --_accent: var(--live-notify-accent, #7aa2ff);
    --_surface: var(--live-notify-surface, #1b212c);
    --_raised: var(--live-notify-raised, #252d3a);
    --_text: var(--live-notify-text, #e8ecf3);
    --_muted: var(--live-notify-muted, #9aa5b5);
    --_line: var(--live-notify-line, #323b4a);
    --_shadow: var(--live-notify-shadow, 0 12px 32px rgb(0 0 0 / .55));
    --_info: var(--live-notify-info, #7aa2ff);
    --_success: var(--live-notify-success, #4ade9f);
    --_warning: var(--live-notify-warning, #fbbf5b);
    --_error: var(--live-notify-error, #ff8a80);
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
button { font: inherit; color: inherit; background: none; border: 0; cursor: pointer; padding: 0; }
button:focus-visible, a:focus-visible, [tabindex]:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
.quiet { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.title { font-weight: 600; overflow-wrap: anywhere; }
.body { color: var(--_muted); overflow-wrap: anywhere; white-space: pre-line; }
.info { --_level: var(--_info); } .success { --_level: var(--_success); }
.warning { --_level: var(--_warning); } .error { --_level: var(--_error); }
.icon { inline-size: 36px; block-size: 36px; border-radius: 50%; object-fit: cover; flex: none; }
.link { color: var(--_accent); font-weight: 500; padding: 4px 6px; border-radius: 6px; }
.link:hover { background: color-mix(in srgb, var(--_accent) 10%, transparent); }
`;

const BELL_STYLE = `
:host { display: inline-block; position: relative; }
.bell { position: relative; display: inline-grid; place-items: center; inline-size: 40px; block-size: 40px; border-radius: 50%; color: var(--live-notify-bell, inherit); }
.bell:hover { background: color-mix(in srgb, currentColor 10%, transparent); }
.bell svg { inline-size: 22px; block-size: 22px; }
.badge { position: absolute; inset-block-start: 2px; inset-inline-end: 0; min-inline-size: 18px; padding-inline: 5px; border-radius: 9px; background: var(--_badge); color: #fff; font: 600 11px/18px system-ui, sans-serif; text-align: center; }
.panel { position: absolute; inset-block-start: calc(100% + 8px); inset-inline-end: 0; z-index: 1000; display: flex; flex-direction: column; inline-size: 380px; max-block-size: min(560px, 80vh); background: var(--_surface); border: 1px solid var(--_line); border-radius: var(--_radius); box-shadow: var(--_shadow); overflow: hidden; text-align: start; }
header { display: flex; align-items: center; justify-content: space-between; gap: 12px; padding: 12px 10px 12px 16px; border-block-end: 1px solid var(--_line); }
h2 { margin: 0; font-size: 15px; font-weight: 650; }
.note { margin: 0; padding: 7px 16px; background: color-mix(in srgb, var(--_warning) 12%, transparent); color: var(--_warning); font-size: 13px; }
.scroll { overflow-y: auto; overscroll-behavior: contain; }
ul { list-style: none; margin: 0; padding: 0; }
li { position: relative; display: flex; gap: 10px; padding: 12px 16px; border-block-end: 1px solid var(--_line); }
li:last-child { border-block-end: 0; }
li:hover, li:focus-within { background: var(--_raised); }
li.unread { background: color-mix(in srgb, var(--_accent) 6%, transparent); }
li.unread:hover { background: color-mix(in srgb, var(--_accent) 11%, transparent); }
.dot { flex: none; inline-size: 8px; block-size: 8px; margin-block-start: 6px; border-radius: 50%; background: transparent; border: 1.5px solid color-mix(in srgb, var(--_level) 55%, transparent); }
.unread .dot { background: var(--_level); border-color: var(--_level); }
.open { flex: 1; min-inline-size: 0; text-align: start; color: inherit; text-decoration: none; display: block; border-radius: 4px; }
.open::after { content: ""; position: absolute; inset: 0; }
.read .title { font-weight: 450; }
time { color: var(--_muted); font-size: 12px; }
.put-away { position: relative; flex: none; align-self: start; inline-size: 26px; block-size: 26px; border-radius: 6px; color: var(--_muted); opacity: 0; }
li:hover .put-away, li:focus-within .put-away { opacity: 1; }
.put-away:hover { background: color-mix(in srgb, currentColor 14%, transparent); color: var(--_text); }
@media (hover: none) { .put-away { opacity: 1; } }
.state { padding: 40px 24px; text-align: center; color: var(--_muted); }
.state strong { display: block; color: var(--_text); font-weight: 600; margin-block-end: 2px; }
.older { inline-size: 100%; padding: 12px; color: var(--_accent); font-weight: 500; }
.older:hover { background: var(--_raised); }
@media (max-width: 480px) { .panel { position: fixed; inset-block: 64px auto; inset-inline: 8px; inline-size: auto; max-block-size: calc(100dvh - 80px); } }
@media (prefers-reduced-motion: no-preference) { .panel { animation: drop .14s ease-out; } @keyframes drop { from { opacity: 0; transform: translateY(-6px); } } }
`;

const TOAST_STYLE = `
:host { position: fixed; inset-block-end: 20px; inset-inline-end: 20px; z-index: 1100; display: flex; flex-direction: column; gap: 10px; inline-size: min(360px, calc(100vw - 24px)); pointer-events: none; }
@media (max-width: 480px) { :host { inset-inline-end: 12px; inset-block-end: 12px; } }
.stack { display: contents; }
.toast { pointer-events: auto; position: relative; display: flex; gap: 12px; padding: 14px 12px 14px 16px; background: var(--_surface); border: 1px solid var(--_line); border-inline-start: 4px solid var(--_level); border-radius: var(--_radius); box-shadow: var(--_shadow); }
.text { flex: 1; min-inline-size: 0; color: inherit; text-decoration: none; text-align: start; border-radius: 4px; }
.text .body { display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden; }
a.text:hover .title { text-decoration: underline; }
.close { flex: none; align-self: start; inline-size: 26px; block-size: 26px; border-radius: 6px; color: var(--_muted); font-size: 18px; line-height: 1; }
.close:hover { background: var(--_raised); color: var(--_text); }
.more { pointer-events: auto; align-self: center; padding: 4px 14px; border-radius: 99px; background: var(--_surface); border: 1px solid var(--_line); box-shadow: var(--_shadow); color: var(--_muted); font-size: 13px; }
@media (prefers-reduced-motion: no-preference) { .toast { animation: rise .2s ease-out; } @keyframes rise { from { opacity: 0; transform: translateY(10px); } } }
`;

const BELL_PATHS = [
  "M12 3a6 6 0 0 0-6 6v3.6L4.4 16a.7.7 0 0 0 .63 1h13.94a.7.7 0 0 0 .63-1L18 12.6V9a6 6 0 0 0-6-6Z",
  "M9.8 20a2.3 2.3 0 0 0 4.4 0",
];

/** What both elements share: a shadow root, the client, the texts. */
class LiveNotifyElement extends HTMLElement {
  static css = "";
  #abort = null;

  constructor() {
    super();
    this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE + this.constructor.css);
    this.shadowRoot.adoptedStyleSheets = [sheet];
  }

  async connectedCallback() {
    this.#abort?.abort();
    const { signal } = (this.#abort = new AbortController());
    await customElements.whenDefined("live-notify");
    const root = this.closest("live-notify") ?? document.querySelector("live-notify");
    if (signal.aborted || !root) return;
    this.texts = { ...TEXTS, ...parse(root.getAttribute("texts")) };
    this.root = root;
    this.client = root.client;
    this.render();
    this.listen((target, name, handler) => target.addEventListener(name, handler, { signal }));
  }

  disconnectedCallback() {
    this.#abort?.abort();
    this.shadowRoot.replaceChildren();
  }

  text(key, values = {}) {
    return this.texts[key].replace(/%\((\w+)\)s/g, (_, name) => values[name] ?? "");
  }
}

class Bell extends LiveNotifyElement {
  static css = BELL_STYLE;
  #items = new Map(); // by id, newest first when listed
  #next = null;
  #loaded = false;
  #state = ""; // "loading", "failed" or ""

  render() {
    this.button = element("button", { class: "bell", part: "bell", type: "button", "aria-expanded": "false", "aria-controls": "panel" }, [
      icon(BELL_PATHS),
      (this.badge = element("span", { class: "badge", part: "badge", "aria-hidden": "true", hidden: "" })),
    ]);
    this.list = element("ul", { part: "list" });
    this.note = element("p", { class: "note", part: "note", role: "status", hidden: "" });
    this.message = element("div", { class: "state", part: "empty", hidden: "" });
    this.older = element("button", { class: "older", part: "older", type: "button", hidden: "" }, this.text("load_older"));
    this.readAll = element("button", { class: "link", part: "mark-all-read", type: "button" }, this.text("mark_all_read"));
    this.panel = element("section", { id: "panel", class: "panel", part: "panel", tabindex: "-1", "aria-label": this.text("notifications"), hidden: "" }, [
      element("header", { part: "header" }, [element("h2", {}, this.text("notifications")), this.readAll]),
      this.note,
      element("div", { class: "scroll" }, [this.list, this.message, this.older]),
    ]);
    this.live = element("span", { class: "quiet", role: "status", "aria-live": "polite" });
    this.shadowRoot.replaceChildren(this.button, this.panel, this.live);
    this.showUnread();
    this.showStatus();
  }

  listen(on) {
    on(this.button, "click", () => this.toggle());
    on(this.readAll, "click", () => this.client.markAllRead().catch(() => this.showFailure()));
    on(this.older, "click", () => this.load(this.#next));
    on(this.list, "click", (event) => this.clicked(event));
    on(this.shadowRoot, "keydown", (event) => event.key === "Escape" && this.close());
    on(document, "pointerdown", (event) => event.composedPath().includes(this) || this.close(false));
    on(this.client, "notification", ({ detail }) => this.arrived(detail));
    on(this.client, "unread", () => this.showUnread());
    on(this.client, "state", ({ detail }) => this.changed(detail));
    on(this.client, "retracted", ({ detail }) => this.remove(detail.ids));
    on(this.client, "reset", ({ detail }) => this.#loaded && this.replace(detail));
    on(this.client, "status", () => this.showStatus());
  }

  get isOpen() { return this.panel?.hidden === false; }

  toggle() { this.isOpen ? this.close() : this.open(); }

  open() {
    this.panel.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    this.panel.focus({ preventScroll: true });
    this.dispatchEvent(new CustomEvent("live-notify-bell:open", { bubbles: true }));
    if (this.#loaded) this.see();
    else this.load();
  }

  close(refocus = true) {
    if (!this.isOpen) return;
    this.panel.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
    if (refocus) this.button.focus();
  }

  async load(before) {
    if (this.#state === "loading") return;
    this.#state = "loading";
    this.show();
    try {
      const page = await this.client.inbox({ before, limit: PAGE_SIZE });
      if (!before) this.#items.clear();
      for (const item of page.items) this.put(item);
      this.#next = page.next;
      this.#loaded = true;
      this.#state = "";
      this.see();
    } catch {
      this.#state = "failed";
    }
    this.show();
  }

  replace(page) {
    this.#items.clear();
    for (const item of page.items) this.put(item);
    this.#next = page.next;
    this.show();
  }

  /** Whoever opens the panel has seen what is in it. */
  see() {
    const unseen = [...this.#items.values()].filter((item) => !item.seen);
    if (!unseen.length) return;
    for (const item of unseen) item.seen = true;
    this.client.markSeen(unseen.map((item) => item.id)).catch(() => {});
  }

  put(item) {
    if (item.tag) {
      for (const other of this.#items.values()) {
        if (other.tag === item.tag && other.id > item.id) return;
        if (other.tag === item.tag && other.id < item.id) this.#items.delete(other.id);
      }
    }
    this.#items.set(item.id, item);
  }

  arrived(item) {
    if (item.archived) return;
    if (!item.read && !item.muted) this.live.textContent = item.title;
    if (!this.#loaded) return;
    this.put(item);
    this.show();
    if (this.isOpen) this.see();
  }

  changed({ action, ids, up_to: upTo }) {
    const chosen = ids ? new Set(ids) : null;
    for (const item of this.#items.values()) {
      if (chosen ? !chosen.has(item.id) : item.id > upTo) continue;
      if (action === "read") item.read = item.seen = true;
      if (action === "unread") item.read = false;
      if (action === "seen") item.seen = true;
      if (action === "archive") this.#items.delete(item.id);
      // What comes back has its place between others: the list is asked for anew.
    }
    if (action === "unarchive" && this.#loaded && ids.some((id) => !this.#items.has(id))) this.load();
    this.show();
  }

  remove(ids) {
    for (const id of ids) this.#items.delete(id);
    this.show();
  }

  clicked(event) {
    const row = event.target.closest("li");
    if (!row) return;
    const id = Number(row.dataset.id);
    if (event.target.closest(".put-away")) {
      this.client.archive(id).catch(() => this.showFailure());
      this.panel.focus({ preventScroll: true });
      return;
    }
    const item = this.#items.get(id);
    if (!item || !event.target.closest(".open")) return;
    if (!item.read) this.client.markRead(id).catch(() => this.showFailure());
  }

  show() {
    const items = [...this.#items.values()].sort((a, b) => b.id - a.id);
    const focused = this.shadowRoot.activeElement?.closest("li")?.dataset.id;
    this.list.replaceChildren(...items.map((item) => this.row(item)));
    if (focused) this.list.querySelector(`[data-id="${focused}"] .open`)?.focus({ preventScroll: true });
    this.older.hidden = !this.#next || this.#state !== "";
    this.readAll.hidden = !items.some((item) => !item.read) && !this.client.unread;
    this.showMessage(items.length);
  }

  showMessage(count) {
    if (this.#state === "failed") {
      const retry = element("button", { class: "link", type: "button" }, this.text("try_again"));
      retry.addEventListener("click", () => this.load(count ? this.#next : undefined));
      this.message.replaceChildren(element("strong", {}, this.text("load_failed")), retry);
    } else if (this.#state === "loading" && !count) {
      this.message.replaceChildren(this.text("loading"));
    } else {
      this.message.replaceChildren(element("strong", {}, this.text("empty")), this.text("empty_hint"));
    }
    this.message.hidden = count > 0 && this.#state !== "failed";
  }

  showFailure() {
    this.note.textContent = this.text("change_failed");
    this.note.hidden = false;
  }

  showUnread() {
    const { unread } = this.client;
    const count = unread > 99 ? "99+" : String(unread);
    this.badge.hidden = !unread;
    this.badge.textContent = count;
    const label = this.text("notifications");
    this.button.setAttribute("aria-label", unread ? `${label}, ${this.text("unread", { count })}` : label);
    if (this.#loaded) this.show();
  }

  showStatus() {
    const text = { waiting: "reconnecting", stopped: "stopped" }[this.client.status];
    this.note.hidden = !text;
    this.note.textContent = text ? this.text(text) : "";
  }

  row(item) {
    const content = [
      element("div", { class: "title", part: "title" }, item.title),
      item.body && element("div", { class: "body", part: "body" }, item.body),
      time(item.created_at),
    ];
    const href = safeUrl(item.url);
    const open = href
      ? element("a", { class: "open", part: "item-link", href }, content)
      : element("button", { class: "open", part: "item-link", type: "button" }, content);
    const putAway = element("button", { class: "put-away", part: "archive", type: "button", title: this.text("archive"), "aria-label": `${this.text("archive")}: ${item.title}` }, "✕");
    const mark = safeUrl(item.icon) ? picture(item.icon) : element("span", { class: "dot" });
    const classes = `${item.read ? "read" : "unread"} ${level(item)}`;
    return element("li", { class: classes, part: `item ${classes}`, "data-id": item.id }, [mark, open, putAway]);
  }
}

class Toasts extends LiveNotifyElement {
  static css = TOAST_STYLE;
  #waiting = []; // arrived while the page was hidden
  #hidden = 0; // not shown because of the limit

  render() {
    this.polite = element("div", { class: "stack", role: "status", "aria-live": "polite" });
    this.urgent = element("div", { class: "stack", role: "alert" });
    this.more = element("div", { class: "more", part: "more", hidden: "" });
    this.shadowRoot.replaceChildren(this.urgent, this.polite, this.more);
  }

  listen(on) {
    on(this.client, "notification", ({ detail }) => this.arrived(detail));
    on(this.client, "retracted", ({ detail }) => detail.ids.forEach((id) => this.drop(id)));
    on(this.client, "state", ({ detail }) => this.changed(detail));
    on(document, "visibilitychange", () => this.showWaiting());
    on(this.root, "live-notify-bell:open", () => this.all().forEach((toast) => this.drop(Number(toast.dataset.id))));
  }

  arrived(item) {
    // Whoever looks at the list sees it there.
    if (item.read || item.archived || item.muted || this.root.querySelector("live-notify-bell")?.isOpen) return;
    if (item.replay && Date.now() - Date.parse(item.created_at) > REPLAY_AGE) return;
    const same = item.tag && this.find((toast) => toast.dataset.tag === item.tag);
    if (same) return this.fill(same, item);
    if (item.tag) this.#waiting = this.#waiting.filter(({ tag }) => tag !== item.tag);
    if (document.visibilityState === "hidden") this.#waiting.push(item);
    else this.pop(item);
  }

  showWaiting() {
    if (document.visibilityState === "hidden") return;
    for (const item of this.#waiting.splice(0)) this.pop(item);
  }

  changed({ action, ids, up_to: upTo }) {
    if (action !== "read" && action !== "archive") return;
    const affected = (id) => (ids ? ids.includes(id) : id <= upTo);
    this.#waiting = this.#waiting.filter((item) => !affected(item.id));
    for (const toast of this.all()) if (affected(Number(toast.dataset.id))) toast.remove();
    this.count();
  }

  /** Show one, unless another tab of this browser has. */
  async pop(item) {
    if (!(await claim(this.client.user, item))) return;
    if (this.all().length >= MAX_TOASTS) {
      this.#hidden++;
      this.count();
      return;
    }
    const toast = element("div", { part: "toast" });
    this.fill(toast, item);
    (level(item) === "error" ? this.urgent : this.polite).append(toast);
  }

  fill(toast, item) {
    const href = safeUrl(item.url);
    const content = [
      element("div", { class: "title", part: "title" }, item.title),
      item.body && element("div", { class: "body", part: "body" }, item.body),
    ];
    const text = element(href ? "a" : "div", { class: "text", ...(href && { href }) }, content);
    if (href) text.addEventListener("click", () => this.client.markRead(item.id).catch(() => {}));
    const close = element("button", { class: "close", part: "dismiss", type: "button", "aria-label": this.text("dismiss") }, "×");
    close.addEventListener("click", () => this.drop(Number(toast.dataset.id)));
    toast.className = `toast ${level(item)}`;
    Object.assign(toast.dataset, { id: item.id, tag: item.tag ?? "" });
    toast.replaceChildren(...[safeUrl(item.icon) && picture(item.icon), text, close].filter(Boolean));
    this.schedule(toast, item);
  }

  /** Go by itself, but not from under a hand or while it is being read; errors stay. */
  schedule(toast, item) {
    if (level(item) === "error") return;
    let timer;
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.drop(item.id), TOAST_TIME);
    };
    const hold = () => clearTimeout(timer);
    toast.onpointerenter = toast.onfocus = hold;
    toast.onpointerleave = wait;
    toast.addEventListener("focusin", hold);
    toast.addEventListener("focusout", wait);
    wait();
  }

  all() { return [...this.shadowRoot.querySelectorAll(".toast")]; }

  find(condition) { return this.all().find(condition); }

  drop(id) {
    this.#waiting = this.#waiting.filter((item) => item.id !== id);
    this.find((toast) => Number(toast.dataset.id) === id)?.remove();
    this.count();
  }

  count() {
    if (!this.all().length) this.#hidden = 0;
    this.more.hidden = !this.#hidden;
    this.more.textContent = this.#hidden ? this.text("more", { count: this.#hidden }) : "";
  }
}

/** Whether this tab is the first of the browser to show a toast; a tag is shown once, too. */
async function claim(user, item) {
  const key = `live-notify-toasted:${user ?? ""}`;
  const marks = item.tag ? [item.id, `#${item.tag}`] : [item.id];
  try {
    const claimed = parse(localStorage.getItem(key)).ids ?? [];
    if (marks.some((mark) => claimed.includes(mark))) return false;
    // What another tab wrote just now may not be here yet: a lock decides between those.
    if (!(await isFirst(`${key}:${item.id}`))) return false;
    const ids = [...(parse(localStorage.getItem(key)).ids ?? []), ...marks];
    localStorage.setItem(key, JSON.stringify({ ids: ids.slice(-TOASTED_RING) }));
  } catch {
    // No storage: every tab shows its own.
  }
  return true;
}

function isFirst(name) {
  // Only secure contexts have locks; elsewhere the storage has to do.
  if (!navigator.locks) return true;
  return new Promise((resolve) => {
    navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock && new Promise((release) => setTimeout(release, CLAIM_TIME));
    });
  });
}

function element(name, attributes = {}, children = []) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...[children].flat().filter(Boolean));
  return made;
}

function icon(paths) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  const attributes = { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": "1.8", "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true" };
  for (const [key, value] of Object.entries(attributes)) svg.setAttribute(key, value);
  for (const d of paths) {
    const path = document.createElementNS(namespace, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

function picture(src) {
  return element("img", { class: "icon", part: "icon", src: safeUrl(src), alt: "" });
}

/** A url as it may stand in a link: of this site, or http(s); "" for anything else. */
function safeUrl(url) {
  if (!url) return "";
  try {
    const parsed = new URL(url, document.baseURI);
    return ["http:", "https:"].includes(parsed.protocol) ? parsed.href : "";
  } catch {
    return "";
  }
}

function level({ level }) {
  return ["info", "success", "warning", "error"].includes(level) ? level : "info";
}

function time(iso) {
  const date = new Date(iso);
  const locale = document.documentElement.lang || undefined;
  return element("time", { datetime: iso, title: date.toLocaleString(locale) }, relative(date, locale));
}

function relative(date, locale) {
  const seconds = (date - Date.now()) / 1000;
  const format = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "long" });
  const steps = [["second", 60], ["minute", 60], ["hour", 24], ["day", 7]];
  let value = seconds;
  for (const [unit, size] of steps) {
    if (Math.abs(value) < size) return format.format(Math.round(unit === "second" ? 0 : value), unit);
    value /= size;
  }
  return date.toLocaleDateString(locale, { dateStyle: "medium" });
}

function parse(json) {
  try {
    return JSON.parse(json ?? "{}") ?? {};
  } catch {
    return {};
  }
}

for (const [name, constructor] of [["live-notify-bell", Bell], ["live-notify-toasts", Toasts]]) {
  if (!customElements.get(name)) customElements.define(name, constructor);
}
