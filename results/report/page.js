for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const header = button.closest("th"), table = header.closest("table"), body = table.tBodies[0];
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells)
    other.setAttribute("aria-sort", other !== header ? "none" : descending ? "descending" : "ascending");
  const key = row => {
    const cell = row.cells[header.cellIndex];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  // numbers, then texts, then what is empty: only within each kind does the direction count
  const kind = value => typeof value === "number" ? 0 : value === "" ? 2 : 1;
  const order = (a, b) => typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  [...body.rows].map(row => [key(row), row])
    .sort(([a], [b]) => kind(a) - kind(b) || (descending ? order(b, a) : order(a, b)))
    .forEach(([, row]) => body.append(row));
});
const open = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
};
addEventListener("hashchange", open);
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach(part => { part.open = true; });
});
addEventListener("afterprint", () => folded.forEach(part => { part.open = false; }));
open();
