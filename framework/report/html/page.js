// The table is plain HTML already. This filters it, and shows what the witnesses of a cell have seen. Texts of the
// report are put into text nodes only.
(() => {
  const $ = (id) => document.getElementById(id);
  const el = (tag, attrs, ...children) => {
    const e = document.createElement(tag);
    for (const [k, v] of Object.entries(attrs || {})) if (v !== undefined && v !== false) e.setAttribute(k, v === true ? "" : v);
    e.append(...children.flat(Infinity).filter((c) => c !== undefined && c !== null && c !== ""));
    return e;
  };
  const marks = { conforms: "✓", violates: "✗", inconclusive: "?", skipped: "–", "not-applicable": "–" };

  // Filters.
  filterCases({
    of: (body) => ({ verdict: body.dataset.v, labels: body.dataset.l.split(" ") }),
    words: (b) => b.verdict + " " + b.labels.join(" "),
    fields: (form) => ({ label: $("f-label").value, verdicts: [...form.querySelectorAll("[name=verdict]:checked")].map((i) => i.value) }),
    any: (f) => f.label || f.verdicts.length,
    shows: (f, b) => (!f.label || b.labels.includes(f.label)) && (!f.verdicts.length || f.verdicts.includes(b.verdict)),
  });

  // Witnesses.
  let data;
  const open = {}; // what the dialog shows
  const dialog = $("witness"), body = $("witness-body");
  const detail = async (i) => {
    data ||= JSON.parse($("data").textContent);
    if (typeof DecompressionStream === "undefined") throw new Error("this browser cannot decompress data (DecompressionStream); report.json has what the witnesses saw");
    const bytes = Uint8Array.from(atob(data.cases[i]), (c) => c.charCodeAt(0));
    const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    return JSON.parse(text);
  };

  const rows = (pairs, cls) => el("dl", { class: cls || "gotwant" }, pairs.filter(([, v]) => v !== undefined && v !== "" && v !== null)
    .map(([k, v]) => [el("dt", null, k), el("dd", null, v)]));
  const mono = (s) => el("span", { class: "mono" }, String(s));
  const pre = (s) => el("pre", { tabindex: 0 }, s);

  const explain = (map, value) => {
    if (map[value]) return map[value];
    const key = Object.keys(map).filter((k) => value.startsWith(k) && !/^[a-z]/.test(value.slice(k.length))).sort((a, b) => b.length - a.length)[0];
    return key ? map[key] : "";
  };
  const cluster = (value) => explain(data.glossary.clusters, value) ||
    Object.entries(data.glossary.clusters).filter(([k]) => k.endsWith("|") && value.startsWith(k)).map(([, v]) => v)[0] || "";
  const meaning = (field, value) => {
    const g = data.glossary;
    switch (field) {
      case "response_flags":
        return value.split(",").map((f) => el("span", { class: "flag" }, el("b", null, f), " " + (g.flags[f] ? g.flags[f].long + ": " + g.flags[f].text : "unknown to this report")));
      case "response_code_details": return explain(g.details, value);
      case "upstream_cluster": return cluster(value);
      case "route_name": return g.routes[value];
    }
  };
  const hot = new Set(["response_code", "response_flags", "upstream_cluster", "route_name", "response_code_details", "upstream_transport_failure_reason"]);
  const table = (terms, values, label) => {
    const known = terms.filter((t) => values[t.name] !== undefined && values[t.name] !== "");
    return el("table", { class: "line", "aria-label": label }, el("tbody", null, known.map((t) => {
      const v = String(values[t.name]);
      const m = meaning(t.name, v);
      return el("tr", { class: hot.has(t.name) ? "hot" : false }, el("th", { scope: "row" }, t.name), el("td", null, v),
        el("td", null, m && m.length ? m : t.text));
    })));
  };
  const raw = (value) => el("details", null, el("summary", null, "as it is in report.json"), pre(JSON.stringify(value, null, 2)));

  const states = { passed: "passed on", stopped: "ended here", unseen: "not seen", reached: "reached", missed: "not reached" };
  const path = (nodes) => el("ol", { class: "path", "aria-label": "Path of the attempt" }, nodes.map((n, i) => {
    const before = i ? nodes[i - 1].state : "passed";
    const cut = n.state === "missed" || (before !== "passed" && before !== "unseen") ? " cut" : n.state === "unseen" ? " cut unclear" : "";
    return el("li", { class: cut.trim() || false }, el("div", { class: "stop s-" + n.state },
      el("span", { class: "role" }, n.role, el("span", null, states[n.state])), el("b", null, n.name),
      n.in ? el("span", { class: "mono" }, "in " + n.in) : "", n.out ? el("span", { class: "mono" }, "out " + n.out) : "",
      n.note ? el("span", null, n.note) : ""));
  }));

  const client = (c) => rows([
    ["command", c.command ? mono(c.command) : ""],
    ["exit", c.exitCode + (data.glossary.exits[c.exitCode] && !c.shell ? ": " + data.glossary.exits[c.exitCode] : "")],
    ["HTTP status", c.httpCode || (c.raw || c.shell ? "" : "none")], ["gRPC status", c.grpcStatus], ["connection", c.local ? mono(c.local + " → " + (c.remote || "?")) : ""],
    ["took", (c.took / 1e6).toFixed(1) + " ms"], ["held connection", c.held], ["said", c.stderr ? mono(c.stderr.trim()) : ""],
  ]);

  const observation = (o) => {
    const g = data.glossary;
    const out = [path(o.path), el("h3", null, "Client"), client(o.client)];
    if (o.client.stdout) out.push(el("details", null, el("summary", null, "output"), pre(o.client.stdout)));
    if (o.captured) {
      out.push(el("h3", null, "Sidecar's access log"));
      if (!o.mesh || !o.mesh.length) out.push(el("p", { class: "note" }, "No line for this connection."));
      for (const l of o.mesh || []) out.push(table(g.fields, l, "Access log line of the sidecar"), raw(l));
    }
    for (const h of o.hops || []) {
      out.push(el("h3", null, "Access log of gateway " + h.gateway));
      out.push(h.line ? [table(g.fields, h.line, "Access log line of the gateway"), raw(h.line)] : el("p", { class: "note" }, "No line for this connection."));
    }
    if (!o.dns) {
      out.push(el("h3", null, "Destination"));
      if (!o.arrivals.length) out.push(el("p", { class: "note" }, o.blind ? "A host of the live internet: nobody sees what arrives." : "Nothing of it arrived at any host."));
      for (const a of o.arrivals.slice(0, 8)) out.push(table(g.arrival, a, "Arrival"), a.extra ? el("details", null, el("summary", null, "further fields"), pre(JSON.stringify(a.extra, null, 2))) : "");
      const more = Math.max(0, o.arrivals.length - 8);
      if (more) out.push(el("p", { class: "note" }, more + " further arrivals of this attempt are in report.json."));
      if (o.others) out.push(el("p", { class: "note" }, o.others + " arrivals of other attempts over the same connection of the gateway are in report.json."));
    }
    if (o.counters) out.push(el("h3", null, "Counters of the sidecar grew by"), rows(Object.entries(o.counters).map(([k, v]) => [mono(k), String(v)])));
    return out.flat();
  };

  const probe = (ph, p) => {
    const out = [rows([
      ["got", el("span", { class: "v-" + p.verdict }, el("b", null, marks[p.verdict] + " " + p.gotWords), p.got ? " (" + p.got + ")" : "")], ["that is", p.gotMeaning],
      ["wanted", p.wantWords + (p.want === p.wantWords ? "" : " (" + p.want + ")")], ["why", p.verdict === "conforms" ? "" : p.why],
      ["attempts", p.rounds ? String(p.rounds) + ", the last of them below" : ""], ["landed at", p.landings && Object.keys(p.landings).length > 1 ? Object.entries(p.landings).map(([k, v]) => k + " " + v).join(", ") : ""],
      ["phase", ph.phase + ", " + ph.seconds.toFixed(2) + " s, " + (ph.acknowledged ? "every proxy has acknowledged the push" : "no push was acknowledged")],
    ])];
    for (const n of ph.notes || []) out.push(el("p", { class: "note" }, n));
    const attempt = el("div");
    const obs = p.observations || [];
    const show = (i) => {
      attempt.replaceChildren(...observation(obs[i]));
      tabs.querySelectorAll("button").forEach((b, n) => b.setAttribute("aria-pressed", n === i));
    };
    const tabs = el("div", { class: "tabs", role: "group", "aria-label": "Attempts" }, obs.map((_, i) => {
      const b = el("button", { type: "button" }, "attempt " + (i + 1));
      b.addEventListener("click", () => show(i));
      return b;
    }));
    if (obs.length > 1) out.push(tabs);
    out.push(attempt);
    if (obs.length) show(obs.length - 1);
    else out.push(el("p", { class: "note" }, "No attempt was made."));
    for (const a of p.unexplained || []) out.push(el("h3", null, "Arrival from the pod that no probe explains"), table(data.glossary.arrival, a, "Unexplained arrival"));
    if (p.control) {
      out.push(el("h3", null, "Control client, without a sidecar"));
      out.push(rows([["reached it", p.control.reached ? "yes" : "no"], ["found", p.control.detail]]), client(p.control.client));
    }
    return out;
  };

  const about = (d) => {
    const out = [rows([
      ["claim", d.claim], ["source", d.source], ["observed", d.observed], ["verdict", el("b", { class: "v-" + d.verdict }, d.verdict)], ["why", d.why],
      ["labels", (d.labels || []).join(", ")], ["needs", (d.needs || []).join("; ")], ["took", d.seconds ? d.seconds.toFixed(2) + " s" : ""], ["debug bundle", d.bundle ? mono(d.bundle) : ""],
    ])];
    if (d.rerun) out.push(el("h3", null, "Run it again"), pre(d.rerun));
    if (d.applied) out.push(el("h3", null, "Objects that were applied"), ...d.applied.map(pre));
    return out;
  };

  const render = () => {
    const { d, i, ph, p } = open;
    const title = el("h2", { id: "witness-title", tabindex: -1 }, d.name);
    const close = el("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
    close.addEventListener("click", () => dialog.close());
    const tab = (label, pressed, to) => {
      const b = el("button", { type: "button", "aria-pressed": String(pressed) }, label);
      b.addEventListener("click", () => go(i, to.ph, to.p));
      return b;
    };
    const tabs = el("div", { class: "tabs", role: "group", "aria-label": "Phases" }, d.phases.map((x) => tab((x.probes[p || 0] ? marks[x.probes[p || 0].verdict] + " " : "") + x.phase, x.phase === ph, { ph: x.phase, p: p || 0 })), tab("the case", ph === undefined, {}));
    const top = [title, close, tabs];
    if (ph !== undefined && d.probes.length > 1) {
      top.push(el("div", { class: "tabs", role: "group", "aria-label": "Probes" }, d.probes.map((x, n) => tab(x, n === p, { ph, p: n }))));
    }
    const phase = d.phases.find((x) => x.phase === ph);
    const result = phase && phase.probes[p];
    const content = ph === undefined ? about(d) : result ? [el("p", { class: "note" }, d.claim), d.probes.length > 1 ? "" : el("div", null, mono(result.probe || d.probes[p])), ...probe(phase, result)]
      : [el("p", { class: "note" }, "Nothing was tried in this phase.")];
    body.replaceChildren(el("div", { class: "dlg" }, el("div", { class: "dlg-top" }, ...top), ...content.flat(Infinity).filter(Boolean)));
    dialog.scrollTop = 0;
    history.replaceState(null, "", "#case=" + encodeURIComponent(d.name) + (ph === undefined ? "" : "&phase=" + ph + "&probe=" + p));
  };

  const go = async (i, ph, p) => {
    const kept = dialog.open && document.activeElement && document.activeElement.textContent;
    try {
      open.d = open.i === i && open.d ? open.d : await detail(i);
      Object.assign(open, { i, ph, p });
      render();
    } catch (e) {
      const close = el("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
      close.addEventListener("click", () => dialog.close());
      body.replaceChildren(el("div", { class: "dlg" }, el("div", { class: "dlg-top" }, el("h2", { id: "witness-title", tabindex: -1 }, "The witnesses cannot be shown"), close), el("p", null, e.message)));
    }
    if (!dialog.open) dialog.showModal();
    const again = kept && [...body.querySelectorAll(".dlg-top .tabs button")].find((b) => b.textContent === kept);
    (again || $("witness-title")).focus();
  };

  document.addEventListener("click", (e) => {
    const b = e.target.closest("[data-c]");
    if (b) go(Number(b.dataset.c), b.dataset.ph, b.dataset.ph === undefined ? undefined : Number(b.dataset.p));
    else if (e.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));
  dialog.addEventListener("keydown", (e) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!step || !open.d || open.ph === undefined || e.altKey || e.ctrlKey || e.metaKey || e.target.closest("pre")) return;
    const at = open.d.phases.findIndex((x) => x.phase === open.ph);
    const to = open.d.phases[at + step];
    if (to) { e.preventDefault(); go(open.i, to.phase, open.p); }
  });
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((x) => { x.open = true; }));

  // A link to one case: #case=NAME&phase=applied&probe=0
  const link = new URLSearchParams(location.hash.slice(1));
  if (link.has("case")) {
    const b = [...document.querySelectorAll("th .name")].find((x) => x.textContent.trim().endsWith(" " + link.get("case")));
    if (b) go(Number(b.dataset.c), link.get("phase") || undefined, link.has("phase") ? Number(link.get("probe") || 0) : undefined);
  }
})();
