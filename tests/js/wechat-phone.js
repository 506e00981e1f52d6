/**
 * The phone of wx.js with the mini-program of the example project, over real sockets.
 *
 *     node wechat-phone.js http://127.0.0.1:8000 bob
 *
 * Reads commands, a JSON array a line: ["launch"], ["report"], or the name of another one below with
 * its arguments, and answers each with a line of JSON.
 */

import { createInterface } from "node:readline";

import { FakeTask, Phone } from "./wx.js";

const [, , site, demoUser] = process.argv;

/** A SocketTask with a real socket behind it; no Origin, no cookie. */
class Task extends FakeTask {
  constructor(phone, options) {
    super(phone, options);
    this.socket = new WebSocket(options.url, { protocols: options.protocols, headers: options.header });
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.open();
    this.socket.onmessage = ({ data }) => this.receive(data);
    this.socket.onclose = ({ code, reason }) => { if (this.state !== "closed") this.end(code, reason, ["error", "close"]); };
  }

  send(message) {
    if (this.state === "open") this.socket.send(message.data);
    super.send(message);
  }

  gone() {
    super.gone();
    this.socket.close();
  }
}

const phone = new Phone({ site, demoUser, makeTask: (...args) => new Task(...args) });

phone.answer = async ({ url, method, header, data }) => {
  const body = data && JSON.stringify(data);
  const response = await fetch(url, { method, body, headers: { ...header, "Content-Type": "application/json" } });
  return { statusCode: response.status, data: await response.json() };
};

const told = [];
let app, page;

const commands = {
  launch() {
    app = phone.launch();
    app.live.on("notification", ({ title }) => told.push(title));
    app.live.on("close", ({ code }) => { commands.closed = code; });
    page = phone.openPage("notifications");
  },
  kill() { phone.kill(); },
  hide() { phone.hide(); },
  show() { phone.show(); },
  readAll() { page.readAll(); },
  /** Tap the button of this name of the newest notification. */
  tap(name) { page.act({ currentTarget: { dataset: { id: page.data.items[0].id, name } } }); },
  send(name, data) { return app.live.send(name, data); },
  /** The token that is kept is not one of the site. */
  spoilToken() { phone.storage.get("session").token = "1:spoiled:token"; },
  report() {
    const { status } = app.live;
    const shown = page.data.items.map(({ title, read }) => [title, read]);
    const done = page.data.items.map((item) => item.done);
    return { status, told, shown, done, badge: phone.badge?.text ?? null, closed: commands.closed ?? null, sockets: phone.sockets.size };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line);
  console.log(JSON.stringify((await commands[name](...args)) ?? null));
}
process.exit(0);
