/** The ways by which files come to the page: chosen, dropped or pasted. */

export interface Listener {
  /** One file or several. */
  files(files: readonly File[]): void;
  /** Something was dropped or pasted that is no file. */
  nothing(): void;
}

export function listen(input: HTMLInputElement, listener: Listener): void {
  input.addEventListener("change", () => {
    const files = [...(input.files ?? [])];
    if (files.length > 0) listener.files(files);
    input.value = ""; // the same file may be chosen again
  });
  listenToPaste(listener);
  listenToDrop(listener);
}

function listenToPaste(listener: Listener): void {
  document.addEventListener("paste", (event) => {
    if (!(event.target instanceof HTMLInputElement)) take(event.clipboardData, listener); // a token is text
  });
}

/** The whole page takes what is dropped: beside the frame, a browser would leave the page for the file. */
function listenToDrop(listener: Listener): void {
  const { classList } = document.body;
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    classList.add("dragging");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) classList.remove("dragging");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    classList.remove("dragging");
    take(event.dataTransfer, listener);
  });
}

function take(data: DataTransfer | null, listener: Listener): void {
  const files = [...(data?.files ?? [])];
  if (files.length > 0) listener.files(files);
  else listener.nothing();
}
