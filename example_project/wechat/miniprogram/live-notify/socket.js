/**
 * One socket of `wx.connectSocket()`. What is not to be relied on of a SocketTask ends here: this one
 * opens once and ends once, and is silent after it was closed.
 */

const SUBPROTOCOL = "live-notify.v1";

/**
 * Open a socket; `timeout` is in milliseconds. Calls `opened()`, `heard(frame)` with each frame (null
 * for what is none), and in the end `ended({ code, reason })`, unless it was closed from here.
 */
function openSocket({ url, header, timeout, opened, heard, ended }) {
  let task = null;
  let isOpen = false; // the task's own readyState is none of its documented properties
  let isOver = false;

  // onError comes, or onClose, or both; of a sixth socket, or an address that is not allowed, only
  // `fail` tells; and an open socket that takes nothing is none.
  const end = ({ code = 1006, reason, errMsg }) => {
    if (isOver) return;
    isOver = true;
    hangUp();
    ended({ code, reason: reason || errMsg || "" });
  };

  // Never before the call that fails has returned.
  const fail = (error) => { Promise.resolve().then(() => end(error)); };

  const hangUp = () => {
    try {
      task.close({ code: 1000, fail() {} });
    } catch (error) {
      // There is none, or none any more.
    }
  };

  try {
    // The time is limited, since a socket that is being opened cannot be closed and is one of five.
    task = wx.connectSocket({ url, header, timeout, protocols: [SUBPROTOCOL], fail });
  } catch (error) {
    fail({ reason: error.message });
  }
  if (task) {
    task.onOpen(() => {
      if (isOver) return hangUp();
      if (isOpen) return;
      isOpen = true;
      opened();
    });
    task.onMessage(({ data }) => isOver || heard(unpack(data)));
    task.onError(end);
    task.onClose(end);
  }
  return {
    /** After opened(): before, it fails, and that ends the socket. */
    send(frame) {
      task.send({ data: JSON.stringify(frame), fail });
    },
    close() {
      isOver = true;
      hangUp();
    },
  };
}

/** A frame, from text or from bytes: the length of a header in two bytes, the header, its data. */
function unpack(data) {
  try {
    if (typeof data === "string") return JSON.parse(data);
    const end = 2 + new DataView(data).getUint16(0);
    const bytes = Array.from(new Uint8Array(data.slice(2, end)));
    // There is no TextDecoder.
    const text = decodeURIComponent(bytes.map((byte) => `%${(byte + 256).toString(16).slice(1)}`).join(""));
    return Object.assign(JSON.parse(text), { data: data.slice(end) });
  } catch (error) {
    return null;
  }
}

module.exports = { openSocket };
