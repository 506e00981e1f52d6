// A chat over a topic. Its pages tell each other who is here; the server keeps nothing.

// Milliseconds
const HERE_EVERY = 2000;
const GONE_AFTER = 6000; // two of those may be lost
const TYPING_EVERY = 2000;
const TYPING_FOR = 4000;

const MAX_ENTRIES = 200;
const MAX_KNOWN = 1000;

const $ = (id) => document.getElementById(id);
const { user: me, maxLength } = $("room").dataset;
const list = new Intl.ListFormat("en");
const time = (at) => at.toLocaleTimeString(undefined, { timeStyle: "medium" });

const people = new Map(); // when each user was heard last
const typists = new Map();
const known = new Set(); // what is shown already
const outbox = []; // what no answer confirms yet, in its order
let sending = false;
let toldHere = 0;
let toldTyping = 0;
let arrived = false;
let lostAt = null;

await customElements.whenDefined("live-notify");
const { client } = document.querySelector("live-notify");

function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

/** Live regions speak whatever is set, even if it is as before. */
function show(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

// Who is here, and who types

function tell(name, data) {
  // Late, it would not be true any more.
  if (client.status === "live") client.send(name, data).catch(() => {});
}

function tellHere(data) {
  toldHere = Date.now();
  tell("chat.here", data);
}

function beat() {
  if (Date.now() - toldHere >= HERE_EVERY) tellHere();
}

function recent(map, milliseconds) {
  for (const [who, at] of map) if (at < Date.now() - milliseconds) map.delete(who);
  return [...map.keys()].sort();
}

function showPeople() {
  const here = recent(people, GONE_AFTER).map((who) => (who === me ? `${who} (you)` : who));
  if ([...$("people").children].map((item) => item.textContent).join() === here.join()) return;
  $("people").replaceChildren(...here.map((who) => element("li", who)));
}

function showTypists() {
  const typing = recent(typists, TYPING_FOR);
  show("typing", typing.length ? `${list.format(typing)} ${typing.length > 1 ? "are" : "is"} typing …` : "");
}

document.addEventListener("live-notify:emitted:chat.here", ({ detail: { who, ask } }) => {
  people.set(who, Date.now());
  showPeople();
  // Timers of hidden pages may fire once a minute; what arrives is heard at once.
  if (ask && Date.now() - toldHere > 100) tellHere();
  else beat();
});
document.addEventListener("live-notify:emitted:chat.typing", ({ detail: { who } }) => {
  if (who === me) return;
  typists.set(who, Date.now());
  showTypists();
});
$("text").addEventListener("input", () => {
  show("refused", "");
  if (!$("text").value || Date.now() - toldTyping < TYPING_EVERY) return;
  toldTyping = Date.now();
  tell("chat.typing");
});

// What is said

function keepInView(change, always) {
  const { scrollTop, clientHeight, scrollHeight } = $("log");
  const atEnd = scrollHeight - scrollTop - clientHeight < 40;
  change();
  if (atEnd || always) $("log").scrollTop = $("log").scrollHeight;
}

/** Put an entry where its time belongs: all pages have the same order, however it arrives. */
function add(entry, order) {
  entry.dataset.order = order;
  const before = [...$("said").children].findLast((other) => other.dataset.order <= order);
  if (before) before.after(entry);
  else $("said").prepend(entry);
  while ($("said").children.length > MAX_ENTRIES) $("said").firstElementChild.remove();
  $("empty").hidden = true;
}

/** Show what was said, once: it comes as an event, as an answer, and maybe again. */
function showSaid({ id, who, text, at }) {
  const key = `${who} ${id}`;
  if (known.has(key)) return;
  known.add(key);
  if (known.size > MAX_KNOWN) known.delete(known.values().next().value);
  const entry = element("li", "", who === me ? "mine" : "");
  entry.append(element("b", who), " ", element("time", time(new Date(at))), element("p", text));
  typists.delete(who);
  showTypists();
  keepInView(() => {
    document.getElementById(`out-${id}`)?.remove();
    add(entry, at);
  }, who === me);
}

document.addEventListener("live-notify:emitted:chat.said", ({ detail }) => showSaid(detail));

/** Send what waits. An answer that is lost says nothing: the same goes again, with the same id. */
async function flush() {
  if (sending) return;
  sending = true;
  while (outbox.length && client.status === "live") {
    const [message] = outbox;
    try {
      showSaid(await client.send("chat.say", message));
    } catch (error) {
      if (error.code === "lost") continue;
      document.getElementById(`out-${message.id}`)?.remove();
      refuse(error.message, message.text);
    }
    outbox.shift();
  }
  sending = false;
}

function refuse(why, text = "") {
  show("refused", `Not sent: ${why}`);
  $("text").value = [text, $("text").value].filter(Boolean).join(" ");
}

$("chat").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  const { length } = [...text];
  if (!length) return;
  if (length > maxLength) return refuse(`at most ${maxLength} characters; these are ${length}.`);
  // Not randomUUID(), which pages over plain HTTP do not have.
  const id = [...crypto.getRandomValues(new Uint32Array(4))].join("-");
  const entry = element("li", "", "mine waiting");
  entry.id = `out-${id}`;
  entry.append(element("p", text), element("small", "Waits to be sent"));
  keepInView(() => $("outgoing").append(entry), true);
  outbox.push({ id, text });
  $("text").value = "";
  toldTyping = 0;
  show("refused", "");
  flush();
});

addEventListener("beforeunload", (event) => {
  if (outbox.length) event.preventDefault();
});

// The connection

async function arrive() {
  try {
    // The client joins again by itself, what it has joined: the first time may have been lost.
    await client.join("chat");
  } catch (error) {
    if (error.code !== "lost") show("connection", error.message);
    return;
  }
  if (lostAt) {
    const gap = `No connection from ${time(lostAt)} to ${time(new Date())}: what was said then is missing here.`;
    keepInView(() => add(element("li", gap, "gap"), $("said").lastElementChild?.dataset.order ?? ""));
    lostAt = null;
  }
  arrived = true;
  show("connection", "");
  tellHere("ask");
  flush();
}

function look() {
  if (client.status === "live") return arrive();
  // Who is here is not known any more, and neither is who types.
  people.clear();
  typists.clear();
  showPeople();
  showTypists();
  if (arrived) lostAt ??= new Date();
  if (client.status === "stopped") show("connection", "The connection has ended. Reload the page, and sign in.");
  else if (arrived || client.status === "waiting") show("connection", "There is no connection. What you send goes when it is back.");
}

document.addEventListener("live-notify:status", look);
setInterval(() => {
  showPeople();
  showTypists();
  beat();
}, 500);
look();
