// A TCP port that leads wherever a test says, such as to a server that comes back on another port.
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A listening port with a target that may change; undefined refuses. */
export class Forwarder implements AsyncDisposable {
  target: number | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((incoming) => this.#forward(incoming));

  static async start(target: number): Promise<Forwarder> {
    const forwarder = new Forwarder();
    forwarder.target = target;
    await new Promise<void>((resolve) => forwarder.#server.listen(0, '127.0.0.1', resolve));
    return forwarder;
  }

  get port(): number {
    // The cast is sound: it listens on TCP.
    return (this.#server.address() as AddressInfo).port;
  }

  #forward(incoming: Socket): void {
    this.#keep(incoming);
    if (this.target === undefined) return void incoming.destroy();
    const outgoing = this.#keep(connect(this.target, '127.0.0.1'));
    incoming.pipe(outgoing).pipe(incoming);
    incoming.on('close', () => outgoing.destroy());
    outgoing.on('close', () => incoming.destroy());
  }

  #keep(socket: Socket): Socket {
    this.#sockets.add(socket);
    return socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
