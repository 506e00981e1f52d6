/** Whatever the declarations promise; every line must compile. */

import {
  LiveNotify,
  backoff,
  parseCursor,
  verdict,
  type Close,
  type Emitted,
  type Item,
  type OpenTransport,
  type Page,
  type Status,
} from "../../../django_live_notify/static/django_live_notify/live-notify.js";

const element = document.querySelector("live-notify")!;
const client: LiveNotify = element.client;
const own = new LiveNotify({ endpoint: "/live-notify/", user: "7", since: "2026-01-01T00:00:00Z", csrfToken: "t" });
new LiveNotify();

client.addEventListener("notification", ({ detail }) => {
  const item: Item = detail;
  const shown: [string, string, boolean, boolean] = [item.title, item.level, item.read, detail.replay];
  console.log(shown, item.actor?.name, new Date(item.created_at));
});
client.addEventListener("status", (event) => {
  const { status, previous, transport }: { status: Status; previous: Status; transport: string | null } = event.detail;
  console.log(status === "live", previous, transport);
}, { once: true });
client.addEventListener("close", { handleEvent({ detail }: CustomEvent<Close>) { console.log(detail.code, detail.reason); } });
client.addEventListener("reset", ({ detail }: CustomEvent<null>) => console.log(detail));
client.addEventListener("emitted", ({ detail }) => console.log(detail.name, detail.topic));
client.addEventListener("error", ({ detail }) => console.log(detail.message));
client.addEventListener("frame", ({ detail }) => console.log(detail.direction, detail.frame.type));
document.addEventListener("live-notify:unread", ({ detail }) => console.log(detail.unread + 1));
element.addEventListener("live-notify:state", ({ detail }) => console.log(detail.action, detail.ids ?? detail.up_to));
document.addEventListener("live-notify:emitted:typing", (event) => console.log((event as CustomEvent<{ thread: number }>).detail.thread));

async function use(): Promise<void> {
  own.start();
  const answer: { echo: number } = await client.send<{ echo: number }>("echo", { n: [1, null, "x"] });
  const image: ArrayBuffer = await client.send("image", new Blob([new Uint8Array(3)]));
  await client.send("image", image);
  await client.send("image", new Uint8Array(image));
  await client.send("ping");
  await client.join("room");
  await client.leave("room");
  await client.markRead(7);
  await client.markUnread([7, 8]);
  await client.markSeen([7] as const);
  await client.archive(7);
  await client.unarchive(7);
  await client.markAllRead();
  await client.markAllRead(7);
  await client.act(7, "approve");
  const page: Page = await client.inbox({ limit: 10, unread: true, kind: "comment", level: "error", counts: true });
  console.log(page.unseen ?? 0, page.kinds?.comment.unread);
  await client.inbox({ before: page.next, kind: ["comment", "order"], level: ["warning", "error"] });
  const { name }: Emitted<{ x: 1 }> = { name: "typing", data: { x: 1 } };
  console.log(answer.echo, name, client.status, client.unread, client.user, client.cursor, client.leading, client.bufferedAmount);
  own.stop();
  own.stop(3001, "Enough.");
}

const silent: OpenTransport = ({ hear, end, ask }) => {
  ask("poll/").then((answer) => hear({ type: "ready", ...answer }), () => end({ code: 1006 }));
  return { send() {}, close() {} };
};
client.fallback = silent;

const pure: [number, string, number | undefined] = [backoff(3, { hidden: true }), verdict(4511), parseCursor(client.cursor)?.id];
void [use, pure];
