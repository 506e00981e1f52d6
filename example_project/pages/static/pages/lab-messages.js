// Messages: what is sent and answered, what the server says by itself, and bytes both ways.

const element = document.querySelector("live-notify");
const $ = (id) => document.getElementById(id);
const on = (id, name, listener) => $(id).addEventListener(name, listener);

on("send", "submit", async (event) => {
  event.preventDefault();
  const answer = $("answer");
  answer.className = answer.dataset.code = "";
  answer.textContent = "…";
  try {
    const text = $("data").value;
    const data = $("as").value === "text" ? text : JSON.parse(text || "null");
    answer.textContent = JSON.stringify(await element.client.send($("name").value, data), null, 2);
  } catch (error) {
    answer.className = "error";
    answer.dataset.code = error.code;
    answer.textContent = error instanceof SyntaxError ? `This is not JSON: ${error.message}` : `${error.code}: ${error.message}`;
  }
});

// That there was no connection is not true any more.
document.addEventListener("live-notify:status", ({ detail: { status } }) => {
  const answer = $("answer");
  if (status !== "live" || answer.dataset.code !== "lost") return;
  answer.className = answer.dataset.code = "";
  answer.textContent = "Nothing was sent since there is a connection again.";
});

// Whether the server ticks is known by its ticks: another tab may have started them, and they end
// by themselves.
const SILENCE = 3000; // milliseconds; there is one each second
let silence = null;

document.addEventListener("live-notify:emitted:tick", ({ detail }) => {
  $("tick").textContent = detail.number;
  $("ticking").offer("ticks-stop");
  clearTimeout(silence);
  silence = setTimeout(() => $("ticking").offer("ticks-start"), SILENCE);
});
async function tell(name) {
  try {
    await element.client.send(name);
    if (name === "stop") $("ticking").offer("ticks-start");
  } catch (error) {
    $("tick").textContent = error.message;
  }
}
$("ticking").offer("ticks-start");
on("ticks-start", "click", () => tell("start"));
on("ticks-stop", "click", () => tell("stop"));

// The policy allows images from data:, not from blob:.

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
  if (!file.type.startsWith("image/")) {
    facts.textContent = `“${file.name}” is not an image.`;
    return;
  }
  if (file.size > MAX_BYTES) {
    facts.textContent = `“${file.name}” has ${Math.ceil(file.size / 1024)} KiB; at most 512 may go.`;
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
on("drop", "dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
on("drop", "dragleave", () => $("drop").classList.remove("over"));
on("drop", "drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  bounce(event.dataTransfer.files[0]);
});
