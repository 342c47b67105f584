import type { GrpcCall, Request } from '../model.ts';

const GRPC_PATH = /^\/([^/]+)\/([^/]+)$/;

/** The gRPC call that a path names, such as `/shop.v1.Orders/Get`; undefined where it names none. */
export function grpcNamed(path: string): GrpcCall | undefined {
  const [, service, method] = GRPC_PATH.exec(path) ?? [];
  return service === undefined || method === undefined ? undefined : { service, method };
}

/**
 * The gRPC call that a server may make of a request that is none for certain: there are servers that execute what the path names whatever
 * the method and `content-type` say.
 */
export function possibleGrpc({ grpc, path }: Request): GrpcCall | undefined {
  return grpc === undefined ? grpcNamed(path) : undefined;
}
