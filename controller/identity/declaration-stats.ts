import type { Problem } from '../ports.ts';
import type { Claims } from './claims.ts';
import type { NamespaceStore } from './namespace-store.ts';
import type { DeclarationState, Outcome } from './state.ts';

/** What a declaration has come to; the names are those of SPIRE's status. */
export interface DeclarationStats {
  readonly namespacesSelected: number;
  readonly namespacesIgnored: number;
  readonly podsSelected: number;
  readonly podEntryRenderFailures: number;
  readonly entriesMasked: number;
  /** Entries that must not be, because another object gives their SPIFFE ID power over the CA. */
  readonly entriesReserved: number;
  readonly entriesToSet: number;
  /** Pods that are not on a node yet. */
  readonly podsWaiting: number;
  /** Its templates take too much: no pod is looked at any more. */
  readonly isSuspended: boolean;
}

/** Why a pod has no entry, or another object's settings: what {@link problemsOf} tells. */
export type ReportedReason = 'RenderFailed' | 'Masked' | 'IDReserved';

/** The counters of a declaration as they are now. */
export function statsOf(state: DeclarationState, namespaces: Pick<NamespaceStore, 'isIgnored'>): DeclarationStats {
  return {
    namespacesSelected: state.namespaces.size,
    namespacesIgnored: Iterator.from(state.namespaces)
      .filter((name) => namespaces.isIgnored(name))
      .reduce((count) => count + 1, 0),
    podsSelected: state.pods.size,
    podEntryRenderFailures: state.renderFailures,
    entriesMasked: state.entriesMasked,
    entriesReserved: state.entriesReserved,
    entriesToSet: state.entriesToSet,
    podsWaiting: state.waiting,
    isSuspended: state.account.isExhausted,
  };
}

/** The problems, of one reason, of the pods that a declaration selects. */
export function* problemsOf(
  { key, pods }: DeclarationState,
  reason: ReportedReason,
  claims: Pick<Claims, 'problemOf'>,
): Generator<Problem> {
  for (const { outcomes } of pods) {
    for (const outcome of outcomes) {
      const problem = outcome.declaration.key === key && outcome.kind !== 'waiting' ? problemOf(outcome, claims) : undefined;
      if (problem?.reason === reason) yield problem;
    }
  }
}

/** What keeps a pod from the identity that a declaration is to give it; undefined when nothing does. */
export function problemOf(outcome: Outcome, claims: Pick<Claims, 'problemOf'>): Problem | undefined {
  if (outcome.kind === 'failure' || outcome.kind === 'waiting') return outcome.problem;
  return outcome.kind === 'entry' ? claims.problemOf(outcome.claim) : undefined;
}
