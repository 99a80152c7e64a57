// The parts, and the way between them.

const PARTS = {
  overview: ["Overview", overview], operations: ["By operation", operationPart], machines: ["By machine", machinePart],
  entries: ["Entries", entriesPart], timelines: ["Timelines", timelinePart], walks: ["Page tables", walkPart],
};

const tabs = Object.entries(PARTS).map(([part, [word]]) => html("button", {
  type: "button", role: "tab", id: `tab-${part}`, "aria-controls": `part-${part}`, onclick: () => go(part),
  onkeydown: (event) => {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way) return;
    const names = Object.keys(PARTS);
    const next = names[(names.indexOf(part) + way + names.length) % names.length];
    go(next);
    document.getElementById(`tab-${next}`).focus();
  },
}, word));

function fill(part, choices) {
  const node = PARTS[part][1](...choices);
  return put(node, { id: `part-${part}`, role: "tabpanel", "aria-labelledby": `tab-${part}`, "data-part": part }, []);
}

const places = () => location.hash.slice(1).split("/").map(decodeURIComponent);
const partNow = () => (PARTS[places()[0]] ? places()[0] : "overview");
const shown = new Map();
const named = (button) => `${button.closest("[role=group]").getAttribute("aria-label")}/${button.dataset.choice}`;

// A button that was just pressed is made anew with its part: the focus goes to the one that took its place.
function show() {
  const part = partNow();
  const focus = document.activeElement;
  const held = focus && focus.dataset && focus.dataset.choice !== undefined ? named(focus) : undefined;
  shown.set(part, places().slice(1));
  document.getElementById("main").replaceChildren(fill(part, shown.get(part)));
  for (const tab of tabs) {
    const now = tab.id === `tab-${part}`;
    tab.setAttribute("aria-selected", String(now));
    tab.tabIndex = now ? 0 : -1;
  }
  const again = held !== undefined && [...document.querySelectorAll("[data-choice]")].find((button) => named(button) === held);
  if (again) again.focus({ preventScroll: true });
}

const theme = document.getElementById("theme");
function paint(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  theme.setAttribute("aria-pressed", String(dark));
}
theme.addEventListener("click", () => paint(document.documentElement.dataset.theme !== "dark"));
paint(matchMedia("(prefers-color-scheme: dark)").matches);

// The address says which part is shown: the way to the charts leads past the tabs, and not to another address.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});

// On paper all parts follow one another, as they were last chosen.
addEventListener("beforeprint", () => {
  paint(false);
  document.getElementById("main").replaceChildren(...Object.keys(PARTS).map((part) => fill(part, shown.get(part) || [])));
});
addEventListener("afterprint", show);
addEventListener("hashchange", show);
document.getElementById("tabs").append(...tabs);
document.getElementById("made").textContent = data.made;
show();
