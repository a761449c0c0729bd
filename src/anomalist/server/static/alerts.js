// Dismiss, escalate or mark alerts as seen; what is alike moves in rank with them.
import { api, say, sayError } from "/static/app.js";

const { run } = document.querySelector("#alerts").dataset;
for (const group of document.querySelectorAll("[data-event]")) {
  for (const button of group.querySelectorAll("button")) {
    button.addEventListener("click", async () => {
      try {
        const path = `/v1/runs/${run}/events/feedback?event=${encodeURIComponent(group.dataset.event)}`;
        const stored = await (await api(path, { json: { verdict: button.dataset.verdict } })).json();
        for (const other of group.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
        say(`${button.textContent}: stored as ${stored.id}.`, "Load the page again for the new order.");
      } catch (error) {
        sayError(error);
      }
    });
  }
}
