// The demo's page. Tokens live in the memory of tmibff.js, and nowhere else.

import {
  TmibffError,
  getSession,
  getToken,
  logout,
  onSession,
  takeLoginError,
  tokenFetch,
} from "../django_tmibff/tmibff.js";
import { watch } from "./wire.js";

const API = document.body.dataset.api;
const MORE_SCOPES = document.body.dataset.moreScopes.split(" ").filter(Boolean);
const MOST_LOG_ROWS = 50;
const UNAVAILABLE =
  "The authorization server does not answer, so there is no new token. This page asks again by itself.";
const MENU = ["A pot of tea", "Bread and butter", "A very small cake", "Jam tarts"];

const $ = (id) => document.getElementById(id);
const WHOLE_API = $("resource")?.options[0].text;

let signedIn = null; // not known yet
let leaving = false;
let token = null; // the one that is shown
let granted = ""; // the scope of the sign-in
let retryTimer = 0;
// What was left when a token came first: a stored one comes with less each time.
const lifetimes = new Map();

// --- the wire -------------------------------------------------------------------------------

function log({ method, url, status, data, milliseconds }) {
  const host = element("span", "whole", url.origin === location.origin ? "" : url.host);
  const path = url.pathname + decodeURIComponent(url.search);
  const row = element("tr", "", [
    element("td", "", new Date().toLocaleTimeString()),
    element("td", "mono", [`${method} `, host, element("wbr"), path]),
    element("td", status >= 200 && status < 300 ? "good" : "bad", status || "no answer"),
    element("td", "number", Math.round(milliseconds)),
    element("td", "mono", summary(data)),
  ]);
  $("log").prepend(row);
  while ($("log").rows.length > MOST_LOG_ROWS) $("log").lastChild.remove();
}

watch((line) => {
  log(line);
  // tmibff.js tries again by itself; a person wants to know why it takes so long.
  const isOurs = line.url.origin === location.origin;
  if (isOurs && line.data.error === "temporarily_unavailable") notice(UNAVAILABLE);
});

function summary(data) {
  if (data.access_token) return `access_token ${shortened(data.access_token)}`;
  if (data.error) return data.error;
  return Object.keys(data).join(", ");
}

const shortened = (value) => `${value.slice(0, 6)}…`;

// --- the session ----------------------------------------------------------------------------

async function checkSession() {
  try {
    const session = await getSession();
    if (session) showSession(session);
    else showSignedOut();
  } catch {
    notice("This page's own server does not answer. It tries again in a moment.", { retry: checkSession });
  }
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
  if (!wasSignedIn) showToken();
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
  if (wasSignedIn && !leaving) notice("You are signed out: in another tab, or because the session has ended.");
  else if (wasSignedIn !== false) hideNotice();
}

let sessionTimer = 0;
function checkSessionAt(milliseconds) {
  clearTimeout(sessionTimer);
  // setTimeout counts at most 24 days.
  const wait = Math.min(milliseconds - Date.now() + 1000, 86_400_000);
  sessionTimer = setTimeout(checkSession, Math.max(wait, 1000));
}

async function signOut(event) {
  event.preventDefault();
  leaving = true;
  $("sign-out-button").disabled = true;
  try {
    await logout();
  } catch (error) {
    leaving = false;
    $("sign-out-button").disabled = false;
    notice(`You are not signed out. ${error.message}`);
  }
}

onSession(({ session }) => (session ? showSession(session) : showSignedOut()));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) checkSession();
});

// --- the token ------------------------------------------------------------------------------

/** Return what is chosen: the token of the sign-in, or one of another scope, or for a resource. */
function asked() {
  const chosen = [...$("scope-list").querySelectorAll(":checked")].map((box) => box.value);
  const isUsual = chosen.sort().join(" ") === granted.split(" ").sort().join(" ");
  const resource = $("resource")?.value;
  return {
    ...(resource ? { resource } : {}),
    ...(granted && !isUsual ? { scope: chosen.join(" ") } : {}),
  };
}

async function showToken() {
  const wanted = asked();
  $("get-token").disabled = true;
  try {
    keepToken(await getToken(wanted), wanted);
  } catch (error) {
    refused(error);
  } finally {
    $("get-token").disabled = false;
  }
}

function keepToken(found, { resource = WHOLE_API }) {
  hideNotice();
  token = found;
  if (!lifetimes.has(token.access_token)) lifetimes.set(token.access_token, token.expires_in * 1000);
  if (!granted) offerScopes(token.scope ?? "");
  facts("token-facts", {
    Token: shortened(token.access_token),
    Type: token.token_type,
    Scope: token.scope,
    For: resource,
  });
  const known = claims(token.access_token);
  $("claims").hidden = !known;
  $("claims-text").textContent = known;
  $("token").hidden = false;
  showLife();
}

/** Say why there is no token. That nobody is signed in any more is told by onSession(). */
function refused(error) {
  if (error.error === "invalid_session") return;
  if (error.error === "temporarily_unavailable") {
    notice(UNAVAILABLE, { retry: showToken, seconds: error.retryAfter ?? 1 });
  } else if (error.error === "invalid_grant") {
    notice("The provider has ended this sign-in.", error);
  } else {
    const said = [error.error, error.error_description].filter(Boolean).join(": ");
    notice(`No token. ${said}`, error);
  }
}

function offerScopes(scope) {
  granted = scope;
  const values = scope.split(" ").filter(Boolean);
  $("scope-list").replaceChildren(
    ...values.map((value) => scopeBox(value, true)),
    ...MORE_SCOPES.filter((value) => !values.includes(value)).map((value) => scopeBox(value, false)),
  );
}

function scopeBox(value, isChecked) {
  const box = element("input");
  box.type = "checkbox";
  box.value = value;
  box.checked = isChecked;
  return element("label", "", [box, value]);
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
  const left = Math.max(0, token.expiresAt - Date.now());
  const lifetime = lifetimes.get(token.access_token);
  const life = $("life");
  life.max = lifetime || 1;
  life.value = left;
  life.classList.toggle("ending", left < lifetime / 2);
  $("life-left").textContent = left ? `${Math.ceil(left / 1000)} s left` : "expired: the next one is one call away";
}
setInterval(showLife, 250);

// --- the API --------------------------------------------------------------------------------

async function callApi(method, path, body) {
  const wanted = asked();
  const headers = body ? { "Content-Type": "application/json" } : {};
  const options = { method, headers, body: body && JSON.stringify(body), credentials: "omit" };
  try {
    const response = await tokenFetch(new URL(path, API), { ...wanted, ...options });
    showApiAnswer(response, await response.json().catch(() => ({})));
    keepToken(await getToken(wanted), wanted);
  } catch (error) {
    if (!(error instanceof TmibffError)) apiIsDown();
    else if (error.error === "insufficient_user_authentication") wantsFreshSignIn(error);
    else refused(error);
  }
}

function showApiAnswer({ ok, status, headers }, data) {
  clearTimeout(retryTimer);
  if (ok) return showOrders(data.orders ?? []);
  const challenge = headers.get("WWW-Authenticate") ?? "";
  const insufficient = challenge.includes("insufficient_scope");
  const text = insufficient
    ? "The API refuses: this token's scope does not allow it. Ask for a token with more."
    : `The API refuses: ${data.error_description ?? data.error ?? status}`;
  return $("api-answer").replaceChildren(element("p", "bad", text));
}

function wantsFreshSignIn({ message, loginUrl }) {
  notice(`The API wants more. ${message}`, { loginUrl, next: here({ "back-for-cancelling": "" }) });
}

function showOrders(orders) {
  const items = orders.map((order) =>
    element("li", "", [element("span", "", order.item), element("span", "number", `№ ${order.number}`)]),
  );
  const title = orders.length ? `${orders.length} orders, straight from the API:` : "No orders yet.";
  $("api-answer").replaceChildren(element("p", "", title), element("ul", "", items));
}

function apiIsDown() {
  const text = `The API at ${API} does not answer. This page looks every few seconds whether it is back.`;
  $("api-answer").replaceChildren(element("p", "bad", text));
  clearTimeout(retryTimer);
  retryTimer = setTimeout(async () => {
    const answer = await fetch(new URL("/", API), { credentials: "omit" }).catch(() => null);
    if (answer?.ok) $("api-answer").replaceChildren(element("p", "", "The API is back. Try again."));
    else apiIsDown();
  }, 3000);
}

// --- the page -------------------------------------------------------------------------------

let noticeTimer = 0;
let noticeStays = false;
function notice(text, { retry, seconds = 2, loginUrl, next = here(), stays = false } = {}) {
  noticeStays = stays;
  $("notice-text").textContent = text;
  $("notice-link").hidden = !loginUrl;
  if (loginUrl) $("notice-link").href = withNext(loginUrl, next);
  $("notice").hidden = false;
  clearTimeout(noticeTimer);
  if (retry) noticeTimer = setTimeout(retry, seconds * 1000);
}

/** Return the address of this page with the resource that is chosen: after a sign-in it begins anew. */
function here(more = {}) {
  const { resource } = asked();
  const query = String(new URLSearchParams({ ...(resource ? { resource } : {}), ...more }));
  return location.pathname + (query && `?${query}`);
}

function choose(resource) {
  const listed = [...($("resource")?.options ?? [])].find(({ value }) => value === resource);
  if (listed) listed.selected = true;
}

function withNext(loginUrl, next) {
  const url = new URL(loginUrl);
  url.searchParams.set("next", next);
  return url;
}

function hideNotice() {
  if (noticeStays) return;
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

$("sign-out").addEventListener("submit", signOut);
$("get-token").addEventListener("click", async () => {
  // A token that lives comes from memory, and would not tell that the session has ended.
  await checkSession();
  if (signedIn) await showToken();
});
$("scope-list").addEventListener("change", () => {
  $("get-token").disabled = !$("scope-list").querySelector(":checked");
});
$("read-orders").addEventListener("click", () => callApi("GET", "/orders"));
$("place-order").addEventListener("click", () => {
  callApi("POST", "/orders", { item: MENU[Math.floor(Math.random() * MENU.length)] });
});
$("cancel-orders").addEventListener("click", () => callApi("POST", "/cancellation"));
$("api-calls").hidden = !API;
$("api-missing").hidden = Boolean(API);

async function begin() {
  const loginError = takeLoginError();
  const query = new URLSearchParams(location.search);
  choose(query.get("resource") ?? "");
  // The server knows whether somebody is signed in: no need to ask for an error.
  if ("signedIn" in document.body.dataset) await checkSession();
  else showSignedOut();
  if (loginError) notice(`The sign-in did not succeed: ${loginError}`, { stays: true });
  else if (query.get("sign-in") === "failed") {
    notice("The sign-in did not succeed. The server's log says why.", { stays: true });
  } else if (query.has("back-for-cancelling") && signedIn) {
    // Anybody can make a link to here: what cannot be undone takes a click.
    $("api-answer").replaceChildren(element("p", "", "You have just signed in. Now the orders can be cancelled."));
    $("cancel-orders").focus();
  }
}

begin();
