// <event-log label="…">: lines with their times, newest first.

const MAX_ENTRIES = 200;

customElements.define("event-log", class extends HTMLElement {
  #list = document.createElement("ol");

  connectedCallback() {
    // Whoever has no mouse scrolls it with the keyboard.
    this.tabIndex = 0;
    this.setAttribute("role", "group");
    this.setAttribute("aria-label", this.getAttribute("label"));
    this.append(this.#list);
  }

  add(kind, text) {
    const entry = document.createElement("li");
    entry.className = kind;
    const [when, what, detail] = ["time", "b", "code"].map((name) => document.createElement(name));
    when.textContent = new Date().toLocaleTimeString(undefined, { hour12: false });
    [what.textContent, detail.textContent] = [kind, text];
    entry.append(when, what, detail);
    this.#list.prepend(entry);
    while (this.#list.children.length > MAX_ENTRIES) this.#list.lastChild.remove();
  }

  clear() { this.#list.replaceChildren(); }
});
