import { createHash } from 'node:crypto';
import { IdentityError } from '../../core/errors.ts';
import type { JwtAuthority, X509Authority } from '../../spiffe/bundle.ts';
import { subjectKeyIdOf } from '../../spiffe/public-key.ts';
import type { Authority } from '../model.ts';
import { commit, type ApiContext } from './api-context.ts';

/** An X.509 authority that an admin adds to the own bundle; no replica signs with it. */
export function appendedX509({ der, certificate }: X509Authority): Authority {
  const keyId = Buffer.from(certificate.subjectKeyId ?? subjectKeyIdOf(certificate.spki)).toString('hex');
  return appended('x509', { id: keyId, publicBytes: der, expiresAtMs: certificate.notAfterMs });
}

/** A JWT or WIT authority that an admin or a downstream CA adds to the own bundle. */
export function appendedToken(kind: 'jwt' | 'wit', { keyId, spki, expiresAtMs = 0 }: JwtAuthority): Authority {
  return appended(kind, { id: keyId, publicBytes: spki, expiresAtMs });
}

function appended(kind: Authority['kind'], key: { id: string; publicBytes: Uint8Array; expiresAtMs: number }): Authority {
  const { id, publicBytes, expiresAtMs } = key;
  const expiresAtSeconds = Math.floor(expiresAtMs / 1000);
  return { kind, id, publicBytes, expiresAtSeconds, tainted: false, replicaId: '', upstreamSubjectKeyId: '' };
}

/**
 * Adds authorities to the own bundle; those that are there already change nothing.
 *
 * @throws IdentityError `already_exists` when a key ID is taken by another key, `unavailable`
 */
export async function appendAuthorities(context: ApiContext, authorities: readonly Authority[]): Promise<void> {
  const missing = authorities.flatMap((authority) => {
    const present = context.registry.authority(authority.kind, authority.id);
    if (present === undefined) return authority;
    return equalBytes(present.publicBytes, authority.publicBytes) ? [] : besides(authority);
  });
  refuseTakenKeyIds(context, missing);
  if (missing.length === 0) return;
  await commit(context, async (tx) => {
    for (const authority of missing) await tx.putAuthority(authority);
  });
}

// One key may have several certificates (cross-signed): what is there, which may be our own signing one, stays.
function besides(authority: Authority): Authority {
  if (authority.kind !== 'x509') return authority;
  const digest = createHash('sha256').update(authority.publicBytes).digest('hex').slice(0, 16);
  return { ...authority, id: `${authority.id}-${digest}` };
}

function refuseTakenKeyIds({ registry }: ApiContext, authorities: readonly Authority[]): void {
  const taken = authorities.find(
    ({ kind, id }) =>
      kind !== 'x509' && (registry.authority('jwt', id) !== undefined || registry.authority('wit', id) !== undefined),
  );
  if (taken !== undefined)
    throw new IdentityError('already_exists', 'another authority of the bundle has this key ID', { field: 'key_id' });
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
