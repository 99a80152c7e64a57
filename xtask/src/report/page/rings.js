// A machine's rings, and the first page.

function ringPicture(machine) {
  const { rings, title } = MACHINES[machine];
  const word = { user: "programs", kernel: "guest kernel", hypervisor: machine === "xen" ? "Xen" : "Paravane" };
  const where = Object.entries(rings).flatMap(([ring, whom]) => whom.map((who) => `${word[who]} in ring ${ring}`));
  const bands = [3, 1, 0].map((ring, place) => {
    const y = 2 + place * 46;
    const width = rings[ring].length === 2 ? 93 : 192;
    return [
      svg("rect", { class: "band", x: 40, y, width: 204, height: 40, rx: 4 }),
      svg("text", { class: "faint", x: 0, y: y + 24 }, `ring ${ring}`),
      rings[ring].map((who, index) => [
        svg("rect", { class: `lane-${who}`, x: 46 + index * 99, y: y + 6, width, height: 28, rx: 4 }),
        svg("text", { x: 46 + index * 99 + width / 2, y: y + 25, "text-anchor": "middle" }, word[who]),
      ]),
    ];
  });
  return svg("svg", { viewBox: "0 0 246 136", role: "img", "aria-label": `${title}: ${where.join(", ")}` }, bands);
}

function laneLegend() {
  const about = { user: "a program", kernel: "the guest's kernel", hypervisor: "Paravane, or Xen" };
  return html("ul", { class: "legend" }, LANES.map((lane) => html("li", {},
    svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("rect", { class: `lane-${lane}`, x: 1, y: 1, width: 14, height: 14, rx: 2 })),
    `${lane}: ${about[lane]}`)));
}

function heat(value, native) {
  if (!native || value <= native) return undefined;
  const share = Math.min(1, Math.log10(value / native) / 3);
  return `background: rgba(var(--heat), ${(share * 0.42).toFixed(3)})`;
}

function matrix() {
  const rows = data.operations.map(({ name, about }) => {
    const native = rowOf(name, "native");
    const cells = machines.map((machine) => {
      const row = rowOf(name, machine);
      if (!row) return html("td", { class: "none", title: absence(name, machine) }, "n/a");
      const ratio = native && native.instructions > 0 && machine !== "native" ? ` (${times(row.instructions, native.instructions)})` : "";
      return html("td", { style: heat(row.instructions, native && native.instructions) }, number(row.instructions) + ratio);
    });
    return html("tr", {}, html("td", {}, html("button", { type: "button", title: about, onclick: () => go("operations", name) }, name)), cells);
  });
  return html("div", { class: "scroll" }, html("table", {},
    html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "instructions"),
      machines.map((machine) => html("th", { scope: "col" }, tag(machine), machine)))),
    html("tbody", {}, rows)));
}

// Sentences of which the numbers come from this run; one whose numbers are not there is left out.
function findings() {
  const of = (operation, machine) => (rowOf(operation, machine) || {}).instructions;
  const say = (operation, words, ...wanted) => {
    const counts = wanted.map((machine) => of(operation, machine));
    if (counts.some((count) => count === undefined)) return null;
    const shown = wanted.map((machine, place) => `${machine} ${number(counts[place])}`).join(", ");
    return html("li", {}, html("button", { type: "button", onclick: () => go("operations", operation) }, operation), ` ${words}: ${shown}.`);
  };
  return html("ul", { class: "findings" },
    say("null-syscall", "A system call shows where the kernel lives", "native", "pv-ring1", "pv-ring3"),
    say("pte-write", "One page-table entry: a store, or a call that has it checked", "native", "pv-ring1", "pv-ring3"),
    say("address-space-switch", "Other page tables: the guest's own, or shadows of them", "native", "pv-ring1", "trap"),
    say("cr-read", "A privileged instruction: executed, or emulated after a fault", "native", "pv-ring1", "trap"));
}

function overview() {
  const cards = machines.map((machine) => html("article", { class: "card" },
    html("h3", {}, tag(machine), titleOf(machine)), ringPicture(machine),
    html("p", {}, html("code", {}, machine)), html("p", {}, MACHINES[machine].about)));
  return html("section", {},
    html("h2", {}, "Where the kernel runs decides what it pays"),
    html("p", { class: "lead" }, "One kernel binary on five machines. On each, the same operations were executed under an emulator that counts "
      + "instructions: those of the program, of the kernel and of the hypervisor. The counts are the same in every run. They say how long a path is, "
      + "not how fast a processor walks it: a load of CR3 is one instruction and costs far more."),
    laneLegend(), html("div", { class: "cards" }, cards),
    html("h2", {}, "Look at these first"), findings(),
    html("h2", {}, "All operations, all machines"),
    html("p", { class: "lead" }, "Instructions, and how many times as many as on the bare machine. The darker, the longer. Press an operation for its chart."),
    matrix());
}
