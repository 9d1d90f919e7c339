// The list of examples: one page of rows at a time, so that 10,000 cost what 50 do.

const ROWS_A_PAGE = 50;

function verdictGlyph(row) {
  const verdict = verdictOf(row.execution);
  const hollow = row.database.empty ? ", on a database without rows" : "";
  return make("td", { className: "mark", title: verdict + hollow },
    make("span", { className: `glyph ${verdict}`, ariaHidden: "true" }),
    make("span", { className: "visually-hidden" }, verdict + hollow));
}

function listRow(row, open) {
  const button = make("button", { type: "button", className: "open" }, row.question || row.gold);
  const line = make("tr", {},
    verdictGlyph(row),
    make("td", { className: "id" }, row.id),
    make("td", { className: "question" }, button,
      make("span", { className: "sql" }, row.sql || "no SQL")),
    make("td", { className: "db" }, row.database.name),
    make("td", { className: "hard" }, row.hardness),
    make("td", { className: "errs" }, row.errors.map(words).join(", ")));
  line.addEventListener("click", () => open(row));
  return line;
}

/** Fills the table with the page of `selected` that the state asks for. */
function showList(selected, total, state, open) {
  const pages = Math.max(1, Math.ceil(selected.length / ROWS_A_PAGE));
  state.page = Math.min(state.page, pages);
  const start = (state.page - 1) * ROWS_A_PAGE;
  const shown = selected.slice(start, start + ROWS_A_PAGE);
  byId("rows").replaceChildren(...shown.map((row) => listRow(row, open)));
  byId("list").hidden = !shown.length;
  byId("nothing").hidden = Boolean(shown.length);
  byId("matches").textContent = `${count(selected.length)} of ${count(total)} examples`;
  byId("page-number").textContent = `${count(state.page)} / ${count(pages)}`;
  byId("previous-page").disabled = state.page === 1;
  byId("next-page").disabled = state.page === pages;
}

/** Moves the focus among the rows; false at the end of the page. */
function focusRow(step) {
  const buttons = Array.from(byId("rows").querySelectorAll("button.open"));
  const next = buttons[buttons.indexOf(document.activeElement) + step];
  next?.focus();
  return Boolean(next);
}

function focusEdge(last) {
  const buttons = byId("rows").querySelectorAll("button.open");
  buttons[last ? buttons.length - 1 : 0]?.focus();
}
