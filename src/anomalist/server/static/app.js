// What all pages share: requests, dropping files, messages, following jobs.
const token = document.querySelector('meta[name="csrf-token"]')?.content;

export async function api(path, { json, form, method } = {}) {
  const headers = { accept: "application/json" };
  if (token) headers["x-csrf-token"] = token;
  if (json !== undefined) headers["content-type"] = "application/json";
  const body = json !== undefined ? JSON.stringify(json) : form;
  const reply = await fetch(path, { method: method ?? (body === undefined ? "GET" : "POST"), headers, body });
  if (reply.ok) return reply;
  const problem = await reply.json().catch(() => ({ error: `The server answered ${reply.status}.` }));
  const error = new Error(problem.error);
  error.remedy = problem.remedy ?? "";
  error.status = reply.status;
  error.after = Number(reply.headers.get("retry-after") ?? 0);
  throw error;
}

export const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};

let fading;
export function say(text, more = "") {
  const place = document.querySelector("#said");
  place.replaceChildren(text, ...(more ? [element("small", { textContent: more })] : []));
  clearTimeout(fading);
  fading = setTimeout(() => place.replaceChildren(), 9000);
}

export const sayError = (error) => say(error.message, error.remedy);

export function dropZone(zone, taken) {
  const input = zone.querySelector("input[type=file]");
  const over = (on) => (event) => { event.preventDefault(); zone.classList.toggle("over", on); };
  zone.addEventListener("dragover", over(true));
  zone.addEventListener("dragleave", over(false));
  zone.addEventListener("drop", (event) => {
    over(false)(event);
    input.files = event.dataTransfer.files;
    taken([...input.files]);
  });
  input.addEventListener("change", () => taken([...input.files]));
}

// Server-sent events of a reply to a POST, or of a GET.
export async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const fields = Object.fromEntries(part.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
      yield { name: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

export async function followJob(id, place) {
  const what = place?.querySelector(".what");
  const bar = place?.querySelector("progress");
  const amount = place?.querySelector(".amount");
  const cancel = place?.querySelector(".cancel");
  if (place) place.hidden = false;
  if (cancel) cancel.onclick = () => api(`/v1/jobs/${id}/cancel`, { method: "POST" }).catch(sayError);
  let last;
  for await (const { data } of events(await api(`/v1/jobs/${id}/events`))) {
    last = data;
    if (!place) continue;
    what.textContent = data.state === "queued" ? "Waiting for its turn" : data.progress.what ?? "Beginning";
    if (data.progress.of) {
      bar.value = data.progress.done / data.progress.of;
      amount.textContent = `${Math.round(100 * bar.value)} %`;
    } else bar.removeAttribute("value");
  }
  if (place) place.hidden = true;
  return last;
}
