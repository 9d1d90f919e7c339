/** Makes an element; text always becomes a text node, never markup. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

const byId = (id) => document.getElementById(id);
const words = (name) => name.replaceAll("_", " ");
const count = (number) => number.toLocaleString("en-US");

/** right, wrong or unjudged, as the page words it. */
function verdictOf(execution) {
  if (execution === null) return "unjudged";
  return execution ? "right" : "wrong";
}
