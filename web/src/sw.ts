/**
 * The service worker: keeps the page's files, so that it works offline.
 *
 * `cifar-edge web` writes a line before this code that sets `PRECACHE`. Its version is a hash of all files: any change
 * makes another worker, which fills a cache of its own and takes over when the last tab of the old page is closed.
 */

interface Precache {
  readonly version: string;
  readonly files: readonly string[];
}

declare const self: ServiceWorkerGlobalScope & { readonly PRECACHE: Precache };

// The scope is part of the name: one host may serve several of these pages.
const prefix = `cifar-edge ${self.registration.scope} `;
const name = prefix + self.PRECACHE.version;
const addresses = new Set(self.PRECACHE.files.map((file) => new URL(file, self.registration.scope).href));

self.addEventListener("install", (event) => {
  // "no-cache": what the browser holds of an older page is asked for anew, what is still the same is not sent again.
  const requests = [...addresses].map((address) => new Request(address, { cache: "no-cache" }));
  event.waitUntil(caches.open(name).then((cache) => cache.addAll(requests)));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(removeOthers());
});

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const address = url.replace(/[?#].*$/, "").replace(/\/index\.html$/, "/");
  if (method === "GET" && addresses.has(address)) event.respondWith(kept(address, event.request));
});

async function removeOthers(): Promise<void> {
  const others = (await caches.keys()).filter((other) => other.startsWith(prefix) && other !== name);
  await Promise.all(others.map((other) => caches.delete(other)));
}

async function kept(address: string, request: Request): Promise<Response> {
  return (await (await caches.open(name)).match(address)) ?? fetch(request);
}

export {};
