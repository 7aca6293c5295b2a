/** Keeps the page for offline use. */

/** Resolves to true once all files are kept; to false where the browser keeps none, as over plain http. */
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
