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
    this.ends = [
      live.on("notification", (item) => this.show(withItems(this.data.items, [item]))),
      live.on("state", (frame) => this.show(withState(this.data.items, frame))),
      live.on("retracted", ({ ids }) => this.show(without(this.data.items, ids))),
      live.on("reset", (page) => this.showFirst(page)),
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
    return this.live.inbox({ before }).then(
      (page) => {
        if (!before) return this.showFirst(page);
        this.show(withItems(this.data.items, page.items));
        this.setData({ next: page.next });
      },
      (error) => wx.showToast({ title: error.message, icon: "none" })
    );
  },

  /** What came live while the page was loaded stays above it. */
  showFirst({ items, next }) {
    const newest = items.length ? items[0].id : 0;
    this.show(withItems(this.data.items.filter(({ id }) => id > newest), items));
    this.setData({ next, loaded: true });
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
