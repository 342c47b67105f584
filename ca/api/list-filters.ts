import { IdentityError } from '../../core/errors.ts';
import type { CountAgentsRequest_Filter, ListAgentsRequest_Filter } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import type {
  CountEntriesRequest_Filter,
  ListEntriesRequest_Filter,
} from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type { FederatesWithMatch } from '../../proto/gen/spire/api/types/federateswith_pb.ts';
import type { SelectorMatch } from '../../proto/gen/spire/api/types/selector_pb.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { AgentFilter, EntryFilter, Match } from '../registry/filters.ts';
import type { PageRequest } from '../registry/page.ts';
import { ownIdFromProto, trustDomainFromProto } from './id-conversion.ts';
import { selectorsFromProto } from './selector-conversion.ts';

// By the numbers of MatchBehavior, which are the same for selectors and trust domains.
const MATCHES: readonly Match[] = ['exact', 'subset', 'superset', 'any'];

/** Reads the filter of ListEntries and CountEntries. @throws IdentityError `invalid_argument`, naming the field */
export function entryFilterFromProto(
  filter: ListEntriesRequest_Filter | CountEntriesRequest_Filter | undefined,
  own: TrustDomain,
): EntryFilter {
  if (filter === undefined) return {};
  const { byHint, byParentId, bySpiffeId, bySelectors, byFederatesWith, byDownstream } = filter;
  return {
    ...(byHint === undefined ? {} : { byHint }),
    ...(byParentId === undefined ? {} : { byParentId: ownIdFromProto(byParentId, own, 'member', 'filter.by_parent_id') }),
    ...(bySpiffeId === undefined ? {} : { bySpiffeId: ownIdFromProto(bySpiffeId, own, 'workload', 'filter.by_spiffe_id') }),
    ...(bySelectors === undefined ? {} : { bySelectors: selectorMatch(bySelectors, 'filter.by_selectors') }),
    ...(byFederatesWith === undefined ? {} : { byFederatesWith: federatesWithMatch(byFederatesWith) }),
    // `spire-server entry show` always sends false, and a SPIRE server takes that as no wish.
    ...(byDownstream === true ? { byDownstream } : {}),
  };
}

/** Reads the filter of ListAgents and CountAgents. @throws IdentityError `invalid_argument`, naming the field */
export function agentFilterFromProto(filter: ListAgentsRequest_Filter | CountAgentsRequest_Filter | undefined): AgentFilter {
  if (filter === undefined) return {};
  const { byAttestationType, bySelectorMatch, byBanned, byCanReattest, byExpiresBefore } = filter;
  return {
    ...(byAttestationType === '' ? {} : { byAttestationType }),
    ...(bySelectorMatch === undefined ? {} : { bySelectorMatch: selectorMatch(bySelectorMatch, 'filter.by_selector_match') }),
    ...(byBanned === undefined ? {} : { byBanned }),
    ...(byCanReattest === undefined ? {} : { byCanReattest }),
    ...(byExpiresBefore === '' ? {} : { byExpiresBeforeMs: parseGoTime(byExpiresBefore, 'filter.by_expires_before') }),
  };
}

/** Reads which page of a list is wanted; no size means all. */
export function pageFromProto({ pageSize, pageToken }: { readonly pageSize: number; readonly pageToken: string }): PageRequest {
  return pageSize > 0 ? { size: pageSize, token: pageToken } : {};
}

function selectorMatch({ match, selectors }: SelectorMatch, field: string): NonNullable<EntryFilter['bySelectors']> {
  if (selectors.length === 0) throw new IdentityError('invalid_argument', 'empty selector set', { field: `${field}.selectors` });
  return { match: matchOf(match, field), selectors: selectorsFromProto(selectors, `${field}.selectors`) };
}

function federatesWithMatch({ match, trustDomains }: FederatesWithMatch): NonNullable<EntryFilter['byFederatesWith']> {
  const field = 'filter.by_federates_with';
  if (trustDomains.length === 0)
    throw new IdentityError('invalid_argument', 'empty trust domain set', { field: `${field}.trust_domains` });
  return {
    match: matchOf(match, field),
    trustDomains: trustDomains.map((name, index) => trustDomainFromProto(name, `${field}.trust_domains[${index}]`)),
  };
}

function matchOf(behavior: number, field: string): Match {
  const match = MATCHES[behavior];
  if (match === undefined)
    throw new IdentityError('invalid_argument', `unknown match behavior ${behavior}`, { field: `${field}.match` });
  return match;
}

// The layout that the API names: `2006-01-02 15:04:05 -0700 -07`.
const GO_TIME = /^(\d{4}-\d{2}-\d{2}) (\d{2}:\d{2}:\d{2}) ([+-]\d{2})(\d{2}) [+-]\d{2}$/;

function parseGoTime(text: string, field: string): number {
  const [, date, time, hours, minutes] = GO_TIME.exec(text) ?? [];
  const ms = Date.parse(`${date}T${time}${hours}:${minutes}`);
  if (!Number.isNaN(ms)) return ms;
  throw new IdentityError('invalid_argument', 'is no time such as "2006-01-02 15:04:05 -0700 -07"', { field });
}
