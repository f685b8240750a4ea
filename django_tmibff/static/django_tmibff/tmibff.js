// Documented in tmibff.d.ts. Tokens are kept here and nowhere else.

const LOGIN = "/bff/login";

let tokens = new Map(); // each sign-in and sign-out begins another
const pending = new Map();
const listeners = new Set();
let session; // undefined: not known; null: nobody is signed in
let tabs;
let proofs; // a module, once a site is known to bind tokens to a key

export class TmibffError extends Error {
  constructor({ error, error_description, login_url }, more) {
    super(error_description ?? error);
    const loginUrl = login_url && address(login_url);
    Object.assign(this, { name: "TmibffError", error, error_description, loginUrl }, more);
  }
}

export async function getToken({ refused, ...asked } = {}) {
  const path = address("/.well-known/bff-token", asked);
  let token = await pending.get(path);
  const kept = tokens.get(path);
  if (kept?.renewAt > Date.now()) token ??= kept;
  if (token && token.access_token !== refused) return token;
  if (!pending.has(path)) pending.set(path, renew(path, refused));
  return pending.get(path);
}

export async function tokenFetch(input, { resource, scope, ...init } = {}) {
  const token = await getToken({ resource, scope });
  let response = await send(input, init, resource, token);
  if (challenge(response).error === "invalid_token") {
    const other = await getToken({ resource, scope, refused: token.access_token });
    // A stream cannot be sent twice.
    if (other.access_token !== token.access_token && !init.body?.getReader) {
      response = await send(input, init, resource, other);
    }
  }
  const said = challenge(response);
  if (said.error !== "insufficient_user_authentication") return response;
  const wanted = { acrValues: said.acr_values, maxAge: said.max_age };
  said.login_url = address(LOGIN, { resource, scope, ...wanted });
  throw new TmibffError(said, { ...wanted, response });
}

export async function getSession() {
  const { data, sentAt } = await ask("/.well-known/bff-sessioninfo").catch(nobody);
  proofs = data?.dpop && (await import("./tmibff-dpop.js"));
  proofs?.learn(data.dpop, sentAt);
  if (data) become({ state: "signed-in", session: data });
  return data;
}

export function onSession(callback) {
  listen();
  listeners.add(callback);
  return () => listeners.delete(callback);
}

export function login(options = {}) {
  const next = options.next ?? location.href.replace(location.origin, "");
  location.assign(address(options.loginUrl ?? LOGIN, { ...options, next }) ?? LOGIN);
}

export function takeLoginError() {
  const url = new URL(location);
  const error = url.searchParams.get("bff_error");
  url.searchParams.delete("bff_error");
  if (error !== null) history.replaceState(history.state, "", url);
  return error;
}

export async function logout() {
  tokens = new Map();
  const { data } = await ask("/bff/logout", "logout_url", { method: "POST" }).catch(nobody);
  become({ state: "ended", session: null });
  if (data) location.assign(data.logout_url);
}

async function renew(path, refused) {
  try {
    const headers = refused && { "TMIBFF-Refused": await sha256(refused) };
    const { data, sentAt } = await ask(path, "access_token", { headers }, inTurn);
    data.expires_in ??= Infinity;
    data.expiresAt = sentAt + data.expires_in * 1000;
    data.renewAt = data.expiresAt - Math.min(30_000, data.expires_in * 500);
    tokens.set(path, data);
    session ??= undefined; // Not nobody.
    return data;
  } finally {
    pending.delete(path);
  }
}

async function sha256(text) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const base64 = btoa(String.fromCharCode(...new Uint8Array(digest)));
  return base64.replaceAll("+", "-").replaceAll("/", "_").replace("=", "");
}

async function send(input, init, resource, token) {
  const request = new Request(input.clone?.() ?? input, { ...init, redirect: "manual" });
  const { origin } = new URL(request.url);
  const named = list(resource).map((one) => new URL(one).origin);
  if (origin === "null" || !named.concat(token.origins).includes(origin)) {
    const setting = named[0] ? '"origins" of TMIBFF_RESOURCES' : "TMIBFF_ORIGINS";
    throw failure("origin_not_named", `${origin} gets no token: it is not in ${setting}.`);
  }
  request.headers.set("Authorization", `Bearer ${token.access_token}`);
  const response = await (/^dpop$/i.test(token.token_type) ? proofs.call : fetch)(request);
  // Some browsers would take the token along.
  if (response.type !== "opaqueredirect") return response;
  throw failure("redirect_refused", `${origin} redirects: no token follows.`);
}

function challenge({ status, headers }) {
  const said = status === 401 && headers.get("WWW-Authenticate");
  const members = (said || "").matchAll(/(\w+)=(?:"([^"]*)|([^\s,]*))/g);
  return Object.fromEntries(Array.from(members, ([, name, quoted, bare]) => [name, quoted ?? bare]));
}

const failure = (error, error_description) => new TmibffError({ error, error_description });

function nobody(error) {
  if (error.error !== "invalid_session") throw error;
  return { data: null };
}

async function ask(path, needed, init, turn = (work) => work()) {
  listen();
  for (let retries = 0, learnt; ; ) {
    const before = tokens;
    const answer = await turn(() => askOnce(path, needed, init));
    if (before !== tokens) continue; // It was about another session.
    if (answer.data) return answer;
    const { error, retryAfter = 0 } = answer;
    if (error === "invalid_dpop_proof" && !learnt) {
      learnt = await getSession();
      if (learnt) continue;
    }
    if (error === "invalid_session") become({ state: "expired", session: null });
    if (error !== "temporarily_unavailable" || retries > 1 || retryAfter > 10) throw answer;
    const seconds = Math.max(retryAfter, 2 ** retries++) * (1 + Math.random() / 2);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}

async function askOnce(path, needed, init) {
  let said = { error: "temporarily_unavailable" };
  let retryAfter;
  try {
    const sentAt = Date.now();
    const asks = (needed === "access_token" && proofs?.ask) || fetch;
    const response = await asks(address(path), {
      ...init,
      headers: { ...init?.headers, "X-Requested-With": "tmibff" },
      redirect: "error",
      signal: AbortSignal.timeout(60_000),
    });
    retryAfter = Number(response.headers.get("Retry-After")) || undefined;
    const data = await response.json();
    if (response.ok && (needed ? data[needed] : data)) return { data, sentAt };
    if (data.error) said = data;
  } catch {
    // No connection, or no JSON.
  }
  return new TmibffError(said, { retryAfter });
}

// One tab at a time: the others are then served the same. One that hangs stops nobody.
function inTurn(work) {
  const options = { signal: AbortSignal.timeout(10_000) };
  return navigator.locks?.request("tmibff", options, work).catch(work) ?? work();
}

const identity = (info) => info && JSON.stringify({ ...info, exp: 0, dpop: 0 });

function become(event, heard) {
  const before = session;
  session = event.session;
  if (identity(before) === identity(session)) return;
  tokens.clear();
  // The first calls of a page are about one session.
  if (before !== undefined || !session || heard) tokens = new Map();
  listeners.forEach(async (listener) => listener(event)); // One that throws stops no other.
  if (!heard) tabs.postMessage(event);
}

function listen() {
  if (tabs) return;
  tabs = new BroadcastChannel("tmibff");
  tabs.onmessage = ({ data }) => become(data, true);
  addEventListener("pagehide", () => tokens.clear()); // Going back must not bring them back.
}

const list = (values = []) => [...new Set([values].flat().join(" ").match(/\S+/g))].sort();

function address(path, options = {}) {
  const { resource, scope, acrValues, maxAge, prompt, loginHint, provider, next } = options;
  const query = {
    scope: list(scope).join(" ") || undefined,
    acr_values: acrValues,
    max_age: maxAge,
    prompt,
    login_hint: loginHint,
    provider,
    next,
  };
  const url = new URL(path, location.origin);
  if (url.origin !== location.origin) return undefined;
  for (const one of list(resource)) url.searchParams.append("resource", one);
  for (const name in query) if (query[name] != null) url.searchParams.set(name, query[name]);
  return url.href;
}
