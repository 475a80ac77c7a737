// Shows for a token of a wording which trained slots it reads, and what else reads them.
"use strict";
{
  const data = JSON.parse(document.getElementById("slot-reads").textContent);
  const panel = document.getElementById("panel");
  const said = document.getElementById("said");
  const read = document.getElementById("read");
  const wordings = [...document.querySelectorAll(".wording")];
  const tokensOf = wordings.map((wording) => [...wording.children]);
  const readers = new Map(); // of each slot the elements that list it
  let shown = null;
  let held = null;

  const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
  const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
  const visible = (text) => text.replaceAll("\n", "↵") || "·";

  function make(name, kind, ...children) {
    const element = document.createElement(name);
    if (kind) element.className = kind;
    element.append(...children);
    return element;
  }

  function dataOf(token) {
    const row = Number(token.parentElement.dataset.row);
    const place = tokensOf[row].indexOf(token);
    const [text, share, reads, slots] = data.rows[row].tokens[place];
    return { row, place, text, share, reads, slots };
  }

  function show(token) {
    if (token === shown) return;
    for (const element of document.querySelectorAll(".token.shown, .token.also")) {
      element.classList.remove("shown", "also");
    }
    shown = token;
    const its = dataOf(token);
    for (const [slot] of its.slots) {
      for (const element of readers.get(slot)) element.classList.add("also");
    }
    token.classList.replace("also", "shown") || token.classList.add("shown");
    said.replaceChildren(
      make("span", "chip", visible(its.text)),
      ` makes ${count(data.reads, "read")}; ${its.reads} are of trained slots and have ` +
        `${percent(its.share)} of its read weight.` +
        (its.slots.length ? " Those with the greatest shares of it:" : ""),
    );
    read.replaceChildren(...its.slots.map(([slot, share]) => slotPart(slot, share, its)));
    panel.scrollTop = 0;
  }

  function slotPart(slot, share, its) {
    const { documents, num_tokens, tokens, snippets } = data.slots[slot];
    const bar = make("div", "bar");
    bar.style.setProperty("--share", share);
    const title = make("h3", "", `Slot ${slot.toLocaleString("en")}`);
    title.append(make("span", "quiet", percent(share)));
    const others = tokens.filter(([row, place]) => row !== its.row || place !== its.place);
    const here = data.rows[its.row].fact;
    const ofFact = others.filter(([row]) => data.rows[row].fact === here);
    const elsewhere = others.filter(([row]) => data.rows[row].fact !== here);
    const part = make("section", "slot", title, bar);
    if (ofFact.length) part.append(line("This fact", ofFact.map((place) => chip(...place))));
    const byFact = Map.groupBy
      ? [...Map.groupBy(elsewhere, ([row]) => data.rows[row].question)]
      : elsewhere.map((place) => [data.rows[place[0]].question, [place]]);
    part.append(
      line(
        "Other facts",
        byFact.length
          ? byFact.map(([question, places]) =>
              make("div", "reader", ...places.map((place) => chip(...place)), make("span", "quiet", question)))
          : ["none of those shown"],
      ),
    );
    const rest = num_tokens - 1 - others.length;
    if (rest > 0) part.append(make("p", "quiet", `and ${count(rest, "more token")} of the wordings`));
    part.append(
      line("Ordinary text", [
        `${documents.toLocaleString("en")} of ${count(data.documents, "document")}`,
        ...snippets.map(([before, it, after]) =>
          make("p", "snippet", visible(before), make("mark", "", visible(it)), visible(after))),
      ]),
    );
    return part;
  }

  function line(name, values) {
    return make("div", "line", make("h4", "", name), make("div", "", ...values));
  }

  function chip(row, place) {
    return make("span", "chip", visible(data.rows[row].tokens[place][0]).trimStart() || "·");
  }

  function hold(token) {
    held?.setAttribute("aria-pressed", "false");
    held = token === held ? null : token;
    held?.setAttribute("aria-pressed", "true");
    show(token);
  }

  function focus(token) {
    const row = Number(token.parentElement.dataset.row);
    for (const other of tokensOf[row]) other.tabIndex = other === token ? 0 : -1;
    token.focus();
  }

  function move(token, key) {
    const { row, place } = dataOf(token);
    const line = tokensOf[row];
    if (key === "Home") return line[0];
    if (key === "End") return line.at(-1);
    if (key === "ArrowLeft") return line[place - 1];
    if (key === "ArrowRight") return line[place + 1];
    const step = { ArrowUp: -1, ArrowDown: 1 }[key];
    const next = step && tokensOf[row + step];
    return next && next[0].closest("details").open ? next[Math.min(place, next.length - 1)] : null;
  }

  for (const [row, tokens] of tokensOf.entries()) {
    for (const [place, token] of tokens.entries()) {
      token.setAttribute("role", "button");
      token.setAttribute("aria-pressed", "false");
      token.setAttribute("aria-controls", "panel");
      token.tabIndex = place ? -1 : 0;
      if (token.textContent === "↵") token.setAttribute("aria-label", "line break");
      for (const [slot] of data.rows[row].tokens[place][3]) {
        if (!readers.has(slot)) readers.set(slot, []);
        readers.get(slot).push(token);
      }
    }
    wordings[row].addEventListener("pointerover", (event) => {
      if (event.target.matches(".token") && !held) show(event.target);
    });
    wordings[row].addEventListener("focusin", (event) => {
      if (!held) show(event.target);
    });
    wordings[row].addEventListener("click", (event) => {
      if (!event.target.matches(".token")) return;
      focus(event.target);
      hold(event.target);
    });
    wordings[row].addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key === "Enter" || event.key === " ") hold(event.target);
      else if (event.key === "Escape" && held) hold(held);
      else {
        const next = move(event.target, event.key);
        if (!next) return;
        focus(next);
      }
      event.preventDefault();
    });
  }

  document.getElementById("unscripted").hidden = true;
  panel.hidden = false;
  show(tokensOf[0][tokensOf[0].length >> 1]);
}
