// The same pushes by each transport of docs/protocol.md: how many bytes, and how late.

const element = document.querySelector("live-notify");
const $ = (id) => document.getElementById(id);
const endpoint = new URL(element.getAttribute("endpoint") ?? "/live-notify/", location.href);

const NAMES = { poll: "Poll", held: "Held poll", stream: "Event stream", socket: "WebSocket" };

// Milliseconds
const PACE = 500; // between two pushes
const READY = 15_000; // a proxy may buffer a stream for ever
const LATE = 35_000; // for the last push: a poll each 30 s, and what it takes

// Seconds, the most that a server holds a poll.
const HELD = 25;

// Bytes of the answer to a handshake, which pages do not see.
const HANDSHAKE = 200;

const sleep = (milliseconds, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, milliseconds);
  signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); });
});

// Each listens until its signal, and says when it is `ready`, what it `hears`, and what it `counts`.

/** A poll each interval; with `wait`, one after the other, held by the server. */
async function poll({ ready, hears, counts, signal, interval }, wait = 0) {
  const place = wait ? { wait, known: "" } : {};
  while (!signal.aborted) {
    const response = await get("poll/", place, signal);
    const text = await response.text();
    counts(headersOf(response) + bytesOf(text), 1);
    const { items, states, cursor, time, known, next } = JSON.parse(text);
    hears(items);
    for (const frame of states) hears(frame.items);
    Object.assign(place, { cursor, since: time }, wait && { known });
    ready();
    // A server that holds nothing says when to come back.
    await sleep(wait ? next * 1_000 : interval, signal);
  }
}

async function stream({ ready, hears, counts, signal }) {
  const response = await get("events/", {}, signal);
  counts(headersOf(response), 1);
  const decoder = new TextDecoder();
  let text = "";
  for (const reader = response.body.getReader(); ; ) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The stream ended.");
    counts(value.byteLength);
    const lines = (text + decoder.decode(value, { stream: true })).split("\n");
    text = lines.pop();
    for (const line of lines) if (line.startsWith("data:")) hear(JSON.parse(line.slice(5)), ready, hears);
  }
}

function socket({ ready, hears, counts, signal }) {
  return new Promise((_, reject) => {
    const url = new URL("socket/", endpoint);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, "live-notify.v1");
    const say = (frame) => socket.send(JSON.stringify(frame));
    signal.addEventListener("abort", () => socket.close(1000));
    socket.onopen = () => { counts(HANDSHAKE, 1); say({ type: "hello" }); };
    socket.onmessage = ({ data }) => {
      const size = bytesOf(data);
      counts(size + (size < 126 ? 2 : size < 65_536 ? 4 : 10));
      const frame = JSON.parse(data);
      if (frame.type === "ping") say({ type: "pong", cursor: frame.cursor });
      hear(frame, ready, hears);
    };
    socket.onclose = ({ code, reason }) => reject(new Error(`close ${code} ${reason}`.trim()));
  });
}

const TRANSPORTS = { poll, held: (ears) => poll(ears, HELD), stream, socket };

function hear(frame, ready, hears) {
  if (frame.type === "ready") ready();
  if (frame.type === "bye") throw new Error(frame.reason);
  hears(frame.items);
}

const bytesOf = (text) => new TextEncoder().encode(text).length;

/** The status line and each header, as HTTP/1.1 writes them. */
function headersOf(response) {
  return [...response.headers].reduce((sum, [name, value]) => sum + name.length + value.length + 4, 19);
}

async function get(path, query, signal) {
  const url = new URL(path, endpoint);
  for (const key in query) if (query[key] !== undefined) url.searchParams.set(key, query[key]);
  return check(await fetch(url, { signal, cache: "no-store" }));
}

/** Say something to the site's function, by HTTP whatever the transport is. */
async function tell(name, data = null) {
  const headers = { "Content-Type": "application/json", "X-CSRFToken": element.getAttribute("csrf-token") };
  await check(await fetch(new URL("message/", endpoint), { method: "POST", headers, body: JSON.stringify({ name, data }) }));
}

async function check(response) {
  if (response.ok) return response;
  const { message = response.statusText } = await response.json().catch(() => ({}));
  throw new Error(`${response.status}: ${message}`);
}

/** Push, and return what came: the milliseconds of each push that was seen, bytes and requests. */
async function measure(name, { pushes, interval, stopped }) {
  const over = new AbortController();
  const signal = AbortSignal.any([over.signal, stopped]);
  const run = crypto.randomUUID?.() ?? String(Math.random());
  const sent = new Map();
  const took = new Map();
  const result = { bytes: 0, requests: 0, took, pushes };
  let allSeen;
  const complete = new Promise((resolve) => { allSeen = resolve; });
  const hears = (items = []) => {
    for (const { data } of items) {
      if (data?.run !== run || took.has(data.number)) continue;
      took.set(data.number, performance.now() - sent.get(data.number));
      if (took.size === pushes) allSeen();
    }
  };
  const counts = (bytes, requests = 0) => {
    result.bytes += bytes;
    result.requests += requests;
  };
  try {
    let failing;
    const isReady = new Promise((ready) => {
      failing = TRANSPORTS[name]({ ready, hears, counts, signal, interval });
    });
    failing.catch(() => {}); // it ends with an error when it is over, too
    const cancelled = new Promise((_, reject) => stopped.addEventListener("abort", () => reject(new Error("Stopped."))));
    const within = (promise, patience, message) => Promise.race([
      promise, failing, cancelled,
      sleep(patience, signal).then(() => { throw new Error(message); }),
    ]);
    await within(isReady, READY, "Nothing came: is a proxy in between that buffers?");
    for (let number = 1; number <= pushes; number++) {
      sent.set(number, performance.now());
      const pushed = tell("lab.push", { run, number });
      await within(pushed, READY, "The push was not answered.");
      await within(sleep(PACE - (performance.now() - sent.get(number)), signal), READY, "");
      $("compare-progress").textContent = `${number} of ${pushes} pushed, ${took.size} seen.`;
    }
    await within(complete, LATE, `Only ${took.size} of ${pushes} came.`);
  } finally {
    over.abort();
  }
  return result;
}

// Showing

const results = {};

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
const milliseconds = (value) => `${value < 100 ? value.toFixed(1) : Math.round(value)} ms`;

function showRow(name, result) {
  const row = $(`row-${name}`);
  const cells = result instanceof Error ? [result.message] : [
    `${result.took.size} of ${result.pushes}`, result.requests, result.bytes.toLocaleString("en"),
    milliseconds(median([...result.took.values()])), milliseconds(Math.max(...result.took.values())),
  ];
  row.replaceChildren(row.firstElementChild, ...cells.map((text) => {
    const cell = document.createElement("td");
    cell.textContent = text;
    if (cells.length === 1) [cell.colSpan, cell.className] = [5, "error"];
    return cell;
  }));
}

const SVG = "http://www.w3.org/2000/svg";

function draw(name, attributes, text = "") {
  const shape = document.createElementNS(SVG, name);
  for (const key in attributes) shape.setAttribute(key, attributes[key]);
  shape.textContent = text;
  return shape;
}

function showChart(id, title, valueOf, write) {
  const values = Object.keys(NAMES).map((name) => [name, results[name] && valueOf(results[name])]);
  const longest = Math.max(1, ...values.map(([, value]) => value ?? 0));
  $(id).replaceChildren(...values.flatMap(([name, value], index) => {
    const y = 4 + index * 32;
    const width = ((value ?? 0) / longest) * 170;
    return [
      draw("text", { x: 92, y: y + 17, "text-anchor": "end" }, NAMES[name]),
      draw("rect", { x: 100, y, width: value === undefined ? 0 : Math.max(width, 2), height: 24, rx: 3 }),
      draw("text", { x: 106 + width, y: y + 17 }, value === undefined ? "–" : write(value)),
    ];
  }));
  const told = values.filter(([, value]) => value !== undefined).map(([name, value]) => `${NAMES[name]} ${write(value)}`);
  $(id).setAttribute("aria-label", `${title}: ${told.join(", ") || "nothing yet"}`);
}

function showCharts() {
  showChart("bytes-chart", "Bytes received", ({ bytes }) => bytes, (bytes) => bytes.toLocaleString("en"));
  showChart("latency-chart", "Median from push to page", ({ took }) => median([...took.values()]), milliseconds);
}

// By hand

let stopping = null;

$("compare").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (stopping) return;
  stopping = new AbortController();
  const names = $("which").value ? [$("which").value] : Object.keys(NAMES);
  const options = { pushes: Number($("pushes").value), interval: $("interval").value * 1_000, stopped: stopping.signal };
  const facts = $("compare-facts");
  $("comparing").offer("compare-stop");
  let ending = "Done.";
  try {
    await tell("lab.begin");
    for (const name of names) {
      if (stopping.signal.aborted) break;
      facts.textContent = `${NAMES[name]} …`;
      $("compare-progress").textContent = "connecting";
      delete results[name];
      const result = await measure(name, options).catch((error) => error);
      if (!(result instanceof Error)) results[name] = result;
      showRow(name, result);
      showCharts();
    }
    await tell("lab.end");
    if (stopping.signal.aborted) ending = "Stopped.";
  } catch (error) {
    ending = error.message;
  }
  facts.textContent = ending;
  $("compare-progress").textContent = "";
  stopping = null;
  $("comparing").offer("compare-run");
});
$("compare-stop").addEventListener("click", () => stopping?.abort());
showCharts();
