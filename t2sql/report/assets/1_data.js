// The examples: one packed index for the list, and packed blocks of details, opened on demand.

/** Decodes the text of one element: JSON, gzipped, in base64. */
async function unpack(element) {
  const packed = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** The index, its rows as objects with what the filters look at. */
async function readIndex() {
  const index = await unpack(document.getElementById("index"));
  index.rows = index.rows.map((row, position) => {
    const [id, db, hardness, execution, exact, valid, errors, question, gold, sql, before] = row;
    return {
      position, id, question, gold, sql, execution, exact, valid, before,
      database: index.databases[db],
      hardness: index.hardness[hardness] ?? "",
      errors: errors.map((error) => index.errors[error]),
      text: [id, question, gold, sql].join("\n").toLowerCase(),
    };
  });
  return index;
}

const openBlocks = new Map();

/** What the sheet shows of the example at `position`. */
async function readDetails(index, position) {
  const block = Math.floor(position / index.block);
  if (!openBlocks.has(block)) {
    openBlocks.set(block, unpack(document.getElementsByClassName("block")[block]));
  }
  return (await openBlocks.get(block))[position % index.block];
}
