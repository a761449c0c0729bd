// One picture after the other: normal, anomalous, or can't tell; by button or by key.
import { api, sayError } from "/static/app.js";

const place = document.querySelector("#review");
const answers = document.querySelector("#answers");
const image = document.querySelector("#asked");
const done = document.querySelector("#done");
let busy = false;

function show(found) {
  place.dataset.next = found.next ?? "";
  document.querySelector("#sentence").textContent = found.sentence;
  document.querySelector("#answered").textContent = found.answered;
  document.querySelector("#name").textContent = found.name ?? "Nothing is left to ask.";
  const bar = document.querySelector("#interval");
  bar.setAttribute("x", 100 * found.rate.low);
  bar.setAttribute("width", Math.max(100 * (found.rate.high - found.rate.low), 0.6));
  answers.hidden = image.hidden = !found.next;
  done.hidden = Boolean(found.next);
  done.textContent = found.done ? "The rate is known as well as was asked for." : "Every picture has its answer: more can't be known from this run.";
  if (found.next) image.src = `/v1/inspections/${found.next}/picture`;
}

async function answer(what) {
  if (busy || !place.dataset.next) return;
  busy = true;
  try {
    show(await (await api(`/v1/audit/review/${place.dataset.run}`, { json: { id: place.dataset.next, answer: what } })).json());
  } catch (error) {
    sayError(error);
  }
  busy = false;
}

const keys = {};
for (const button of answers.querySelectorAll("button")) {
  keys[button.dataset.answer[0]] = button.dataset.answer;
  button.addEventListener("click", () => answer(button.dataset.answer));
}
document.addEventListener("keydown", (event) => {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && keys[event.key]) answer(keys[event.key]);
});
