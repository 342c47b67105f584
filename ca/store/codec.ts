import { Bundle, JwtAuthority, X509Authority } from '../../spiffe/bundle.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { policyResourceKey } from '../model.ts';
import type { Agent, AgentProgress, Authority, BundleEndpointProfile, FederationRelationship, PolicyResource } from '../model.ts';
import type { ResourceKind, Resources } from '../model.ts';
import { decodeEntry, encodeEntry } from './entry-codec.ts';
import { readSelectors, writeSelectors } from './selector-codec.ts';

/** How one kind of resource is written as JSON and read back. */
interface Codec<T> {
  name(value: T): string;
  encode(value: T): unknown;
  decode(name: string, json: string): T;
}

/** The codecs of all kinds. What `decode` reads was written by `encode` of this or an earlier release. */
export const CODECS: { readonly [K in ResourceKind]: Codec<Resources[K]> } = {
  entry: { name: (entry) => entry.id, encode: encodeEntry, decode: decodeEntry },
  agent: { name: (agent) => agent.id.toString(), encode: encodeAgent, decode: decodeAgent },
  authority: { name: ({ kind, id }) => authorityName(kind, id), encode: encodeAuthority, decode: decodeAuthority },
  bundle: { name: (bundle) => bundle.trustDomain.name, encode: encodeBundle, decode: decodeBundle },
  relationship: { name: ({ trustDomain }) => trustDomain.name, encode: encodeRelationship, decode: decodeRelationship },
  policy: { name: policyResourceKey, encode: (policy) => policy, decode: decodePolicyResource },
  progress: { name: ({ agentId }) => agentId.toString(), encode: encodeProgress, decode: decodeProgress },
};

/** The name of an authority within its kind of resource. */
export function authorityName(kind: Authority['kind'], id: string): string {
  return `${kind}/${id}`;
}

interface StoredAgent extends Omit<Agent, 'id' | 'selectors'> {
  readonly selectors: readonly string[];
}

function encodeAgent({ id: _, ...agent }: Agent): StoredAgent {
  return { ...agent, selectors: writeSelectors(agent.selectors) };
}

function decodeAgent(name: string, json: string): Agent {
  // The cast is sound: encodeAgent wrote it.
  const stored = JSON.parse(json) as StoredAgent;
  return { ...stored, id: parseSpiffeId(name, 'agent'), selectors: readSelectors(stored.selectors) };
}

interface StoredAuthority extends Omit<Authority, 'publicBytes'> {
  readonly publicBytes: string;
}

function encodeAuthority(authority: Authority): StoredAuthority {
  return { ...authority, publicBytes: toBase64(authority.publicBytes) };
}

function decodeAuthority(_name: string, json: string): Authority {
  // The cast is sound: encodeAuthority wrote it.
  const stored = JSON.parse(json) as StoredAuthority;
  return { ...stored, publicBytes: fromBase64(stored.publicBytes) };
}

interface StoredKey {
  readonly keyId: string;
  readonly spki: string;
  readonly expiresAtMs?: number | undefined;
  readonly tainted?: boolean;
}

interface StoredBundle {
  readonly x509: readonly { readonly der: string; readonly tainted?: boolean }[];
  readonly jwt: readonly StoredKey[];
  readonly wit: readonly StoredKey[];
  readonly refreshHintSeconds?: number | undefined;
  readonly sequenceNumber?: string | undefined;
}

function encodeBundle(bundle: Bundle): StoredBundle {
  return {
    x509: bundle.x509Authorities.map(({ der, tainted }) => ({ der: toBase64(der), tainted })),
    jwt: [...bundle.jwtAuthorities.values()].map(encodeKey),
    wit: [...bundle.witAuthorities.values()].map(encodeKey),
    refreshHintSeconds: bundle.refreshHintSeconds,
    sequenceNumber: bundle.sequenceNumber?.toString(),
  };
}

function decodeBundle(name: string, json: string): Bundle {
  // The cast is sound: encodeBundle wrote it.
  const stored = JSON.parse(json) as StoredBundle;
  return new Bundle({
    trustDomain: parseTrustDomain(name),
    x509Authorities: stored.x509.map(({ der, tainted }) => new X509Authority(fromBase64(der), { tainted: tainted === true })),
    jwtAuthorities: stored.jwt.map(decodeKey),
    witAuthorities: stored.wit.map(decodeKey),
    refreshHintSeconds: stored.refreshHintSeconds,
    sequenceNumber: stored.sequenceNumber === undefined ? undefined : BigInt(stored.sequenceNumber),
  });
}

function encodeKey({ keyId, spki, expiresAtMs, tainted }: JwtAuthority): StoredKey {
  return { keyId, spki: toBase64(spki), expiresAtMs, tainted };
}

function decodeKey({ keyId, spki, expiresAtMs, tainted }: StoredKey): JwtAuthority {
  return new JwtAuthority(keyId, fromBase64(spki), { expiresAtMs, tainted: tainted === true });
}

interface StoredRelationship {
  readonly bundleEndpointUrl: string;
  readonly endpointSpiffeId?: string;
}

function encodeRelationship({ bundleEndpointUrl, profile }: FederationRelationship): StoredRelationship {
  if (profile.kind === 'https_web') return { bundleEndpointUrl };
  return { bundleEndpointUrl, endpointSpiffeId: profile.endpointSpiffeId.toString() };
}

function decodeRelationship(name: string, json: string): FederationRelationship {
  // The cast is sound: encodeRelationship wrote it.
  const { bundleEndpointUrl, endpointSpiffeId } = JSON.parse(json) as StoredRelationship;
  const profile: BundleEndpointProfile =
    endpointSpiffeId === undefined
      ? { kind: 'https_web' }
      : { kind: 'https_spiffe', endpointSpiffeId: parseSpiffeId(endpointSpiffeId, 'endpoint_spiffe_id') };
  return { trustDomain: parseTrustDomain(name), bundleEndpointUrl, profile };
}

function decodePolicyResource(_name: string, json: string): PolicyResource {
  // The cast is sound: the codec of policies wrote it.
  return JSON.parse(json) as PolicyResource;
}

interface StoredProgress {
  readonly revision: number;
  readonly refused?: Readonly<Record<string, number>>;
  readonly reasons?: Readonly<Record<string, string>>;
}

function encodeProgress({ revision, refused, reasons }: AgentProgress): StoredProgress {
  if (Object.keys(refused).length === 0) return { revision };
  return { revision, refused, ...(reasons === undefined ? {} : { reasons }) };
}

function decodeProgress(name: string, json: string): AgentProgress {
  // The cast is sound: encodeProgress wrote it.
  const { refused = {}, ...progress } = JSON.parse(json) as StoredProgress;
  return { agentId: parseSpiffeId(name, 'agent'), ...progress, refused };
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

function fromBase64(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'base64'));
}
