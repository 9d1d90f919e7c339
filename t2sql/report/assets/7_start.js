// Wires the parts together.

function fillSelect(name, values, label = (value) => value) {
  const options = values.map((value) => make("option", { value }, label(value)));
  byId(name).replaceChildren(make("option", { value: "" }, "all"), ...options);
}

function fillFilters(index) {
  const used = (pick) => new Set(index.rows.flatMap(pick));
  const errors = used((row) => row.errors);
  const hasBaseline = index.rows.some((row) => row.before !== undefined);
  const verdicts = Object.keys(VERDICTS).filter((name) =>
    ["right", "wrong"].includes(name) ||
    (["better", "worse"].includes(name) ? hasBaseline : index.rows.some(VERDICTS[name].holds)));
  fillSelect("verdict", verdicts, (name) => VERDICTS[name].label);
  fillSelect("hardness", index.hardness);
  fillSelect("database", index.databases.map((database) => database.name).sort());
  fillSelect("error", index.errors.filter((error) => errors.has(error)), words);
}

async function start() {
  const index = await readIndex();
  const sheet = byId("sheet");
  let state = readState();
  let selected = [];
  fillFilters(index);

  const current = () => selected.findIndex((row) => row.id === state.example);
  const openRow = (row) => { state.example = row.id; showState(); };
  const turnPage = (step) => { state.page += step; showState(); };

  async function showExample() {
    const row = index.rows.find((candidate) => candidate.id === state.example);
    if (!row) {
      if (sheet.open) sheet.close();
      return;
    }
    const details = await readDetails(index, row.position);
    if (row.id !== state.example) return;
    fillSheet(index, row, details);
    const place = current();
    byId("previous").disabled = place <= 0;
    byId("next").disabled = place < 0 || place === selected.length - 1;
    if (!sheet.open) sheet.showModal();
    byId("sheet-body").focus();
  }

  function showState() {
    selected = selectRows(index.rows, state);
    for (const name of FILTERS) if (byId(name).value !== state[name]) byId(name).value = state[name];
    showList(selected, index.rows.length, state, openRow);
    writeState(state);
    return showExample();
  }

  function filter() {
    for (const name of FILTERS) state[name] = byId(name).value;
    state.page = 1;
    showState();
  }

  function move(step) {
    const row = selected[current() + step];
    if (row) openRow(row);
  }

  function closed() {
    const place = current();
    state.example = "";
    if (place >= 0) state.page = Math.floor(place / ROWS_A_PAGE) + 1;
    showState();
    if (place >= 0) byId("rows").children[place % ROWS_A_PAGE]?.querySelector("button").focus();
  }

  byId("filters").addEventListener("input", filter);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", (event) => {
    event.preventDefault();
    for (const name of FILTERS) byId(name).value = "";
    filter();
  });
  byId("previous-page").addEventListener("click", () => turnPage(-1));
  byId("next-page").addEventListener("click", () => turnPage(1));
  byId("previous").addEventListener("click", () => move(-1));
  byId("next").addEventListener("click", () => move(1));
  byId("close").addEventListener("click", () => sheet.close());
  sheet.addEventListener("close", closed);
  sheet.addEventListener("click", (event) => { if (event.target === sheet) sheet.close(); });

  byId("q").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown") return;
    event.preventDefault();
    focusEdge(false);
  });
  byId("rows").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    if (focusRow(step)) return;
    const edge = step > 0 ? byId("next-page") : byId("previous-page");
    if (edge.disabled) return;
    turnPage(step);
    focusEdge(step < 0);
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    if (event.key === "/" && !typing && !sheet.open) {
      event.preventDefault();
      byId("filters").scrollIntoView();
      byId("q").focus();
    }
    const inCode = event.target instanceof HTMLElement && event.target.closest(".scroll, .code");
    if (sheet.open && !inCode && event.key === "ArrowLeft") move(-1);
    if (sheet.open && !inCode && event.key === "ArrowRight") move(1);
  });
  addEventListener("hashchange", () => {
    if (location.hash && !location.hash.includes("=")) return;
    state = readState();
    showState();
    if (location.hash) byId("examples").scrollIntoView();
  });

  for (const id of ["filters", "status"]) byId(id).hidden = false;
  await showState();
  document.documentElement.dataset.ready = "true";
}

start().catch((error) => {
  byId("nothing").hidden = false;
  byId("nothing").textContent = `This browser cannot show the examples (${error.message}); verdicts.jsonl beside this page holds all of them.`;
});
