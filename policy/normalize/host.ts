import { formatIpAddress, readIpAddress } from '../match/ip.ts';
import { refuse } from './refusal.ts';

const NAME = /^[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/;
const AUTHORITY = /^(?:\[([0-9a-f:.]+)\]|([^:@[\]]*))(?::([0-9]{1,5}))?$/;

/**
 * Normalises `Host` or `:authority` (RFC 9110 §7.2): lower case, without the port and a trailing dot, an IPv6 address in its
 * shortest form in brackets. International names come in their ASCII form (`xn--…`) on the wire; anything else is refused.
 *
 * @throws RefusedRequest `host_invalid`
 * @example
 * normalizeHost('Shop.Example.Org.:8443'); // 'shop.example.org'
 */
export function normalizeHost(authority: string): string {
  const [whole, v6, name = '', port = '0'] = AUTHORITY.exec(authority.toLowerCase()) ?? [];
  if (whole === undefined || authority.length > 300 || Number(port) > 65_535) refuse('host_invalid');
  if (v6 !== undefined) {
    const address = readIpAddress(v6);
    if (address === undefined) refuse('host_invalid');
    return `[${formatIpAddress(address)}]`;
  }
  const host = name.endsWith('.') ? name.slice(0, -1) : name;
  if (host.length > 253 || !NAME.test(host)) refuse('host_invalid');
  return host;
}
