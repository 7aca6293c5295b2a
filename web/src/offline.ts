/** Keeps the page for offline use. */

/** Whether all files are kept, once they are. Some browsers keep none: of a page that came by plain http, for one. */
export async function keepOffline(): Promise<boolean> {
  if (!("serviceWorker" in navigator)) return false;
  try {
    await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
  } catch {
    return false;
  }
  await navigator.serviceWorker.ready;
  return true;
}
