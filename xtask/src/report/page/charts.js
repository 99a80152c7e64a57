// Bars: by operation, by machine, and the entries by reason.

const WIDTH = 900;

function axis(scale, left, right, height, most) {
  const marks = [];
  if (scale === "log") for (let mark = 1; mark <= most * 1.0001; mark *= 10) marks.push(mark);
  else for (let part = 0; part <= 4; part++) marks.push((most * part) / 4);
  const place = placing(scale, left, right, most);
  return marks.map((mark) => [
    svg("line", { class: "tick", x1: place(mark), x2: place(mark), y1: 18, y2: height }),
    svg("text", { class: "faint", x: place(mark), y: 12, "text-anchor": "middle" },
      scale === "share" ? `${Math.round(mark * 100)} %` : number(Math.round(mark * 10) / 10)),
  ]);
}

function placing(scale, left, right, most) {
  const span = right - left;
  if (scale !== "log") return (value) => left + (span * value) / (most || 1);
  const decades = Math.max(1, Math.ceil(Math.log10(Math.max(most, 1))));
  return (value) => left + (span * Math.log10(Math.max(value, 1))) / decades;
}

// Horizontal bars; each can be reached by the keyboard, and leads somewhere.
function bars({ label, rows, scale }) {
  const [left, right, step] = [170, WIDTH - 170, 30];
  const height = 26 + rows.length * step;
  const most = Math.max(1, ...rows.map((row) => row.value || 0));
  const end = scale === "log" ? 10 ** Math.max(1, Math.ceil(Math.log10(most))) : most;
  const place = placing(scale, left, right, end);
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "group", "aria-label": label }, axis(scale, left, right, height, end),
    rows.map((row, index) => {
      const y = 24 + index * step;
      const words = `${row.name}: ${row.text}`;
      return svg("g", { class: "bar-of", tabindex: 0, role: row.go ? "link" : "img", "aria-label": words, onclick: row.go,
        style: row.go ? "cursor: pointer" : undefined, onkeydown: (event) => { if (event.key === "Enter" && row.go) row.go(); } },
        svg("title", {}, words),
        svg("text", { x: left - 8, y: y + 15, "text-anchor": "end", class: row.strong ? "strong" : "" }, row.name),
        row.value === null ? svg("text", { class: "faint", x: left + 4, y: y + 15 }, row.text) : [
          svg("rect", { class: "mark", x: left, y: y + 2, width: Math.max(2, place(row.value) - left), height: 19, rx: 2, fill: row.colour }),
          svg("text", { x: Math.max(left + 2, place(row.value)) + 6, y: y + 16 }, row.text),
        ]);
    }));
}

function operationPart(chosen) {
  const name = operationOf(chosen) ? chosen : data.operations[0].name;
  const native = rowOf(name, "native");
  const rows = machines.map((machine) => {
    const row = rowOf(name, machine);
    const ratio = row && native && native.instructions && machine !== "native" ? `  (${times(row.instructions, native.instructions)})` : "";
    return { name: machine, value: row ? row.instructions : null, colour: `var(--m-${machine})`,
      text: row ? number(row.instructions) + ratio : `n/a: ${absence(name, machine)}`,
      go: timelineOf(name, machine) ? () => go("timelines", name, machine) : undefined };
  });
  const counted = (row, of) => (row && row.entries ? number(of(row)) : "n/a");
  return html("section", {}, html("h2", {}, "By operation"),
    html("p", { class: "lead" }, "Instructions of all who ran, on a scale of powers of ten. A bar leads to its timeline."),
    html("div", { class: "split" },
      choices("Operations", data.operations.map((operation) => operation.name), name, (other) => go("operations", other), { list: true }),
      html("div", {}, html("h3", {}, name), html("p", { class: "lead" }, aboutOf(name)),
        html("figure", { "data-chart": `operation ${name}` }, bars({ label: `Instructions of ${name}, by machine`, rows, scale: "log" }),
          html("figcaption", {}, "Instructions; in brackets, how many times as many as on the bare machine.")),
        html("div", { class: "scroll" }, html("table", {},
          html("thead", {}, html("tr", {}, ["machine", "instructions", "entries", "why the hypervisor was entered", "CR3 loads", "flushes"]
            .map((word) => html("th", { scope: "col", class: word.startsWith("why") ? "text" : undefined }, word)))),
          html("tbody", {}, machines.map((machine) => {
            const row = rowOf(name, machine);
            const why = row && row.entries ? Object.entries(row.entries).filter(([, count]) => count).map(([why, count]) => `${number(count)} ${why}`).join(", ") || "nobody entered it" : "";
            return html("tr", {}, html("td", {}, tag(machine), machine), html("td", {}, row ? number(row.instructions) : "n/a"),
              html("td", {}, counted(row, entriesOf)), html("td", { class: "text" }, row ? why : absence(name, machine)),
              html("td", {}, counted(row, (it) => it.cr3_loads)), html("td", {}, counted(row, (it) => it.flushes)));
          })))))));
}

const MEASURES = {
  "instructions": { of: (row) => row.instructions, scale: "log", about: "Instructions of all who ran, in powers of ten." },
  "times native": { of: (row) => { const native = rowOf(row.operation, "native"); return native && native.instructions ? row.instructions / native.instructions : null; },
    scale: "log", text: (value) => times(value, 1), about: "How many times as many instructions as on the bare machine." },
  "entries": { of: entriesOf, scale: "log", about: "Entries into the hypervisor." },
  "CR3 loads": { of: (row) => row.cr3_loads, scale: "log", about: "Loads of CR3: each makes the processor forget translations." },
  "flushes": { of: (row) => row.flushes, scale: "log", about: "Other instructions that make the processor forget translations." },
};

function machinePart(chosen, measured, sorted) {
  const machine = machines.includes(chosen) ? chosen : machines[0];
  const measure = MEASURES[measured] ? measured : "instructions";
  const order = sorted === "by size" ? sorted : "as listed";
  const { of, scale, text = number, about } = MEASURES[measure];
  const rows = data.operations.map(({ name }) => {
    const row = rowOf(name, machine);
    const value = row ? of(row) : null;
    return { name, value: value === undefined ? null : value, colour: `var(--m-${machine})`, go: () => go("operations", name),
      text: value === null || value === undefined ? `n/a${row ? "" : `: ${absence(name, machine)}`}` : text(value) };
  });
  if (order === "by size") rows.sort((one, other) => (other.value === null ? -1 : other.value) - (one.value === null ? -1 : one.value));
  return html("section", {}, html("h2", {}, "By machine"),
    html("p", { class: "lead" }, about, " A bar leads to its operation."),
    choices("Machine", machines, machine, (other) => go("machines", other, measure, order), { mark: tag }),
    choices("Measure", Object.keys(MEASURES), measure, (other) => go("machines", machine, other, order)),
    choices("Order", ["as listed", "by size"], order, (other) => go("machines", machine, measure, other)),
    html("figure", { "data-chart": `machine ${machine} ${measure} ${order}` }, bars({ label: `${measure} on ${machine}, by operation`, rows, scale }),
      html("figcaption", {}, `${titleOf(machine)}: ${MACHINES[machine].about}`)));
}

// A colour and a hatching for each reason, the same on all machines; what is rare shares the last.
const REASONS = (() => {
  const counts = new Map();
  for (const row of data.rows) for (const [why, count] of Object.entries(row.entries || {})) if (count) counts.set(why, (counts.get(why) || 0) + 1);
  return [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one) || (one < other ? -1 : 1));
})();
const reasonPlace = (why) => Math.min(7, REASONS.indexOf(why));
const reasonName = (place) => (place === 7 && REASONS.length > 8 ? "others" : REASONS[place]);

function hatching(name) {
  const lines = ["", "M0 8 L8 0", "M0 0 L8 8", "M0 4 H8", "M4 0 V8", "M0 8 L8 0 M0 0 L8 8", "M0 4 H8 M4 0 V8", "M2 2 h1 M6 6 h1"];
  return svg("defs", {}, lines.map((path, place) => svg("pattern", { id: `${name}${place}`, width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "scale(2)" },
    svg("rect", { width: 8, height: 8, fill: `var(--r${place})` }), svg("path", { d: path, stroke: "var(--paper)", "stroke-opacity": 0.5, "stroke-width": 0.8 }))));
}

function entriesPart(chosen, mode) {
  const machine = machines.includes(chosen) ? chosen : machines.find((name) => data.rows.some((row) => row.machine === name && entriesOf(row))) || machines[0];
  const scale = mode === "counts" ? "linear" : "share";
  const rows = data.operations.map(({ name }) => ({ name, row: rowOf(name, machine) }));
  const counted = rows.filter(({ row }) => row && row.entries);
  const most = scale === "share" ? 1 : Math.max(1, ...counted.map(({ row }) => entriesOf(row)));
  const [left, right, step] = [170, WIDTH - 210, 27];
  const height = 40 + rows.length * step;
  const place = placing(scale, left, right, most);
  const used = [...new Set(counted.flatMap(({ row }) => Object.keys(row.entries).filter((why) => row.entries[why]).map(reasonPlace)))].sort();
  const drawn = rows.map(({ name, row }, index) => {
    const y = 24 + index * step;
    const total = entriesOf(row);
    let from = 0;
    const reasons = row && row.entries ? Object.entries(row.entries).filter(([, count]) => count).sort((one, other) => reasonPlace(one[0]) - reasonPlace(other[0])) : [];
    const pieces = reasons.map(([why, count]) => {
      const [x, end] = [place(scale === "share" ? from / total : from), place(scale === "share" ? (from + count) / total : from + count)];
      from += count;
      const words = `${name}: ${number(count)} × ${why}`;
      const wide = end - x > 9 * (why.length + 1);
      return svg("g", { tabindex: 0, role: "img", "aria-label": words }, svg("title", {}, words),
        svg("rect", { class: "mark", x, y: y + 2, width: Math.max(1, end - x), height: 19, fill: `url(#h${reasonPlace(why)})`, stroke: "var(--paper)" }),
        wide ? [svg("rect", { x: x + 4, y: y + 4, width: 7.4 * why.length + 6, height: 15, rx: 2, fill: "var(--paper)", "fill-opacity": 0.85 }),
          svg("text", { class: "faint", x: x + 7, y: y + 16 }, why)] : null);
    });
    const note = !row ? "n/a" : total === null ? "not counted" : `${counts(total, "entry", "entries")} · ${number(row.cr3_loads)} CR3 · ${counts(row.flushes, "flush", "flushes")}`;
    return [svg("text", { x: left - 8, y: y + 16, "text-anchor": "end" }, name), pieces,
      svg("text", { class: "faint", x: right + 10, y: y + 16 }, note)];
  });
  const none = counted.length === 0 || counted.every(({ row }) => !entriesOf(row));
  const why = machine === "native" ? "there is no hypervisor to enter." : "none of these operations needs one.";
  return html("section", {}, html("h2", {}, "Why the hypervisor was entered"),
    html("p", { class: "lead" }, "Each entry has a cause: a call, a fault, an interrupt. Shares show what an operation is made of; counts compare operations."),
    choices("Machine", machines, machine, (other) => go("entries", other, mode || "shares"), { mark: tag }),
    choices("Scale", ["shares", "counts"], scale === "share" ? "shares" : "counts", (other) => go("entries", machine, other)),
    none ? html("p", { class: "card" }, `No entries on ${machine}: ${why}`) : [
      html("ul", { class: "legend" }, used.map((index) => html("li", {},
        svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("rect", { x: 1, y: 1, width: 14, height: 14, fill: `url(#h${index})` })), reasonName(index)))),
    ],
    html("figure", { "data-chart": `entries ${machine} ${scale}` },
      svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "group", "aria-label": `Entries on ${machine} by operation and reason` },
        hatching("h"), axis(scale, left, right, height - 14, most), drawn)),
    numbers("The counts", ["operation", "reason", "entries"], counted.flatMap(({ name, row }) =>
      Object.entries(row.entries).filter(([, count]) => count).map(([why, count]) => [name, why, number(count)]))));
}
