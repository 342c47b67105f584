import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';

import { IdentityError } from '../../core/errors.ts';
import { encodePem, parseCertificate, type Certificate } from '../../spiffe/certificate.ts';
import { parseSpiffeId, type SpiffeId } from '../../spiffe/spiffe-id.ts';

/** The agent's own X509-SVID with its key: what it proves itself with to the CA. */
export interface AgentSvid {
  readonly id: SpiffeId;
  /** Leaf first. */
  readonly chainDer: readonly Uint8Array[];
  readonly leaf: Certificate;
  readonly privateKeyPkcs8Der: Uint8Array;
  /** Whether the CA lets this agent attest again whenever it wants; a join token does not. */
  readonly reattestable: boolean;
  readonly chainPem: string;
  readonly privateKeyPem: string;
}

/** What an {@link AgentSvid} is made from. */
export interface AgentSvidParts {
  readonly chainDer: readonly Uint8Array[];
  readonly privateKeyPkcs8Der: Uint8Array;
  readonly reattestable: boolean;
}

/**
 * Reads an agent's SVID as the CA issued it or the state file kept it.
 *
 * @throws IdentityError `invalid_argument` when a part cannot be read or the key is not the certificate's
 */
export function createAgentSvid(parts: AgentSvidParts): AgentSvid {
  const [leafDer] = parts.chainDer;
  if (leafDer === undefined) throw new IdentityError('invalid_argument', 'the CA issued an empty certificate chain');
  const leaf = parseCertificate(leafDer, 'agent_svid');
  const [uri] = leaf.uriSans;
  const key = importKey(parts.privateKeyPkcs8Der);
  if (!leaf.publicKey().equals(createPublicKey(key))) {
    throw new IdentityError('invalid_argument', 'the certificate that the CA issued is not for the key of this agent');
  }
  return {
    ...parts,
    id: parseSpiffeId(uri ?? '', 'agent_svid'),
    leaf,
    chainPem: parts.chainDer.map((der) => encodePem('CERTIFICATE', der)).join(''),
    privateKeyPem: encodePem('PRIVATE KEY', parts.privateKeyPkcs8Der),
  };
}

function importKey(der: Uint8Array): KeyObject {
  try {
    return createPrivateKey({ key: Buffer.from(der), format: 'der', type: 'pkcs8' });
  } catch {
    // The cause is left out: it may quote the key.
    throw new IdentityError('invalid_argument', 'the key of the agent cannot be read');
  }
}
