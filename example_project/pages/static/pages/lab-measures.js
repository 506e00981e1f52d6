// Measures: heartbeat and round trip, and what waits in a socket that is given much to send.

const element = document.querySelector("live-notify");
const $ = (id) => document.getElementById(id);
const on = (id, name, listener) => $(id).addEventListener(name, listener);

// Plots of 320 by 130: the curves in 300 by 90, numbers above and below.

const SVG = "http://www.w3.org/2000/svg";
const [LEFT, TOP, WIDTH, HEIGHT] = [10, 20, 300, 90];

function draw(name, attributes, text = "") {
  const shape = document.createElementNS(SVG, name);
  for (const key in attributes) shape.setAttribute(key, attributes[key]);
  shape.textContent = text;
  return shape;
}

/** Curves are lists of [x, y], from 0 to 1; marks are upright lines at an x. */
function plot(svg, { curves, marks = [], top, from, to }) {
  const across = (x) => (LEFT + x * WIDTH).toFixed(1);
  const down = (y) => (TOP + (1 - y) * HEIGHT).toFixed(1);
  svg.replaceChildren(
    draw("line", { x1: LEFT, x2: LEFT + WIDTH, y1: TOP, y2: TOP, class: "top" }),
    draw("line", { x1: LEFT, x2: LEFT + WIDTH, y1: TOP + HEIGHT, y2: TOP + HEIGHT, class: "base" }),
    ...marks.map((x) => draw("line", { x1: across(x), x2: across(x), y1: TOP, y2: TOP + HEIGHT, class: "mark" })),
    ...curves.map((points, index) => draw("polyline", {
      points: points.map(([x, y]) => `${across(x)},${down(y)}`).join(" "),
      class: ["first", "second"][index],
    })),
    draw("text", { x: LEFT, y: TOP - 6 }, top),
    draw("text", { x: LEFT, y: TOP + HEIGHT + 14 }, from),
    draw("text", { x: LEFT + WIDTH, y: TOP + HEIGHT + 14, "text-anchor": "end" }, to),
  );
}

// Heartbeat and round trip

const MINUTE = 60_000;
let trips = []; // of { at, took }
let beats = [];
let timer = null;
let measuring = null; // what was begun last
let heartbeat = null;

function showTrips() {
  const now = performance.now();
  const place = (at) => 1 - (now - at) / MINUTE;
  trips = trips.filter(({ at }) => place(at) >= 0);
  beats = beats.filter((at) => place(at) >= 0);
  const highest = Math.max(...trips.map(({ took }) => took), 1);
  plot($("plot"), {
    curves: [trips.map(({ at, took }) => [place(at), took / highest])],
    marks: beats.map(place),
    top: trips.length ? `${highest.toFixed(1)} ms` : "",
    from: "a minute ago",
    to: "now",
  });
  const every = heartbeat ? `The server beats every ${heartbeat} s` : "";
  const last = beats.length ? `last ${Math.round((now - beats.at(-1)) / 1000)} s ago` : "none in the last minute";
  if (every) $("beat-facts").textContent = `${every}; ${last}.`;
}

async function measure(mine) {
  const began = performance.now();
  try {
    await element.client.send("echo", null);
    const took = performance.now() - began;
    trips.push({ at: performance.now(), took });
    const longest = Math.max(...trips.map((trip) => trip.took));
    $("plot-facts").textContent = `${trips.length} measured: last ${took.toFixed(1)} ms, longest ${longest.toFixed(1)} ms.`;
  } catch (error) {
    $("plot-facts").textContent = error.message;
  }
  // It may have been stopped, and begun again, while this was on its way.
  if (mine === measuring) timer = setTimeout(measure, 1000, mine);
}

$("measuring").offer("plot-start");
on("plot-start", "click", () => {
  $("measuring").offer("plot-stop");
  measuring = {};
  measure(measuring);
});
on("plot-stop", "click", () => {
  $("measuring").offer("plot-start");
  clearTimeout(timer);
  measuring = null;
});

document.addEventListener("live-notify:frame", ({ detail: { direction, frame } }) => {
  if (direction !== "in") return;
  if (frame.type === "ping") beats.push(performance.now());
  if (frame.heartbeat) heartbeat = frame.heartbeat;
});
setInterval(showTrips, 500);
showTrips();

// bufferedAmount

const PIECE = 128 * 1024;
const PIECES = 128;
const WAITING = 8; // for an answer: 1 MiB, half of what a server queues of a connection
const PATIENCE = 60_000;

const curves = { throttled: [], "at-once": [] }; // of [milliseconds, bytes]

function showBuffer() {
  const all = Object.values(curves).flat();
  const [longest, highest] = [0, 1].map((index) => Math.max(1, ...all.map((point) => point[index])));
  plot($("buffer-plot"), {
    curves: Object.values(curves).map((points) => points.map(([x, y]) => [x / longest, y / highest])),
    top: all.length ? `${megabytes(highest)} MiB` : "",
    from: "0",
    to: all.length ? `${(longest / 1000).toFixed(1)} s` : "",
  });
}

const megabytes = (bytes) => (bytes / 1024 / 1024).toFixed(2);

/** Send by `way` while the meter looks, and say what became of it. */
async function fill(id, way) {
  const [facts, curve] = [$(`${id}-facts`), (curves[id] = [])];
  const count = { arrived: 0, refused: 0 };
  const began = performance.now();
  let reading = () => 0;
  const look = () => {
    const buffered = reading();
    $("meter").value = buffered;
    $("meter").textContent = `${buffered} bytes`;
    curve.push([performance.now() - began, buffered]);
    showBuffer();
  };
  const timer = setInterval(look, 20);
  for (const button of ["throttled", "at-once"]) $(button).disabled = true;
  facts.textContent = "…";
  let ending = "";
  try {
    await way(count, (read) => { reading = read; look(); });
  } catch (error) {
    ending = ` It ended with: ${error.message}`;
  }
  clearInterval(timer);
  look();
  const highest = Math.max(...curve.map(([, buffered]) => buffered));
  const name = id === "throttled" ? "Throttled" : "At once";
  facts.textContent = `${name}: ${count.arrived} of ${PIECES} pieces arrived, ${count.refused} were refused; at most ${megabytes(highest)} MiB were buffered, for ${((performance.now() - began) / 1000).toFixed(1)} s.${ending}`;
  for (const button of ["throttled", "at-once"]) $(button).disabled = false;
}

async function sendThrottled(count, watch) {
  watch(() => element.client.bufferedAmount);
  let left = PIECES;
  const send = async () => {
    while (left-- > 0) {
      await element.client.send("measure", new Uint8Array(PIECE));
      count.arrived += 1;
    }
  };
  await Promise.all(Array.from({ length: WAITING }, send));
}

function sendAtOnce(count, watch) {
  const url = new URL(`${element.getAttribute("endpoint") ?? "/live-notify/"}socket/`, location.href);
  const socket = new WebSocket(url.href.replace("http", "ws"), "live-notify.v1");
  return new Promise((resolve, reject) => {
    const tooLong = setTimeout(() => { reject(new Error("no answer for a minute.")); socket.close(); }, PATIENCE);
    socket.onopen = () => socket.send(JSON.stringify({ type: "hello" }));
    socket.onmessage = ({ data }) => {
      const { type, cursor } = JSON.parse(data);
      if (type === "ready") {
        for (let ref = 1; ref <= PIECES; ref++) socket.send(pack({ type: "message", name: "measure", ref }, new Uint8Array(PIECE)));
        watch(() => socket.bufferedAmount);
      }
      if (type === "ping") socket.send(JSON.stringify({ type: "pong", cursor }));
      if (type === "ok") count.arrived += 1;
      if (type === "error") count.refused += 1;
      if (count.arrived + count.refused === PIECES) socket.close();
    };
    socket.onclose = ({ code, reason }) => {
      clearTimeout(tooLong);
      if (count.arrived + count.refused === PIECES) resolve();
      else reject(new Error(`close ${code} ${reason}`.trim()));
    };
  });
}

/** The length of the header in two bytes, the header, and the bytes. */
function pack(frame, bytes) {
  const header = new TextEncoder().encode(JSON.stringify(frame));
  return new Blob([Uint8Array.of(header.length >> 8, header.length), header, bytes]);
}

on("throttled", "click", () => fill("throttled", sendThrottled));
on("at-once", "click", () => fill("at-once", sendAtOnce));
showBuffer();
