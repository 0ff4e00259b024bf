// A run: search, filter, and links to cases that are folded up or filtered out.
(function () {
  const cases = Array.from(document.querySelectorAll(".case"));
  const areas = Array.from(document.querySelectorAll(".area"));
  const search = document.getElementById("search");
  const boxes = Array.from(document.querySelectorAll("input[name=ending]"));
  const shown = document.getElementById("shown");
  const texts = new Map();
  const textOf = function (element) {
    if (!texts.has(element)) { texts.set(element, element.textContent.toLowerCase()); }
    return texts.get(element);
  };
  const filter = function () {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const endings = new Set(boxes.filter(function (box) { return box.checked; }).map(function (box) { return box.value; }));
    let count = 0;
    cases.forEach(function (element) {
      const matches = endings.has(element.dataset.ending)
        ? words.every(function (word) { return textOf(element).includes(word); })
        : false;
      element.hidden = !matches;
      count += matches ? 1 : 0;
    });
    areas.forEach(function (area) { area.hidden = area.querySelector(".case:not([hidden])") === null; });
    shown.textContent = count + " of " + cases.length + " cases";
  };
  const visit = function () {
    const element = document.getElementById(location.hash.slice(1));
    if (element === null) { return; }
    if (element.hidden || element.closest("[hidden]") !== null) {
      search.value = "";
      boxes.forEach(function (box) { box.checked = true; });
      filter();
    }
    if (element.matches("details")) { element.open = true; }
    element.scrollIntoView();
  };
  const fold = function (open) {
    cases.forEach(function (element) { if (!element.hidden) { element.open = open; } });
  };
  search.addEventListener("input", filter);
  search.form.addEventListener("submit", function (event) { event.preventDefault(); });
  boxes.forEach(function (box) { box.addEventListener("change", filter); });
  document.getElementById("unfold").addEventListener("click", function () { fold(true); });
  document.getElementById("fold").addEventListener("click", function () { fold(false); });
  addEventListener("hashchange", visit);
  // Following the same link again is no change.
  document.addEventListener("click", function (event) {
    const link = event.target.closest("a[href]");
    if (link !== null) { if (link.getAttribute("href") === location.hash) { visit(); } }
  });
  filter();
  visit();
})();
