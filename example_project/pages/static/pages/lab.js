// What can be tried on the page Connection, beside what connection.js shows.

const element = document.querySelector("live-notify");
const $ = (id) => document.getElementById(id);
const on = (id, name, listener) => $(id).addEventListener(name, listener);

// Automatic: the server emits by itself.

document.addEventListener("live-notify:emitted:tick", ({ detail }) => { $("tick").textContent = detail.number; });
for (const [id, name] of [["ticks-start", "start"], ["ticks-stop", "stop"]]) {
  on(id, "click", () => element.client.send(name).catch((error) => { $("tick").textContent = error.message; }));
}

// Binary: the policy allows images from data:, not from blob:.

const MAX_BYTES = 512 * 1024;

function toDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

async function bounce(file) {
  const facts = $("image-facts");
  if (!file) return;
  if (!file.type.startsWith("image/") || file.size > MAX_BYTES) {
    facts.textContent = "Expected an image of at most 512 KiB.";
    return;
  }
  facts.textContent = "…";
  try {
    const began = performance.now();
    const bytes = await element.client.send("echo", file);
    facts.textContent = `${bytes.byteLength} bytes came back after ${(performance.now() - began).toFixed(1)} ms.`;
    $("image-back").src = await toDataUrl(new Blob([bytes], { type: file.type }));
    $("image-back").hidden = false;
  } catch (error) {
    facts.textContent = error.message;
  }
}

on("image", "change", ({ target }) => bounce(target.files[0]));
on("drop", "dragover", (event) => event.preventDefault());
on("drop", "drop", (event) => { event.preventDefault(); bounce(event.dataTransfer.files[0]); });

// Round trip.

const MAX_POINTS = 60;
let trips = [];
let timer = null;

function draw() {
  const top = Math.max(...trips, 1);
  const points = trips.map((trip, index) => `${(index * 300) / (MAX_POINTS - 1)},${98 - (trip / top) * 90}`);
  $("plot").querySelector("polyline").setAttribute("points", points.join(" "));
  $("plot-facts").textContent = `${trips.length} measured: last ${trips.at(-1).toFixed(1)} ms, longest ${top.toFixed(1)} ms`;
}

async function measure() {
  const began = performance.now();
  try {
    await element.client.send("echo", null);
    trips = [...trips, performance.now() - began].slice(-MAX_POINTS);
    draw();
  } catch (error) {
    $("plot-facts").textContent = error.message;
  }
  if (timer !== null) timer = setTimeout(measure, 1000);
}

on("plot-start", "click", () => { if (timer === null) { timer = 0; measure(); } });
on("plot-stop", "click", () => { clearTimeout(timer); timer = null; });

// Buffer.

const PIECE = 128 * 1024;
const PIECES = 32;
const AT_ONCE = 4;

async function fill() {
  let [left, sent, highest] = [PIECES, 0, 0];
  const look = setInterval(() => {
    $("meter").value = element.client.bufferedAmount;
    highest = Math.max(highest, element.client.bufferedAmount);
  }, 5);
  const send = async () => {
    while (left-- > 0) {
      const { bytes } = await element.client.send("measure", new Uint8Array(PIECE));
      sent += bytes; // not in one line: the others add meanwhile
      $("fill-facts").textContent = `${sent} bytes arrived; at most ${highest} were buffered.`;
    }
  };
  $("fill").disabled = true;
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, send));
  } catch (error) {
    $("fill-facts").textContent = error.message;
  }
  clearInterval(look);
  $("meter").value = element.client.bufferedAmount;
  $("fill").disabled = false;
}

on("fill", "click", fill);

// A socket of its own.

let socket = null;

function note(kind, text) {
  const entry = document.createElement("li");
  entry.className = kind;
  const [when, what, detail] = ["time", "b", "code"].map((name) => document.createElement(name));
  [when.textContent, what.textContent, detail.textContent] = [new Date().toLocaleTimeString(undefined, { hour12: false }), kind, text];
  entry.append(when, what, detail);
  $("own-log").prepend(entry);
}

function open() {
  const url = new URL(`${element.getAttribute("endpoint") ?? "/live-notify/"}socket/`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const protocol = $("subprotocol").value.trim();
  const opened = new WebSocket(url, protocol ? [protocol] : []);
  const say = (frame) => { opened.send(JSON.stringify(frame)); note("out", JSON.stringify(frame)); };
  opened.onopen = () => { note("status", `open, ${opened.protocol || "no subprotocol"}`); say({ type: "hello" }); };
  opened.onmessage = ({ data }) => {
    note("in", data);
    const frame = JSON.parse(data);
    if (frame.type === "ping" && $("pong").value) say({ type: "pong", cursor: frame.cursor });
  };
  opened.onclose = ({ code, reason, wasClean }) => note("close", `${code} ${reason} (${wasClean ? "clean" : "not clean"})`);
  return opened;
}

on("own", "submit", (event) => {
  event.preventDefault();
  try {
    socket?.close();
    socket = open();
  } catch (error) {
    note("error", error.message);
  }
});
on("own-close", "submit", (event) => {
  event.preventDefault();
  try {
    const [code, reason] = [Number($("code").value), $("reason").value];
    if (socket?.readyState === WebSocket.OPEN) {
      socket.close(code, reason);
      note("out", `close ${code} ${reason}`);
    }
  } catch (error) {
    note("error", error.message);
  }
});
