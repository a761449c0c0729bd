// Sorting and filtering of the findings; without it the table is complete, by severity.
(() => {
  const table = document.querySelector("table.list");
  const body = table.tBodies[0];
  const form = document.querySelector(".tools");
  const [text, verdict] = form.elements;
  const empty = document.querySelector(".empty");

  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    let shown = 0;
    for (const row of body.rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted)
        || (verdict.value !== "" && row.dataset.verdict !== verdict.value);
      shown += !row.hidden;
    }
    empty.hidden = shown > 0;
  };

  const value = (row, column, kind) => {
    const cell = row.cells[column];
    if (kind === "text") return cell.textContent.trim();
    return cell.dataset.value === "" ? -Infinity : Number(cell.dataset.value);
  };

  const sort = (head) => {
    const down = head.getAttribute("aria-sort") !== "descending";
    const { cellIndex: column, dataset: { sort: kind } } = head;
    const order = (a, b) => kind === "text" ? a.localeCompare(b, undefined, { numeric: true }) : a === b ? 0 : a - b;
    const rows = [...body.rows].sort((a, b) => order(value(a, column, kind), value(b, column, kind)));
    body.append(...(down ? rows.reverse() : rows));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  };

  for (const head of table.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head));
    head.append(button);
  }
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
})();
