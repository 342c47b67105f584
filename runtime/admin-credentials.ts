import type { KeyObject } from 'node:crypto';
import { IdentityError } from '../core/errors.ts';
import { Admin } from '../proto/gen/countersign/admin/v1/admin_pb.ts';
import { SVID } from '../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import type { X509SVID } from '../proto/gen/spire/api/types/x509svid_pb.ts';
import type { Bundle } from '../spiffe/bundle.ts';
import { encodePem } from '../spiffe/certificate.ts';
import { buildCsr } from '../spiffe/csr-builder.ts';
import { createKeyPair, privateKeyOf, type KeyPair } from '../spiffe/key-pair.ts';
import { createSpiffeId, type SpiffeId } from '../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../spiffe/trust-domain.ts';
import { parseWireBundle } from './bundle-conversion.ts';
import type { GrpcConnection } from './grpc-client.ts';
import { readSecret } from './secret-file.ts';

/** What a process proves itself with, to the CA and as a server to others. */
export interface AdminCredentials {
  readonly spiffeId: SpiffeId;
  /** DER, leaf first. */
  readonly chainDer: readonly Uint8Array[];
  readonly chainPem: string;
  readonly privateKey: KeyObject;
  readonly privateKeyPem: string;
  /** DNS names in the certificate: what a webhook server can be called by. */
  readonly dnsNames: readonly string[];
  readonly expiresAtMs: number;
}

/** How a call to the CA may be ended. */
export interface AdminCall {
  readonly connection: GrpcConnection;
  readonly signal: AbortSignal;
}

const CALL_TIMEOUT_MS = 30_000;

/**
 * Logs in with the token that is in the file at this moment, and a new key.
 *
 * @throws what the call rejects with; IdentityError `failed_precondition` when the file cannot be read
 */
export async function logIn(
  { connection, signal }: AdminCall,
  { tokenFile, cluster = '' }: { readonly tokenFile: string; readonly cluster?: string | undefined },
): Promise<{ readonly credentials: AdminCredentials; readonly bundle: Bundle }> {
  const token = (await readSecret(tokenFile, 'service-account token')).trim();
  const pair = createKeyPair();
  const request = { token, csr: buildCsr(pair), cluster };
  const { svid, bundle, dnsNames } = await connection.client(Admin).login(request, { signal, timeoutMs: CALL_TIMEOUT_MS });
  if (bundle === undefined) throw incomplete('bundle');
  return { credentials: credentialsOf(svid, pair, dnsNames), bundle: parseWireBundle(bundle) };
}

/** Mints an SVID over the CA's private socket, for a new key. @throws what the call rejects with */
export async function mint(
  { connection, signal }: AdminCall,
  { spiffeId, dnsNames }: Pick<AdminCredentials, 'spiffeId' | 'dnsNames'>,
): Promise<AdminCredentials> {
  const pair = createKeyPair();
  const request = { csr: buildCsr(pair, spiffeId, dnsNames) };
  const { svid } = await connection.client(SVID).mintX509SVID(request, { signal, timeoutMs: CALL_TIMEOUT_MS });
  return credentialsOf(svid, pair, dnsNames);
}

function credentialsOf(svid: X509SVID | undefined, pair: KeyPair, dnsNames: readonly string[]): AdminCredentials {
  if (svid?.id === undefined || svid.certChain.length === 0) throw incomplete('SVID');
  const { id, certChain: chainDer, expiresAt } = svid;
  return {
    spiffeId: createSpiffeId(parseTrustDomain(id.trustDomain), id.path),
    chainDer,
    chainPem: chainDer.map((der) => encodePem('CERTIFICATE', der)).join(''),
    privateKey: privateKeyOf(pair),
    privateKeyPem: encodePem('PRIVATE KEY', pair.privateKeyPkcs8Der),
    dnsNames,
    expiresAtMs: Number(expiresAt) * 1000,
  };
}

function incomplete(what: string): IdentityError {
  return new IdentityError('internal', `the CA answered without ${what === 'SVID' ? 'an' : 'a'} ${what}`);
}
