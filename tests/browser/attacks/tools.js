// What the means are made of.

// Milliseconds: on a busy machine much takes long.
const PATIENCE = 30000;

const FORM = "application/x-www-form-urlencoded";
const JSON_TYPE = "application/json";

// {fields, redirector, proof}: what a form says, an address of the attacker's that redirects, and a
// DPoP proof of the attacker's own key.
let settings;

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// Resolves with the first of those events.
const event = (target, ...names) =>
  Promise.race([
    ...names.map((name) => new Promise((done) => target.addEventListener(name, done))),
    wait(PATIENCE).then(() => ({ type: "nothing happened" })),
  ]);

async function until(condition) {
  const end = Date.now() + PATIENCE;
  while (!condition() && Date.now() < end) await wait(20);
}

// What `look` returns; its error's name where the browser forbids to look.
function attempt(look) {
  try {
    return look() ?? null;
  } catch (error) {
    return { forbidden: error.name };
  }
}

const text = (value) => (typeof value === "string" && value !== "" ? value : null);

const joined = (list, each) => text([...(list ?? [])].map(each).join(""));

function make(tag, attributes = {}, parent = document.body) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent.append(element);
  return element;
}

// ---- Requests --------------------------------------------------------------------------------

const fetched = (options, prepare = (url) => url) => async (url) => {
  const response = await fetch(prepare(url), { credentials: "include", ...options });
  const seen = { type: response.type, status: response.status, headers: [...response.headers] };
  return { ...seen, read: text(await response.text()) };
};

const body = (type) => ({
  method: "POST",
  headers: { "Content-Type": type },
  body:
    type === FORM ? String(new URLSearchParams(settings.fields)) : JSON.stringify(settings.fields),
});

const byTheAttacker = (url) => settings.redirector + encodeURIComponent(url);

function byTheSite(url) {
  const { origin, pathname, search } = new URL(url);
  return `${origin}/go?to=${encodeURIComponent(pathname + search)}`;
}

// ---- Elements --------------------------------------------------------------------------------

// An element that loads the address by itself.
const element = (tag, attributes, look = () => ({})) => async (url) => {
  const made = make(tag, attributes(url), document.createDocumentFragment());
  const heard = event(made, "load", "error", "loadedmetadata");
  document.body.append(made);
  const { type } = await heard;
  const seen = { event: type, ...look(made), width: made.naturalWidth || made.videoWidth || 0 };
  made.remove();
  return seen;
};

const rules = (sheet) => joined(sheet?.cssRules, (rule) => rule.cssText);

const sheetOf = (made) => ({ read: attempt(() => rules(made.sheet)) });

const speculation = (how) => async (url) => {
  const script = make("script", { type: "speculationrules" });
  script.textContent = JSON.stringify({ [how]: [{ urls: [url], eagerness: "immediate" }] });
};

// ---- Frames and windows ----------------------------------------------------------------------

// Whether that is an address of the page's own: nothing has come yet.
const isOwn = (address) => ["about:blank", location.href].includes(address);

// A frame or a window, seen from the page that made it.
function windowOf(seen) {
  if (!seen) return { opened: false };
  const address = attempt(() => seen.location.href);
  return {
    address,
    read: isOwn(address) ? null : attempt(() => seen.document.documentElement.outerHTML),
    frames: attempt(() => seen.length),
    closed: attempt(() => seen.closed),
  };
}

const isElsewhere = (seen) => {
  const address = attempt(() => seen.location.href);
  const state = attempt(() => seen.document.readyState);
  return seen.closed || (!isOwn(address) && state !== "loading" && state !== "interactive");
};

const frameOf = (made) => ({
  ...windowOf(made.contentWindow),
  document: attempt(() => made.contentDocument?.URL),
});

let names = 0;

// An empty frame that something can be sent to by its name.
function frame(attributes = {}) {
  names += 1;
  return make("iframe", { name: `frame-${names}`, ...attributes });
}

async function inFrame(made, send) {
  const heard = event(made, "load");
  send(made.name);
  await heard;
  const seen = frameOf(made);
  made.remove();
  return seen;
}

async function seenIn(opened) {
  if (opened) await until(() => isElsewhere(opened));
  const seen = windowOf(opened);
  opened?.close();
  return seen;
}

function inWindow(send) {
  names += 1;
  const opened = open("about:blank", `window-${names}`);
  if (opened) send(opened, opened.name);
  return seenIn(opened);
}

function submit(url, method, enctype, target) {
  const form = make("form", { method, enctype, target, action: url });
  const query = method === "GET" ? new URL(url).searchParams : [];
  for (const [name, value] of [...query, ...Object.entries(settings.fields)]) {
    make("input", { type: "hidden", name, value }, form);
  }
  form.submit();
}

function click(url, attributes) {
  make("a", { href: url, ...attributes }).click();
}

// A frame that shows a page of the attacked site.
async function framedPage(url) {
  const made = frame();
  const heard = event(made, "load");
  made.src = new URL("/page", url);
  await heard;
  return made;
}

const steered = (send) => async (url) => {
  const made = await framedPage(url);
  return inFrame(made, (name) => send(url, name, made));
};

const formInFrame = (enctype) => (url) =>
  inFrame(frame(), (target) => submit(url, "POST", enctype, target));

const formInWindow = (enctype) => (url) =>
  inWindow((opened, target) => submit(url, "POST", enctype, target));

// ---- Workers ---------------------------------------------------------------------------------

let registration;

async function serviceWorker() {
  registration ??= navigator.serviceWorker.register("/worker.js").then(async (found) => {
    const worker = found.active ?? found.waiting ?? found.installing;
    await until(() => worker.state === "activated");
    return worker;
  });
  return registration;
}

const inServiceWorker = (options) => async (url) => {
  const worker = await serviceWorker();
  const { port1, port2 } = new MessageChannel();
  worker.postMessage({ url, options }, [port2]);
  port1.start();
  return (await event(port1, "message")).data ?? null;
};

const WORKER = `onmessage = async ({ data: [act, url] }) => {
  try {
    if (act === "import") { importScripts(url); postMessage({}); }
    else {
      const response = await fetch(url, { credentials: "include" });
      postMessage({ status: response.status, read: await response.text() });
    }
  } catch (error) { postMessage({ error: error.name }); }
}`;

const inWorker = (act) => async (url) => {
  const worker = new Worker(URL.createObjectURL(new Blob([WORKER])));
  worker.postMessage([act, url]);
  const { data } = await event(worker, "message", "error");
  worker.terminate();
  return data ?? null;
};
