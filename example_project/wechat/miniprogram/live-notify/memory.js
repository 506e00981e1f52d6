/** What a user's mini-program has handled, in memory and in the phone's storage. */

const RING_SIZE = 1000;

/** Epoch and id of a cursor, or null. Opaque otherwise: only this order is known of it. */
function parseCursor(cursor) {
  const match = /^1\.(.*)\.(\d+)$/.exec(cursor || "");
  return match && { epoch: match[1], id: Number(match[2]) };
}

/** A cursor, a ring of ids above or below it, and the server's time up to which changes are known. */
class Memory {
  constructor(key) {
    this.key = key;
    const { cursor, ring, time } = load(key);
    this.cursor = parseCursor(cursor) ? cursor : null;
    this.ring = new Set(Array.isArray(ring) ? ring.filter(Number.isInteger) : []);
    this.time = typeof time === "string" ? time : "";
    this.next = null; // cursor and time as they will be when the inbox of a reset is loaded
  }

  /** Whether an item is new. Only a replay is judged by the cursor as well. */
  isNew(id, replay) {
    const reached = parseCursor(this.cursor);
    return !this.ring.has(id) && !(replay && reached && id <= reached.id);
  }

  /** Remember an id as handled. */
  add(id) {
    remember(this.ring, id);
  }

  /** Move the cursor forward; another epoch is another log, whose ids mean other things. */
  advance(cursor, time) {
    const place = this.next || this;
    if (time) place.time = time;
    const [mine, next] = [parseCursor(place.cursor), parseCursor(cursor)];
    if (!next) return;
    if (mine && mine.epoch !== next.epoch) this.ring.clear();
    if (!mine || mine.epoch !== next.epoch || next.id > mine.id) place.cursor = cursor;
  }

  save() {
    const { cursor, time } = this;
    try {
      wx.setStorageSync(this.key, { cursor, time, ring: Array.from(this.ring) });
    } catch (error) {
      // Full: this run goes on with what it knows.
    }
  }
}

/** Add to a set that forgets the oldest. */
function remember(set, id) {
  set.delete(id);
  set.add(id);
  if (set.size > RING_SIZE) set.delete(set.values().next().value);
}

function load(key) {
  try {
    return Object(wx.getStorageSync(key));
  } catch (error) {
    return {};
  }
}

module.exports = { Memory, parseCursor, remember };
