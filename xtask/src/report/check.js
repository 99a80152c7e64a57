// Runs in the report's page: presses everything that can be pressed, looks whether something visible came of it, and tells.
(async () => {
  const faults = [];
  const seen = { tabs: 0, charts: 0, timelines: 0, presses: 0, stretches: 0 };
  const main = document.getElementById("main");
  const settle = () => new Promise((done) => setTimeout(done, 8));
  // Does something, and waits until the page has answered. Where it leads elsewhere the browser tells of that by an event of its
  // own, whenever it gets to it: a time that was waited would do on an idle machine alone.
  async function perform(act, goes) {
    const before = location.href;
    const told = new Promise((done) => addEventListener("hashchange", done, { once: true }));
    act();
    if (goes || location.href !== before) await Promise.race([told, new Promise((done) => setTimeout(done, 20000))]);
    await settle();
  }
  const all = (selector, node = main) => [...node.querySelectorAll(selector)];
  const holds = (condition, words) => { if (!condition) faults.push(`${location.hash || "#"}: ${words}`); return condition; };
  const group = (label) => all("[role=group]").find((node) => node.getAttribute("aria-label") === label);
  const choice = (label, name) => all("[data-choice]", group(label) || main).find((button) => button.dataset.choice === name);
  const names = (label) => all("[data-choice]", group(label) || main).filter((button) => !button.disabled).map((button) => button.dataset.choice);

  // Presses, and expects another picture unless this choice was the one that is shown.
  async function press(button, words, same) {
    if (!holds(button, `there is no ${words}`)) return;
    const before = main.innerHTML;
    const pressed = button.getAttribute("aria-pressed") === "true";
    button.focus();
    await perform(() => button.click());
    seen.presses += 1;
    if (!pressed && !same) holds(main.innerHTML !== before, `${words} changes nothing`);
  }
  async function choose(label, name) {
    await press(choice(label, name), `${label} ${name}`);
    const now = choice(label, name);
    holds(now && now.getAttribute("aria-pressed") === "true", `${label} ${name} is not shown as pressed`);
    holds(document.activeElement === now, `${label} ${name} has lost the focus`);
  }
  async function tab(part) {
    const button = document.getElementById(`tab-${part}`);
    await perform(() => button.click());
    seen.tabs += 1;
    holds(button.getAttribute("aria-selected") === "true", `the tab ${part} is not selected`);
    holds(all("section").length === 1 && main.firstElementChild.dataset.part === part, `${part} is not what is shown`);
    sound();
  }
  // What every picture is to have: a name for those who do not see it, and room.
  function sound() {
    for (const picture of all("svg")) holds(picture.getAttribute("aria-label") || picture.getAttribute("aria-hidden") || picture.closest("[aria-hidden]"), "a picture without a name");
    for (const button of all("button")) holds(button.textContent.trim() || button.getAttribute("aria-label"), "a button without a name");
    const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    holds(!/\[object|NaN|undefined|Infinity/.test(main.textContent), `not for readers: ${(main.textContent.match(/.{0,20}(\[object|NaN|undefined|Infinity).{0,20}/) || [])[0]}`);
    holds(wide <= 0, `the page is ${wide} pixels too wide`);
    for (const box of all("svg rect")) {
      if (!["x", "y", "width", "height"].every((name) => Number.isFinite(Number(box.getAttribute(name) || 0)) && Number(box.getAttribute(name) || 0) >= -9)) {
        holds(false, `a box that is nowhere: ${box.outerHTML}`);
        break;
      }
    }
  }
  function chart(name, empty) {
    const figure = all("[data-chart]").find((node) => node.dataset.chart === name);
    if (!holds(figure, `there is no chart ${name}`)) return;
    seen.charts += 1;
    holds(empty || all(".mark", figure).length > 0, `the chart ${name} has no mark`);
    sound();
  }

  async function operationsPart() {
    await tab("operations");
    for (const { name } of data.operations) {
      await choose("Operations", name);
      chart(`operation ${name}`);
    }
    for (let place = 0; place < all(".bar-of[role=link]").length; place++) {
      await perform(() => all(".bar-of[role=link]")[place].dispatchEvent(new MouseEvent("click", { bubbles: true })));
      holds(main.firstElementChild.dataset.part === "timelines", "a bar does not lead to its timeline");
      await perform(() => history.back(), true);
    }
  }
  async function machinesPart() {
    await tab("machines");
    for (const machine of data.machines) {
      await choose("Machine", machine);
      for (const measure of names("Measure")) {
        await choose("Measure", measure);
        for (const order of names("Order")) {
          await press(choice("Order", order), `order ${order}`, true);
          chart(`machine ${machine} ${measure} ${order}`, !data.rows.some((row) => row.machine === machine && row.entries) || measure === "times native");
        }
      }
    }
  }
  async function entriesPart() {
    await tab("entries");
    for (const machine of data.machines) {
      await choose("Machine", machine);
      const some = data.rows.some((row) => row.machine === machine && row.entries && Object.values(row.entries).some(Boolean));
      for (const [scale, name] of [["counts", "linear"], ["shares", "share"]]) {
        await choose("Scale", scale);
        chart(`entries ${machine} ${name}`, !some);
      }
    }
  }
  async function timelineOfPage(node, line) {
    const act = (name) => all(`[data-do="${name}"]`, node)[0];
    const about = () => node.querySelector(".about").textContent;
    const picture = node.querySelector(".view");
    const words = () => `${about()}|${picture.innerHTML}`;
    const steps = () => Number(picture.lastChild.textContent.match(/of ([\d,]+) steps/)[1].replaceAll(",", ""));
    seen.timelines += 1;
    seen.stretches += all(".stretch", node).length;
    holds(all(".stretch", node).length > 0 && all(".stretch", node).length <= 3 * 900, "a timeline without a stretch, or with too many");
    const before = words();
    await press(act("▶"), "the next stretch");
    holds(/cause/.test(about()) && all(".chosen", node).length === 1, "the chosen stretch is not told");
    picture.dispatchEvent(new KeyboardEvent("keydown", { key: "End", bubbles: true, cancelable: true }));
    const last = picture.querySelector(".chosen");
    holds(last && Number(last.closest("[data-item]").dataset.item) === steps() - 1, "End does not lead to the end");
    await press(act("◀"), "the stretch before", steps() === 1);
    const whole = picture.innerHTML;
    await press(act("+"), "closer");
    holds(steps() === 1 || picture.innerHTML !== whole, "closer shows the same");
    await press(act("−"), "farther", true);
    await press(act("all"), "the whole", true);
    const folded = steps();
    await press(act("fold"), "folding", true);
    const loops = line.runs.some((run) => run[2] > 1);
    holds(steps() === line.order.length && (folded < steps()) === loops, `${folded} steps, unfolded ${steps()} of ${line.order.length}`);
    const stretches = all(".stretch", node);
    holds(stretches.length <= 3 * 900, "too much is drawn");
    stretches[stretches.length >> 1].dispatchEvent(new MouseEvent("click", { bubbles: true }));
    holds(/cause/.test(about()), "a stretch that was pressed is not told");
    await press(act("fold"), "folding", true);
    for (const button of all("[data-scale]", node)) {
      await press(button, `widths ${button.dataset.scale}`, true);
      holds(button.getAttribute("aria-pressed") === "true", `widths ${button.dataset.scale} is not shown as pressed`);
    }
    const summary = node.querySelector("summary");
    if (summary) {
      summary.click();
      await settle();
      await settle();
      holds(all("tbody tr", node).length === Math.min(300, steps()), `the table has ${all("tbody tr", node).length} rows of ${steps()}`);
    }
    holds(words() !== before, "nothing has changed");
  }
  async function timelinesPart() {
    await tab("timelines");
    const wanted = new Set(data.timelines.map((line) => line.operation));
    if (!wanted.size) return;
    const there = names("Operations");
    holds(there.length === wanted.size, `${there.length} of ${wanted.size} operations have timelines here`);
    for (const operation of there) {
      await choose("Operations", operation);
      for (const machine of names("Machine")) {
        await choose("Machine", machine);
        const lines = data.timelines.filter((line) => line.operation === operation && (line.machine === machine || !data.machines.includes(machine)));
        const nodes = all("[data-timeline]");
        holds(nodes.length === lines.length, `${nodes.length} timelines, not ${lines.length}`);
        sound();
        if (data.machines.includes(machine)) await timelineOfPage(nodes[0], lines[0]);
      }
    }
    holds(seen.timelines === data.timelines.length, `${seen.timelines} of ${data.timelines.length} timelines were shown`);
  }
  async function walksPart() {
    await tab("walks");
    for (const place of data.walks.keys()) {
      await choose("Address", String(place));
      chart(`walk ${place}`, !data.walks[place].steps.length);
    }
  }
  async function overviewPart() {
    await tab("overview");
    for (const card of all(".card")) holds(all("svg [class^=lane]", card).length >= 2, "a machine's picture shows nobody");
    holds(all(".card").length === data.machines.length, "not each machine has its picture");
    const buttons = all("td button").length;
    holds(buttons === data.operations.length, "not each operation is listed");
    for (let place = 0; place < buttons; place++) {
      const name = all("td button")[place].textContent;
      await press(all("td button")[place], `the operation ${name}`);
      chart(`operation ${name}`);
      await tab("overview");
    }
  }

  async function skip() {
    await tab("walks");
    const [address, before] = [location.href, main.innerHTML];
    await perform(() => document.querySelector(".skip").click());
    seen.presses += 1;
    holds(location.href === address && main.innerHTML === before, "the way to the charts leads to another part");
    holds(document.activeElement === main, "the way to the charts does not lead to them");
  }

  await overviewPart();
  await operationsPart();
  await machinesPart();
  await entriesPart();
  await timelinesPart();
  await walksPart();
  await skip();
  const theme = document.getElementById("theme");
  for (const _ of [1, 2]) {
    const before = getComputedStyle(document.body).backgroundColor;
    theme.click();
    holds(getComputedStyle(document.body).backgroundColor !== before, "the theme changes nothing");
  }
  dispatchEvent(new Event("beforeprint"));
  holds(all("section").length === 6, "not all parts are printed");
  dispatchEvent(new Event("afterprint"));
  holds(all("section").length === 1, "after printing there is more than one part");
  return { faults, ...seen };
})()
