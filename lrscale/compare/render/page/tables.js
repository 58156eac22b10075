"use strict";
// Sorts and filters the tables, whose rows are embedded in the page; long ones show their first
// rows. A row of the runs opens that run's configuration.
(() => {
  const FIRST = 100; // rows shown before more are asked for; as many stand in the page itself
  const WIDE = 40; // letters that a cell has on one line
  const NOTHING = new Set(["", "–", "diverged", "none yet", "none: diverged"]);
  const collator = new Intl.Collator(undefined, { numeric: true });

  const data = JSON.parse(document.getElementById("tables").textContent);
  const configs = JSON.parse(document.getElementById("configs").textContent);
  document.querySelectorAll("section[data-table]").forEach((section) =>
    mount(section, data[section.dataset.table], section.dataset.table === "runs"));

  function mount(section, rows, opens) {
    const body = section.querySelector("tbody"), more = section.querySelector(".more");
    const count = section.querySelector(".count"), filter = section.querySelector("input");
    const heads = [...section.querySelectorAll("th")];
    const lower = rows.map((row) => row.join(" ").toLowerCase());
    let order = rows.map((_, i) => i), shown = FIRST, column = -1, direction = 1;

    const render = () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      const found = order.filter((i) => words.every((word) => lower[i].includes(word)));
      body.replaceChildren(...found.slice(0, shown).map((i) => line(rows[i], i)));
      count.textContent = found.length === rows.length ? `${rows.length.toLocaleString("en")} rows`
        : `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
      more.hidden = found.length <= shown;
      more.textContent = `Show ${Math.min(1000, found.length - shown).toLocaleString("en")} more`;
    };
    const line = (row, i) => {
      const tr = document.createElement("tr");
      row.forEach((cell, k) => {
        const td = tr.insertCell();
        if (opens && k === 0) {
          const button = document.createElement("button");
          button.type = "button";
          button.textContent = cell;
          button.setAttribute("aria-expanded", "false");
          button.onclick = () => toggle(tr, button, i);
          td.append(button);
        } else td.textContent = cell;
        if (cell.length > WIDE) td.className = "wide";
      });
      return tr;
    };
    const toggle = (tr, button, i) => {
      const open = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!open));
      if (open) return tr.nextSibling.remove();
      const under = document.createElement("tr"), td = under.insertCell();
      td.colSpan = heads.length;
      td.append(configuration(i));
      tr.after(under);
    };

    heads.forEach((head, k) => {
      head.querySelector("button").onclick = () => {
        direction = column === k ? -direction : 1;
        column = k;
        const keys = rows.map((row) => key(row[k]));
        order = rows.map((_, i) => i).sort((a, b) => compare(keys[a], keys[b], direction) || a - b);
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        render();
      };
    });
    filter.oninput = () => { shown = FIRST; render(); };
    more.onclick = () => { shown += 1000; render(); };
    render();
  }

  // What a cell is sorted by: a number, else its words; null for nothing, which comes last.
  function key(cell) {
    if (NOTHING.has(cell)) return null;
    if (cell === "∞") return Infinity;
    const found = /^(?:median |≤ |≥ |< |> )?([-−+]?[\d,]*\.?\d+(?:e[-+]?\d+)?)(?![\w.])/.exec(cell);
    return found ? Number(found[1].replaceAll(",", "").replace("−", "-")) : cell;
  }

  function compare(a, b, direction) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return direction * (a === b ? 0 : a < b ? -1 : 1);
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return direction * collator.compare(a, b);
  }

  function configuration(run) {
    const own = configs.keys.map((name, k) => [name, configs.values[run][k], true]);
    const all = [...own, ...configs.common.map(([name, value]) => [name, value, false])]
      .filter(([, value]) => value !== null).sort((a, b) => collator.compare(a[0], b[0]));
    const list = document.createElement("dl");
    list.className = "config";
    for (const [name, value, varies] of all) {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = name;
      dd.textContent = value;
      if (varies) dt.className = dd.className = "varies";
      list.append(dt, dd);
    }
    return list;
  }
})();
