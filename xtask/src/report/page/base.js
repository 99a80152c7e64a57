"use strict";
// What all parts share: the data, elements, numbers, words for machines.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const LANES = ["user", "kernel", "hypervisor"];

function put(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) if (child !== undefined && child !== null) node.append(child);
  return node;
}
const html = (name, attributes, ...children) => put(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) => put(document.createElementNS(SVG, name), attributes, children);

const number = (value) => value.toLocaleString("en-US");
const counts = (value, one, many) => `${number(value)} ${value === 1 ? one : many}`;
const times = (value, native) => {
  const ratio = value / native;
  return (ratio >= 100 ? number(Math.round(ratio)) : ratio.toFixed(ratio >= 10 ? 0 : 1)) + "×";
};
const sum = (values) => values.reduce((all, one) => all + one, 0);
const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

// Words for the machines, and where their rings put whom.
const MACHINES = {
  "native": { title: "Bare machine", rings: { 3: ["user"], 1: [], 0: ["kernel"] },
    about: "No hypervisor. The kernel is in ring 0 and its privileged instructions do what they say." },
  "pv-ring1": { title: "Paravirtualized, ring 1", rings: { 3: ["user"], 1: ["kernel"], 0: ["hypervisor"] },
    about: "The kernel asks Paravane by hypercall. It returns to its programs by its own iretq, and a system call needs no hypervisor." },
  "pv-ring3": { title: "Paravirtualized, ring 3", rings: { 3: ["user", "kernel"], 1: [], 0: ["hypervisor"] },
    about: "Xen's own ABI on Paravane. Kernel and programs share ring 3, so each system call goes through the hypervisor, twice." },
  "trap": { title: "Trap and emulate", rings: { 3: ["user"], 1: ["kernel"], 0: ["hypervisor"] },
    about: "The kernel of the bare machine, not told. Each privileged instruction faults, and is emulated; page tables are shadowed." },
  "xen": { title: "Xen 4.17", rings: { 3: ["user", "kernel"], 1: [], 0: ["hypervisor"] },
    about: "Debian's Xen, the original of the ABI. The kernel runs in ring 3 beside its programs." },
};
const machines = data.machines;
const titleOf = (machine) => (MACHINES[machine] || { title: machine }).title;
const tag = (machine) => html("span", { class: "tag", style: `background: var(--m-${machine})`, "aria-hidden": "true" });

// What an operation is, with its code set as code.
const aboutOf = (operation) => operationOf(operation).about.split("`").map((words, place) => (place % 2 ? html("code", {}, words) : words));
const operationOf = (name) => data.operations.find((operation) => operation.name === name);
const rowOf = (operation, machine) => data.rows.find((row) => row.operation === operation && row.machine === machine);
const timelineOf = (operation, machine) => data.timelines.find((line) => line.operation === operation && line.machine === machine);
const absence = (operation, machine) => (operationOf(operation).absent || {})[machine] || "not counted in this run";
const entriesOf = (row) => (row && row.entries ? sum(Object.values(row.entries)) : null);

// A row of buttons of which one is pressed.
function choices(label, names, chosen, choose, options = {}) {
  const buttons = names.map((name) => html("button", {
    type: "button", "aria-pressed": String(name === chosen), "data-choice": name,
    disabled: options.off && options.off(name), title: options.off && options.off(name) || undefined,
    onclick: () => choose(name),
  }, options.mark ? options.mark(name) : null, options.word ? options.word(name) : name));
  return html("div", { class: options.list ? "list" : "bar", role: "group", "aria-label": label },
    options.list ? null : html("span", {}, label), buttons);
}

function numbers(summary, head, rows) {
  const cell = (value, place) => html(place === 0 ? "th" : "td", { scope: place === 0 ? "row" : undefined }, value);
  return html("details", {}, html("summary", {}, summary), html("div", { class: "scroll" }, html("table", {},
    html("thead", {}, html("tr", {}, head.map((word) => html("th", { scope: "col" }, word)))),
    html("tbody", {}, rows.map((row) => html("tr", {}, row.map(cell)))))));
}

// Where the reader is stands in the address, so that a place can be linked to: #part/choice/choice.
const go = (...parts) => { location.hash = parts.map(encodeURIComponent).join("/"); };
