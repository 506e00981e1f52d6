/**
 * live-notify-ui.js: how notifications look. `<live-notify-bell>` and `<live-notify-toasts>`.
 *
 * Imports nothing: hashed names of static files break imports between modules. The client is found
 * through the page: the `<live-notify>` element around, or else the first one. Nothing is inline,
 * so that it works under `default-src 'self'`.
 */

const TEXTS = {
  notifications: "Notifications",
  unread: "%(count)s unread",
  unread_mark: "Unread",
  mark_all_read: "Mark all as read",
  empty: "You’re all caught up",
  empty_hint: "New notifications appear here.",
  loading: "Loading…",
  load_older: "Show older",
  load_failed: "Notifications could not be loaded.",
  change_failed: "That did not work. Please try again.",
  already_done: "This was done already.",
  done: "Done",
  try_again: "Try again",
  reconnecting: "Reconnecting…",
  stopped: "Disconnected. Reload the page to sign in again.",
  dismiss: "Dismiss",
  archive: "Archive",
  more: "and %(count)s more",
  ask_desktop: "Show them on the desktop, too",
  success: "success",
  warning: "warning",
  error: "error",
};

const MAX_TOASTS = 3;
const PAGE_SIZE = 20;
const TOASTED_RING = 200; // ids and tags
const GONE_RING = 1_000; // ids; one that is forgotten costs a request
const EDGE = 8; // pixels between the panel and the edge of the window
const ROOM = 320; // pixels that a panel needs below its bell

// Milliseconds
const TOAST_TIME = 6_000; // errors and what has buttons stay
const REPLAY_AGE = 3_600_000; // what was missed for longer only counts
const TAG_AGE = 3_600_000; // a tag that comes back later is told again
const CLAIM_TIME = 10_000; // for a write to reach the other tabs
const DESKTOP_DELAY = 1_000; // in which a tab that is looked at shows it instead
const SOUND_PAUSE = 2_000;
const TICK = 30_000; // the times in the list

const DRAWS_BOTH = CSS.supports("color", "light-dark(#000, #fff)");
const IS_DARK = matchMedia("(prefers-color-scheme: dark)").matches;

/** A colour for either colour scheme of the page, or, in older browsers, for that of the reader. */
function shade(light, dark) {
  if (DRAWS_BOTH) return `light-dark(${light}, ${dark})`;
  return IS_DARK ? dark : light;
}

const STYLE = `
:host {
  --_accent: var(--live-notify-accent, ${shade("#2563eb", "#8fb0ff")});
  --_on-accent: var(--live-notify-on-accent, ${shade("#fff", "#0d1320")});
  --_surface: var(--live-notify-surface, ${shade("#fff", "#1b212c")});
  --_raised: var(--live-notify-raised, ${shade("#f2f4f8", "#262e3c")});
  --_text: var(--live-notify-text, ${shade("#1a2230", "#e8ecf3")});
  --_muted: var(--live-notify-muted, ${shade("#566071", "#a3aebd")});
  --_line: var(--live-notify-line, ${shade("#e3e7ed", "#343d4c")});
  --_badge: var(--live-notify-badge, #d02b20);
  --_radius: var(--live-notify-radius, 12px);
  --_shadow: var(--live-notify-shadow, 0 12px 32px ${shade("rgb(16 24 40 / .18)", "rgb(0 0 0 / .55)")}, 0 2px 6px ${shade("rgb(16 24 40 / .08)", "rgb(0 0 0 / .3)")});
  --_info: var(--live-notify-info, ${shade("#2563eb", "#8fb0ff")});
  --_success: var(--live-notify-success, ${shade("#0f7050", "#4ade9f")});
  --_warning: var(--live-notify-warning, ${shade("#9a4a08", "#fbbf5b")});
  --_error: var(--live-notify-error, ${shade("#c4281c", "#ff9389")});
  color: var(--_text);
  font: var(--live-notify-font, 400 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif);
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
button { font: inherit; color: inherit; background: none; border: 0; cursor: pointer; padding: 0; }
button:focus-visible, a:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
.quiet { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.title { font-weight: 600; overflow-wrap: anywhere; text-align: -webkit-match-parent; text-align: match-parent; }
.body { color: var(--_muted); overflow-wrap: anywhere; white-space: pre-line; text-align: -webkit-match-parent; text-align: match-parent; }
.info { --_level: var(--_info); } .success { --_level: var(--_success); }
.warning { --_level: var(--_warning); } .error { --_level: var(--_error); }
.main { flex: 1; min-inline-size: 0; }
.mark { flex: none; display: grid; place-items: center; inline-size: 32px; block-size: 32px; border-radius: 50%; color: var(--_level); background: color-mix(in srgb, var(--_level) 13%, transparent); }
.mark svg { inline-size: 20px; block-size: 20px; stroke-width: 2.2; }
.icon { inline-size: 32px; block-size: 32px; border-radius: 50%; object-fit: cover; flex: none; }
.link { color: var(--_accent); font-weight: 500; padding: 4px 6px; border-radius: 6px; }
.link:hover { background: color-mix(in srgb, var(--_accent) 10%, transparent); }
.round { position: relative; flex: none; align-self: start; display: grid; place-items: center; inline-size: 28px; block-size: 28px; border-radius: 8px; color: var(--_muted); }
.round svg { inline-size: 16px; block-size: 16px; stroke-width: 2.2; }
.round:hover { background: color-mix(in srgb, currentColor 14%, transparent); color: var(--_text); }
.progress { display: flex; align-items: center; gap: 10px; margin-block-start: 6px; font-size: 12px; color: var(--_muted); font-variant-numeric: tabular-nums; }
.track { flex: 1; block-size: 6px; border-radius: 3px; background: color-mix(in srgb, var(--_level) 18%, transparent); overflow: hidden; }
.bar { display: block; block-size: 100%; inline-size: calc(var(--_progress) * 100%); border-radius: 3px; background: var(--_level); }
.actions { position: relative; display: flex; flex-wrap: wrap; gap: 8px; margin-block-start: 8px; }
.action { padding: 5px 12px; border-radius: 8px; border: 1px solid var(--_line); background: var(--_surface); font-weight: 500; }
.action:hover { background: var(--_raised); }
.action:first-child { border-color: transparent; background: var(--_accent); color: var(--_on-accent); }
.action:first-child:hover { background: color-mix(in srgb, var(--_accent) 88%, var(--_text)); }
.action[aria-disabled] { opacity: .6; cursor: progress; }
.done { display: inline-flex; align-items: center; gap: 6px; color: var(--_success); font-weight: 500; }
.done svg { inline-size: 18px; block-size: 18px; stroke-width: 2.4; }
.problem { flex-basis: 100%; margin: 0; color: var(--_error); font-size: 13px; }
@media (prefers-reduced-motion: no-preference) { .bar { transition: inline-size .4s ease-out; } }
`;

const BELL_STYLE = `
:host { display: inline-block; position: relative; }
.bell { position: relative; display: inline-grid; place-items: center; inline-size: 40px; block-size: 40px; border-radius: 50%; color: var(--live-notify-bell, inherit); }
.bell:hover { background: color-mix(in srgb, currentColor 10%, transparent); }
.bell svg { inline-size: 22px; block-size: 22px; }
.badge { position: absolute; inset-block-start: 1px; inset-inline-start: 20px; min-inline-size: 18px; padding-inline: 5px; border-radius: 9px; background: var(--_badge); color: #fff; font: 600 11px/18px system-ui, sans-serif; text-align: center; }
.panel { position: fixed; inset: auto; inset-block: var(--_top) var(--_bottom); left: var(--_left); z-index: 1000; margin: 0; padding: 0; display: flex; flex-direction: column; inline-size: min(var(--live-notify-panel-width, 400px), calc(100vw - ${2 * EDGE}px)); max-block-size: min(600px, var(--_room)); background: var(--_surface); color: var(--_text); border: 1px solid var(--_line); border-radius: var(--_radius); box-shadow: var(--_shadow); overflow: hidden; text-align: start; }
.panel:focus-visible { outline: none; }
.head { flex: none; display: flex; flex-wrap: wrap; align-items: center; gap: 0 12px; min-block-size: 48px; padding: 8px 10px 8px 16px; border-block-end: 1px solid var(--_line); }
:host(:dir(rtl)) .head { padding: 8px 16px 8px 10px; }
.head .link { margin-inline-start: auto; text-align: end; }
h2 { margin: 0; font-size: 16px; font-weight: 650; overflow-wrap: anywhere; }
.note { margin: 0; padding: 7px 16px; background: color-mix(in srgb, var(--_warning) 12%, transparent); color: var(--_warning); font-size: 13px; }
.scroll { overflow-y: auto; overscroll-behavior: contain; scrollbar-width: thin; }
ul { list-style: none; margin: 0; padding: 0; }
li { position: relative; display: flex; gap: 12px; padding: 12px 16px; border-block-end: 1px solid var(--_line); }
li:last-child { border-block-end: 0; }
li:hover { background: var(--_raised); }
li.unread { background: color-mix(in srgb, var(--_accent) 7%, transparent); }
li.unread:hover { background: color-mix(in srgb, var(--_accent) 12%, transparent); }
li.unread::before { content: ""; position: absolute; inset-block: 0; inset-inline-start: 0; inline-size: 3px; background: var(--_level); }
.open { inline-size: 100%; text-align: start; color: inherit; text-decoration: none; display: block; border-radius: 4px; }
.open::after { content: ""; position: absolute; inset: 0; }
.open:focus-visible { outline: none; }
.open:focus-visible::after { outline: 2px solid var(--_accent); outline-offset: -2px; border-radius: 6px; }
.read .title { font-weight: 450; }
.read .mark { opacity: .75; }
time { color: var(--_muted); font-size: 12px; }
.put-away { opacity: 0; }
li:hover .put-away, li:focus-within .put-away { opacity: 1; }
@media (hover: none) { .put-away { opacity: 1; } }
.state { padding: 40px 24px; text-align: center; color: var(--_muted); }
.state strong { display: block; color: var(--_text); font-weight: 600; margin-block-end: 2px; }
.state svg { inline-size: 40px; block-size: 40px; stroke-width: 1.3; margin-block-end: 8px; opacity: .7; }
.list-filled + .state { padding: 16px 24px; }
.bone { display: flex; gap: 12px; padding: 12px 16px; }
.bone::before, .bone::after { content: ""; background: var(--_raised); }
.bone::before { flex: none; inline-size: 32px; block-size: 32px; border-radius: 50%; }
.bone::after { flex: 1; block-size: 36px; border-radius: 8px; }
.older { inline-size: 100%; padding: 12px; color: var(--_accent); font-weight: 500; border-block-start: 1px solid var(--_line); }
.older:hover { background: var(--_raised); }
.older:focus-visible { outline-offset: -2px; }
.foot { display: flex; flex-direction: column; align-items: start; border-block-start: 1px solid var(--_line); }
.foot .link { margin: 6px 10px; }
.foot:not(.filled) { display: none; }
@media (hover: none) { .action, .link { min-block-size: 36px; } .round { inline-size: 36px; block-size: 36px; } }
@media (prefers-reduced-motion: no-preference) {
  .panel { animation: drop .14s ease-out; }
  @keyframes drop { from { opacity: 0; transform: translateY(-6px); } }
  .bone { animation: pulse 1.2s ease-in-out infinite alternate; }
  @keyframes pulse { from { opacity: .5; } }
}
`;

const TOAST_STYLE = `
:host { position: fixed; inset: auto; inset-block-end: 20px; inset-inline-end: 20px; z-index: 1100; margin: 0; padding: 0; border: 0; background: none; overflow: visible; display: flex; flex-direction: column; gap: 10px; inline-size: min(var(--live-notify-toast-width, 380px), calc(100vw - 24px)); max-block-size: none; pointer-events: none; }
@media (max-width: 480px) { :host { inset-inline-end: 12px; inset-block-end: 12px; } }
section { display: flex; flex-direction: column; gap: 10px; }
.toast { pointer-events: auto; position: relative; display: flex; gap: 12px; padding: 14px 10px 14px 16px; background: var(--_surface); border: 1px solid var(--_line); border-radius: var(--_radius); box-shadow: var(--_shadow); overflow: hidden; }
:host(:dir(rtl)) .toast { padding: 14px 16px 14px 10px; }
.toast::before { content: ""; position: absolute; inset-block: 0; inset-inline-start: 0; inline-size: 4px; background: var(--_level); }
.text { display: block; color: inherit; text-decoration: none; text-align: start; border-radius: 4px; padding-block: 5px; }
.toast:has(.body:not([hidden])) .text { padding-block: 0; }
.text .body { display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden; }
a.text:hover .title { text-decoration: underline; }
.more { pointer-events: auto; align-self: center; padding: 4px 14px; border-radius: 99px; background: var(--_surface); border: 1px solid var(--_line); box-shadow: var(--_shadow); color: var(--_muted); font-size: 13px; }
button.more:hover { color: var(--_text); background: var(--_raised); }
@media (prefers-reduced-motion: no-preference) { .toast { animation: rise .2s ease-out; } @keyframes rise { from { opacity: 0; transform: translateY(10px); } } }
`;

// Drawn in a square of 24.
const SHAPES = {
  bell: ["M12 3a6 6 0 0 0-6 6v3.6L4.4 16a.7.7 0 0 0 .63 1h13.94a.7.7 0 0 0 .63-1L18 12.6V9a6 6 0 0 0-6-6Z", "M9.8 20a2.3 2.3 0 0 0 4.4 0"],
  info: ["M12 11v6", "M12 7v.01"],
  success: ["m6.5 12.5 3.8 3.8 7.2-8"],
  warning: ["M12 6.5v7", "M12 17.5v.01"],
  error: ["m7.5 7.5 9 9", "m16.5 7.5-9 9"],
};

/** What both elements share: a shadow root, the client, the texts, and how an item is filled. */
class LiveNotifyElement extends HTMLElement {
  static css = "";
  #abort = null;
  #pressed = new Set(); // ids whose button is on its way
  #problems = new Map(); // by id, what came back

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
    this.root = root;
    this.client = root.client;
    this.texts = { ...TEXTS, ...parse(root.getAttribute("texts")) };
    this.locale = localeOf(root);
    this.template = this.querySelector("template");
    this.render();
    this.listen((target, name, handler, options) => target.addEventListener(name, handler, { ...options, signal }));
  }

  disconnectedCallback() {
    this.#abort?.abort();
    this.shadowRoot.replaceChildren();
  }

  /** A text; one that counts has a form for each category of plurals. */
  text(key, { count = 0, most = Infinity } = {}) {
    const text = this.texts[key];
    const form = typeof text === "string" ? text : (text[new Intl.PluralRules(this.locale).select(count)] ?? text.other);
    return form.replace("%(count)s", this.number(count, most));
  }

  number(count, most = Infinity) {
    const format = new Intl.NumberFormat(this.locale);
    return count > most ? `${format.format(most)}+` : format.format(count);
  }

  /** Speak, in the tab that is looked at alone. */
  say(text) {
    if (document.visibilityState === "hidden") return;
    this.voice.textContent = text;
    clearTimeout(this.voice.timer);
    // What stays would be read again by who walks through the page.
    this.voice.timer = setTimeout(() => (this.voice.textContent = ""), 5_000);
  }

  // Items, in the list and as toasts. The element's own layout and that of a <template> in it are
  // filled alike: by the names in `data-field`.

  /** Show an item in an element; it is built anew only where its parts are others than before. */
  fill(holder, item) {
    const acting = { pressed: this.#pressed.has(item.id), problem: this.#problems.get(item.id) ?? "" };
    const plan = JSON.stringify([!!safeUrl(item.url), item.icon, level(item), item.actions, item.acted, progressOf(item) !== null, acting]);
    if (holder.plan !== plan) {
      const { activeElement: held } = this.shadowRoot;
      const { action } = holder.contains(held) ? held.dataset : {};
      const field = holder.contains(held) && held.closest("[data-field]")?.dataset.field;
      holder.plan = plan;
      holder.replaceChildren(this.template ? this.template.content.cloneNode(true) : this.layout());
      for (const place of holder.querySelectorAll("[data-field]")) this.build(place, item, acting);
      const places = [`[data-action="${CSS.escape(action ?? "")}"]`, `button[data-field="${field}"]`, "a, button"];
      if (field) places.map((place) => holder.querySelector(place)).find(Boolean)?.focus({ preventScroll: true });
    }
    for (const place of holder.querySelectorAll("[data-field]")) this.update(place, item);
  }

  build(place, item, { pressed, problem }) {
    const href = safeUrl(item.url);
    switch (place.dataset.field) {
      case "link": {
        if (href) return (place.href = href);
        const attributes = [...place.attributes].map(({ name, value }) => [name, value]);
        const plain = element(this.plainLink, { ...Object.fromEntries(attributes) }, [...place.childNodes]);
        if (this.plainLink === "button") plain.type = "button";
        return place.replaceWith(plain);
      }
      case "icon":
        if (safeUrl(item.icon)) return place.replaceChildren(element("img", { class: "icon", part: "icon", src: safeUrl(item.icon), alt: "" }));
        place.classList.add("mark");
        if (level(item) === "info") place.setAttribute("aria-hidden", "true");
        else for (const [name, value] of [["role", "img"], ["aria-label", this.text(level(item))]]) place.setAttribute(name, value);
        return place.replaceChildren(shape(level(item)));
      case "actions":
        return place.replaceChildren(...this.buttons(item, pressed, problem));
      case "archive":
      case "dismiss":
        place.replaceChildren(...(place.childNodes.length ? place.childNodes : [shape("error")]));
        place.title = this.text(place.dataset.field);
        return place.setAttribute("aria-label", `${place.title}: ${item.title}`);
      case "progress": {
        if (progressOf(item) === null) return;
        const bar = element("span", { class: "bar", part: "progress-bar" });
        const track = element("span", { class: "track", part: "progress-track", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, bar);
        return place.replaceChildren(track, element("span", { "aria-hidden": "true" }));
      }
    }
  }

  update(place, item) {
    const name = place.dataset.field;
    if (name === "time") return this.tell(place, item.created_at);
    if (name === "unread") return (place.textContent = item.read ? "" : this.text("unread_mark"));
    if (name === "progress") {
      const progress = progressOf(item);
      place.hidden = progress === null;
      if (place.hidden) return;
      const [track, number] = place.children;
      track.firstChild.style.setProperty("--_progress", progress);
      track.setAttribute("aria-valuenow", Math.round(progress * 100));
      track.setAttribute("aria-label", item.title);
      return (number.textContent = new Intl.NumberFormat(this.locale, { style: "percent" }).format(progress));
    }
    if (name === "actions") return (place.hidden = !place.childNodes.length);
    if (["link", "icon", "archive", "dismiss"].includes(name)) return;
    const value = name === "actor" ? item.actor?.name : name.split(".").reduce((at, key) => at?.[key], item);
    place.textContent = value ?? "";
    place.hidden = !place.textContent;
    // Anybody's words in any language: each finds its own direction.
    place.dir = "auto";
  }

  tell(place, iso) {
    const date = new Date(iso);
    place.setAttribute("datetime", iso);
    place.title = date.toLocaleString(this.locale);
    place.textContent = relative(date, this.locale);
  }

  buttons({ actions = [], acted }, pressed, problem) {
    if (!actions.length) return [];
    if (acted) {
      const { label } = actions.find(({ name }) => name === acted) ?? { label: acted };
      const tick = shape("success");
      tick.removeAttribute("aria-hidden");
      tick.setAttribute("role", "img");
      tick.setAttribute("aria-label", this.text("done"));
      return [element("span", { class: "done", part: "done" }, [tick, element("span", { dir: "auto" }, label)])];
    }
    const buttons = actions.map(({ name, label }) =>
      element("button", { class: "action", part: "action", type: "button", dir: "auto", "data-action": name, ...(pressed && { "aria-disabled": "true" }) }, label));
    if (problem) buttons.push(element("p", { class: "problem", part: "problem", role: "alert" }, problem));
    return buttons;
  }

  /** Carry out a button; what comes of it is told by `state`, here and elsewhere. */
  async press(item, name) {
    if (this.#pressed.has(item.id)) return;
    this.#pressed.add(item.id);
    this.#problems.delete(item.id);
    this.show();
    try {
      // Once it is done, it stays pressed until `state` replaces the buttons.
      await this.client.act(item.id, name);
    } catch ({ code, message }) {
      // What the site says is for its reader, what the server says is for its developer.
      const theirs = ["invalid", "forbidden"].includes(code) && message;
      this.#problems.set(item.id, theirs || this.text(code === "done" ? "already_done" : "change_failed"));
      this.#pressed.delete(item.id);
      this.show();
    }
  }
}

class Bell extends LiveNotifyElement {
  static css = BELL_STYLE;
  plainLink = "button";
  #items = new Map(); // by id
  #gone = new Set(); // ids that do not come back: retracted, or replaced
  #rows = new Map(); // by id, or by tag: a replacement moves into the same row
  #next = null;
  #asked; // before which id the last page was asked for
  #loaded = false;
  #state = ""; // "loading", "failed" or ""
  #meanwhile = null; // what was told while a page is under way
  #seen; // an IntersectionObserver: whether the end of the list comes near

  render() {
    this.#rows.clear();
    const title = this.text("notifications");
    this.button = element("button", { class: "bell", part: "bell", type: "button", "aria-haspopup": "dialog", "aria-expanded": "false", "aria-controls": "panel" }, [
      element("slot", { name: "icon" }, shape("bell")),
      (this.badge = element("span", { class: "badge", part: "badge", "aria-hidden": "true", hidden: "" })),
    ]);
    this.list = element("ul", { part: "list", "aria-label": title });
    this.note = element("p", { class: "note", part: "note", role: "status", hidden: "" });
    this.message = element("div", { class: "state", part: "state", hidden: "" });
    this.older = element("button", { class: "older", part: "older", type: "button", hidden: "" });
    this.retry = element("button", { class: "link", part: "try-again", type: "button" }, this.text("try_again"));
    this.readAll = element("button", { class: "link", part: "mark-all-read", type: "button" }, this.text("mark_all_read"));
    this.ask = element("button", { class: "link", part: "ask-desktop", type: "button" }, this.text("ask_desktop"));
    const foot = element("slot", { name: "footer" });
    this.scroller = element("div", { class: "scroll" }, [this.list, this.message, this.older]);
    this.footer = element("div", { class: "foot", part: "footer" }, [this.ask, foot]);
    this.panel = element("div", { id: "panel", class: "panel", part: "panel", role: "dialog", tabindex: "-1", "aria-label": title, popover: "manual", hidden: "" }, [
      element("div", { class: "head", part: "header" }, [element("slot", { name: "title" }, element("h2", { part: "heading" }, title)), this.readAll]),
      this.note,
      this.scroller,
      this.footer,
    ]);
    this.empty = element("slot", { name: "empty" }, [shape("bell"), element("strong", {}, this.text("empty")), this.text("empty_hint")]);
    this.voice = element("span", { class: "quiet", role: "status" });
    this.shadowRoot.replaceChildren(this.button, this.panel, this.voice);
    this.showUnread();
    this.showStatus();
    this.showFooter();
  }

  listen(on) {
    on(this.button, "click", () => this.toggle());
    on(this.readAll, "click", () => this.client.markAllRead().catch(() => this.showFailure()));
    on(this.older, "click", () => this.load(this.#next));
    on(this.retry, "click", () => this.load(this.#asked));
    on(this.ask, "click", () => Notification.requestPermission().then(() => this.showFooter()));
    on(this.list, "click", (event) => this.clicked(event));
    on(this.shadowRoot, "keydown", (event) => this.typed(event));
    on(this.shadowRoot, "slotchange", () => this.showFooter());
    on(this, "focusout", ({ relatedTarget }) => relatedTarget && !this.contains(relatedTarget) && this.close(false));
    on(document, "pointerdown", (event) => event.composedPath().includes(this) || this.close(false));
    on(document, "visibilitychange", () => this.tick());
    on(window, "resize", () => this.place());
    on(window, "scroll", () => this.place(), { capture: true, passive: true });
    on(this.client, "notification", ({ detail }) => this.arrived(detail));
    on(this.client, "unread", () => this.showUnread());
    on(this.client, "state", ({ detail }) => this.follow(() => this.change(detail)));
    on(this.client, "retracted", ({ detail }) => this.follow(() => detail.ids.forEach((id) => this.drop(id))));
    on(this.client, "reset", () => this.startAnew());
    on(this.client, "status", () => this.showStatus());
    if (globalThis.IntersectionObserver) {
      const near = (entries) => entries.at(-1).isIntersecting && !this.#state && this.load(this.#next);
      this.#seen = new IntersectionObserver(near, { root: this.scroller, rootMargin: "240px" });
    }
  }

  disconnectedCallback() {
    this.#seen?.disconnect();
    clearInterval(this.ticker);
    // What is told from now on is not heard.
    this.forget();
    showInTab(this, 0);
    super.disconnectedCallback();
  }

  get isOpen() { return this.panel?.hidden === false; }

  toggle() { this.isOpen ? this.close() : this.open(); }

  open() {
    if (!this.panel || this.isOpen) return;
    this.panel.hidden = false;
    // Above everything, whatever the page puts around the bell.
    this.panel.showPopover?.();
    this.place();
    this.button.setAttribute("aria-expanded", "true");
    this.panel.focus({ preventScroll: true });
    this.ticker = setInterval(() => this.tick(), TICK);
    this.dispatchEvent(new CustomEvent("live-notify-bell:open", { bubbles: true }));
    if (!this.#loaded && !this.#meanwhile) this.load();
    this.see();
    this.show();
  }

  close(refocus = true) {
    if (!this.isOpen) return;
    clearInterval(this.ticker);
    this.panel.hidePopover?.();
    this.panel.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
    if (refocus) this.button.focus();
  }

  /** Put the panel beside the bell, inside the window. */
  place() {
    if (!this.isOpen) return;
    const { clientWidth: width, clientHeight: height } = document.documentElement;
    const bell = this.button.getBoundingClientRect();
    const wanted = this.matches(":dir(rtl)") ? bell.left : bell.right - this.panel.offsetWidth;
    const left = Math.max(EDGE, Math.min(wanted, width - this.panel.offsetWidth - EDGE));
    const [above, below] = [bell.top, height - bell.bottom];
    const over = below < ROOM && above > below;
    const start = Math.max(EDGE, Math.min(over ? below + bell.height + EDGE : bell.bottom + EDGE, height - ROOM));
    const places = { left: `${left}px`, top: over ? "auto" : `${start}px`, bottom: over ? `${start}px` : "auto", room: `${height - start - EDGE}px` };
    for (const [name, value] of Object.entries(places)) this.panel.style.setProperty(`--_${name}`, value);
  }

  async load(before) {
    // The beginning of the list takes the place of a page that is under way.
    if (before && this.#meanwhile) return;
    const meanwhile = (this.#meanwhile = []);
    this.#asked = before;
    const last = [...this.list.children].at(-1);
    const byHand = before && this.shadowRoot.activeElement === this.older;
    this.#state = "loading";
    this.show();
    const page = await this.client.inbox({ before, limit: PAGE_SIZE }).catch(() => null);
    if (meanwhile !== this.#meanwhile) return;
    this.#meanwhile = null;
    this.#state = page ? "" : "failed";
    if (page) {
      if (!before) this.#items.clear();
      for (const item of page.items) this.put(item);
      this.#next = page.next;
      this.#loaded = true;
    }
    if (this.#loaded) for (const change of meanwhile) change();
    this.see();
    this.show();
    if (byHand) this.focusRow(last?.nextElementSibling ?? last);
  }

  /** More was missed than was told, or it is another log: what nobody looks at is loaded when opened. */
  startAnew() {
    if (!this.isOpen) return this.forget();
    this.#gone.clear();
    this.load();
  }

  forget() {
    this.#items.clear();
    this.#gone.clear();
    this.#meanwhile = null;
    this.#loaded = false;
    this.#state = "";
  }

  /** Carry out what was told, and again on a page that is under way: it may be older. */
  follow(change) {
    this.#meanwhile?.push(change);
    if (!this.#loaded) return;
    change();
    this.see();
    this.show();
  }

  /** Whoever opens the panel has seen what is in it. */
  see() {
    const unseen = this.isOpen ? [...this.#items.values()].filter((item) => !item.seen) : [];
    if (!unseen.length) return;
    for (const item of unseen) item.seen = true;
    this.client.markSeen(unseen.map((item) => item.id)).catch(() => {});
  }

  put(item) {
    if (item.tag) {
      for (const other of this.#items.values()) {
        if (other.tag === item.tag && other.id > item.id) return void this.drop(item.id);
        if (other.tag === item.tag && other.id < item.id) this.drop(other.id);
      }
    }
    this.#items.set(item.id, item);
  }

  drop(id) {
    this.#items.delete(id);
    this.#gone.add(id);
    if (this.#gone.size > GONE_RING) this.#gone.delete(this.#gone.values().next().value);
  }

  arrived(item) {
    if (item.archived) return;
    // Where there are toasts, they speak, unless the list is open.
    const speaks = this.isOpen || !this.root.querySelector("live-notify-toasts");
    if (speaks && !item.read && !item.muted && !item.replay && !isStep(item)) this.say(item.title);
    this.follow(() => this.put(item));
  }

  change({ action, ids, up_to: upTo, name }) {
    const chosen = ids ? new Set(ids) : null;
    for (const item of this.#items.values()) {
      if (chosen ? !chosen.has(item.id) : item.id > upTo) continue;
      if (action === "read") item.read = item.seen = true;
      if (action === "unread") item.read = false;
      if (action === "seen") item.seen = true;
      if (action === "action") item.acted = name;
      if (action === "archive") this.#items.delete(item.id);
    }
    // What comes back has its place between others: the list is asked for anew, unless a page that
    // is under way may have it. Of all that was read or seen it is told, too, that it is not archived.
    const isMissing = (id) => id >= (this.#next ?? 0) && !this.#items.has(id) && !this.#gone.has(id);
    if (action === "unarchive" && !this.#meanwhile && ids?.some(isMissing)) this.load();
  }

  clicked({ target }) {
    const item = this.#items.get(Number(target.closest("li")?.dataset.id));
    const field = target.closest("[data-action], [data-field='archive'], [data-field='link']");
    if (!item || !field) return;
    if (field.dataset.action) return this.press(item, field.dataset.action);
    if (field.dataset.field === "archive") return this.client.archive(item.id).catch(() => this.showFailure());
    if (!item.read) this.client.markRead(item.id).catch(() => this.showFailure());
  }

  typed(event) {
    if (event.key === "Escape" && this.isOpen) {
      event.stopPropagation();
      return this.close();
    }
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || !this.panel.contains(event.target)) return;
    const rows = [...this.list.children];
    const at = rows.indexOf(this.shadowRoot.activeElement?.closest("li"));
    const to = { ArrowDown: at + 1, ArrowUp: Math.max(at - 1, 0), Home: 0, End: rows.length - 1 }[event.key];
    if (to === undefined || !rows.length) return;
    event.preventDefault();
    if (rows[to]) this.focusRow(rows[to]);
    else if (!this.older.hidden) this.older.focus();
  }

  focusRow(row) {
    (row?.querySelector("[data-field='link']") ?? this.panel).focus();
  }

  show() {
    if (!this.#loaded && !this.#state) return;
    const items = [...this.#items.values()].sort((a, b) => b.id - a.id);
    const focused = this.shadowRoot.activeElement;
    const row = focused?.closest("li");
    const at = [...this.list.children].indexOf(row);
    this.showRows(items);
    this.list.className = items.length ? "list-filled" : "";
    this.list.ariaBusy = String(this.#state === "loading");
    this.older.hidden = !this.#next || this.#state === "failed" || !items.length;
    this.older.textContent = this.text(this.#state === "loading" ? "loading" : "load_older");
    this.readAll.hidden = !items.some((item) => !item.read) && !this.client.unread;
    this.showMessage(items.length);
    // Observed anew: what is still in view after a page was added is no change of its own.
    this.#seen?.unobserve(this.older);
    if (this.isOpen && !this.older.hidden && !this.#state) this.#seen?.observe(this.older);
    if (!focused || !this.isOpen) return;
    if (at >= 0 && !row.isConnected) this.focusRow(this.list.children[Math.min(at, items.length - 1)]);
    else if (focused.hidden) this.panel.focus({ preventScroll: true });
    else if (!this.shadowRoot.activeElement) (focused.isConnected ? focused : this.panel).focus({ preventScroll: true });
  }

  /** Bring the rows into the order of the items, moving and making as few as possible. */
  showRows(items) {
    const keys = new Set(items.map(keyOf));
    for (const [key, row] of this.#rows) {
      if (keys.has(key)) continue;
      row.remove();
      this.#rows.delete(key);
    }
    let next = this.list.firstElementChild;
    for (const item of items) {
      const row = this.#rows.get(keyOf(item)) ?? element("li");
      this.#rows.set(keyOf(item), row);
      row.dataset.id = item.id;
      row.className = `${item.read ? "read" : "unread"} ${level(item)}`;
      row.part = `item ${row.className}`;
      this.fill(row, item);
      if (row === next) next = next.nextElementSibling;
      // Where a browser can move what is there, a bar goes on moving.
      else if (row.isConnected && this.list.moveBefore) this.list.moveBefore(row, next);
      else this.list.insertBefore(row, next);
    }
  }

  layout() {
    const link = element("a", { class: "open", part: "item-link", "data-field": "link" }, [
      element("span", { class: "quiet", "data-field": "unread" }),
      element("div", { class: "title", part: "title", "data-field": "title" }),
      element("div", { class: "body", part: "body", "data-field": "body" }),
      element("time", { part: "time", "data-field": "time" }),
    ]);
    const progress = element("div", { class: "progress", part: "progress", "data-field": "progress" });
    const actions = element("div", { class: "actions", part: "actions", "data-field": "actions" });
    return fragment(
      element("span", { part: "mark", "data-field": "icon" }),
      element("div", { class: "main" }, [link, progress, actions]),
      element("button", { class: "round put-away", part: "archive", type: "button", "data-field": "archive" }),
    );
  }

  tick() {
    if (!this.isOpen || document.visibilityState === "hidden") return;
    for (const place of this.list.querySelectorAll("[data-field='time']")) this.tell(place, place.getAttribute("datetime"));
  }

  showMessage(count) {
    if (this.#state === "failed") this.message.replaceChildren(element("strong", {}, this.text("load_failed")), this.retry);
    else if (this.#state === "loading") {
      const bones = [1, 2, 3].map(() => element("div", { class: "bone" }));
      this.message.replaceChildren(element("span", { class: "quiet" }, this.text("loading")), ...bones);
    } else this.message.replaceChildren(this.empty);
    this.message.classList.toggle("state", this.#state !== "loading");
    this.message.role = this.#state === "failed" ? "alert" : null;
    this.message.hidden = count > 0 && this.#state !== "failed";
  }

  showFailure() {
    this.note.textContent = this.text("change_failed");
    this.note.hidden = false;
  }

  showUnread() {
    const { unread } = this.client;
    this.badge.hidden = !unread;
    this.badge.textContent = this.number(unread, 99);
    const label = this.text("notifications");
    this.button.setAttribute("aria-label", unread ? `${label}, ${this.text("unread", { count: unread, most: 99 })}` : label);
    showInTab(this, unread, this.badge.textContent);
    this.show();
  }

  showStatus() {
    const { status } = this.client;
    // While it connects, what was said before still holds.
    if (status === "connecting" && !this.note.hidden) return;
    const text = { waiting: "reconnecting", stopped: "stopped" }[status];
    this.note.hidden = !text;
    this.note.textContent = text ? this.text(text) : "";
  }

  showFooter() {
    const asks = this.root.querySelector("live-notify-toasts[desktop]");
    // Only a click may ask, and only once: who said no has an answer.
    this.ask.hidden = !asks || globalThis.Notification?.permission !== "default";
    const filled = this.shadowRoot.querySelector("slot[name=footer]")?.assignedElements().length;
    this.footer.classList.toggle("filled", !!filled || !this.ask.hidden);
  }
}

class Toasts extends LiveNotifyElement {
  static css = TOAST_STYLE;
  plainLink = "div";
  #items = new Map(); // by toast
  #waiting = []; // arrived while the page was hidden
  #hidden = []; // not shown because of the limit
  #desktop = new Map(); // by id, what is shown outside the page
  #before = null; // what had the focus before a toast

  render() {
    this.popover = "manual";
    const polite = { class: "quiet", role: "status" };
    this.voices = [element("span", polite), element("span", { ...polite, role: "alert" })];
    const bell = this.root.querySelector("live-notify-bell");
    this.more = element(bell ? "button" : "div", { class: "more", part: "more", hidden: "" });
    if (bell) {
      this.more.type = "button";
      this.more.addEventListener("click", () => bell.open());
    }
    this.stack = element("section", { part: "toasts", "aria-label": this.text("notifications") });
    this.shadowRoot.replaceChildren(...this.voices, this.stack, this.more);
    for (const toast of this.#items.keys()) this.stack.append(toast);
  }

  listen(on) {
    on(this.client, "notification", ({ detail }) => this.arrived(detail));
    on(this.client, "retracted", ({ detail }) => detail.ids.forEach((id) => this.drop(id)));
    on(this.client, "state", ({ detail }) => this.changed(detail));
    on(document, "visibilitychange", () => this.turned());
    on(this.root, "live-notify-bell:open", () => this.clear());
    on(this.stack, "click", (event) => this.clicked(event));
    on(this.shadowRoot, "focusin", ({ relatedTarget }) => relatedTarget && !this.shadowRoot.contains(relatedTarget) && (this.#before = relatedTarget));
    on(this.shadowRoot, "focusout", () => this.released());
    on(this, "pointerleave", () => this.released());
    on(this.shadowRoot, "keydown", (event) => {
      const toast = event.target.closest(".toast");
      if (event.key !== "Escape" || !toast) return;
      event.stopPropagation();
      this.drop(this.idOf(toast));
    });
    // Browsers let a page sound only after its reader has touched it.
    for (const name of ["pointerdown", "keydown"]) on(document, name, () => this.hasAttribute("sound") && unlock(), { capture: true });
  }

  arrived(item) {
    if (item.read || item.archived || item.muted) return;
    const isHidden = document.visibilityState === "hidden";
    // Whoever looks at the list sees it there; the other tabs need not show it.
    if (this.root.querySelector("live-notify-bell")?.isOpen && !isHidden) return void claim(this.client.user, item);
    if (item.replay && Date.now() - Date.parse(item.created_at) > REPLAY_AGE) return;
    const same = item.tag && this.all().find((toast) => this.#items.get(toast).tag === item.tag);
    if (same) return this.put(same, item);
    const counted = this.#hidden.find((other) => item.tag && other.tag === item.tag);
    if (counted) {
      this.#hidden = this.#hidden.filter((other) => other !== counted);
      return this.place(item);
    }
    if (!isHidden) return this.pop(item);
    this.#waiting = this.#waiting.filter((other) => !item.tag || other.tag !== item.tag);
    this.#waiting.push(item);
    if (this.hasAttribute("desktop") && globalThis.Notification?.permission === "granted") {
      setTimeout(() => this.tellDesktop(item), DESKTOP_DELAY);
    }
  }

  turned() {
    if (document.visibilityState === "hidden") return;
    for (const item of this.#waiting.splice(0)) this.pop(item);
    this.wait();
  }

  changed({ action, ids, up_to: upTo, name }) {
    const affected = ({ id }) => (ids ? ids.includes(id) : id <= upTo);
    const isOver = action === "read" || action === "archive";
    if (isOver || action === "seen") {
      this.#waiting = this.#waiting.filter((item) => !affected(item));
      this.#hidden = this.#hidden.filter((item) => !affected(item));
    }
    for (const [id, shown] of this.#desktop) if (isOver && affected({ id })) shown.close();
    for (const toast of this.all()) {
      const item = this.#items.get(toast);
      if (!affected(item)) continue;
      if (action === "action") this.put(toast, { ...item, acted: name, read: true });
      // What is read by its button says for a moment what was done.
      else if (isOver && (action === "archive" || !item.actions?.length)) this.drop(item.id);
    }
    this.settle();
  }

  clicked({ target }) {
    const toast = target.closest(".toast");
    const item = this.#items.get(toast);
    if (target.closest("[data-action]")) return this.press(item, target.closest("[data-action]").dataset.action);
    if (target.closest("[data-field='dismiss']")) return this.drop(item.id);
    if (target.closest("a[data-field='link']")) this.client.markRead(item.id).catch(() => {});
  }

  /** Show one, unless another tab of this browser has. */
  async pop(item) {
    if (!(await claim(this.client.user, item))) return;
    this.voice = this.voices[Number(level(item) === "error")];
    this.say([item.title, item.body].filter(Boolean).join(". "));
    this.sound(item);
    this.place(item);
  }

  /** Give an item a toast where there is room or room is made for it; else it is counted. */
  place(item) {
    if (this.all().length < MAX_TOASTS || (stays(item) && this.makeRoom())) this.add(item);
    else this.#hidden.push(item);
    this.count();
  }

  add(item) {
    const toast = element("article");
    this.put(toast, item);
    this.stack.append(toast);
    // Above everything, whatever the page puts around it.
    if (this.all().length === 1) this.showPopover?.();
  }

  /** Count the oldest toast that would go by itself instead, unless it is pointed at or focused. */
  makeRoom() {
    const isHeld = (toast) => toast.matches(":hover") || toast.contains(this.shadowRoot.activeElement);
    const oldest = this.all().find((toast) => !stays(this.#items.get(toast)) && !isHeld(toast));
    if (!oldest) return false;
    this.#hidden.push(this.#items.get(oldest));
    this.remove(oldest);
    return true;
  }

  /** Show what was counted, what stays first; of a storm, what would go by itself stays counted. */
  settle() {
    const [staying, going] = [this.#hidden.filter(stays), this.#hidden.filter((item) => !stays(item))];
    const isStorm = going.length > MAX_TOASTS;
    this.#hidden = isStorm ? going : [];
    for (const item of isStorm ? staying : [...staying, ...going]) this.place(item);
    this.count();
  }

  put(toast, item) {
    this.#items.set(toast, item);
    toast.className = `toast ${level(item)}`;
    toast.part = `toast ${level(item)}`;
    this.fill(toast, item);
    this.schedule(toast);
  }

  show() {
    for (const [toast, item] of this.#items) this.fill(toast, item);
  }

  /** Go by itself, but not from under a hand or while it is being read; errors and buttons stay. */
  schedule(toast) {
    clearTimeout(toast.timer);
    if (stays(this.#items.get(toast))) return;
    toast.timer = setTimeout(() => {
      const isHeld = this.matches(":hover") || this.shadowRoot.querySelector(":focus-visible") || document.visibilityState === "hidden";
      if (!isHeld) this.drop(this.idOf(toast));
    }, TOAST_TIME);
  }

  /** Let all of them begin to wait anew. */
  wait() {
    for (const toast of this.all()) this.schedule(toast);
  }

  released() {
    this.wait();
    // A turn later, when the focus is where it goes.
    setTimeout(() => this.settle());
  }

  layout() {
    const link = element("a", { class: "text", part: "toast-link", "data-field": "link" }, [
      element("div", { class: "title", part: "title", "data-field": "title" }),
      element("div", { class: "body", part: "body", "data-field": "body" }),
    ]);
    const progress = element("div", { class: "progress", part: "progress", "data-field": "progress" });
    const actions = element("div", { class: "actions", part: "actions", "data-field": "actions" });
    return fragment(
      element("span", { part: "mark", "data-field": "icon" }),
      element("div", { class: "main" }, [link, progress, actions]),
      element("button", { class: "round", part: "dismiss", type: "button", "data-field": "dismiss" }),
    );
  }

  all() { return [...this.#items.keys()]; }

  idOf(toast) { return this.#items.get(toast)?.id; }

  drop(id) {
    this.#waiting = this.#waiting.filter((item) => item.id !== id);
    this.#hidden = this.#hidden.filter((item) => item.id !== id);
    this.#desktop.get(id)?.close();
    const toast = this.all().find((shown) => this.idOf(shown) === id);
    if (!toast) return this.settle();
    const held = toast.contains(this.shadowRoot.activeElement);
    this.remove(toast);
    if (!this.all().length) this.hidePopover?.();
    this.settle();
    if (held) (this.stack.querySelector("[data-field='dismiss']") ?? this.#before)?.focus({ preventScroll: true });
  }

  remove(toast) {
    clearTimeout(toast.timer);
    this.#items.delete(toast);
    toast.remove();
  }

  /** Whoever opens the list sees all of them there. */
  clear() {
    this.#hidden = [];
    for (const toast of this.all()) this.drop(this.idOf(toast));
  }

  count() {
    if (!this.all().length) this.#hidden = [];
    const { length: count } = this.#hidden;
    this.more.hidden = !count;
    this.more.textContent = count ? this.text("more", { count }) : "";
  }

  /** A page may play its own: the event can be cancelled. */
  async sound(item) {
    if (!this.hasAttribute("sound") || Date.now() - (recall("live-notify-sound").at ?? 0) < SOUND_PAUSE) return;
    if (!(await isFirst("live-notify-sound", SOUND_PAUSE))) return;
    keep("live-notify-sound", { at: Date.now() });
    const event = new CustomEvent("live-notify-toasts:sound", { bubbles: true, cancelable: true, detail: item });
    if (this.dispatchEvent(event)) play(this.getAttribute("sound"), level(item));
  }

  async tellDesktop(item) {
    if (document.visibilityState !== "hidden" || !this.#waiting.includes(item)) return;
    const isOurs = await claim(this.client.user, item);
    this.#waiting = this.#waiting.filter((other) => other !== item);
    if (!isOurs) return;
    const options = { body: item.body, icon: safeUrl(item.icon) || undefined, tag: item.tag || `live-notify-${item.id}`, lang: this.locale, dir: "auto", requireInteraction: stays(item) };
    try {
      const shown = new Notification(item.title, options);
      this.#desktop.set(item.id, shown);
      shown.onclose = () => this.#desktop.delete(item.id);
      shown.onclick = () => {
        window.focus();
        shown.close();
        this.client.markRead(item.id).catch(() => {});
        if (safeUrl(item.url)) location.assign(safeUrl(item.url));
      };
    } catch {
      // Some mobile browsers have the permission, but not the constructor.
    }
  }
}

/** Whether this tab is the first of the browser to tell an item; a tag is told once, and when done. */
async function claim(user, item) {
  const key = `live-notify-toasted:${user ?? ""}`;
  const marks = [item.id];
  if (item.tag) marks.push(progressOf(item) >= 1 ? `#${item.tag}!` : `#${item.tag}`);
  const isFresh = ([mark, at]) => typeof mark === "number" || Date.now() - at < TAG_AGE;
  const known = () => [recall(key).marks ?? []].flat().filter(Array.isArray).filter(isFresh);
  if (known().some(([mark]) => marks.includes(mark))) return false;
  // What another tab wrote just now may not be here yet: a lock decides between those.
  if (!(await isFirst(`${key}:${marks.at(-1)}`))) return false;
  keep(key, { marks: [...known(), ...marks.map((mark) => [mark, Date.now()])].slice(-TOASTED_RING) });
  return true;
}

function isFirst(name, time = CLAIM_TIME) {
  // Only secure contexts have locks; elsewhere the storage has to do.
  if (!navigator.locks) return true;
  return new Promise((resolve) => {
    navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock && new Promise((release) => setTimeout(release, time));
    });
  });
}

// The tab: its title and its icon

let prefix = ""; // what we put before the title
let icon = null; // the page's own link, and its address

function showInTab(bell, unread, count) {
  if (bell.hasAttribute("title-badge")) showInTitle(unread ? `(${count}) ` : "");
  if (bell.hasAttribute("favicon")) showInIcon(bell.getAttribute("favicon"), !!unread);
}

function showInTitle(wanted) {
  const title = document.title.startsWith(prefix) ? document.title.slice(prefix.length) : document.title;
  if (!prefix && wanted) watchTitle();
  prefix = wanted;
  if (document.title !== wanted + title) document.title = wanted + title;
}

let watching = false;

/** A page that changes its title, or has it changed by htmx or Turbo, keeps its count. */
function watchTitle() {
  if (watching || !document.head) return;
  watching = true;
  const again = () => prefix && !document.title.startsWith(prefix) && (document.title = prefix + document.title);
  new MutationObserver(again).observe(document.head, { childList: true, subtree: true, characterData: true });
}

/** Show another icon, or draw a dot on the page's own: that needs `img-src data:` in a policy. */
async function showInIcon(url, isUnread) {
  const link = document.querySelector("link[rel~='icon']") ?? document.head.appendChild(element("link", { rel: "icon" }));
  icon ??= { href: link.href || new URL("/favicon.ico", document.baseURI).href, isUnread: false };
  if (icon.isUnread === isUnread) return;
  icon.isUnread = isUnread;
  const href = isUnread ? url || (await dotted(icon.href).catch(() => icon.href)) : icon.href;
  if (icon.isUnread === isUnread) link.href = href;
}

async function dotted(href) {
  const image = new Image(64, 64);
  image.src = href;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, 64, 64);
  for (const [radius, colour] of [[20, "#fff"], [16, "#d02b20"]]) {
    context.beginPath();
    context.arc(46, 18, radius, 0, 2 * Math.PI);
    context.fillStyle = colour;
    context.fill();
  }
  return canvas.toDataURL();
}

// The sound

let audio = null;

function unlock() {
  audio ??= globalThis.AudioContext && new AudioContext();
  if (audio?.state === "suspended") audio.resume().catch(() => {});
}

function play(url, kind) {
  if (url) return void new Audio(url).play().catch(() => {});
  if (audio?.state !== "running") return;
  const notes = kind === "error" ? [440, 330] : [660, 880];
  notes.forEach((frequency, number) => {
    const at = audio.currentTime + number * 0.12;
    const [tone, volume] = [audio.createOscillator(), audio.createGain()];
    tone.frequency.value = frequency;
    volume.gain.setValueAtTime(0, at);
    volume.gain.linearRampToValueAtTime(0.12, at + 0.02);
    volume.gain.exponentialRampToValueAtTime(0.001, at + 0.3);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + 0.3);
  });
}

// Small things

function element(name, attributes = {}, children = []) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...[children].flat().filter(Boolean));
  return made;
}

function fragment(...children) {
  const made = document.createDocumentFragment();
  made.append(...children);
  return made;
}

function shape(name) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  const attributes = { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": "1.8", "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true" };
  for (const [key, value] of Object.entries(attributes)) svg.setAttribute(key, value);
  for (const d of SHAPES[name]) {
    const path = document.createElementNS(namespace, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
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

function keyOf({ id, tag }) {
  return tag ? `#${tag}` : id;
}

function level({ level }) {
  return ["info", "success", "warning", "error"].includes(level) ? level : "info";
}

/** Whether a toast stays until it is dismissed: an error, or one with buttons to press. */
function stays(item) {
  return level(item) === "error" || (!!item.actions?.length && !item.acted);
}

/** How far something is, from 0 to 1, or null where it does not tell. */
function progressOf({ data }) {
  const progress = data?.progress;
  return Number.isFinite(progress) ? Math.min(1, Math.max(0, progress)) : null;
}

function isStep(item) {
  const progress = progressOf(item);
  return progress !== null && progress < 1;
}

/** The language of the texts, if it is one that `Intl` understands. */
function localeOf(root) {
  try {
    return Intl.getCanonicalLocales(root.lang || document.documentElement.lang)[0];
  } catch {
    return undefined;
  }
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

function recall(key) {
  try {
    return parse(localStorage.getItem(key));
  } catch {
    return {}; // Some browsers throw where storage is forbidden.
  }
}

function keep(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Full or forbidden: every tab shows its own.
  }
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
