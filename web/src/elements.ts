/** The elements of index.html that the page writes to or listens to. */

function element<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return found;
}

export const elements = {
  access: element("access", HTMLFormElement),
  token: element("token", HTMLInputElement),
  refused: element("refused", HTMLElement),
  invitation: element("invitation", HTMLElement),
  picture: element("picture", HTMLCanvasElement),
  video: element("video", HTMLVideoElement),
  caption: element("caption", HTMLElement),
  file: element("file", HTMLInputElement),
  camera: element("camera", HTMLButtonElement),
  problem: element("problem", HTMLElement),
  waiting: element("waiting", HTMLElement),
  result: element("result", HTMLElement),
  unsure: element("unsure", HTMLElement),
  scores: element("scores", HTMLElement),
  seen: element("seen", HTMLCanvasElement),
  seenCaption: element("seen-caption", HTMLElement),
  times: element("times", HTMLElement),
  many: element("many", HTMLElement),
  tally: element("tally", HTMLElement),
  rows: element("rows", HTMLTableSectionElement),
  unlisted: element("unlisted", HTMLElement),
  save: element("save", HTMLButtonElement),
  announcement: element("announcement", HTMLElement),
  choice: element("choice", HTMLElement),
  network: element("network", HTMLSelectElement),
  figures: element("figures", HTMLElement),
  limits: element("limits", HTMLElement),
  state: element("state", HTMLElement),
};
