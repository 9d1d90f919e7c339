// What the page shows is written in the address, so that a view can be linked.

const FILTERS = ["q", "verdict", "hardness", "database", "error"];

/** The state in the address: the filters, `page` (from 1) and `example` (the one opened). */
function readState() {
  const given = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const state = Object.fromEntries(FILTERS.map((name) => [name, given.get(name) ?? ""]));
  state.page = Math.max(1, Number.parseInt(given.get("page") ?? "1", 10) || 1);
  state.example = given.get("example") ?? "";
  return state;
}

function writeState(state) {
  const kept = Object.entries(state).filter(([name, value]) => value && !(name === "page" && value === 1));
  const hash = new URLSearchParams(kept).toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

const VERDICTS = {
  right: { label: "right", holds: (row) => row.execution === 1 },
  wrong: { label: "wrong", holds: (row) => row.execution === 0 },
  invalid: { label: "not valid SQL", holds: (row) => row.valid === 0 },
  inexact: { label: "right, no exact match", holds: (row) => row.execution === 1 && row.exact === 0 },
  unjudged: { label: "unjudged", holds: (row) => row.execution === null },
  better: { label: "better than the baseline", holds: (row) => row.execution === 1 && row.before === 0 },
  worse: { label: "worse than the baseline", holds: (row) => row.execution === 0 && row.before === 1 },
};

/** The rows that pass every filter of the state. */
function selectRows(rows, state) {
  const wanted = state.q.trim().toLowerCase();
  const holds = state.verdict ? VERDICTS[state.verdict]?.holds ?? (() => false) : () => true;
  return rows.filter((row) =>
    holds(row) &&
    (!state.hardness || row.hardness === state.hardness) &&
    (!state.database || row.database.name === state.database) &&
    (!state.error || row.errors.includes(state.error)) &&
    (!wanted || row.text.includes(wanted)));
}
