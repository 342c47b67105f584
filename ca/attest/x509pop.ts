import { constants, createHash, randomBytes, verify } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import { parseCertificate, type Certificate } from '../../spiffe/certificate.ts';
import { createSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { Selector } from '../model.ts';
import { findPaths } from './certificate-paths.ts';
import type { Attestation, NodeAttestor } from './node-attestor.ts';
import {
  formatChallenge,
  NONCE_BYTES,
  parseAttestationPayload,
  parseChallengeResponse,
  type ChallengeKind,
  type ChallengeResponse,
} from './x509pop-messages.ts';

const TYPE = 'x509pop';

/** What {@link createX509PopAttestor} needs. */
export interface X509PopOptions {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly roots: readonly Certificate[];
  readonly maxIntermediates: number;
}

/**
 * Attests a node by a certificate that it was given before, and proof that it holds the key (SPIRE's `x509pop`). The agent's
 * ID is `/spire/agent/x509pop/<SHA-1 of the certificate>`.
 */
export function createX509PopAttestor(options: X509PopOptions): NodeAttestor {
  return { type: TYPE, attest: (payload) => attest(options, payload) };
}

async function* attest(options: X509PopOptions, payload: Uint8Array): Attestation {
  const { leaf, intermediates } = parseChain(payload, options.maxIntermediates);
  const paths = findPaths({ leaf, intermediates, roots: options.roots, nowMs: options.clock.nowMs() });
  const kind = challengeKind(leaf);
  const nonce = randomBytes(NONCE_BYTES);
  const response = parseChallengeResponse(yield formatChallenge(kind, nonce), kind);
  if (!proves(leaf, nonce, response)) {
    throw new IdentityError(
      'permission_denied',
      'challenge response verification failed: the signature is not by the key of the certificate',
    );
  }
  const agentId = createSpiffeId(options.trustDomain, ['spire', 'agent', TYPE, fingerprint(leaf)]);
  return { agentId, selectors: selectorsOf(leaf, paths, options.trustDomain), canReattest: true };
}

function parseChain(payload: Uint8Array, maxIntermediates: number): { leaf: Certificate; intermediates: Certificate[] } {
  const [leafDer, ...rest] = parseAttestationPayload(payload);
  if (leafDer === undefined)
    throw new IdentityError('invalid_argument', 'no certificate to attest', { field: 'payload.certificates' });
  if (rest.length > maxIntermediates) {
    throw new IdentityError(
      'invalid_argument',
      `too many intermediate certificates, at most ${maxIntermediates} may be presented`,
      {
        field: 'payload.certificates',
      },
    );
  }
  const leaf = parseCertificate(leafDer, 'payload.certificates[0]');
  return { leaf, intermediates: rest.map((der, index) => parseCertificate(der, `payload.certificates[${index + 1}]`)) };
}

function challengeKind(leaf: Certificate): ChallengeKind {
  if (leaf.keyUsage?.has('digitalSignature') !== true) {
    throw new IdentityError('internal', 'unable to generate challenge: certificate not intended for digital signature use');
  }
  const { kind } = leaf.publicKeyInfo;
  if (kind === 'rsa') return 'rsa_signature';
  if (kind.startsWith('ec-')) return 'ecdsa_signature';
  throw new IdentityError('internal', `unable to generate challenge: unsupported public key type ${kind}`);
}

function proves(leaf: Certificate, challengeNonce: Uint8Array, response: ChallengeResponse): boolean {
  const signed = Buffer.concat([challengeNonce, response.nonce]);
  const key = leaf.publicKey();
  if (response.kind === 'rsa_signature') {
    const pss = { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO };
    return verify('sha256', signed, pss, response.signature);
  }
  const size = Math.ceil(leaf.publicKeyInfo.bits / 8);
  const signature = joinNumbers(response.r, response.s, size);
  return signature !== undefined && verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, signature);
}

// The agent sends the two numbers of an ECDSA signature without leading zeros.
function joinNumbers(r: Uint8Array, s: Uint8Array, size: number): Uint8Array | undefined {
  if (r.length > size || s.length > size) return undefined;
  const joined = new Uint8Array(2 * size);
  joined.set(r, size - r.length);
  joined.set(s, 2 * size - s.length);
  return joined;
}

function fingerprint(certificate: Certificate): string {
  return createHash('sha1').update(certificate.raw).digest('hex');
}

function selectorsOf(leaf: Certificate, paths: readonly (readonly Certificate[])[], own: TrustDomain): readonly Selector[] {
  const commonName = leaf.subjectCommonName ?? '';
  const serial = leaf.serialHex.length % 2 === 0 ? leaf.serialHex : `0${leaf.serialHex}`;
  const values = [
    ...(commonName === '' ? [] : [`subject:cn:${commonName}`]),
    ...new Set(paths.flat().map((issuer) => `ca:fingerprint:${fingerprint(issuer)}`)),
    `serialnumber:${serial}`,
    ...sanSelectors(leaf, own),
  ];
  return values.map((value) => ({ type: TYPE, value }));
}

/** Selectors that the node's certificate carries itself, as URI SANs `x509pop://<trust domain>/<key>/<value>`. */
function sanSelectors(leaf: Certificate, own: TrustDomain): readonly string[] {
  const prefix = `x509pop://${own.name}/`;
  const pairs = leaf.uriSans
    .filter((uri) => uri.startsWith(prefix))
    .map((uri) => uri.slice(prefix.length).replace(/^\/+|\/+$/g, ''));
  const byKey = new Map(pairs.filter((pair) => pair.includes('/')).map((pair) => [pair.slice(0, pair.indexOf('/')), pair]));
  return [...byKey.values()].map((pair) => `san:${pair.replace('/', ':')}`);
}
