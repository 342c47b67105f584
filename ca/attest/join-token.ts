import { IdentityError, isIdentityError } from '../../core/errors.ts';
import { createSpiffeId, type SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { Agent, Entry, NewEntry } from '../model.ts';
import type { Store } from '../store/store.ts';
import type { Attestation, NodeAttestor } from './node-attestor.ts';

/** The type that agents and their records name. */
export const JOIN_TOKEN = 'join_token';

/** The ID of the agent that a token is used up by. @throws IdentityError `invalid_argument` when no ID can hold the token */
export function joinTokenAgentId(trustDomain: TrustDomain, token: string): SpiffeId {
  return createSpiffeId(trustDomain, ['spire', 'agent', JOIN_TOKEN, token], 'token');
}

/** Attests a node by a token that an admin made for it; each token works once. */
export function createJoinTokenAttestor({
  trustDomain,
  store,
}: {
  readonly trustDomain: TrustDomain;
  readonly store: Store;
}): NodeAttestor {
  return {
    type: JOIN_TOKEN,
    // oxlint-disable-next-line require-yield -- a token is no secret of the node's: there is nothing to challenge
    async *attest(payload): Attestation {
      const token = Buffer.from(payload).toString('utf8');
      await redeem(store, token);
      return { agentId: joinTokenAgentId(trustDomain, token), selectors: [], canReattest: false };
    },
  };
}

async function redeem(store: Store, token: string): Promise<void> {
  try {
    await store.mutate((tx) => tx.redeemJoinToken(token));
  } catch (cause) {
    if (isIdentityError(cause, 'not_found'))
      throw unusable('failed to attest: join token does not exist or has already been used', cause);
    if (isIdentityError(cause, 'failed_precondition')) throw unusable('join token expired', cause);
    throw cause;
  }
}

function unusable(message: string, cause: unknown): IdentityError {
  return new IdentityError('invalid_argument', message, { cause });
}

const SPIFFE_ID_SELECTOR = 'spiffe_id';

/** The entry that gives the agent of a token a second, speaking ID, which other entries may name as their parent. */
export function aliasEntry(agentId: SpiffeId, alias: SpiffeId): NewEntry {
  return {
    spiffeId: alias,
    parentId: agentId,
    selectors: [{ type: SPIFFE_ID_SELECTOR, value: agentId.toString() }],
    x509SvidTtlSeconds: 0,
    jwtSvidTtlSeconds: 0,
    federatesWith: [],
    admin: false,
    downstream: false,
    expiresAtSeconds: 0,
    dnsNames: [],
    storeSvid: false,
    hint: '',
    disableX509SvidPrefetch: false,
    jwtSvidIncludeJti: false,
  };
}

/** Whether an entry is the {@link aliasEntry} of this agent: it goes with the agent. */
export function isAliasOf({ attestationType, id }: Agent, { parentId, selectors }: Entry): boolean {
  const [selector, ...more] = selectors;
  if (attestationType !== JOIN_TOKEN || more.length > 0 || !parentId.equals(id)) return false;
  return selector?.type === SPIFFE_ID_SELECTOR && selector.value === id.toString();
}
