/** Who somebody is to the site: a code of wx.login() against the site's token, which is kept. */

const { site, demoUser } = require("./config");

const KEY = "session";

// Milliseconds.
const TIMEOUT = 10000;
const MARGIN = 3600000; // a token is replaced so long before it expires

let asking = null;

/** Return a promise of { token, user }: those that are kept, or new ones. */
function logIn(refresh) {
  if (refresh) forget();
  const kept = wx.getStorageSync(KEY);
  if (kept && kept.demoUser === demoUser && Date.now() < kept.until) return Promise.resolve(kept);
  if (!asking) {
    const done = () => { asking = null; };
    asking = getCode().then(exchange);
    asking.then(done, done);
  }
  return asking;
}

/** Log out on this phone: the next logIn() asks anew. */
function forget() {
  wx.removeStorageSync(KEY);
}

function getCode() {
  if (demoUser) return Promise.resolve(`demo:${demoUser}`);
  return new Promise((resolve, reject) => {
    wx.login({
      timeout: TIMEOUT,
      success: ({ code }) => resolve(code),
      fail: ({ errMsg }) => reject(new Error(errMsg)),
    });
  });
}

function exchange(code) {
  return new Promise((resolve, reject) => {
    wx.request({
      url: `${site}/wechat/log-in/`,
      method: "POST",
      data: { code },
      timeout: TIMEOUT,
      success({ statusCode, data }) {
        if (statusCode === 200 && data && data.token) return resolve(keep(data));
        const message = Object(data).message || `The server answered ${statusCode}.`;
        // Who is refused now is refused again.
        reject(Object.assign(new Error(message), { stop: statusCode === 403 }));
      },
      fail: ({ errMsg }) => reject(new Error(errMsg)),
    });
  });
}

function keep({ token, user, expires_in: seconds }) {
  // Counted from now: a phone's clock may be wrong, but not by how much time passes.
  const session = { token, user, demoUser, until: Date.now() + seconds * 1000 - MARGIN };
  wx.setStorageSync(KEY, session);
  return session;
}

module.exports = { logIn, forget };
