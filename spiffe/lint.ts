import { IdentityError, isIdentityError } from '../core/errors.ts';
import { parseTbsCertificate } from './certificate.ts';
import type { TbsCertificate } from './certificate.ts';
import { DerReader, TAG, contextConstructedTag } from './der.ts';
import { EXTENSION, KEY_PURPOSE } from './extensions.ts';
import type { KeyKind } from './public-key.ts';
import { parseSpiffeId } from './spiffe-id.ts';
import type { SpiffeId } from './spiffe-id.ts';

/** What a linted SVID must be. */
export interface LintExpectation {
  readonly nowMs: number;
  /** When the signing authority ends: nothing it signs may outlive it. */
  readonly authorityNotAfterMs: number;
  /** The ID that was asked for, when it is known. */
  readonly id?: SpiffeId;
}

/** A rule: what is wrong when it does not hold. */
type Rule = readonly [finding: string, holds: boolean];

const EMPTY_NAME_BYTES = 2;
const DNS_NAME =
  /^(?:\*\.)?(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;

/**
 * Checks what is about to be signed as an X509-SVID: the second half of "build, lint, then sign". It reads the DER itself, so it
 * finds faults of the writer, too.
 *
 * @param tbsOrCertificate a TBSCertificate, or a whole certificate
 * @throws IdentityError `internal` that lists every finding; nothing that fails here may be signed
 */
export function lintX509Svid(tbsOrCertificate: Uint8Array, expected: LintExpectation): void {
  const tbs = readTbs(tbsOrCertificate);
  report('X.509-SVID', [...commonRules(tbs), ...leafRules(tbs), ...nameRules(tbs, expected.id), ...timeRules(tbs, expected)]);
}

/**
 * Checks what is about to be signed as an X.509 authority (X509-SVID §3.2, §4).
 *
 * @param tbsOrCertificate a TBSCertificate, or a whole certificate
 * @throws IdentityError `internal` that lists every finding
 */
export function lintX509Authority(tbsOrCertificate: Uint8Array): void {
  const tbs = readTbs(tbsOrCertificate);
  const usage = tbs.keyUsage;
  const [uri, ...moreUris] = tbs.uriSans;
  report('X.509 authority', [
    ...commonRules(tbs),
    ['[X509-SVID §4.1] the CA flag must be set', tbs.isCa],
    ['[X509-SVID §4.3] key usage must have keyCertSign', usage?.has('keyCertSign') ?? false],
    ['[X509-SVID §2] at most one URI name', moreUris.length === 0],
    ['[X509-SVID §3.2] a SPIFFE ID must have no path', uri === undefined || spiffeIdOf(uri)?.path === ''],
    ['[RFC 5280 §4.1.2.6] the subject of a CA must not be empty', tbs.subjectRaw.length > EMPTY_NAME_BYTES],
    ['[RFC 5280 §4.1.2.5] notBefore must be before notAfter', tbs.notBeforeMs < tbs.notAfterMs],
  ]);
}

function readTbs(der: Uint8Array): TbsCertificate {
  const content = new DerReader(der, 'certificate').enter(TAG.sequence);
  // A TBSCertificate begins with its version, a certificate with its TBSCertificate.
  return parseTbsCertificate(content.peekTag() === contextConstructedTag(0) ? der : content.readRaw(TAG.sequence));
}

function commonRules(tbs: TbsCertificate): readonly Rule[] {
  return [
    ['[RFC 5280 §4.1.2.2] the serial number must be positive', tbs.serialHex !== '0'],
    ['[RFC 5280 §4.1.2.4] the issuer must not be empty', tbs.issuerRaw.length > EMPTY_NAME_BYTES],
    ['[X509-SVID §4.3] key usage must be critical', tbs.extensions.get(EXTENSION.keyUsage)?.critical ?? false],
    ['[RFC 5280 §4.2.1.9] basic constraints must be critical', tbs.extensions.get(EXTENSION.basicConstraints)?.critical ?? false],
    ['[RFC 5280 §4.2.1.2] the subject key identifier must be there', tbs.subjectKeyId !== undefined],
    ['[RFC 5280 §4.2] no critical extension that is not processed', tbs.unknownCriticalExtensions.length === 0],
    ['the key must be of a kind and size that is accepted', isKeyAccepted(tbs)],
    ['the signature algorithm must be one that is verified', !/^[\d.]+$/.test(tbs.signatureAlgorithm)],
  ];
}

function leafRules(tbs: TbsCertificate): readonly Rule[] {
  const purposes = tbs.extendedKeyUsage;
  const usage = tbs.keyUsage;
  return [
    ['[X509-SVID §4.1] the CA flag must not be set', !tbs.isCa],
    ['[X509-SVID §4.3] key usage must have digitalSignature', usage?.has('digitalSignature') ?? false],
    [
      '[X509-SVID §4.3] key usage must not have keyCertSign or cRLSign',
      !(usage?.has('keyCertSign') ?? false) && !(usage?.has('cRLSign') ?? false),
    ],
    ['[RFC 8813 §3] key usage must be what the key can do', isUsageOfKey(tbs)],
    [
      '[X509-SVID §4.4] extended key usage must have serverAuth and clientAuth',
      (purposes?.includes(KEY_PURPOSE.serverAuth) ?? false) && (purposes?.includes(KEY_PURPOSE.clientAuth) ?? false),
    ],
    ['[RFC 5280 §4.2.1.1] the authority key identifier must be there', tbs.authorityKeyId !== undefined],
  ];
}

function nameRules(tbs: TbsCertificate, expected: SpiffeId | undefined): readonly Rule[] {
  const [uri = '', ...moreUris] = tbs.uriSans;
  const id = spiffeIdOf(uri);
  const isCritical = tbs.extensions.get(EXTENSION.subjectAltName)?.critical ?? false;
  return [
    ['[X509-SVID §2] exactly one URI name', tbs.uriSans.length === 1 && moreUris.length === 0],
    ['[X509-SVID §3.1] a SPIFFE ID with a path', id !== undefined && id.path !== ''],
    ['the SPIFFE ID must be the one that was asked for', expected === undefined || (id?.equals(expected) ?? false)],
    [
      '[RFC 5280 §4.2.1.6] the alternative name must be critical if and only if there is no subject',
      isCritical === (tbs.subjectRaw.length === EMPTY_NAME_BYTES),
    ],
    ['[RFC 5280 §4.2.1.6] DNS names must be well-formed', tbs.dnsSans.every((name) => name.length <= 253 && DNS_NAME.test(name))],
  ];
}

function timeRules(tbs: TbsCertificate, { nowMs, authorityNotAfterMs }: LintExpectation): readonly Rule[] {
  return [
    ['it must be valid now', tbs.notBeforeMs <= nowMs && nowMs < tbs.notAfterMs],
    ['it must not outlive its authority', tbs.notAfterMs <= authorityNotAfterMs],
  ];
}

function isKeyAccepted(tbs: TbsCertificate): boolean {
  return keyKindOf(tbs) !== undefined;
}

/** RFC 8813 §3 for EC, RFC 8410 §5 for Ed25519, RFC 3279 §2.3.1 for RSA. */
function isUsageOfKey(tbs: TbsCertificate): boolean {
  const kind = keyKindOf(tbs);
  const mayEncipher = kind === 'rsa';
  const mayAgree = kind?.startsWith('ec-') ?? false;
  const usage = tbs.keyUsage ?? new Set();
  return (mayEncipher || !usage.has('keyEncipherment')) && (mayAgree || !usage.has('keyAgreement'));
}

function keyKindOf(tbs: TbsCertificate): KeyKind | undefined {
  return undefinedIfRefused(() => tbs.publicKeyInfo.kind);
}

function spiffeIdOf(uri: string): SpiffeId | undefined {
  return undefinedIfRefused(() => parseSpiffeId(uri));
}

function undefinedIfRefused<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isIdentityError(error)) return undefined;
    throw error;
  }
}

function report(what: string, rules: readonly Rule[]): void {
  const findings = rules.filter(([, holds]) => !holds).map(([finding]) => finding);
  if (findings.length === 0) return;
  throw new IdentityError('internal', `${what} is not fit to be signed: ${findings.join('; ')}`);
}
