// The cable of this page. While it is pulled, what travels waits at its ends, as in TCP, and
// nothing new connects. Browsers offer that in their developer tools alone.
//
// It goes between the client and the network: this script comes first.

const { WebSocket, fetch } = window;

let held = null; // while it is pulled: what waits
let cut = new AbortController(); // of what is fetched

window.WebSocket = class extends WebSocket {
  constructor(...where) {
    super(...where);
    if (held) super.close(); // before it is open: the page gets a 1006
    else for (const name of ["open", "message", "close"]) this.addEventListener(name, hold);
  }

  send(data) {
    if (!held) super.send(data);
    // Whoever gave up meanwhile has closed it.
    else held.push(() => { if (this.readyState === WebSocket.OPEN) super.send(data); });
  }
};

function hold(event) {
  if (!held) return;
  event.stopImmediatePropagation();
  held.push(() => this.dispatchEvent(new event.constructor(event.type, event)));
}

window.fetch = (resource, options = {}) => {
  const signals = [options.signal, cut.signal].filter(Boolean);
  return fetch(resource, { ...options, signal: AbortSignal.any(signals) });
};

const [cable, pull, plug] = ["cable", "pull", "plug"].map((id) => document.getElementById(id));

pull.addEventListener("click", () => {
  held = [];
  cut.abort(new TypeError("The cable is pulled."));
  window.dispatchEvent(new Event("offline"));
  cable.offer("plug");
});

plug.addEventListener("click", () => {
  const waiting = held;
  held = null;
  cut = new AbortController();
  for (const go of waiting) go();
  window.dispatchEvent(new Event("online"));
  cable.offer("pull");
});
