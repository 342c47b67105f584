import { randomBytes, sign } from 'node:crypto';
import { Bundle, JwtAuthority, X509Authority } from '../../spiffe/bundle.ts';
import type { BundleContent, BundleSource } from '../../spiffe/bundle.ts';
import { encodePem, parseCertificate } from '../../spiffe/certificate.ts';
import type { Certificate, KeyUsage } from '../../spiffe/certificate.ts';
import {
  assembleCertificate,
  encodeAuthorityKeyId,
  encodeBasicConstraints,
  encodeExtendedKeyUsage,
  encodeKeyUsage,
  encodeSubjectAltName,
  encodeSubjectKeyId,
  encodeTbs,
} from '../../spiffe/certificate-writer.ts';
import { encodeName } from '../../spiffe/distinguished-name.ts';
import type { Subject } from '../../spiffe/distinguished-name.ts';
import { KEY_PURPOSE } from '../../spiffe/extensions.ts';
import { defaultJwsAlgorithm, signJws } from '../../spiffe/jwt.ts';
import type { JwsAlgorithm } from '../../spiffe/jwt.ts';
import { subjectKeyIdOf } from '../../spiffe/public-key.ts';
import type { CertificateSignatureAlgorithm } from '../../spiffe/signature-algorithm.ts';
import { createSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import { buildWitClaims } from '../../spiffe/wit-svid.ts';
import { createTestKey } from './test-keys.ts';
import type { TestKey } from './test-keys.ts';

const HOUR_MS = 3_600_000;

/** A certificate with its key. */
export interface Issued {
  readonly der: Uint8Array;
  readonly certificate: Certificate;
  readonly key: TestKey;
}

/** Everything that a test may bend about a certificate; what is left out is as it should be. */
export interface CertificateOptions {
  readonly key?: TestKey;
  readonly serial?: Uint8Array;
  readonly subject?: Subject;
  /** Instead of the issuer's subject. */
  readonly issuerRaw?: Uint8Array;
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly isSanCritical?: boolean;
  readonly isCa?: boolean;
  readonly pathLength?: number;
  /** `null` leaves the extension out. */
  readonly keyUsage?: readonly KeyUsage[] | null;
  /** Dotted object identifiers; `null` leaves the extension out. */
  readonly purposes?: readonly string[] | null;
  /** `null` leaves the extension out. */
  readonly authorityKeyId?: Uint8Array | null;
  readonly extraExtensions?: readonly Uint8Array[];
  /** Signs with this key instead of the issuer's. */
  readonly signingKey?: TestKey;
  readonly signatureAlgorithm?: CertificateSignatureAlgorithm;
}

/** An X509-SVID as a workload holds it. */
export interface IssuedSvid extends Issued {
  readonly id: SpiffeId;
  /** Leaf first, without the root. */
  readonly chain: readonly Uint8Array[];
  readonly chainPem: string;
  readonly keyPem: string;
}

/** What {@link TestCa.create} may be told. */
export interface TestCaOptions {
  readonly trustDomain?: string;
  /** The time around which everything is valid; the machine's own unless given. */
  readonly nowMs?: number;
  readonly key?: TestKey;
  readonly root?: CertificateOptions;
}

/**
 * A small real CA for tests: a root, intermediates, SVIDs of each kind, and options to break each rule.
 *
 * @example
 * const ca = TestCa.create({ trustDomain: 'example.org' });
 * const { chain, key } = ca.issueX509Svid('/web');
 * verifyX509Svid(chain, ca.bundles, ca.nowMs);
 */
export class TestCa {
  readonly trustDomain: TrustDomain;
  readonly nowMs: number;
  readonly root: Issued;
  readonly jwtKey: TestKey;
  readonly jwtKeyId = 'jwt-key-1';
  readonly witKey: TestKey;
  readonly witKeyId = 'wit-key-1';

  private constructor(trustDomain: TrustDomain, options: TestCaOptions) {
    this.trustDomain = trustDomain;
    this.nowMs = options.nowMs ?? Date.now();
    this.root = issueCertificate(undefined, {
      ...this.#authorityDefaults(24),
      key: options.key ?? createTestKey(),
      ...options.root,
    });
    this.jwtKey = createTestKey();
    this.witKey = createTestKey();
  }

  static create(options: TestCaOptions = {}): TestCa {
    return new TestCa(parseTrustDomain(options.trustDomain ?? 'example.org'), options);
  }

  /** The bundle of the trust domain; parts may be replaced. */
  bundle(content: Partial<BundleContent> = {}): Bundle {
    return new Bundle({
      trustDomain: this.trustDomain,
      x509Authorities: [new X509Authority(this.root.der)],
      jwtAuthorities: [new JwtAuthority(this.jwtKeyId, this.jwtKey.spki)],
      witAuthorities: [new JwtAuthority(this.witKeyId, this.witKey.spki)],
      ...content,
    });
  }

  /** A source with the bundle of this trust domain alone. */
  get bundles(): BundleSource {
    return bundleSource(this.bundle());
  }

  get rootPem(): string {
    return encodePem('CERTIFICATE', this.root.der);
  }

  /** An intermediate CA below the root, or below `issuer`. */
  issueIntermediate(options: CertificateOptions = {}, issuer: Issued = this.root): Issued {
    return issueCertificate(issuer, { ...this.#authorityDefaults(12), ...options });
  }

  /** An X509-SVID below the last of `signers`, or below the root when there is none. */
  issueX509Svid(path = '/workload', options: CertificateOptions = {}, signers: readonly Issued[] = []): IssuedSvid {
    const id = createSpiffeId(this.trustDomain, path);
    const leaf = issueCertificate(signers.at(-1) ?? this.root, {
      subject: { country: 'US', organization: 'SPIRE' },
      uris: [id.toString()],
      notBeforeMs: this.nowMs - 10_000,
      notAfterMs: this.nowMs + HOUR_MS,
      ...options,
    });
    const chain = [leaf.der, ...signers.toReversed().map(({ der }) => der)];
    return {
      ...leaf,
      id,
      chain,
      chainPem: chain.map((der) => encodePem('CERTIFICATE', der)).join(''),
      keyPem: leaf.key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    };
  }

  /** A JWT-SVID; claims and header members that are `undefined` are left out. */
  signJwt(claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}, key: TestKey = this.jwtKey): string {
    const seconds = Math.floor(this.nowMs / 1000);
    const sub = `${this.trustDomain.idString}/workload`;
    const payload = { sub, aud: ['test-audience'], exp: seconds + 300, iat: seconds, ...claims };
    return signToken(payload, { kid: this.jwtKeyId, typ: 'JWT', ...header }, key);
  }

  /** A WIT-SVID; claims and header members that are `undefined` are left out. */
  signWit(claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}, key: TestKey = this.witKey): string {
    const payload = buildWitClaims({
      id: createSpiffeId(this.trustDomain, '/workload'),
      confirmationKey: createTestKey().publicKey,
      confirmationAlgorithm: 'ES256',
      issuedAtMs: this.nowMs,
      expiresAtMs: this.nowMs + HOUR_MS,
    });
    return signToken({ ...payload, ...claims }, { kid: this.witKeyId, typ: 'wit+jwt', ...header }, key);
  }

  #authorityDefaults(hours: number): CertificateOptions {
    return {
      isCa: true,
      subject: { country: 'US', organization: 'SPIFFE', serialNumber: randomBytes(8).toString('hex') },
      uris: [this.trustDomain.idString],
      notBeforeMs: this.nowMs - HOUR_MS,
      notAfterMs: this.nowMs + hours * HOUR_MS,
    };
  }
}

/** A source with these bundles. */
export function bundleSource(...bundles: readonly Bundle[]): BundleSource {
  return { bundleOf: (trustDomain) => bundles.find((bundle) => bundle.trustDomain.equals(trustDomain)) };
}

/** Issues a certificate, self-signed when there is no issuer. */
export function issueCertificate(issuer: Issued | undefined, options: CertificateOptions): Issued {
  const key = options.key ?? createTestKey();
  const signingKey = options.signingKey ?? issuer?.key ?? key;
  const signatureAlgorithm = options.signatureAlgorithm ?? algorithmOf(signingKey);
  const subjectRaw = encodeName(options.subject ?? {});
  const tbs = encodeTbs({
    serial: options.serial ?? Uint8Array.from([1, ...randomBytes(15)]),
    signatureAlgorithm,
    issuerRaw: options.issuerRaw ?? issuer?.certificate.subjectRaw ?? subjectRaw,
    notBeforeMs: options.notBeforeMs ?? Date.now() - 10_000,
    notAfterMs: options.notAfterMs ?? Date.now() + HOUR_MS,
    subjectRaw,
    spki: key.spki,
    extensions: extensionsOf(options, key, issuer, subjectRaw.length === 2),
  });
  const hash = signatureAlgorithm === 'ed25519' ? null : /(?:sha|SHA)(256|384|512)/.exec(signatureAlgorithm)?.[1];
  const signature = sign(typeof hash === 'string' ? `sha${hash}` : null, tbs, signingKey.privateKey);
  const der = assembleCertificate(tbs, signatureAlgorithm, signature);
  return { der, certificate: parseCertificate(der), key };
}

function extensionsOf(
  options: CertificateOptions,
  key: TestKey,
  issuer: Issued | undefined,
  hasNoSubject: boolean,
): readonly Uint8Array[] {
  const { isCa = false, uris = [], dnsNames = [], authorityKeyId = issuer?.certificate.subjectKeyId ?? null } = options;
  const { keyUsage = isCa ? CA_KEY_USAGE : leafUsageOf(key), purposes = isCa ? null : Object.values(KEY_PURPOSE) } = options;
  const names = uris.length + dnsNames.length;
  return [
    ...(keyUsage === null ? [] : [encodeKeyUsage(...keyUsage)]),
    ...(purposes === null ? [] : [encodeExtendedKeyUsage(...purposes)]),
    encodeBasicConstraints(isCa, options.pathLength),
    encodeSubjectKeyId(subjectKeyIdOf(key.spki)),
    ...(authorityKeyId === null ? [] : [encodeAuthorityKeyId(authorityKeyId)]),
    ...(names === 0 ? [] : [encodeSubjectAltName({ dnsNames, uris }, options.isSanCritical ?? hasNoSubject)]),
    ...(options.extraExtensions ?? []),
  ];
}

const CA_KEY_USAGE: readonly KeyUsage[] = ['keyCertSign', 'cRLSign'];

function leafUsageOf({ kind }: TestKey): readonly KeyUsage[] {
  if (kind === 'Ed25519') return ['digitalSignature'];
  return kind.startsWith('RSA') ? ['digitalSignature', 'keyEncipherment'] : ['digitalSignature', 'keyAgreement'];
}

function algorithmOf({ kind }: TestKey): CertificateSignatureAlgorithm {
  if (kind === 'Ed25519') return 'ed25519';
  if (kind.startsWith('RSA')) return 'sha256WithRSAEncryption';
  return kind === 'P-521' ? 'ecdsa-with-SHA512' : kind === 'P-384' ? 'ecdsa-with-SHA384' : 'ecdsa-with-SHA256';
}

function signToken(payload: Record<string, unknown>, header: Record<string, unknown>, key: TestKey): string {
  // A test that names another algorithm than the key's own names one that fits.
  const alg = (header['alg'] as JwsAlgorithm | undefined) ?? defaultJwsAlgorithm(key.privateKey);
  return signJws({ header: { ...header, alg }, payload, key: key.privateKey });
}
