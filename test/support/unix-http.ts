// HTTP/1.1 on a unix socket, byte by byte or with a kept connection.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** An answer on a kept connection. */
export interface UnixAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** One connection, on which one request is asked after the other. */
export class UnixHttp implements Disposable {
  readonly #socket: Socket;
  #received = '';
  #isEnded = false;
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      this.#received += text;
      this.#wake();
    });
    for (const event of ['end', 'close', 'error'])
      socket.on(event, () => {
        this.#isEnded = true;
        this.#wake();
      });
  }

  static async open(path: string): Promise<UnixHttp> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new UnixHttp(socket);
  }

  /** Whether the server has closed the connection. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Sends bytes (as latin1), without waiting. */
  send(bytes: string): void {
    this.#socket.write(bytes, 'latin1');
  }

  /** Sends bytes and reads one answer; undefined when the server closed without one. */
  async ask(bytes: string): Promise<UnixAnswer | undefined> {
    this.send(bytes);
    return this.next();
  }

  /** The next answer; undefined when the server closes without one. */
  async next(): Promise<UnixAnswer | undefined> {
    for (;;) {
      const answer = this.#take();
      if (answer !== undefined || this.#isEnded) return answer;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Waits until the server closes. */
  async ended(): Promise<void> {
    while (!this.#isEnded) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #take(): UnixAnswer | undefined {
    const end = this.#received.indexOf('\r\n\r\n');
    if (end === -1) return undefined;
    const [first = '', ...lines] = this.#received.slice(0, end).split('\r\n');
    const fields = lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.replace(/^[^:]*: */, '')] as const);
    const headers = new Map(fields);
    const bodyEnd = end + 4 + Number(headers.get('content-length') ?? 0);
    if (this.#received.length < bodyEnd) return undefined;
    const body = this.#received.slice(end + 4, bodyEnd);
    this.#received = this.#received.slice(bodyEnd);
    return { status: Number(first.split(' ')[1]), headers, body };
  }
}
