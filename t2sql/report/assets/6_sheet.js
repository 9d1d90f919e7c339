// One example, opened: question, findings, both queries, both results, schema.

function resultTable(result) {
  const numeric = (value) => typeof value === "number";
  const cell = (value) => value === null
    ? make("td", { className: "null" }, "NULL")
    : make("td", { className: numeric(value) ? "numeric" : "", title: String(value) }, String(value));
  const heading = (name, column) => {
    const values = result.rows.map((row) => row[column]).filter((value) => value !== null);
    const align = values.length && values.every(numeric) ? "numeric" : "";
    return make("th", { scope: "col", className: align }, name);
  };
  const head = result.columns.map(heading);
  return make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Result rows" },
    make("table", { className: "result" },
      make("thead", {}, make("tr", {}, ...head)),
      make("tbody", {}, ...result.rows.map((row) => make("tr", {}, ...row.map(cell))))));
}

function resultPanel(title, result) {
  const panel = make("div", { className: "panel" }, make("h3", {}, title));
  if (!result) panel.append(make("p", { className: "below" }, "Not run."));
  else if (result.status !== "ok") {
    panel.append(make("p", { className: "failure" }, `${words(result.status)}: ${result.message}`));
  } else {
    const rest = result.total > result.rows.length ? `, first ${count(result.rows.length)} shown` : "";
    panel.append(resultTable(result),
      make("p", { className: "below" }, `${count(result.total)} ${result.total === 1 ? "row" : "rows"}${rest}`));
  }
  return panel;
}

function queryPanel(title, tokens, side, verdict) {
  const heading = make("h3", {}, title);
  if (verdict) heading.append(make("span", { className: `verdict ${verdict}` }, verdict));
  const empty = make("p", { className: "code muted" }, "no SQL");
  return make("div", { className: "panel" }, heading, tokens.length ? codeBlock(tokens, side) : empty);
}

/** Text in which `names` stand in backticks. */
function prose(message) {
  const parts = message.split("`");
  return make("span", {}, ...parts.map((part, i) => (i % 2 ? make("code", {}, part) : part)));
}

function findingList(findings) {
  const line = ([error, message]) => make("li", {}, make("span", {}, words(error)), prose(message));
  return findings.length ? make("ul", { className: "findings" }, ...findings.map(line)) : null;
}

function folded(title, text, open = false) {
  return text
    ? make("details", { open }, make("summary", {}, title), codeBlock(tokenize(text), ""))
    : null;
}

function legend(details, compared, tokens) {
  const line = (...parts) => make("p", { className: "legend" }, ...parts);
  if (details.gold === null) return line("This question has no gold query.");
  if (!compared) return line("Too long to compare token by token.");
  if (!tokens.some((token) => token.different)) return line("Gold and prediction are the same, token by token.");
  return line("Marked: ", make("mark", { className: "gold" }, "only in gold"), " ",
    make("mark", { className: "predicted" }, "only in the prediction"));
}

function queries(row, details) {
  const gold = tokenize(details.gold ?? "");
  const predicted = tokenize(details.predicted);
  const compared = details.gold !== null && markDifferences(gold, predicted);
  const panels = make("div", { className: "pair" },
    details.gold === null ? null : queryPanel("Gold", gold, "gold"),
    queryPanel("Predicted", predicted, "predicted", details.baseline && verdictOf(row.execution)));
  const before = details.baseline;
  if (before) {
    panels.classList.add("three");
    const tokens = tokenize(before.predicted);
    if (details.gold !== null) markDifferences(tokenize(details.gold), tokens);
    const panel = queryPanel("Baseline", tokens, "predicted", verdictOf(row.before));
    if (before.question) panel.append(make("p", { className: "below" }, `Asked there: ${before.question}`));
    panels.append(panel);
  }
  return [panels, legend(details, compared, [...gold, ...predicted])];
}

/** Whether two results have the same rows to the eye, as far as they are shown. */
function lookAlike(one, other) {
  const text = (result) => result.rows.map((row) => JSON.stringify(row.map(String))).sort().join();
  return one.total === other.total && text(one) === text(other);
}

/** What the comparison of the two results saw, where both are there. */
function reasonWrong(details) {
  if (!details.reason || details.goldResult?.status !== "ok" || details.predictedResult.status !== "ok") return null;
  const alike = lookAlike(details.goldResult, details.predictedResult);
  return make("p", { className: "legend" },
    `${alike ? "The results look the same and are not" : "Why they do not agree"}: ${details.reason}.`);
}

function results(details) {
  const panels = make("div", { className: "pair" },
    details.gold === null ? null : resultPanel("Gold result", details.goldResult),
    resultPanel("Predicted result", details.predictedResult));
  if (details.baseline) {
    panels.classList.add("three");
    panels.append(resultPanel("Baseline result", details.baseline.result));
  }
  return panels;
}

function sheetFacts(row) {
  const verdict = verdictOf(row.execution);
  const facts = [make("strong", {}, row.id),
    make("span", { className: `verdict ${verdict}` }, verdict),
    make("span", {}, row.database.name + (row.database.empty ? " (no rows)" : ""))];
  if (row.hardness) facts.push(make("span", {}, row.hardness));
  if (row.exact !== null) facts.push(make("span", {}, row.exact ? "exact match" : "no exact match"));
  return facts;
}

/** What the run had to choose from: log-probabilities are natural logarithms. */
function candidates(listed) {
  if (!listed) return null;
  const title = `Candidates: ${count(listed.reduce((sum, one) => sum + one.count, 0))} answers`;
  const rows = listed.map((one) => [
    one.chosen ? `${one.sql} (chosen)` : one.sql, one.count, one.logprob, one.mean, one.masked]);
  const columns = ["query", "answers", "log-probability", "per token", "within the constraint"];
  return make("details", {}, make("summary", {}, title), resultTable({ columns, rows }));
}

/** Fills the sheet with one example. */
function fillSheet(index, row, details) {
  const before = details.baseline;
  byId("sheet-facts").replaceChildren(...sheetFacts(row));
  byId("sheet-question").textContent = row.question || row.id;
  const parts = [
    findingList(details.findings),
    details.note ? make("p", { className: "notice" }, details.note) : null,
    ...queries(row, details),
    results(details),
    reasonWrong(details),
    before?.findings.length ? make("h3", {}, "What was wrong in the baseline") : null,
    before ? findingList(before.findings) : null,
    candidates(details.candidates),
    folded("Model text, as it came", details.text),
    folded("Schema", index.schemas[row.database.name], true),
  ];
  byId("sheet-rest").replaceChildren(...parts.filter((part) => part !== null));
  byId("sheet-body").scrollTop = 0;
}
