// The grid is plain HTML already. This filters it, and opens the case that the address names.
(() => {
  const only = document.getElementById("f-only");
  only.checked = only.hasAttribute("data-first"); // not in the form's own values, so that "Show all" shows all
  filterCases({
    of: (body) => ({ classes: body.dataset.k.split(" ").filter(Boolean), verdicts: body.dataset.v.split("|") }),
    words: (b) => b.classes.join(" ") + " " + b.verdicts.join(" "),
    fields: (form) => ({
      only: only.checked, verdict: document.getElementById("f-verdict").value,
      classes: [...form.querySelectorAll("[name=class]:checked")].map((i) => i.value),
    }),
    any: (f) => f.only || f.verdict || f.classes.length,
    shows: (f, b) => (!f.only || b.classes.length) && (!f.verdict || b.verdicts.includes(f.verdict)) && (!f.classes.length || f.classes.some((c) => b.classes.includes(c))),
  });
  window.addEventListener("beforeprint", () => {
    for (const d of document.querySelectorAll("details")) if (!d.closest("[hidden]")) d.open = true;
  });

  // A link to one case: #case=NAME
  const show = () => {
    const name = new URLSearchParams(location.hash.slice(1)).get("case");
    const body = name && [...document.querySelectorAll("tbody.case")].find((b) => b.dataset.name === name);
    if (!body) return;
    const go = () => {
      const details = body.querySelector("details");
      if (details) { details.open = true; details.querySelector("summary").focus(); }
      body.scrollIntoView({ block: "center" });
    };
    if (body.hidden) { document.getElementById("filter").reset(); setTimeout(go); } else go();
  };
  window.addEventListener("hashchange", show);
  show();
})();
