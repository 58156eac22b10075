"use strict";
// Draws the figures as SVG from the values embedded in the page, and says on hovering what a
// mark stands for. A chart is {kind, title, note, …}; its fields are those of charts.py.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const REACH = 36; // pixels between the pointer and the mark it means
  const PAPER = 330; // pixels that a figure has there, two beside each other
  const COLOURS = 7; // --c0 … --c6 in page.css
  const DASHES = ["", "7 3", "2 2.5"];
  const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [223, 227, 24]];
  const NINES = [0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9];
  const CLOSE = [0, 20, 40, 60, 70, 80, 85, 90, 92, 94, 96, 97, 98, 98.5, 99, 99.3, 99.6, 99.8];
  const TRANSFORMS = {
    linear: (v) => v,
    whole: (v) => v, // numbers that nothing lies between
    log: (v) => Math.log10(v),
    nines: (v) => 2 - Math.log10(Math.max(100 - v, 0.05)), // by the log of the error
  };

  const charts = JSON.parse(document.getElementById("charts").textContent);
  const tip = document.getElementById("tip");
  const figures = [...document.querySelectorAll("figure[data-chart]")];
  figures.forEach((figure) => mount(figure, charts[Number(figure.dataset.chart)]));

  function mount(figure, chart) {
    const state = { x: 0, hidden: new Set(), width: 0 };
    const redraw = () => draw(figure, chart, state);
    if (chart.kind === "lines") chart.xs.forEach((x, i) => {
      if (chart.xs.length < 2) return;
      const button = html("button", "axis", `by ${x.label}`);
      button.type = "button";
      button.setAttribute("aria-pressed", String(i === 0));
      button.onclick = () => {
        state.x = i;
        [...figure.querySelectorAll(".axis")].forEach((other, j) =>
          other.setAttribute("aria-pressed", String(i === j)));
        redraw();
      };
      figure.querySelector(".tools").append(button);
    });
    legend(figure, chart, state, redraw);
    new ResizeObserver(() => {
      if (figure.clientWidth && figure.clientWidth !== state.width) redraw();
    }).observe(figure);
    addEventListener("beforeprint", () => draw(figure, chart, state, PAPER));
    addEventListener("afterprint", redraw);
  }

  function legend(figure, chart, state, redraw) {
    const box = figure.querySelector(".legend");
    const labels = [...new Set((chart.series || []).map((s) => s.label))];
    if (labels.length < 2) return;
    labels.forEach((label) => {
      const button = html("button", "key");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      const swatch = node("svg", { width: 22, height: 10, "aria-hidden": "true" });
      const look = style(chart, label);
      swatch.append(node("line", { x1: 0, x2: 22, y1: 5, y2: 5, "stroke-width": 2.5, ...look }));
      button.append(swatch, document.createTextNode(label));
      button.onclick = () => {
        state.hidden.has(label) ? state.hidden.delete(label) : state.hidden.add(label);
        button.setAttribute("aria-pressed", String(!state.hidden.has(label)));
        redraw();
      };
      box.append(button);
    });
  }

  function draw(figure, chart, state, paper) {
    state.width = figure.clientWidth;
    const svg = figure.querySelector("svg.plot");
    const width = paper || Math.max(280, svg.clientWidth || state.width);
    const height = chart.kind === "boxes" ? 70 + 46 * chart.groups.length
      : chart.kind === "heat" ? 76 + Math.min(360, Math.max(140, 44 * chart.ys.length))
      : Math.round(Math.min(400, Math.max(250, 0.58 * width)));
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    const targets = { lines, heat, parallel, boxes }[chart.kind](svg, chart, state, width, height);
    hover(svg, targets);
  }

  // --- curves and points: {xs, y, series: [{label, x: [[…], …], y, low, high, dots, line}]}

  function lines(svg, chart, state, width, height) {
    const shown = chart.series.filter((s) => !state.hidden.has(s.label));
    const xs = (s) => s.x[state.x];
    const values = shown.flatMap((s) => [...s.y, ...(s.low || []), ...(s.high || [])]);
    const y = axis(chart.y, values, height - 44, 12);
    const left = 30 + Math.max(28, ...y.ticks.map((v) => 7 * number(v).length));
    const x = axis(chart.xs[state.x], shown.flatMap(xs), left, width - 12);
    frame(svg, x, y, chart.xs[state.x].label, chart.y.label, left, width, height);
    const targets = [];
    for (const s of shown) {
      const look = style(chart, s.label), px = xs(s).map(x.at), py = s.y.map(y.at);
      const good = px.map((p, i) => Number.isFinite(p) && Number.isFinite(py[i]));
      if (s.low && s.line) {
        const up = [], down = [];
        px.forEach((p, i) => {
          const [a, b] = [y.at(s.low[i]), y.at(s.high[i])];
          if (good[i] && Number.isFinite(a) && Number.isFinite(b)) {
            up.push(`${p},${b}`);
            down.unshift(`${p},${a}`);
          }
        });
        svg.append(node("polygon", { points: [...up, ...down].join(" "), class: "band", fill: look.stroke }));
      } else if (s.low) {
        px.forEach((p, i) => good[i] && svg.append(node("line",
          { x1: p, x2: p, y1: y.at(s.low[i]), y2: y.at(s.high[i]), stroke: look.stroke })));
      }
      if (s.join) {
        const path = px.map((p, i) => [p, py[i]]).filter((_, i) => good[i]);
        svg.append(node("polyline", { points: path.map((p) => p.join(",")).join(" "), class: "line",
          "stroke-width": s.broad ? 9 : s.thin ? 1 : 2, opacity: s.broad ? 0.25 : 1, ...look,
          ...(s.dotted ? { "stroke-dasharray": "1.5 3" } : {}) }));
      }
      px.forEach((p, i) => {
        if (!good[i]) return;
        if (s.dots) svg.append(node("circle", { cx: p, cy: py[i], r: 3.5, fill: look.stroke, class: "dot" }));
        targets.push({ x: p, y: py[i], colour: look.stroke, text: pointText(chart, s, state.x, i) });
      });
    }
    return targets;
  }

  function pointText(chart, s, at, i) {
    const say = (v) => measured(v, chart.y.label);
    const range = s.low && s.low[i] !== s.high[i] ? ` (${say(s.low[i])} to ${say(s.high[i])})` : "";
    return [s.label, `${chart.xs[at].label}: ${number(s.x[at][i])}`,
      `${chart.y.label}: ${say(s.y[i])}${range}`, ...(s.texts ? [s.texts[i]] : [])];
  }

  // --- two keys against each other: {x, y, xs, ys, values: [row of ys][column of xs], texts}

  function heat(svg, chart, state, width, height) {
    const left = 78, top = 8, right = width - 12, bottom = height - 50;
    const to = TRANSFORMS[chart.scale], flat = chart.values.flat().filter((v) => v !== null).map(to);
    const [least, most] = [Math.min(...flat), Math.max(...flat)];
    const w = (right - left) / chart.xs.length, h = (bottom - top) / chart.ys.length;
    const targets = [];
    chart.ys.forEach((row, j) => {
      const y = bottom - (j + 1) * h;
      svg.append(text(left - 6, y + h / 2 + 4, row, "end"));
      chart.xs.forEach((column, i) => {
        const value = chart.values[j][i], x = left + i * w;
        const share = value === null ? 0 : (to(value) - least) / (most - least || 1);
        svg.append(node("rect", { x, y, width: w - 1.5, height: h - 1.5, class: value === null ? "hole" : "",
          ...(value === null ? {} : { fill: viridis(chart.best === "max" ? share : 1 - share) }) }));
        if (w > 44 && h > 16) {
          const dark = value !== null && (chart.best === "max" ? share : 1 - share) > 0.62;
          svg.append(text(x + w / 2, y + h / 2 + 4, chart.cells[j][i], "middle",
            value === null ? "" : dark ? "on-light" : "on-dark"));
        }
        targets.push({ x: x + w / 2, y: y + h / 2, colour: "none", reach: Math.max(w, h),
          text: [`${chart.x} ${column}, ${chart.y} ${row}`, chart.texts[j][i]] });
      });
    });
    chart.xs.forEach((column, i) => svg.append(text(left + (i + 0.5) * w, bottom + 16, column, "middle")));
    svg.append(text((left + right) / 2, height - 12, chart.x, "middle", "label"));
    svg.append(upright(14, (top + bottom) / 2, chart.y));
    return targets;
  }

  // --- trials of a random search: {axes: [{label, scale, categories}], rows: [[…]], texts, best}

  function parallel(svg, chart, state, width, height) {
    const top = 30, bottom = height - 22, step = (width - 110) / (chart.axes.length - 1);
    const places = chart.axes.map((_, i) => 46 + i * step);
    const scales = chart.axes.map((a, i) => a.categories
      ? { at: (v) => bottom - ((v + 0.5) / a.categories.length) * (bottom - top) }
      : axis(a, chart.rows.map((r) => r[i]), bottom, top));
    const last = chart.axes.length - 1, order = chart.rows.map((r) => r[last]);
    const ranked = [...order].filter((v) => v !== null).sort((a, b) => a - b);
    const targets = [];
    const byWorth = chart.rows.map((_, i) => i).sort((a, b) =>
      (chart.best === "max" ? 1 : -1) * ((order[a] ?? -Infinity) - (order[b] ?? -Infinity)));
    for (const i of byWorth) { // the best are drawn last, on top
      const row = chart.rows[i];
      const share = ranked.indexOf(order[i]) / Math.max(1, ranked.length - 1);
      const colour = order[i] === null ? "var(--faint)" : viridis(chart.best === "max" ? share : 1 - share);
      const points = row.map((v, k) => [places[k], v === null ? NaN : scales[k].at(v)])
        .filter((p) => Number.isFinite(p[1]));
      const path = node("polyline", { points: points.map((p) => p.join(",")).join(" "), class: "trial", stroke: colour });
      svg.append(path);
      points.forEach(([x, y]) => targets.push({ x, y, colour, lit: path, text: chart.texts[i] }));
    }
    chart.axes.forEach((a, i) => {
      svg.append(node("line", { x1: places[i], x2: places[i], y1: top, y2: bottom, class: "axis-line" }));
      svg.append(text(places[i], 16, a.label, i === last ? "end" : i ? "middle" : "start", "label"));
      const marks = a.categories ? a.categories.map((name, k) => [scales[i].at(k), name])
        : scales[i].ticks.map((v) => [scales[i].at(v), number(v)]);
      marks.forEach(([y, name]) => svg.append(text(places[i] + 5, y + 4, name, "start", "halo")));
    });
    return targets;
  }

  // --- spread: {y, groups: [{label, colour, values, texts, box: five numbers or null}]}

  function boxes(svg, chart, state, width, height) {
    const left = Math.min(170, 24 + 7 * Math.max(...chart.groups.map((g) => g.label.length)));
    const x = axis(chart.y, chart.groups.flatMap((g) => g.values), left, width - 14);
    const bottom = height - 44, targets = [];
    grid(svg, x, 8, bottom, chart.y.label, (left + width) / 2, height);
    chart.groups.forEach((g, i) => {
      const y = 8 + ((i + 0.5) * (bottom - 8)) / chart.groups.length;
      const colour = `var(--c${g.colour % COLOURS})`;
      svg.append(text(left - 10, y + 4, g.label.length > 22 ? `${g.label.slice(0, 21)}…` : g.label, "end"));
      if (g.box) {
        const [low, q1, median, q3, high] = g.box.map(x.at);
        svg.append(node("line", { x1: low, x2: high, y1: y, y2: y, stroke: colour }));
        svg.append(node("rect", { x: Math.min(q1, q3), y: y - 11, width: Math.abs(q3 - q1), height: 22, class: "box", stroke: colour, fill: colour }));
        svg.append(node("line", { x1: median, x2: median, y1: y - 11, y2: y + 11, stroke: colour, "stroke-width": 2.5 }));
      }
      g.values.forEach((v, k) => {
        const place = { x: x.at(v), y: y + (((k * 7) % 5) - 2) * 3 };
        svg.append(node("circle", { cx: place.x, cy: place.y, r: 3, fill: colour, class: "dot" }));
        targets.push({ ...place, colour, text: [g.label, `${chart.y.label}: ${measured(v, chart.y.label)}`, g.texts[k]] });
      });
    });
    return targets;
  }

  // --- scales

  function axis(spec, values, start, end) {
    const to = TRANSFORMS[spec.scale], all = values.filter((v) => v !== null).map(to).filter(Number.isFinite);
    let low = all.length ? all.reduce((a, b) => Math.min(a, b)) : 0;
    let high = all.length ? all.reduce((a, b) => Math.max(a, b)) : 1;
    const pad = high > low ? 0.04 * (high - low) : Math.abs(high) * 0.05 || 0.5;
    low -= pad;
    high += pad;
    const at = (v) => v === null ? NaN : start + ((to(v) - low) / (high - low)) * (end - start);
    const ticks = candidates(spec.scale, low, high).filter((v) => to(v) >= low && to(v) <= high);
    return { at, ticks };
  }

  function candidates(scale, low, high) {
    if (scale === "nines") return high - low > 1.7 ? NINES : CLOSE;
    if (scale === "log" && high - low < 0.6) return candidates("linear", 10 ** low, 10 ** high);
    if (scale === "log") {
      const decades = range(Math.floor(low), Math.ceil(high), Math.max(1, Math.ceil((high - low) / 8)));
      const digits = high - low < 1 ? [1, 2, 3, 5, 7] : high - low < 2 ? [1, 2, 5] : [1];
      return decades.flatMap((d) => digits.map((k) => k * 10 ** d));
    }
    if (scale === "whole") return [...new Set(candidates("linear", low, high).map(Math.round))];
    const raw = (high - low) / 6, power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((k) => k * power >= raw);
    return range(Math.ceil(low / step), Math.floor(high / step), 1).map((k) => Number((k * step).toPrecision(12)));
  }

  function range(from, to, step) {
    const made = [];
    for (let k = from; k <= to; k += step) made.push(k);
    return made;
  }

  function viridis(share) {
    const place = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1), k = Math.min(Math.floor(place), VIRIDIS.length - 2);
    return `rgb(${VIRIDIS[k].map((a, i) => Math.round(a + (place - k) * (VIRIDIS[k + 1][i] - a))).join(",")})`;
  }

  function style(chart, label) {
    const labels = [...new Set(chart.series.map((s) => s.label))], i = labels.indexOf(label);
    if (chart.ordered && labels.length > 1) return { stroke: viridis(i / (labels.length - 1)) };
    const dash = DASHES[Math.floor(i / COLOURS) % DASHES.length];
    return { stroke: `var(--c${i % COLOURS})`, ...(dash ? { "stroke-dasharray": dash } : {}) };
  }

  // --- what surrounds the marks

  function frame(svg, x, y, xLabel, yLabel, left, width, height) {
    grid(svg, x, 12, height - 44, xLabel, (left + width) / 2, height);
    for (const v of y.ticks) {
      const at = y.at(v);
      svg.append(node("line", { x1: left, x2: width - 12, y1: at, y2: at, class: "grid" }));
      svg.append(text(left - 6, at + 4, number(v), "end"));
    }
    svg.append(upright(13, (height - 32) / 2, yLabel));
  }

  function grid(svg, x, top, bottom, label, middle, height) {
    let free = -Infinity;
    for (const v of x.ticks) {
      const at = x.at(v), words = number(v);
      svg.append(node("line", { x1: at, x2: at, y1: top, y2: bottom, class: "grid" }));
      if (at - 3.6 * words.length > free) {
        svg.append(text(at, bottom + 16, words, "middle"));
        free = at + 3.6 * words.length + 4;
      }
    }
    svg.append(text(middle, height - 8, label, "middle", "label"));
  }

  function hover(svg, targets) {
    const ring = node("circle", { r: 6, class: "ring" });
    let lit = null;
    const leave = () => {
      tip.hidden = true;
      ring.remove();
      if (lit) lit.classList.remove("lit");
    };
    const show = (target) => {
      const box = svg.getBoundingClientRect(), zoom = svg.viewBox.baseVal.width / box.width;
      leave();
      ring.setAttribute("cx", target.x);
      ring.setAttribute("cy", target.y);
      ring.setAttribute("stroke", target.colour);
      svg.append(ring);
      lit = target.lit || null;
      if (lit) lit.classList.add("lit");
      tip.replaceChildren(...target.text.map((line) => html("div", "", line)));
      tip.hidden = false;
      const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
      tip.style.left = `${Math.max(8, Math.min(box.left + target.x / zoom + 14, room)) + scrollX}px`;
      tip.style.top = `${box.top + target.y / zoom + 14 + scrollY}px`;
    };
    let at = -1; // of the mark that the arrow keys have come to
    svg.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") leave();
      if (!step || !targets.length) return;
      event.preventDefault();
      at = (Math.max(at, step > 0 ? -1 : 0) + step + targets.length) % targets.length;
      show(targets[at]);
    };
    svg.onblur = svg.onpointerleave = leave;
    svg.onpointerdown = svg.onpointermove = (event) => {
      const box = svg.getBoundingClientRect(), zoom = svg.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * zoom, y = (event.clientY - box.top) * zoom;
      let best = null, least = Infinity;
      for (const t of targets) {
        const away = Math.hypot(t.x - x, t.y - y) * (REACH / (t.reach || REACH));
        if (away < least) [best, least] = [t, away];
      }
      if (best && least <= REACH) show(best);
      else leave();
    };
  }

  function number(v) {
    if (v === null || !Number.isFinite(v)) return "–";
    const size = Math.abs(v);
    if (size && (size < 1e-3 || size >= 1e6)) return v.toExponential(2).replace(/\.?0+e\+?/, "e");
    return String(Number(v.toPrecision(5)));
  }

  function measured(v, label) { // in the digits of the tables
    return label.endsWith("(%)") && v !== null ? v.toFixed(2) : number(v);
  }

  function html(tag, name, words) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (words !== undefined) made.textContent = words;
    return made;
  }

  function node(tag, attributes) {
    const made = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) if (value !== "") made.setAttribute(key, value);
    return made;
  }

  function text(x, y, words, anchor, name = "") {
    const made = node("text", { x, y, "text-anchor": anchor, class: name });
    made.textContent = words;
    return made;
  }

  function upright(x, y, words) {
    const made = text(x, y, words, "middle", "label");
    made.setAttribute("transform", `rotate(-90 ${x} ${y})`);
    return made;
  }
})();
