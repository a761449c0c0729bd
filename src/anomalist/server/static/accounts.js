// Make, change and remove accounts and keys.
import { api, element, say, sayError } from "/static/app.js";

const send = async (path, method, json) => {
  try {
    return await api(path, { method, json });
  } catch (error) {
    sayError(error);
    return null;
  }
};

const dialog = document.querySelector("#new-password");
for (const item of document.querySelectorAll("[data-account]")) {
  const { account, disabled } = item.dataset;
  const path = `/v1/accounts/${encodeURIComponent(account)}`;
  const role = item.querySelector(".role");
  let before = role.value;
  role.addEventListener("change", async () => {
    if (await send(path, "PATCH", { role: role.value })) {
      before = role.value;
      say(`${account} is ${role.value} now.`);
    } else role.value = before;
  });
  item.querySelector(".toggle").addEventListener("click", async () => {
    if (await send(path, "PATCH", { disabled: disabled !== "true" })) location.reload();
  });
  item.querySelector(".remove").addEventListener("click", async () => {
    if (confirm(`Remove ${account}?`) && await send(path, "DELETE")) location.reload();
  });
  item.querySelector(".password").addEventListener("click", () => {
    const field = dialog.querySelector("input");
    field.value = "";
    dialog.querySelector("h2").textContent = `New password for ${account}`;
    dialog.onclose = async () => {
      if (dialog.returnValue === "set" && await send(path, "PATCH", { password: field.value })) say(`${account} has a new password.`);
      dialog.returnValue = field.value = "";
    };
    dialog.showModal();
  });
}

for (const item of document.querySelectorAll("[data-key]")) {
  item.querySelector(".remove").addEventListener("click", async () => {
    if (confirm(`Remove all keys of ${item.dataset.key}?`) && await send(`/v1/keys/${encodeURIComponent(item.dataset.key)}`, "DELETE")) location.reload();
  });
}

const fields = (form) => Object.fromEntries(new FormData(form));
document.querySelector("#new-account").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await send("/v1/accounts", "POST", fields(event.target))) location.reload();
});
document.querySelector("#new-key").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const made = await send("/v1/keys", "POST", fields(form));
  if (!made) return;
  const { key } = await made.json();
  form.querySelector(".outcome").replaceChildren(
    element("p", {}, "It can't be seen again: ", element("code", { className: "key", textContent: key })));
  form.reset();
});
