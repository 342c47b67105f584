import { readFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import type { Clock } from '../../../core/clock.ts';
import { IdentityError } from '../../../core/errors.ts';

// 110 pods with many containers are some 2 MB.
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const REQUEST_TIMEOUT_MS = 10_000;
const ACCEPT = { accept: 'application/json' };

/** How a caller proves to the kubelet who it is. */
export type KubeletCredentials =
  | { readonly kind: 'token'; readonly file: string }
  | { readonly kind: 'certificate'; readonly certFile: string; readonly keyFile: string }
  | { readonly kind: 'none' };

/** Where the kubelet is, and how it is spoken to. */
export interface KubeletOptions {
  readonly clock: Clock;
  readonly host: string;
  readonly port: number;
  /** Undefined for the read-only port, which speaks plain HTTP and asks for nothing. */
  readonly tls:
    | {
        /** Authorities that the kubelet's certificate is verified against; undefined to take any certificate. */
        readonly caFile: string | undefined;
        /** The name that the certificate must hold; undefined where only its chain counts. */
        readonly serverName: string | undefined;
        readonly credentials: KubeletCredentials;
      }
    | undefined;
}

/** `GET /pods` of the kubelet: the pods of this node. */
export class Kubelet {
  readonly #options: KubeletOptions;

  constructor(options: KubeletOptions) {
    this.#options = options;
  }

  /**
   * The items of the pod list, as parsed JSON. Token, key and authorities are read anew each time: all of them rotate.
   *
   * @throws IdentityError `unavailable` when the kubelet does not answer, `permission_denied` when it refuses
   */
  async pods(signal: AbortSignal): Promise<readonly unknown[]> {
    const late = new AbortController();
    const timer = this.#options.clock.setTimer(REQUEST_TIMEOUT_MS, () => late.abort(new Error('no answer within 10 s')));
    try {
      const response = await this.#get('/pods', AbortSignal.any([signal, late.signal]));
      const body = await readBody(response);
      if (response.statusCode !== 200) throw refused(response.statusCode ?? 0);
      return readItems(body);
    } finally {
      timer.cancel();
    }
  }

  async #get(path: string, signal: AbortSignal): Promise<IncomingMessage> {
    const { host, port, tls } = this.#options;
    const options: RequestOptions = { host, port, path, signal, agent: false, headers: ACCEPT };
    const secure = tls === undefined ? undefined : await this.#secure(tls, options);
    return new Promise((resolve, reject) => {
      const call = secure === undefined ? httpRequest(options, resolve) : httpsRequest(secure, resolve);
      call.on('error', (cause) =>
        reject(new IdentityError('unavailable', `the kubelet at ${host}:${port} does not answer: ${cause.message}`, { cause })),
      );
      call.end();
    });
  }

  async #secure(tls: NonNullable<KubeletOptions['tls']>, options: RequestOptions): Promise<RequestOptions> {
    const { caFile, serverName, credentials } = tls;
    const ca = caFile === undefined ? undefined : await readSecret(caFile);
    const byChainOnly = serverName === undefined ? { checkServerIdentity: () => undefined } : { servername: serverName };
    const verified = ca === undefined ? { rejectUnauthorized: false } : { ca, ...byChainOnly };
    if (credentials.kind === 'token') {
      const token = (await readSecret(credentials.file)).trim();
      return { ...options, ...verified, headers: { ...ACCEPT, authorization: `Bearer ${token}` } };
    }
    if (credentials.kind === 'none') return { ...options, ...verified };
    const [cert, key] = await Promise.all([readSecret(credentials.certFile), readSecret(credentials.keyFile)]);
    return { ...options, ...verified, cert, key };
  }
}

async function readSecret(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new IdentityError('unavailable', `cannot read ${file} to ask the kubelet`, { cause });
  }
}

async function readBody(response: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of response) {
      length += chunk.length;
      if (length > MAX_ANSWER_BYTES) throw new IdentityError('resource_exhausted', 'the kubelet answered with over 64 MiB');
      chunks.push(chunk);
    }
  } catch (cause) {
    if (cause instanceof IdentityError) throw cause;
    throw new IdentityError('unavailable', 'the kubelet broke off its answer', { cause });
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** The body of a refusal is left out: it belongs to another program. */
function refused(statusCode: number): IdentityError {
  if (statusCode === 401 || statusCode === 403) {
    const why = 'the service account needs "get" on nodes/proxy (or nodes/pods where the kubelet knows it)';
    return new IdentityError('permission_denied', `the kubelet refused its pod list with HTTP status ${statusCode}; ${why}`);
  }
  return new IdentityError('unavailable', `the kubelet answered with HTTP status ${statusCode}`);
}

function readItems(body: string): readonly unknown[] {
  try {
    const answer: unknown = JSON.parse(body);
    if (typeof answer === 'object' && answer !== null && 'items' in answer) {
      if (Array.isArray(answer.items)) return answer.items;
      if (answer.items === null) return [];
    }
  } catch {
    // The parser's message would quote the body.
  }
  throw new IdentityError('unavailable', 'the kubelet answered with something other than a pod list');
}
