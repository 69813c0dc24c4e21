import assert from "node:assert/strict";
import { test } from "node:test";

import { websocketUrl } from "../src/url";

const cases = [
  ["/", "http://example.com/a/b", "ws://example.com/"],
  ["/status/users/", "http://example.com:8000/a", "ws://example.com:8000/status/users/"],
  ["/status/users/", "https://example.com/a", "wss://example.com/status/users/"],
  ["users/?a=1", "https://example.com/status/#here", "wss://example.com/status/users/?a=1"],
  ["wss://other.example/x", "http://example.com/", "wss://other.example/x"],
  ["https://other.example/x#y", "http://example.com/", "wss://other.example/x"],
] as const;

for (const [url, base, expected] of cases) {
  test(`${url} on ${base}`, () => assert.equal(websocketUrl(url, base), expected));
}
