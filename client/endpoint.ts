import { IdentityError } from '../core/errors.ts';

/** The variable that names the Workload API's endpoint (SPIFFE Workload Endpoint §4). */
export const ENDPOINT_VARIABLE = 'SPIFFE_ENDPOINT_SOCKET';

/** Where a Workload API listens. */
export type WorkloadEndpoint =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/**
 * Reads a Workload API address: `unix:///run/spire/agent.sock`, `unix:/run/agent.sock` or `tcp://127.0.0.1:8000`
 * (SPIFFE Workload Endpoint §4: an IP address, no host name, and nothing after the port).
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseWorkloadEndpoint(address: string): WorkloadEndpoint {
  const fault = (message: string): IdentityError => new IdentityError('invalid_argument', message, { field: ENDPOINT_VARIABLE });
  // No authority, and an absolute path.
  const [, unixPath] = /^unix:(?:\/\/(?=\/))?(\/(?!\/)[^?#]*)$/.exec(address) ?? [];
  if (unixPath !== undefined) return { kind: 'unix', path: unixPath };
  const [, v6, v4, port] = /^tcp:\/\/(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(address) ?? [];
  const host = v6 ?? v4;
  if (host !== undefined && Number(port) <= 65_535) return { kind: 'tcp', host, port: Number(port) };
  throw fault(`"${address}" is no address of a Workload API; write unix:///path/to/agent.sock or tcp://127.0.0.1:8000`);
}

/**
 * The endpoint to use: the given address, else what the standard's environment variable names.
 *
 * @throws IdentityError `invalid_argument` when neither is there, or it cannot be read
 */
export function findWorkloadEndpoint(
  address: string | undefined,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): WorkloadEndpoint {
  const found = address ?? environment[ENDPOINT_VARIABLE];
  if (found === undefined || found === '') {
    throw new IdentityError('invalid_argument', `no Workload API is named; set ${ENDPOINT_VARIABLE}=unix:///path/to/agent.sock`);
  }
  return parseWorkloadEndpoint(found);
}
