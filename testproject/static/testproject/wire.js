// What goes over the wire from this page, whoever sends it.

const send = globalThis.fetch;

/**
 * Tell `callback` of every request when its answer is there: method, url, status, data (of JSON),
 * milliseconds. The status is 0 when nobody answered.
 */
export function watch(callback) {
  globalThis.fetch = async (input, options) => {
    const started = performance.now();
    const line = {
      method: options?.method ?? input.method ?? "GET",
      url: new URL(input.url ?? input, location.origin),
      status: 0,
      data: {},
    };
    try {
      const response = await send(input, options);
      line.status = response.status;
      line.data = await response.clone().json().catch(() => ({}));
      return response;
    } finally {
      callback({ ...line, milliseconds: performance.now() - started });
    }
  };
}
