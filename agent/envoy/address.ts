import type { Address } from '../../proto/gen/envoy/config/core/v3/address_pb.ts';

/** The IP address of a peer as Envoy gives it; undefined for a unix socket. */
export function ipOf(address: Address | undefined): string | undefined {
  const socket = address?.address;
  return socket?.case === 'socketAddress' && socket.value.address !== '' ? socket.value.address : undefined;
}

/** The port of an address; undefined where it has none. */
export function portOf(address: Address | undefined): number | undefined {
  const socket = address?.address;
  if (socket?.case !== 'socketAddress' || socket.value.portSpecifier.case !== 'portValue') return undefined;
  const port = socket.value.portSpecifier.value;
  return port > 0 && port <= 65_535 ? port : undefined;
}
