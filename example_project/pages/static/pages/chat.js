// A chat over a topic. Its pages tell each other who is here; the server keeps nothing.

const HERE_EVERY = 10_000; // milliseconds
const GONE_AFTER = 25_000; // two of those may be lost
const TYPING_EVERY = 2000;
const TYPING_FOR = 4000;
const MAX_ENTRIES = 200;

const $ = (id) => document.getElementById(id);
const people = new Map();
const typists = new Map();
let told = 0;

await customElements.whenDefined("live-notify");
const { client } = document.querySelector("live-notify");
const refused = (error) => { $("refused").textContent = error.message; };
const tell = (name, data) => client.send(name, data).catch(refused);

function names(map, since) {
  for (const [who, at] of map) if (at < Date.now() - since) map.delete(who);
  return [...map.keys()].sort().join(", ");
}

function show() {
  $("people").textContent = names(people, GONE_AFTER) || "–";
  const who = names(typists, TYPING_FOR);
  $("typing").textContent = who && `Typing: ${who}`;
}

document.addEventListener("live-notify:emitted:chat.here", ({ detail }) => {
  people.set(detail.who, Date.now());
  if (detail.ask) tell("chat.here");
  show();
});
document.addEventListener("live-notify:emitted:chat.typing", ({ detail }) => {
  typists.set(detail.who, Date.now());
  show();
});
document.addEventListener("live-notify:emitted:chat.said", ({ detail }) => {
  typists.delete(detail.who);
  const entry = document.createElement("li");
  const [when, who, text] = ["time", "b", "span"].map((name) => document.createElement(name));
  [when.textContent, who.textContent, text.textContent] = [new Date().toLocaleTimeString(undefined, { hour12: false }), detail.who, detail.text];
  entry.append(when, who, text);
  $("said").append(entry);
  while ($("said").children.length > MAX_ENTRIES) $("said").firstChild.remove();
  entry.scrollIntoView({ block: "nearest" });
  show();
});

$("text").addEventListener("input", () => {
  if (Date.now() - told < TYPING_EVERY) return;
  told = Date.now();
  tell("chat.typing");
});
$("chat").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("refused").textContent = "";
  try {
    await client.send("chat.say", $("text").value);
    $("text").value = "";
    told = 0;
  } catch (error) {
    refused(error);
  }
});

setInterval(show, 1000);
setInterval(() => tell("chat.here"), HERE_EVERY);
await client.join("chat").catch(refused);
tell("chat.here", "ask");
