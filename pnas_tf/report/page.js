"use strict";
for (const slider of document.querySelectorAll(".slider")) {
  const data = JSON.parse(slider.querySelector("script").textContent);
  const input = slider.querySelector("input"), words = slider.querySelector("output");
  const bars = [...slider.querySelectorAll(".bar")].map((bar) => [...bar.children]);
  const draw = () => {
    const moment = Number(input.value);
    words.textContent = data.moments[moment];
    data.values[moment].forEach((shares, bar) => shares.forEach((share, op) => {
      bars[bar][op].style.width = 100 * share + "%";
      bars[bar][op].title = bars[bar][op].dataset.op + ": " + Math.round(1000 * share) / 10 + " %";
    }));
  };
  input.addEventListener("input", draw);
  slider.querySelector(".control").hidden = false;
  draw();
}
const folded = () => [...document.querySelectorAll("details.warnings")];
addEventListener("beforeprint", () => folded().forEach((part) => { part.open = true; }));
addEventListener("afterprint", () => folded().forEach((part) => { part.open = false; }));
