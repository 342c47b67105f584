import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import { selectorText } from '../model.ts';
import type { Agent, Entry, Selector } from '../model.ts';

/**
 * How a set in a filter is compared with a candidate's: both are equal; the candidate's is a subset, but not empty; a
 * superset; or they share a member. In this order they have the numbers, from 0, of SPIRE's `SelectorMatch.MatchBehavior`.
 */
export type Match = 'exact' | 'subset' | 'superset' | 'any';

/** A set of selectors to compare with. */
export interface SelectorMatch {
  readonly match: Match;
  readonly selectors: readonly Selector[];
}

/** SPIRE's filter of ListEntries; all that are given must hold. */
export interface EntryFilter {
  readonly bySpiffeId?: SpiffeId;
  readonly byParentId?: SpiffeId;
  readonly bySelectors?: SelectorMatch;
  readonly byFederatesWith?: { readonly match: Match; readonly trustDomains: readonly TrustDomain[] };
  /** Empty matches all, as in SPIRE. */
  readonly byHint?: string;
  readonly byDownstream?: boolean;
}

/** SPIRE's filter of ListAgents; all that are given must hold. */
export interface AgentFilter {
  /** Empty matches all, as in SPIRE. */
  readonly byAttestationType?: string;
  readonly bySelectorMatch?: SelectorMatch;
  readonly byBanned?: boolean;
  readonly byCanReattest?: boolean;
  readonly byExpiresBeforeMs?: number;
}

/** Decides whether a candidate passes; made once for a whole list. */
export type Predicate<T> = (candidate: T) => boolean;

/** The predicate of an entry filter. */
export function entryPredicate(filter: EntryFilter): Predicate<Entry> {
  const { bySpiffeId, byParentId, bySelectors, byFederatesWith, byHint, byDownstream } = filter;
  const conditions: Predicate<Entry>[] = [];
  if (bySpiffeId !== undefined) conditions.push((entry) => entry.spiffeId.equals(bySpiffeId));
  if (byParentId !== undefined) conditions.push((entry) => entry.parentId.equals(byParentId));
  if (byHint !== undefined && byHint !== '') conditions.push((entry) => entry.hint === byHint);
  if (byDownstream !== undefined) conditions.push((entry) => entry.downstream === byDownstream);
  if (bySelectors !== undefined) conditions.push(selectorPredicate(bySelectors));
  if (byFederatesWith !== undefined) {
    const { match, trustDomains } = byFederatesWith;
    const matches = setPredicate(match, new Set(trustDomains.map(({ name }) => name)));
    conditions.push((entry) => matches(entry.federatesWith.map(({ name }) => name)));
  }
  return all(conditions);
}

/** The predicate of an agent filter. */
export function agentPredicate(filter: AgentFilter): Predicate<Agent> {
  const { byAttestationType, bySelectorMatch, byBanned, byCanReattest, byExpiresBeforeMs } = filter;
  const conditions: Predicate<Agent>[] = [];
  if (byAttestationType !== undefined && byAttestationType !== '') {
    conditions.push((agent) => agent.attestationType === byAttestationType);
  }
  if (byBanned !== undefined) conditions.push((agent) => agent.banned === byBanned);
  if (byCanReattest !== undefined) conditions.push((agent) => agent.canReattest === byCanReattest);
  if (byExpiresBeforeMs !== undefined) conditions.push((agent) => agent.expiresAtMs < byExpiresBeforeMs);
  if (bySelectorMatch !== undefined) conditions.push(selectorPredicate(bySelectorMatch));
  return all(conditions);
}

function all<T>(conditions: readonly Predicate<T>[]): Predicate<T> {
  return (candidate) => conditions.every((condition) => condition(candidate));
}

function selectorPredicate({ match, selectors }: SelectorMatch): Predicate<{ readonly selectors: readonly Selector[] }> {
  const matches = setPredicate(match, new Set(selectors.map(selectorText)));
  return (candidate) => matches(candidate.selectors.map(selectorText));
}

/** Compares sets without duplicates. */
function setPredicate(match: Match, wanted: ReadonlySet<string>): Predicate<readonly string[]> {
  const isSubset: Predicate<readonly string[]> = (candidate) => candidate.every((text) => wanted.has(text));
  const shared = (candidate: readonly string[]): number => candidate.filter((text) => wanted.has(text)).length;
  const predicates: Record<Match, Predicate<readonly string[]>> = {
    exact: (candidate) => candidate.length === wanted.size && isSubset(candidate),
    subset: (candidate) => candidate.length > 0 && isSubset(candidate),
    superset: (candidate) => shared(candidate) === wanted.size,
    any: (candidate) => shared(candidate) > 0,
  };
  return predicates[match];
}
