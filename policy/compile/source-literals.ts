import { anyGlobTest } from '../match/glob.ts';
import { isWithin, readIpBlock } from '../match/ip.ts';
import { spiffeIdTest } from '../match/spiffe-id-pattern.ts';
import type { CallField } from '../model.ts';
import type { SourceClause } from '../resources/source-clause.ts';
import type { Matcher } from './literal.ts';
import { anyUser } from './users.ts';

/** The positive fields of a clause about the caller. */
export type SourceFields = Omit<SourceClause, 'not'>;

/** A field of a clause: its name, the part of a call that it is about, and what matches it. */
export type FieldMatcher = readonly [name: string, field: CallField, matches: Matcher];

/** Matchers of the fields that a clause about the caller has. `namespace` completes service accounts without one. */
export function sourceMatchers(clause: SourceFields, namespace: string): FieldMatcher[] {
  const { spiffeIDs, trustDomains, namespaces, serviceAccounts, ipBlocks, users } = clause;
  return [
    ...given(spiffeIDs, (ids) => ['spiffeIDs', 'source.spiffeId', anySpiffeId(ids)]),
    ...given(trustDomains, (names) => ['trustDomains', 'source.spiffeId', anyTrustDomain(names)]),
    ...given(namespaces, (names) => ['namespaces', 'source.workload', anyNamespace(names)]),
    ...given(serviceAccounts, (names) => ['serviceAccounts', 'source.workload', anyServiceAccount(names, namespace)]),
    ...given(ipBlocks, (blocks) => ['ipBlocks', 'source.address', anyBlock(blocks)]),
    ...given(users, (clauses) => ['users', 'user', anyUser(clauses)]),
  ];
}

/** Nothing for a field that is absent, else what is made of it. */
export function given<T>(value: T | undefined, make: (value: T) => FieldMatcher): FieldMatcher[] {
  return value === undefined ? [] : [make(value)];
}

function anySpiffeId(patterns: readonly string[]): Matcher {
  const exact = new Set(patterns.filter((pattern) => !pattern.includes('*')));
  const tests = patterns.filter((pattern) => pattern.includes('*')).map(spiffeIdTest);
  return ({ source: { spiffeId } }) =>
    spiffeId === undefined ? undefined : exact.has(spiffeId.toString()) || tests.some((test) => test(spiffeId));
}

function anyTrustDomain(names: readonly string[]): Matcher {
  const set = new Set(names);
  return ({ source: { spiffeId } }) => (spiffeId === undefined ? undefined : set.has(spiffeId.trustDomain.name));
}

function anyNamespace(patterns: readonly string[]): Matcher {
  const test = anyGlobTest(patterns);
  return ({ source: { namespace } }) => (namespace === undefined ? undefined : test(namespace));
}

function anyServiceAccount(patterns: readonly string[], own: string): Matcher {
  const tests = patterns.map((pattern) => {
    const [name = '', namespace = own] = pattern.split('/').toReversed();
    return { isNamespace: anyGlobTest([namespace]), isName: anyGlobTest([name]) };
  });
  return ({ source: { namespace, serviceAccount } }) => {
    if (namespace === undefined || serviceAccount === undefined) return undefined;
    return tests.some(({ isNamespace, isName }) => isNamespace(namespace) && isName(serviceAccount));
  };
}

function anyBlock(texts: readonly string[]): Matcher {
  const blocks = texts.map(readIpBlock).filter((block) => block !== undefined);
  return ({ source: { address } }) => (address === undefined ? undefined : blocks.some((block) => isWithin(block, address)));
}
