/** What differs from one mini-program to the next. */
module.exports = {
  // An address of the site. On a phone: https, and a domain that is registered with WeChat.
  site: "http://127.0.0.1:8000",

  // For the demonstration alone: whom the site takes you for, without asking WeChat. "" elsewhere.
  demoUser: "alice",
};
