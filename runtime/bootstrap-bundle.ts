import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { request as requestHttp, type IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';

import { IdentityError } from '../core/errors.ts';
import { Bundle, parseBundleDocument, X509Authority } from '../spiffe/bundle.ts';
import { parsePemCertificates } from '../spiffe/certificate.ts';
import type { TrustDomain } from '../spiffe/trust-domain.ts';
import type { Bootstrap, BootstrapContext } from './bootstrap.ts';

const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;
const FETCH_TIMEOUT_MS = 15_000;

/**
 * The bundle that a process trusts before it has heard from the CA; undefined when it is told to trust whoever answers. A
 * ConfigMap is waited for until it holds one.
 *
 * @throws IdentityError `failed_precondition` when the file or document is missing, forged or not a bundle; `unavailable`
 *   when the URL cannot be reached; `permission_denied` when the ConfigMap may not be read
 */
export async function loadBootstrapBundle(bootstrap: Bootstrap, context: BootstrapContext): Promise<Bundle | undefined> {
  if (bootstrap.kind === 'insecure') return undefined;
  const { text, source } = await readText(bootstrap, context);
  try {
    return parseBundle(text, context.trustDomain);
  } catch (cause) {
    const message = `${source} holds no bundle of ${context.trustDomain.name}: neither PEM nor SPIFFE JSON`;
    throw new IdentityError('failed_precondition', message, { cause });
  }
}

async function readText(
  bootstrap: Exclude<Bootstrap, { kind: 'insecure' }>,
  context: BootstrapContext,
): Promise<{ readonly text: string; readonly source: string }> {
  if (bootstrap.kind === 'configMap') {
    // Loaded here: a process outside of a cluster never needs it.
    const { awaitConfigMap } = await import('./bootstrap-config-map.ts');
    const { namespace, name, key } = bootstrap;
    return { text: await awaitConfigMap(bootstrap, context), source: `key ${key} of ConfigMap ${namespace}/${name}` };
  }
  const isFile = bootstrap.kind === 'file';
  const document = isFile ? await readDocument(bootstrap.file) : await fetchDocument(bootstrap.url, bootstrap.sha256Hex);
  return { text: document.toString('utf8'), source: isFile ? bootstrap.file : bootstrap.url.href };
}

/** Reads a bundle from PEM certificates or from a SPIFFE bundle document. */
export function parseBundle(text: string, trustDomain: TrustDomain): Bundle {
  const bundle = text.trimStart().startsWith('{')
    ? parseBundleDocument(text, trustDomain)
    : new Bundle({ trustDomain, x509Authorities: parsePemCertificates(text).map(({ raw }) => new X509Authority(raw)) });
  if (bundle.x509Authorities.length > 0) return bundle;
  throw new IdentityError('invalid_argument', 'the bundle has no X.509 authority');
}

async function readDocument(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    // The cast is sound: fs rejects with system errors only.
    const { message } = cause as NodeJS.ErrnoException;
    const hint = `cannot read the bootstrap bundle (${message}); write it with: countersign bundle show`;
    // Without the cause, which a log would print after it: the text says all that it does.
    throw new IdentityError('failed_precondition', hint);
  }
}

async function fetchDocument(url: URL, sha256Hex: string | undefined): Promise<Buffer> {
  const document = await get(url, sha256Hex !== undefined);
  const digest = createHash('sha256').update(document).digest('hex');
  if (sha256Hex === undefined || digest === sha256Hex) return document;
  throw new IdentityError(
    'failed_precondition',
    `the document at ${url.href} has SHA-256 ${digest}, not the pinned ${sha256Hex}`,
  );
}

// With a pin the digest decides what is trusted, so the server's certificate need not; without one it must be a public one.
function get(url: URL, isPinned: boolean): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void =>
      reject(
        new IdentityError('unavailable', `cannot fetch the bootstrap bundle from ${url.href} (${cause.message})`, { cause }),
      );
    const options = { timeout: FETCH_TIMEOUT_MS, agent: false } as const;
    const request =
      url.protocol === 'https:' ? requestHttps(url, { ...options, rejectUnauthorized: !isPinned }) : requestHttp(url, options);
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', fail);
    request.on('response', (response) => {
      if (response.statusCode === 200) collect(response).then(resolve, fail);
      else request.destroy(new Error(`HTTP status ${response.statusCode}`));
    });
    request.end();
  });
}

async function collect(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response) {
    // The cast is sound: no encoding is set, so chunks are buffers.
    const bytes = chunk as Buffer;
    length += bytes.length;
    if (length > MAX_DOCUMENT_BYTES) throw new Error('the document is larger than 4 MiB');
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}
