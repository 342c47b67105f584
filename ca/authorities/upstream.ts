import { createPrivateKey, type KeyObject } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { IdentityError } from '../../core/errors.ts';
import { parsePemCertificates, type Certificate } from '../../spiffe/certificate.ts';
import { findCertificationPath } from '../../spiffe/certification-path.ts';
import type { SigningKey } from '../keys/key-store.ts';
import { algorithmOf, softwareKey } from '../keys/software-key.ts';

const OTHERS = 0o007;

/** PEM files of the authority above: this CA's X.509 authorities are intermediates of it. */
export interface UpstreamFiles {
  /** The upstream authority's certificate, then what leads from it to a root. */
  readonly certFile: string;
  /** Its private key: PKCS#8, SEC 1 or PKCS#1. */
  readonly keyFile: string;
  /** The roots; may be left out when `certFile` is one self-signed certificate. */
  readonly bundleFile?: string | undefined;
}

/** The authority above, read and checked. */
export interface Upstream {
  readonly certificate: Certificate;
  readonly key: SigningKey;
  /** The certificates between this CA's authority and the roots. */
  readonly intermediates: readonly Certificate[];
  /** What the trust domain's bundle gets. */
  readonly roots: readonly Certificate[];
}

/**
 * Reads the files anew: they may be replaced while the CA runs, for its next authority.
 *
 * @throws IdentityError `failed_precondition` when a file cannot be used
 */
export async function loadUpstream(files: UpstreamFiles, nowMs: number): Promise<Upstream> {
  const [chain, privateKey, bundle] = await Promise.all([
    readCertificates(files.certFile),
    readPrivateKey(files.keyFile),
    files.bundleFile === undefined ? undefined : readCertificates(files.bundleFile),
  ]);
  const [certificate, ...others] = chain;
  if (certificate === undefined) throw unusable(files.certFile, 'it has no certificate');
  checkAuthority(certificate, files.certFile, nowMs);
  const key = softwareKey('upstream', algorithmOf(privateKey), privateKey);
  if (!isSame(key.publicKeySpki, certificate.spki)) {
    throw unusable(files.keyFile, `it is not the key of the certificate in ${files.certFile}`);
  }
  const roots = bundle ?? selfSigned(chain, files.certFile, nowMs);
  const isRoot = (candidate: Certificate): boolean => roots.some((root) => isSame(root.raw, candidate.raw));
  if (!isRoot(certificate)) checkPath({ leaf: certificate, intermediates: others, authorities: roots, nowMs }, files.certFile);
  return { certificate, key, intermediates: chain.filter((each) => !isRoot(each)), roots };
}

function checkAuthority(certificate: Certificate, file: string, nowMs: number): void {
  if (!certificate.isCa) throw unusable(file, 'its first certificate is no CA');
  if (!(certificate.keyUsage?.has('keyCertSign') ?? true))
    throw unusable(file, 'its first certificate may not sign certificates');
  if (certificate.pathLength === 0) throw unusable(file, 'its first certificate allows no CA below it (path length 0)');
  if (certificate.subjectKeyId === undefined) throw unusable(file, 'its first certificate has no subject key identifier');
  if (nowMs < certificate.notBeforeMs || nowMs >= certificate.notAfterMs)
    throw unusable(file, 'its first certificate is not in force');
}

function selfSigned(chain: readonly Certificate[], file: string, nowMs: number): readonly Certificate[] {
  const [root, ...more] = chain;
  if (root === undefined || more.length > 0)
    throw unusable(file, 'with more than one certificate, bundleFile must name the roots');
  checkPath({ leaf: root, intermediates: [], authorities: [root], nowMs }, file);
  return [root];
}

function checkPath(request: Parameters<typeof findCertificationPath>[0], file: string): void {
  try {
    findCertificationPath(request);
  } catch (cause) {
    throw unusable(file, 'its first certificate does not lead to a root; name the roots with bundleFile', cause);
  }
}

async function readCertificates(file: string): Promise<readonly Certificate[]> {
  try {
    return parsePemCertificates(await readFile(file, 'utf8'), file);
  } catch (cause) {
    throw unusable(file, reasonOf(cause), cause);
  }
}

async function readPrivateKey(file: string): Promise<KeyObject> {
  const pem = await readOwnFile(file);
  try {
    return createPrivateKey(pem);
  } catch {
    // The cause is left out: it may quote the file, which holds the key.
    throw unusable(file, 'it is no unencrypted private key in PEM');
  }
}

async function readOwnFile(file: string): Promise<string> {
  await using handle = await open(file).catch((cause: unknown) => {
    throw unusable(file, reasonOf(cause), cause);
  });
  const { mode } = await handle.stat();
  // Whoever reads this key can be any identity of the trust domain. A group is let pass: mounted secrets have one.
  if ((mode & OTHERS) !== 0)
    throw unusable(file, `every user may read it; take that away: chmod o= ${file} (of a mounted secret: defaultMode: 0440)`);
  return await handle.readFile('utf8');
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown reason';
}

function unusable(file: string, why: string, cause?: unknown): IdentityError {
  return new IdentityError('failed_precondition', `cannot use the upstream authority: ${file}: ${why}`, { cause });
}
