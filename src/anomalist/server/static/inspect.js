// Dropped pictures are inspected a few at a time; each row stands in the list as soon as it is there.
import { api, dropZone, element, say, sayError } from "/static/app.js";

const TOGETHER = 4;
const form = document.querySelector("#bench");
const state = document.querySelector("#state");
const list = document.querySelector("#list tbody");
const empty = document.querySelector(".empty");
const amount = document.querySelector("#inspected .amount");
const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

const byReference = () => "reference" in form.elements.profile.selectedOptions[0].dataset;

function chosen() {
  form.querySelector("#reference-field").hidden = !byReference();
  form.elements.false_alarm_rate.disabled = byReference();
}

async function inspect(files) {
  const body = new FormData();
  for (const file of files) body.append("files", file);
  const reference = byReference() ? form.elements.reference.files[0] : null;
  if (reference) body.append("reference", reference);
  for (const name of reference ? [] : ["profile", "false_alarm_rate"]) {
    if (form.elements[name].value) body.append(name, form.elements[name].value);
  }
  for (;;) {
    try {
      return (await (await api("/v1/inspections", { form: body })).json()).inspections;
    } catch (error) {
      if (error.status !== 429) throw error;
      await wait(error.after || 1);
    }
  }
}

function row({ id, name, record }) {
  const link = (...inside) => element("a", { href: `/inspections/${id}` }, ...inside);
  const label = record.label ?? "error";
  const image = record.status === "ok"
    ? element("img", { src: `/v1/inspections/${id}/picture?side=160`, alt: "" })
    : element("span", { className: "gone", textContent: "no picture" });
  const reason = record.error ?? record.why_undecided ?? record.claims[0]?.text ?? "";
  const severity = ["–", "minor", "moderate", "major", "critical"][record.severity ?? 0];
  return element("tr", {},
    element("td", { className: "thumb" }, link(image)),
    element("td", { className: "name" }, link(element("bdi", { textContent: name }))),
    element("td", { className: "mark" }, element("span", { className: `verdict ${label}`, textContent: record.label ?? "not judged" })),
    element("td", { className: "mark", textContent: severity }),
    element("td", { className: "n", textContent: record.score?.toPrecision(3) ?? "–" }),
    element("td", { className: "reason" }, element("p", { textContent: reason })));
}

async function taken(files) {
  let done = 0;
  if (byReference() && !form.elements.reference.files.length) {
    say("Choose the good picture first.");
    return;
  }
  for (let at = 0; at < files.length; at += TOGETHER) {
    state.textContent = `Inspecting ${at + 1} of ${files.length} …`;
    try {
      const found = await inspect(files.slice(at, at + TOGETHER));
      done += found.length;
      list.prepend(...found.map(row));
      const before = Number(amount.textContent.replaceAll(",", ""));
      amount.textContent = (before + found.length).toLocaleString("en-US");
      empty.hidden = true;
    } catch (error) {
      sayError(error);
    }
  }
  state.textContent = done === files.length ? `${done} inspected.` : `${done} of ${files.length} inspected.`;
}

if (form) {
  form.elements.profile.addEventListener("change", chosen);
  chosen();
  dropZone(form.querySelector(".drop"), taken);
  form.addEventListener("submit", (event) => event.preventDefault());
}
