for (const button of document.querySelectorAll("table.sortable th button")) button.onclick = () => {
  const head = button.parentElement, body = head.closest("table").tBodies[0];
  const was = head.getAttribute("aria-sort"), falling = was ? was === "ascending" : !head.matches(".text");
  const value = row => { const cell = row.cells[head.cellIndex];
    return "v" in cell.dataset ? (cell.dataset.v === "" ? NaN : +cell.dataset.v) : cell.textContent; };
  const compare = (a, b) => { const x = value(a), y = value(b), sign = falling ? -1 : 1;
    if (typeof x === "string") return sign * x.localeCompare(y, undefined, {numeric: true});
    return isNaN(x) - isNaN(y) || sign * (x - y); };
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  body.append(...[...body.rows].sort(compare));
};
const folded = () => document.querySelectorAll("details:not([open])");
const openTarget = () => document.getElementById(location.hash.slice(1))?.closest("details")?.setAttribute("open", "");
addEventListener("hashchange", openTarget);
openTarget();
let closed = [];
addEventListener("beforeprint", () => { closed = [...folded()]; for (const part of closed) part.open = true; });
addEventListener("afterprint", () => { for (const part of closed) part.open = false; });
