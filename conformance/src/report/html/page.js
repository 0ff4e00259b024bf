"use strict";
// What all pages share: the theme's button, and buttons that copy.
(function () {
  const root = document.documentElement;
  root.classList.add("scripted");
  const themes = ["system", "light", "dark"];
  const button = document.getElementById("theme");
  let theme = "system";
  // A page that is opened as a file may be denied the storage.
  try { theme = localStorage.getItem("theme") || theme; } catch (_) { /* for this view only */ }
  const apply = function (next) {
    theme = themes.includes(next) ? next : "system";
    if (theme === "system") { root.removeAttribute("data-theme"); } else { root.setAttribute("data-theme", theme); }
    button.textContent = "Theme: " + theme;
    try { localStorage.setItem("theme", theme); } catch (_) { /* for this view only */ }
  };
  apply(theme);
  button.addEventListener("click", function () { apply(themes[(themes.indexOf(theme) + 1) % themes.length]); });

  // The clipboard is not there for every page that is opened as a file.
  const copy = function (text) {
    if (navigator.clipboard) { return navigator.clipboard.writeText(text); }
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done ? Promise.resolve() : Promise.reject(new Error("not copied"));
  };
  document.addEventListener("click", function (event) {
    const target = event.target.closest("[data-copy]");
    if (target === null) { return; }
    const label = target.textContent;
    const tell = function (word) {
      target.textContent = word;
      setTimeout(function () { target.textContent = label; }, 1500);
    };
    copy(target.dataset.copy).then(function () { tell("Copied"); }, function () { tell("Select and copy by hand"); });
  });
})();
