import { IdentityError } from '../../core/errors.ts';

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const MAX_SUBDOMAIN = 253;

/**
 * Checks the name of a namespace or a Service: a DNS label (RFC 1123).
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseDnsLabel(text: string): string {
  if (LABEL.test(text)) return text;
  throw invalid(`"${text}" is no name: lower-case letters, digits and dashes, 63 at most, such as my-name`);
}

/**
 * Checks the name of most other objects: DNS labels with dots between them (RFC 1123).
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseDnsSubdomain(text: string): string {
  if (isSubdomain(text)) return text;
  throw invalid(`"${text}" is no name: lower-case letters, digits, dashes and dots, ${MAX_SUBDOMAIN} at most, such as my-name`);
}

/**
 * Checks the name of a signer as the API server does: a domain of two labels at least, and a name below it.
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseSignerName(text: string): string {
  const [domain = '', name = '', ...more] = text.split('/');
  const isDomain = domain.includes('.') && isSubdomain(domain);
  if (isDomain && isSubdomain(name) && more.length === 0) return text;
  throw invalid(`"${text}" is no name of a signer: write a domain and a name below it, such as countersign.dev/svid`);
}

function isSubdomain(text: string): boolean {
  return text.length <= MAX_SUBDOMAIN && text.split('.').every((label) => LABEL.test(label));
}

function invalid(message: string): IdentityError {
  return new IdentityError('invalid_argument', message);
}
