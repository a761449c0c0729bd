// One picture: the opacity of its anomaly map, its outlines, a conversation about it, and feedback.
import { api, element, events, sayError } from "/static/app.js";

const desk = document.querySelector("#inspection");
const { id, name } = desk.dataset;
const heat = document.querySelector("#heat");
const opacity = document.querySelector("#opacity");
const boxes = document.querySelector("#boxes");

if (heat && opacity) {
  const show = () => { heat.style.opacity = opacity.value / 100; };
  opacity.addEventListener("input", show);
  show();
}
document.querySelector("#outlines")?.addEventListener("change", (event) => {
  boxes.toggleAttribute("hidden", !event.target.checked);
});
for (const region of document.querySelectorAll(".regions-list li")) {
  const light = (on) => () => boxes.querySelector(`[data-region="${region.id}"]`)?.classList.toggle("lit", on);
  region.addEventListener("mouseenter", light(true));
  region.addEventListener("mouseleave", light(false));
}
for (const image of document.querySelectorAll("img.normal")) {
  const gone = () => image.closest("figure").remove();
  image.addEventListener("error", gone);
  if (image.complete && !image.naturalWidth && image.src && image.loading !== "lazy") gone();
}

const talk = document.querySelector("#talk");
const text = document.querySelector("#said-text");
const conversation = `page ${id} ${Date.now().toString(36)}`;
let begun = false;

// A sentence whose ids lead to what they name, followed by those that it doesn't name itself.
function cited({ text: sentence, evidence }) {
  const link = (one, className) => element("a", { className, href: `#${one}`, textContent: one });
  const ids = evidence.filter((one) => one !== "score" && sentence.includes(one));
  const pieces = ids.length
    ? sentence.split(new RegExp(`\\b(${ids.map((one) => one.replace(/[^\w]/g, "\\$&")).join("|")})\\b`))
    : [sentence];
  const more = evidence.filter((one) => !sentence.includes(one)).flatMap((one) => [" ", link(one, "cite")]);
  return element("p", {}, ...pieces.map((piece) => (ids.includes(piece) ? link(piece, "named") : piece)), ...more);
}

function reply(answer) {
  const lines = answer.letter === null && answer.claims.length
    ? answer.claims.map(cited)
    : [element("p", { textContent: answer.text })];
  if (answer.options.length) {
    lines.push(element("ul", { className: "options" }, ...answer.options.map((option) =>
      element("li", { className: option.letter === answer.letter ? "chosen" : "" }, `${option.letter}. ${option.text} (${Math.round(100 * option.probability)} %)`))));
  }
  if (answer.helps) lines.push(element("p", { className: "note", textContent: answer.helps }));
  for (const note of answer.notes) lines.push(element("p", { className: "note", textContent: note }));
  return lines;
}

async function ask(question) {
  const answer = element("div", { className: "reply" }, element("p", { className: "draft", textContent: "…" }));
  talk.append(element("p", { className: "asked", textContent: question }), answer);
  talk.scrollTop = talk.scrollHeight;
  try {
    const json = begun ? { text: question } : { text: question, inspections: [id] };
    const stream = await api(`/v1/conversations/${encodeURIComponent(conversation)}`, { json });
    begun = true;
    for await (const { name: kind, data } of events(stream)) {
      if (kind === "tool") answer.firstChild.textContent = `looks: ${data.text} …`;
      else if (kind === "text") answer.firstChild.textContent = data.text;
      else if (kind === "answer") answer.replaceChildren(...reply(data));
      else if (kind === "error") throw Object.assign(new Error(data.error), { remedy: data.remedy });
    }
  } catch (error) {
    answer.replaceChildren(element("p", { textContent: error.message }), element("p", { className: "note", textContent: error.remedy ?? "" }));
  }
  talk.scrollTop = talk.scrollHeight;
}

document.querySelector("#say").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = text.value.trim();
  if (!question) return;
  text.value = "";
  ask(question);
});
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    text.form.requestSubmit();
  }
});
for (const button of document.querySelectorAll("#suggestions button")) {
  button.addEventListener("click", () => ask(button.textContent));
}

const said = document.querySelector("#feedback");
async function judge(json) {
  try {
    const stored = await (await api(`/v1/inspections/${id}/feedback`, { json })).json();
    const undo = element("button", { className: "quiet", type: "button", textContent: "Take it back" });
    undo.addEventListener("click", async () => {
      try {
        await api(`/v1/feedback/${encodeURIComponent(stored.id)}`, { method: "DELETE" });
        said.replaceChildren(`${stored.id} of ${name} is taken back.`);
      } catch (error) { sayError(error); }
    });
    said.replaceChildren(`Stored as ${stored.id}. `, undo);
  } catch (error) {
    sayError(error);
  }
}
for (const button of document.querySelectorAll("[data-judgement]")) {
  button.addEventListener("click", () => judge({ judgement: button.dataset.judgement }));
}
document.querySelector("#correct")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const { kind, severity } = event.target.elements;
  judge({ judgement: "corrected", kind: kind.value.trim(), severity: Number(severity.value) });
});
