// Dismiss, escalate or mark alerts as seen; what is alike moves in rank with them.
import { api, say, sayError } from "/static/app.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-event] button");
  if (!button) return;
  const group = button.closest("[data-event]");
  const { run } = button.closest("#alerts").dataset;
  try {
    const path = `/v1/runs/${run}/events/feedback?event=${encodeURIComponent(group.dataset.event)}`;
    const stored = await (await api(path, { json: { verdict: button.dataset.verdict } })).json();
    for (const other of group.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
    say(`${button.textContent}: stored as ${stored.id}.`, "Load the page again for the new order.");
  } catch (error) {
    sayError(error);
  }
});
