// The means: what a page can do with the address of an endpoint. What each returns is what its
// script got hold of: `read` is what was in the answer, the rest what could be seen from outside.

const image = element("img", (src) => ({ src }));
const framed = element("iframe", (src) => ({ src }), frameOf);
const sentOn = (url) =>
  inWindow((opened) => {
    opened.location = url;
  });
const withCookies = { crossorigin: "use-credentials" };

const MEANS = {
  Requests: {
    "`fetch`, mode `cors`": fetched({ mode: "cors" }),
    "`fetch`, mode `no-cors`": fetched({ mode: "no-cors" }),
    "`fetch`, mode `same-origin`": fetched({ mode: "same-origin" }),
    "`fetch`, mode `navigate`": fetched({ mode: "navigate" }),
    "`fetch`, redirects by hand": fetched({ redirect: "manual" }),
    "`fetch` with a header": (url) => fetched({ headers: { DPoP: settings.proof } })(url),
    "`fetch`, `keepalive`": fetched({ mode: "no-cors", keepalive: true }),
    "`fetch`, POST of a form": (url) => fetched(body(FORM))(url),
    "`fetch`, POST of a form, `no-cors`": (url) => fetched({ ...body(FORM), mode: "no-cors" })(url),
    "`fetch`, POST of JSON": (url) => fetched(body("application/json"))(url),
    "`fetch`, PUT": fetched({ method: "PUT" }),
    "`fetchLater`": async (url) => fetchLater(url, { credentials: "include", activateAfter: 0 }),
    "`XMLHttpRequest`": async (url) => {
      const request = new XMLHttpRequest();
      request.open("GET", url);
      request.withCredentials = true;
      request.send();
      await event(request, "loadend");
      const { status, responseText } = request;
      return { status, headers: request.getAllResponseHeaders(), read: text(responseText) };
    },
    "`EventSource`": async (url) => {
      const source = new EventSource(url, { withCredentials: true });
      const { type, data } = await event(source, "message", "error");
      source.close();
      return { event: type, read: text(data) };
    },
    "`WebSocket`": async (url) => {
      const socket = new WebSocket(url.replace(/^http/, "ws"));
      const { type, data } = await event(socket, "message", "error");
      return { event: type, read: text(data) };
    },
    "`sendBeacon`, urlencoded": async (url) =>
      navigator.sendBeacon(url, new URLSearchParams(settings.fields)),
    "`sendBeacon`, multipart": async (url) => {
      const data = new FormData();
      for (const [name, value] of Object.entries(settings.fields)) data.set(name, value);
      return navigator.sendBeacon(url, data);
    },
    "`sendBeacon`, plain": async (url) =>
      navigator.sendBeacon(url, JSON.stringify(settings.fields)),
    "`sendBeacon`, JSON": async (url) =>
      navigator.sendBeacon(url, new Blob([JSON.stringify(settings.fields)], { type: JSON_TYPE })),
    "`<a ping>`": async (url) => click("about:blank#pinged", { ping: url, target: frame().name }),
  },

  Elements: {
    "`<script>`": element("script", (src) => ({ src })),
    "`<script crossorigin>`": element("script", (src) => ({ src, ...withCookies })),
    "`<script type=module>`": element("script", (src) => ({ src, type: "module", ...withCookies })),
    "`import()`": async (url) => ({ read: JSON.stringify(await import(url)) }),
    "`import()` of JSON": async (url) => {
      const found = await import(url, { with: { type: "json" } });
      return { read: JSON.stringify(found) };
    },
    "`<img>`": image,
    "`<img crossorigin>`": element("img", (src) => ({ src, ...withCookies })),
    "`<input type=image>`": element("input", (src) => ({ type: "image", src })),
    "`<video>`": element("video", (src) => ({ src })),
    "`<audio>`": element("audio", (src) => ({ src })),
    "`<video poster>`": async (url) => {
      make("video", { poster: url });
    },
    "`<track>`": async (url) => {
      const { track } = make("track", { default: "", src: url }, make("video", withCookies));
      track.mode = "showing";
      const { type } = await event(document.querySelector(`track[src="${url}"]`), "load", "error");
      return { event: type, read: attempt(() => joined(track.cues, (cue) => cue.text)) };
    },
    "SVG `<image>`": async (url) => {
      const host = make("div");
      host.innerHTML = `<svg><image href="${url}"/></svg>`;
      return { event: (await event(host.querySelector("image"), "load", "error")).type };
    },
    "SVG `<use>`": async (url) => {
      make("div").innerHTML = `<svg><use href="${url}#x"/></svg>`;
    },
    "CSS `background`": async (url) => {
      make("div", { style: `background: url("${url}"); width: 9px; height: 9px` });
    },
    "CSS `@import`": async (url) => {
      const style = make("style");
      style.textContent = `@import url("${url}");`;
      await event(style, "load", "error");
      return { read: attempt(() => rules(style.sheet.cssRules[0].styleSheet)) };
    },
    "CSS `@font-face`": async (url) => {
      await new FontFace("loot", `url("${url}")`).load();
    },
    "`<link rel=stylesheet>`": element("link", (href) => ({ rel: "stylesheet", href }), sheetOf),
    "`<link rel=stylesheet crossorigin>`": element(
      "link",
      (href) => ({ rel: "stylesheet", href, ...withCookies }),
      sheetOf,
    ),
    "`<link rel=preload>`": element("link", (href) => ({ rel: "preload", as: "script", href })),
    "`<link rel=preload as=fetch>`": element("link", (href) => ({
      rel: "preload",
      as: "fetch",
      href,
      ...withCookies,
    })),
    "`<link rel=modulepreload>`": element("link", (href) => ({
      rel: "modulepreload",
      href,
      ...withCookies,
    })),
  },

  Frames: {
    "`<object>`": element("object", (data) => ({ data, type: "text/html" }), frameOf),
    "`<embed>`": element("embed", (src) => ({ src, type: "text/html" })),
    "`<iframe>`": framed,
    "`<iframe sandbox>`": element(
      "iframe",
      (src) => ({ src, sandbox: "allow-scripts allow-same-origin" }),
      frameOf,
    ),
    "`<iframe credentialless>`": element("iframe", (src) => ({ credentialless: "", src }), frameOf),
    "form GET": (url) => inFrame(frame(), (name) => submit(url, "GET", FORM, name)),
    "form POST, urlencoded": formInFrame(FORM),
    "form POST, multipart": formInFrame("multipart/form-data"),
    "form POST, plain": formInFrame("text/plain"),
    "a frame of the site's page, sent on": steered((url, name, made) => {
      made.contentWindow.location = url;
    }),
    "a frame of the site's page, by a link": steered((url, target) => click(url, { target })),
    "a frame of the site's page, by `window.open`": steered((url, name) => open(url, name)),
    "a frame of the site's page, by a form POST": steered((url, name) =>
      submit(url, "POST", FORM, name),
    ),
  },

  Workers: {
    "a worker, `fetch`": inWorker("fetch"),
    "a worker, `importScripts`": inWorker("import"),
    "`new Worker`": async (url) => ({
      event: (await event(new Worker(url), "message", "error")).type,
    }),
    "a service worker, mode `cors`": inServiceWorker({ mode: "cors" }),
    "a service worker, mode `no-cors`": inServiceWorker({ mode: "no-cors" }),
    "`serviceWorker.register`": async (url) => ({
      scope: (await navigator.serviceWorker.register(url)).scope,
    }),
    "`Cache.add`": async (url) => {
      const cache = await caches.open("loot");
      await cache.add(new Request(url, { mode: "no-cors", credentials: "include" }));
      const kept = await cache.match(url, { ignoreVary: true });
      return { type: kept.type, read: text(await kept.text()) };
    },
  },

  Redirects: {
    "the attacker's redirect, `fetch`": fetched({ mode: "cors" }, byTheAttacker),
    "the attacker's redirect, `<img>`": (url) => image(byTheAttacker(url)),
    "the attacker's redirect, `<iframe>`": (url) => framed(byTheAttacker(url)),
    "the site's own redirect, `fetch`": fetched({ mode: "cors" }, byTheSite),
    "the site's own redirect, `fetch`, `no-cors`": fetched({ mode: "no-cors" }, byTheSite),
    "the site's own redirect, `<img>`": (url) => image(byTheSite(url)),
    "the site's own redirect, `<iframe>`": (url) => framed(byTheSite(url)),
  },

  Windows: {
    "`window.open`": (url) => seenIn(open(url)),
    "`window.open`, `noopener`": async (url) => windowOf(open(url, "_blank", "noopener")),
    "`view-source:`": (url) => seenIn(open(`view-source:${url}`)),
    "a window, sent on": sentOn,
    "a link": (url) => inWindow((opened, target) => click(url, { target })),
    "`<meta http-equiv=refresh>`": (url) =>
      inWindow((opened) => {
        opened.document.write(`<meta http-equiv="refresh" content="0; url=${url}">`);
        opened.document.close();
      }),
    "form GET, in a window": (url) =>
      inWindow((opened, target) => submit(url, "GET", FORM, target)),
    "form POST, urlencoded, in a window": formInWindow(FORM),
    "form POST, multipart, in a window": formInWindow("multipart/form-data"),
    "form POST, plain, in a window": formInWindow("text/plain"),
    "the attacker's redirect, in a window": (url) => sentOn(byTheAttacker(url)),
    "the site's own redirect, in a window": (url) => sentOn(byTheSite(url)),
  },
  Speculation: {
    "`<link rel=prefetch>`": element("link", (href) => ({ rel: "prefetch", href })),
    "`<link rel=prerender>`": async (url) => {
      make("link", { rel: "prerender", href: url });
    },
    "speculation rules, prefetch": speculation("prefetch"),
    "speculation rules, prerender": speculation("prerender"),
  },
};
