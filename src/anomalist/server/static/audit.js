// Verify the log; take chosen decisions again; export a bundle.
import { api, element, sayError } from "/static/app.js";

const place = document.querySelector("#replayed");

async function busy(button, work) {
  const before = button.textContent;
  button.disabled = true;
  button.textContent = "…";
  try {
    await work();
  } catch (error) {
    sayError(error);
  }
  button.textContent = before;
  button.disabled = false;
}

async function replay(ids) {
  const rows = await (await api("/v1/audit/replay", { json: { ids } })).json();
  place.replaceChildren(element("ul", {}, ...rows.map((row) => {
    const state = row.failed ? "not taken again" : row.equal ? "equal" : "differs";
    const why = row.failed ?? [...row.differences, ...row.causes].join("; ");
    return element("li", {}, element("b", { className: row.equal ? "sound" : "damaged", textContent: state }), ` ${row.id} ${row.source.split("/").pop()} ${why}`);
  })));
}

async function download(ids) {
  const file = await (await api("/v1/audit/export", { json: { ids } })).blob();
  const link = element("a", { href: URL.createObjectURL(file), download: "audit-bundle.zip" });
  link.click();
  URL.revokeObjectURL(link.href);
}

const verify = document.querySelector("#verify");
verify?.addEventListener("click", () => busy(verify, async () => {
  const found = await (await api("/v1/audit/verify", { method: "POST" })).json();
  const word = found.sound ? "Sound." : "Damaged.";
  document.querySelector("#verified").replaceChildren(
    element("p", {}, element("b", { className: found.sound ? "sound" : "damaged", textContent: word }),
      found.sound ? ` ${found.entries.toLocaleString("en")} entries, ${found.signatures} ${found.signatures === 1 ? "signature" : "signatures"}; nothing was changed, removed without a reason, moved, inserted or cut off.` : ""),
    element("ul", {}, ...found.findings.map((each) => element("li", { textContent: each }))));
}));

const boxes = [...document.querySelectorAll("[name=entry]")];
const chosen = (decisions) => boxes.filter((box) => box.checked && (!decisions || ["inspection", "clip"].includes(box.dataset.kind))).map((box) => box.value);
const again = document.querySelector("#replay");
const save = document.querySelector("#export");
const all = document.querySelector("#all");
const update = () => {
  again.disabled = !chosen(true).length;
  save.disabled = !chosen(false).length;
};
for (const box of boxes) box.addEventListener("change", update);
all?.addEventListener("change", () => { for (const box of boxes) box.checked = all.checked; update(); });
again?.addEventListener("click", () => busy(again, () => replay(chosen(true))));
save?.addEventListener("click", () => busy(save, () => download(chosen(false))));

const one = document.querySelector("#entry")?.dataset.id;
for (const [button, work] of [[document.querySelector("#replay-one"), replay], [document.querySelector("#export-one"), download]]) {
  button?.addEventListener("click", () => busy(button, () => work([one])));
}
