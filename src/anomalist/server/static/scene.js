// Zones of a scene: corners by clicks on the picture, or written as shares of width and height.
import { api, element, say, sayError } from "/static/app.js";

const { name } = document.querySelector("#scene").dataset;
const svg = document.querySelector("#zones");
const list = document.querySelector("#zone-list");
const told = document.querySelector("#drawing");
const address = `/v1/scenes/${encodeURIComponent(name)}/zones`;
let zones = [];
let drawn = null;

const written = (zone) => zone.polygon.map((corner) => corner.map((value) => value.toFixed(3)).join(",")).join(" ");
const read = (text) => text.trim().split(/\s+/).filter(Boolean).map((pair) => pair.split(",").map(Number));

function draw() {
  svg.replaceChildren(...zones.map((zone) => {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", zone === drawn ? "polyline" : "polygon");
    shape.setAttribute("points", zone.polygon.map((corner) => corner.join(",")).join(" "));
    shape.setAttribute("class", `zone-${zone.kind}`);
    return shape;
  }));
}

function show() {
  list.replaceChildren(...zones.map((zone, at) => {
    const label = (text, control) => element("label", {}, text, control);
    const title = element("input", { value: zone.name, maxLength: 80, required: true });
    title.addEventListener("input", () => { zone.name = title.value; });
    const kind = element("select", {}, ...["ignore", "watch", "forbidden"].map((one) => element("option", { textContent: one, selected: one === zone.kind })));
    const item = element("li", { className: `zone-${zone.kind}` });
    kind.addEventListener("change", () => { zone.kind = kind.value; item.className = `zone-${zone.kind}`; draw(); });
    const corners = element("input", { value: written(zone) });
    corners.addEventListener("change", () => { zone.polygon = read(corners.value); draw(); });
    const remove = element("button", { type: "button", className: "quiet", textContent: "Remove" });
    remove.setAttribute("aria-label", `Remove ${zone.name}`);
    remove.addEventListener("click", () => { zones.splice(at, 1); drawn = null; show(); });
    item.append(label("Name", title), label("Kind", kind), label("Corners: x,y from 0 to 1", corners), remove);
    return item;
  }));
  draw();
}

document.querySelector("#new-zone").addEventListener("click", () => {
  drawn = { name: `zone ${zones.length + 1}`, kind: "watch", polygon: [] };
  zones.push(drawn);
  told.textContent = "Click the corners, then Save.";
  show();
});
svg.addEventListener("click", (event) => {
  if (!drawn) return;
  const frame = svg.getBoundingClientRect();
  drawn.polygon.push([(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height]);
  show();
});
document.querySelector("#zone-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await api(address, { method: "PUT", json: { zones } });
    drawn = null;
    draw();
    say("Saved. Clips that are triaged from now on go by these zones.");
  } catch (error) {
    sayError(error);
  }
});
api(address).then((reply) => reply.json()).then((found) => { zones = found.zones; show(); }).catch(sayError);
