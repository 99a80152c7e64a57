// A page-table walk, from the root to the page, coloured by what type each frame has.

const KINDS = {
  L4: ["table", "root table"], L3: ["table", "table of L2 tables"], L2: ["table", "table of L1 tables"], L1: ["table", "table that maps pages"],
  Writable: ["writable", "the guest may write"], SegDesc: ["seg", "segment descriptors"], None: ["none", "page of no type"],
};
const FLAGS = [[0n, "P", "present"], [1n, "RW", "writable"], [2n, "US", "user"], [5n, "A", "accessed"], [6n, "D", "dirty"], [63n, "NX", "no execution"]];
const flagsOf = (entry) => FLAGS.filter(([bit]) => (BigInt(entry) >> bit) & 1n);
const frameOf = (entry) => "0x" + ((BigInt(entry) & 0x000ffffffffff000n) >> 12n).toString(16);
const kindOf = (target) => (target.kind === "Writable" && !target.uses ? ["none", "was writable, no use left"] : KINDS[target.kind] || ["none", target.kind]);

function verdict(walk) {
  const last = walk.steps[walk.steps.length - 1];
  if (!last) return "The hypervisor keeps these addresses for itself: there is nothing of the guest's to walk.";
  if (!last.target) return `The walk ends at level ${last.level}: nothing is mapped there. An access is a page fault.`;
  const writable = (BigInt(last.entry) >> 1n) & 1n;
  const { kind, uses } = last.target;
  if (/^L[1-4]$/.test(kind)) return `The page is itself a page table (${kind}). The guest may read it, so the entry is there; it has no RW, and each write faults. `
    + "A frame that is a page table cannot be written by the guest: that is the rule which makes direct paging safe.";
  if (writable) return `The entry has RW, so it holds one of the uses of the frame as Writable (${number(uses)} in all). While there is one, the frame cannot become a page table.`;
  return uses ? "The entry has no RW: it holds a reference, and no use." : "The entry has no RW, so it holds a reference and no use. The type in the record is the last one that the frame had; with no use left, it may get another.";
}

function walkBox({ title, frame, target, step }, index, more) {
  const width = 168;
  const x = 4 + index * (width + 16);
  const [kind, about] = kindOf(target);
  const counted = target.uses !== undefined;
  const words = `${title}, frame ${frame}, type ${target.kind}, ${counted ? `${number(target.uses)} uses, ${number(target.refs)} references` : "in CR3"}`;
  const middle = step ? [
    svg("rect", { class: "band", x: x + 10, y: 112, width: width - 20, height: 44, rx: 3 }),
    svg("text", { class: "mono", x: x + 18, y: 130 }, `[${step.index}]`),
    step.target ? svg("text", { class: "faint", x: x + width - 16, y: 130, "text-anchor": "end" }, `→ ${frameOf(step.entry)}`) : null,
    svg("text", { class: "faint", x: x + 18, y: 148 }, flagsOf(step.entry).map(([, name]) => name).join(" ") || "not present"),
  ] : svg("text", { class: "mono", x: x + 14, y: 130 }, `+ 0x${BigInt.asUintN(12, BigInt(walkNow.address)).toString(16)}`);
  return svg("g", { tabindex: 0, role: "img", "aria-label": words }, svg("title", {}, `${words}: ${about}`),
    svg("rect", { class: `mark kind-${kind}`, x, y: 10, width, height: 160, rx: 6, "stroke-width": 2 }),
    svg("text", { class: "strong", x: x + 12, y: 32 }, title), svg("text", { class: "faint", x: x + width - 10, y: 32, "text-anchor": "end" }, `frame ${frame}`),
    svg("text", { x: x + 12, y: 60, style: "font-size: 17px; font-weight: 700" }, target.kind), svg("text", { class: "faint", x: x + 12, y: 77 }, about),
    svg("text", { x: x + 12, y: 98, class: "strong" }, counted ? `${number(target.uses)} ${target.uses === 1 ? "use" : "uses"}` : "loaded as the root"),
    counted ? svg("text", { x: x + width - 10, y: 98, "text-anchor": "end" }, `${number(target.refs)} refs`) : null, middle,
    more ? svg("path", { class: "crossing", d: `M${x + width - 8} 134 H${x + width + 14} m-6 -4 l6 4 l-6 4`, "stroke-width": 2 }) : null);
}

let walkNow;
function walkPicture(walk) {
  walkNow = walk;
  const boxes = walk.steps.map((step, index) => ({ title: `L${step.level} table`, frame: step.table, target: index ? walk.steps[index - 1].target : { kind: "L4" }, step }));
  const last = walk.steps[walk.steps.length - 1];
  if (last && last.target) boxes.push({ title: "page", frame: frameOf(last.entry), target: last.target, step: null });
  return svg("svg", { viewBox: "0 0 924 180", role: "group", "aria-label": `Page-table walk of ${walk.address}` },
    boxes.map((box, index) => walkBox(box, index, index + 1 < boxes.length)));
}

function addressBits(address) {
  const value = BigInt(address);
  const part = (shift) => ((value >> shift) & 511n).toString();
  const parts = [["sign", "63–48", (value >> 47n) & 1n ? "ones" : "zeros"], ["L4", "47–39", part(39n)], ["L3", "38–30", part(30n)], ["L2", "29–21", part(21n)],
    ["L1", "20–12", part(12n)], ["offset", "11–0", "0x" + (value & 0xfffn).toString(16)]];
  return html("div", { class: "scroll" }, html("table", {},
    html("thead", {}, html("tr", {}, parts.map(([name, bits]) => html("th", { scope: "col", class: "text" }, `${name}, bits ${bits}`)))),
    html("tbody", {}, html("tr", {}, parts.map(([, , index]) => html("td", { class: "text mono" }, index))))));
}

function walkPart(chosen) {
  if (!data.walks.length) return html("section", {}, html("h2", {}, "A page-table walk"), html("p", { class: "card" }, "No walk was recorded in this run."));
  const place = Math.min(Math.max(Number(chosen) || 0, 0), data.walks.length - 1);
  const walk = data.walks[place];
  const kinds = [["table", "page table: only the hypervisor writes it"], ["writable", "page that the guest may write"], ["seg", "segment descriptors"], ["none", "in use as nothing: only read"]];
  return html("section", {}, html("h2", {}, "A page-table walk, with types and counts"),
    html("p", { class: "lead" }, "Under direct paging the processor walks the guest's own tables. Each frame has a type, the number of references that use it as that type, and the number of all "
      + "references. The type changes only while it has no use. These walks are from the hypervisor's own report of a guest that ended."),
    choices("Address", data.walks.map((_, index) => String(index)), String(place), (other) => go("walks", other),
      { word: (index) => `${data.walks[index].machine}: ${data.walks[index].title}` }),
    html("ul", { class: "legend" }, kinds.map(([kind, words]) => html("li", {}, svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" },
      svg("rect", { class: `kind-${kind}`, x: 1, y: 1, width: 14, height: 14, rx: 2, "stroke-width": 2 })), words))),
    html("h3", {}, html("code", {}, walk.address), `, ${walk.title}`), addressBits(walk.address),
    html("figure", { "data-chart": `walk ${place}` }, walkPicture(walk), html("figcaption", {}, verdict(walk))),
    html("p", { class: "lead" }, "Flags: ", FLAGS.map(([, flag, words]) => `${flag} ${words}`).join(", "), "."),
    numbers("The entries", ["level", "index", "table", "entry", "flags", "whose", "type", "uses", "references"], walk.steps.map((step) => [
      `L${step.level}`, step.index, step.table, step.entry, flagsOf(step.entry).map(([, flag]) => flag).join(" "),
      ...(step.target ? [step.target.owner, step.target.kind, number(step.target.uses), number(step.target.refs)] : ["", "", "", ""])])));
}
