/** The interface of live-notify.js; how it is used is told in the documentation. */

/** What happens with the connection: "waiting" is for the next attempt. */
export type Status = "connecting" | "live" | "waiting" | "stopped";

/** By what the frames come; null while there is no connection. */
export type Transport = "websocket" | "eventstream" | "poll" | null;

export type Level = "info" | "success" | "warning" | "error";

/** What to do after a close: try again, try again after doing something (logging in), stop. */
export type Verdict = "retry" | "refresh" | "stop";

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json | undefined };

export type Binary = Blob | ArrayBuffer | ArrayBufferView<ArrayBuffer>;

/** A notification as its reader gets it. Times are ISO 8601 in UTC. */
export interface Item<Data = any> {
  id: number;
  kind: string;
  level: Level;
  title: string;
  body: string;
  url: string;
  icon: string;
  data: Data;
  /** Its buttons, and the name of the one that the reader used, or "". */
  actions: { name: string; label: string }[];
  acted: string;
  actor: { id: number | string; name: string } | null;
  topic: string;
  tag: string;
  created_at: string;
  expires_at: string | null;
  seen: boolean;
  read: boolean;
  archived: boolean;
  /** Said to a topic that the reader has muted: neither counted nor shown as a toast. */
  muted: boolean;
}

/** A page of the inbox, newest first; `next` is the `before` of the following one, or null. */
export interface Page {
  items: Item[];
  next: number | null;
  unread: number;
  cursor: string;
  /** With `counts`: not seen yet, and unread by kind. */
  unseen?: number;
  kinds?: Record<string, { unread: number; unseen: number }>;
}

export interface InboxQuery {
  before?: number | null;
  limit?: number;
  unread?: boolean;
  unseen?: boolean;
  archived?: boolean;
  counts?: boolean;
  kind?: string | string[];
  level?: Level | Level[];
}

/** Changed in this page, another tab or another device: the ids, or all up to one. */
export interface StateChange {
  action: "read" | "unread" | "seen" | "archive" | "unarchive" | "action";
  ids?: number[];
  up_to?: number;
  /** Of an action: which button was used. */
  name?: string;
}

export interface Close {
  code: number;
  reason: string;
  wasClean: boolean;
  verdict: Verdict;
}

/** What a request fails with: a code of the server's, or "lost" where there was no answer. */
export interface LiveNotifyError extends Error {
  name: "LiveNotifyError";
  code: string | number;
}

/** An event of the site's `emit()`; bytes arrive as an ArrayBuffer. */
export interface Emitted<Data = any> {
  name: string;
  data: Data;
  topic?: string;
}

/** A frame of the wire; see the protocol. */
export interface Frame {
  type: string;
  [key: string]: any;
}

/** The detail of each event, by its name. */
export interface Details {
  /** Once for each notification and page; `replay`: said before this page was connected. */
  notification: Item & { replay: boolean };
  unread: { unread: number };
  state: StateChange;
  /** Take these off the screen. */
  retracted: { ids: number[] };
  emitted: Emitted;
  status: { status: Status; previous: Status; transport: Transport };
  close: Close;
  /** Too much was missed to be told, or another log: what a page lists is to be loaded anew. */
  reset: null;
  error: Error;
  /** Whatever goes over the wire. */
  frame: { direction: "in" | "out"; frame: Frame };
}

export interface Options {
  /** The path of the site's include of `django_live_notify.urls`; "/live-notify/" if none. */
  endpoint?: string | null;
  /** The key of the user whose page this is. */
  user?: string | null;
  /** When the server rendered the page, ISO 8601: from when a first visitor is told. */
  since?: string | null;
  csrfToken?: string | null;
  /** For LIVE_NOTIFY_AUTHENTICATE, where there are no cookies. */
  token?: string;
  /** Called with each event beside the listeners. */
  bubble?: (name: string, detail: any) => void;
}

/** What a transport tells the client, and asks of it. */
export interface Hooks {
  /** Where the socket is. */
  url: string;
  /**
   * Get a path of the include, such as "poll/", or post a body to it. With a signal, which then is
   * what ends it, resolves to the response, and to its JSON otherwise. An answer that is none is a
   * LiveNotifyError, with the status as its code where the server gave none.
   */
  ask(path: string, query?: object, body?: object | null, signal?: AbortSignal): Promise<any>;
  /** From where a connection goes on, with the topics to join. */
  place(): { cursor?: string | null; since: string; seen?: number; join: string[] };
  /** The transport takes frames: the client greets. */
  hello(): void;
  hear(frame: Frame): void;
  /** Its last word; `after`: between how many seconds the client comes back. */
  end(why: { code?: number; reason?: string; wasClean?: boolean; after?: [number, number] }): void;
}

/** What carries frames in and commands out; the cursor stays with the client. */
export interface Link {
  /** Bytes not sent yet. */
  readonly buffered?: number;
  send(frame: Frame): void;
  close(code?: number, reason?: string): void;
}

/** Opens a link. Nothing may be heard of it before it is returned. */
export type OpenTransport = (hooks: Hooks) => Link;

/**
 * A reader's connection. Of the tabs of a browser one has the socket and feeds the others; each
 * tells its page everything once.
 */
export class LiveNotify extends EventTarget {
  constructor(options?: Options);

  readonly status: Status;
  readonly transport: Transport;
  /** Unread notifications, up to 100. */
  readonly unread: number;
  readonly user: string | null;
  /** Whether this tab has the connection for the others. */
  readonly leading: boolean;
  /** How far this page got. */
  readonly cursor: string | null;
  /** Bytes that the socket has not sent yet; where another tab has it, that were not answered yet. */
  readonly bufferedAmount: number;

  /** What is tried where no socket comes through (streams, then polls), and what is used just now. */
  fallback: OpenTransport | null;
  instead: OpenTransport | null;

  /** Connect, and stay connected until stop(). Twice is once. */
  start(): void;
  /** Disconnect, with the code (1000 or from 3000) and reason of a close, and stay so until start(). */
  stop(code?: number, reason?: string): void;

  /**
   * Send something to the site's LIVE_NOTIFY_ON_MESSAGE; resolves to what that returns. Waits for
   * up to half a minute for a connection, and while more than 64 KiB are not sent yet. What was
   * sent and not answered when the connection is lost is rejected ("lost") and not sent again.
   * Bytes go by a socket alone; by an event stream or polls they are rejected ("invalid").
   */
  send<Answer = any>(name: string, data?: Json | Binary): Promise<Answer>;

  /**
   * Hear what is emitted to a topic, on this connection and those that follow it. Only a socket
   * tells whether that is allowed; elsewhere nothing is heard where it is not.
   */
  join(topic: string): Promise<void>;
  leave(topic: string): Promise<void>;

  /** Changes of state are made by HTTP where there is no connection, or where it is lost before the answer. */
  markRead(ids: number | readonly number[]): Promise<void>;
  markUnread(ids: number | readonly number[]): Promise<void>;
  markSeen(ids: number | readonly number[]): Promise<void>;
  archive(ids: number | readonly number[]): Promise<void>;
  unarchive(ids: number | readonly number[]): Promise<void>;
  /** Everything that this page knows of, or everything up to an id. */
  markAllRead(upTo?: number): Promise<void>;

  /**
   * Use a button of a notification, as changes of state are made: it reaches the site's
   * LIVE_NOTIFY_ON_ACTION once for each reader. Two `state` events tell what was done: "read" and
   * "action". Rejected with the site's words ("invalid", "forbidden"), and where another button was
   * used before ("done").
   */
  act(id: number, name: string): Promise<void>;

  /**
   * Load a page. `notification`, `state` and `retracted` that are told before it comes may be later
   * than what it says: a list carries them out once more on the page.
   */
  inbox(query?: InboxQuery): Promise<Page>;

  addEventListener<Name extends keyof Details>(
    name: Name,
    listener: ((event: CustomEvent<Details[Name]>) => void) | { handleEvent(event: CustomEvent<Details[Name]>): void } | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<Name extends keyof Details>(
    name: Name,
    listener: ((event: CustomEvent<Details[Name]>) => void) | { handleEvent(event: CustomEvent<Details[Name]>): void } | null,
    options?: boolean | EventListenerOptions,
  ): void;
}

export function verdict(code: number): Verdict;
/** Milliseconds until the next attempt. */
export function backoff(attempt: number, options?: { hidden?: boolean; random?: () => number }): number;
export function parseCursor(cursor: string | null | undefined): { epoch: string; id: number } | null;

/** `<live-notify>`, from which the client's events bubble as `live-notify:<name>`. */
export interface LiveNotifyElement extends HTMLElement {
  readonly client: LiveNotify;
}

declare global {
  interface HTMLElementTagNameMap {
    "live-notify": LiveNotifyElement;
  }
  // Those that are emitted by the site, `live-notify:emitted:<name>`, have its data as their detail.
  interface DocumentEventMap extends LiveNotifyEventMap {}
  interface HTMLElementEventMap extends LiveNotifyEventMap {}
  interface LiveNotifyEventMap extends LiveNotifyEvents {}
}

type LiveNotifyEvents = { [Name in keyof Details as `live-notify:${Name}`]: CustomEvent<Details[Name]> };
