"use strict";
// Draw each picture where it stands, let its controls turn it, and mark the section in view.
for (const place of document.querySelectorAll(".picture")) {
  const picture = JSON.parse(document.getElementById(place.id + "-picture").textContent);
  const options = { renderer: "svg", actions: false, logLevel: 1, tooltip: { theme: "report" } };
  vegaEmbed(place, picture, options).then(({ view }) => {
    for (const control of document.querySelectorAll(`.control[data-for="${place.id}"]`)) {
      control.addEventListener("change", (event) => {
        view.signal(control.dataset.signal, event.target.value).runAsync();
      });
      const chosen = control.querySelector("input:checked");
      if (chosen) view.signal(control.dataset.signal, chosen.value).runAsync();
    }
  });
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.dataset.theme = (root.dataset.theme || dark) === "dark" ? "light" : "dark";
});

const links = new Map([...document.querySelectorAll(".contents a")].map((a) => [a.hash.slice(1), a]));
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    for (const link of links.values()) link.classList.remove("is-here");
    links.get(entry.target.id).classList.add("is-here");
  }
}, { rootMargin: "-15% 0px -75% 0px" });
for (const section of document.querySelectorAll(".section")) seen.observe(section);
