// A rule is saved only after it was seen what it would have changed.
import { api, element, sayError } from "/static/app.js";

const form = document.querySelector("#rule-form");
const profile = document.querySelector("#rules")?.dataset.profile;
const heading = document.querySelector("#form-heading");
const effect = document.querySelector("#effect");
const save = form?.querySelector("button.main");

function body() {
  const { id, text, polarity, kind, severity, keywords, enabled, note } = form.elements;
  return {
    profile,
    id: id.value || null,
    text: text.value,
    polarity: polarity.value,
    kind: kind.value,
    severity: Number(severity.value),
    keywords: keywords.value.split(",").map((word) => word.trim()).filter(Boolean),
    enabled: enabled.checked,
    note: note.value,
  };
}

function fill(rule) {
  for (const name of ["id", "text", "polarity", "kind", "severity"]) form.elements[name].value = rule[name];
  form.elements.keywords.value = rule.keywords.join(", ");
  form.elements.enabled.checked = rule.enabled;
  heading.textContent = `Change ${rule.id}`;
  changed();
  form.elements.text.focus();
}

function changed() {
  save.disabled = true;
  effect.replaceChildren();
}

async function preview() {
  if (!form.reportValidity()) return;
  const runs = [...form.querySelectorAll("[name=runs]:checked")].map((box) => box.value);
  try {
    const found = await (await api("/v1/rules/preview", { json: { ...body(), runs } })).json();
    const lines = found.sentences.map((sentence) => element("p", { className: "callout" }, element("b", { textContent: "Contradiction. " }), sentence));
    if (found.impact) {
      const { impact } = found;
      lines.push(element("p", { textContent: `Of ${impact.looked_at} stored events and pictures rules matched ${impact.matched_before}, and would have matched ${impact.matched_after}; ${impact.changed.length} would have changed.` }));
      lines.push(element("ul", {}, ...impact.changed.slice(0, 12).map((each) => element("li", { textContent: `${each.source.split("/").pop()} ${each.part}: ${each.gained.length ? `gains ${each.gained.join(", ")} ` : ""}${each.lost.length ? `loses ${each.lost.join(", ")}` : ""}` }))));
    } else lines.push(element("p", { className: "note", textContent: "No run was chosen to try it on." }));
    effect.replaceChildren(...lines);
    save.disabled = false;
  } catch (error) {
    sayError(error);
  }
}

if (form) {
  document.querySelector("#preview").addEventListener("click", preview);
  form.addEventListener("input", changed);
  form.addEventListener("reset", () => { form.elements.id.value = ""; heading.textContent = "New rule"; changed(); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await api("/v1/rules", { json: body() });
      location.reload();
    } catch (error) {
      sayError(error);
    }
  });
  for (const button of document.querySelectorAll("[data-rule]")) {
    button.addEventListener("click", () => fill(JSON.parse(button.dataset.rule)));
  }
}
