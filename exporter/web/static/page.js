// Ages that advance, and filters that apply while one types. Every page is complete without this script.
"use strict";

const loaded = Date.now();
const offset = Date.parse(document.body.dataset.now) - loaded; // of the exporter's clock from that of the browser
const OLD = 10 * 60 * 1000;

// As format_duration of the exporter: the two largest units.
function duration(milliseconds) {
  const seconds = Math.round(Math.abs(milliseconds) / 1000);
  const amounts = [
    [Math.floor(seconds / 86400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "m"],
    [seconds % 60, "s"],
  ];
  const largest = amounts.findIndex(([amount]) => amount > 0);
  const parts = amounts.slice(largest, largest + 2).filter(([amount]) => amount > 0);
  return largest < 0 ? "0s" : parts.map(([amount, unit]) => amount + unit).join(" ");
}

function updateAges() {
  const now = Date.now() + offset;
  for (const time of document.querySelectorAll("time.age")) {
    time.textContent = duration(now - Date.parse(time.dateTime)) + " ago";
  }
  for (const time of document.querySelectorAll("time.until")) {
    const left = Date.parse(time.dateTime) - now;
    time.textContent = left > 0 ? "in " + duration(left) : duration(left) + " ago";
  }
  if (Date.now() - loaded > OLD) {
    document.body.classList.add("old");
  }
}

let request = 0;

// Replaces the results by those for the filters in the form; the field that is being edited keeps its focus.
async function applyFilters(form) {
  const filters = [...new FormData(form)].filter(([, value]) => value !== "");
  const url = new URL("?" + new URLSearchParams(filters), location.href);
  const number = ++request;
  const response = await fetch(url);
  if (number !== request || !response.ok) {
    return;
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of document.querySelectorAll("[data-results]")) {
    part.replaceWith(page.getElementById(part.id));
  }
  history.replaceState(null, "", url);
}

for (const form of document.querySelectorAll("form.filters")) {
  let timer;
  form.addEventListener("input", (event) => {
    if (event.target.type === "search") {
      clearTimeout(timer);
      timer = setTimeout(() => applyFilters(form).catch(() => {}), 250);
    }
  });
}

setInterval(updateAges, 1000);
