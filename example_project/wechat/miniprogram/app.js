const { LiveNotify } = require("./live-notify/client");
const { site } = require("./config");
const { logIn, forget } = require("./session");

const NOTIFICATIONS_TAB = 0;

App({
  onLaunch() {
    // One for all pages: it connects in the foreground, and is never to be stopped by a page.
    this.live = new LiveNotify({
      endpoint: `${site}/live-notify/`,
      logIn,
      header: { "Accept-Language": wx.getAppBaseInfo().language.replace("_", "-") },
    });
    this.live.on("unread", ({ unread }) => this.showBadge(unread));
    this.live.on("close", ({ verdict }) => {
      // The token was refused: it must not be tried again at the next launch.
      if (verdict === "stop") forget();
    });
    this.live.start();
  },

  showBadge(unread) {
    const fail = () => {}; // On a page without a tab bar.
    if (unread) wx.setTabBarBadge({ index: NOTIFICATIONS_TAB, text: unread > 99 ? "99+" : String(unread), fail });
    else wx.removeTabBarBadge({ index: NOTIFICATIONS_TAB, fail });
  },
});
