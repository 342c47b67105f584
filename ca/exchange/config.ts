import { array, duration, literal, map, object, optional, record, refine, string } from '../../core/decode.ts';
import type { Decoder, Fault } from '../../core/decode.ts';
import { durationOfMs } from '../../core/duration.ts';
import type { Duration } from '../../core/duration.ts';
import { IdentityError } from '../../core/errors.ts';
import { isMappable } from '../../policy/users/claims.ts';
import { isSpiffeScheme } from '../../policy/users/subject.ts';
import { filePath } from '../../runtime/config-file.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';

/** An issuer whose tokens may be exchanged. */
export interface SubjectIssuer {
  readonly issuer: string;
  readonly jwksUri: string | undefined;
  /** Claims that go over into the exchanged token, and where this issuer keeps them. */
  readonly claims: Readonly<Record<string, string>>;
}

/** How a workload comes to a token. */
export type Grant = 'exchange' | 'clientCredentials';

/** What some workloads may get tokens for. */
export interface ExchangeRule {
  readonly workloads: readonly SpiffeId[];
  /** What tokens call these workloads (`aud`), besides their SPIFFE IDs. */
  readonly addressedAs: readonly string[];
  /** Whom tokens may be for. */
  readonly audiences: readonly string[];
  /** The scopes that they may have; undefined: for exchanged ones those of the subject token, for others none. */
  readonly scopes: readonly string[] | undefined;
  readonly grants: readonly Grant[];
}

/** The token exchange, as configured. */
export interface TokenExchangeConfig {
  /** The `iss` of exchanged tokens: an https URL without a path, at which `listen.token` is reached. */
  readonly issuer: string;
  /** Certificate of the listener; without files it serves the CA's own SVID. */
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  readonly maxTtl: Duration;
  readonly issuers: readonly SubjectIssuer[];
  readonly allowPrivateHosts: readonly string[];
  /** PEM files of the roots of the issuers' certificates; the system's own when empty. */
  readonly webRootFiles: readonly string[];
  readonly rules: readonly ExchangeRule[];
}

const MINUTE_MS = 60_000;
const DEFAULT_MAX_TTL = durationOfMs(5 * MINUTE_MS);

const ttl = map(duration, (value) => {
  if (value.ms >= 1000 && value.ms <= 60 * MINUTE_MS) return value;
  throw new IdentityError('invalid_argument', 'must be from 1s to 1h');
});

const scope = map(string(), (text) => {
  // RFC 6749 §3.3.
  if (/^[\u0021\u0023-\u005B\u005D-\u007E]+$/.test(text)) return text;
  throw new IdentityError('invalid_argument', 'is no scope: printable ASCII without blanks, quotes and backslashes');
});

const logicalName = map(string(), (text) => {
  if (!isSpiffeScheme(text)) return text;
  throw new IdentityError('invalid_argument', 'must be no SPIFFE ID: a workload is addressed by its own in any case');
});

const claims = map(optional(record(string()), {}), (mapping) => {
  const taken = Object.keys(mapping).find((name) => !isMappable(name) || name === 'scope' || name === 'scp');
  if (taken === undefined) return mapping;
  throw new IdentityError('invalid_argument', `"${taken}" is set by the exchange itself`);
});

const rule: Decoder<ExchangeRule> = object({
  workloads: array(map(string(), (text) => parseSpiffeId(text))),
  addressedAs: optional(array(logicalName), []),
  audiences: array(string()),
  scopes: optional(array(scope)),
  grants: optional(array(literal('exchange', 'clientCredentials')), ['exchange']),
});

/** The schema of `tokenExchange` in `ca.yaml`. */
export function tokenExchangeShape(baseDir: string): Decoder<TokenExchangeConfig> {
  const shape = object({
    issuer: map(string(), ownIssuer),
    tls: optional(object({ certFile: filePath(baseDir), keyFile: filePath(baseDir) })),
    maxTtl: optional(ttl, DEFAULT_MAX_TTL),
    issuers: optional(array(object({ issuer: map(string(), httpsUrl), jwksUri: optional(map(string(), httpsUrl)), claims })), []),
    allowPrivateHosts: optional(array(string()), []),
    webRootFiles: optional(array(filePath(baseDir)), []),
    rules: optional(array(rule), []),
  });
  return refine(shape, faultsOf);
}

function faultsOf({ issuer, issuers }: TokenExchangeConfig): readonly Fault[] {
  return issuers.flatMap((each, index) => {
    const path = `issuers[${index}].issuer`;
    if (each.issuer === issuer)
      return [{ path, message: 'is the issuer of exchanged tokens itself, whose tokens are accepted anyway' }];
    const isTwice = issuers.findIndex((other) => other.issuer === each.issuer) < index;
    return isTwice ? [{ path, message: 'is there twice' }] : [];
  });
}

function httpsUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'https:' && url.hash === '' && url.username === '') return text;
  throw new IdentityError('invalid_argument', 'must be an https:// URL without fragment or user');
}

function ownIssuer(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  // Exactly the origin: whatever a verifier puts behind it, such as `/.well-known/…`, is then where we serve it.
  if (url?.protocol === 'https:' && url.origin === text) return text;
  throw new IdentityError(
    'invalid_argument',
    'must be an https:// URL without a path, not even a slash, such as https://token.example.org',
  );
}
