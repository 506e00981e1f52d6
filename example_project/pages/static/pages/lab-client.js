// Shows what the client tells: its events bubble from <live-notify> to the document.

const element = document.querySelector("live-notify");
const $ = (id) => document.getElementById(id);
const show = (id, text) => { $(id).textContent = text; };
const on = (name, listener) => document.addEventListener(`live-notify:${name}`, (event) => listener(event.detail));
const log = (kind, text) => $("log").add(kind, text);

// Facts and events

function showFacts() {
  const { client } = element;
  $("status").textContent = $("status").dataset.status = client.status;
  show("transport", client.transport ?? "–");
  show("leading", !client.transport ? "–" : client.leading || !navigator.locks ? "this tab" : "another tab");
  show("unread", client.unread);
  show("buffered", client.bufferedAmount);
  $("running").offer(client.status === "stopped" ? "start" : "stop");
}

/** As JSON; of bytes, their number. */
function write(frame) {
  return JSON.stringify(frame, (key, value) => {
    const size = value instanceof Blob ? value.size : value?.byteLength;
    return size === undefined ? value : `${size} bytes`;
  });
}

on("status", ({ status, previous }) => {
  log("status", `${previous} → ${status}`);
  showFacts();
});
on("close", ({ code, reason, wasClean, verdict }) => {
  log("close", `${code} ${reason} (${wasClean ? "clean" : "not clean"}, ${verdict})`);
  show("close", `${code} ${reason}`.trim());
});
on("error", ({ message }) => log("error", message));
on("notification", ({ id, title }) => log("event", `notification ${id}: ${title}`));
on("emitted", ({ name }) => log("event", `emitted ${name}`));
on("unread", showFacts);
on("frame", ({ direction, frame }) => {
  log(direction, write(frame));
  if (frame.type === "ping") show("beat", new Date().toLocaleTimeString(undefined, { hour12: false }));
  showFacts();
});

$("start").addEventListener("click", () => element.client.start());
$("stop").addEventListener("click", () => element.client.stop());
$("clear").addEventListener("click", () => $("log").clear());

// The last minute, and the waits of a reconnection

const MINUTE = 60_000;
const SVG = "http://www.w3.org/2000/svg";
let states = [];
let attempts = 0; // since it was live
let lostAt = null;

const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(1)} s`;

on("status", ({ status, previous }) => {
  const now = performance.now();
  const since = states.at(-1)?.at ?? now;
  states.push({ status, at: now });
  if (status === "stopped" || (status === "connecting" && previous === "stopped")) lostAt = null;
  else if (previous === "live") lostAt = now;
  if (status === "connecting") {
    attempts += 1;
    const waited = previous === "waiting" ? ` after a wait of ${seconds(now - since)}` : "";
    $("waits").add("try", `attempt ${attempts}${waited}`);
  } else if (status === "waiting" && previous === "connecting") $("waits").add("lost", `failed after ${seconds(now - since)}`);
  else if (status === "waiting") $("waits").add("lost", "the connection is lost");
  else if (status === "live") {
    $("waits").add("live", lostAt === null ? "connected" : `connected, after ${seconds(now - lostAt)} without`);
    [attempts, lostAt] = [0, null];
  }
  tick();
});

function tick() {
  const now = performance.now();
  const { status, leading } = element.client;
  const since = states.at(-1)?.at ?? now;
  const pulled = $("pull").disabled;
  const cable = `The cable is ${pulled ? "pulled" : "plugged in"}.${pulled && !leading && navigator.locks ? " Another tab has the socket, and feeds this one past it." : ""}`;
  show("waiting", status === "live" || status === "stopped" ? cable : `${cable} The client is ${status}: ${seconds(now - since)}, ${attempts} attempts.`);
  states = states.filter((_, index) => (states[index + 1]?.at ?? now) > now - MINUTE);
  $("strip").replaceChildren(...states.map(({ status, at }, index) => {
    const left = Math.max(0, 600 - (now - at) / 100);
    const right = 600 - (now - (states[index + 1]?.at ?? now)) / 100;
    const part = document.createElementNS(SVG, "rect");
    for (const [name, value] of Object.entries({ x: left, y: 0, width: Math.max(right - left, 1), height: 20, class: status })) {
      part.setAttribute(name, value);
    }
    return part;
  }));
}

// This script comes before the client's; its listeners were to hear the beginning.
await customElements.whenDefined("live-notify");
showFacts();
setInterval(tick, 250);
