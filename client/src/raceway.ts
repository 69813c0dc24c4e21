/**
 * The browser client of Raceway.
 *
 *     const users = raceway.connect("/status/users/");
 *     users.listen((message) => { badge.textContent = message.users; });
 *     users.send({ hello: "world" });
 */

import { Connection, LIMITS } from "./connection";
import type { Data, Effect, Event, Limits, State, Status } from "./connection";
import { websocketUrl } from "./url";

export type { Data, Limits, State, Status };

/** Called with each message: the value that the JSON text stands for, or the bytes of a binary message. */
export type Listener = (message: any) => void;

export interface Options {
  /** Subprotocols to offer (RFC 6455, section 1.9). */
  protocols?: string | string[];
  /** Called on every change of state. */
  status?: (status: Status) => void;
  /** Other limits than the default ones. */
  limits?: Partial<Limits>;
}

/**
 * Connect to a consumer, and stay connected.
 *
 * `url` may be a path ("/status/users/", on the page's host, with wss on an https page) or a whole ws(s) URL; without
 * it, the page's host is meant. When the socket is lost, it comes back by itself after a random wait that grows
 * from try to try, unless the server's close code says that there is no point.
 */
export function connect(url = "/", options: Options = {}): Client {
  return new Client(websocketUrl(url, document.baseURI), options);
}

/** One lasting connection; made by `connect`. */
export class Client {
  private readonly connection: Connection;
  private readonly listeners = new Set<Listener>();
  private socket: WebSocket | null = null;
  private timer: number | undefined;

  constructor(
    readonly url: string,
    private readonly options: Options,
  ) {
    this.connection = new Connection({ ...LIMITS, ...options.limits });
    this.receive({ type: "connect" });
    window.addEventListener("online", this.online);
  }

  /** Where the connection stands now. */
  get state(): State {
    return this.connection.state;
  }

  /** Call `listener` with every message from now on; the function that comes back ends that. */
  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /**
   * Send `message` as JSON; while there is no socket it waits for the next one.
   *
   * False if it was refused, because the connection is closed or too many messages wait already.
   */
  send(message: unknown): boolean {
    const effects = this.receive({ type: "send", data: JSON.stringify(message) });
    return !effects.some((effect) => effect.type === "refuse");
  }

  /** End the connection for good; what waits to be sent is forgotten. */
  close(): void {
    this.receive({ type: "close" });
  }

  private readonly online = (): void => {
    this.receive({ type: "online" });
  };

  private receive(event: Event): Effect[] {
    return this.act(this.connection.receive(event, performance.now(), Math.random()));
  }

  private act(effects: Effect[]): Effect[] {
    window.clearTimeout(this.timer);
    const { deadline } = this.connection;
    if (deadline !== null) {
      const wake = () => this.act(this.connection.wake(performance.now(), Math.random()));
      this.timer = window.setTimeout(wake, Math.ceil(deadline - performance.now()));
    }
    for (const effect of effects) this.perform(effect);
    return effects;
  }

  private perform(effect: Effect): void {
    switch (effect.type) {
      case "open":
        return this.open();
      case "transmit":
        return this.socket?.send(effect.data);
      case "deliver":
        return this.deliver(effect.data);
      case "shut":
        this.socket?.close(1000);
        this.socket = null;
        return;
      case "report":
        if (effect.status.state === "closed") window.removeEventListener("online", this.online);
        return this.guard(() => this.options.status?.(effect.status));
      case "refuse":
        return;
    }
  }

  private open(): void {
    const socket = new WebSocket(this.url, this.options.protocols ?? []);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    // A socket that was given up may still have something to say; nobody listens to it any more.
    const hear = (event: Event): void => void (this.socket === socket && this.receive(event));
    socket.onopen = () => hear({ type: "opened" });
    socket.onmessage = (message: MessageEvent<Data>) => hear({ type: "received", data: message.data });
    socket.onclose = ({ code, reason }) => hear({ type: "lost", code, reason });
  }

  private deliver(data: Data): void {
    this.guard(() => {
      const message: unknown = typeof data === "string" ? JSON.parse(data) : data;
      for (const listener of [...this.listeners]) this.guard(() => listener(message));
    });
  }

  /** What the page's own code throws goes to the console and `window.onerror`; the connection lives on. */
  private guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      window.reportError(error);
    }
  }
}
