import { IdentityError } from '../../core/errors.ts';
import { parseCertificate } from '../../spiffe/certificate.ts';
import { subjectKeyIdOf } from '../../spiffe/public-key.ts';
import type { KeyStore, SigningKey } from '../keys/key-store.ts';
import type { SigningAuthority } from './authority.ts';
import { isUnderUpstream, type LocalAuthority } from './local-authority.ts';

/** An authority with its key, ready to sign. */
export function signingAuthorityOf(authority: LocalAuthority, key: SigningKey): SigningAuthority {
  const { kind, id, expiresAtMs } = authority;
  if (kind !== 'x509') return { kind, id, key, expiresAtMs };
  const chain = authority.certificates.map((der) => parseCertificate(der, 'authority'));
  const [own] = chain;
  if (own === undefined) throw new IdentityError('failed_precondition', 'the state of an X.509 authority has no certificate');
  return {
    kind,
    id,
    key,
    certificateDer: own.raw,
    subjectRaw: own.subjectRaw,
    subjectKeyId: own.subjectKeyId ?? subjectKeyIdOf(own.spki),
    chain: isUnderUpstream(authority) ? authority.certificates : [],
    pathLength: own.pathLength,
    expiresAtMs: Math.min(expiresAtMs, ...chain.map(({ notAfterMs }) => notAfterMs)),
  };
}

/** The key of an authority; undefined when it is gone or is another one. */
export async function loadKeyOf(authority: LocalAuthority, keys: KeyStore): Promise<SigningKey | undefined> {
  const key = await keys.load(authority.keyId);
  if (key === undefined) return undefined;
  const [own] = authority.certificates;
  const expected = own === undefined ? authority.published[0]?.publicBytes : parseCertificate(own, 'authority').spki;
  return expected !== undefined && Buffer.compare(expected, key.publicKeySpki) === 0 ? key : undefined;
}
