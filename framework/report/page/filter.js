"use strict";
// Filters a table that is plain HTML already: sections .area, with a tbody for each case, and the form #filter. A page has fields
// of its own besides text and area:
//   of(tbody)       what its fields look at in a case
//   words(case)     what a text is looked for in, besides what the case shows
//   fields(form)    the values of its fields
//   any(fields)     whether one of them is set
//   shows(fields, case)
const filterCases = (page) => {
  const $ = (id) => document.getElementById(id);
  const form = $("filter");
  const areas = [...document.querySelectorAll(".area")];
  const bodies = areas.flatMap((a) => [...a.querySelectorAll("tbody.case")].map((body) => ({ body, area: a.dataset.area, text: undefined, ...page.of(body) })));
  const filter = () => {
    const words = $("f-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const area = $("f-area").value, fields = page.fields(form);
    const left = new Set();
    let n = 0;
    for (const b of bodies) {
      if (words.length && b.text === undefined) b.text = (b.area + " " + page.words(b) + " " + b.body.textContent).toLowerCase();
      const shown = (!area || b.area === area) && Boolean(page.shows(fields, b)) && words.every((w) => b.text.includes(w));
      if (b.body.hidden === shown) b.body.hidden = !shown;
      if (shown) { n++; left.add(b.area); }
    }
    for (const a of areas) a.hidden = !left.has(a.dataset.area);
    $("nothing").hidden = n > 0;
    $("f-reset").hidden = !(words.length || area || page.any(fields));
    $("f-count").textContent = n === bodies.length ? n + " cases" : n + " of " + bodies.length + " cases";
  };
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter)); // the fields have their first values only then
  form.addEventListener("submit", (e) => e.preventDefault());
  for (const a of document.querySelectorAll(".glance a")) {
    a.addEventListener("click", () => { if ($(a.hash.slice(1)).hidden) form.reset(); });
  }
  filter();
};
