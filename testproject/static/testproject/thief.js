// What somebody tries who has got hold of an access token, and has a key of their own.

import { proof } from "../django_tmibff/tmibff-dpop.js";

const url = new URL("/orders", document.body.dataset.api).href;
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);

async function attempt(headers) {
  const response = await fetch(url, { headers, credentials: "omit" });
  const data = await response.json();
  const found = data.orders?.map(({ item }) => item).join(", ");
  return { good: response.ok, text: `${response.status}: ${found ?? data.error_description}` };
}

async function show(id, headers) {
  const { good, text } = await attempt(headers).catch((error) => ({ text: error.message }));
  const place = document.getElementById(id);
  place.textContent = text;
  place.className = good ? "bad" : "good"; // For whom the token was stolen from.
}

await show("as-bearer", { Authorization: `Bearer ${token}` });
await show("with-own-key", {
  Authorization: `DPoP ${token}`,
  DPoP: await proof("GET", url, token),
});
