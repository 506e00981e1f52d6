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
    this.ends = [
      live.on("notification", (item) => item.archived || this.follow(() => this.show(withItems(this.data.items, [item])))),
      live.on("state", (frame) => this.follow(() => this.change(frame))),
      live.on("retracted", ({ ids }) => this.follow(() => this.show(without(this.data.items, ids)))),
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
    const isLatest = () => meanwhile === this.meanwhile;
    return this.live.inbox({ before }).then(
      ({ items, next }) => {
        if (!isLatest()) return;
        this.show(before ? withItems(this.data.items, items) : items);
        this.setData({ next, loaded: true });
      },
      (error) => wx.showToast({ title: error.message, icon: "none" })
    ).then(() => {
      if (!isLatest()) return;
      this.meanwhile = null;
      for (const change of meanwhile) change();
    });
  },

  /** Carry out what was told, and again on a page that is under way: it may be older. */
  follow(change) {
    if (this.meanwhile) this.meanwhile.push(change);
    change();
  },

  change(frame) {
    const { action, ids = [] } = frame;
    this.show(withState(this.data.items, frame));
    // What comes back has its place between others: the list is loaded anew, unless a page that is
    // under way may have it. Of all that was read it is told, too, that it is not archived.
    const { items, next } = this.data;
    const isMissing = (id) => id >= (next || 0) && !items.some((item) => item.id === id);
    if (action === "unarchive" && !this.meanwhile && ids.some(isMissing)) this.load();
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
