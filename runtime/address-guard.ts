import { lookup as resolveName, type LookupAddress } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

import { IdentityError } from '../core/errors.ts';

/**
 * Addresses that no service of another organisation has, be it a bundle endpoint or an issuer of tokens: whoever may declare one
 * must not be able to make us call services of our own network or the cloud's metadata service (RFC 6890 special-purpose
 * registries).
 */
const FORBIDDEN = new BlockList();
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const) {
  FORBIDDEN.addSubnet(network, prefix, 'ipv4');
}
for (const [network, prefix] of [
  ['::', 96],
  // Addresses that carry an IPv4 address inside (NAT64, 6to4, Teredo) reach what the table above forbids.
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['100::', 64],
  ['2001::', 32],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
] as const) {
  FORBIDDEN.addSubnet(network, prefix, 'ipv6');
}

/** The key of the configuration that names hosts which may be called all the same, for the message. */
const SETTING = 'allowPrivateHosts';

/** Whether an address is private, link-local, loopback, multicast or otherwise special. IPv4 addresses mapped into IPv6 count as what they are. */
export function isForbiddenAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 0) return true;
  return FORBIDDEN.check(address, family === 4 ? 'ipv4' : 'ipv6');
}

/**
 * Name resolution that yields only addresses which may be called; what was checked is what is connected to, so that a name
 * cannot change between the two. Hosts in `allowed` (compared without case) are resolved as they are.
 */
export function guardedLookup(allowed: readonly string[], setting = SETTING): LookupFunction {
  return (hostname, options, callback) => {
    resolveName(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '', 0);
      const usable = isAllowed(hostname, allowed) ? addresses : addresses.filter(({ address }) => !isForbiddenAddress(address));
      const [first] = usable;
      if (first === undefined) return callback(forbidden(hostname, setting), '', 0);
      answer(usable, first, options.all === true, callback);
    });
  };
}

type LookupCallback = Parameters<LookupFunction>[2];

function answer(usable: LookupAddress[], first: LookupAddress, all: boolean, callback: LookupCallback): void {
  if (all) callback(null, usable);
  else callback(null, first.address, first.family);
}

/**
 * Refuses a URL whose host is written as an address that must not be called; names are judged when they are resolved.
 *
 * @throws IdentityError `permission_denied`
 */
export function refuseForbiddenHost(url: URL, allowed: readonly string[], setting = SETTING): void {
  const host = url.hostname.replaceAll(/^\[|\]$/g, '');
  if (isIP(host) !== 0 && isForbiddenAddress(host) && !isAllowed(host, allowed)) throw forbidden(host, setting);
}

function isAllowed(hostname: string, allowed: readonly string[]): boolean {
  const folded = hostname.toLowerCase();
  return allowed.some((name) => name.toLowerCase() === folded);
}

function forbidden(hostname: string, setting: string): IdentityError {
  return new IdentityError(
    'permission_denied',
    `the host ${hostname} has a private, link-local or otherwise special address; if that is meant, name it in ${setting}`,
  );
}
