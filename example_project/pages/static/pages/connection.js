// Shows what the client tells: its events bubble from <live-notify> to the document.

const element = document.querySelector("live-notify");
const show = (id, text) => { document.getElementById(id).textContent = text; };
const time = () => new Date().toLocaleTimeString(undefined, { hour12: false });
const MAX_ENTRIES = 200;

let sentAt = null;

function log(kind, text) {
  const entry = document.createElement("li");
  entry.className = kind;
  const [when, what, detail] = ["time", "b", "code"].map((name) => document.createElement(name));
  [when.textContent, what.textContent, detail.textContent] = [time(), kind, text];
  entry.append(when, what, detail);
  const list = document.getElementById("log");
  list.prepend(entry);
  while (list.children.length > MAX_ENTRIES) list.lastChild.remove();
}

function showFacts() {
  const { client } = element;
  const status = document.getElementById("status");
  status.textContent = status.dataset.status = client.status;
  show("transport", client.transport ?? "–");
  show("unread", client.unread);
  show("buffered", client.bufferedAmount);
}

document.addEventListener("live-notify:status", ({ detail }) => {
  log("status", `${detail.previous} → ${detail.status}`);
  showFacts();
});
document.addEventListener("live-notify:close", ({ detail }) => {
  log("close", `${detail.code} ${detail.reason} (${detail.verdict})`);
  show("close", `${detail.code} ${detail.reason}`.trim());
});
document.addEventListener("live-notify:error", ({ detail }) => log("error", detail.message));
document.addEventListener("live-notify:notification", ({ detail }) => log("event", `notification ${detail.id}: ${detail.title}`));
document.addEventListener("live-notify:unread", showFacts);
document.addEventListener("live-notify:frame", ({ detail: { direction, frame } }) => {
  log(direction, JSON.stringify(frame));
  if (frame.type === "ping") show("beat", time());
  if (direction === "out" && frame.type === "message") sentAt = performance.now();
  if (direction === "in" && (frame.type === "ok" || frame.type === "error") && sentAt !== null) {
    show("roundtrip", `${(performance.now() - sentAt).toFixed(1)} ms`);
    sentAt = null;
  }
  showFacts();
});

document.getElementById("start").addEventListener("click", () => element.client.start());
document.getElementById("stop").addEventListener("click", () => element.client.stop());
document.getElementById("clear").addEventListener("click", () => document.getElementById("log").replaceChildren());
document.getElementById("send").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = document.getElementById("answer");
  answer.className = "";
  answer.textContent = "…";
  try {
    const data = JSON.parse(document.getElementById("data").value || "null");
    const name = document.getElementById("name").value;
    answer.textContent = JSON.stringify(await element.client.send(name, data), null, 2);
  } catch (error) {
    answer.className = "error";
    answer.textContent = error instanceof SyntaxError ? `This is not JSON: ${error.message}` : `${error.code}: ${error.message}`;
  }
});

// This script comes before the client's; its listeners were to hear the beginning.
await customElements.whenDefined("live-notify");
showFacts();
