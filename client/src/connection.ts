/**
 * What a connection does next, decided without I/O, clock or randomness: events, the time and a random number go
 * in, effects come out. `raceway.ts` holds the WebSocket, the clock and the dice.
 */

export type State = "connecting" | "open" | "waiting" | "closed";

export type Data = string | ArrayBuffer;

export type Event =
  | { type: "connect" }
  | { type: "opened" }
  | { type: "received"; data: Data }
  | { type: "lost"; code: number; reason: string }
  | { type: "send"; data: string }
  | { type: "online" }
  | { type: "close" };

/** Where a connection stands. `code` and `reason` say how the last socket ended, `retryInMs` when the next begins. */
export interface Status {
  state: State;
  code?: number;
  reason?: string;
  retryInMs?: number;
}

export type Effect =
  | { type: "open" }
  | { type: "transmit"; data: string }
  | { type: "deliver"; data: Data }
  | { type: "shut" }
  | { type: "refuse"; data: string }
  | { type: "report"; status: Status };

export interface Limits {
  /** The first wait is at most this long, and each further one at most twice as long as the one before ... */
  firstDelayMs: number;
  /** ... up to this. */
  longestDelayMs: number;
  /** A socket that stayed open for so long was a success: the waits begin small again. */
  stableAfterMs: number;
  /** A handshake that takes longer is given up. */
  openTimeoutMs: number;
  /** Messages kept while there is no open socket; when there are so many, a new one is refused. */
  queuedMessages: number;
}

export const LIMITS: Limits = {
  firstDelayMs: 1_000,
  longestDelayMs: 30_000,
  stableAfterMs: 5_000,
  openTimeoutMs: 10_000,
  queuedMessages: 100,
};

/**
 * Close codes after which the same attempt would end the same way: the server is done (1000), or refuses the
 * protocol (1002, 1003, 1010), the client (1008), or, like HTTP's 4xx, this request (4400 to 4499).
 * RFC 6455, section 7.4.1.
 */
const FINAL = new Set([1000, 1002, 1003, 1008, 1010]);

function isFinal(code: number): boolean {
  return FINAL.has(code) || (code >= 4400 && code <= 4499);
}

/** Restarting (1012) and overloaded (1013) servers: everybody comes back at once, so spread at least this wide. */
const SPREAD_MS: Record<number, number> = { 1012: 5_000, 1013: 15_000 };

/** The browser reports 1006 when a socket ended without a close frame; so does a handshake that we gave up. */
const ABNORMAL = 1006;

export class Connection {
  state: State = "closed";

  /** When to call `wake`, in milliseconds on the caller's clock. */
  deadline: number | null = null;

  private attempts = 0;
  private openedAt = 0;
  private queue: string[] = [];

  constructor(private readonly limits: Limits = LIMITS) {}

  /** Something happened at `now`; `random` is in [0, 1). */
  receive(event: Event, now: number, random: number): Effect[] {
    switch (event.type) {
      case "connect":
        return this.state === "closed" ? this.open(now) : [];
      case "opened":
        return this.state === "connecting" ? this.opened(now) : [];
      case "received":
        return this.state === "open" ? [{ type: "deliver", data: event.data }] : [];
      case "lost":
        return this.lost(event.code, event.reason, now, random);
      case "send":
        return this.send(event.data);
      case "online":
        return this.state === "waiting" ? this.open(now) : [];
      case "close":
        return this.close();
    }
  }

  /** The time may have come. */
  wake(now: number, random: number): Effect[] {
    if (this.deadline === null || now < this.deadline) return [];
    if (this.state === "waiting") return this.open(now);
    return [
      { type: "shut" },
      ...this.lost(ABNORMAL, "the server did not answer in time", now, random),
    ];
  }

  private open(now: number): Effect[] {
    this.state = "connecting";
    this.deadline = now + this.limits.openTimeoutMs;
    return [{ type: "open" }, this.report()];
  }

  private opened(now: number): Effect[] {
    this.state = "open";
    this.deadline = null;
    this.openedAt = now;
    // What waited goes first: whoever hears the report may send at once.
    const queued = this.queue.splice(0);
    return [...queued.map((data): Effect => ({ type: "transmit", data })), this.report()];
  }

  private lost(code: number, reason: string, now: number, random: number): Effect[] {
    if (this.state !== "connecting" && this.state !== "open") return [];
    if (isFinal(code)) return [this.end(code, reason)];
    if (this.state === "open" && now - this.openedAt >= this.limits.stableAfterMs) this.attempts = 0;
    // Full jitter: anywhere between now and the longest wait, so that clients which were lost together come back
    // one by one.
    const window = Math.min(this.limits.firstDelayMs * 2 ** this.attempts, this.limits.longestDelayMs);
    const retryInMs = Math.round(random * Math.max(window, SPREAD_MS[code] ?? 0));
    this.attempts += 1;
    this.state = "waiting";
    this.deadline = now + retryInMs;
    return [this.report({ code, reason, retryInMs })];
  }

  private send(data: string): Effect[] {
    if (this.state === "open") return [{ type: "transmit", data }];
    if (this.state === "closed" || this.queue.length >= this.limits.queuedMessages) return [{ type: "refuse", data }];
    this.queue.push(data);
    return [];
  }

  private close(): Effect[] {
    if (this.state === "closed") return [];
    const shut: Effect[] = this.state === "waiting" ? [] : [{ type: "shut" }];
    return [...shut, this.end(1000, "")];
  }

  private end(code: number, reason: string): Effect {
    this.state = "closed";
    this.deadline = null;
    this.attempts = 0;
    this.queue = [];
    return this.report({ code, reason });
  }

  private report(more: Omit<Status, "state"> = {}): Effect {
    return { type: "report", status: { state: this.state, ...more } };
  }
}
