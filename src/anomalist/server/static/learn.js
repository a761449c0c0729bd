// Forms that begin a job, its progress, and what came out of it.
import { api, dropZone, element, followJob, sayError } from "/static/app.js";

const MOST_NAMED = 5; // of the files that are left out
const percent = (share) => `${(100 * share).toPrecision(2).replace(/\.0+$/, "")} %`;

function outcome(form, job) {
  const place = form.querySelector(".outcome");
  const { result } = job;
  if (job.state !== "done") {
    place.replaceChildren(element("p", { className: "callout", textContent: job.error || `It was ${job.state}.` }));
    return;
  }
  const lines = [];
  if (result.products) {
    lines.push(element("p", {}, element("b", { textContent: `${result.name} is learned, with ${result.products.length} products. ` }), element("a", { href: "/", textContent: "Inspect with it" })));
    lines.push(element("ul", {}, ...result.products.map((each) => element("li", { textContent: `${each.name}: ${each.pictures} pictures, false-alarm rates from ${percent(each.lowest_rate)} up. ${each.summary}` }))));
  } else if (form.dataset.kind === "learn") {
    lines.push(element("p", {}, element("b", { textContent: `${result.name} is learned. ` }),
      `From ${result.pictures} pictures: false-alarm rates from ${percent(result.lowest_rate)} up can be asked for. `,
      element("a", { href: "/", textContent: "Inspect with it" })));
    if (result.summary) lines.push(element("p", { className: "note", textContent: result.summary + (result.decision ? ` They were ${result.decision}.` : "") }));
    if (result.outliers.length) lines.push(element("ul", {}, ...result.outliers.map((each) => element("li", { textContent: `${each.name}: ${each.why}` }))));
  } else if (form.dataset.kind === "learn-scene") {
    lines.push(element("p", {}, element("b", { textContent: `${result.name} is learned. ` }),
      `${Math.round(result.seconds)} s of footage support no fewer than ${result.false_events_per_hour.toPrecision(2)} false events an hour. `,
      element("a", { href: `/scenes/${encodeURIComponent(result.name)}`, textContent: "Draw zones" })));
  } else {
    location.assign(`/watch/${result.run}`);
    return;
  }
  for (const reason of result.skipped ?? result.products?.flatMap((each) => each.skipped) ?? []) lines.push(element("p", { className: "note", textContent: `Skipped ${reason}` }));
  place.replaceChildren(...lines);
}

// A folder with a folder for each product: its files are sent with the names of their folders.
const several = document.querySelector("#several");
several?.addEventListener("change", () => {
  const zone = several.form.querySelector(".drop");
  const input = zone.querySelector("input[type=file]");
  input.webkitdirectory = several.checked;
  zone.querySelector("label b").textContent = several.checked ? "Choose the folder above the products" : "Drop good pictures here";
  zone.querySelector("label span").textContent = several.checked ? "one folder inside it for each product" : "or choose files";
});
const nameOf = (file) => file.webkitRelativePath || file.name;
const isHidden = (file) => nameOf(file).split("/").some((part) => part.startsWith("."));
// By the ending of its name, as the server looks at folders: browsers don't know the type of every picture.
const isPicture = (file) => !isHidden(file) && several.dataset.suffixes.split(" ").some((suffix) => file.name.toLowerCase().endsWith(suffix));

for (const form of document.querySelectorAll("form[data-kind]")) {
  const hint = form.querySelector(".drop .note");
  const promise = form.querySelector(".promise");
  const button = form.querySelector("button.main");
  const input = form.querySelector("input[type=file]");
  const ofProducts = () => Boolean(several?.checked && form.contains(several));
  const tell = () => {
    const files = [...input.files];
    const left = ofProducts() ? files.filter((file) => !isPicture(file)) : [];
    hint.textContent = `${files.length - left.length} chosen.`;
    if (left.length) {
      const more = left.length > MOST_NAMED ? ` and ${left.length - MOST_NAMED} more` : "";
      hint.textContent += ` Left out, as hidden or not named like a picture: ${left.slice(0, MOST_NAMED).map(nameOf).join(", ")}${more}.`;
    }
    if (!promise) return;
    promise.textContent = ofProducts() || !files.length ? "" : `${files.length} pictures, if all are of different objects, support false-alarm rates from ${percent(1 / (files.length + 1))} up${files.length < 19 ? "; the default of 5 % needs 19" : ""}.`;
  };
  dropZone(form.querySelector(".drop"), tell);
  if (form.contains(several)) several.addEventListener("change", () => { if (input.files.length) tell(); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = new FormData(form);
    for (const [name, value] of [...body.entries()]) {
      if (value === "" || (value instanceof File && !value.size && !value.name)) body.delete(name);
    }
    const products = ofProducts();
    if (products && body.has("files")) {
      body.delete("files");
      for (const file of input.files) if (isPicture(file)) body.append("files", file, nameOf(file));
    }
    button.disabled = true;
    try {
      const job = await (await api(`/v1/jobs/${products ? "learn-products" : form.dataset.kind}`, { form: body })).json();
      outcome(form, await followJob(job.id, form.querySelector(".progress")));
    } catch (error) {
      sayError(error);
    } finally {
      button.disabled = false;
    }
  });
}

for (const item of document.querySelectorAll('[data-state="running"], [data-state="queued"]')) {
  followJob(item.dataset.job).then((job) => { item.querySelector(".state").textContent = job.state; }).catch(sayError);
}
