// Asks the daemon for its status and draws it. All text of others (streams, blobs, errors) goes through textContent.
"use strict";

const EVERY = 2000;
const HOUR = 3600;
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
const drawn = new Map();
let lastGood = null;

// ------------------------------------------------------------------ words

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const some = (value) => (Math.abs(value) >= 10000 ? short.format(value) : whole.format(Math.abs(value) >= 100 ? Math.round(value) : Math.round(value * 10) / 10));

function bytes(value) {
  if (value === null) return "unknown";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  while (value >= 1024 && place < units.length - 1) { value /= 1024; place += 1; }
  return `${value.toLocaleString("en", { maximumFractionDigits: value < 10 && place ? 1 : 0 })} ${units[place]}`;
}

function seconds(value) {
  if (value === null) return "–";
  if (value < 1) return `${(value * 1000).toLocaleString("en", { maximumFractionDigits: value < 0.01 ? 1 : 0 })} ms`;
  if (value < 120) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  if (value < 172800) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86400)} days`;
}

const money = (value) => (value === 0 ? "0" : value < 0.01 ? "< 0.01" : value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 }));
const COLLECTED = { on: "yes", off: "switched off", unset: "host decides", unknown: "unknown" };
const collected = (word) => COLLECTED[word] || `sampled, ${word}`;

// ------------------------------------------------------------------ elements

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  for (const child of children) if (child !== null && child !== undefined) element.append(child);
  return element;
}

// Draws only what has changed, so that a screen reader, a selection and the focus are left in peace.
function draw(id, value, elements) {
  const said = JSON.stringify(value);
  if (drawn.get(id) === said) return;
  drawn.set(id, said);
  byId(id).replaceChildren(...elements());
}

const pairs = (items) => items.map(([name, value]) => make("div", null, make("dt", null, name), make("dd", null, value)));

function path(values, top) {
  // Over what was not measured the line goes on; a point that stands alone is a dot.
  let text = "";
  values.forEach((value, place) => {
    if (value === null) return;
    const x = values.length > 1 ? (place / (values.length - 1)) * 120 : 120;
    const y = (31 - (value / top) * 28).toFixed(2);
    text += text ? `L${x.toFixed(2)} ${y}` : `M${x.toFixed(2)} ${y}h0`;
  });
  return text;
}

// `span`: seconds that the curves are of. What was before the first measurement is not drawn.
function sparkline(label, curves, say, span) {
  const begins = curves.map((values) => values.findIndex((value) => value !== null)).filter((place) => place >= 0);
  const lines = curves.map((values) => values.slice(begins.length ? Math.min(...begins) : 0));
  const known = lines.flat().filter((value) => value !== null);
  const last = seconds(span * (lines[0].length / (curves[0].length || 1)));
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 120 32");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const part = (tag, attributes) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    svg.append(element);
  };
  part("line", { class: "base", x1: 0, y1: 31.5, x2: 120, y2: 31.5 });
  if (!known.length) {
    svg.setAttribute("aria-label", `${label}: nothing to draw yet`);
    return make("div", { class: "curve" }, svg, make("p", { "aria-hidden": "true" }, "nothing to draw yet"));
  }
  const most = Math.max(...known);
  const top = most || 1;
  svg.setAttribute("aria-label", `${label} over the last ${last}: least ${say(Math.min(...known))}, most ${say(most)}, now ${say(lines[0].findLast((value) => value !== null) ?? 0)}`);
  const first = lines[0];
  if (!first.includes(null) && first.length > 1) part("path", { class: "area", d: `${path(first, top)}L120 31.5L0 31.5Z` });
  lines.forEach((values, place) => part("path", { class: place ? "other" : "line", d: path(values, top) }));
  return make("div", { class: "curve" }, svg, make("p", { "aria-hidden": "true" }, `most in ${last}: ${say(most)}`));
}

function card(title, value, unit, detail, lines, say, span) {
  return make("section", { class: "card" }, make("h3", null, title),
    make("div", { class: "value" }, value, make("small", null, unit ? ` ${unit}` : "")),
    make("p", { class: "detail" }, detail), sparkline(title, lines, say, span));
}

// ------------------------------------------------------------------ parts of the page

function problems(status) {
  const found = [];
  const say = (kind, word, text) => found.push([kind, word, text]);
  if (status.held) say("bad", "Nothing is uploaded:", status.held);
  if (status.log_lost) say("bad", "The log was gone at the start:", "rows that had not landed by then are lost.");
  if (status.parked.refused_partitions) say("bad", "Rows are rejected:", `no more may wait for ${status.parked.refused_partitions} blocked blobs.`);
  if (status.claim && !status.claim.held) say("bad", "The spool's claim is not held:", status.claim.why);
  for (const one of status.troubles.filter((trouble) => trouble.blocked)) say("bad", "Blocked, somebody has to act:", `${one.blob}: ${one.detail}`);
  const retried = status.troubles.filter((trouble) => !trouble.blocked);
  for (const one of retried.slice(0, 5)) say("warn", "Retrying:", `${one.blob}: ${one.detail} (again in ${seconds(one.again_in_seconds)})`);
  if (retried.length > 5) say("warn", "Retrying:", `${retried.length - 5} more blobs`);
  if (status.quarantine.items) say("warn", "In quarantine:", `${whole.format(status.quarantine.rows)} rows; see collectord quarantine ls`);
  if (status.settings.problem) say("warn", "The file of settings does not count:", status.settings.problem);
  if (status.settings.pending.length) say("warn", "A restart is needed for:", status.settings.pending.join(", "));
  if (status.switches.problem) say("warn", "The switches may be old:", status.switches.problem);
  for (const one of status.machine) say("warn", `The machine below (${one.about}):`, `${one.what}; ${one.todo}`);
  if (status.tls && status.tls.problem) say("warn", "The certificate does not count:", status.tls.problem);
  if (status.tenants.problem) say("warn", "The file of tenants does not count:", status.tenants.problem);
  for (const one of status.exports.filter((exporter) => exporter.trouble)) say(one.blocked ? "bad" : "warn", "Events are not delivered:", `${one.name}: ${one.trouble}`);
  if (status.draining) say("warn", "Draining:", "nothing new is taken in.");
  if (!found.length) say("good", "All is well:", "nothing needs attention.");
  return found;
}

function showState(status, found) {
  const worst = found.some(([kind]) => kind === "bad") ? "bad" : found.some(([kind]) => kind === "warn") ? "warn" : "good";
  const number = found.filter(([kind]) => kind !== "good").length;
  const text = `${status.state}${number ? `, ${number} ${number === 1 ? "thing needs" : "things need"} attention` : ", all is well"}`;
  draw("state", [worst, text], () => [make("span", { class: `pill ${status.state === "ready" ? worst : "warn"}` }, text)]);
  document.title = `${worst === "good" ? "" : "! "}${status.node}: ${text} – collectord`;
}

function showCards(status) {
  const { rates, waiting, history, latency, clients, totals } = status;
  const per = (value) => `${some(value)} rows/s`;
  draw("cards", [rates, waiting, history, latency, clients.length, totals], () => [
    card("Throughput", some(rates.received_rows), "rows/s received", `${some(rates.landed_rows)} rows/s landed (dashed), ${bytes(rates.landed_bytes)}/s`, [history.received_rows, history.landed_rows], per, history.seconds),
    card("Freshness", seconds(waiting.oldest_seconds), "behind", "age of the oldest row that has not landed", [history.oldest_seconds], seconds, history.seconds),
    card("Backlog", some(waiting.rows), "rows wait", `for ${whole.format(waiting.partitions)} ${waiting.partitions === 1 ? "blob" : "blobs"}; ${clients.length} ${clients.length === 1 ? "client" : "clients"} connected`, [history.waiting_rows], (value) => `${some(value)} rows`, history.seconds),
    card("Time of an append", seconds(latency.append.p50), "median", `p99 ${seconds(latency.append.p99)}, ${whole.format(latency.append.count)} in 5 min; drawn: p99`, [history.append_p99], seconds, history.seconds),
    card("Time of a sync", seconds(latency.sync.p50), "median", `p99 ${seconds(latency.sync.p99)}, ${whole.format(latency.sync.count)} in 5 min; drawn: p99`, [history.sync_p99], seconds, history.seconds),
    card("Not collected", some(totals.rejected + totals.dropped + totals.quarantined), "rows, ever", `${whole.format(totals.rejected)} rejected, ${whole.format(totals.dropped)} dropped, ${whole.format(totals.quarantined)} in quarantine or lost; drawn: rejected, dropped (dashed)`, [history.rejected_rows, history.dropped_rows], per, history.seconds),
  ]);
}

function showEvents(status) {
  const events = status.events;
  const curves = status.history.events;
  byId("events-about").textContent = events
    ? "Telemetry of the services on this node, by minute, as it became durable here. The numbers are of the last 5 minutes, the curves of the minutes before, for an hour."
    : "No telemetry events came within the last hour: a client sends them where enable_app_insights is switched on.";
  const percent = (value) => (value === null ? "–" : `${value.toLocaleString("en", { maximumFractionDigits: 1 })} %`);
  const milliseconds = (value) => (value === null ? "–" : seconds(value / 1000));
  const each = (value) => `${some(value)} a minute`;
  draw("events", [events, curves], () => !events ? [] : [
    card("Requests", some(events.request.per_minute), "a minute", "", [curves["request.per_minute"]], each, HOUR),
    card("Response time", milliseconds(events.request.average_ms), "average", `95 % within ${milliseconds(events.request.p95_ms)} (dashed)`, [curves["request.average_ms"], curves["request.p95_ms"]], milliseconds, HOUR),
    card("Failed requests", percent(events.request.failed_percent), "", "of all requests", [curves["request.failed_percent"]], percent, HOUR),
    card("Dependencies", some(events.dependency.per_minute), "a minute", `${percent(events.dependency.failed_percent)} failed, average ${milliseconds(events.dependency.average_ms)}`, [curves["dependency.per_minute"]], each, HOUR),
    card("Exceptions", some(events.exception.per_minute), "a minute", "", [curves["exception.per_minute"]], each, HOUR),
    card("Traces", some(events.trace.per_minute), "a minute", "", [curves["trace.per_minute"]], each, HOUR),
  ]);
}

// The parts that say something; the blob's name below has them all.
function nameOf(key) {
  const parts = key.split("/").map((part) => part.replaceAll("%2F", "/").replaceAll("%25", "%"));
  const told = parts.slice(3, 7).filter((part) => part !== "default");
  return told.length ? told.join(" / ") : key || "(stream unknown)";
}

function row(stream) {
  const cell = (label, text, ...classes) => make("td", { role: "cell", class: classes.join(" "), "data-label": label }, make("span", null, text));
  const number = (label, value) => cell(label, whole.format(value), "number", value ? "" : "zero");
  const head = make("th", { scope: "row", role: "rowheader" }, make("span", { class: "name" }, nameOf(stream.stream)),
    make("span", { class: "sub mono" }, stream.blob || `${stream.stream} (nothing landed since the start)`));
  if (stream.last_error) head.append(make("span", { class: "fault" }, `last error: ${stream.last_error}`));
  const waits = stream.in_log + stream.parked + stream.quarantined;
  return make("tr", { role: "row" }, head,
    cell("Collected", collected(stream.collected)), number("Received", stream.received), number("Landed", stream.landed),
    number("In the log", waits), number("Rejected", stream.rejected), number("Dropped", stream.dropped),
    cell("Bytes an hour", bytes(stream.cost.bytes_per_hour), "number"), cell("Appends an hour", some(stream.cost.operations_per_hour), "number"),
    cell("Cost a month", money(stream.cost.per_month), "number"));
}

function showStreams(status) {
  const { streams, streams_in_all: all } = status;
  byId("streams-about").textContent = !all ? "Nothing was received yet."
    : `${streams.length < all ? `The first ${streams.length} of ${whole.format(all)}` : whole.format(all)}, those in trouble and the dearest first. In rows, ever; what is in the log includes parked and quarantined rows.`;
  draw("rows", streams, () => streams.map(row));
}

function showBudgets(status) {
  const budget = (name, used, most) => {
    const share = used === null || !most ? 0 : used / most;
    const meter = make("meter", { min: 0, max: 1, low: 0.7, high: 0.9, optimum: 0, value: Math.min(share, 1), "aria-label": name });
    return make("tr", { role: "row" }, make("th", { scope: "row", role: "rowheader" }, name),
      make("td", { role: "cell" }, meter, ` ${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`),
      make("td", { role: "cell" }, `${bytes(used)} of ${bytes(most)}`));
  };
  const { memory, log, parked, quarantine } = status;
  draw("budgets", [memory, log, parked, quarantine], () => [
    budget("Memory", memory.resident_bytes, memory.budget_bytes), budget("Log", log.bytes, log.budget_bytes),
    budget("Parked", parked.bytes, parked.budget_bytes), budget("Quarantine", quarantine.bytes, quarantine.budget_bytes),
  ]);
}

function showCost(status) {
  const cost = status.cost;
  draw("cost", cost, () => pairs([
    ["Expected a month", money(cost.per_month)], ["Bytes an hour", bytes(cost.bytes_per_hour)],
    ["Appends an hour", some(cost.operations_per_hour)], ["Measured over", seconds(cost.observed_seconds)],
    ["Prices", `${cost.price_write_10k} for 10,000 writes, ${cost.price_gb_month} for a GiB kept a month (price_write_10k, price_gb_month)`],
  ]));
  byId("advice").textContent = cost.advice;
}

function showErrors(status) {
  draw("errors", status.errors, () => !status.errors.length ? [make("li", { class: "good" }, "None since the start.")]
    : status.errors.map((error) => {
      const at = new Date(error.time * 1000);
      return make("li", null, make("time", { datetime: at.toISOString() }, at.toISOString().slice(0, 19).replace("T", " ")),
        error.what, error.times > 1 ? ` (${whole.format(error.times)} times)` : null);
    }));
}

function show(status) {
  const found = problems(status);
  byId("version").textContent = status.version;
  showState(status, found);
  draw("facts", [status.node, status.store, status.listen, status.mdc, status.pid, Math.round(status.uptime_seconds / 60)], () => pairs([
    ["Node", status.node], ["Store", status.store], ["Listens on", [...status.listen, ...(status.mdc ? [`${status.mdc} (v2 SDK)`] : [])].join(", ")],
    ["Process", String(status.pid)], ["Up", seconds(status.uptime_seconds)],
  ]));
  draw("attention", found, () => found.map(([kind, word, text]) => make("li", { class: kind }, make("strong", null, word), text)));
  showCards(status);
  showEvents(status);
  showStreams(status);
  showBudgets(status);
  showCost(status);
  showErrors(status);
}

// ------------------------------------------------------------------ the daemon is asked

async function fetched() {
  const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(10000) });
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return answer.json();
}

function showSilence() {
  const since = lastGood ? ` since ${lastGood.toISOString().slice(11, 19)} UTC; what you see is of then` : "";
  const text = `the daemon does not answer${since}`;
  draw("state", text, () => [make("span", { class: "pill bad" }, text)]);
  document.title = "! no answer – collectord";
}

async function ask() {
  const status = await fetched().catch(() => null);
  setTimeout(next, EVERY);
  document.body.classList.toggle("stale", status === null);
  if (status === null) { showSilence(); return; }
  lastGood = new Date();
  show(status);
}

// A page that nobody looks at asks nothing.
function next() {
  if (!document.hidden) { ask(); return; }
  document.addEventListener("visibilitychange", ask, { once: true });
}

ask();
