import type { Agent, Entry, Selector } from '../model.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';

/**
 * How a set in a filter is compared with a candidate's: equal; the candidate's is a subset; a superset; or they share a
 * member. Numbers of SPIRE's `SelectorMatch.MatchBehavior` in this order, from 0.
 */
export type Match = 'exact' | 'subset' | 'superset' | 'any';

/** SPIRE's filter of ListEntries; all that are given must hold. */
export interface EntryFilter {
  readonly bySpiffeId?: SpiffeId;
  readonly byParentId?: SpiffeId;
  readonly bySelectors?: { readonly match: Match; readonly selectors: readonly Selector[] };
  readonly byFederatesWith?: { readonly match: Match; readonly trustDomains: readonly TrustDomain[] };
  /** Empty matches all, as in SPIRE. */
  readonly byHint?: string;
  readonly byDownstream?: boolean;
}

/** SPIRE's filter of ListAgents; all that are given must hold. */
export interface AgentFilter {
  /** Empty matches all, as in SPIRE. */
  readonly byAttestationType?: string;
  readonly bySelectorMatch?: { readonly match: Match; readonly selectors: readonly Selector[] };
  readonly byBanned?: boolean;
  readonly byCanReattest?: boolean;
  readonly byExpiresBeforeMs?: number;
}

/** Types that filters are written for; see `matchesEntry` and `matchesAgent`. */
export type Filtered = Entry | Agent;
