// A card beside a link to a claim or to a word of the glossary: with the mouse over it, with the
// keyboard on it, at the first touch.  Escape closes it.  The texts lie in the page (cards.py).
document.addEventListener("DOMContentLoaded", () => {
  const source = document.getElementById("cards");
  if (!source) return;
  const texts = JSON.parse(source.textContent);
  const card = document.createElement("div");
  Object.assign(card, { id: "card", className: "card-beside", hidden: true });
  card.setAttribute("role", "tooltip");
  document.body.append(card);
  let of = null, timer = 0, touched = false;
  const textOf = (link) => texts[decodeURIComponent(link?.hash.slice(1) ?? "")];
  const hide = () => {
    clearTimeout(timer);
    of?.removeAttribute("aria-describedby");
    card.hidden = true;
    of = null;
  };
  const show = (link) => {
    if (link === of) return clearTimeout(timer);
    hide();
    card.innerHTML = textOf(link);
    card.hidden = false;
    link.setAttribute("aria-describedby", "card");
    of = link;
    const at = link.getClientRects()[0], width = card.offsetWidth, edge = 12;
    const left = Math.min(Math.max(at.left - 16, edge), innerWidth - width - edge);
    const below = at.bottom + 8, above = at.top - card.offsetHeight - 8;
    const top = below + card.offsetHeight > innerHeight - edge && above > edge ? above : below;
    card.style.transform = `translate(${left + scrollX}px, ${top + scrollY}px)`;
  };
  const link = (event) => {
    const found = event.target.closest?.(".bd-content a[href*='#']");
    return found && textOf(found) ? found : null;
  };
  const later = (act, wait) => { clearTimeout(timer); timer = setTimeout(act, wait); };
  document.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    const over = link(event);
    if (over) later(() => show(over), 200);
    else if (card.contains(event.target)) clearTimeout(timer); // one may read it, and point at it
    else if (of || timer) later(hide, 250);
  });
  document.addEventListener("focusin", (event) => {
    const on = link(event);
    if (on?.matches(":focus-visible") && !touched) show(on);
    else if (on !== of) hide();
  });
  document.addEventListener("pointerdown", (event) => {
    touched = event.pointerType !== "mouse";
    if (touched && !link(event) && !card.contains(event.target)) hide();
  });
  document.addEventListener("click", (event) => {
    const on = link(event);
    if (touched && on && on !== of) { // the first touch shows, the second follows
      event.preventDefault();
      show(on);
    }
  });
  document.addEventListener("keydown", (event) => {
    touched = false;
    if (event.key === "Escape") hide();
  });
});

// The ledger: one verdict, or the rows that hold some words.
document.addEventListener("DOMContentLoaded", () => {
  const rows = [...document.querySelectorAll(".ledger tbody tr")];
  if (!rows.length) return;
  const verdict = (row) => row.querySelector(".chip")?.textContent ?? "";
  const words = rows.map((row) => row.textContent.toLowerCase());
  const kinds = [...new Set(rows.map(verdict))];
  const form = document.createElement("form");
  form.className = "ledger-filter";
  const many = (kind) => rows.filter((row) => verdict(row) === kind).length;
  form.innerHTML = `<label>Find <input type="search" autocomplete="off"></label>
    <span role="group" aria-label="Verdict">${["all", ...kinds].map((kind) =>
      `<button type="button" aria-pressed="${kind === "all"}" value="${kind}">${kind} ${
        kind === "all" ? rows.length : many(kind)}</button>`).join("")}</span>
    <output></output>`;
  const find = form.querySelector("input"), buttons = [...form.querySelectorAll("button")];
  const update = () => {
    const kind = buttons.find((b) => b.ariaPressed === "true").value;
    const asked = find.value.toLowerCase().split(/\s+/);
    rows.forEach((row, n) => {
      row.hidden = !((kind === "all" || verdict(row) === kind) && asked.every((word) => words[n].includes(word)));
    });
    const left = rows.filter((row) => !row.hidden).length;
    form.querySelector("output").textContent = left === rows.length ? "" : `${left} of ${rows.length} claims`;
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  find.addEventListener("input", update);
  buttons.forEach((button) => button.addEventListener("click", () => {
    buttons.forEach((b) => (b.ariaPressed = `${b === button}`));
    update();
  }));
  document.querySelector(".ledger").prepend(form);
});
