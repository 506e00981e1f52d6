// Keeps the cards as the server has them: fetched when the wall has changed, and when it may have.

// Milliseconds
const PATIENCE = 10_000;
const RETRY_AFTER = 5000;

const cards = document.getElementById("cards");
const connection = document.getElementById("connection");
let wanted = false;
let fetching = false;
let failed = false;
let timer;

await customElements.whenDefined("live-notify");
const { client } = document.querySelector("live-notify");

function showState() {
  const text = client.status === "stopped" ? "The connection has ended. Reload the page, and sign in."
    : failed ? "The wall could not be loaded. This page tries again."
    : client.status === "waiting" ? "There is no connection. What is new comes when it is back."
    : client.status === "live" ? "" : connection.textContent;
  // Live regions speak whatever is set, even if it is as before.
  if (connection.textContent !== text) connection.textContent = text;
}

function showTimes(root) {
  const options = { dateStyle: "medium", timeStyle: "short" };
  for (const time of root.querySelectorAll("time")) time.textContent = new Date(time.dateTime).toLocaleString(undefined, options);
}

/** Leave what is there already as it is: only what is new is told by a screen reader. */
function replace(fresh) {
  const ids = new Set(fresh.map(({ id }) => id));
  for (const card of [...cards.children]) if (!ids.has(card.id)) card.remove();
  fresh.forEach((card, place) => {
    const there = cards.children[place];
    if (there?.id !== card.id) cards.insertBefore(card, there ?? null);
  });
}

async function load() {
  const signal = AbortSignal.timeout(PATIENCE);
  const response = await fetch(cards.dataset.url, { cache: "no-store", signal });
  // Whoever is signed out is led to the page where one signs in.
  if (!response.ok || response.redirected) throw new Error(`HTTP ${response.status}`);
  const { body } = new DOMParser().parseFromString(await response.text(), "text/html");
  showTimes(body);
  replace([...body.children]);
}

/** Fetch the cards; a storm of changes is two requests, one that runs and one for the rest. */
async function refresh() {
  wanted = true;
  if (fetching) return;
  fetching = true;
  clearTimeout(timer);
  try {
    while (wanted) {
      wanted = false;
      await load();
    }
    failed = false;
    document.getElementById("fetched").textContent = `Fetched at ${new Date().toLocaleTimeString()}`;
  } catch {
    failed = true;
    if (client.status !== "stopped") timer = setTimeout(refresh, RETRY_AFTER);
  }
  fetching = false;
  showState();
}

async function look() {
  showState();
  if (client.status !== "live") return;
  // The client joins again by itself what it has joined, but the first time may have been lost.
  // Whatever comes of it, what was emitted before is missed.
  await client.join("wall").catch(() => {});
  refresh();
}

document.addEventListener("live-notify:emitted:wall.changed", refresh);
document.addEventListener("live-notify:status", look);
showTimes(cards);
look();
