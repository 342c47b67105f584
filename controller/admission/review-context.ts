import type { Precedence } from '../identity/precedence.ts';
import type { IdentitySettings } from '../identity/settings.ts';
import type { ProposedClaim } from '../identity/slots.ts';
import type { DeclarationPreview, Problem } from '../ports.ts';
import type { Turns } from '../turns.ts';

/** What reviewers know of the cluster and of the controller's configuration. */
export interface ReviewContext {
  readonly settings: IdentitySettings;
  readonly preview: DeclarationPreview;
  /** Reading the templates of a large object takes some milliseconds: one object in each turn. */
  readonly turns: Pick<Turns, 'next'>;
  /** Whether the cluster's objects have been read: before that, nothing can be said about pods. */
  readonly synced: () => boolean;
  /** Which object an entry is of, by the entry's key; undefined when there is no such entry. */
  readonly holderOf: (entryKey: string) => Precedence | undefined;
  /** What of other objects would keep an entry from being, or would lose its ID to it. */
  readonly rivalryOf: (claim: ProposedClaim) => Problem | undefined;
  /** Which object declares that a trust domain is federated with; undefined when none does. */
  readonly federationOf: (trustDomainName: string) => Precedence | undefined;
}

/** Told instead of what could only be said with the cluster's objects at hand. */
export const NOT_SYNCED =
  'the controller has not read the cluster yet: what this does to pods was not looked at, its status will say';

/** Warns of trust domains that nothing federates with: an entry cannot be registered before the CA has their bundle. */
export function federationWarnings(
  trustDomains: readonly { readonly name: string }[],
  context: ReviewContext,
): readonly string[] {
  if (!context.synced()) return [];
  return trustDomains
    .filter(({ name }) => name !== context.settings.trustDomain.name && context.federationOf(name) === undefined)
    .map(
      ({ name }) =>
        `spec.federatesWith: no FederatedTrustDomain declares ${name}; until the CA has its bundle no entry can name it`,
    );
}
