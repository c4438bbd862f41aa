"use strict";
// Shows the results (results.js) as cards, and one of them in a dialog. Text enters the page as text, never as markup.
// Only the cards near the viewport are in the document, so that a long list costs no more than a short one.

const grid = document.getElementById("results");
const form = document.querySelector("form.filters");
const detail = document.getElementById("detail");
const part = (selector) => detail.querySelector(selector);
const byId = new Map();
const cards = new Map();
let results = [];
let shown = [];
let current = null;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function card(result) {
  const made = document.getElementById("card").content.firstElementChild.cloneNode(true);
  const image = made.querySelector("img");
  if (result.thumb) image.src = result.thumb;
  else image.remove();
  made.querySelector(".kind").textContent = result.kind === "image" ? "" : result.kind;
  made.querySelector(".prompt").textContent = result.prompt.slice(0, 300);
  made.querySelector(".meta").textContent = `${result.cost_text}, ${result.model}, ${result.time}`;
  const button = made.querySelector("button");
  button.setAttribute("aria-label", `${result.kind}: ${result.prompt.slice(0, 300)}. ${result.model}, ${result.time}`);
  button.dataset.kind = result.kind;
  button.addEventListener("click", () => open(result));
  return made;
}

function cardOf(index) {
  const result = shown[index];
  if (!cards.has(result.id)) cards.set(result.id, card(result));
  const made = cards.get(result.id);
  made.setAttribute("aria-posinset", index + 1);
  made.setAttribute("aria-setsize", shown.length);
  return made;
}

// Puts the cards of the rows in and around the viewport into the grid; the others are empty space above and below.
function render() {
  if (!shown.length) return grid.replaceChildren();
  if (!grid.childElementCount) grid.append(cardOf(0));
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const height = grid.firstElementChild.getBoundingClientRect().height + parseFloat(getComputedStyle(grid).rowGap);
  const rows = Math.ceil(shown.length / columns);
  const top = grid.getBoundingClientRect().top;
  const first = Math.max(0, Math.min(rows - 1, Math.floor(-top / height) - 1));
  const last = Math.min(rows, Math.ceil((innerHeight - top) / height) + 1);
  grid.style.paddingTop = `${first * height}px`;
  grid.style.paddingBottom = `${Math.max(0, rows - last) * height}px`;
  const wanted = [];
  for (let index = first * columns; index < Math.min(shown.length, last * columns); index++) wanted.push(cardOf(index));
  const kept = new Set(wanted);
  for (const old of [...grid.children]) if (!kept.has(old)) old.remove();
  wanted.forEach((made, place) => {
    if (grid.children[place] !== made) grid.insertBefore(made, grid.children[place] ?? null); // the others keep their focus
  });
}

const orders = {
  newest: (a, b) => b.created_at - a.created_at,
  oldest: (a, b) => a.created_at - b.created_at,
  cost: (a, b) => (b.cost ?? -1) - (a.cost ?? -1),
};

function filter() {
  const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean);
  shown = results
    .filter(
      (r) =>
        (!form.kind.value || r.kind === form.kind.value) &&
        (!form.model.value || r.model === form.model.value) &&
        (!form.warned.checked || r.warnings.length) &&
        words.every((word) => r.searched.includes(word)),
    )
    .sort(orders[form.order.value]);
  form.count.value = `${shown.length} of ${results.length}`;
  grid.replaceChildren();
  render();
}

function stage(result) {
  const label = `${result.kind}: ${result.prompt}`;
  if (!result.src) return [element("p", { textContent: "The file is not available." })];
  if (result.kind === "video") return [element("video", { controls: true, loop: true, playsInline: true, src: result.src, poster: result.thumb, ariaLabel: label })];
  if (result.kind === "audio") return [element("audio", { controls: true, src: result.src, ariaLabel: label })];
  const layers = [element("img", { className: "after", src: result.src, alt: label })];
  if (result.before) layers.unshift(element("img", { className: "before", src: result.before, alt: "before the edit" }));
  if (result.mask) layers.push(element("img", { className: "mask", src: result.mask, alt: "the edited region", hidden: !part("[name=mask]").checked }));
  return layers;
}

function slide() {
  const after = part(".after");
  if (after) after.style.clipPath = current.before ? `inset(0 0 0 ${part("[type=range]").value}%)` : "";
}

function link(id, label, thumb) {
  const result = byId.get(id);
  const image = element("img", { src: thumb || result?.thumb || "", alt: "", loading: "lazy" });
  const text = result ? `${label}: ${result.prompt.slice(0, 60)}` : label;
  if (!result) return element("li", {}, image, text);
  return element("li", {}, element("button", { type: "button", onclick: () => open(result) }, image, text));
}

// The results that led to one, the oldest first; each by the first of its inputs that is on this page.
function ancestors(result) {
  const found = [];
  for (let next = result; next; ) {
    next = byId.get(next.inputs.map(([, , id]) => id).find((id) => byId.has(id)));
    if (next) found.unshift(next);
  }
  return found;
}

function open(result) {
  current = result;
  part(".stage").replaceChildren(...stage(result));
  part(".slide").hidden = !result.before || !result.src;
  part("[name=mask]").parentElement.hidden = !result.mask;
  part("h2").textContent = `${result.operation} by ${result.model}`;
  part("blockquote").textContent = result.prompt;
  part(".notes").replaceChildren(...result.warnings.map((text) => element("li", { textContent: text })));
  part("dl").replaceChildren(
    ...[["created", result.time], ...result.facts].flatMap(([name, text]) => [element("dt", { textContent: name }), element("dd", { textContent: text })]),
  );
  const direct = new Set(result.inputs.map(([, , id]) => id));
  part(".from").replaceChildren(
    ...ancestors(result).filter((r) => !direct.has(r.id)).map((r) => link(r.id, "earlier", "")),
    ...result.inputs.map(([label, thumb, id]) => link(id, label, thumb)),
  );
  part(".used").replaceChildren(...result.used_in.map((id) => link(id, byId.get(id).kind, "")));
  part(".from").previousElementSibling.hidden = !result.inputs.length;
  part(".used").previousElementSibling.hidden = !result.used_in.length;
  part(".command").textContent = result.command;
  part(".python").textContent = result.python;
  for (const name of ["command", "python"]) part(`button[name=${name}]`).textContent = `Copy as ${name === "python" ? "Python" : "command"}`;
  slide();
  if (!detail.open) detail.showModal();
  detail.scrollTop = 0;
  history.replaceState(null, "", `#${result.id}`);
}

function step(by) {
  const next = shown[shown.indexOf(current) + by];
  if (next) open(next);
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(part(`pre.${button.name}`));
    button.textContent = "Selected: press Ctrl+C";
  }
}

detail.addEventListener("click", (event) => {
  const name = event.target.name;
  if (event.target === detail || name === "close") detail.close();
  else if (name === "previous") step(-1);
  else if (name === "next") step(1);
  else if (name === "command" || name === "python") copy(event.target, current[name]);
});
detail.addEventListener("input", (event) => {
  if (event.target.type === "range") slide();
  if (event.target.name === "mask") part("img.mask").hidden = !event.target.checked;
});
detail.addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT" || event.target.tagName === "VIDEO" || event.target.tagName === "AUDIO") return;
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
detail.addEventListener("close", () => {
  part(".stage").replaceChildren();
  history.replaceState(null, "", location.pathname);
  cards.get(current.id)?.querySelector("button").focus({ preventScroll: true });
});
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());

let waiting = false;
function renderSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    render();
  });
}
addEventListener("scroll", renderSoon, { passive: true });
addEventListener("resize", renderSoon);

function start() {
  results = RESULTS;
  for (const result of results) {
    byId.set(result.id, result);
    result.searched = `${result.prompt} ${result.file} ${result.job} ${result.model}`.toLowerCase();
  }
  filter();
  const linked = byId.get(decodeURIComponent(location.hash.slice(1)));
  if (linked) open(linked);
}

// The data is loaded after the first paint.
requestAnimationFrame(() =>
  setTimeout(() => document.head.append(element("script", { src: "results.js", onload: start }))),
);
