// The service worker: it keeps the page for use without a network, and gives its files three headers that static
// servers lack. Two of them let WebAssembly use threads; the third forbids the worker to reach any other host.

const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Content-Security-Policy":
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; media-src 'self' blob:; " +
    "connect-src 'self' blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'",
};

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && new URL(request.url).origin === self.location.origin) {
    event.respondWith(answer(request));
  }
});

/** Answer from the server, or without a network with what it answered last. */
async function answer(request) {
  const cache = await caches.open("fomm");
  let found;
  try {
    found = await fetch(request);
    if (found.status === 200) await cache.put(request, found.clone());
  } catch {
    found = await cache.match(request);
  }
  if (!found) return Response.error();
  const headers = new Headers(found.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}
