/** The list as a page shows it: newest first, of each tag the newest. Pure functions. */

/** Add items to a list; one that is there already is replaced. */
function withItems(items, more) {
  const ids = more.map((item) => item.id);
  const all = items.filter((item) => ids.indexOf(item.id) < 0).concat(more);
  all.sort((one, other) => other.id - one.id);
  return all.filter((item, place) => !item.tag || all.findIndex((other) => other.tag === item.tag) === place);
}

/** Carry out a `state` frame: { action, ids } or { action, up_to }, with the name of a button. */
function withState(items, frame) {
  const { action, ids, up_to: upTo, name } = frame;
  const isMeant = (item) => (ids ? ids.indexOf(item.id) >= 0 : item.id <= upTo);
  if (action === "archive") return items.filter((item) => !isMeant(item));
  const changes = { read: { read: true }, unread: { read: false }, action: { acted: name } }[action];
  return changes ? items.map((item) => (isMeant(item) ? Object.assign({}, item, changes) : item)) : items;
}

/** Take ids off a list. */
function without(items, ids) {
  return items.filter((item) => ids.indexOf(item.id) < 0);
}

module.exports = { withItems, withState, without };
