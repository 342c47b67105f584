import type { DescService } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient, type Client } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';

import { IdentityError, isIdentityError, type ErrorCode } from '../core/errors.ts';
import { Http2Sessions, type Http2SessionsOptions } from './http2-sessions.ts';

export type { ClientTls } from './http2-sessions.ts';

/** A connection to a gRPC server over which any number of services can be called. */
export interface GrpcConnection extends Disposable {
  /** A typed client of one service. Its calls reject with connect's errors; {@link toIdentityError} reads them. */
  client<S extends DescService>(service: S): Client<S>;
  /** Makes the next call use a new connection, with the identity of then; open streams finish on the old one. */
  renew(): void;
}

/**
 * Connects, when first needed, to a gRPC server on a unix socket or over mTLS.
 *
 * @example
 * using connection = connectGrpc({ target: { kind: 'unix', path: '/run/ca/admin.sock' }, clock: systemClock });
 * const { count } = await connection.client(Entry).countEntries({});
 */
export function connectGrpc(options: Http2SessionsOptions): GrpcConnection {
  const sessionManager = new Http2Sessions(options);
  const transport = createGrpcTransport({ baseUrl: sessionManager.authority, sessionManager, readMaxBytes: 64 * 1024 * 1024 });
  return {
    client: (service) => createClient(service, transport),
    renew: () => sessionManager.renew(),
    [Symbol.dispose]: () => sessionManager.close(),
  };
}

const CODES: Readonly<Record<Code, ErrorCode>> = {
  [Code.Canceled]: 'cancelled',
  [Code.Unknown]: 'internal',
  [Code.InvalidArgument]: 'invalid_argument',
  [Code.DeadlineExceeded]: 'deadline_exceeded',
  [Code.NotFound]: 'not_found',
  [Code.AlreadyExists]: 'already_exists',
  [Code.PermissionDenied]: 'permission_denied',
  [Code.ResourceExhausted]: 'resource_exhausted',
  [Code.FailedPrecondition]: 'failed_precondition',
  [Code.Aborted]: 'aborted',
  [Code.OutOfRange]: 'out_of_range',
  [Code.Unimplemented]: 'unimplemented',
  [Code.Internal]: 'internal',
  [Code.Unavailable]: 'unavailable',
  [Code.DataLoss]: 'internal',
  [Code.Unauthenticated]: 'unauthenticated',
};

/** Reads what a client call rejected with; an IdentityError, thrown while connecting, comes back as it was. */
export function toIdentityError(error: unknown): IdentityError {
  if (isIdentityError(error)) return error;
  const wire = ConnectError.from(error);
  if (isIdentityError(wire.cause)) return wire.cause;
  return new IdentityError(CODES[wire.code], wire.rawMessage, { cause: wire });
}
