const { withItems, withState, without } = require("./items");

const STATUS = {
  connecting: "Connecting …",
  live: "Live",
  waiting: "Offline; this is the latest that is known",
  stopped: "Stopped",
};

Page({
  data: { items: [], next: null, loaded: false, unread: 0, status: "", statusText: "" },

  onLoad() {
    const { live } = getApp();
    this.live = live;
    this.meanwhile = null; // what was told while a page is under way
    this.back = []; // ids that came out of the archive meanwhile
    this.ends = [
      live.on("notification", (item) => item.archived || this.follow((items) => withItems(items, [item]))),
      live.on("state", (frame) => this.changed(frame)),
      live.on("retracted", ({ ids }) => this.follow((items) => without(items, ids))),
      live.on("reset", () => this.load()),
      live.on("unread", ({ unread }) => this.setData({ unread })),
      live.on("status", ({ status }) => this.showStatus(status)),
    ];
    this.setData({ unread: live.unread });
    this.showStatus(live.status);
    this.load();
  },

  onUnload() {
    for (const end of this.ends) end();
  },

  onPullDownRefresh() {
    this.load().then(() => wx.stopPullDownRefresh());
  },

  onReachBottom() {
    if (this.data.next) this.load(this.data.next);
  },

  load(before) {
    // The beginning of the list takes the place of a page that is under way.
    if (before && this.meanwhile) return Promise.resolve();
    const meanwhile = (this.meanwhile = []);
    this.back = [];
    const isLatest = () => meanwhile === this.meanwhile;
    return this.live.inbox({ before }).then(
      ({ items, next }) => {
        if (!isLatest()) return;
        this.meanwhile = null;
        const page = before ? withItems(this.data.items, items) : items;
        this.show(meanwhile.reduce((shown, change) => change(shown), page));
        this.setData({ next, loaded: true });
        this.lookFor(this.back);
      },
      (error) => {
        if (!isLatest()) return;
        this.meanwhile = null;
        wx.showToast({ title: error.message, icon: "none" });
        this.lookFor(this.back);
      }
    );
  },

  /** Carry out what was told, and again on a page that is under way: it may be older. */
  follow(change) {
    if (this.meanwhile) this.meanwhile.push(change);
    this.show(change(this.data.items));
  },

  changed(frame) {
    this.follow((items) => withState(items, frame));
    // Also said of what was never in it.
    if (frame.action === "unarchive") this.lookFor(frame.ids || []);
  },

  /** What comes out of the archive has its place between others: the list is loaded anew. */
  lookFor(ids) {
    const { items, next } = this.data;
    const isMissing = (id) => id >= (next || 0) && !items.some((item) => item.id === id);
    if (this.meanwhile) this.back = this.back.concat(ids);
    else if (ids.some(isMissing)) this.load();
  },

  show(items) {
    const time = (item) => formatTime(item.created_at);
    this.setData({ items: items.map((item) => Object.assign({}, item, { time: time(item), done: labelOf(item) })) });
  },

  showStatus(status) {
    this.setData({ status, statusText: STATUS[status] });
  },

  read({ currentTarget }) {
    this.settle(this.live.markRead(currentTarget.dataset.id));
  },

  act({ currentTarget }) {
    const { id, name } = currentTarget.dataset;
    this.settle(this.live.act(id, name));
  },

  readAll() {
    this.settle(this.live.markAllRead());
  },

  /** The list changes when the server says so; here, only a refusal is left to be told. */
  settle(promise) {
    promise.catch((error) => wx.showToast({ title: error.message, icon: "none" }));
  },
});

/** What the button says that was used, or "". */
function labelOf({ actions = [], acted = "" }) {
  const used = actions.find(({ name }) => name === acted);
  return used ? used.label : acted;
}

function formatTime(text) {
  // iOS knows no microseconds.
  const time = new Date(text.replace(/(\.\d{3})\d+/, "$1"));
  const two = (number) => (number < 10 ? `0${number}` : String(number));
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${two(time.getHours())}:${two(time.getMinutes())}`;
}
