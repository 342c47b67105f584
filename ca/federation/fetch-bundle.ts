import type { IncomingMessage } from 'node:http';
import { request, type RequestOptions } from 'node:https';
import type { TLSSocket } from 'node:tls';

import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type { Clock } from '../../core/clock.ts';
import { guardedLookup, refuseForbiddenHost } from '../../runtime/address-guard.ts';
import { presentedChain } from '../../runtime/http2-sessions.ts';
import { parseBundleDocument, type Bundle, type BundleSource } from '../../spiffe/bundle.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import { verifyX509Svid } from '../../spiffe/x509-svid.ts';
import type { FederationRelationship } from '../model.ts';

/** What fetching depends on. */
export interface FetchBundleOptions {
  readonly clock: Clock;
  /** Where the endpoint's own trust domain is looked up, for `https_spiffe`: always the latest bundle (SPIFFE Federation §5.2.2.4). */
  readonly bundles: BundleSource;
  readonly allowPrivateHosts: readonly string[];
  /** PEM roots for `https_web`; the system's own unless given. */
  readonly webRootsPem?: readonly string[];
  readonly signal?: AbortSignal;
}

const ALLOW_SETTING = 'federation.allowPrivateHosts';
const MAX_REDIRECTS = 3;
const MAX_DOCUMENT_BYTES = 1024 * 1024;
const TIMEOUT_MS = 15_000;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * Fetches a foreign bundle from its endpoint as the relationship's profile says (SPIFFE Federation §5.2).
 *
 * @throws IdentityError `unavailable` (not reached), `unauthenticated` (the server is not who it should be),
 *   `permission_denied` (the address must not be called), `invalid_argument` (no SPIFFE bundle came)
 */
export async function fetchBundle(relationship: FederationRelationship, options: FetchBundleOptions): Promise<Bundle> {
  let url = parseEndpointUrl(relationship.bundleEndpointUrl);
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
    const answer = await get(url, relationship, options);
    if (answer.kind === 'document') return parseBundleDocument(answer.body, relationship.trustDomain);
    url = parseEndpointUrl(new URL(answer.location, url).href);
  }
  throw new IdentityError(
    'unavailable',
    `bundle endpoint ${relationship.bundleEndpointUrl} redirects more than ${MAX_REDIRECTS} times`,
  );
}

/**
 * Reads a bundle endpoint's URL: https, no user information (SPIFFE Federation §5.2.1.1, §5.2.2.1).
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseEndpointUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) throw new IdentityError('invalid_argument', 'is no URL', { field: 'bundle_endpoint_url' });
  if (url.protocol !== 'https:')
    throw new IdentityError('invalid_argument', 'must begin with https://', { field: 'bundle_endpoint_url' });
  if (url.username !== '' || url.password !== '') {
    throw new IdentityError('invalid_argument', 'must not hold user information', { field: 'bundle_endpoint_url' });
  }
  return url;
}

type Answer = { readonly kind: 'document'; readonly body: Buffer } | { readonly kind: 'redirect'; readonly location: string };

async function get(url: URL, relationship: FederationRelationship, options: FetchBundleOptions): Promise<Answer> {
  refuseForbiddenHost(url, options.allowPrivateHosts, ALLOW_SETTING);
  try {
    return await exchange(
      url,
      { ...tlsFor(relationship, options), lookup: guardedLookup(options.allowPrivateHosts, ALLOW_SETTING) },
      options,
    );
  } catch (error) {
    if (isIdentityError(error)) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new IdentityError('unavailable', `cannot fetch the bundle from ${url.href} (${why})`, { cause: error });
  }
}

interface ProfileTls extends RequestOptions {
  /** Checks the server once TLS is up and before the request leaves; throws to refuse it. */
  readonly verify?: (socket: TLSSocket) => void;
}

function tlsFor({ profile }: FederationRelationship, { clock, bundles, webRootsPem }: FetchBundleOptions): ProfileTls {
  if (profile.kind === 'https_web') return webRootsPem === undefined ? {} : { ca: [...webRootsPem] };
  const { endpointSpiffeId } = profile;
  return {
    rejectUnauthorized: false,
    verify: (socket) => verifyEndpoint(presentedChain(socket), endpointSpiffeId, { bundles, nowMs: clock.nowMs() }),
  };
}

function verifyEndpoint(
  chain: readonly Uint8Array[],
  expected: SpiffeId,
  { bundles, nowMs }: { readonly bundles: BundleSource; readonly nowMs: number },
): void {
  if (bundles.bundleOf(expected.trustDomain) === undefined) {
    throw new IdentityError(
      'unauthenticated',
      `no bundle for ${expected.trustDomain.name} yet, with which its endpoint could be verified; set one first`,
    );
  }
  const { id } = verifyX509Svid(chain, bundles, nowMs);
  if (!id.equals(expected))
    throw new IdentityError('unauthenticated', `bundle endpoint is ${id.toString()}, expected ${expected.toString()}`);
}

function exchange(url: URL, { verify, ...tls }: ProfileTls, { clock, signal }: FetchBundleOptions): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { accept: 'application/json', 'user-agent': 'countersign' };
    const outgoing = request(url, {
      ...tls,
      agent: false,
      minVersion: 'TLSv1.2',
      headers,
      ...(signal === undefined ? {} : { signal }),
    });
    const timer = clock.setTimer(TIMEOUT_MS, () => outgoing.destroy(new Error(`no answer in ${TIMEOUT_MS / 1000} s`)));
    const settle = (action: () => void): void => {
      timer.cancel();
      action();
    };
    outgoing.once('error', (error) => settle(() => reject(error)));
    outgoing.once('response', (response) => {
      readAnswer(response).then(
        (answer) => settle(() => resolve(answer)),
        (error: Error) => settle(() => reject(error)),
      );
    });
    outgoing.once('socket', (socket) => {
      // The request is sent only after the server has been verified.
      socket.once('secureConnect', () => {
        try {
          // The cast is sound: an https request has a TLS socket.
          verify?.(socket as TLSSocket);
          outgoing.end();
        } catch (error) {
          settle(() => reject(error));
          outgoing.destroy();
        }
      });
    });
  });
}

async function readAnswer(response: IncomingMessage): Promise<Answer> {
  const { statusCode = 0, headers } = response;
  if (REDIRECTS.has(statusCode) && headers.location !== undefined) {
    response.destroy();
    return { kind: 'redirect', location: headers.location };
  }
  if (statusCode !== 200) {
    response.destroy();
    throw new IdentityError('unavailable', `bundle endpoint answered with HTTP status ${statusCode}`);
  }
  return { kind: 'document', body: await readLimited(response) };
}

async function readLimited(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    // The cast is sound: no encoding was set, so chunks are buffers.
    const piece = chunk as Buffer;
    bytes += piece.length;
    if (bytes > MAX_DOCUMENT_BYTES)
      throw new IdentityError('invalid_argument', `bundle document is larger than ${MAX_DOCUMENT_BYTES} bytes`);
    chunks.push(piece);
  }
  return Buffer.concat(chunks);
}
