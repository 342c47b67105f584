import { createPrivateKey, type KeyObject } from 'node:crypto';

import { IdentityError } from '../core/errors.ts';
import type { X509BundlesResponse, X509SVID, X509SVIDResponse } from '../proto/gen/spiffe/workload/workload_pb.ts';
import { Bundle, X509Authority, type BundleSource } from '../spiffe/bundle.ts';
import { DerReader, TAG } from '../spiffe/der.ts';
import { parseTrustDomain, type TrustDomain } from '../spiffe/trust-domain.ts';
import { parseX509Svid, type X509Svid } from '../spiffe/x509-svid.ts';

/** An X.509-SVID as a workload got it, with the hint that tells it from others. */
export interface HintedX509Svid extends X509Svid {
  readonly hint: string;
}

/** X.509 bundles by trust domain. Immutable. */
export class X509BundleSet implements BundleSource {
  readonly #bundles: ReadonlyMap<string, Bundle>;

  constructor(bundles: Iterable<Bundle>) {
    this.#bundles = new Map([...bundles].map((bundle) => [bundle.trustDomain.name, bundle]));
  }

  bundleOf(trustDomain: TrustDomain): Bundle | undefined {
    return this.#bundles.get(trustDomain.name);
  }

  /** Every bundle, in the order in which they came. */
  [Symbol.iterator](): Iterator<Bundle> {
    return this.#bundles.values();
  }
}

/** All that a workload needs for mTLS at one moment: its SVIDs, the first being the default, and whom it trusts. */
export interface X509Context {
  readonly svids: readonly [HintedX509Svid, ...HintedX509Svid[]];
  readonly bundles: X509BundleSet;
}

/**
 * Reads one message of FetchX509SVID (SPIFFE Workload API §5.2.1).
 *
 * @throws IdentityError `invalid_argument` when any part of it cannot be used: it is taken whole or not at all
 */
export function parseX509Context(response: X509SVIDResponse): X509Context {
  const [first, ...rest] = response.svids.map(parseHintedSvid);
  if (first === undefined) throw new IdentityError('invalid_argument', 'the agent sent no X.509-SVID', { field: 'svids' });
  const own = response.svids.map((svid, index) =>
    parseBundle((index === 0 ? first : (rest[index - 1] ?? first)).id.trustDomain, svid.bundle),
  );
  const federated = Object.entries(response.federatedBundles).map(([id, der]) => parseBundle(parseTrustDomain(id), der));
  return { svids: [first, ...rest], bundles: new X509BundleSet([...federated, ...own]) };
}

/**
 * Reads one message of FetchX509Bundles (SPIFFE Workload API §5.2.2).
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseX509Bundles(response: X509BundlesResponse): X509BundleSet {
  return new X509BundleSet(Object.entries(response.bundles).map(([id, der]) => parseBundle(parseTrustDomain(id), der)));
}

function parseHintedSvid(svid: X509SVID): HintedX509Svid {
  return { ...parseX509Svid(splitDer(svid.x509Svid), importPrivateKey(svid.x509SvidKey)), hint: svid.hint };
}

function parseBundle(trustDomain: TrustDomain, concatenatedDer: Uint8Array): Bundle {
  const x509Authorities = splitDer(concatenatedDer).map((der) => new X509Authority(der));
  for (const authority of x509Authorities) void authority.certificate;
  return new Bundle({ trustDomain, x509Authorities });
}

/** The certificates of a field that holds them one after the other, as the Workload API carries chains and bundles. */
function splitDer(concatenated: Uint8Array): Uint8Array[] {
  const reader = new DerReader(concatenated, 'certificates');
  const certificates: Uint8Array[] = [];
  while (!reader.atEnd) certificates.push(reader.readRaw(TAG.sequence));
  return certificates;
}

function importPrivateKey(pkcs8: Uint8Array): KeyObject {
  try {
    return createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' });
  } catch {
    // The cause is dropped on purpose: nothing about the key may travel further.
    throw new IdentityError('invalid_argument', 'is no PKCS#8 private key', { field: 'x509_svid_key' });
  }
}
