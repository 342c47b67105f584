import type { Socket } from 'node:net';
import type { GrpcServer } from './server.ts';

/** How an accepted socket gets its peer. */
export interface Acceptance<S extends Socket, P> {
  readonly identify: (socket: S) => P | Promise<P>;
  readonly onRefused: (error: unknown) => void;
}

/** Finds out who is behind a socket and hands it to the server; a socket whose peer cannot be told is closed. */
export function acceptInto<S extends Socket, P>(server: GrpcServer<P>, socket: S, acceptance: Acceptance<S, P>): void {
  const { identify, onRefused } = acceptance;
  const refuse = (error: unknown): void => {
    socket.destroy();
    onRefused(error);
  };
  // While nothing else listens, a broken socket must not be an uncaught error.
  socket.on('error', () => {});
  const serve = (peer: P): void => {
    if (!socket.destroyed) server.handleConnection(socket, peer);
  };
  try {
    const peer = identify(socket);
    if (peer instanceof Promise) peer.then(serve).catch(refuse);
    else serve(peer);
  } catch (error) {
    refuse(error);
  }
}
