/** The ws: or wss: URL that `url` means on a page at `base`. */
export function websocketUrl(url: string, base: string): string {
  const absolute = new URL(url, base);
  absolute.protocol = absolute.protocol.replace("http", "ws");
  absolute.hash = "";
  return absolute.href;
}
