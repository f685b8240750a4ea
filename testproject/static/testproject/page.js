// The demo's page. Tokens live in variables of this module, and nowhere else.

const TOKEN = "/.well-known/bff-token";
const SESSION = "/.well-known/bff-sessioninfo";
const API = document.body.dataset.api;
const MOST_LOG_ROWS = 50;
const MENU = ["A pot of tea", "Bread and butter", "A very small cake", "Jam tarts"];

const $ = (id) => document.getElementById(id);
const tabs = new BroadcastChannel("orders-demo");

let signedIn = null; // not known yet
let token = null; // {value, scope, type, until, lifetime}
let retryTimer = 0;
// What was left when a token came first: a stored one comes with less each time.
const lifetimes = new Map();

// --- the wire -------------------------------------------------------------------------------

/** Fetch JSON and write a line into the log. `answer.status` is 0 when nobody answered. */
async function call(method, url, options = {}) {
  const started = performance.now();
  const answer = { status: 0, data: {}, headers: new Headers() };
  try {
    const response = await fetch(url, { method, ...options });
    answer.status = response.status;
    answer.headers = response.headers;
    answer.data = await response.json().catch(() => ({}));
  } catch {
    // No connection, or a body that broke off: status stays 0.
  }
  log(method, url, answer, performance.now() - started);
  return answer;
}

function log(method, url, answer, milliseconds) {
  const shown = new URL(url, location.origin);
  const where = shown.origin === location.origin ? "" : shown.host;
  const row = element("tr", "", [
    element("td", "", new Date().toLocaleTimeString()),
    element("td", "mono", `${method} ${where}${shown.pathname}${decodeURIComponent(shown.search)}`),
    element("td", answer.status >= 200 && answer.status < 300 ? "good" : "bad", answer.status || "no answer"),
    element("td", "number", Math.round(milliseconds)),
    element("td", "mono", summary(answer.data)),
  ]);
  $("log").prepend(row);
  while ($("log").rows.length > MOST_LOG_ROWS) $("log").lastChild.remove();
}

function summary(data) {
  if (data.access_token) return `access_token ${shortened(data.access_token)}`;
  if (data.error) return data.error;
  return Object.keys(data).join(", ");
}

const shortened = (value) => `${value.slice(0, 6)}…`;

// --- the session ----------------------------------------------------------------------------

async function checkSession() {
  const { status, data } = await call("GET", SESSION);
  if (status === 200) showSession(data);
  else if (status === 400 && data.error === "invalid_session") showSignedOut();
  else notice("This page's own server does not answer. It tries again in a moment.", { retry: checkSession });
}

function showSession(info) {
  const wasSignedIn = signedIn;
  signedIn = true;
  $("welcome").hidden = true;
  $("panels").hidden = false;
  $("sign-out").hidden = false;
  $("who").textContent = info.name ?? info.email ?? info.sub;
  facts("session", {
    Name: info.name,
    "E-mail": info.email,
    Subject: info.sub,
    Issuer: info.iss,
    "Signed in": info.auth_time && new Date(info.auth_time * 1000).toLocaleTimeString(),
    Ends: info.exp && new Date(info.exp * 1000).toLocaleString(),
  });
  hideNotice();
  if (info.exp) checkSessionAt(info.exp * 1000);
  if (!wasSignedIn) {
    tabs.postMessage({ signedIn });
    getToken();
  }
}

function showSignedOut() {
  const wasSignedIn = signedIn;
  signedIn = false;
  token = null;
  $("token").hidden = true;
  $("api-answer").replaceChildren();
  $("panels").hidden = true;
  $("sign-out").hidden = true;
  $("welcome").hidden = false;
  if (wasSignedIn) notice("You are signed out: in another tab, or because the session has ended.");
  else hideNotice();
  if (wasSignedIn !== false) tabs.postMessage({ signedIn });
}

let sessionTimer = 0;
function checkSessionAt(milliseconds) {
  clearTimeout(sessionTimer);
  // setTimeout counts at most 24 days.
  const wait = Math.min(milliseconds - Date.now() + 1000, 86_400_000);
  sessionTimer = setTimeout(checkSession, Math.max(wait, 1000));
}

tabs.onmessage = ({ data }) => {
  if (signedIn !== null && data.signedIn !== signedIn) checkSession();
};
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) checkSession();
});

// --- the token ------------------------------------------------------------------------------

async function getToken() {
  const chosen = [...$("scope-list").querySelectorAll(":checked")].map((box) => box.value);
  const all = chosen.length === $("scope-list").children.length;
  const query = all ? "" : `?${new URLSearchParams({ scope: chosen.join(" ") })}`;
  $("get-token").disabled = true;
  const { status, data, headers } = await call("GET", TOKEN + query);
  $("get-token").disabled = false;
  if (status === 200) return keepToken(data);
  refused(status, data, headers);
  return null;
}

function keepToken(data) {
  hideNotice();
  const lifetime = data.expires_in * 1000;
  token = {
    value: data.access_token,
    scope: data.scope ?? "",
    until: Date.now() + lifetime,
    lifetime: lifetimes.get(data.access_token) ?? lifetime,
  };
  lifetimes.set(token.value, token.lifetime);
  if (!$("scope-list").children.length) offerScopes(token.scope);
  facts("token-facts", { Token: shortened(token.value), Type: data.token_type, Scope: token.scope });
  const known = claims(token.value);
  $("claims").hidden = !known;
  $("claims-text").textContent = known;
  $("token").hidden = false;
  showLife();
  return token;
}

function refused(status, data, headers) {
  if (data.error === "invalid_session") return checkSession();
  if (data.error === "temporarily_unavailable") {
    const seconds = Number(headers.get("Retry-After") ?? 1);
    const text = "The authorization server does not answer, so there is no new token.";
    return notice(`${text} This page asks again by itself.`, { retry: getToken, seconds });
  }
  if (!status) return notice("This page's own server does not answer.", { retry: getToken });
  if (data.error === "invalid_grant") return notice("The provider has ended this sign-in.", { loginUrl: data.login_url });
  const why = data.error_description ? `${data.error}: ${data.error_description}` : data.error;
  return notice(`No token. ${why}`, { loginUrl: data.login_url });
}

function offerScopes(scope) {
  $("scope-list").replaceChildren(
    ...scope.split(" ").filter(Boolean).map((value) => {
      const box = element("input");
      box.type = "checkbox";
      box.value = value;
      box.checked = true;
      return element("label", "", [box, value]);
    }),
  );
}

function claims(value) {
  try {
    const payload = value.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    return JSON.stringify(JSON.parse(new TextDecoder().decode(bytes)), null, 2);
  } catch {
    return ""; // Opaque: only the authorization server can tell what is in it.
  }
}

function showLife() {
  if (!token) return;
  const left = Math.max(0, token.until - Date.now());
  const life = $("life");
  life.max = token.lifetime || 1;
  life.value = left;
  life.classList.toggle("ending", left < token.lifetime / 2);
  $("life-left").textContent = left ? `${Math.ceil(left / 1000)} s left` : "expired: the next one is one call away";
}
setInterval(showLife, 250);

// --- the API --------------------------------------------------------------------------------

async function callApi(method, body) {
  if (!token || token.until <= Date.now()) await getToken();
  if (!token || token.until <= Date.now()) return;
  const headers = { Authorization: `Bearer ${token.value}` };
  if (body) headers["Content-Type"] = "application/json";
  const url = new URL("/orders", API);
  const answer = await call(method, url, { headers, body: body && JSON.stringify(body), credentials: "omit" });
  showApiAnswer(answer);
}

function showApiAnswer({ status, data, headers }) {
  clearTimeout(retryTimer);
  if (status >= 200 && status < 300) return showOrders(data.orders ?? []);
  if (!status) return apiIsDown();
  const challenge = headers.get("WWW-Authenticate") ?? "";
  const insufficient = challenge.includes("insufficient_scope");
  const text = insufficient
    ? "The API refuses: this token's scope does not allow it. Ask for a token with more."
    : `The API refuses: ${data.error_description ?? data.error ?? status}`;
  return $("api-answer").replaceChildren(element("p", "bad", text));
}

function showOrders(orders) {
  const items = orders.map((order) =>
    element("li", "", [element("span", "", order.item), element("span", "number", `№ ${order.number}`)]),
  );
  const title = orders.length ? `${orders.length} orders, straight from the API:` : "No orders yet.";
  $("api-answer").replaceChildren(element("p", "", title), element("ul", "", items));
}

async function apiIsDown() {
  const text = `The API at ${API} does not answer. This page looks every few seconds whether it is back.`;
  $("api-answer").replaceChildren(element("p", "bad", text));
  clearTimeout(retryTimer);
  retryTimer = setTimeout(async () => {
    const { status } = await call("GET", new URL("/", API), { credentials: "omit" });
    if (status === 200) $("api-answer").replaceChildren(element("p", "", "The API is back. Try again."));
    else apiIsDown();
  }, 3000);
}

// --- the page -------------------------------------------------------------------------------

let noticeTimer = 0;
function notice(text, { retry, seconds = 2, loginUrl } = {}) {
  $("notice-text").textContent = text;
  $("notice-link").hidden = !loginUrl;
  if (loginUrl) $("notice-link").href = `${loginUrl}?${new URLSearchParams({ next: location.pathname })}`;
  $("notice").hidden = false;
  clearTimeout(noticeTimer);
  if (retry) noticeTimer = setTimeout(retry, seconds * 1000);
}

function hideNotice() {
  clearTimeout(noticeTimer);
  $("notice").hidden = true;
}

function facts(id, values) {
  const known = Object.entries(values).filter(([, value]) => value);
  $(id).replaceChildren(...known.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
}

function element(name, className = "", content = []) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...(Array.isArray(content) ? content : [String(content)]));
  return made;
}

$("get-token").addEventListener("click", getToken);
$("scope-list").addEventListener("change", () => {
  $("get-token").disabled = !$("scope-list").querySelector(":checked");
});
$("read-orders").addEventListener("click", () => callApi("GET"));
$("place-order").addEventListener("click", () => callApi("POST", { item: MENU[Math.floor(Math.random() * MENU.length)] }));
$("api-calls").hidden = !API;
$("api-missing").hidden = Boolean(API);
// The server knows whether somebody is signed in: no need to ask for an error.
if ("signedIn" in document.body.dataset) checkSession();
else showSignedOut();
if (new URLSearchParams(location.search).get("sign-in") === "failed" && !signedIn) {
  notice("The sign-in did not succeed. The server's log says why.");
}
