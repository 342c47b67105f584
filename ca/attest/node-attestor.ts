import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { Selector } from '../model.ts';

/** What a node proved. */
export interface AttestedNode {
  /** The ID that its agent gets. */
  readonly agentId: SpiffeId;
  readonly selectors: readonly Selector[];
  /** Whether the node can prove itself again; then its agent re-attests instead of renewing. */
  readonly canReattest: boolean;
}

/**
 * An attestation under way: yields challenges for the agent, takes its response to each by `next`, and returns what the node
 * proved.
 */
export type Attestation = AsyncGenerator<Uint8Array, AttestedNode, Uint8Array>;

/** A way in which a node proves what it is. */
export interface NodeAttestor {
  /** Such as `x509pop`; what the agent names. */
  readonly type: string;
  /**
   * Verifies what an agent sent about its node.
   *
   * @throws (from the generator) IdentityError `invalid_argument` for what cannot be read, `permission_denied` for what proves nothing
   */
  attest(payload: Uint8Array): Attestation;
}
