// A plain WebSocket of the page, by hand, and what the server saw of it (pages/lab.py).

const element = document.querySelector("live-notify");
const $ = (id) => document.getElementById(id);
const note = (kind, text) => $("own-log").add(kind, text);
const endpoint = new URL(element.getAttribute("endpoint") ?? "/live-notify/", location.href);

let socket = null;

function showState(state) {
  [...$("states").children].forEach((step, index) => {
    if (index === state) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
  });
}

function open() {
  const url = new URL($("path").value, endpoint);
  url.protocol = url.protocol.replace("http", "ws");
  const name = crypto.randomUUID?.() ?? String(Math.random());
  url.searchParams.set("watch", name);
  const offered = $("subprotocol").value.split(" ").filter(Boolean);
  const manners = $("manners").value.split(" ");
  const opened = new WebSocket(url, offered);
  // Of an earlier one the log alone tells.
  const show = (what) => opened === socket && what();
  note("status", `new WebSocket(…/${$("path").value}, ${JSON.stringify(offered)})`);
  for (const id of ["page-saw", "server-saw"]) $(id).textContent = "–";
  opened.onopen = () => {
    note("open", opened.protocol ? `with ${opened.protocol}` : "without a subprotocol");
    show(() => showState(opened.readyState));
    if (manners.includes("hello")) say(opened, JSON.stringify({ type: "hello" }));
  };
  opened.onmessage = ({ data }) => {
    note("in", data);
    const { type, cursor } = JSON.parse(data);
    if (type === "ping" && manners.includes("pong")) say(opened, JSON.stringify({ type: "pong", cursor }));
  };
  opened.onerror = () => note("error", "an error event, which never tells why");
  opened.onclose = ({ code, reason, wasClean }) => {
    const end = `${code} ${reason || "without a reason"}, ${wasClean ? "clean" : "not clean"}`;
    note("close", end);
    show(() => {
      showState(opened.readyState);
      $("page-saw").textContent = end;
      askServer(name);
    });
  };
  return opened;
}

function say(socket, text) {
  socket.send(text);
  note("out", text);
}

// The server may know later than the page.
const ATTEMPTS = 10;
const PAUSE = 300;

async function askServer(name) {
  const asked = socket;
  for (let attempt = 0; attempt < ATTEMPTS && asked === socket; attempt++) {
    const seen = await element.client.send("lab.watched", name).catch((error) => error);
    if (asked !== socket) return;
    $("server-saw").textContent = seen instanceof Error ? seen.message
      : seen?.map(write).join("; ") || "nothing: no connection came to this process";
    if (seen?.at?.(-1)?.what === "disconnect") return;
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

function write({ what, subprotocol, code, reason }) {
  if (what === "accept") return `accepted ${subprotocol ? `with ${subprotocol}` : "without a subprotocol"}`;
  if (what === "close" && !code) return "refused before the accept";
  const end = `${code ?? "no code"} ${reason}`.trim();
  return what === "close" ? `closed with ${end}` : `disconnected with ${end}`;
}

$("own").addEventListener("submit", (event) => {
  event.preventDefault();
  try {
    socket?.close();
    socket = open();
    showState(socket.readyState);
  } catch (error) {
    note("error", error.message);
  }
});
$("own-send").addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket?.readyState === WebSocket.OPEN) say(socket, $("own-text").value);
  else note("error", "No socket is open.");
});
$("own-close").addEventListener("submit", (event) => {
  event.preventDefault();
  const [code, reason] = [Number($("code").value), $("reason").value];
  try {
    if (!socket || socket.readyState > WebSocket.OPEN) throw new Error("No socket is open.");
    socket.close(code, reason);
    note("out", `close(${code}, ${JSON.stringify(reason)})`);
    showState(socket.readyState);
  } catch (error) {
    note("error", error.message);
  }
});
