// The operator's console: reads the admin API every two seconds and shows what it says. No framework, no build.

const PERIOD_MS = 2_000;
const ROWS_MAX = 200;
const KEY = "visavis-admin-key";
const MAP_TOP_DEG = 84;

const $ = (id) => document.getElementById(id);
let secret = sessionStorage.getItem(KEY) ?? "";
let timer = 0;
let last = null;

class Refused extends Error {}

async function ask(path, method = "GET") {
  const response = await fetch(`/v1/admin/${path}`, {
    method,
    headers: { Authorization: `Bearer ${secret}` },
    cache: "no-store",
  });
  if (response.status === 401 || response.status === 403) {
    const problem = await response.json().catch(() => ({}));
    throw new Refused(problem.detail ?? "This key may not use the console.");
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail ?? `The origin answered ${response.status}.`);
  }
  return response.status === 204 ? null : response.json();
}

// --- building blocks -------------------------------------------------------------------------------------------

/** An element; children that are no nodes become text, so nothing the API says is ever taken for markup. */
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") node.addEventListener("click", value);
    else if (value !== false && value != null) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

function svg(name, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const number = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits });
const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

function ago(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} days`;
}

function fill(table, rows, columns, nothing) {
  const body = table.tBodies[0];
  body.replaceChildren(
    ...(rows.length ? rows : [el("tr", {}, el("td", { class: "empty", colspan: columns }, nothing))]),
  );
}

function meter(share, label, mark = null) {
  const bar = el("span", { class: "meter", role: "img", "aria-label": label });
  const part = el("i", { class: share > (mark ?? 1) ? "over" : false });
  part.style.width = `${Math.min(100, Math.max(share > 0 ? 2 : 0, 100 * share))}%`;
  bar.append(part);
  if (mark != null && mark < 1) {
    const line = el("b");
    line.style.left = `${100 * mark}%`;
    bar.append(line);
  }
  return bar;
}

// --- what is shown ---------------------------------------------------------------------------------------------

function showTiles({ sessions, pops, workers, budget }) {
  const serving = pops.filter((pop) => pop.state === "serving");
  const slots = workers.flatMap((worker) => Object.values(worker.slots));
  const opened = sessions.filter((one) => one.opened).length;
  const capacity = serving.reduce((sum, pop) => sum + pop.capacity, 0);
  const tiles = [
    ["Sessions", number(sessions.length), `${number(opened)} with a viewer`],
    ["POPs serving", number(serving.length), `of ${number(pops.length)}`],
    ["Room", capacity ? number(Math.max(0, capacity - opened)) : "–", capacity ? `of ${number(capacity)} places` : ""],
    slots.length
      ? ["Warm slots", number(slots.filter((state) => state === "warm").length), `of ${number(slots.length)}`]
      : ["Workers", "–", "sessions run in the origin"],
    ["First packet", budget.turns ? `${number(budget.total_ms)} ms` : "–", "median, end of speech"],
  ];
  $("tiles").replaceChildren(
    ...tiles.map(([title, value, note]) =>
      el("dl", { class: "tile" }, el("dt", {}, title), el("dd", {}, value, el("br"), el("small", {}, note))),
    ),
  );
}

function place(pop) {
  const [latitude, longitude] = (pop.location ?? "").split(",").map(Number);
  return Number.isFinite(latitude) && Number.isFinite(longitude)
    ? { x: longitude + 180, y: MAP_TOP_DEG - latitude }
    : null;
}

function showMap(pops) {
  const map = $("map");
  for (const old of map.querySelectorAll("g")) old.remove();
  let lost = 0;
  for (const pop of pops) {
    const at = place(pop);
    if (!at) {
      lost += 1;
      continue;
    }
    const group = svg("g", {});
    group.append(
      svg("title", {}, `${pop.name}: ${pop.state}, ${plural(pop.sessions, "session")}`),
      svg("circle", { class: `reach ${pop.state}`, cx: at.x, cy: at.y, r: 3 + 9 * Math.min(1, pop.load) }),
      svg("circle", { class: pop.state, cx: at.x, cy: at.y, r: 2.4 }),
      svg("text", {
        x: at.x + (at.x > 310 ? -4.5 : 4.5),
        y: at.y + 1.8,
        "text-anchor": at.x > 310 ? "end" : "start",
      }, pop.name),
    );
    map.append(group);
  }
  $("elsewhere").textContent = lost ? `${plural(lost, "POP")} without edge.location` : "";
}

function showPops(pops) {
  showMap(pops);
  const rows = pops.map((pop) => {
    const where = [pop.region, pop.carrier, (pop.protocols ?? []).join(", ")].filter(Boolean).join(" · ");
    const load = `${number(100 * pop.load)} %`;
    return el("tr", {},
      el("td", {}, pop.name, el("small", {}, where)),
      el("td", { class: "nowrap" }, el("i", { class: `dot ${pop.state}` }), pop.state),
      el("td", {}, meter(pop.load, `load ${load}`, 0.7)),
      el("td", { class: "number" }, number(pop.sessions)),
      el("td", { class: "nowrap" }, pop.silent_s == null ? "–" : `${number(pop.silent_s, 1)} s ago`),
    );
  });
  fill($("pops"), rows, 5, "No POP has announced itself. Start one with python -m edge.");
}

function showPool(workers) {
  if (!workers.length) {
    const text = "Sessions run in the origin's own process. Set origin.workers to give them processes of their own.";
    $("pool").replaceChildren(el("p", { class: "hint" }, text));
    return;
  }
  $("pool").replaceChildren(...workers.map((worker) => {
    const memory = worker.memory_bytes ? `${number(worker.memory_bytes / 2 ** 20)} MB` : "";
    const about = [worker.machine, worker.pid && `pid ${worker.pid}`, memory, `heard ${number(worker.seen_s_ago, 1)} s ago`];
    const slots = Object.entries(worker.slots);
    return el("div", { class: "worker" },
      el("strong", {}, worker.name),
      el("span", { class: `slot ${worker.state}` }, worker.state),
      el("small", {}, about.filter(Boolean).join(" · ")),
      el("small", {}, plural(worker.sessions.length, "session")),
      el("div", { class: "slots" }, ...slots.map(([slot, state]) => el("span", { class: `slot ${state}` }, `${slot} ${state}`))),
    );
  }));
}

function showBudget(budget) {
  const longest = Math.max(...budget.stages.map((stage) => Math.max(stage.target_ms, stage.median_ms ?? 0)));
  const lines = budget.stages.map((stage) => {
    const known = stage.median_ms != null;
    const text = known ? `${number(stage.median_ms)} of ${number(stage.target_ms)} ms` : `aim ${number(stage.target_ms)} ms`;
    return el("div", { class: "stage" },
      el("span", {}, stage.title),
      meter(known ? stage.median_ms / longest : 0, text, stage.target_ms / longest),
      el("span", {}, text),
    );
  });
  const note = budget.turns
    ? `Medians of the last ${plural(budget.turns, "answered turn")} of this origin. Stages after the voice are measured at the POPs (edge_stage_seconds on their /metrics).`
    : "No turn was answered yet.";
  $("budget").replaceChildren(...lines, el("p", { class: "hint" }, note));
}

function showSessions() {
  if (!last) return;
  const wanted = $("filter").value.trim().toLowerCase();
  const now = Date.now() / 1_000;
  const fitting = last.sessions
    .filter((one) => [one.id, one.character, one.mode, one.pop, one.key].some((text) => (text ?? "").toLowerCase().includes(wanted)))
    .sort((a, b) => b.created_at - a.created_at);
  const rows = fitting.slice(0, ROWS_MAX).map((one) =>
    el("tr", {},
      el("td", {}, el("code", {}, one.id)),
      el("td", {}, one.character),
      el("td", {}, one.mode),
      el("td", {}, one.pop ?? "–", el("small", {}, one.opened ? `epoch ${one.epoch}` : "waits for its viewer")),
      el("td", {}, one.key ?? "–"),
      el("td", { class: "nowrap" }, ago(now - one.created_at)),
      el("td", { class: "number" }, el("button", {
        class: "quiet", type: "button", "aria-label": `End session ${one.id}`, onclick: () => kick(one),
      }, "End")),
    ),
  );
  const nothing = last.sessions.length ? "No session fits the filter." : "Nobody is talking right now.";
  fill($("sessions"), rows, 7, nothing);
  $("more").textContent = fitting.length > ROWS_MAX ? `${number(ROWS_MAX)} of ${number(fitting.length)} shown; filter to see others.` : "";
}

function showKeys(keys) {
  const day = (seconds) => new Date(1_000 * seconds).toISOString().slice(0, 10);
  const rows = keys.map((key) => {
    const scopes = [["modes", key.modes], ["characters", key.characters], ["transports", key.transports], ["regions", key.regions]]
      .filter(([, values]) => values?.length)
      .map(([name, values]) => `${name}: ${values.join(", ")}`);
    return el("tr", {},
      el("td", {}, key.name, el("small", {}, el("code", {}, key.id))),
      el("td", {}, scopes.join(" · ") || "everything", key.admin ? el("small", {}, "and this console") : ""),
      el("td", { class: "number" }, key.sessions_max ? number(key.sessions_max) : "no limit"),
      el("td", { class: "number" }, key.tickets_per_minute ? number(key.tickets_per_minute) : "no limit"),
      el("td", { class: "nowrap" }, key.created_at ? day(key.created_at) : "–"),
      el("td", {}, key.revoked_at ? `revoked ${day(key.revoked_at)}` : "good"),
    );
  });
  fill($("keys"), rows, 6, "There are no keys: only this machine and allowed pages get tickets.");
}

// --- doing -----------------------------------------------------------------------------------------------------

async function kick(session) {
  const sure = $("sure");
  $("sure-text").textContent =
    `Its viewer is told that the session was ended, within a second. ${session.character} at ${session.pop ?? "no POP yet"}.`;
  sure.showModal();
  await new Promise((resolve) => sure.addEventListener("close", resolve, { once: true }));
  if (sure.returnValue !== "yes") return;
  try {
    await ask(`sessions/${encodeURIComponent(session.id)}`, "DELETE");
  } catch (error) {
    pulse(error.message, true);
    return;
  }
  await refresh();
}

function pulse(text, bad = false) {
  const line = $("pulse");
  if (line.textContent !== text) line.textContent = text;
  line.classList.toggle("bad", bad);
}

async function refresh() {
  clearTimeout(timer);
  try {
    const [sessions, pops, workers, keys, budget] = await Promise.all(
      ["sessions", "pops", "workers", "keys", "budget"].map((path) => ask(path)),
    );
    last = { ...sessions, ...pops, ...workers, ...keys, budget };
    showTiles(last);
    showPops(last.pops);
    showPool(last.workers);
    showBudget(budget);
    showSessions();
    showKeys(last.keys);
    open(true);
    pulse("Live");
  } catch (error) {
    if (error instanceof Refused) {
      forget(error.message);
      return;
    }
    pulse(`${error instanceof TypeError ? "The origin does not answer" : error.message} What is shown is old.`, true);
  }
  timer = setTimeout(refresh, PERIOD_MS);
}

function open(inside) {
  $("door").hidden = inside;
  $("house").hidden = !inside;
  $("leave").hidden = !inside;
}

function forget(reason = "") {
  clearTimeout(timer);
  sessionStorage.removeItem(KEY);
  secret = "";
  last = null;
  open(false);
  $("refusal").textContent = reason;
  $("secret").value = "";
  $("secret").focus();
  pulse("Not signed in");
}

$("door").addEventListener("submit", (event) => {
  event.preventDefault();
  secret = $("secret").value.trim();
  sessionStorage.setItem(KEY, secret);
  $("refusal").textContent = "";
  void refresh();
});
$("leave").addEventListener("click", () => forget());
$("filter").addEventListener("input", showSessions);

const land = await fetch("/admin/land.svg").then((response) => response.text());
const shape = new DOMParser().parseFromString(land, "image/svg+xml").getElementById("land");
if (shape) $("map").append(document.importNode(shape, true));
if (secret) void refresh();
else $("secret").focus();
