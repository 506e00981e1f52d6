/** What must not compile: each line below is wrong in one way, and tsc has to see it. */

import { LiveNotify, type Item } from "../../../django_live_notify/static/django_live_notify/live-notify.js";

declare const client: LiveNotify;
declare const item: Item;

client.status = "live";
client.unread = 3;
client.addEventListener("notifications", () => {});
client.addEventListener("unread", ({ detail }) => detail.count);
client.addEventListener("status", ({ detail }) => detail.status === "online");
client.send();
client.send("clock", new Date());
client.send("function", () => 1);
client.join(7);
client.markRead("7");
client.markAllRead([7]);
client.act([7], "approve");
client.act(7);
client.inbox({ page: 2 });
client.stop("now");
new LiveNotify({ endpont: "/live-notify/" });
new LiveNotify({ user: 7 });
item.level = "fatal";
item.created_at = new Date();
client.fallback = () => null;
document.addEventListener("live-notify:unread", ({ detail }) => detail.count);
document.querySelector("live-notify")!.client.close();
