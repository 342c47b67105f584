import { dirname } from 'node:path';
import type { Source } from '../../core/current.ts';
import { IdentityError } from '../../core/errors.ts';
import { formatListenAddress, type ListenAddress } from '../../runtime/config-file.ts';
import { listenTls } from '../../runtime/grpc/tls-listener.ts';
import { listenUnix } from '../../runtime/grpc/unix-listener.ts';
import { makePrivateDir } from '../../runtime/private-file.ts';
import type { GrpcServer } from '../../runtime/grpc/server.ts';
import type { Logger } from '../../runtime/log.ts';
import { localPeer, tlsPeer, type Peer } from '../../runtime/peer.ts';
import type { ServerSvid } from '../issue/issuer.ts';
import { tlsCredentials } from '../server-svid.ts';

/** Serves agents and remote admins over TLS, with the CA's own SVID as it is replaced. */
export async function listenForAgents(
  server: GrpcServer<Peer>,
  {
    address,
    svid,
    log,
  }: { readonly address: Extract<ListenAddress, { kind: 'tcp' }>; readonly svid: Source<ServerSvid>; readonly log: Logger },
): Promise<AsyncDisposable & { readonly port: number }> {
  const listener = await listenTls<Peer>(server, {
    host: address.host,
    port: address.port,
    credentials: tlsCredentials(svid.value),
    verifyPeer: tlsPeer,
    onRefused: (err) => log.debug({ err }, 'connection refused'),
  }).catch((cause: unknown) => {
    throw cannotListen('listen.grpc', address, cause);
  });
  const unsubscribe = svid.subscribe((next) => listener.setCredentials(tlsCredentials(next)));
  return {
    port: listener.port,
    [Symbol.asyncDispose]: () => {
      unsubscribe();
      return listener.close();
    },
  };
}

/** Serves local admins on a socket that only the CA's own user may open, in a folder that only that user may enter. */
export async function listenForAdmins(
  server: GrpcServer<Peer>,
  { path, log }: { readonly path: string; readonly log: Logger },
): Promise<AsyncDisposable> {
  await makePrivateDir(dirname(path));
  return listenUnix<Peer>(server, path, {
    mode: 0o600,
    onAccept: localPeer,
    onRefused: (err) => log.debug({ err }, 'connection refused'),
  });
}

/** The failure to open a configured listener, with its address and what to do. */
export function cannotListen(key: string, address: ListenAddress, cause: unknown): unknown {
  if (!(cause instanceof Error) || !('code' in cause)) return cause;
  const hints = new Map<unknown, string>([
    ['EADDRINUSE', 'another process listens there; stop it or choose another address'],
    ['EACCES', 'this user may not listen there; choose a port from 1024 on or another user'],
    ['EADDRNOTAVAIL', 'this machine has no such address'],
  ]);
  const why = hints.get(cause.code) ?? cause.message;
  return new IdentityError('failed_precondition', `${key}: cannot listen on ${formatListenAddress(address)}: ${why}`, { cause });
}
