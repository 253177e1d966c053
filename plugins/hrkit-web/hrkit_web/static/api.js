// Calls to the server. The token follows the # of the address and stays in this tab.

const fromAddress = new URLSearchParams(location.hash.slice(1)).get("token");
if (fromAddress) {
  sessionStorage.setItem("token", fromAddress);
  history.replaceState(null, "", location.pathname);
}

const token = () => sessionStorage.getItem("token");

/** A successful response; throws an Error with a one-line reason otherwise. */
export async function request(path, options = {}) {
  const headers = token() ? { authorization: `Bearer ${token()}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it running?");
  }
  if (response.ok) return response;
  throw new Error(await reason(response));
}

async function reason(response) {
  if (response.status === 401) return "This server needs a token. Open the address that hrkit web printed.";
  const body = await response.json().catch(() => ({}));
  const detail = Array.isArray(body.detail) ? body.detail[0]?.msg : body.detail;
  return detail ? sentence(detail) : `The server answered ${response.status}.`;
}

export function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

/** A form with one file. */
export function form(field, file) {
  const body = new FormData();
  body.append(field, file);
  return body;
}

/** The objects of an answer with one per line, as they arrive. */
export async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    const parts = (rest + (value ?? "")).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
    if (done) return;
  }
}

/** The WebSocket for a camera. */
export function liveSocket(parameters) {
  const address = new URL(`/v1/live?${parameters}`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address, token() ? ["hrkit", `token.${token()}`] : ["hrkit"]);
  socket.binaryType = "arraybuffer";
  return socket;
}
