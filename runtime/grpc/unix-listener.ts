import { createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { listenOnPath, type UnixListener } from '../unix-socket.ts';
import { acceptInto } from './accept.ts';
import { DEFAULT_LIMITS } from './limits.ts';
import { onOpening } from './path-authority.ts';
import type { GrpcServer } from './server.ts';

export type { UnixListener } from '../unix-socket.ts';

/** How a unix socket is served. */
export interface UnixListenOptions<P> {
  /** Permission bits of the socket file, such as 0o600; whoever may write may connect. */
  readonly mode: number;
  /** Tells who connected; runs first of all for each connection. What it throws closes the connection. */
  readonly onAccept: (socket: Socket) => P | Promise<P>;
  /** Told of connections that were refused, and why. */
  readonly onRefused?: (error: unknown) => void;
}

/**
 * Serves a unix socket at `path`. The file appears with its permission bits in one step, in place of a stale one: a socket
 * file on which nobody answers. Missing folders are made.
 *
 * @throws IdentityError `failed_precondition` when somebody answers on the path, or what is there is no socket;
 *   `invalid_argument` when the path is too long
 */
export async function listenUnix<P>(
  server: GrpcServer<P>,
  path: string,
  { mode, onAccept, onRefused = () => {} }: UnixListenOptions<P>,
): Promise<UnixListener> {
  const open = (socket: Socket, serve: (stream: Duplex) => void): void =>
    onOpening(socket, DEFAULT_LIMITS.handshakeTimeoutMs, serve);
  const listener = createServer((socket) => acceptInto(server, socket, { identify: onAccept, onRefused, open }));
  return listenOnPath(listener, path, mode);
}
