// SQL as coloured text, with the tokens marked that the other side does not have.

const TOKEN = new RegExp(
  [
    /(?<comment>--[^\n]*|\/\*[^]*?(?:\*\/|$))/,
    /(?<string>'(?:[^']|'')*'?)/,
    /(?<name>"(?:[^"]|"")*"?|`[^`]*`?|\[[^\]]*\]?)/,
    /(?<number>\d+(?:\.\d+)?)/,
    /(?<word>[\p{L}_][\p{L}\p{N}_$]*)/,
    /(?<space>\s+)/,
    /(?<symbol><>|<=|>=|!=|==|\|\||[^])/,
  ].map((part) => part.source).join("|"),
  "gu",
);

const KEYWORDS = new Set(
  ("select distinct from where group by having order limit offset join left right full inner outer " +
    "cross natural on using as and or not in exists between like is null union intersect except all " +
    "case when then else end asc desc with values cast collate escape glob create table view primary foreign key references unique")
    .split(" "),
);

/** Above this many pairs of tokens the comparison is left out, and the page says so. */
const MOST_PAIRS = 4_000_000;

function tokenize(sql) {
  return Array.from(sql.matchAll(TOKEN), ({ groups }) => {
    const [kind, text] = Object.entries(groups).find(([, value]) => value !== undefined);
    const keyword = kind === "word" && KEYWORDS.has(text.toLowerCase());
    return { kind: keyword ? "keyword" : kind, text, key: kind === "string" ? text : text.toLowerCase() };
  });
}

/** Marks as `different` the tokens outside the longest common subsequence of both sides. */
function markDifferences(left, right) {
  const [a, b] = [left, right].map((tokens) => tokens.filter((token) => token.kind !== "space"));
  if (a.length * b.length > MOST_PAIRS) return false;
  const width = b.length + 1;
  const lengths = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      lengths[i * width + j] = a[i].key === b[j].key
        ? lengths[(i + 1) * width + j + 1] + 1
        : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i].key === b[j].key) { i++; j++; }
    else if (j === b.length || (i < a.length && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) {
      a[i++].different = true;
    } else b[j++].different = true;
  }
  return true;
}

/** The tokens as a block of code; `side` names the class of its marks. */
function codeBlock(tokens, side) {
  const code = make("pre", { className: "code", tabIndex: 0 });
  for (const token of tokens) {
    const plain = token.kind === "space" || token.kind === "symbol";
    const text = plain ? token.text : make("span", { className: token.kind }, token.text);
    code.append(token.different ? make("mark", { className: side }, text) : text);
  }
  return code;
}
