import type { Source } from '../../core/current.ts';
import { Current } from '../../core/current.ts';
import { IdentityError } from '../../core/errors.ts';
import { Health, HealthCheckResponse_ServingStatus } from '../../proto/gen/grpc/health/v1/health_pb.ts';
import type { GrpcServer } from './server.ts';
import type { ServiceHandlers } from './service.ts';

/**
 * Adds `grpc.health.v1.Health`. The server as a whole (the empty name) and each of its services serve while `serving` is true.
 * `Check` of an unknown name answers NOT_FOUND; `Watch` of one answers SERVICE_UNKNOWN and stays open, as the protocol says.
 *
 * @example
 * addHealth(server, ready); // ready: Source<boolean>; call it after the other services
 */
export function addHealth<P>(server: GrpcServer<P>, serving: Source<boolean>): void {
  server.addService(
    Health,
    healthHandlers(() => server.services.map(({ typeName }) => typeName), serving),
  );
}

function healthHandlers<P>(names: () => readonly string[], serving: Source<boolean>): ServiceHandlers<typeof Health, P> {
  const status = statusSource(serving);
  const isKnown = (name: string): boolean => name === '' || names().includes(name);
  return {
    check: ({ service }) => {
      if (!isKnown(service)) throw new IdentityError('not_found', 'no such service here; List names those there are');
      return status.value;
    },
    list: () => ({ statuses: Object.fromEntries(['', ...names()].map((name) => [name, status.value])) }),
    watch: ({ service }) =>
      isKnown(service) ? status : new Current({ status: HealthCheckResponse_ServingStatus.SERVICE_UNKNOWN }),
  };
}

type ServingStatus = { readonly status: HealthCheckResponse_ServingStatus };

function statusSource(serving: Source<boolean>): Source<ServingStatus> {
  const { SERVING, NOT_SERVING } = HealthCheckResponse_ServingStatus;
  const statusOf = (value: boolean): ServingStatus => ({ status: value ? SERVING : NOT_SERVING });
  return {
    get value() {
      return statusOf(serving.value);
    },
    subscribe: (listener) => serving.subscribe((value) => listener(statusOf(value))),
  };
}
