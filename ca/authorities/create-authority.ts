import { randomBytes } from 'node:crypto';
import { IdentityError } from '../../core/errors.ts';
import { parseCertificate, type Certificate } from '../../spiffe/certificate.ts';
import { lintX509Authority } from '../../spiffe/lint.ts';
import { subjectKeyIdOf } from '../../spiffe/public-key.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { SigningKey } from '../keys/key-store.ts';
import type { AuthorityKind } from '../model.ts';
import type { TokenKind } from './authority.ts';
import type { LocalAuthority, PublishedPart } from './local-authority.ts';
import { loadUpstream, type Upstream, type UpstreamFiles } from './upstream.ts';

/** How far a certificate reaches back, for verifiers whose clock is behind; as in SPIRE. */
export const BACKDATE_MS = 10_000;
/** An authority that would end sooner than this is not worth having: what is wrong must be told instead. */
const MIN_LIFETIME_MS = 1000;

/** What a new authority is made from. */
export interface NewAuthority {
  readonly trustDomain: TrustDomain;
  readonly key: SigningKey;
  readonly nowMs: number;
  readonly lifetimeMs: number;
}

/** A new X.509 authority: self-signed, or an intermediate. Prepared; not published yet. @throws IdentityError `failed_precondition`, `internal` */
export async function createX509Authority(
  options: NewAuthority & { readonly upstream?: UpstreamFiles | undefined },
): Promise<LocalAuthority> {
  const upstream = options.upstream === undefined ? undefined : await loadUpstream(options.upstream, options.nowMs);
  const der = await signCertificate(options, upstream);
  lintX509Authority(der);
  const certificate = parseCertificate(der, 'authority');
  const id = toHex(subjectKeyIdOf(options.key.publicKeySpki));
  return {
    ...commonParts('x509', id, options),
    certificates: [der, ...(upstream?.intermediates ?? []).map(({ raw }) => raw)],
    published: (upstream?.roots ?? [certificate]).map(publishedRoot),
    expiresAtMs: certificate.notAfterMs,
    upstreamSubjectKeyId: toHex(upstream?.certificate.subjectKeyId ?? new Uint8Array()),
  };
}

async function signCertificate(options: NewAuthority, upstream: Upstream | undefined): Promise<Uint8Array> {
  // Loaded only here: a restart with keys on the disk makes no certificate, and should not pay for it.
  const { createAuthorityCertificate } = await import('./authority-certificate.ts');
  const ends = [upstream?.certificate, ...(upstream?.intermediates ?? [])].map((each) => each?.notAfterMs ?? Infinity);
  const notAfterMs = Math.min(options.nowMs + options.lifetimeMs, ...ends);
  if (notAfterMs - options.nowMs <= MIN_LIFETIME_MS) {
    throw new IdentityError('failed_precondition', 'the upstream authority ends now: renew its certificate');
  }
  return createAuthorityCertificate({
    trustDomain: options.trustDomain,
    publicKeySpki: options.key.publicKeySpki,
    notBeforeMs: options.nowMs - BACKDATE_MS,
    notAfterMs,
    ...(upstream === undefined ? { signer: options.key } : belowUpstream(upstream)),
  });
}

function belowUpstream({ key, certificate }: Upstream) {
  const { subjectRaw, subjectKeyId = new Uint8Array(), pathLength } = certificate;
  return {
    signer: key,
    issuer: { subjectRaw, subjectKeyId },
    pathLength: pathLength === undefined ? undefined : pathLength - 1,
  };
}

/** A new authority for tokens. Prepared; not published yet. */
export function createTokenAuthority(kind: TokenKind, keyId: string, options: NewAuthority): LocalAuthority {
  const expiresAtMs = options.nowMs + options.lifetimeMs;
  return {
    ...commonParts(kind, keyId, options),
    certificates: [],
    published: [{ id: keyId, publicBytes: options.key.publicKeySpki, expiresAtMs }],
    expiresAtMs,
    upstreamSubjectKeyId: '',
  };
}

function commonParts(kind: AuthorityKind, id: string, { key, nowMs }: NewAuthority) {
  return {
    kind,
    id,
    status: 'prepared',
    keyId: key.id,
    issuedAtMs: nowMs,
    publishedAtMs: undefined,
    tainted: false,
    revoked: false,
  } as const;
}

const KEY_ID_ALPHABET = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';
const KEY_ID_LENGTH = 32;

/** A `kid`: 32 letters and digits, as in SPIRE; unique in the bundle across all uses (WIT-SVID §6.1). */
export function createKeyId(taken: ReadonlySet<string>): string {
  const id = [...randomBytes(KEY_ID_LENGTH)].map((byte) => KEY_ID_ALPHABET[byte % KEY_ID_ALPHABET.length]).join('');
  return taken.has(id) ? createKeyId(taken) : id;
}

function publishedRoot(root: Certificate): PublishedPart {
  const id = toHex(root.subjectKeyId ?? subjectKeyIdOf(root.spki));
  return { id, publicBytes: root.raw, expiresAtMs: root.notAfterMs };
}

function toHex(content: Uint8Array): string {
  return Buffer.from(content).toString('hex');
}
