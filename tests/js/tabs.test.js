/** One socket for all tabs of a browser: who has it, what the others hear, and who takes over. */

import assert from "node:assert/strict";
import { beforeEach, describe, mock, test } from "node:test";

import { FakeSocket, makeBrowser, settle } from "./browser.js";
import { LiveNotify } from "../../django_live_notify/static/django_live_notify/live-notify.js";
import { support } from "../../django_live_notify/static/django_live_notify/live-notify-fallback.js";

const NOW = 1_000_000;

let browser;
let tabs;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: NOW });
  mock.restoreAll();
  mock.method(Math, "random", () => 0.999999);
  browser = makeBrowser();
  tabs = browser.share();
});

/** A tab, open and settled, with what it was told. */
async function open(options = {}) {
  const client = new LiveNotify({ endpoint: "/live-notify/", user: "7", csrfToken: "t", ...options });
  const tab = { client, titles: [], emitted: [], closes: [], resets: 0, states: [] };
  client.addEventListener("notification", ({ detail }) => tab.titles.push(detail.title));
  client.addEventListener("emitted", ({ detail }) => tab.emitted.push(detail.name));
  client.addEventListener("close", ({ detail }) => tab.closes.push(detail));
  client.addEventListener("state", ({ detail }) => tab.states.push(detail));
  client.addEventListener("reset", () => tab.resets++);
  support(client);
  client.start();
  tab.member = tabs.members.at(-1);
  await settle();
  return tab;
}

/** As many tabs, of which the first has the socket, which is ready. */
async function openAll(count, keys = {}) {
  const all = [await open()];
  await say(() => FakeSocket.last.ready({ cursor: "1.e.10", time: "T10", ...keys }));
  while (all.length < count) all.push(await open());
  return all;
}

async function say(act) {
  if (typeof act === "function") act();
  else FakeSocket.last.receive(act);
  await settle();
}

async function tick(milliseconds) {
  mock.timers.tick(milliseconds);
  await settle();
}

function items(...ids) {
  return { type: "notifications", items: ids.map((id) => ({ id, title: `n${id}`, tag: "" })), replay: false };
}

const statuses = (all) => all.map(({ client }) => client.status);
const PING = { type: "ping", cursor: "1.e.10" };

describe("one socket", () => {
  test("twenty tabs have one, and each tells each notification once", async () => {
    const all = await openAll(20);
    await say(items(11));
    assert.equal(FakeSocket.all.length, 1);
    for (const { client, titles } of all) {
      assert.deepEqual([client.status, client.transport, client.unread, titles], ["live", "websocket", 1, ["n11"]]);
    }
    assert.deepEqual(all.map(({ client }) => client.leading), [true, ...Array(19).fill(false)]);
  });

  test("tabs that open before there is a connection wait for that of the first", async () => {
    const all = [await open(), await open(), await open()];
    assert.deepEqual([FakeSocket.all.length, ...statuses(all)], [1, "connecting", "connecting", "connecting"]);
    await tick(9_000);
    await say(() => FakeSocket.last.ready());
    assert.deepEqual([FakeSocket.all.length, ...statuses(all)], [1, "live", "live", "live"]);
  });

  test("without locks each tab has its own", async () => {
    delete globalThis.navigator.locks;
    await openAll(3);
    assert.equal(FakeSocket.all.length, 3);
  });

  test("another user has another, and hears nothing of this one's", async () => {
    const [alice] = await openAll(1);
    const bob = await open({ user: "8" });
    assert.equal(FakeSocket.all.length, 2);
    const [hers, his] = FakeSocket.all;
    his.ready({ user: "8" });
    hers.receive(items(11));
    his.receive(items(12));
    await settle();
    assert.deepEqual([alice.titles, bob.titles], [["n11"], ["n12"]]);
  });

  test("beats are answered once, and keep every tab alive", async () => {
    const all = await openAll(3);
    for (let beat = 0; beat < 4; beat++) {
      await tick(25_000);
      await say({ type: "ping", cursor: `1.e.${20 + beat}` });
    }
    assert.equal(FakeSocket.last.sentOf("pong").length, 4);
    assert.deepEqual(statuses(all), ["live", "live", "live"]);
    assert.deepEqual(all.map(({ client }) => client.cursor), Array(3).fill("1.e.23"));
  });

  test("where the first tab polls, no other does", async () => {
    browser.answer = () => ({ items: [], states: [], unread: 2, reset: false, cursor: "1.e.5", next: 5 });
    const all = [await open()];
    await say(() => FakeSocket.last.end());
    all.push(await open());
    assert.deepEqual(all.map(({ client }) => [client.transport, client.unread]), [["poll", 2], ["poll", 2]]);
    browser.answer = () => ({ items: items(6).items, states: [], unread: 3, reset: false, cursor: "1.e.6", next: 5 });
    const polls = browser.requests.length;
    await tick(5_000);
    await tick(1_000);
    await say(() => FakeSocket.last.end());
    assert.equal(browser.requests.length, polls + 1);
    assert.deepEqual(all.map(({ titles, client }) => [titles, client.unread]), [[["n6"], 3], [["n6"], 3]]);
  });
});

describe("taking over", () => {
  test("from a tab that is closed, at once and without loss", async () => {
    const [first, ...rest] = await openAll(5);
    await say(items(11));
    first.client.handleEvent({ type: "pagehide" });
    await settle();
    assert.equal(FakeSocket.all.length, 2);
    assert.deepEqual(statuses(rest), Array(4).fill("connecting"));
    FakeSocket.last.open();
    assert.equal(FakeSocket.last.sent[0].cursor, "1.e.10");
    FakeSocket.last.receive({ type: "ready", unread: 2, heartbeat: 25 });
    await say({ ...items(11, 12), replay: true, cursor: "1.e.12" });
    await say(items(13));
    for (const { client, titles } of rest) {
      assert.deepEqual([client.status, titles, client.cursor], ["live", ["n11", "n12", "n13"], "1.e.12"]);
    }
    assert.equal(rest.filter(({ client }) => client.leading).length, 1);
  });

  test("from a tab that crashes, which says nothing", async () => {
    const [first, ...rest] = await openAll(3);
    tabs.crash(first.member);
    await settle();
    await say(() => FakeSocket.last.ready({ cursor: "1.e.10" }));
    await say(items(11));
    assert.deepEqual(rest.map(({ titles }) => titles), [["n11"], ["n11"]]);
    assert.equal(FakeSocket.all.length, 2);
  });

  test("from a tab that freezes, which follows when it thaws and is told what it missed", async () => {
    const [first, second] = await openAll(2);
    await say(items(11));
    first.client.handleEvent({ type: "freeze" });
    await settle();
    await say(() => FakeSocket.last.ready({ cursor: "1.e.11" }));
    await say(items(12));
    await say({ type: "state", action: "read", ids: [12] });
    await say({ type: "unread", unread: 1 });
    assert.deepEqual([first.titles, second.titles], [["n11"], ["n11", "n12"]]);
    first.client.handleEvent({ type: "resume" });
    await settle();
    assert.deepEqual([first.client.status, first.client.leading, FakeSocket.all.length], ["live", false, 2]);
    assert.deepEqual([first.titles, first.client.unread, first.client.cursor], [["n11", "n12"], 1, "1.e.11"]);
    assert.deepEqual(first.states.map(({ action, ids }) => [action, ids]), [["read", [12]]]);
  });

  test("an unanswered change is repeated by HTTP, an unanswered message is not", async () => {
    const [first, second] = await openAll(2);
    browser.answer = () => ({ unread: 0 });
    const read = second.client.markRead(3);
    const approved = second.client.act(4, "approve");
    const message = assert.rejects(second.client.send("pay", 5), { code: "lost" });
    await settle();
    tabs.crash(first.member);
    await settle();
    await Promise.all([read, approved, message]);
    assert.deepEqual(browser.requests.map(({ url, body }) => [url.pathname, body]), [
      ["/live-notify/read/", { ids: [3] }],
      ["/live-notify/action/", { id: 4, name: "approve" }],
    ]);
    assert.deepEqual(FakeSocket.last.sentOf("message"), []);
  });

  test("a tab that stops by itself stops alone", async () => {
    const [first, second] = await openAll(2);
    first.client.stop();
    await settle();
    await say(() => FakeSocket.last.ready());
    assert.deepEqual([statuses([first, second]), second.client.leading], [["stopped", "live"], true]);
  });
});

describe("a tab that follows", () => {
  test("is told what came while its page was away, from the others' memory", async () => {
    const [first, second] = await openAll(2);
    second.client.handleEvent({ type: "pagehide" });
    await say(items(11, 12));
    await say({ type: "retracted", ids: [11] });
    second.client.handleEvent({ type: "pageshow" });
    await settle();
    assert.deepEqual([first.titles, second.titles], [["n11", "n12"], ["n11", "n12"]]);
    assert.equal(browser.requests.length, 0);
  });

  test("opened late tells only what is new to the browser", async () => {
    const [first] = await openAll(1);
    await say(items(11));
    await say({ type: "ping", cursor: "1.e.11", time: "T11" });
    const late = await open();
    await say(items(12));
    assert.deepEqual([first.titles, late.titles, late.resets], [["n11", "n12"], ["n12"], 0]);
  });

  test("opened late is not told again what the browser has known for long", async () => {
    await openAll(1);
    await say(items(11));
    await say({ type: "state", action: "read", ids: [11] });
    await say({ type: "ping", cursor: "1.e.11", time: "T11" });
    await say({ type: "state", action: "archive", ids: [11] });
    const late = await open();
    assert.deepEqual(late.states.map(({ action }) => action), ["archive"]);
  });

  test("that missed a broadcast notices by the next, and catches up", async () => {
    const [, second, third] = await openAll(3);
    second.member.muted = true;
    await say(items(11));
    second.member.muted = false;
    await say({ type: "ping", cursor: "1.e.11" });
    assert.deepEqual([second.titles, third.titles], [["n11"], ["n11"]]);
    assert.deepEqual([second.client.status, second.client.cursor, second.resets], ["live", "1.e.11", 0]);
  });

  test("tells a late commit that it missed, although its cursor is beyond", async () => {
    const [, second] = await openAll(2, { cursor: "1.e.20" });
    second.member.muted = true;
    await say(items(15));
    second.member.muted = false;
    await say({ type: "ping", cursor: "1.e.20" });
    assert.deepEqual(second.titles, ["n15"]);
  });

  test("and is further behind than the others remember starts afresh", async () => {
    const [, second] = await openAll(2);
    browser.answer = () => ({ items: items(400).items, next: null, unread: 7 });
    second.client.handleEvent({ type: "freeze" });
    for (let id = 11; id < 250; id++) await say(items(id));
    await say({ type: "ping", cursor: "1.e.249" });
    for (let id = 250; id < 460; id++) FakeSocket.last.receive(items(id));
    await say({ type: "unread", unread: 7 });
    second.client.handleEvent({ type: "resume" });
    await settle();
    assert.deepEqual([second.resets, second.titles, second.client.cursor], [1, [], "1.e.249"]);
    assert.equal(second.client.unread, 7);
    await say(items(460));
    assert.deepEqual(second.titles, ["n460"]);
  });

  test("and knows only the log that was replaced starts afresh", async () => {
    const [, second] = await openAll(2);
    second.client.handleEvent({ type: "freeze" });
    browser.answer = () => ({ items: [], next: null, unread: 0 });
    await say(() => FakeSocket.last.end());
    await tick(2_000);
    await say(() => FakeSocket.last.ready({ reset: true, cursor: "1.f.5" }));
    second.client.handleEvent({ type: "resume" });
    await settle();
    assert.deepEqual([second.resets, second.client.cursor], [1, "1.f.5"]);
  });

  test("and missed changes that nobody remembers starts afresh, too", async () => {
    const [, second] = await openAll(2);
    browser.answer = () => ({ items: [], next: null, unread: 0 });
    second.client.handleEvent({ type: "freeze" });
    await say({ type: "state", action: "read", ids: [1] });
    await say({ type: "ping", cursor: "1.e.10", time: "T11" });
    for (let id = 2; id < 210; id++) FakeSocket.last.receive({ type: "state", action: "read", ids: [id] });
    second.client.handleEvent({ type: "resume" });
    await settle();
    assert.equal(second.resets, 1);
  });

  test("waits while the connection is lost, and asks for it when somebody looks", async () => {
    const all = await openAll(3);
    await say(() => FakeSocket.last.end());
    assert.deepEqual(statuses(all), ["waiting", "waiting", "waiting"]);
    assert.deepEqual(all.map(({ closes }) => closes.map(({ code }) => code)), [[1006], [1006], [1006]]);
    all[2].client.handleEvent({ type: "focus" });
    await settle();
    assert.deepEqual([FakeSocket.all.length, ...statuses(all)], [2, "connecting", "connecting", "connecting"]);
    await say(() => FakeSocket.last.ready());
    assert.deepEqual(statuses(all), ["live", "live", "live"]);
  });

  test("does not wait for ever for a hidden tab's slow timers", async () => {
    const all = await openAll(2);
    FakeSocket.last.receive({ type: "bye", code: 4000, reason: "Restarting.", after: [600, 600] });
    await settle();
    assert.deepEqual(statuses(all), ["waiting", "waiting"]);
    await tick(60_000);
    assert.equal(FakeSocket.all.length, 2);
  });

  test("stops with the others, and hears why", async () => {
    const all = await openAll(3);
    FakeSocket.last.receive({ type: "bye", code: 4511, reason: "Logged out.", retry: false });
    await settle();
    assert.deepEqual(statuses(all), ["stopped", "stopped", "stopped"]);
    for (const { closes } of all) {
      assert.deepEqual(closes, [{ code: 4511, reason: "Logged out.", wasClean: true, verdict: "stop" }]);
    }
    assert.equal(FakeSocket.all.length, 1);
  });
});

describe("a leader that hangs", () => {
  test("is noticed by its silence, and left alone until it is heard again", async () => {
    const [first, second] = await openAll(2);
    tabs.hang(first.member);
    await tick(35_000);
    // The leader's own clock runs here as well; what counts is what the other does.
    const own = FakeSocket.all.at(-1);
    assert.equal(second.client.status, "connecting");
    assert.equal(second.client.leading, false);
    await say(() => own.ready({ cursor: "1.e.10" }));
    await say(() => own.receive(items(11)));
    assert.deepEqual([second.titles, second.client.status], [["n11"], "live"]);
    tabs.wakeUp(first.member);
    first.client.handleEvent({ type: "focus" });
    await settle();
    await say(() => FakeSocket.last.ready({ cursor: "1.e.10" }));
    assert.deepEqual([own.readyState, second.client.status, first.client.leading], [3, "live", true]);
    await say(items(11, 12));
    assert.deepEqual([first.titles, second.titles], [["n11", "n12"], ["n11", "n12"]]);
  });

  test("does not keep a new tab waiting", async () => {
    const [first] = await openAll(1);
    tabs.hang(first.member);
    const late = await open();
    await tick(5_000);
    assert.equal(FakeSocket.all.length, 2);
    await say(() => FakeSocket.last.ready());
    assert.equal(late.client.status, "live");
  });

  test("is asked for a sign of life by whoever looks at another tab", async () => {
    const [first, second] = await openAll(2);
    second.client.handleEvent({ type: "focus" });
    await settle();
    await tick(6_000);
    assert.equal(FakeSocket.all.length, 1);
    tabs.hang(first.member);
    second.client.handleEvent({ type: "focus" });
    await tick(5_000);
    assert.equal(FakeSocket.all.length, 2);
  });

  test("has the others back with the first word that it says", async () => {
    const [first, second] = await openAll(2);
    const [socket] = FakeSocket.all;
    tabs.hang(first.member);
    second.client.handleEvent({ type: "focus" });
    await tick(5_000);
    const own = FakeSocket.last;
    await say(() => own.ready({ cursor: "1.e.10" }));
    tabs.wakeUp(first.member);
    await say(() => socket.receive(PING));
    assert.deepEqual([own.readyState, socket.readyState, FakeSocket.all.length], [3, 1, 2]);
    await say(() => socket.receive(items(11)));
    assert.deepEqual([first.titles, second.titles, second.client.status], [["n11"], ["n11"], "live"]);
  });

  test("and dies hands over to one that has a socket already", async () => {
    const [first, second, third] = await openAll(3);
    tabs.hang(first.member);
    second.client.handleEvent({ type: "focus" });
    await tick(5_000);
    await say(() => FakeSocket.last.ready({ cursor: "1.e.10" }));
    tabs.crash(first.member);
    await settle();
    assert.deepEqual([FakeSocket.all.length, second.client.leading, ...statuses([second, third])], [2, true, "live", "live"]);
    await say(items(11));
    assert.deepEqual([second.titles, third.titles], [["n11"], ["n11"]]);
  });
});

describe("commands", () => {
  test("of other tabs go through the socket, and answers come back", async () => {
    const [, second, third] = await openAll(3);
    const answers = [second.client.send("a", 1), third.client.send("b", 2)];
    await settle();
    const [a, b] = FakeSocket.last.sentOf("message");
    assert.deepEqual([a.name, a.data, b.name, b.data], ["a", 1, "b", 2]);
    await say({ type: "error", ref: b.ref, code: "invalid", message: "no" });
    await say({ type: "ok", ref: a.ref, data: "one" });
    assert.equal(await answers[0], "one");
    await assert.rejects(answers[1], { code: "invalid", message: "no" });
    assert.deepEqual(browser.requests, []);
  });

  test("an action of another tab goes through the socket, and every tab is told what was done", async () => {
    const all = await openAll(3);
    const approved = all[1].client.act(3, "approve");
    await settle();
    const [{ id, name, ref }] = FakeSocket.last.sentOf("action");
    assert.deepEqual([id, name], [3, "approve"]);
    await say({ type: "state", action: "action", ids: [3], name: "approve" });
    await say({ type: "ok", ref });
    await approved;
    assert.deepEqual(all.map(({ states }) => states.map((state) => [state.action, state.ids, state.name])), Array(3).fill([["action", [3], "approve"]]));
    const rejected = all[2].client.act(3, "reject");
    await settle();
    await say({ type: "error", ref: FakeSocket.last.sentOf("action")[1].ref, code: "done", message: "No." });
    await assert.rejects(rejected, { code: "done", message: "No." });
    assert.deepEqual(browser.requests, []);
  });

  test("an action of another tab is carried out by POST where the leader polls, and told to every tab", async () => {
    browser.answer = ({ method }) => (method === "POST" ? { unread: 1 } : { items: [], states: [], unread: 2, reset: false, cursor: "1.e.5", next: 5 });
    const all = [await open()];
    await say(() => FakeSocket.last.end());
    all.push(await open(), await open());
    await all[1].client.act(3, "approve");
    await settle();
    const told = [["read", [3], undefined], ["action", [3], "approve"]];
    assert.deepEqual(all.map(({ states }) => states.map(({ action, ids, name }) => [action, ids, name])), Array(3).fill(told));
    const posts = browser.requests.filter(({ method }) => method === "POST");
    assert.deepEqual(posts.map(({ url, body }) => [url.pathname, body]), [["/live-notify/action/", { id: 3, name: "approve" }]]);
    assert.deepEqual(all.map(({ client }) => client.unread), [1, 1, 1]);
  });

  test("of other tabs wait for the connection, too", async () => {
    await open();
    const second = await open();
    const answer = second.client.send("a", 1);
    await say(() => FakeSocket.last.ready());
    await tick(50);
    const [{ ref }] = FakeSocket.last.sentOf("message");
    await say({ type: "ok", ref, data: 2 });
    assert.equal(await answer, 2);
  });

  test("with binary data go through, and are counted until they are answered", async () => {
    const [, second] = await openAll(2);
    const answer = second.client.send("image", new Blob([new Uint8Array(70_000)]));
    const next = second.client.send("after it");
    await settle();
    assert.ok(second.client.bufferedAmount > 70_000);
    await tick(50);
    assert.equal(FakeSocket.last.sent.at(-1).size > 70_000, true);
    const header = JSON.parse(await FakeSocket.last.sent.at(-1).slice(2, -70_000).text());
    await say({ type: "ok", ref: header.ref, data: "got it" });
    assert.equal(await answer, "got it");
    await tick(50);
    const [{ name, ref }] = FakeSocket.last.sentOf("message");
    assert.equal(name, "after it");
    await say({ type: "ok", ref });
    await next;
    assert.equal(second.client.bufferedAmount, 0);
  });

  test("that come when the connection is lost are not carried out later", async () => {
    const [, second] = await openAll(2);
    FakeSocket.last.end();
    second.member.postMessage({ from: "x", frame: { type: "message", name: "pay", data: 5, ref: 1 } });
    await settle();
    await tick(2_000);
    await say(() => FakeSocket.last.ready());
    await tick(1_000);
    assert.deepEqual([FakeSocket.all.length, FakeSocket.last.sentOf("message")], [2, []]);
  });

  test("whose connection is lost fail in every tab", async () => {
    const [, second] = await openAll(2);
    const lost = assert.rejects(second.client.send("a"), { code: "lost" });
    await settle();
    await say(() => FakeSocket.last.end());
    await lost;
  });
});

describe("topics", () => {
  async function join(tab, topic) {
    const joined = tab.client.join(topic);
    await settle();
    await say({ type: "ok", ref: FakeSocket.last.sentOf("join").at(-1).ref });
    await joined;
  }

  const emitted = (topic, name) => ({ type: "emitted", name, data: null, topic, joined: true });

  test("are joined for the browser and heard by the tabs that joined them", async () => {
    const [first, second, third] = await openAll(3);
    await join(second, "room");
    await join(third, "room");
    await say(emitted("room", "typing"));
    assert.deepEqual([first.emitted, second.emitted, third.emitted], [[], ["typing"], ["typing"]]);
    await say({ type: "emitted", name: "to the user", data: null });
    await say({ type: "emitted", name: "to a follower", data: null, topic: "room" });
    assert.deepEqual(first.emitted, ["to the user", "to a follower"]);
  });

  test("are left when the last tab leaves them or goes", async () => {
    const [, second, third] = await openAll(3);
    await join(second, "room");
    await join(third, "room");
    await second.client.leave("room");
    await settle();
    await say(emitted("room", "typing"));
    assert.deepEqual([second.emitted, third.emitted], [[], ["typing"]]);
    assert.equal(FakeSocket.last.sentOf("leave").length, 0);
    third.client.handleEvent({ type: "pagehide" });
    await settle();
    assert.deepEqual(FakeSocket.last.sentOf("leave").map(({ topic }) => topic), ["room"]);
  });

  test("go along to the next leader", async () => {
    const [first, second, third] = await openAll(3);
    await join(second, "mine");
    await join(third, "theirs");
    tabs.crash(first.member);
    await settle();
    await say(() => FakeSocket.last.ready());
    assert.deepEqual(FakeSocket.last.sent[0].join, ["mine"]);
    assert.deepEqual(FakeSocket.last.sentOf("join").map(({ topic }) => topic), ["theirs"]);
    await say(emitted("theirs", "typing"));
    assert.deepEqual([second.emitted, third.emitted], [[], ["typing"]]);
    await say(() => FakeSocket.last.end());
    await tick(2_000);
    FakeSocket.last.open();
    assert.deepEqual(FakeSocket.last.sent[0].join, ["mine", "theirs"]);
  });
});
