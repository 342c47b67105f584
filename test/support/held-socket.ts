// A unix socket in front of another one that can be made to hold back what a client sends.
import { connect, createServer, type Server, type Socket } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Passes bytes on, unless it is told to hold what clients send. */
export class HeldSocket implements AsyncDisposable {
  readonly path: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'held-'));
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #held: (() => void)[] | undefined;
  #passLimit = Number.POSITIVE_INFINITY;

  constructor(target: string) {
    this.path = join(this.#folder, 'api.sock');
    this.#server = createServer((client) => this.#join(client, connect(target)));
    this.#server.listen(this.path);
  }

  /** Holds back all that clients send after so many more bytes. */
  holdAfter(bytes: number): void {
    this.#passLimit = bytes;
  }

  /** Whether something is being held back. */
  get isHolding(): boolean {
    return this.#held !== undefined;
  }

  /** Passes on what was held back, and all that comes. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#passLimit = Number.POSITIVE_INFINITY;
    for (const pass of held) pass();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #join(client: Socket, target: Socket): void {
    for (const socket of [client, target]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
    }
    target.on('data', (chunk) => client.write(chunk));
    target.on('close', () => client.destroy());
    client.on('data', (chunk: Buffer) => {
      this.#passLimit -= chunk.length;
      if (this.#passLimit >= 0) target.write(chunk);
      else (this.#held ??= []).push(() => void target.write(chunk));
    });
    // What the client sent before it went is still on its way, as in a real network.
    client.on('close', () => {
      if (this.#held === undefined) target.end();
      else this.#held.push(() => void target.end());
    });
  }
}
