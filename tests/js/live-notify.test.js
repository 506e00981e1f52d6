import assert from "node:assert/strict";
import { beforeEach, describe, mock, test } from "node:test";

import { FakeSocket, FakeStorage, FakeStream, makeBrowser, settle, settleStreams } from "./browser.js";
import { LiveNotify, Memory, backoff, parseCursor, verdict } from "../../django_live_notify/static/django_live_notify/live-notify.js";
import { support } from "../../django_live_notify/static/django_live_notify/live-notify-fallback.js";

const POLL = { items: [], states: [], unread: 0, reset: false, cursor: "1.e.0", next: 5 };

let browser;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  mock.restoreAll();
  // The longest of the pauses that chance may choose.
  mock.method(Math, "random", () => 0.999999);
  browser = makeBrowser();
});

function make(options = {}) {
  const client = new LiveNotify({ endpoint: "/live-notify/", user: "7", csrfToken: "t", ...options });
  support(client);
  const heard = [];
  for (const name of ["notification", "unread", "state", "retracted", "status", "close", "reset", "error"]) {
    client.addEventListener(name, ({ detail }) => heard.push([name, detail]));
  }
  const of = (name) => heard.filter(([kind]) => kind === name).map(([, detail]) => detail);
  const titles = () => of("notification").map((item) => item.title);
  return { client, heard, of, titles };
}

function item(id, keys = {}) {
  return { id, title: `n${id}`, tag: "", read: false, created_at: new Date().toISOString(), ...keys };
}

function frame(items, keys = {}) {
  return { type: "notifications", items: items.map((id) => (typeof id === "number" ? item(id) : id)), replay: false, ...keys };
}

async function tick(milliseconds) {
  mock.timers.tick(milliseconds);
  await settle();
}

describe("pure parts", () => {
  test("back-off is full jitter between nothing and an exponential cap", () => {
    const most = () => 1;
    assert.deepEqual([0, 1, 2, 3].map((n) => backoff(n, { random: most })), [1000, 2000, 4000, 8000]);
    assert.equal(backoff(100, { random: most }), 30_000);
    assert.equal(backoff(100, { random: most, hidden: true }), 120_000);
    assert.equal(backoff(100, { random: () => 0 }), 0);
  });

  test("verdicts go by range, so an unknown code works", () => {
    assert.deepEqual([1000, 1006, 1012, 4000, 4399, 4400, 4499, 4500, 4999].map(verdict), [
      "retry", "retry", "retry", "retry", "retry", "refresh", "refresh", "stop", "stop",
    ]);
  });

  test("a cursor is read, and anything else is none", () => {
    assert.deepEqual(parseCursor("1.ab.12"), { epoch: "ab", id: 12 });
    for (const junk of [null, undefined, "", "2.ab.1", "1.ab", "1.ab.x"]) assert.equal(parseCursor(junk), null);
  });
});

describe("memory", () => {
  test("a cursor never moves backwards", () => {
    const memory = new Memory("k");
    memory.advance("1.e.5");
    memory.advance("1.e.3");
    assert.equal(memory.cursor, "1.e.5");
  });

  test("another epoch replaces cursor and ring", () => {
    const memory = new Memory("k");
    memory.advance("1.e.5");
    memory.add(6);
    memory.advance("1.f.1");
    assert.equal(memory.cursor, "1.f.1");
    assert.ok(memory.isNew(6, true));
  });

  test("only a replay is judged by the cursor", () => {
    const memory = new Memory("k");
    memory.advance("1.e.5");
    assert.equal(memory.isNew(4, true), false);
    assert.equal(memory.isNew(4, false), true, "a late commit has a low id");
    memory.add(4);
    assert.equal(memory.isNew(4, false), false);
  });

  test("the ring keeps the last thousand", () => {
    const memory = new Memory("k");
    for (let id = 1; id <= 1001; id++) memory.add(id);
    assert.equal(memory.ring.size, 1000);
    assert.ok(memory.isNew(1, false) && !memory.isNew(2, false));
  });

  test("two tabs merge what they write", () => {
    const [one, two] = [1, 2].map(() => new Memory("k"));
    one.advance("1.e.9");
    one.add(10);
    one.save();
    two.advance("1.e.4");
    two.add(11);
    two.save();
    const next = new Memory("k");
    assert.equal(next.cursor, "1.e.9");
    assert.deepEqual([...next.ring].sort(), [10, 11]);
    assert.equal(two.cursor, "1.e.4", "a tab keeps a position of its own");
  });

  test("broken, full and forbidden storage is no matter", () => {
    for (const text of ["", "junk", "null", "[]", '{"cursor": 7, "ring": "x"}', '{"ring": [1, "x", null]}']) {
      localStorage.setItem("k", text);
      const memory = new Memory("k");
      assert.equal(memory.cursor, null);
      memory.advance("1.e.1");
      memory.save();
    }
    globalThis.localStorage = { getItem: () => null, setItem: () => { throw new Error("QuotaExceededError"); } };
    new Memory("k").save();
    globalThis.localStorage = new Proxy({}, { get: () => { throw new Error("SecurityError"); } });
    new Memory("k").save();
  });
});

describe("opening", () => {
  test("the first frame is hello, and live begins with ready", () => {
    const { client, of } = make({ since: "2026-01-01T00:00:00Z" });
    client.start();
    assert.equal(FakeSocket.last.url, "wss://site.example/live-notify/socket/");
    assert.equal(FakeSocket.last.protocol, "live-notify.v1");
    FakeSocket.last.open();
    assert.deepEqual(FakeSocket.last.sent, [{ type: "hello", cursor: null, since: "2026-01-01T00:00:00Z", user: "7", join: [] }]);
    assert.equal(client.status, "connecting");
    FakeSocket.last.receive({ type: "ready", unread: 3, heartbeat: 25, cursor: "1.e.8" });
    assert.deepEqual([client.status, client.transport, client.unread, client.cursor], ["live", "websocket", 3, "1.e.8"]);
    assert.deepEqual(of("status").map(({ status }) => status), ["connecting", "live"]);
  });

  test("starting and stopping twice is once", () => {
    const { client, of } = make();
    client.start();
    client.start();
    assert.equal(FakeSocket.all.length, 1);
    client.stop();
    client.stop();
    assert.equal(client.status, "stopped");
    assert.equal(of("status").length, 2);
    client.start();
    assert.equal(FakeSocket.all.length, 2);
  });

  test("an abandoned socket is not heard any more", () => {
    const { client, titles } = make();
    client.start();
    const old = FakeSocket.last;
    old.ready();
    client.stop();
    client.start();
    FakeSocket.last.ready();
    old.receive(frame([1]));
    old.end();
    assert.deepEqual(titles(), []);
    assert.equal(client.status, "live");
  });

  test("what is not understood is ignored", () => {
    const { client, heard } = make();
    client.start();
    FakeSocket.last.ready();
    const before = heard.length;
    for (const junk of ["junk", "null", "7", "[]", "{}", '{"type": 7}', '{"type": "future", "x": 1}']) FakeSocket.last.receive(junk);
    assert.equal(heard.length, before);
  });
});

describe("notifications", () => {
  test("each is told once, whatever comes twice", () => {
    const { client, titles } = make();
    client.start();
    FakeSocket.last.ready();
    FakeSocket.last.receive(frame([3]));
    FakeSocket.last.receive(frame([3, 4]));
    FakeSocket.last.receive(frame([3, 4, 5], { replay: true, cursor: "1.e.5" }));
    assert.deepEqual(titles(), ["n3", "n4", "n5"]);
    assert.equal(client.cursor, "1.e.5");
  });

  test("after a reconnection the cursor and the ring drop what was handled", async () => {
    const { client, titles } = make();
    client.start();
    FakeSocket.last.ready({ cursor: "1.e.10" });
    FakeSocket.last.receive(frame([12]));
    FakeSocket.last.end();
    await tick(5_000);
    FakeSocket.last.open();
    assert.equal(FakeSocket.last.sent[0].cursor, "1.e.10");
    FakeSocket.last.receive({ type: "ready", unread: 3, heartbeat: 25 });
    FakeSocket.last.receive(frame([9, 11, 12], { replay: true, cursor: "1.e.12" }));
    FakeSocket.last.receive(frame([8]));
    assert.deepEqual(titles(), ["n12", "n11", "n8"], "9 was settled before, 8 is a late commit");
  });

  test("the highest id that was handled is said beside the cursor, by socket and by poll", async () => {
    const { client } = make();
    browser.answer = () => POLL;
    client.start();
    FakeSocket.last.open();
    assert.equal("seen" in FakeSocket.last.sent[0], false);
    FakeSocket.last.receive({ type: "ready", heartbeat: 25, cursor: "1.e.10" });
    FakeSocket.last.receive(frame([12, 14]));
    FakeSocket.last.receive(frame([13]));
    FakeSocket.last.end();
    await tick(5_000);
    FakeSocket.last.open();
    assert.deepEqual([FakeSocket.last.sent[0].cursor, FakeSocket.last.sent[0].seen], ["1.e.10", 14]);
    FakeSocket.last.end();
    await settle();
    const query = browser.requests[0].url.searchParams;
    assert.deepEqual([query.get("cursor"), query.get("seen")], ["1.e.10", "14"]);
  });

  test("the page after one that never got a connection asks from where that one began", () => {
    make({ since: "2026-01-01T00:00:00Z" }).client.start();
    make({ since: "2026-01-01T00:05:00Z" }).client.start();
    FakeSocket.last.open();
    assert.equal(FakeSocket.last.sentOf("hello")[0].since, "2026-01-01T00:00:00Z");
  });

  test("the next page goes on where the last one was", () => {
    const first = make();
    first.client.start();
    FakeSocket.last.ready({ cursor: "1.e.10" });
    FakeSocket.last.receive(frame([12]));
    first.client.stop();
    const second = make();
    second.client.start();
    FakeSocket.last.open();
    assert.equal(FakeSocket.last.sent[0].cursor, "1.e.10");
    FakeSocket.last.receive({ type: "ready", unread: 2, heartbeat: 25 });
    FakeSocket.last.receive(frame([11, 12], { replay: true, cursor: "1.e.12" }));
    assert.deepEqual(second.titles(), ["n11"]);
  });

  test("a page that dies in the middle of a replay leaves the rest to the next one", () => {
    const first = make();
    first.client.start();
    FakeSocket.last.ready({ cursor: "1.e.10" });
    const left = new FakeStorage();
    first.client.addEventListener("notification", ({ detail }) => {
      // What there is when the page dies just now.
      if (detail.id === 11) left.values = new Map(localStorage.values);
    });
    FakeSocket.last.receive(frame([11, 12], { replay: true, cursor: "1.e.12" }));
    globalThis.localStorage = left;
    const second = make();
    second.client.start();
    FakeSocket.last.open();
    assert.equal(FakeSocket.last.sent[0].cursor, "1.e.10");
    FakeSocket.last.receive({ type: "ready", unread: 2, heartbeat: 25 });
    FakeSocket.last.receive(frame([11, 12], { replay: true, cursor: "1.e.12" }));
    assert.ok(second.titles().includes("n12"));
  });

  test("what was retracted or read before it arrived stays so", () => {
    const { client, of } = make();
    client.start();
    FakeSocket.last.ready();
    FakeSocket.last.receive({ type: "retracted", ids: [3] });
    FakeSocket.last.receive({ type: "state", action: "read", ids: [4] });
    FakeSocket.last.receive(frame([3, 4]));
    assert.deepEqual(of("notification").map(({ id, read }) => [id, read]), [[4, true]]);
  });

  test("what was replaced before it was committed is not told", () => {
    const { client, of } = make();
    client.start();
    FakeSocket.last.ready();
    const told = () => of("notification").map(({ id }) => id);
    FakeSocket.last.receive(frame([item(5, { tag: "t" }), item(4, { tag: "t" }), item(3, { tag: "u" })]));
    assert.deepEqual(told(), [5, 3]);
    FakeSocket.last.receive(frame([item(6, { tag: "t" }), item(4, { tag: "t" })]));
    assert.deepEqual(told(), [5, 3, 6]);
  });

  test("what was replaced by what the inbox has is not told", async () => {
    const { client, of } = make();
    client.start();
    FakeSocket.last.ready();
    const items = [item(6, { tag: "t" }), item(5, { tag: "t" }), item(4)];
    browser.answer = () => ({ items, next: null, unread: 2, cursor: "1.e.6" });
    await client.inbox();
    FakeSocket.last.receive(frame([item(3, { tag: "t" }), item(2), item(7, { tag: "t" })]));
    assert.deepEqual(of("notification").map(({ id }) => id), [2, 7]);
  });

  test("unread counts one on by itself and takes the server's word", () => {
    const { client } = make();
    client.start();
    FakeSocket.last.ready({ unread: 2 });
    FakeSocket.last.receive(frame([3]));
    assert.equal(client.unread, 3);
    FakeSocket.last.receive(frame([item(4, { read: true }), item(5, { tag: "t" }), item(6, { muted: true })]));
    assert.equal(client.unread, 3);
    FakeSocket.last.receive({ type: "unread", unread: 1 });
    assert.equal(client.unread, 1);
  });

  test("reset loads a page, tells that, and announces nothing of it", async () => {
    localStorage.setItem("live-notify:/live-notify/:7", JSON.stringify({ cursor: "1.e.1", ring: [40] }));
    const { client, titles, of } = make();
    browser.answer = () => ({ items: [item(50), item(49)], next: null, unread: 9, cursor: "1.e.44" });
    client.start();
    FakeSocket.last.ready({ reset: true, cursor: "1.e.44", unread: 9 });
    await settle();
    assert.equal(browser.requests[0].url.pathname, "/live-notify/inbox/");
    assert.equal(of("reset").length, 1);
    FakeSocket.last.receive(frame([40, 45, 49, 50], { replay: true, cursor: "1.e.50" }));
    assert.deepEqual(titles(), ["n45"]);
  });
});

describe("a reset", () => {
  const KEY = "live-notify:/live-notify/:7";
  const PAGE = { items: [item(50), item(49)], next: null, unread: 9, cursor: "1.e.44" };
  const RESET = { reset: true, cursor: "1.e.44", unread: 9, time: "2026-01-02T00:00:00Z" };
  const stored = () => JSON.parse(localStorage.getItem(KEY));

  /** A page that was at 1, is told to start afresh, and whose requests are answered by hand. */
  function begin(keys = {}) {
    localStorage.setItem(KEY, JSON.stringify({ cursor: "1.e.1", ring: [2], time: "2026-01-01T00:00:00Z" }));
    const made = make();
    const answers = [];
    browser.answer = () => new Promise((resolve, reject) => answers.push({ resolve, reject }));
    made.client.start();
    FakeSocket.last.ready({ ...RESET, ...keys });
    return { ...made, answers };
  }

  test("whose page fails to load is tried again with growing pauses, and the cursor waits for it", async () => {
    const { client, of, answers } = begin();
    const pauses = [];
    for (let round = 1; round <= 3; round++) {
      answers.at(-1).reject(new TypeError("Failed to fetch"));
      await settle();
      assert.deepEqual([client.cursor, of("error").length, of("reset").length], ["1.e.1", round, 0]);
      const began = Date.now();
      while (answers.length === round) await tick(100);
      pauses.push(Math.round((Date.now() - began) / 1000));
    }
    assert.deepEqual(pauses, [1, 2, 4]);
    assert.deepEqual([client.status, FakeSocket.all.length], ["live", 1]);
    answers.at(-1).resolve(PAGE);
    await settle();
    assert.deepEqual([client.cursor, stored().cursor, of("reset").length], ["1.e.44", "1.e.44", 1]);
    await tick(60_000);
    assert.equal(answers.length, 4, "once is enough");
  });

  test("that a break interrupts is made up for after it, from the old cursor and time", async () => {
    for (const answer of [({ resolve }) => resolve(PAGE), ({ reject }) => reject(new TypeError("Failed to fetch"))]) {
      const { client, of, titles, answers } = begin();
      const count = FakeSocket.all.length;
      FakeSocket.last.receive({ type: "ping", cursor: "1.e.45", time: "2026-01-02T00:00:25Z" });
      FakeSocket.last.receive(frame([46], { cursor: "1.e.46", time: "2026-01-02T00:00:26Z" }));
      FakeSocket.last.receive({ type: "pong", cursor: "1.e.46" });
      assert.deepEqual(FakeSocket.last.sentOf("pong"), [{ type: "pong", cursor: "1.e.1" }]);
      assert.deepEqual([client.cursor, stored().cursor, stored().time], ["1.e.1", "1.e.1", "2026-01-01T00:00:00Z"]);
      FakeSocket.last.end();
      answer(answers[0]);
      await settle();
      assert.equal(of("reset").length, 0);
      while (FakeSocket.all.length === count) await tick(100);
      FakeSocket.last.open();
      const [{ cursor, since }] = FakeSocket.last.sent;
      assert.deepEqual([cursor, since], ["1.e.1", "2026-01-01T00:00:00Z"]);
      FakeSocket.last.receive({ type: "ready", heartbeat: 25, ...RESET, cursor: "1.e.47" });
      await settle();
      assert.equal(answers.length, 2, "nothing of the former connection goes on");
      answers[1].resolve(PAGE);
      await settle();
      assert.deepEqual([of("reset").length, client.cursor, stored().cursor, stored().time], [1, "1.e.47", "1.e.47", RESET.time]);
      assert.deepEqual(titles(), ["n46"]);
      client.stop();
    }
  });

  test("does not keep back what arrives while its page loads, nor tell it twice", async () => {
    for (const epoch of ["e", "another"]) {
      const { client, titles, answers } = begin({ cursor: `1.${epoch}.44` });
      FakeSocket.last.receive(frame([2, 49, 51, 52].slice(epoch === "e" ? 1 : 0)));
      FakeSocket.last.receive({ type: "ping", cursor: `1.${epoch}.50` });
      const told = epoch === "e" ? ["n49", "n51", "n52"] : ["n2", "n49", "n51", "n52"];
      assert.deepEqual(titles(), told);
      answers[0].resolve({ ...PAGE, items: [item(51), item(50), item(49)] });
      await settle();
      assert.equal(client.cursor, `1.${epoch}.50`, "what came meanwhile was handled");
      FakeSocket.last.receive(frame([49, 50, 51, 52]));
      FakeSocket.last.receive(frame([49, 50, 51, 52, 53], { replay: true, cursor: `1.${epoch}.53` }));
      assert.deepEqual(titles(), [...told, "n53"]);
      client.stop();
      const next = make();
      next.client.start();
      FakeSocket.last.ready({ cursor: undefined });
      FakeSocket.last.receive(frame([50, 51, 52, 53], { replay: true }));
      assert.deepEqual(next.titles(), []);
      next.client.stop();
    }
  });

  test("of a poll is one, however often it is said while its page loads", async () => {
    localStorage.setItem("live-notify:fallback", Date.now() + 300_000);
    const { client, of, titles } = make();
    const answers = [];
    const polls = [];
    browser.answer = ({ url }) => {
      if (url.pathname.endsWith("inbox/")) return new Promise((resolve, reject) => answers.push({ resolve, reject }));
      polls.push([url.searchParams.get("cursor"), url.searchParams.get("since")]);
      const reset = polls.length > 1 && url.searchParams.get("cursor") === "1.e.0";
      const number = 44 + polls.length;
      return { ...POLL, reset, cursor: polls.length > 1 ? `1.e.${number}` : "1.e.0", time: `t${polls.length}` };
    };
    client.start();
    await settle();
    await tick(5_000);
    answers[0].reject(new TypeError("Failed to fetch"));
    await settle();
    await tick(1_000);
    assert.equal(answers.length, 2);
    await tick(4_000);
    assert.deepEqual(polls, [[null, null], ["1.e.0", "t1"], ["1.e.0", "t1"]]);
    assert.equal(answers.length, 2);
    answers[1].resolve(PAGE);
    await settle();
    assert.equal(client.cursor, "1.e.46", "the page may be older than what the later poll said");
    await tick(5_000);
    assert.deepEqual(polls.at(-1), ["1.e.46", "t2"]);
    assert.deepEqual([of("reset").length, titles()], [1, []]);
  });

  test("knows all that a replay may repeat, and says that lists are to be loaded anew", async () => {
    const { client, of, titles } = make();
    const pages = { null: [[300, 201], 201], 201: [[200, 101], 101], 101: [[100, 1], null] };
    browser.answer = ({ url }) => {
      const [[last, first], next] = pages[url.searchParams.get("before")];
      return { items: Array.from({ length: last - first + 1 }, (_, index) => item(last - index)), next, unread: 9 };
    };
    client.start();
    FakeSocket.last.ready({ reset: true, cursor: "1.e.150" });
    await settle();
    assert.equal(browser.requests.length, 2, "what is below the cursor is not repeated");
    assert.equal(of("reset").length, 1);
    FakeSocket.last.receive(frame(Array.from({ length: 151 }, (_, index) => 151 + index), { replay: true, cursor: "1.e.301" }));
    assert.deepEqual(titles(), ["n301"]);
  });

  test("loads no more than the ring can hold beside what comes live", async () => {
    const { client, of } = make();
    let next = 5_000;
    browser.answer = () => ({ items: Array.from({ length: 100 }, () => item(next--)), next, unread: 9 });
    client.start();
    FakeSocket.last.ready({ reset: true, cursor: "1.e.0" });
    for (let turn = 0; turn < 20; turn++) await settle();
    assert.deepEqual([browser.requests.length, of("reset").length], [9, 1]);
  });
});

describe("beats", () => {
  test("a ping is answered with the cursor that it brought", () => {
    const { client } = make();
    client.start();
    FakeSocket.last.ready();
    FakeSocket.last.receive({ type: "ping", cursor: "1.e.9", time: "2026-01-01T00:00:09Z" });
    assert.deepEqual(FakeSocket.last.sentOf("pong"), [{ type: "pong", cursor: "1.e.9" }]);
    assert.equal(client.cursor, "1.e.9");
  });

  test("what the server said last is the time from which changes are asked for", async () => {
    const { client } = make({ since: "2026-01-01T00:00:00Z" });
    client.start();
    FakeSocket.last.ready({ time: "2026-01-01T00:00:05Z" });
    FakeSocket.last.end();
    await tick(5_000);
    FakeSocket.last.open();
    assert.equal(FakeSocket.last.sent[0].since, "2026-01-01T00:00:05Z");
  });

  test("a beat that stays away for its grace ends the connection", async () => {
    const { client, of } = make();
    client.start();
    FakeSocket.last.ready();
    await tick(34_000);
    assert.equal(client.status, "live");
    FakeSocket.last.receive({ type: "ping", cursor: "1.e.0" });
    await tick(34_000);
    assert.equal(client.status, "live");
    await tick(1_001);
    assert.equal(client.status, "waiting");
    assert.equal(of("close")[0].reason, "No sign of life.");
  });

  test("a socket that never gets ready is given up", async () => {
    const { client } = make();
    client.start();
    FakeSocket.last.open();
    await tick(10_001);
    assert.equal(client.status, "waiting");
  });

  test("who wakes up after the deadline reconnects at once", async () => {
    const { client } = make();
    client.start();
    FakeSocket.last.ready();
    mock.timers.setTime(Date.now() + 600_000);
    browser.wake("focus");
    assert.equal(FakeSocket.all.length, 2);
  });

  test("offline is no end but a question", async () => {
    const { client } = make();
    client.start();
    FakeSocket.last.ready();
    browser.wake("offline");
    assert.equal(FakeSocket.last.sentOf("ping").length, 1);
    assert.equal(client.status, "live");
    FakeSocket.last.receive({ type: "pong", cursor: "1.e.0" });
    await tick(6_000);
    assert.equal(client.status, "live");
    browser.wake("offline");
    await tick(5_001);
    assert.equal(client.status, "waiting");
  });
});

describe("reconnecting", () => {
  test("the pauses grow, and only a connection that lasted for a beat starts them anew", async () => {
    const { client } = make();
    client.start();
    const pauses = [];
    for (let round = 0; round < 8; round++) {
      FakeSocket.last.ready();
      await tick(5_000);
      FakeSocket.last.end();
      await settle();
      const [began, count] = [Date.now(), FakeSocket.all.length];
      while (FakeSocket.all.length === count) await tick(100);
      pauses.push(Math.round((Date.now() - began) / 1000));
    }
    assert.deepEqual(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    FakeSocket.last.ready();
    await tick(26_000);
    FakeSocket.last.receive({ type: "ping", cursor: "1.e.0" });
    FakeSocket.last.end();
    const count = FakeSocket.all.length;
    await tick(5_000);
    assert.equal(FakeSocket.all.length, count + 1, "within five seconds");
  });

  test("bye says when to come back", async () => {
    const { client, of } = make();
    client.start();
    FakeSocket.last.ready();
    await tick(26_000);
    FakeSocket.last.receive({ type: "bye", code: 4000, reason: "restarting", retry: true, after: [10, 20] });
    FakeSocket.last.end(4000);
    assert.deepEqual(of("close")[0], { code: 4000, reason: "restarting", wasClean: true, verdict: "retry" });
    await tick(9_999);
    assert.equal(FakeSocket.all.length, 1);
    await tick(10_001);
    assert.equal(FakeSocket.all.length, 2);
  });

  test("a verdict to stop is final, by bye or by code", async () => {
    for (const end of [() => FakeSocket.last.receive({ type: "bye", code: 4510, reason: "no", retry: false, after: [0, 5] }), () => {}]) {
      const { client } = make();
      client.start();
      FakeSocket.last.open();
      end();
      FakeSocket.last.end(4510);
      assert.equal(client.status, "stopped");
      const count = FakeSocket.all.length;
      await tick(600_000);
      assert.equal(FakeSocket.all.length, count);
    }
  });

  test("a hidden page waits longer, and comes back when it is shown", async () => {
    const { client } = make();
    client.start();
    browser.hide(true);
    for (let round = 0; round < 9; round++) {
      FakeSocket.last.end();
      await settle();
      await tick(round < 8 ? 120_000 : 60_000);
    }
    const count = FakeSocket.all.length;
    assert.equal(client.status, "waiting");
    browser.hide(false);
    assert.equal(FakeSocket.all.length, count + 1);
  });

  test("a page that is left lets go, and resumes when it is shown again", () => {
    const { client } = make();
    client.start();
    FakeSocket.last.ready();
    browser.wake("pagehide");
    assert.equal(FakeSocket.last.readyState, 3);
    browser.wake("pageshow");
    assert.equal(FakeSocket.all.length, 2);
    assert.equal(client.status, "connecting");
  });

  test("a frozen page lets go before its socket is cut, and resumes at once when it thaws", () => {
    const { client, of } = make();
    client.start();
    FakeSocket.last.ready();
    document.dispatchEvent(new Event("freeze"));
    assert.equal(FakeSocket.last.readyState, 3);
    FakeSocket.last.end();
    document.dispatchEvent(new Event("resume"));
    assert.equal(FakeSocket.all.length, 2);
    FakeSocket.last.ready();
    assert.deepEqual(of("status").map(({ status }) => status), ["connecting", "live", "waiting", "connecting", "live"]);
  });

  test("a page that stops when it hears that the connection is lost stays stopped", async () => {
    const { client } = make();
    client.addEventListener("status", ({ detail }) => detail.status === "waiting" && client.stop());
    client.start();
    FakeSocket.last.end();
    await settle();
    await tick(600_000);
    assert.deepEqual([client.status, FakeSocket.all.length], ["stopped", 1]);
  });

  test("a stopped client is not woken up", () => {
    const { client } = make();
    client.start();
    client.stop();
    document.dispatchEvent(new Event("freeze"));
    document.dispatchEvent(new Event("resume"));
    for (const name of ["pagehide", "pageshow", "online", "focus"]) browser.wake(name);
    assert.deepEqual([client.status, FakeSocket.all.length], ["stopped", 1]);
  });

  test("the page's own show does not disturb the first attempt", () => {
    make().client.start();
    browser.wake("pageshow");
    assert.equal(FakeSocket.all.length, 1);
  });
});

describe("polling", () => {
  test("where the server answers but no socket comes through", async () => {
    const { client, titles } = make({ since: "2026-01-01T00:00:00Z" });
    browser.answer = () => ({ ...POLL, items: [item(3)], unread: 1 });
    client.start();
    FakeSocket.last.end();
    await settle();
    assert.deepEqual([client.status, client.transport, client.unread], ["live", "poll", 1]);
    await tick(5_000);
    await tick(1_000);
    FakeSocket.last.end();
    await settle();
    await tick(5_000);
    await tick(5_000);
    assert.equal(FakeSocket.all.length, 2);
    assert.equal(browser.requests.length, 4);
    assert.equal(browser.requests[1].url.searchParams.get("cursor"), "1.e.0");
    assert.deepEqual(titles(), ["n3"], "told once although it came four times");
  });

  test("where there are no sockets at all, also after an outage", async () => {
    delete globalThis.WebSocket;
    const { client } = make();
    client.start();
    await settle();
    assert.equal(client.status, "waiting");
    browser.answer = () => POLL;
    await tick(1_000);
    assert.deepEqual([client.status, client.transport], ["live", "poll"]);
  });

  test("a server that came up between the socket and the poll is asked for a socket again soon", async () => {
    const { client } = make();
    browser.answer = () => POLL;
    client.start();
    FakeSocket.last.end();
    await settle();
    await tick(5_000);
    await tick(1_000);
    assert.equal(FakeSocket.all.length, 2);
    FakeSocket.last.ready();
    assert.equal(client.transport, "websocket");
  });

  test("an outage is no reason to poll", async () => {
    const { client } = make();
    client.start();
    for (let round = 0; round < 4; round++) {
      FakeSocket.last.end();
      await settle();
      assert.equal(client.status, "waiting");
      await tick(30_000);
    }
    assert.equal(FakeSocket.all.length, 5);
  });

  test("a connection that was lost is no reason to poll", async () => {
    const { client } = make();
    browser.answer = () => POLL;
    client.start();
    FakeSocket.last.ready();
    FakeSocket.last.end();
    await settle();
    assert.deepEqual([client.status, browser.requests.length], ["waiting", 0]);
  });

  test("a poll that is never answered is given up, and the socket is tried again", async () => {
    mock.method(AbortSignal, "timeout", (milliseconds) => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(new DOMException("Too late.", "TimeoutError")), milliseconds);
      return controller.signal;
    });
    const { client } = make();
    browser.answer = ({ signal }) => new Promise((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
    });
    client.start();
    await tick(10_000);
    assert.deepEqual([browser.requests.length, client.status], [1, "connecting"]);
    await tick(10_000);
    assert.equal(client.status, "waiting");
    await tick(2_000);
    assert.equal(FakeSocket.all.length, 2);
  });

  test("the socket is tried again after a while, also by other pages", async () => {
    browser.answer = () => POLL;
    const first = make();
    first.client.start();
    FakeSocket.last.end();
    await settle();
    await tick(5_000);
    FakeSocket.last.end();
    await settle();
    first.client.stop();
    const second = make();
    second.client.start();
    await settle();
    assert.equal(FakeSocket.all.length, 2, "it is known that sockets are not to be had");
    const began = Date.now();
    while (FakeSocket.all.length < 3) await tick(5_000);
    assert.ok(Date.now() - began <= 305_000);
    FakeSocket.last.ready();
    assert.equal(second.client.transport, "websocket");
  });

  test("changes of state come with a poll", async () => {
    const { client, of, titles } = make();
    const states = [{ type: "state", action: "read", ids: [1] }, frame([2])];
    browser.answer = () => ({ ...POLL, states, cursor: "1.e.5" });
    client.start();
    FakeSocket.last.end();
    await settle();
    assert.deepEqual(of("state")[0].ids, [1]);
    assert.deepEqual(titles(), ["n2"], "a late commit is new below the cursor, too");
  });

  test("who is logged out stops", async () => {
    const { client, of } = make();
    browser.answer = () => ({ status: 403, code: 4510, message: "Not logged in." });
    client.start();
    FakeSocket.last.end();
    await settle();
    assert.equal(client.status, "stopped");
    assert.equal(of("close").at(-1).code, 4510);
  });
});

describe("event streams", () => {
  /** A page whose socket is refused, and whose stream waits for frames. */
  async function streaming(options) {
    const made = make(options);
    browser.events = (stream) => stream.accept();
    made.client.start();
    FakeSocket.last.end();
    await settleStreams();
    return made;
  }

  async function step(milliseconds) {
    mock.timers.tick(milliseconds);
    await settleStreams();
  }

  test("bring frames where no socket comes through", async () => {
    const { client, titles } = await streaming({ token: "secret" });
    assert.equal(client.status, "connecting");
    await FakeStream.last.ready({ unread: 2, cursor: "1.e.4" });
    assert.deepEqual([client.status, client.transport, client.unread, client.cursor], ["live", "eventstream", 2, "1.e.4"]);
    await FakeStream.last.receive(frame([5, 6], { cursor: "1.e.6" }), frame([7]));
    assert.deepEqual([titles(), client.cursor], [["n5", "n6", "n7"], "1.e.6"]);
    assert.equal(FakeStream.last.request.headers.Authorization, "Bearer secret");
    assert.deepEqual([FakeStream.all.length, browser.requests.length], [1, 0]);
  });

  test("are read wherever the network cuts them, within a letter, too", async () => {
    const { titles } = await streaming();
    await FakeStream.last.ready();
    const bytes = new TextEncoder().encode(`id: 1.e.1\ndata: ${JSON.stringify(frame([item(1, { title: "größer 大" })]))}\n\n`);
    await FakeStream.last.write(...Array.from(bytes, (byte) => Uint8Array.of(byte)));
    assert.deepEqual(titles(), ["größer 大"]);
  });

  test("without ready are buffered by a proxy, and polls are held instead", async () => {
    const { client } = await streaming();
    let held;
    browser.answer = ({ url }) => (url.searchParams.get("known") === "k1" ? new Promise((resolve) => { held = resolve; }) : { ...POLL, next: 0, known: "k1" });
    await step(4_900);
    assert.equal(client.status, "connecting");
    await step(100);
    assert.equal(FakeStream.last.aborted, true);
    assert.deepEqual([client.status, client.transport], ["live", "poll"]);
    await step(0);
    assert.deepEqual(browser.requests.map(({ url }) => url.searchParams.get("wait")), ["25", "25"]);
    held({ ...POLL, items: [item(3)], next: 0, known: "k2" });
    await settleStreams();
    await step(0);
    assert.deepEqual(browser.requests.at(-1).url.searchParams.get("known"), "k2");
  });

  for (const [what, refuse] of [
    ["406, where nothing is held", (stream) => stream.refuse(406, { code: "unsupported" })],
    ["404", (stream) => stream.refuse(404)],
    ["403 by a proxy", (stream) => stream.refuse(403)],
    ["a page of something else", (stream) => stream.accept("text/html")],
  ]) {
    test(`are done without after ${what}`, async () => {
      const { client } = make();
      browser.events = refuse;
      browser.answer = () => POLL;
      client.start();
      FakeSocket.last.end();
      await settleStreams();
      assert.deepEqual([client.status, client.transport, FakeStream.all.length], ["live", "poll", 1]);
    });
  }

  for (const status of [502, 503, 504]) {
    test(`and ${status} are an outage, in which nothing else is tried`, async () => {
      const { client } = make();
      browser.events = (stream) => stream.refuse(status);
      browser.answer = () => POLL;
      client.start();
      FakeSocket.last.end();
      await settleStreams();
      assert.deepEqual([client.status, browser.requests.length], ["waiting", 0]);
      await step(2_000);
      assert.equal(FakeSocket.all.length, 2);
    });
  }

  test("and a poll that cannot reach the database is an outage, too, and no verdict", async () => {
    const { client, of } = make();
    browser.answer = () => ({ status: 503, code: "unavailable", message: "The database is not available." });
    client.start();
    FakeSocket.last.end();
    await settleStreams();
    assert.deepEqual([client.status, browser.requests.length], ["waiting", 1]);
    assert.deepEqual(of("close").at(-1), { code: 1006, reason: "The database is not available.", wasClean: false, verdict: "retry" });
    await step(2_000);
    assert.equal(FakeSocket.all.length, 2);
  });

  test("stop at a verdict", async () => {
    const { client, of } = make();
    browser.events = (stream) => stream.refuse(403, { code: 4510, message: "Not logged in." });
    client.start();
    FakeSocket.last.end();
    await settleStreams();
    assert.deepEqual([client.status, of("close").at(-1).code, browser.requests.length], ["stopped", 4510, 0]);
  });

  test("stop at a bye that says so, and go back to a socket at any other", async () => {
    for (const [code, status] of [[4511, "stopped"], [4000, "waiting"]]) {
      localStorage.removeItem("live-notify:fallback");
      const { client } = await streaming();
      await FakeStream.last.ready();
      await FakeStream.last.receive({ type: "bye", code, reason: "", retry: true, after: [1, 2] });
      assert.deepEqual([client.status, FakeStream.last.aborted], [status, true]);
      client.stop();
    }
  });

  test("that are cut or may last no longer go on by the cursor, without a socket or a poll", async () => {
    const { client } = await streaming();
    await FakeStream.last.ready({ cursor: "1.e.4" });
    await step(5_000);
    await step(1_000);
    FakeSocket.last.end();
    await settleStreams();
    await FakeStream.last.ready({ cursor: "1.e.5" });
    const ends = [
      [(stream) => stream.cut(), 5_000],
      [(stream) => stream.end(), 5_000],
      [(stream) => stream.receive({ type: "bye", code: 4003, reason: "", retry: true, after: [0, 1] }), 1_000],
    ];
    for (const [end, pause] of ends) {
      const count = FakeStream.all.length;
      await end(FakeStream.last);
      assert.equal(FakeStream.all.length, count);
      await step(pause);
      assert.equal(FakeStream.all.length, count + 1);
      assert.equal(FakeStream.last.query.get("cursor"), "1.e.5");
      await FakeStream.last.ready();
    }
    assert.deepEqual([client.status, FakeSocket.all.length, browser.requests.length], ["live", 2, 0]);
  });

  test("that are cut by an outage are followed by a socket", async () => {
    const { client } = await streaming();
    await FakeStream.last.ready();
    browser.events = () => { throw new TypeError("Failed to fetch"); };
    await FakeStream.last.cut();
    await step(5_000);
    assert.equal(client.status, "waiting");
    await step(2_000);
    assert.deepEqual([FakeSocket.all.length, browser.requests.length], [2, 0]);
  });

  test("give way to a socket soon, and later every five minutes", async () => {
    const { client } = await streaming();
    await FakeStream.last.ready();
    await step(5_000);
    await step(1_000);
    assert.deepEqual([FakeSocket.all.length, FakeStream.last.aborted], [2, true]);
    FakeSocket.last.end();
    await settleStreams();
    await FakeStream.last.ready();
    const began = Date.now();
    while (FakeSocket.all.length < 3) {
      await step(5_000);
      if (FakeSocket.all.length < 3) await FakeStream.last.receive({ type: "ping" });
    }
    assert.ok(Date.now() - began >= 300_000 && Date.now() - began <= 305_000);
    FakeSocket.last.ready();
    assert.equal(client.transport, "websocket");
  });

  test("that fall silent are given up", async () => {
    const { client } = await streaming();
    await FakeStream.last.ready();
    await step(5_000);
    await step(1_000);
    FakeSocket.last.end();
    await settleStreams();
    await FakeStream.last.ready();
    await step(35_000);
    assert.deepEqual([client.status, FakeStream.last.aborted], ["waiting", true]);
  });

  test("end with the client", async () => {
    const { client } = await streaming();
    await FakeStream.last.ready();
    client.stop();
    await step(600_000);
    assert.deepEqual([FakeStream.all.length, FakeStream.last.aborted, browser.requests.length], [1, true, 0]);
  });

  test("have commands by POST", async () => {
    const { client, of } = await streaming();
    await FakeStream.last.ready({ unread: 3 });
    browser.answer = ({ url }) => (url.pathname.endsWith("message/") ? { data: "answer" } : { unread: 2 });
    assert.equal(await client.send("ask", { a: 1 }), "answer");
    await client.markRead(4);
    await client.act(4, "approve");
    assert.deepEqual(browser.requests.map(({ url, method, body }) => [url.pathname, method, body]), [
      ["/live-notify/message/", "POST", { name: "ask", data: { a: 1 } }],
      ["/live-notify/read/", "POST", { ids: [4] }],
      ["/live-notify/action/", "POST", { id: 4, name: "approve" }],
    ]);
    assert.deepEqual([client.unread, of("state")], [3, []], "the stream tells it, in order");
    browser.answer = () => ({ status: 400, code: "forbidden", message: "No." });
    await assert.rejects(client.send("ask"), { code: "forbidden", message: "No." });
    await assert.rejects(client.send("ask", new ArrayBuffer(2)), { code: "invalid" });
  });

  test("are opened anew to join and leave a topic", async () => {
    const { client } = await streaming();
    const emitted = [];
    client.addEventListener("emitted", ({ detail }) => emitted.push(detail.name));
    await FakeStream.last.ready();
    await Promise.all([client.join("a,b"), client.join("c")]);
    await step(0);
    assert.deepEqual([FakeStream.all.length, FakeStream.last.query.getAll("join")], [2, ["a,b", "c"]]);
    await FakeStream.last.ready();
    await FakeStream.last.receive({ type: "emitted", name: "typing", topic: "c", data: null });
    assert.deepEqual(emitted, ["typing"]);
    await client.leave("c");
    await step(0);
    assert.deepEqual(FakeStream.last.query.getAll("join"), ["a,b"]);
  });
});

describe("held polls", () => {
  test("wait for less where a proxy waits for less", async () => {
    const { client } = make();
    browser.answer = ({ url }) => (url.searchParams.get("wait") > 10 ? { status: 504 } : { ...POLL, next: 0, known: "k" });
    client.start();
    FakeSocket.last.end();
    await settle();
    assert.deepEqual(browser.requests.map(({ url }) => url.searchParams.get("wait")), ["25", "12", "6"]);
    assert.deepEqual([client.status, client.transport], ["live", "poll"]);
  });

  test("tell at once what was changed here", async () => {
    const { client, of } = make();
    browser.answer = ({ method }) => (method === "POST" ? { unread: 1 } : { ...POLL, unread: 2 });
    client.start();
    FakeSocket.last.end();
    await settle();
    await client.markRead([3]);
    assert.deepEqual([client.unread, of("state")[0].ids], [1, [3]]);
  });

  test("tell an action as the server does", async () => {
    const { client, of } = make();
    browser.answer = ({ method }) => (method === "POST" ? { unread: 1 } : { ...POLL, unread: 2 });
    client.start();
    FakeSocket.last.end();
    await settle();
    await client.act(3, "approve");
    assert.deepEqual(browser.requests.at(-1).body, { id: 3, name: "approve" });
    assert.deepEqual([client.unread, of("state")], [1, [
      { type: "state", action: "read", ids: [3] },
      { type: "state", action: "action", ids: [3], name: "approve" },
    ]]);
    browser.answer = () => ({ status: 400, code: "done", message: "Too late." });
    await assert.rejects(client.act(3, "reject"), { code: "done", message: "Too late." });
    assert.equal(of("state").length, 2);
  });
});

describe("requests", () => {
  test("a page of the inbox that comes late brings no old count", async () => {
    const { client } = make();
    client.start();
    FakeSocket.last.ready({ unread: 1 });
    let answer;
    browser.answer = () => new Promise((resolve) => { answer = resolve; });
    const page = client.inbox();
    FakeSocket.last.receive({ type: "unread", unread: 2 });
    answer({ items: [], next: null, unread: 1, cursor: "1.e.0" });
    assert.equal((await page).unread, 1);
    assert.equal(client.unread, 2);
  });

  async function live() {
    const made = make();
    made.client.start();
    FakeSocket.last.ready();
    return made.client;
  }

  test("an answer finds its question", async () => {
    const client = await live();
    const [one, two] = [client.send("a", 1), client.send("b", 2)];
    await settle();
    const [first, second] = FakeSocket.last.sentOf("message");
    FakeSocket.last.receive({ type: "ok", ref: second.ref, data: "two" });
    FakeSocket.last.receive({ type: "error", ref: first.ref, code: "invalid", message: "no" });
    assert.equal(await two, "two");
    await assert.rejects(one, { code: "invalid", message: "no" });
  });

  test("what is sent too early waits for ready", async () => {
    const { client } = make();
    client.start();
    const answer = client.send("a");
    FakeSocket.last.ready();
    await settle();
    FakeSocket.last.receive({ type: "ok", ref: FakeSocket.last.sentOf("message")[0].ref, data: 1 });
    assert.equal(await answer, 1);
  });

  test("nothing waits for ever", async () => {
    const client = await live();
    const lost = client.send("a");
    await settle();
    FakeSocket.last.end();
    await assert.rejects(lost, { code: "lost" });
    const late = client.send("a");
    const outcome = assert.rejects(late, { code: "lost" });
    for (let second = 0; second < 31; second++) {
      await tick(1_000);
    }
    await outcome;
    client.stop();
    await assert.rejects(client.send("a"), { code: "lost" });
  });

  test("states are changed over the socket, and by HTTP where it is lost", async () => {
    const client = await live();
    browser.answer = () => ({ unread: 4 });
    const read = client.markRead(3);
    await settle();
    assert.deepEqual(FakeSocket.last.sentOf("read")[0].ids, [3]);
    FakeSocket.last.end();
    await read;
    const [request] = browser.requests;
    assert.deepEqual([request.url.pathname, request.method, request.body], ["/live-notify/read/", "POST", { ids: [3] }]);
    assert.equal(request.headers["X-CSRFToken"], "t");
    assert.equal(client.unread, 4);
  });

  test("an action goes over the socket, which answers and tells what was done", async () => {
    const { client, of } = make();
    client.start();
    FakeSocket.last.ready();
    const approved = client.act(3, "approve");
    await settle();
    const [{ id, name, ref }] = FakeSocket.last.sentOf("action");
    assert.deepEqual([id, name], [3, "approve"]);
    FakeSocket.last.receive({ type: "ok", ref });
    assert.equal(await approved, undefined);
    assert.deepEqual([of("state"), browser.requests], [[], []]);
    FakeSocket.last.receive({ type: "state", action: "action", ids: [3], name: "approve" });
    assert.deepEqual(of("state").map((state) => state.name), ["approve"]);
    const rejected = client.act(3, "reject");
    await settle();
    FakeSocket.last.receive({ type: "error", ref: FakeSocket.last.sentOf("action")[1].ref, code: "done", message: "No." });
    await assert.rejects(rejected, { code: "done", message: "No." });
    assert.deepEqual(browser.requests, [], "what was refused is not asked for again");
  });

  // What the server itself says of an action.
  const DONE = [
    { type: "state", action: "read", ids: [3] },
    { type: "state", action: "action", ids: [3], name: "approve" },
  ];
  const POSTED = ["/live-notify/action/", "POST", "7", { id: 3, name: "approve" }];
  const posted = () => browser.requests.map(({ url, method, body }) => [url.pathname, method, url.searchParams.get("user"), body]);

  test("an action whose answer is lost is repeated by HTTP", async () => {
    const { client, of } = make();
    client.start();
    FakeSocket.last.ready();
    browser.answer = () => ({ unread: 4 });
    const approved = client.act(3, "approve");
    await settle();
    assert.deepEqual([FakeSocket.last.sentOf("action").length, posted()], [1, []]);
    FakeSocket.last.end();
    await approved;
    assert.deepEqual([posted(), of("state"), client.unread], [[POSTED], DONE, 4]);
  });

  test("an action without a connection goes by HTTP, and what it answers is told here", async () => {
    const { client, of } = make();
    browser.answer = () => ({ unread: 4 });
    await client.act(3, "approve");
    assert.deepEqual([posted(), of("state"), client.unread], [[POSTED], DONE, 4]);
    browser.answer = () => ({ status: 400, code: "invalid", message: "Somebody else was faster." });
    await assert.rejects(client.act(3, "approve"), { code: "invalid", message: "Somebody else was faster." });
    browser.answer = () => { throw new TypeError("Failed to fetch"); };
    await assert.rejects(client.act(3, "approve"), TypeError);
    assert.equal(of("state").length, 2);
  });

  test("what was told as read by an action is read when it arrives", async () => {
    const { client, of } = make();
    browser.answer = () => ({ unread: 0 });
    await client.act(3, "approve");
    client.start();
    FakeSocket.last.ready();
    FakeSocket.last.receive(frame([3]));
    assert.deepEqual([of("notification")[0].read, client.unread], [true, 0]);
  });

  test("a page of the inbox may be of several kinds and levels", async () => {
    const { client } = make();
    browser.answer = () => ({ items: [], unread: 0 });
    await client.inbox({ kind: ["a,b", "c"], level: "error", unread: true, before: null });
    await client.inbox({ level: ["info", "error"], kind: [] });
    const queries = browser.requests.map(({ url }) => [...new URL(url).searchParams].filter(([name]) => name !== "user"));
    assert.deepEqual(queries, [
      [["kind", "a,b"], ["kind", "c"], ["level", "error"], ["unread", "true"]],
      [["level", "info"], ["level", "error"]],
    ]);
  });

  test("a change by HTTP outlives the page, a question does not", async () => {
    const { client } = make();
    browser.answer = () => ({ items: [], unread: 4 });
    await client.markRead(3);
    await client.inbox();
    assert.deepEqual(browser.requests.map(({ method, keepalive }) => [method, keepalive]), [["POST", true], ["GET", false]]);
  });

  test("what was changed by HTTP is told by the socket where there is one again", async () => {
    const client = await live();
    const heard = [];
    client.addEventListener("state", ({ detail }) => heard.push(detail.action));
    let answer;
    browser.answer = () => new Promise((resolve) => { answer = resolve; });
    FakeSocket.last.end();
    const archived = client.archive(3);
    await settle();
    await tick(5_000);
    FakeSocket.last.ready();
    FakeSocket.last.receive({ type: "state", action: "unarchive", ids: [3] });
    answer({ unread: 4 });
    await archived;
    assert.deepEqual(heard, ["unarchive"], "the answer is older than what the socket said");
  });

  test("everything that the page knows of is marked, and nothing after it", async () => {
    const client = await live();
    FakeSocket.last.receive(frame([3, 8, 5]));
    client.markAllRead().catch(() => {});
    await settle();
    assert.equal(FakeSocket.last.sentOf("read")[0].up_to, 8);
  });

  test("topics are joined again after a reconnection", async () => {
    const client = await live();
    const joined = client.join("room");
    await settle();
    FakeSocket.last.receive({ type: "ok", ref: FakeSocket.last.sentOf("join")[0].ref });
    await joined;
    FakeSocket.last.end();
    await tick(5_000);
    FakeSocket.last.open();
    assert.deepEqual(FakeSocket.last.sent[0].join, ["room"]);
  });

  test("what is sent comes in its order, and does not wait for the answer to what was sent before", async () => {
    const { client } = make();
    client.start();
    const answers = ["a", "b", "c"].map((name) => client.send(name));
    FakeSocket.last.ready();
    await tick(50);
    assert.deepEqual(FakeSocket.last.sentOf("message").map(({ name }) => name), ["a", "b", "c"]);
    for (const { ref, name } of FakeSocket.last.sentOf("message").reverse()) FakeSocket.last.receive({ type: "ok", ref, data: name });
    assert.deepEqual(await Promise.all(answers), ["a", "b", "c"]);
  });

  test("what was sent first goes first, also when the socket has room again", async () => {
    const client = await live();
    FakeSocket.last.bufferedAmount = 65_537;
    client.send("a").catch(() => {});
    await settle();
    await tick(25);
    FakeSocket.last.bufferedAmount = 0;
    client.send("b").catch(() => {});
    await settle();
    assert.deepEqual(FakeSocket.last.sentOf("message"), []);
    await tick(25);
    assert.deepEqual(FakeSocket.last.sentOf("message").map(({ name }) => name), ["a", "b"]);
  });

  test("a full socket is waited for", async () => {
    const client = await live();
    FakeSocket.last.bufferedAmount = 65_537;
    assert.equal(client.bufferedAmount, 65_537);
    client.send("image", "x").catch(() => {});
    for (let look = 0; look < 10; look++) await tick(50);
    assert.equal(FakeSocket.last.sentOf("message").length, 0);
    FakeSocket.last.bufferedAmount = 65_536;
    await tick(50);
    assert.equal(FakeSocket.last.sentOf("message").length, 1);
  });
});

describe("binary data", () => {
  const text = (part) => new TextDecoder().decode(part);

  /** Header and bytes of a binary frame. */
  async function read(blob) {
    const bytes = await blob.arrayBuffer();
    const end = 2 + new DataView(bytes).getUint16();
    return [JSON.parse(text(bytes.slice(2, end))), [...new Uint8Array(bytes.slice(end))]];
  }

  function binary(header, bytes) {
    const head = new TextEncoder().encode(JSON.stringify(header));
    return Uint8Array.from([head.length >> 8, head.length & 255, ...head, ...bytes]).buffer;
  }

  test("is sent behind a header, whatever it is in, and comes back as an ArrayBuffer", async () => {
    const { client } = make();
    client.start();
    FakeSocket.last.ready();
    const bytes = Uint8Array.from([0, 255, 128, 7]);
    const long = "n".repeat(300);
    for (const [data, expected] of [
      [new Blob([bytes]), [0, 255, 128, 7]],
      [bytes.buffer, [0, 255, 128, 7]],
      [bytes.subarray(1, 3), [255, 128]],
      [new DataView(bytes.buffer, 3), [7]],
      [new Blob([]), []],
    ]) {
      const answer = client.send(long, data);
      await settle();
      const [header, sent] = await read(FakeSocket.last.sent.at(-1));
      assert.deepEqual([header, sent], [{ type: "message", name: long, ref: header.ref }, expected]);
      FakeSocket.last.receive(binary({ type: "ok", ref: header.ref }, sent));
      const received = await answer;
      assert.ok(received instanceof ArrayBuffer);
      assert.deepEqual([...new Uint8Array(received)], expected);
    }
  });

  test("is emitted like anything else, and what is no frame is ignored", () => {
    const { client, heard } = make();
    const emitted = [];
    client.addEventListener("emitted", ({ detail }) => emitted.push([detail.name, [...new Uint8Array(detail.data)]]));
    client.start();
    FakeSocket.last.ready();
    const before = heard.length;
    FakeSocket.last.receive(binary({ type: "emitted", name: "stroke" }, [1, 2]));
    assert.deepEqual(emitted, [["stroke", [1, 2]]]);
    for (const junk of [new ArrayBuffer(0), new ArrayBuffer(1), Uint8Array.from([255, 255, 1]).buffer, binary(null, [])]) FakeSocket.last.receive(junk);
    assert.deepEqual([heard.length, client.status], [before, "live"]);
  });
});
