import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { GrpcServer } from './server.ts';

/** How an accepted socket gets its peer. */
export interface Acceptance<S extends Socket, P> {
  readonly identify: (socket: S) => P | Promise<P>;
  readonly onRefused: (error: unknown) => void;
  /** Gives the stream to serve in place of the socket; without it, that is the socket. */
  readonly open?: (socket: S, serve: (stream: Duplex) => void) => void;
}

/** Finds out who is behind a socket and hands it to the server; a socket whose peer cannot be told is closed. */
export function acceptInto<S extends Socket, P>(server: GrpcServer<P>, socket: S, acceptance: Acceptance<S, P>): void {
  const { identify, onRefused, open = (_, serve) => serve(socket) } = acceptance;
  const refuse = (error: unknown): void => {
    socket.destroy();
    onRefused(error);
  };
  // While nothing else listens, a broken socket must not be an uncaught error.
  socket.on('error', () => {});
  const serve = (peer: P): void => {
    if (!socket.destroyed) open(socket, (stream) => server.handleConnection(stream, peer));
  };
  try {
    const peer = identify(socket);
    if (peer instanceof Promise) peer.then(serve).catch(refuse);
    else serve(peer);
  } catch (error) {
    refuse(error);
  }
}
