import { createHash } from 'node:crypto';
import { IdentityError } from '../../core/errors.ts';
import { parseCertificate } from '../../spiffe/certificate.ts';
import { parseCsr, verifyCsr } from '../../spiffe/csr.ts';
import { lintX509Authority } from '../../spiffe/lint.ts';
import { createSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { X509SigningAuthority } from '../authorities/authority.ts';
import { BACKDATE_MS } from '../authorities/create-authority.ts';
import type { IssuerOptions } from './issuer-options.ts';
import { expiryOf } from './lifetime.ts';
import type { IssuedX509, MintRequest } from './requests.ts';

/** Issues an intermediate to a downstream CA; of its CSR only the key counts. @throws IdentityError */
export async function issueDownstreamCa(options: IssuerOptions, request: MintRequest): Promise<IssuedX509> {
  const authority = options.authorities.activeX509();
  const nowMs = options.clock.nowMs();
  const csr = parseCsr(request.csr);
  verifyCsr(csr);
  const notAfterMs = expiryOf({
    nowMs,
    ttlSeconds: request.ttlSeconds,
    defaultMs: options.ttl.caMs,
    authorityEndMs: authority.expiresAtMs,
  });
  const der = await signCertificate(options, authority, { spki: csr.spki, nowMs, notAfterMs });
  lintX509Authority(der);
  const { serialHex } = parseCertificate(der);
  const spiffeId = createSpiffeId(options.trustDomain, '');
  await options.audit.append([
    {
      timeMs: nowMs,
      kind: 'downstream-ca',
      spiffeId: spiffeId.toString(),
      caller: request.caller,
      entryId: request.entryId ?? '',
      serial: serialHex,
      digest: createHash('sha256').update(csr.spki).digest('base64url'),
      authorityId: authority.id,
      expiresAtMs: notAfterMs,
    },
  ]);
  const chain = [der, ...authority.chain];
  return { spiffeId, chain, serialHex, serialNumber: BigInt(`0x${serialHex}`).toString(), expiresAtMs: notAfterMs };
}

async function signCertificate(
  { trustDomain }: IssuerOptions,
  { key, subjectRaw, subjectKeyId, chain, pathLength }: X509SigningAuthority,
  { spki, nowMs, notAfterMs }: { readonly spki: Uint8Array; readonly nowMs: number; readonly notAfterMs: number },
): Promise<Uint8Array> {
  if (pathLength === 0) {
    const message = 'no downstream CA can be below this one: the path length of its upstream authority does not allow it';
    throw new IdentityError('failed_precondition', message);
  }
  const { createAuthorityCertificate } = await import('../authorities/authority-certificate.ts');
  return createAuthorityCertificate({
    trustDomain,
    publicKeySpki: spki,
    notBeforeMs: nowMs - BACKDATE_MS,
    notAfterMs,
    pathLength: pathLength === undefined ? undefined : pathLength - 1,
    signer: key,
    issuer: { subjectRaw, subjectKeyId },
    // As SPIRE counts: the certificates above, itself included.
    downstreamOf: { subjectRaw, depth: Math.max(1, chain.length) },
  });
}
