/** Fetches files of the models. A service with a token refuses them without it; other hosts ask for none. */

import { elements } from "./elements";

/** Stored nowhere else: the next visitor of this browser is asked again. */
let token = "";

/** Whether the host asked for a token. */
export function needsToken(): boolean {
  return token !== "";
}

/** Fetches a file, and asks the visitor for the token until the host accepts it. */
export async function fetchModelFile(name: string): Promise<Response> {
  for (;;) {
    const response = await fetch(name, token === "" ? {} : { headers: { Authorization: `Bearer ${token}` } });
    if (response.ok) return response;
    if (response.status !== 401) throw new Error(`${name}: ${response.status} ${response.statusText}`);
    token = await askForToken();
  }
}

async function askForToken(): Promise<string> {
  const { access, refused, state } = elements;
  const before = state.textContent;
  refused.textContent = token === "" ? "" : "The service has another token.";
  state.textContent = "Waiting for the token.";
  access.hidden = false;
  elements.token.focus();
  const given = await new Promise<string>((resolve) => {
    const submitted = (event: Event) => {
      event.preventDefault();
      resolve(elements.token.value);
    };
    access.addEventListener("submit", submitted, { once: true });
  });
  access.hidden = true;
  state.textContent = before;
  return given;
}
