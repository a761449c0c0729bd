// Live cameras: add, start, stop, remove; how they are and their alerts, as they come.
import { api, events, say, sayError } from "/static/app.js";

const send = async (path, method, json) => {
  try {
    await api(path, { method, json });
    location.reload();
  } catch (error) {
    sayError(error);
  }
};
const path = (name) => `/v1/cameras/${encodeURIComponent(name)}`;

document.querySelector("#new-camera")?.addEventListener("submit", (event) => {
  event.preventDefault();
  send("/v1/cameras", "POST", Object.fromEntries(new FormData(event.target)));
});
for (const button of document.querySelectorAll("[data-want]")) {
  button.addEventListener("click", () => send(path(button.dataset.name), "PATCH", { wanted: button.dataset.want === "true" }));
}
for (const button of document.querySelectorAll("[data-remove]")) {
  button.addEventListener("click", () => { if (confirm(`Remove ${button.dataset.remove}? What was seen stays.`)) send(path(button.dataset.remove), "DELETE"); });
}

const shown = document.querySelector("#camera")?.dataset.camera;
const live = document.querySelector("#live");
const known = new Set();
const colours = { following: "running", lost: "failed" };

function status(camera) {
  const place = document.querySelector(`[data-camera="${CSS.escape(camera.name)}"]`);
  if (!place) return;
  const state = place.querySelector(".state");
  state.textContent = camera.state;
  state.className = `state ${colours[camera.state] ?? ""}`;
  place.querySelector(".camera-note").textContent = camera.note;
}

// The list is rendered by the server as at the first time; a film that plays is not torn away.
async function alerts() {
  if ([...live.querySelectorAll("video")].some((film) => !film.paused)) return;
  const text = await (await fetch(location.href, { headers: { accept: "text/html" } })).text();
  live.replaceChildren(...new DOMParser().parseFromString(text, "text/html").querySelector("#live").childNodes);
}

async function follow() {
  for (;;) {
    try {
      let first = true;
      for await (const { name, data } of events(await api("/v1/cameras/events"))) {
        if (name === "camera") status(data);
        if (name === "camera" && !data.run) known.add(data.name);
        if (name === "alerts" && data.camera === shown && !(first && live.querySelector(".alerts"))) await alerts();
        if (name === "alerts" && data.camera === shown) first = false;
        if (name === "alerts" && !shown && data.alerts.length && known.has(data.camera)) say(`${data.camera}: ${data.alerts[0].caption}`);
        if (name === "alerts") known.add(data.camera); // what was there before is no news
      }
    } catch (error) {
      if (error.status) sayError(error);
    }
    await new Promise((done) => setTimeout(done, 2000));
  }
}
if (document.querySelector("[data-camera]")) follow();
