"use strict";
(() => {
  const cards = [...document.querySelectorAll(".card")];
  const severity = document.getElementById("severity");
  const words = document.getElementById("words");
  const shown = document.getElementById("shown");
  const closed = [];
  if (cards.length) {
    const texts = cards.map((card) => card.querySelector("figcaption").textContent.toLowerCase());
    const filter = () => {
      const wanted = severity.value;
      const parts = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      cards.forEach((card, index) => {
        const own = card.dataset.severity;
        const fits = !wanted || own === wanted || (wanted === "any" && own !== "clean");
        card.hidden = !(fits && parts.every((part) => texts[index].includes(part)));
        count += card.hidden ? 0 : 1;
      });
      shown.textContent = count === cards.length ? "" : `${count} of ${cards.length}`;
    };
    document.getElementById("scripted").hidden = false;
    document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
    severity.addEventListener("change", filter);
    words.addEventListener("input", filter);
    window.addEventListener("hashchange", () => {
      const card = document.getElementById(location.hash.slice(1));
      if (card && card.hidden) {
        severity.value = words.value = "";
        filter();
        card.scrollIntoView();
      }
    });
  }
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details:not([open])").forEach((each) => { each.open = true; closed.push(each); });
  });
  window.addEventListener("afterprint", () => closed.splice(0).forEach((each) => { each.open = false; }));
})();
