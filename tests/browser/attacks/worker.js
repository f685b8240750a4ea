// A service worker that fetches what it is told to.
addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("message", async ({ data, ports: [port] }) => {
  try {
    const response = await fetch(data.url, { credentials: "include", ...data.options });
    port.postMessage({ type: response.type, status: response.status, read: await response.text() });
  } catch (error) {
    port.postMessage({ error: error.name });
  }
});
