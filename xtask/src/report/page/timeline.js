// Three lanes, time going right. However long the timeline, only what can be seen is drawn.

const LANE_TOP = 26;
const LANE_STEP = 44;
const LANE_HEIGHT = 32;
const LEFT = 84;

const SCALES = {
  "even steps": () => 1,
  "logarithmic": (count) => 1 + Math.log2(1 + count),
  "to scale": (count) => Math.max(count, 0.001),
};

const stretch = (row) => ({
  lane: row[0], reason: data.words[row[1]], detail: data.words[row[2]], fn: data.words[row[3]], address: data.words[row[4]],
  instructions: row[5], cr3: row[6], flushes: row[7],
});

// What is drawn: a stretch, or all turns of a loop at its place of the turn.
function itemsOf(line, fold) {
  const items = [];
  const groups = [];
  const one = (index, turns, period) => {
    const all = [];
    for (let turn = 0; turn < turns; turn++) all.push(line.kinds[line.order[index + turn * period]]);
    let [least, most, others] = [Infinity, 0, false];
    for (const row of all) {
      least = Math.min(least, row[5]);
      most = Math.max(most, row[5]);
      others ||= row[2] !== all[0][2];
    }
    items.push({ ...stretch(all[0]), index, turns, least, most, others, total: sum(all.map((row) => row[5])),
      cr3: sum(all.map((row) => row[6])), flushes: sum(all.map((row) => row[7])) });
  };
  for (const [start, period, turns] of line.runs) {
    if (fold && turns > 1) {
      groups.push({ from: items.length, to: items.length + period, turns });
      for (let place = 0; place < period; place++) one(start + place, turns, period);
    } else for (let index = start; index < start + period * turns; index++) one(index, 1, 1);
  }
  return { items, groups };
}

class TimelineView {
  constructor(line, options = {}) {
    this.line = line;
    this.fold = true;
    this.scale = "logarithmic";
    this.chosen = -1;
    this.picture = svg("svg", { class: "view", viewBox: `0 0 ${WIDTH} ${LANE_TOP + 3 * LANE_STEP + 24}`, tabindex: 0, role: "application",
      "aria-label": `Timeline of ${line.operation} on ${line.machine}: arrow keys choose a stretch, plus and minus zoom, Home and End jump`,
      onkeydown: (event) => this.key(event), onpointerdown: (event) => this.drag(event), onclick: (event) => this.click(event) });
    this.picture.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.brief = options.brief;
    this.about = html("div", { class: "about", "aria-live": "polite", hidden: options.brief });
    this.steps = html("details", { ontoggle: () => this.table() }, html("summary", {}, "All stretches, as a table"));
    this.folding = html("button", { type: "button", "data-do": "fold", onclick: () => { this.fold = !this.fold; this.rebuild(); } }, "Fold loops");
    this.scaling = Object.keys(SCALES).map((name) => html("button", { type: "button", "data-scale": name, onclick: () => { this.scale = name; this.rebuild(); } }, name));
    const button = (name, label, act) => html("button", { type: "button", "data-do": name, "aria-label": label, title: label, onclick: act }, name);
    this.node = html("div", { class: "timeline", "data-timeline": `${line.operation} ${line.machine}` },
      html("h3", {}, tag(line.machine), `${line.operation} on ${line.machine}`), html("p", { class: "lead" }, this.sums()),
      options.brief ? null : html("div", { class: "bar" }, button("◀", "The stretch before", () => this.choose(this.chosen - 1)), button("▶", "The next stretch", () => this.choose(this.chosen + 1)),
        button("+", "Closer", () => this.zoom(0.5)), button("−", "Farther", () => this.zoom(2)), button("all", "The whole timeline", () => this.whole()),
        this.folding, html("span", {}, "Widths"), this.scaling),
      this.picture, this.about, options.brief ? null : this.steps);
    this.rebuild();
  }

  sums() {
    const { line } = this;
    const lanes = LANES.map((lane, index) => `${lane} ${number(line.sums[index])}`).join(", ");
    const cut = line.left_out.segments ? ` The first ${number(line.order.length)} stretches are here; ${number(line.left_out.segments)} more, of ${number(line.left_out.instructions)} instructions, are not.` : "";
    return `${number(sum(line.sums))} instructions in ${number(line.order.length + line.left_out.segments)} stretches: ${lanes}.${cut}`;
  }

  rebuild() {
    Object.assign(this, itemsOf(this.line, this.fold));
    const width = SCALES[this.scale];
    let end = 0;
    this.starts = this.items.map((item) => {
      const start = end;
      end += width(this.scale === "to scale" ? item.total : item.most);
      return start;
    });
    this.starts.push(end);
    this.folding.setAttribute("aria-pressed", String(this.fold));
    for (const button of this.scaling) button.setAttribute("aria-pressed", String(button.dataset.scale === this.scale));
    this.chosen = Math.min(this.chosen, this.items.length - 1);
    this.steps.open = false;
    this.whole();
    this.tell();
  }

  get end() { return this.starts[this.starts.length - 1]; }
  whole() { this.from = 0; this.to = this.end; this.draw(); }
  x(position) { return LEFT + ((position - this.from) / (this.to - this.from)) * (WIDTH - LEFT - 4); }

  zoom(factor, at) {
    const middle = at === undefined ? (this.chosen >= 0 ? this.starts[this.chosen] : (this.from + this.to) / 2) : at;
    const least = Math.max(this.end / 1e6, 1e-3);
    const span = Math.min(this.end, Math.max(least, (this.to - this.from) * factor));
    const share = at === undefined ? 0.5 : (at - this.from) / (this.to - this.from);
    this.show(middle - span * share, span);
  }

  show(from, span) {
    this.from = Math.max(0, Math.min(from, this.end - span));
    this.to = this.from + span;
    this.draw();
  }

  // The item at a position: the last that starts at or before it.
  at(position) {
    let [low, high] = [0, this.items.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= position) low = middle; else high = middle - 1;
    }
    return low;
  }

  draw() {
    const lanes = LANES.map((lane, index) => [
      svg("rect", { class: "band", x: LEFT, y: LANE_TOP + index * LANE_STEP - 4, width: WIDTH - LEFT, height: LANE_HEIGHT + 8 }),
      svg("text", { x: LEFT - 8, y: LANE_TOP + index * LANE_STEP + 20, "text-anchor": "end" }, lane)]);
    const [drawn, crossings, covered] = [[], [], [-9, -9, -9]];
    const [first, last] = [this.at(this.from), this.at(this.to)];
    for (let index = first; index <= last && this.items.length; index++) {
      const item = this.items[index];
      const [x, end] = [Math.max(LEFT, this.x(this.starts[index])), Math.min(WIDTH, this.x(this.starts[index + 1]))];
      const width = end - x;
      // Of what is thinner than a pixel, one a pixel is enough.
      if (width < 1 && x - covered[item.lane] < 1 && index !== this.chosen) continue;
      covered[item.lane] = x;
      drawn.push(this.box(item, index, x, width));
      const before = this.items[index - 1];
      if (before && before.lane !== item.lane && x > LEFT && width > 2.5) crossings.push(this.crossing(before.lane, item.lane, x));
    }
    const shown = `${number(Math.min(this.items.length, last - first + 1))} of ${number(this.items.length)} steps in view`;
    const foot = svg("text", { class: "faint", x: LEFT, y: LANE_TOP + 3 * LANE_STEP + 14 }, shown);
    this.picture.replaceChildren(...[lanes, this.brackets(), crossings, drawn, foot].flat(3).filter(Boolean));
  }

  crossing(from, to, x) {
    const way = from < to ? 1 : -1;
    const [tail, head] = [[from, way], [to, -way]].map(([lane, side]) => LANE_TOP + lane * LANE_STEP + (LANE_HEIGHT / 2) * (1 + side));
    return svg("path", { class: "crossing", d: `M${x} ${tail} V${head} m-3 ${-5 * way} l3 ${5 * way} l3 ${-5 * way}` });
  }

  brackets() {
    return this.groups.filter((group) => this.starts[group.to] > this.from && this.starts[group.from] < this.to).map((group) => {
      const [x, end] = [Math.max(LEFT, this.x(this.starts[group.from])), Math.min(WIDTH - 2, this.x(this.starts[group.to]))];
      if (end - x < 3) return null;
      const words = `× ${number(group.turns)}`;
      return [svg("path", { d: `M${x + 1} 20 V14 H${end - 1} V20`, fill: "none", stroke: "var(--faint)" }),
        end - x > 8 * words.length ? svg("text", { class: "strong", x: (x + end) / 2, y: 10, "text-anchor": "middle" }, words) : null];
    });
  }

  box(item, index, x, width) {
    const lane = LANES[item.lane];
    const y = LANE_TOP + item.lane * LANE_STEP;
    const count = item.least === item.most ? number(item.most) : `${number(item.least)}–${number(item.most)}`;
    const words = `${lane}: ${item.reason}, ${count} instructions${item.turns > 1 ? ` × ${number(item.turns)}` : ""}`;
    const text = [];
    if (width > 7 * count.length + 6) {
      text.push(svg("text", { x: x + 4, y: y + 14, style: "font-size: 11.5px" }, count));
      const room = Math.floor((width - 6) / 6.3);
      if (room > 3) text.push(svg("text", { class: "faint", x: x + 4, y: y + 27, style: "font-size: 10.5px" }, short(item.reason, room)));
    }
    return svg("g", { "data-item": index, class: "stretch" }, svg("title", {}, words),
      svg("rect", { class: `mark lane-${lane}${index === this.chosen ? " chosen" : ""}`, x, y, width: Math.max(width, 0.8), height: LANE_HEIGHT, rx: width > 6 ? 3 : 0 }), text);
  }

  choose(index) {
    this.chosen = Math.max(0, Math.min(this.items.length - 1, index));
    const [start, end] = [this.starts[this.chosen], this.starts[this.chosen + 1]];
    const span = this.to - this.from;
    if (start < this.from || end > this.to * 1.000001) this.show(start - span / 3, span); else this.draw();
    this.tell();
  }

  tell() {
    const item = this.items[this.chosen];
    this.about.hidden = this.brief && !item;
    if (!item) {
      this.about.replaceChildren("Press a stretch, or use the arrow keys, to see why it began and what it cost.");
      return;
    }
    const of = (name, value) => (value === "" || value === 0 ? null : html("div", {}, html("dt", {}, name), html("dd", {}, String(value))));
    const each = item.least === item.most ? number(item.most) : `${number(item.least)} to ${number(item.most)}`;
    this.about.replaceChildren(html("dl", {},
      of("step", `${number(this.chosen + 1)} of ${number(this.items.length)}`), of("who", LANES[item.lane]), of("cause", item.reason),
      of("detail", item.detail + (item.others ? ", and others" : "")), of("function", item.fn), of("at", item.address),
      of("instructions", item.turns > 1 ? `${each} × ${number(item.turns)} = ${number(item.total)}` : each), of("CR3 loads", item.cr3), of("flushes", item.flushes)));
  }

  table() {
    if (!this.steps.open) return;
    const most = 300;
    const rows = this.items.slice(0, most).map((item, index) => html("tr", {}, [number(index + 1), LANES[item.lane], item.reason, item.detail, item.fn,
      (item.turns > 1 ? `${number(item.total)} (× ${number(item.turns)})` : number(item.total)), number(item.cr3), number(item.flushes)]
      .map((value, place) => html("td", { class: place >= 1 && place <= 4 ? "text" : undefined }, value))));
    const more = this.items.length > most ? html("p", { class: "lead" }, `The first ${most} of ${number(this.items.length)}.`) : "";
    this.steps.replaceChildren(this.steps.firstChild, html("div", { class: "scroll" }, html("table", {}, html("thead", {}, html("tr", {},
      ["step", "who", "cause", "detail", "function", "instructions", "CR3 loads", "flushes"].map((word) => html("th", { scope: "col" }, word)))),
      html("tbody", {}, rows))), more);
  }

  key(event) {
    const acts = { ArrowRight: () => this.choose(this.chosen + 1), ArrowLeft: () => this.choose(this.chosen - 1), Home: () => this.choose(0),
      End: () => this.choose(this.items.length - 1), "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), "0": () => this.whole() };
    if (!acts[event.key]) return;
    acts[event.key]();
    event.preventDefault();
  }

  position(event) {
    const box = this.picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    return this.from + ((x - LEFT) / (WIDTH - LEFT - 4)) * (this.to - this.from);
  }

  click(event) {
    if (this.dragged) return;
    const stretch = event.target.closest("[data-item]");
    if (stretch) this.choose(Number(stretch.dataset.item));
  }

  wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.position(event));
  }

  drag(start) {
    this.dragged = false;
    const [from, span, width] = [this.from, this.to - this.from, this.picture.getBoundingClientRect().width];
    const move = (event) => {
      const way = event.clientX - start.clientX;
      if (Math.abs(way) < 4 && !this.dragged) return;
      this.dragged = true;
      this.show(from - (way / width) * span, span);
    };
    const stop = () => { removeEventListener("pointermove", move); removeEventListener("pointerup", stop); };
    addEventListener("pointermove", move);
    addEventListener("pointerup", stop);
  }
}

function timelinePart(chosen, where) {
  const operations = data.operations.map((operation) => operation.name);
  const drawn = operations.filter((name) => machines.some((machine) => timelineOf(name, machine)));
  if (!drawn.length) return html("section", {}, html("h2", {}, "Timelines"), html("p", { class: "card" }, "No timeline was recorded in this run."));
  const name = drawn.includes(chosen) ? chosen : drawn[0];
  const there = machines.filter((machine) => timelineOf(name, machine));
  const all = "one above the other";
  const machine = where === all || there.includes(where) ? where : there.find((it) => it !== "native") || there[0];
  const views = (machine === all ? there : [machine]).map((it) => new TimelineView(timelineOf(name, it), { brief: machine === all }).node);
  return html("section", {}, html("h2", {}, "What happens, crossing by crossing"),
    html("p", { class: "lead" }, "Each box is a stretch of instructions of one lane; each arrow is a crossing. Drag to move; Ctrl and the wheel zoom."),
    laneLegend(),
    html("div", { class: "split" },
      choices("Operations", operations, name, (other) => go("timelines", other, machine), { list: true, off: (it) => !drawn.includes(it) && "no timeline in this run" }),
      html("div", {}, html("p", { class: "lead" }, html("strong", {}, name), ": ", aboutOf(name)),
        choices("Machine", [...machines, all], machine, (other) => go("timelines", name, other),
          { off: (it) => it !== all && !there.includes(it) && absence(name, it), mark: (it) => (it === all ? null : tag(it)) }), views)));
}
