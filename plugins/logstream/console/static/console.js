// What htmx does not do: putting text into the editor, asking before something is done, and links to Airflow's own pages out of its frame.
"use strict";

const on = (type, selector, act) =>
  document.addEventListener(type, (event) => {
    const found = event.target instanceof Element ? event.target.closest(selector) : null;
    if (found) act(found, event);
  });

const changed = (field) => {
  field.dispatchEvent(new Event("input", { bubbles: true }));
  field.dispatchEvent(new Event("change", { bubbles: true }));
};

// Airflow's frame shows no confirm(): a question is put by the one <dialog> of the page. The button that asks has the question
// in data-confirm, what will happen in data-consequence, and the word for yes in data-verb.
const ask = (button) =>
  new Promise((answer) => {
    const dialog = document.getElementById("confirm");
    const { confirm: question, consequence = "", verb = "Yes" } = button.dataset;
    document.getElementById("confirm-question").textContent = question;
    document.getElementById("confirm-consequence").textContent = consequence;
    document.getElementById("confirm-yes").textContent = verb;
    dialog.returnValue = "";
    dialog.addEventListener(
      "close",
      () => {
        button.focus();
        answer(dialog.returnValue === "yes");
      },
      { once: true },
    );
    dialog.showModal();
  });

// a form that is sent by a button with a question waits for the answer
let agreed = null;
document.addEventListener("submit", async (event) => {
  const button = event.submitter;
  if (!button?.dataset.confirm || button === agreed) return;
  event.preventDefault();
  if (!(await ask(button))) return;
  agreed = button;
  button.form.requestSubmit(button);
  agreed = null;
});

// as if it were typed, so that it can be undone
const typeInto = (editor, text) => {
  editor.focus();
  document.execCommand("insertText", false, text);
  changed(editor);
};

// a tab for each kind's template: the one in sight is edited, and previewed with an event of its kind
const editing = () => document.querySelector("[role='tabpanel']:not([hidden]) .template");

const choose = (tab) => {
  for (const other of document.querySelectorAll("[role='tab']")) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  const kind = document.getElementById("preview_kind");
  if (kind && tab.dataset.kind !== "default" && kind.value !== tab.dataset.kind) {
    kind.value = tab.dataset.kind;
    changed(kind);
  }
};

on("click", "[role='tab']", choose);

on("keydown", "[role='tab']", (tab, event) => {
  const tabs = [...document.querySelectorAll("[role='tab']")];
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
  choose(next);
  next.focus();
});

// a mistake in a template that is not in sight: its tab comes forward
const show = (field) => {
  const panel = field.closest("[role='tabpanel'][hidden]");
  if (panel) choose(document.getElementById(panel.getAttribute("aria-labelledby")));
};

on("click", "a[href^='#message']", (link) => show(document.getElementById(link.hash.slice(1))));

// placeholders, and paths of the event's values, go where the cursor is
on("click", "[data-insert]", (button) => typeInto(editing(), button.dataset.insert));

for (const type of ["mouseover", "focusin"]) {
  on(type, "[data-meaning]", (chip) => {
    document.getElementById("meaning").textContent = `${chip.dataset.insert}: ${chip.dataset.meaning}`;
  });
}

on("click", "[data-undo]", () => {
  editing().focus();
  document.execCommand("undo");
});

// the numbers of an editor's lines, beside it
const number = (editor) => {
  const numbers = editor.parentElement.querySelector(".numbers");
  const count = editor.value.split("\n").length;
  if (numbers.childElementCount === 0 && Number(numbers.dataset.count) === count) return;
  numbers.textContent = Array.from({ length: count }, (_, index) => index + 1).join("\n");
  numbers.dataset.count = count;
  numbers.scrollTop = editor.scrollTop;
};
for (const editor of document.querySelectorAll(".template")) {
  number(editor);
  editor.addEventListener("scroll", () => {
    editor.parentElement.querySelector(".numbers").scrollTop = editor.scrollTop;
  });
}
on("input", ".template", number);

on("change", "#preview_kind, #preview_event, #mask", () => {
  const event = document.querySelector(".event[open]");
  if (event) htmx.trigger(event, "refresh");
});

on("click", "[data-template]", async (button) => {
  const editor = editing();
  if (editor.value.trim() && !(await ask(button))) return;
  editor.select();
  typeInto(editor, button.dataset.template);
});

on("click", "[data-fill]", (button) => {
  const field = document.getElementById(button.dataset.fill);
  field.value = button.dataset.value;
  changed(field);
});

// credentials: the fields of the chosen way to authenticate; a new connection is chosen at once
on("change", "[data-ways]", (select) => {
  for (const way of document.querySelectorAll("[data-way]")) {
    way.hidden = way.disabled = way.dataset.way !== select.value;
  }
});

on("click", "[data-empties]", (button) => document.getElementById(button.dataset.empties).replaceChildren());

document.addEventListener("connection-saved", (event) => {
  const field = document.getElementById("option.connection");
  field.value = event.detail.id;
  changed(field);
  document.querySelector(".test button")?.focus();
});

for (const type of ["input", "change"]) {
  on(type, "input", (field) => {
    for (const other of document.querySelectorAll("[data-needs]")) {
      if (other.dataset.needs === field.id) other.hidden = field.value.trim() === "";
    }
  });
}

// where the page is not served by https there is no clipboard, and the browser's older command copies what is selected
on("click", "[data-copy]", async (button) => {
  const source = document.getElementById(button.dataset.copy);
  getSelection().selectAllChildren(source);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    document.execCommand("copy");
  }
  document.getElementById("copied").textContent = "Copied.";
});

// a mistake in the template: put the cursor there
on("click", "[data-goto]", (button) => {
  const place = button.closest("[data-line]").dataset;
  const editor = document.getElementById(place.editor);
  show(editor);
  const lines = editor.value.split("\n");
  const before = lines.slice(0, Number(place.line) - 1).reduce((sum, line) => sum + line.length + 1, 0);
  const at = Math.min(before + Number(place.column) - 1, editor.value.length);
  editor.focus();
  editor.setSelectionRange(at, Math.min(at + 1, editor.value.length));
});

// log types and levels only go with log events; masks and job details change the preview
on("change", "[data-event]", (box) => {
  if (box.value === "log_service") document.getElementById("logs").hidden = !box.checked;
  const editor = document.querySelector(".editor");
  if (editor) editor.dispatchEvent(new Event("message-set"));
});

// switching the override on says first whom it overrides
on("change", "[data-warns]", (box) => {
  document.getElementById(box.dataset.warns).hidden = !box.checked;
});

// only fields that were typed in are found fault with; and a test was of the fields as they were
for (const type of ["input", "change"]) {
  on(type, "[name^='option.']", (field) => {
    const touched = document.getElementById("touched");
    if (touched && !touched.value.split(" ").includes(field.name)) touched.value += ` ${field.name}`;
    const test = document.querySelector(".test button");
    if (test) htmx.trigger(test, "htmx:abort");
    document.getElementById("steps")?.replaceChildren();
    const rights = document.querySelector(".rights[open]");
    if (rights && type === "change") htmx.trigger(rights, "refresh");
  });
}

document.addEventListener("htmx:oobAfterSwap", (event) => {
  // the event's own target is what was replaced
  const error = document.getElementById(event.detail.target.id);
  if (!error?.id.startsWith("error-")) return;
  const name = error.id.slice("error-".length);
  const field = document.getElementById(name);
  for (const found of field ? [field] : document.getElementsByName(name)) {
    found.setAttribute("aria-invalid", String(error.textContent.trim() !== ""));
  }
  review();
});

// the box at the top says what is still wrong with each field that it names, and goes with the last of them
const named = [...document.querySelectorAll("#problem [data-field]")].filter((item) => document.getElementById(`error-${item.dataset.field}`));
const review = () => {
  if (!named.some((item) => item.isConnected)) return;
  const box = document.getElementById("problem");
  for (const item of named) {
    const wrong = document.getElementById(`error-${item.dataset.field}`)?.textContent.trim();
    if (wrong) item.querySelector("bdi").textContent = wrong;
    else item.remove();
  }
  const left = box.querySelectorAll("[data-field]").length;
  const heading = box.querySelector("strong");
  heading.textContent = heading.textContent.replace(/[\d,]+ fields? needs?/, `${left} ${left === 1 ? "field needs" : "fields need"}`);
  if (left === 0) box.remove();
};
document.addEventListener("htmx:afterSwap", review);

// Airflow shows this page in a frame that may not open others: its own document follows the link instead
on("click", "a.out", (link, event) => {
  if (window.parent === window || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const anchor = window.parent.document.createElement("a");
  anchor.href = link.href;
  anchor.target = link.target;
  anchor.rel = link.rel;
  window.parent.document.body.append(anchor);
  anchor.click();
  anchor.remove();
});

const wrong = document.querySelector(".template[aria-invalid='true']");
if (wrong) show(wrong);

const problem = document.getElementById("problem");
if (problem) problem.focus();

// a part that fetches itself again does so while a person looks at it, and never from under an open question
const paused = (part) =>
  document.hidden || document.querySelector("dialog[open]") || document.getElementById("live")?.checked === false || part.closest("details:not([open])");
for (const moment of ["htmx:beforeRequest", "htmx:beforeSwap"]) {
  document.addEventListener(moment, (event) => {
    if (!event.target.matches?.("[data-fresh]") || !paused(event.target)) return;
    if (moment === "htmx:beforeSwap") event.detail.shouldSwap = false;
    else event.preventDefault();
  });
}

document.addEventListener(
  "toggle",
  ({ target }) => {
    const part = target.open && target.querySelector("[data-fresh]");
    if (part) htmx.trigger(part, "refresh");
  },
  true,
);

// what a person has opened, or scrolled to, stays so when the part is swapped
let kept = [];
document.addEventListener("htmx:beforeSwap", (event) => {
  if (!event.target.matches?.("[data-fresh]")) return;
  kept = [...event.target.querySelectorAll("details[id]")].map((found) => [found.id, found.open, found.querySelector(".scroll")?.scrollTop]);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const [id, open, top] of kept) {
    const found = document.getElementById(id);
    if (!found) continue;
    found.open = open;
    const box = found.querySelector(".scroll");
    if (box) box.scrollTop = top ?? 0;
  }
  kept = [];
});

// what a form would do is looked up a moment after it was typed in: that must not take the place of what was begun meanwhile
let begun = null;
document.addEventListener("htmx:confirm", (event) => {
  const { elt, triggeringEvent } = event.detail;
  const form = elt.closest("form");
  if (!form?.matches("#backfill-form")) return;
  const filled = new URLSearchParams(new FormData(form)).toString();
  if (elt.matches("[data-begins]")) begun = filled;
  else if (filled === begun && triggeringEvent?.type !== "submit") event.preventDefault();
});

// one box ticks all of a name
on("change", "[data-ticks]", (box) => {
  for (const other of document.getElementsByName(box.dataset.ticks)) other.checked = box.checked;
});

// on a narrow screen a row of a table is a list of its cells, each with its column's name; it stays a table to a screen reader
const label = () => {
  for (const table of document.querySelectorAll(".scroll table:not(.changes, [role])")) {
    table.setAttribute("role", "table");
    const names = [...table.querySelectorAll("thead th")].map((head) => head.textContent.trim());
    for (const group of table.querySelectorAll("thead, tbody")) group.setAttribute("role", "rowgroup");
    for (const row of table.rows) {
      row.setAttribute("role", "row");
      [...row.cells].forEach((cell, index) => {
        const scope = cell.tagName === "TH" && (cell.scope === "row" ? "rowheader" : "columnheader");
        cell.setAttribute("role", scope || "cell");
        if (!scope && names[index] && cell.colSpan === 1) cell.dataset.label = names[index];
      });
    }
  }
};
label();
document.addEventListener("htmx:afterSwap", label);
