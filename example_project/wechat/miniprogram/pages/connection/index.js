const { forget } = require("../../session");

const MAX_ENTRIES = 50;

Page({
  data: { status: "", unread: 0, entries: [] },

  onLoad() {
    const { live } = getApp();
    this.live = live;
    this.ends = [
      live.on("status", ({ status, previous }) => this.log(`${previous} → ${status}`)),
      live.on("close", ({ code, reason, verdict }) => this.log(`closed: ${code} ${reason} (${verdict})`)),
      live.on("error", (error) => this.log(`error: ${error.message}`)),
      live.on("notification", ({ id, title }) => this.log(`notification ${id}: ${title}`)),
      live.on("emitted", ({ name }) => this.log(`emitted: ${name}`)),
      live.on("unread", ({ unread }) => this.log(`unread: ${unread}`)),
    ];
    this.log("opened");
  },

  onUnload() {
    for (const end of this.ends) end();
  },

  log(text) {
    const time = new Date().toTimeString().slice(0, 8);
    const entries = [{ key: Date.now() + Math.random(), text: `${time} ${text}` }].concat(this.data.entries);
    const { status, unread } = this.live;
    this.setData({ status, unread, entries: entries.slice(0, MAX_ENTRIES) });
  },

  start() { this.live.start(); },

  stop() { this.live.stop(); },

  logInAgain() {
    this.live.stop();
    forget();
    this.live.start();
  },

  echo() {
    this.live.send("echo", { hello: "WeChat" }).then(
      (answer) => this.log(`answer: ${JSON.stringify(answer)}`),
      (error) => this.log(`refused: ${error.message}`)
    );
  },
});
