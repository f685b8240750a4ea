// Loaded by tmibff.js where bff-sessioninfo says that tokens can be bound to a key (RFC 9449).

const nonces = new Map(); // what each origin wants next
let endpoint;
let ahead = 0; // the server's clock, in seconds
let signer;

export function learn({ token_endpoint, nonce, now }, sentAt) {
  endpoint = token_endpoint;
  ahead = now - sentAt / 1000;
  if (nonce) nonces.set(new URL(endpoint).origin, nonce);
}

// The proof is for the authorization server, for whom the backend speaks.
export async function ask(url, init) {
  const sent = async () => {
    const headers = { ...init.headers, DPoP: await proof("POST", endpoint) };
    return fetch(url, { ...init, headers });
  };
  const response = await sent();
  return wantsNonce(response, endpoint) && response.status === 400 ? sent() : response;
}

export async function call(request) {
  const again = request.clone();
  const response = await bound(request);
  const said = response.headers.get("WWW-Authenticate");
  return wantsNonce(response, request.url) && /use_dpop_nonce/.test(said) ? bound(again) : response;
}

export async function proof(htm, url, accessToken) {
  const { origin, pathname } = new URL(url);
  const { privateKey, jwk } = await (signer ??= load());
  const claims = {
    htm,
    htu: origin + pathname,
    iat: Math.floor(Date.now() / 1000 + ahead),
    jti: crypto.randomUUID(),
    nonce: nonces.get(origin),
    ath: accessToken && base64url(await crypto.subtle.digest("SHA-256", bytes(accessToken))),
  };
  const parts = [{ typ: "dpop+jwt", alg: "ES256", jwk }, claims];
  const text = parts.map((part) => base64url(bytes(JSON.stringify(part)))).join(".");
  const algorithm = { name: "ECDSA", hash: "SHA-256" };
  return `${text}.${base64url(await crypto.subtle.sign(algorithm, privateKey, bytes(text)))}`;
}

async function bound(request) {
  const { method, url, headers } = request;
  const accessToken = headers.get("Authorization").replace(/^\w+ /, "");
  headers.set("Authorization", `DPoP ${accessToken}`);
  headers.set("DPoP", await proof(method, url, accessToken));
  return fetch(request);
}

function wantsNonce({ headers }, url) {
  const nonce = headers.get("DPoP-Nonce");
  if (nonce) nonces.set(new URL(url).origin, nonce);
  return nonce;
}

// One key for all tabs, which no script can read; where nothing is kept, one for this page.
async function load() {
  const made = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, [
    "sign",
  ]);
  const { privateKey, publicKey } = await kept(made).catch(() => made);
  const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", publicKey);
  return { privateKey, jwk: { kty, crv, x, y } };
}

async function kept(made) {
  const opening = indexedDB.open("tmibff");
  opening.onupgradeneeded = () => opening.result.createObjectStore("keys");
  const database = await done(opening);
  // One transaction: of two tabs that begin at once the second one finds the first one's.
  const keys = database.transaction("keys", "readwrite").objectStore("keys");
  const found = await done(keys.get("dpop"));
  if (!found) await done(keys.add(made, "dpop"));
  database.close();
  return found ?? made;
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

const bytes = (text) => new TextEncoder().encode(text);

function base64url(buffer) {
  const base64 = btoa(String.fromCharCode(...new Uint8Array(buffer)));
  return base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
