import { domainToASCII, domainToUnicode } from 'node:url';
import { IdentityError } from '../core/errors.ts';

// oxlint-disable-next-line no-control-regex -- ASCII is what is meant
const ASCII = /^[\x00-\x7f]*$/;
// Underscores and upper case are no host names (RFC 1123 §2.1), but SPIRE takes them, and so do registrations that exist.
const LABEL = /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;
// What the ASCII form of a label may stand for: letters, marks and digits of any script.
const INTERNATIONAL = /^(?=.*[^\0-\x7f])[\p{L}\p{M}\p{N}-]+$/u;
const MAX_NAME_LENGTH = 253;

/**
 * Checks a DNS name for an SVID: plain labels, international ones in their ASCII form, at most one wildcard and that as
 * the whole first label.
 *
 * @throws IdentityError `invalid_argument`, naming `field`
 */
export function checkDnsName(name: string, field = 'dns_names'): void {
  const fault = dnsNameFault(name);
  if (fault !== undefined) throw new IdentityError('invalid_argument', fault, { field });
}

function dnsNameFault(name: string): string | undefined {
  if (!ASCII.test(name)) return 'name must be ascii';
  const stars = name.split('*').length - 1;
  if (stars === 0) return plainNameFault(name);
  if (stars > 1) return 'too many wildcards';
  return name.startsWith('*.') ? plainNameFault(name.slice(2)) : 'wildcard must be first label';
}

function plainNameFault(name: string): string | undefined {
  if (name.trim() === '') return 'empty or only whitespace';
  if (name.endsWith('.')) return 'domain ends with dot';
  if (name.length > MAX_NAME_LENGTH) return `name is longer than ${MAX_NAME_LENGTH} characters`;
  return name.split('.').every(isLabel) ? undefined : `"${name.slice(0, 64)}" is no DNS name (RFC 1034, IDNA)`;
}

function isLabel(label: string): boolean {
  if (!LABEL.test(label)) return false;
  return label.startsWith('xn--') ? isInternational(label) : label.slice(2, 4) !== '--';
}

function isInternational(label: string): boolean {
  const unicode = domainToUnicode(label);
  return INTERNATIONAL.test(unicode) && domainToASCII(unicode) === label;
}

/** @throws IdentityError `invalid_argument` when a wildcard among the names covers another of them */
export function checkWildcardOverlap(names: readonly string[], field = 'dns_names'): void {
  const all = new Set(names);
  for (const name of names) {
    if (name.startsWith('*') || !all.has(`*${name.slice(Math.max(0, name.indexOf('.')))}`)) continue;
    throw new IdentityError('invalid_argument', `name "${name}" overlaps with a wildcard name in the list`, { field });
  }
}
