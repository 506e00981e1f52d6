import assert from "node:assert/strict";
import { beforeEach, describe, mock, test } from "node:test";

import { Phone, settle } from "./wx.js";

const DAY = 86_400;

let phone;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_700_000_000_000 });
  mock.restoreAll();
  // The longest of the pauses that chance may choose.
  mock.method(Math, "random", () => 0.999999);
  phone = new Phone();
  phone.answer = site();
});

/** A site that knows one reader, with an inbox of these ids. */
function site({ ids = [], tokens = { log: [] } } = {}) {
  return ({ url, data }) => {
    if (url.pathname === "/wechat/log-in/") {
      tokens.log.push(data.code);
      return { data: { token: `token${tokens.log.length}`, user: "7", expires_in: 7 * DAY } };
    }
    const before = Number(url.searchParams.get("before") ?? Infinity);
    const limit = Number(url.searchParams.get("limit"));
    const rest = ids.filter((id) => id < before).sort((one, other) => other - one);
    const page = rest.slice(0, limit);
    return { data: { items: page.map((id) => item(id)), next: rest.length > limit ? page.at(-1) : null, unread: ids.length, cursor: "1.e.0" } };
  };
}

function item(id, keys = {}) {
  return { id, title: `n${id}`, tag: "", read: false, created_at: "2026-01-02T03:04:05.678901Z", ...keys };
}

function frame(items, keys = {}) {
  return { type: "notifications", items: items.map((id) => (typeof id === "number" ? item(id) : id)), replay: false, ...keys };
}

async function tick(milliseconds) {
  await settle();
  mock.timers.tick(milliseconds);
  await settle();
}

const EVENTS = "notification unread state retracted emitted status close reset error".split(" ");

/** Start the mini-program, and keep what its client tells. */
async function launch() {
  const { live } = phone.launch();
  const heard = [];
  for (const name of EVENTS) live.on(name, (detail) => heard.push([name, detail]));
  await settle();
  const of = (name) => heard.filter(([kind]) => kind === name).map(([, detail]) => detail);
  return { live, heard, of, titles: () => of("notification").map(({ title }) => title) };
}

/** A mini-program whose first visit is behind it. */
async function launchLive(keys = {}) {
  const told = await launch();
  phone.last.ready({ cursor: "1.e.10", ...keys });
  await settle();
  return told;
}

describe("opening", () => {
  test("the token of a log-in opens the socket, and hello is the first frame", async () => {
    const { live, of } = await launch();
    assert.deepEqual(phone.requests.map(({ url, method, data }) => [method, url.href, data]), [
      ["POST", "https://site.example/wechat/log-in/", { code: "code1" }],
    ]);
    const { url, protocols, header } = phone.last.options;
    assert.equal(url, "wss://site.example/live-notify/socket/");
    assert.deepEqual(protocols, ["live-notify.v1"]);
    assert.deepEqual(header, { "Accept-Language": "zh-CN" });
    await tick(1_000);
    assert.deepEqual(phone.last.sent, [], "that the call succeeded does not mean that the socket is open");
    phone.last.open();
    assert.deepEqual(phone.last.sent, [{ type: "hello", token: "token1", user: "7", cursor: null, since: null }]);
    assert.equal(live.status, "connecting");
    phone.last.ready({ unread: 3 });
    assert.deepEqual([live.status, live.unread], ["live", 3]);
    assert.deepEqual(of("status").map(({ status }) => status), ["live"]);
  });

  test("the token is in no address", async () => {
    await launchLive();
    const addresses = [phone.last.options.url, ...phone.requests.map(({ url }) => url.href)];
    assert.equal(addresses.length, 3);
    assert.ok(addresses.every((address) => !address.includes("token1")));
  });

  test("starting and stopping twice is once", async () => {
    const { live, of } = await launch();
    live.start();
    await settle();
    assert.equal(phone.tasks.length, 1);
    phone.last.ready();
    live.stop();
    live.stop();
    assert.deepEqual([live.status, phone.sockets.size], ["stopped", 0]);
    assert.deepEqual(of("status").map(({ status }) => status), ["live", "stopped"]);
    phone.hide();
    phone.show();
    phone.changeNetwork("4g");
    await tick(60_000);
    assert.equal(phone.tasks.length, 1, "who stopped stays so");
    live.start();
    await settle();
    assert.equal(phone.tasks.length, 2);
  });

  test("a socket that opens twice says hello once", async () => {
    await launch();
    phone.last.open();
    phone.last.tell("open", {});
    assert.equal(phone.last.sentOf("hello").length, 1);
  });

  test("an address that is not registered is told, and tried again with growing pauses", async () => {
    phone.allowed = "wss://other.example";
    const { of } = await launch();
    await tick(1_000);
    await tick(2_000);
    assert.equal(of("close").length, 3);
    assert.equal(of("close")[0].reason, "connectSocket:fail url not in domain list");
    assert.equal(phone.tasks.length, 0);
  });
});

describe("logging in", () => {
  test("a token is kept for the next launch", async () => {
    const tokens = { log: [] };
    phone.answer = site({ tokens });
    await launchLive();
    phone.kill();
    await launch();
    phone.last.open();
    assert.deepEqual([tokens.log, phone.last.sent[0].token], [["code1"], "token1"]);
  });

  test("a token is replaced before it expires", async () => {
    const tokens = { log: [] };
    phone.answer = site({ tokens });
    await launchLive();
    phone.kill();
    mock.timers.tick((7 * DAY - 1_800) * 1000);
    await launch();
    phone.last.open();
    assert.deepEqual([tokens.log, phone.last.sent[0].token], [["code1", "code2"], "token2"]);
  });

  test("whoever asks at the same time asks once", async () => {
    const tokens = { log: [] };
    phone.answer = site({ tokens });
    phone.launch().live.inbox();
    await settle();
    assert.deepEqual(tokens.log, ["code1"]);
  });

  test("a site that does not answer is asked again, with growing pauses", async () => {
    const tokens = { log: [] };
    phone.answer = () => { throw new Error("request:fail timeout"); };
    const { live, of } = await launch();
    assert.equal(live.status, "waiting");
    await tick(1_000);
    await tick(1_000);
    assert.equal(of("error").length, 2);
    phone.answer = site({ tokens });
    await tick(1_000);
    assert.deepEqual([tokens.log.length, phone.tasks.length], [1, 1]);
    assert.equal(of("error")[0].message, "request:fail timeout");
  });

  test("a log-in that never answers is given up, and its late answer opens no second socket", async () => {
    const late = [];
    phone.answer = () => new Promise((resolve) => late.push(() => resolve({ data: { token: "late", user: "7", expires_in: DAY } })));
    const { live } = await launch();
    await tick(25_000);
    assert.equal(live.status, "waiting");
    await tick(1_000);
    for (const answer of late) answer();
    await settle();
    assert.equal(phone.tasks.length, 1);
  });

  test("who is refused by the site is not asked again", async () => {
    phone.answer = () => ({ statusCode: 403, data: { message: "This code stands for nobody." } });
    const { live, of } = await launch();
    await tick(600_000);
    assert.deepEqual([live.status, phone.requests.length, phone.tasks.length], ["stopped", 1, 0]);
    assert.equal(of("error")[0].message, "This code stands for nobody.");
  });

  test("a refused token (4510) stops, and is not tried again", async () => {
    const { live, of } = await launch();
    phone.last.open();
    phone.last.receive({ type: "bye", code: 4510, reason: "Not logged in.", retry: false, after: [0, 5] });
    await tick(600_000);
    assert.deepEqual([live.status, phone.tasks.length, phone.sockets.size], ["stopped", 1, 0]);
    assert.deepEqual(of("close"), [{ code: 4510, reason: "Not logged in.", verdict: "stop" }]);
    phone.kill();
    await launch();
    phone.last.open();
    assert.equal(phone.last.sent[0].token, "token2", "nor at the next launch");
  });

  test("a client that was stopped by a refusal asks for a new token when it is started again", async () => {
    const { live } = await launch();
    phone.last.open();
    phone.last.end(4510, "Not logged in.");
    assert.equal(live.status, "stopped");
    live.start();
    await settle();
    phone.last.open();
    assert.equal(phone.last.sent[0].token, "token2");
  });

  test("a token to be refreshed (4401) is refreshed, and nothing is lost by it", async () => {
    const { live, titles } = await launchLive();
    phone.last.receive({ type: "bye", code: 4401, reason: "The session must be refreshed.", retry: true, after: [0, 5] });
    assert.equal(live.status, "waiting");
    await tick(5_000);
    phone.last.open();
    const [hello] = phone.last.sent;
    assert.deepEqual([hello.token, hello.cursor], ["token2", "1.e.10"]);
    phone.last.receive({ type: "ready", unread: 1, heartbeat: 25 });
    phone.last.receive(frame([11], { replay: true, cursor: "1.e.11" }));
    assert.deepEqual(titles(), ["n11"]);
    phone.last.end();
    await tick(5_000);
    phone.last.open();
    assert.equal(phone.last.sent[0].token, "token2", "once is enough");
  });

  test("a refreshed token that cannot be had yet is asked for until it is", async () => {
    await launchLive();
    phone.answer = () => { throw new Error("request:fail"); };
    phone.last.end(4401);
    await tick(1_000);
    phone.answer = site({ tokens: { log: ["earlier"] } });
    await tick(5_000);
    phone.last.open();
    assert.equal(phone.last.sent[0].token, "token2");
  });
});

describe("telling once", () => {
  test("a first visit loads what is there instead of announcing it", async () => {
    phone.answer = site({ ids: [8, 9] });
    const { of, titles } = await launch();
    phone.last.ready({ cursor: "1.e.7", unread: 2 });
    await settle();
    assert.equal(of("reset").length, 1);
    assert.equal(phone.requests.at(-1).header.Authorization, "Bearer token1");
    phone.last.end();
    await tick(5_000);
    phone.last.open();
    assert.deepEqual([phone.last.sent[0].cursor, phone.last.sent[0].seen], ["1.e.7", 9]);
    phone.last.receive({ type: "ready", unread: 3, heartbeat: 25 });
    phone.last.receive(frame([8, 9, 10], { replay: true, cursor: "1.e.10" }));
    assert.deepEqual(titles(), ["n10"]);
    assert.equal(of("reset").length, 1);
  });

  test("a connection that is lost before that list came starts afresh again", async () => {
    const { of } = await launch();
    phone.answer = () => new Promise(() => {});
    phone.last.ready({ cursor: "1.e.7" });
    phone.last.end();
    phone.answer = site({ ids: [8] });
    await tick(5_000);
    phone.last.open();
    assert.equal(phone.last.sent[0].cursor, null);
    phone.last.receive({ type: "ready", unread: 1, heartbeat: 25, cursor: "1.e.8" });
    await settle();
    assert.equal(of("reset").length, 1);
  });

  test("a reset that was not carried out leaves no trace", async () => {
    await launchLive();
    phone.last.end();
    await tick(5_000);
    phone.answer = () => new Promise(() => {});
    phone.last.ready({ reset: true, cursor: "1.e.50" });
    phone.last.end();
    await tick(5_000);
    phone.last.open();
    assert.equal(phone.last.sent[0].cursor, "1.e.10");
    phone.last.receive({ type: "ready", unread: 0, heartbeat: 25, cursor: "1.e.20" });
    phone.last.receive({ type: "ping", cursor: null });
    assert.equal(phone.last.sentOf("pong")[0].cursor, "1.e.20");
  });

  test("a list that cannot be loaded is asked for again", async () => {
    const { of } = await launch();
    phone.answer = () => ({ statusCode: 502, data: "<html>" });
    phone.last.ready({ cursor: "1.e.7" });
    await settle();
    assert.equal(of("error")[0].message, "The server answered 502.");
    phone.answer = site({ ids: [7] });
    await tick(1_000);
    assert.equal(of("reset").length, 1);
  });

  test("a reset remembers all that a replay may repeat", async () => {
    const ids = Array.from({ length: 250 }, (_, n) => n + 101);
    const { of, titles } = await launchLive();
    phone.answer = site({ ids });
    phone.last.end();
    await tick(5_000);
    phone.last.ready({ reset: true, cursor: "1.e.100" });
    await settle();
    assert.equal(of("reset").length, 2);
    phone.last.receive(frame([350, 351]));
    phone.last.end();
    await tick(5_000);
    phone.last.open();
    assert.equal(phone.last.sent[0].cursor, "1.e.100");
    phone.last.receive({ type: "ready", unread: 3, heartbeat: 25 });
    phone.last.receive(frame([101, 350, 351], { replay: true, cursor: "1.e.351" }));
    assert.deepEqual(titles(), ["n351"]);
  });

  test("each is told once, whatever comes twice", async () => {
    const { titles } = await launchLive();
    phone.last.receive(frame([12]));
    phone.last.receive(frame([12, 13]));
    phone.last.receive(frame([12, 13, 14], { replay: true, cursor: "1.e.14" }));
    assert.deepEqual(titles(), ["n12", "n13", "n14"]);
  });

  test("after a reconnection the cursor and the ring drop what was handled", async () => {
    const { titles } = await launchLive();
    phone.last.receive(frame([12]));
    phone.last.end();
    await tick(5_000);
    phone.last.open();
    assert.equal(phone.last.sent[0].cursor, "1.e.10");
    phone.last.receive({ type: "ready", unread: 3, heartbeat: 25 });
    phone.last.receive(frame([9, 11, 12], { replay: true, cursor: "1.e.12" }));
    phone.last.receive(frame([8]));
    assert.deepEqual(titles(), ["n12", "n11", "n8"], "9 was settled before, 8 is a late commit");
  });

  test("the next launch goes on where this one was", async () => {
    await launchLive();
    phone.last.receive(frame([12], { time: "2026-01-02T00:00:00Z" }));
    phone.last.receive({ type: "ping", cursor: "1.e.11" });
    phone.last.receive(frame([14]));
    phone.kill();
    const { titles, of } = await launch();
    phone.last.open();
    const { cursor, since, seen } = phone.last.sent[0];
    assert.deepEqual({ cursor, since, seen }, { cursor: "1.e.11", since: "2026-01-02T00:00:00Z", seen: 14 });
    phone.last.receive({ type: "ready", unread: 2, heartbeat: 25 });
    phone.last.receive(frame([12, 13, 14], { replay: true, cursor: "1.e.14" }));
    assert.deepEqual([titles(), of("reset")], [["n13"], []]);
  });

  test("a cursor never moves backwards, and another epoch replaces it and the ring", async () => {
    const { titles } = await launchLive();
    const pong = () => phone.last.sentOf("pong").at(-1).cursor;
    phone.last.receive(frame([12]));
    phone.last.receive({ type: "ping", cursor: "1.e.9" });
    assert.equal(pong(), "1.e.10");
    phone.last.receive({ type: "ping", cursor: "1.f.1" });
    assert.equal(pong(), "1.f.1");
    phone.last.receive(frame([12]));
    assert.deepEqual(titles(), ["n12", "n12"], "the ids of another log mean other things");
  });

  test("another user starts with nothing of the first", async () => {
    const { live, of } = await launchLive();
    phone.last.receive(frame([12]));
    live.stop();
    phone.wx.removeStorageSync("session");
    phone.answer = ({ url }) => ({ data: url.pathname.startsWith("/wechat/") ? { token: "t8", user: "8", expires_in: DAY } : { items: [], next: null, unread: 0 } });
    live.start();
    await settle();
    phone.last.open();
    assert.deepEqual(phone.last.sent[0], { type: "hello", token: "t8", user: "8", cursor: null, since: null });
    phone.last.ready({ user: "8", cursor: "1.e.20" });
    phone.last.receive(frame([12]));
    assert.equal(of("notification").length, 2);
  });

  test("broken, full and foreign storage is no matter", async () => {
    const key = "live-notify:https://site.example/live-notify/:7";
    for (const junk of ["junk", 7, null, [], { cursor: 7, ring: "x" }, { ring: [1, "x", null], time: 3 }]) {
      phone.kill();
      phone.storage.set(key, junk);
      await launch();
      phone.last.open();
      assert.equal(phone.last.sent[0].cursor, null);
    }
    assert.equal(phone.last.sent[0].seen, 1);
    phone.storageIsFull = true;
    const { titles } = await launchLive();
    phone.last.receive(frame([11]));
    assert.deepEqual(titles(), ["n11"]);
  });

  test("what is read, taken back or emitted is told, and a notification that comes after that is not", async () => {
    const { live, of, titles } = await launchLive();
    phone.last.receive({ type: "state", action: "read", ids: [11] });
    phone.last.receive({ type: "retracted", ids: [12] });
    phone.last.receive(frame([11, 12, item(13, { tag: "import" })]));
    assert.deepEqual(of("notification").map(({ id, read }) => [id, read]), [[11, true], [13, false]]);
    assert.equal(live.unread, 0);
    phone.last.receive(frame([14]));
    assert.equal(live.unread, 1);
    phone.last.receive({ type: "unread", unread: 2 });
    phone.last.receive({ type: "emitted", name: "typing", data: { thread: 7 } });
    assert.equal(live.unread, 2);
    assert.deepEqual(of("emitted")[0].data, { thread: 7 });
    assert.deepEqual(of("state")[0].ids, [11]);
    assert.equal(titles().length, 3);
  });

  test("bytes are a header and data, in any language", async () => {
    const { of } = await launchLive();
    const header = new TextEncoder().encode(JSON.stringify({ type: "emitted", name: "图片" }));
    const bytes = new Uint8Array([0, header.length, ...header, 1, 2, 255]);
    phone.last.receive(bytes.buffer);
    const [{ name, data }] = of("emitted");
    assert.deepEqual([name, [...new Uint8Array(data)]], ["图片", [1, 2, 255]]);
  });

  test("what is not understood is ignored", async () => {
    const { heard } = await launchLive();
    const before = heard.length;
    for (const junk of ["junk", "null", "7", "[]", "{}", '{"type": 7}', '{"type": "future"}', new ArrayBuffer(1)]) phone.last.receive(junk);
    assert.equal(heard.length, before);
  });

  test("a page that fails costs neither the frame nor the others", async () => {
    const { live, titles } = await launch();
    const complained = mock.method(console, "error", () => {});
    phone.last.ready({ cursor: "1.e.10" });
    await settle();
    live.on("notification", () => { throw new Error("page"); });
    phone.last.receive(frame([11, 12]));
    assert.deepEqual(titles(), ["n11", "n12"]);
    assert.equal(complained.mock.callCount(), 2);
  });
});

describe("losing the connection", () => {
  test("pauses grow with full jitter to a cap, and are short again after a connection that lasted", async () => {
    const { live } = await launch();
    const pauses = [];
    const delays = mock.method(globalThis, "setTimeout");
    for (let n = 0; n < 7; n++) {
      const before = delays.mock.callCount();
      phone.last.end();
      const timers = delays.mock.calls.slice(before).map(({ arguments: [, delay] }) => Math.round(delay / 1000));
      pauses.push(timers[0]);
      await tick(timers[0] * 1000);
    }
    assert.deepEqual(pauses, [1, 2, 4, 8, 16, 30, 30]);
    phone.last.ready();
    await tick(25_000);
    phone.last.receive({ type: "ping", cursor: "1.e.0" });
    phone.last.end();
    assert.equal(live.status, "waiting");
    await tick(5_000);
    assert.equal(live.status, "connecting");
    phone.last.end();
    await tick(1_000);
    assert.equal(live.status, "connecting", "the count begins anew");
  });

  test("an onError, an onClose or both are one loss", async () => {
    for (const told of [["error"], ["close"], ["error", "close"]]) {
      phone.kill();
      const { of } = await launchLive();
      const before = phone.tasks.length;
      phone.last.end(1006, "gone", told);
      await tick(5_000);
      assert.deepEqual(of("close"), [{ code: 1006, reason: "gone", verdict: "retry" }], told.join());
      assert.equal(phone.tasks.length, before + 1);
    }
  });

  test("a close with code 1000 is no reason to stay away", async () => {
    await launchLive();
    phone.last.end(1000, "interrupted");
    await tick(5_000);
    assert.equal(phone.tasks.length, 2);
  });

  test("a bye is enough: whether and how the socket closes is not waited for", async () => {
    const { live, of } = await launchLive();
    const [first] = phone.tasks;
    first.receive({ type: "bye", code: 4000, reason: "The server is restarting.", retry: true, after: [2, 8] });
    assert.deepEqual([live.status, first.state], ["waiting", "closed"]);
    await tick(7_900);
    assert.equal(phone.tasks.length, 1, "as long as the server asks for");
    await tick(100);
    assert.equal(phone.tasks.length, 2);
    assert.equal(of("close").length, 1);
  });

  test("a half-open connection is noticed within beat and grace", async () => {
    const { live, of } = await launchLive();
    await tick(25_000);
    phone.last.receive({ type: "ping", cursor: "1.e.10" });
    assert.equal(phone.last.sentOf("pong").length, 1);
    await tick(10_000);
    await tick(24_000);
    assert.equal(live.status, "live");
    await tick(1_000);
    assert.equal(of("close")[0].reason, "No sign of life.");
    await tick(5_000);
    assert.equal(phone.tasks.length, 2);
    assert.equal(phone.sockets.size, 1);
  });

  test("a handshake that is not answered is given up", async () => {
    await launch();
    await tick(10_000);
    await tick(1_000);
    assert.equal(phone.tasks.length, 2);
    phone.last.open();
    await tick(10_000);
    await tick(2_000);
    assert.equal(phone.tasks.length, 3, "nor is a hello waited for any longer");
  });

  test("a send that fails on an open socket is a loss", async () => {
    const { live } = await launchLive();
    phone.last.takesNothing = true;
    phone.last.receive({ type: "ping", cursor: "1.e.10" });
    await settle();
    assert.equal(live.status, "waiting");
  });

  test("an old socket is not heard any more", async () => {
    const { live, titles } = await launchLive();
    const [old] = phone.tasks;
    live.stop();
    live.start();
    await settle();
    phone.last.ready();
    old.receive(frame([11]));
    old.end(4510);
    assert.deepEqual([titles(), live.status], [[], "live"]);
  });

  test("of a sixth socket only fail tells, and it is tried again when there is room", async () => {
    const { live, of } = await launch();
    // Each time, the mini-program comes back before the handshake was answered.
    for (let n = 0; n < 5; n++) {
      phone.hide();
      phone.show();
      await settle();
    }
    assert.deepEqual([phone.tasks.length, phone.sockets.size], [5, 5]);
    assert.match(of("close")[0].reason, /exceed max socket count/);
    assert.equal(live.status, "waiting");
    await tick(1_000);
    await tick(2_000);
    assert.equal(phone.tasks.length, 5);
    await tick(4_000);
    await tick(8_000);
    assert.equal(phone.tasks.length, 6, "WeChat gave the others up after the time that was asked for");
    phone.last.ready();
    assert.deepEqual([live.status, phone.sockets.size], ["live", 1]);
  });

  test("a socket that opens after it was given up is closed", async () => {
    await launch();
    const [first] = phone.tasks;
    phone.hide();
    phone.show();
    await settle();
    assert.equal(phone.sockets.size, 2, "a socket that is being opened cannot be closed");
    first.open();
    assert.deepEqual([first.state, phone.sockets.size], ["closed", 1]);
    assert.deepEqual(first.sent, []);
  });
});

describe("the background", () => {
  test("the socket is closed on leaving, and what was missed is told on coming back, once", async () => {
    const { live, titles } = await launchLive();
    phone.last.receive(frame([11], { cursor: "1.e.11" }));
    phone.hide();
    assert.deepEqual([live.status, phone.sockets.size], ["waiting", 0]);
    await tick(600_000);
    assert.equal(phone.tasks.length, 1, "nothing is tried in the background");
    phone.show();
    await settle();
    phone.last.open();
    assert.equal(phone.last.sent[0].cursor, "1.e.11");
    phone.last.receive({ type: "ready", unread: 2, heartbeat: 25 });
    phone.last.receive(frame([12], { replay: true, cursor: "1.e.12" }));
    assert.deepEqual([titles(), live.status], [["n11", "n12"], "live"]);
  });

  test("coming back within five seconds resumes as well", async () => {
    const { live } = await launchLive();
    phone.hide();
    await tick(3_000);
    phone.show();
    await settle();
    phone.last.ready();
    assert.deepEqual([live.status, phone.tasks.length], ["live", 2]);
    await tick(20_000);
    assert.equal(live.status, "live");
  });

  test("a socket that was cut without a word is replaced on coming back", async () => {
    const { live } = await launchLive();
    phone.hide({ told: false });
    await tick(5_000);
    await tick(300_000);
    assert.equal(live.status, "live", "code stands still");
    phone.show();
    await settle();
    assert.deepEqual([live.status, phone.tasks.length, phone.sockets.size], ["connecting", 2, 1]);
  });

  test("a suspension that nothing tells of is noticed by the clock", async () => {
    await launchLive();
    phone.hide({ told: false });
    await tick(5_000);
    await tick(300_000);
    phone.show({ told: false });
    await tick(5_000);
    assert.equal(phone.tasks.length, 2);
  });

  test("a short one is noticed by a ping that is not answered", async () => {
    const { live } = await launchLive();
    phone.hide({ told: false });
    await tick(5_000);
    phone.show();
    assert.equal(live.status, "live");
    await tick(10_000);
    assert.equal(phone.tasks.length, 2);
  });

  test("what WeChat tells late of the socket that it cut harms nobody, in whatever order", async () => {
    for (const waitingFirst of [false, true]) {
      phone.kill();
      const { live, of } = await launchLive();
      const before = phone.tasks.length;
      phone.tellsInterrupted = true;
      phone.hide({ told: false });
      await tick(5_000);
      await tick(60_000);
      phone.show({ waitingFirst });
      await settle();
      phone.last.ready();
      await tick(5_000);
      assert.deepEqual([live.status, phone.sockets.size, phone.tasks.length - before], ["live", 1, 1]);
      assert.equal(of("close").length, waitingFirst ? 1 : 0);
    }
  });

  test("a log-in that answers in the background opens no socket there", async () => {
    let answer;
    phone.answer = () => new Promise((resolve) => { answer = resolve; });
    await launch();
    phone.hide();
    answer({ data: { token: "t", user: "7", expires_in: DAY } });
    await tick(60_000);
    assert.equal(phone.tasks.length, 0);
    phone.show();
    await settle();
    assert.equal(phone.tasks.length, 1);
  });

  test("a client that is started in the background connects in the foreground", async () => {
    const { live } = await launchLive();
    live.stop();
    phone.listeners.hide[0]();
    live.start();
    await settle();
    assert.deepEqual([live.status, phone.tasks.length], ["waiting", 1]);
    phone.show();
    await settle();
    assert.equal(phone.tasks.length, 2);
  });
});

describe("the network", () => {
  test("another network is tried by a ping, and its silence ends the connection within seconds", async () => {
    const { live } = await launchLive();
    phone.changeNetwork("4g");
    assert.equal(phone.last.sentOf("ping").length, 1);
    await tick(5_000);
    assert.equal(live.status, "waiting");
    await tick(1_000);
    assert.equal(phone.tasks.length, 2);
  });

  test("a connection that answers stays", async () => {
    const { live } = await launchLive();
    phone.changeNetwork("none");
    phone.last.receive({ type: "pong", cursor: "1.e.10" });
    await tick(20_000);
    assert.deepEqual([live.status, phone.tasks.length], ["live", 1]);
  });

  test("changes that follow each other do not put the verdict off", async () => {
    await launchLive();
    phone.changeNetwork("none");
    await tick(3_000);
    phone.changeNetwork("4g");
    await tick(2_000);
    await tick(1_000);
    assert.equal(phone.tasks.length, 2);
  });

  test("who waits for the next attempt makes it when there is a network, not before", async () => {
    const { live } = await launch();
    phone.last.end();
    for (const pause of [1_000, 2_000, 4_000, 8_000]) {
      await tick(pause);
      phone.last.end();
    }
    phone.changeNetwork("none");
    await settle();
    assert.deepEqual([live.status, phone.tasks.length], ["waiting", 5]);
    phone.changeNetwork("wifi");
    await settle();
    assert.deepEqual([live.status, phone.tasks.length], ["connecting", 6]);
    phone.last.end();
    await tick(1_000);
    assert.equal(phone.tasks.length, 7);
  });

  test("a change in the background is none of our business", async () => {
    await launchLive();
    phone.hide();
    phone.changeNetwork("wifi");
    await tick(60_000);
    assert.equal(phone.tasks.length, 1);
  });
});

describe("asking", () => {
  test("what is marked goes out, and the answer settles it", async () => {
    const { live } = await launchLive();
    const done = [live.markRead(11), live.archive([11, 12]), live.markAllRead(), live.markRead([])];
    assert.deepEqual(phone.last.sent.slice(1), [{ type: "read", ids: [11], ref: 1 }, { type: "archive", ids: [11, 12], ref: 2 }]);
    phone.last.receive({ type: "ok", ref: 1 });
    phone.last.receive({ type: "ok", ref: 2 });
    await Promise.all(done);
    phone.last.receive(frame([15, 14]));
    live.markAllRead();
    assert.deepEqual(phone.last.sent.at(-1), { type: "read", up_to: 15, ref: 3 });
  });

  test("what is marked without a connection goes out with the next one, and after a loss again", async () => {
    const { live } = await launchLive();
    phone.last.end();
    const done = live.markRead(11);
    await tick(5_000);
    phone.last.ready();
    assert.deepEqual(phone.last.sentOf("read").map(({ ids }) => ids), [[11]]);
    phone.last.end();
    await tick(5_000);
    phone.last.ready();
    const [{ ref }] = phone.last.sentOf("read");
    phone.last.receive({ type: "ok", ref });
    await done;
    phone.last.end();
    await tick(5_000);
    phone.last.ready();
    assert.deepEqual(phone.last.sentOf("read"), []);
  });

  test("a button goes out, after a loss again, and the answer settles it", async () => {
    const { live } = await launchLive();
    const done = live.act(11, "approve");
    assert.deepEqual(phone.last.sent.at(-1), { type: "action", id: 11, name: "approve", ref: 1 });
    phone.last.end();
    await tick(5_000);
    phone.last.ready();
    const [{ id, name, ref }] = phone.last.sentOf("action");
    assert.deepEqual([id, name], [11, "approve"]);
    phone.last.receive({ type: "ok", ref });
    await done;
    const refused = live.act(11, "reject");
    phone.last.receive({ type: "error", ref: ref + 1, code: "done", message: "Too late." });
    await assert.rejects(refused, { code: "done", message: "Too late." });
  });

  test("a message waits for the connection, and is answered", async () => {
    const { live } = await launch();
    const answer = live.send("echo", { n: 1 });
    phone.last.ready();
    const [{ ref, name, data }] = phone.last.sentOf("message");
    assert.deepEqual([name, data], ["echo", { n: 1 }]);
    phone.last.receive({ type: "ok", ref, data: "back" });
    assert.equal(await answer, "back");
  });

  test("a message that may have been heard is not said again", async () => {
    const { live } = await launchLive();
    const answer = live.send("echo");
    phone.last.end();
    await assert.rejects(answer, { code: "lost" });
    await tick(5_000);
    phone.last.ready();
    assert.deepEqual(phone.last.sentOf("message"), []);
  });

  test("a message that finds no connection is given up after half a minute", async () => {
    phone.answer = () => { throw new Error("request:fail"); };
    const { live } = await launch();
    const answer = assert.rejects(live.send("echo"), { code: "lost" });
    await tick(30_000);
    await answer;
  });

  test("an error of the server reaches who asked", async () => {
    const { live, of } = await launchLive();
    const answer = live.send("vote");
    const [{ ref }] = phone.last.sentOf("message");
    phone.last.receive({ type: "error", ref, code: "forbidden", message: "Not you." });
    await assert.rejects(answer, { code: "forbidden", message: "Not you." });
    phone.last.receive({ type: "error", ref: null, code: "invalid", message: "A frame must be JSON." });
    assert.equal(of("error").length, 1);
  });

  test("what cannot be sent is refused at once", async () => {
    const { live } = await launchLive();
    await assert.rejects(live.send("image", new ArrayBuffer(8)), { code: "invalid" });
    live.stop();
    await assert.rejects(live.markRead(1), { code: "lost" });
  });

  test("stopping gives up what was not answered", async () => {
    const { live } = await launchLive();
    const lost = [live.markRead(11), live.send("echo")].map((promise) => assert.rejects(promise, { code: "lost" }));
    live.stop();
    await Promise.all(lost);
  });

  test("topics are joined again by the next connection, until they are left", async () => {
    const { live } = await launchLive();
    const joined = live.join("room-7");
    phone.last.receive({ type: "ok", ref: phone.last.sentOf("join")[0].ref });
    await joined;
    phone.last.end();
    await tick(5_000);
    phone.last.open();
    assert.deepEqual(phone.last.sent[0].join, ["room-7"]);
    phone.last.receive({ type: "ready", unread: 0, heartbeat: 25 });
    live.leave("room-7").catch(() => {});
    assert.equal(phone.last.sentOf("leave").length, 1);
    phone.last.end();
    await tick(5_000);
    phone.last.open();
    assert.equal(phone.last.sent[0].join, undefined);
  });
});

describe("the sample", () => {
  const shown = (page) => page.data.items.map(({ id, read }) => [id, read]);

  test("the page lists, follows what happens, and the tab bar has the badge", async () => {
    phone.answer = site({ ids: [1, 2] });
    await launch();
    const page = phone.openPage("notifications");
    phone.last.ready({ cursor: "1.e.2", unread: 2 });
    await settle();
    assert.deepEqual(shown(page), [[2, false], [1, false]]);
    assert.deepEqual(phone.badge, { index: 0, text: "2" });
    phone.last.receive(frame([3, item(4, { tag: "import" })]));
    phone.last.receive(frame([item(5, { tag: "import" })]));
    phone.last.receive({ type: "state", action: "read", up_to: 2 });
    phone.last.receive({ type: "retracted", ids: [1] });
    assert.deepEqual(shown(page), [[5, false], [3, false], [2, true]]);
    phone.last.receive({ type: "unread", unread: 100 });
    assert.deepEqual([phone.badge.text, page.data.unread, page.data.status], ["99+", 100, "live"]);
    phone.last.receive({ type: "unread", unread: 0 });
    assert.equal(phone.badge, null);
    assert.match(page.data.items[0].time, /^2026-01-0\d \d\d:04$/);
  });

  test("a tap marks as read, when the server says so", async () => {
    phone.answer = site({ ids: [1, 2] });
    await launchLive();
    const page = phone.openPage("notifications");
    await settle();
    page.read({ currentTarget: { dataset: { id: 1 } } });
    const { ref, ids } = phone.last.sentOf("read")[0];
    assert.deepEqual([ids, shown(page)], [[1], [[2, false], [1, false]]]);
    phone.last.receive({ type: "ok", ref });
    phone.last.receive({ type: "state", action: "read", ids: [1] });
    assert.deepEqual(shown(page), [[2, false], [1, true]]);
    page.readAll();
    assert.equal(phone.last.sentOf("read")[1].up_to, 2);
    phone.last.receive({ type: "error", ref: phone.last.sentOf("read")[1].ref, code: "unavailable", message: "The database is not available." });
    await settle();
    assert.deepEqual(phone.toasts, ["The database is not available."]);
  });

  test("a button is used, and replaced by what was done, when the server says so", async () => {
    await launchLive();
    const page = phone.openPage("notifications");
    await settle();
    const actions = [{ name: "approve", label: "Approve" }, { name: "reject", label: "Reject" }];
    phone.last.receive(frame([item(11, { actions, acted: "" }), item(12, { actions, acted: "reject" })]));
    const shown = () => page.data.items.map(({ id, done, read }) => [id, done, read]);
    assert.deepEqual(shown(), [[12, "Reject", false], [11, "", false]]);
    page.act({ currentTarget: { dataset: { id: 11, name: "approve" } } });
    const [{ id, name, ref }] = phone.last.sentOf("action");
    assert.deepEqual([id, name, shown()[1][1]], [11, "approve", ""]);
    phone.last.receive({ type: "ok", ref });
    phone.last.receive({ type: "state", action: "read", ids: [11] });
    phone.last.receive({ type: "state", action: "action", ids: [11], name: "approve" });
    assert.deepEqual(shown(), [[12, "Reject", false], [11, "Approve", true]]);
    page.act({ currentTarget: { dataset: { id: 12, name: "approve" } } });
    phone.last.receive({ type: "error", ref: phone.last.sentOf("action")[1].ref, code: "done", message: "Too late." });
    await settle();
    assert.deepEqual(phone.toasts, ["Too late."]);
  });

  test("scrolling loads more, and what came live stays on top of a list that comes late", async () => {
    const ids = Array.from({ length: 25 }, (_, n) => n + 1);
    phone.answer = site({ ids });
    await launchLive();
    const page = phone.openPage("notifications");
    phone.last.receive(frame([26]));
    await settle();
    assert.deepEqual([page.data.items.length, page.data.items[0].id, page.data.next], [21, 26, 6]);
    page.onReachBottom();
    await settle();
    assert.deepEqual([page.data.items.length, page.data.next], [26, null]);
    page.onUnload();
    phone.last.receive(frame([27]));
    assert.equal(page.data.items.length, 26);
  });

  test("what happens while a list is loaded is in it, also where the list is older", async () => {
    phone.answer = site({ ids: [1, 2, 3] });
    await launchLive();
    const page = phone.openPage("notifications");
    phone.last.receive(frame([4, item(5, { archived: true })]));
    phone.last.receive({ type: "state", action: "read", up_to: 2 });
    phone.last.receive({ type: "state", action: "unread", ids: [1] });
    phone.last.receive({ type: "retracted", ids: [3] });
    phone.last.receive({ type: "unread", unread: 2 });
    await settle();
    assert.deepEqual(shown(page), [[4, false], [2, true], [1, false]]);
    assert.equal(phone.badge.text, "2");
  });

  for (const order of [[0, 1], [1, 0]]) {
    test(`of two lists on their way, the one that was asked for last is shown (${order})`, async () => {
      const answers = [];
      phone.answer = () => new Promise((resolve) => answers.push(resolve));
      const logIn = { data: { token: "token1", user: "7", expires_in: 7 * DAY } };
      const list = (...ids) => ({ data: { items: ids.map((id) => item(id)), next: 1, unread: 0, cursor: "1.e.0" } });
      await launch();
      answers.shift()(logIn);
      await settle();
      phone.last.ready({ cursor: "1.e.3" });
      await settle();
      answers.shift()(list());
      await settle();
      const page = phone.openPage("notifications");
      await settle();
      answers.shift()(list(1));
      await settle();
      page.onPullDownRefresh();
      page.onReachBottom();
      page.onPullDownRefresh();
      await settle();
      assert.equal(answers.length, 2, "no older page beside the beginning");
      const lists = [list(1), list(3, 2)];
      answers[order[0]](lists[order[0]]);
      await settle();
      phone.last.receive(frame([4]));
      answers[order[1]](lists[order[1]]);
      await settle();
      assert.deepEqual(shown(page), [[4, false], [3, false], [2, false]]);
    });
  }

  test("what is taken out of the archive is in the list again", async () => {
    phone.answer = site({ ids: [1] });
    await launchLive();
    const page = phone.openPage("notifications");
    await settle();
    phone.answer = site({ ids: [1, 2, 3] });
    const asked = phone.requests.length;
    for (const id of [2, 3]) phone.last.receive({ type: "state", action: "unarchive", ids: [id] });
    await settle();
    assert.deepEqual(shown(page), [[3, false], [2, false], [1, false]]);
    assert.equal(phone.requests.length - asked, 1, "one list has both");
  });

  for (const [how, late, id] of [["is older", site({ ids: [1, 2, 3] }), 5], ["is lost", () => ({ statusCode: 502 }), 31]]) {
    test(`what comes out of the archive while a page ${how} is looked for afterwards`, async () => {
      const ids = [1, 2, 3, ...Array.from({ length: 20 }, (_, n) => n + 11)];
      phone.answer = site({ ids });
      await launchLive();
      const page = phone.openPage("notifications");
      await settle();
      let arrive;
      phone.answer = (request) => new Promise((resolve) => (arrive = () => resolve(late(request))));
      page.onReachBottom();
      await settle();
      phone.answer = site({ ids: [...ids, id] });
      const asked = phone.requests.length;
      for (const told of [[id], [12]]) phone.last.receive({ type: "state", action: "unarchive", ids: told });
      await settle();
      arrive();
      await settle();
      assert.equal(phone.requests.length - asked, 1);
      page.onReachBottom();
      await settle();
      assert.deepEqual(shown(page).map(([id]) => id), [...ids, id].sort((one, other) => other - one));
    });
  }

  test("what is said of states that the list has already does not load it anew", async () => {
    const ids = Array.from({ length: 45 }, (_, n) => n + 1);
    phone.answer = site({ ids });
    await launchLive();
    const page = phone.openPage("notifications");
    await settle();
    page.onReachBottom();
    await settle();
    const asked = phone.requests.length;
    // As a sweep or a resume tells of what was read, or is further down.
    for (const [action, told] of [["read", [45, 6]], ["unarchive", [45, 6]], ["unarchive", [5]]]) {
      phone.last.receive({ type: "state", action, ids: told });
    }
    await settle();
    assert.deepEqual([phone.requests.length - asked, page.data.items.length], [0, 40]);
    assert.deepEqual(shown(page).filter(([, read]) => read).map(([id]) => id), [45, 6]);
  });

  test("a list that cannot be loaded is told", async () => {
    await launchLive();
    phone.answer = () => ({ statusCode: 403, data: { code: 4510, message: "Not logged in." } });
    phone.openPage("notifications");
    await settle();
    assert.deepEqual(phone.toasts, ["Not logged in."]);
  });

  test("the connection page shows what happens, and logs in again", async () => {
    const { live } = await launchLive();
    const page = phone.openPage("connection");
    page.echo();
    phone.last.receive({ type: "ok", ref: phone.last.sentOf("message")[0].ref, data: { echo: 1 } });
    await settle();
    page.stop();
    page.start();
    page.logInAgain();
    await settle();
    assert.equal(live.status, "connecting");
    phone.last.open();
    assert.equal(phone.last.sent[0].token, "token2");
    const texts = page.data.entries.map(({ text }) => text.slice(9)).reverse();
    assert.deepEqual(texts.slice(0, 4), ["opened", 'answer: {"echo":1}', "live → stopped", "stopped → connecting"]);
  });

  test("the demonstration logs in without WeChat", async () => {
    const tokens = { log: [] };
    phone = new Phone({ demoUser: "alice" });
    phone.answer = site({ tokens });
    await launchLive();
    assert.deepEqual([tokens.log, phone.codes], [["demo:alice"], 0]);
    phone.kill();
    phone.config.demoUser = "bob";
    await launch();
    assert.deepEqual(tokens.log, ["demo:alice", "demo:bob"], "the token of another one is not hers");
  });
});
