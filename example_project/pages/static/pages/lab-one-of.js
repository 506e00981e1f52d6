// <one-of>: buttons of which one makes sense at a time.

customElements.define("one-of", class extends HTMLElement {
  /** Offer one of them; who was at another is at this one then. */
  offer(id) {
    const isHere = this.contains(document.activeElement);
    for (const button of this.children) button.disabled = button.id !== id;
    if (isHere) document.getElementById(id).focus();
  }
});
