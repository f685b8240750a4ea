// The button that stops the demo's OpenID Provider, and starts it again.

const button = document.getElementById("stop-provider");
const state = document.getElementById("provider-state");

async function toggle() {
  const isStopped = button.dataset.stopped === "yes";
  const form = new URLSearchParams({
    stopped: isStopped ? "no" : "yes",
    csrfmiddlewaretoken: document.querySelector("[name=csrfmiddlewaretoken]").value,
  });
  button.disabled = true;
  const answer = await fetch(button.dataset.url, { method: "POST", body: form }).catch(() => null);
  button.disabled = false;
  if (!answer?.ok) return show(isStopped, "That did not work: the launcher's log may say why.");
  const { stopped } = await answer.json();
  return show(stopped, stopped ? "It is stopped." : "It starts again, which takes a second or two.");
}

function show(isStopped, text) {
  button.dataset.stopped = isStopped ? "yes" : "no";
  button.textContent = isStopped ? "Start the provider again" : "Stop the provider";
  state.textContent = text;
}

button?.addEventListener("click", toggle);
