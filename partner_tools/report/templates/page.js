"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const words = data.words;
  const byId = (id) => document.getElementById(id);
  const hostile = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]|[\u{e0000}-\u{e0fff}]|\p{Surrogate}/gu;
  const visible = (text) => String(text).replace(hostile, (one) =>
    "⟨U+" + one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩");

  /* Build elements from texts alone: nothing of the data is ever read as markup. */
  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }
  const foreign = (text, className) => make("bdi", className ? { class: className } : {}, visible(text));
  const status = (name) => make("span", { class: "status " + name },
    make("span", { class: "mark", "aria-hidden": "true" }), words.statuses[name]);
  function moment(written) {
    const at = new Date(written);
    const day = at.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });
    return day + ", " + at.toISOString().slice(11, 16) + " UTC";
  }

  const guide = new Map(data.guide.map((chapter) => [chapter.id, chapter]));
  const devices = data.devices.map(([row, serial, productKey, name, user, reference, requestId, correlationId, shared, steps, commands, planes, extra]) => ({
    row, serial, productKey, name, user, reference, requestId, correlationId, commands, extra,
    ...data.pool[shared],
    steps: data.pool[steps],
    planes: planes.map(([common, found]) => ({ ...data.pool[common], found: found.map(([name, value]) => [data.pool[name], value]) })),
  }));
  const plane = (device, name) => device.planes.find((one) => one.plane === name);
  const haystacks = devices.map((device) => [
    device.serial, device.productKey, device.name, device.user, device.reference, device.manufacturer, device.model,
    device.requestId, device.correlationId, ...device.extra.map(([, value]) => value),
    ...device.planes.flatMap((one) => one.found.map(([, value]) => value)),
  ].filter(Boolean).join("\n").toLowerCase());

  /* ---- filter and sort ---------------------------------------------------------------------- */
  const severity = Object.keys(words.statuses);
  const outcomes = Object.keys(words.outcomes);
  const collator = new Intl.Collator("en", { numeric: true });
  const rank = (name) => (device) => {
    const one = plane(device, name);
    return one ? severity.indexOf(one.status) : severity.length;
  };
  const columns = [
    { title: "Row", kind: "row", key: (device) => device.row },
    { title: "Device", kind: "device", key: (device) => device.serial || device.productKey || "" },
    { title: "Outcome", kind: "outcome", key: (device) => outcomes.indexOf(device.outcome) },
    ...data.planes.map((name) => ({ title: words.planes[name].replace("Windows ", ""), kind: "plane", plane: name, key: rank(name) })),
    { title: "Steps", kind: "left", key: (device) => -device.steps.length },
    { title: "Details", kind: "open" },
  ];
  const state = { sort: 0, down: false, order: [], view: [] };
  const controls = { query: byId("query"), step: byId("by-step"), plane: byId("by-plane"), status: byId("by-status"), outcome: byId("by-outcome") };

  function matchesStatus(device, wanted) {
    if (wanted.step) return device.steps.some((one) => one.id === wanted.step && one.status === wanted.status);
    if (wanted.plane) return plane(device, wanted.plane)?.status === wanted.status;
    return device.steps.some((one) => one.status === wanted.status) || device.planes.some((one) => one.status === wanted.status);
  }
  function matches(place, wanted) {
    const device = devices[place];
    return wanted.terms.every((term) => haystacks[place].includes(term))
      && (!wanted.outcome || device.outcome === wanted.outcome)
      && (!wanted.step || device.steps.some((one) => one.id === wanted.step))
      && (!wanted.plane || wanted.status !== "" || device.steps.some((one) => one.plane === wanted.plane))
      && (!wanted.status || matchesStatus(device, wanted));
  }
  function sort() {
    const keys = devices.map(columns[state.sort].key);
    const way = state.down ? -1 : 1;
    const compare = typeof keys[0] === "string" ? (a, b) => collator.compare(keys[a], keys[b]) : (a, b) => keys[a] - keys[b];
    state.order = devices.map((_, place) => place).sort((a, b) => way * compare(a, b) || a - b);
  }
  function refresh() {
    const wanted = {
      terms: controls.query.value.toLowerCase().split(/\s+/).filter(Boolean),
      step: controls.step.value, plane: controls.plane.value, status: controls.status.value, outcome: controls.outcome.value,
    };
    state.view = state.order.filter((place) => matches(place, wanted));
    const all = devices.length.toLocaleString("en");
    const some = state.view.length.toLocaleString("en");
    byId("found").textContent = some === all ? all + (devices.length === 1 ? " device" : " devices") : some + " of " + all + " devices";
    byId("none").hidden = state.view.length > 0;
    table.setAttribute("aria-rowcount", String(state.view.length + 1));
    rows.clear();
    body.replaceChildren(above, below);
    draw();
  }

  /* ---- the table: only the rows near the window exist ------------------------------------------ */
  const table = byId("table");
  const body = table.tBodies[0];
  const space = () => make("tr", { class: "space", "aria-hidden": "true" }, make("td", { colspan: String(columns.length) }));
  const above = space();
  const below = space();
  const rows = new Map();
  const WHOLE = 200;
  const SPARE = 12;

  function cell(device, column) {
    if (column.kind === "row") return make("td", { role: "cell", class: "w-row row" }, String(device.row));
    if (column.kind === "outcome") return make("td", { role: "cell", class: "w-outcome" }, words.outcomes[device.outcome]);
    if (column.kind === "left") return make("td", { role: "cell", class: "w-left left", "data-title": "Steps" }, device.steps.filter((one) => data.open.includes(one.status)).map((one) => one.order).join(", ") || "none");
    if (column.kind === "open") {
      const name = visible(device.serial || device.productKey || "row " + device.row);
      return make("td", { role: "cell", class: "w-open" }, make("button", { type: "button", class: "open-device", "aria-haspopup": "dialog", "aria-label": "Details of " + name }, "Details"));
    }
    if (column.kind === "plane") {
      const one = plane(device, column.plane);
      return make("td", { role: "cell", class: "w-plane", "data-title": column.title }, one ? status(one.status) : "");
    }
    const whose = [device.name, device.user].filter(Boolean).map(visible).join(" · ");
    const made = [device.manufacturer, device.model].filter(Boolean).map(visible).join(" ");
    return make("th", { role: "rowheader", class: "w-device", scope: "row" },
      make("span", { class: "cut" }, foreign(device.serial || device.productKey || "–", "serial")),
      make("span", { class: "model cut" }, make("bdi", {}, whose || made)),
      make("span", { class: "model cut" }, make("bdi", {}, whose ? made : "")));
  }
  function row(at) {
    const place = state.view[at];
    const element = make("tr", { role: "row", "aria-rowindex": String(at + 2), "data-at": String(at) }, ...columns.map((column) => cell(devices[place], column)));
    return element;
  }
  const height = () => parseFloat(getComputedStyle(table).getPropertyValue("--row")) * parseFloat(getComputedStyle(document.documentElement).fontSize);
  function range() {
    const count = state.view.length;
    if (count <= WHOLE) return [0, count];
    const top = body.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / height()) - SPARE);
    const last = Math.ceil((window.innerHeight - top) / height()) + SPARE;
    return [Math.min(first, count), Math.min(Math.max(last, 2 * SPARE), count)];
  }
  function draw() {
    const [first, last] = range();
    for (const [at, element] of rows) {
      if (at < first || at >= last) { element.remove(); rows.delete(at); }
    }
    let before = above;
    for (let at = first; at < last; at += 1) {
      let element = rows.get(at);
      if (!element) {
        element = row(at);
        rows.set(at, element);
        before.after(element);
      }
      before = element;
    }
    above.hidden = first === 0;
    below.hidden = last >= state.view.length;
    above.firstChild.style.height = first * height() + "px";
    below.firstChild.style.height = (state.view.length - last) * height() + "px";
  }
  let waiting = false;
  function drawSoon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }
  function focusRow(at) {
    if (at < 0 || at >= state.view.length) return;
    if (!rows.has(at)) {
      window.scrollTo({ top: window.scrollY + body.getBoundingClientRect().top + at * height() - window.innerHeight / 2, behavior: "instant" });
      draw();
    }
    rows.get(at)?.querySelector("button").focus();
  }

  function heads() {
    const line = make("tr", { role: "row", "aria-rowindex": "1" });
    columns.forEach((column, place) => {
      if (!column.key) {
        line.append(make("th", { role: "columnheader", scope: "col", class: "text w-" + column.kind }, make("span", { class: "hidden" }, column.title)));
        return;
      }
      const button = make("button", { type: "button" }, column.title + " ", make("span", { class: "way", "aria-hidden": "true" }));
      button.addEventListener("click", () => {
        state.down = state.sort === place && !state.down;
        state.sort = place;
        mark();
        sort();
        refresh();
      });
      line.append(make("th", { role: "columnheader", scope: "col", class: "w-" + column.kind }, button));
    });
    table.tHead.append(line);
  }
  function mark() {
    [...table.tHead.rows[0].cells].forEach((head, place) => {
      const way = head.querySelector(".way");
      if (!way) return;
      const chosen = place === state.sort;
      way.textContent = chosen ? (state.down ? "↓" : "↑") : "";
      if (chosen) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }

  /* ---- one device ------------------------------------------------------------------------------ */
  const sheet = byId("sheet");
  function copyButton(text, what) {
    const button = make("button", { type: "button", class: "copy", "aria-label": "Copy " + what }, "Copy");
    button.addEventListener("click", () => copy(text, button, what));
    return button;
  }
  function command(text, what) {
    return make("div", { class: "command" },
      make("pre", { tabindex: "0", role: "region", "aria-label": what }, make("code", {}, visible(text))), copyButton(text, what));
  }
  const isId = (value) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value);
  function facts(pairs) {
    const list = make("dl", { class: "ids" });
    for (const [title, value, copied] of pairs) {
      if (value === null || value === undefined || value === "") continue;
      list.append(make("div", {}, make("dt", {}, visible(title)),
        make("dd", { class: "id" }, foreign(value), copied || isId(value) ? copyButton(String(value), visible(title)) : null)));
    }
    return list.childElementCount ? list : null;
  }
  /* ---- ticks: kept in this browser, saved as a results file --------------------------------------- */
  const shelf = data.result && "partner-tools " + data.result.answers;
  let ticks = new Map();
  try { ticks = new Map(JSON.parse(localStorage.getItem(shelf) || "[]")); } catch { /* no storage: ticks last as long as the page */ }
  const now = () => new Date().toISOString().slice(0, 19) + "Z";
  const isTheirs = (step) => data.open.includes(step.status) && step.owner !== "partner";
  const key = (place, step) => place + " " + step.id;
  const due = [];
  devices.forEach((device, place) => device.steps.forEach((step) => { if (isTheirs(step)) due.push([place, step]); }));
  function tick(pairs, done) {
    for (const [place, step] of pairs) {
      if (done) { if (!ticks.has(key(place, step))) ticks.set(key(place, step), now()); } else ticks.delete(key(place, step));
    }
    try { localStorage.setItem(shelf, JSON.stringify([...ticks])); } catch { /* as above */ }
    showTicks();
  }
  function showTicks() {
    const counts = new Map();
    for (const [place, step] of due) {
      const [all, done] = counts.get(step.id) || [0, 0];
      counts.set(step.id, [all + 1, done + (ticks.has(key(place, step)) ? 1 : 0)]);
    }
    for (const box of document.querySelectorAll(".tick [data-step]")) {
      const [all, done] = counts.get(box.dataset.step) || [0, 0];
      box.checked = all > 0 && done === all;
      box.indeterminate = done > 0 && done < all;
    }
    byId("ticks").hidden = ticks.size === 0;
    byId("ticked").textContent = ticks.size.toLocaleString("en") + " of " + due.length.toLocaleString("en") + " steps ticked in this browser.";
  }
  function saveResults() {
    const { name, version, ...head } = data.result;
    const told = devices.map((device, place) => ({ device, place, theirs: device.steps.filter(isTheirs) }))
      .filter(({ place, theirs }) => theirs.some((step) => ticks.has(key(place, step))))
      .map(({ device, place, theirs }) => ({
        row: device.row, serialNumber: device.serial,
        outcome: theirs.every((step) => ticks.has(key(place, step))) ? "done" : "left",
        steps: theirs.filter((step) => ticks.has(key(place, step))).map((step) => ({ id: step.id, status: "done", at: ticks.get(key(place, step)) })),
        planes: {},
      }));
    const result = {
      schemaVersion: "1", ...head, startedAt: [...ticks.values()].sort()[0], updatedAt: now(),
      by: { tool: "page", version, account: null }, applied: true, finished: true, devices: told,
    };
    const link = make("a", { download: name, href: URL.createObjectURL(new Blob([JSON.stringify(result, null, 1)], { type: "application/json" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    byId("said").textContent = "Results file saved: " + name;
  }
  function tickBox(device, step) {
    if (!shelf || !isTheirs(step)) return null;
    const pair = [devices.indexOf(device), step];
    const box = make("input", { type: "checkbox" });
    box.checked = ticks.has(key(...pair));
    box.addEventListener("change", () => tick([pair], box.checked));
    return make("label", { class: "tick" }, box, step.id === "back-up-keys" ? " Saved" : " Done");
  }

  function stepItem(device, step, text) {
    const after = step.after.map((id) => guide.get(id).order).join(", ");
    return make("li", {}, make("span", { class: "at", "aria-hidden": "true" }, String(step.order)),
      make("div", {},
        make("span", { class: "hidden" }, "Step " + step.order + ": "),
        make("strong", {}, guide.get(step.id).title), " ", status(step.status), " ",
        "· " + data.owners[step.owner] + (after ? ", after step " + after : ""),
        make("span", { class: "why" }, step.why.replaceAll("'", "\u2019")), tickBox(device, step),
        text ? command(text, "PowerShell of step " + step.order) : null));
  }
  function planeItem(one) {
    const seen = one.observedAt ? "looked at " + moment(one.observedAt) : "";
    const older = one.lastStatus ? "before that " + words.statuses[one.lastStatus].toLowerCase() + ", " + moment(one.lastObservedAt) : "";
    return [
      make("p", { class: "plane" }, words.planes[one.plane], " ", status(one.status), make("span", { class: "seen" }, [seen, older].filter(Boolean).join("; "))),
      one.note ? make("p", { class: "why" }, one.note) : null,
      facts([["Error", one.error], ["Request id of the check", one.requestId, true], ...one.found]),
    ];
  }
  function show(device) {
    const made = [device.manufacturer, device.model].filter(Boolean).join(" ");
    byId("sheet-body").replaceChildren(
      make("h2", { id: "sheet-title", tabindex: "-1" }, foreign(device.serial || device.productKey || "Row " + device.row)),
      make("p", { class: "why" }, device.name ? foreign(device.name) : "", device.name ? " · " : "", device.user ? foreign(device.user) : "", device.user ? " · " : "", foreign(made), made ? " · " : "", words.joins[device.joinType], " · row " + device.row),
      make("p", { class: "say" }, make("strong", {}, words.outcomes[device.outcome]),
        device.removedAt ? ", " + moment(device.removedAt) : "", device.detail ? ": " : "", device.detail ? foreign(device.detail) : ""),
      device.remedy ? make("p", { class: "why" }, foreign(device.remedy)) : "",
      make("h3", {}, "What is left to do"),
      device.steps.length ? make("ol", { class: "todo" }, ...device.steps.map((step, place) => stepItem(device, step, device.commands[place]))) : make("p", { class: "say" }, "Nothing."),
      make("h3", {}, "Where it was looked for"),
      ...device.planes.flatMap(planeItem).filter(Boolean),
      make("h3", {}, "For a support case"),
      facts([["Request id", device.requestId, true], ["Correlation id", device.correlationId, true], ["Serial number", device.serial, true], ["Product key id", device.productKey, true],
        ["Reference", device.reference], ...device.extra]) || "",
    );
    sheet.showModal();
    sheet.scrollTop = 0;
    byId("sheet-title").focus();
  }

  /* ---- copying --------------------------------------------------------------------------------- */
  function copyOldWay(text) {
    const area = make("textarea", { class: "hidden", "aria-hidden": "true" });
    area.value = text;
    (sheet.open ? sheet : document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
  async function copy(text, button, what) {
    let done = true;
    try { await navigator.clipboard.writeText(text); } catch { done = copyOldWay(text); button.focus(); }
    button.textContent = done ? "Copied" : "Not copied";
    byId("said").textContent = done ? what + " copied" : what + " could not be copied";
    setTimeout(() => { button.textContent = "Copy"; byId("said").textContent = ""; }, 2000);
  }

  /* ---- wiring ---------------------------------------------------------------------------------- */
  function offer(select, pairs) {
    for (const [value, title] of pairs) select.append(make("option", { value }, title));
  }
  function occurring(names, has) { return names.filter((name) => devices.some((device) => has(device, name))); }
  offer(controls.step, data.guide.filter((chapter) => devices.some((device) => device.steps.some((step) => step.id === chapter.id)))
    .map((chapter) => [chapter.id, chapter.order + ". " + chapter.title]));
  offer(controls.plane, occurring(Object.keys(words.planes), (device, name) => plane(device, name)).map((name) => [name, words.planes[name]]));
  offer(controls.status, severity.map((name) => [name, words.statuses[name]]));
  offer(controls.outcome, occurring(outcomes, (device, name) => device.outcome === name).map((name) => [name, words.outcomes[name]]));

  controls.query.addEventListener("input", refresh);
  for (const name of ["step", "plane", "status", "outcome"]) controls[name].addEventListener("change", refresh);
  const form = document.querySelector(".tools");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(refresh));
  body.addEventListener("click", (event) => {
    const button = event.target.closest(".open-device");
    if (button) show(devices[state.view[Number(button.closest("tr").dataset.at)]]);
  });
  body.addEventListener("keydown", (event) => {
    const line = event.target.closest("tr[data-at]");
    if (!line) return;
    const at = Number(line.dataset.at);
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: state.view.length - 1 };
    if (event.key in moves) { event.preventDefault(); focusRow(moves[event.key]); }
  });
  sheet.addEventListener("click", (event) => { if (event.target === sheet) sheet.close(); });
  for (const button of document.querySelectorAll(".show")) {
    button.addEventListener("click", () => {
      form.reset();
      controls.step.value = button.dataset.step;
      setTimeout(() => { refresh(); byId("devices").scrollIntoView(); byId("devices").focus({ preventScroll: true }); });
    });
    button.hidden = false;
  }
  for (const button of document.querySelectorAll(".command > .copy")) {
    const text = button.parentElement.querySelector("code").textContent;
    button.setAttribute("aria-label", "Copy " + button.dataset.what);
    button.addEventListener("click", () => copy(text, button, button.dataset.what));
    button.hidden = false;
  }
  if (shelf) {
    for (const box of document.querySelectorAll(".tick [data-step]")) {
      box.parentElement.hidden = false;
      box.addEventListener("change", () => tick(due.filter(([, step]) => step.id === box.dataset.step), box.checked));
    }
    byId("save-results").addEventListener("click", saveResults);
    byId("clear-ticks").addEventListener("click", () => { ticks.clear(); tick([], false); });
    showTicks();
  }
  byId("print-details").addEventListener("change", (event) => document.documentElement.classList.toggle("print-details", event.target.checked));
  window.addEventListener("scroll", drawSoon, { passive: true });
  window.addEventListener("resize", drawSoon);
  heads();
  mark();
  byId("explorer").hidden = false;
  document.documentElement.classList.add("js");
  sort();
  refresh();
})();
