import { anyGlobTest } from '../../../policy/match/glob.ts';
import { formatIpAddress, readIpBlock } from '../../../policy/match/ip.ts';
import type { SourceClause } from '../../../policy/resources/source-clause.ts';
import type { WorkloadMetadata } from '../../../policy/workload-metadata.ts';
import { anyCaller } from './callers.ts';
import { all, any, type Condition, HAS_ADDRESS, judged, NEVER, not, principal } from './condition.ts';
import { type Matched, UNKNOWN } from './path-conditions.ts';
import { escaped } from './path-text.ts';
import type { RuleContext } from './rule-context.ts';

type SourceFields = Omit<SourceClause, 'not'>;
/** `isTold`: whether the caller has such a property at all. Of a caller without it cannot be said what it is not. */
type SourceField = Matched & { readonly isTold: Condition };

const NO_FIELDS: SourceFields = {
  spiffeIDs: undefined,
  trustDomains: undefined,
  namespaces: undefined,
  serviceAccounts: undefined,
  ipBlocks: undefined,
  users: undefined,
};

const SCHEME = 'spiffe://';
// About the instructions of an expression for any characters of a segment.
const STAR_COST = 4;
const HAS_IDENTITY = principal({ prefix: SCHEME });

/** Who calls, as a rule words it. */
export function sourceCondition({ not: refused, ...fields }: SourceClause, context: RuleContext): Condition {
  const { bias } = context;
  const wanted = fieldsOf(fields, context).map((field) => judged({ ...field, isNegated: false, bias }));
  const unwanted = fieldsOf(refused ?? NO_FIELDS, context).map(({ matches, isTold }) =>
    // Whatever matches is told, so that for DENY nothing is left to say.
    bias ? not(matches) : all(isTold, not(matches)),
  );
  return all(...wanted, ...unwanted);
}

function fieldsOf(fields: SourceFields, { workloads, namespace, limits }: RuleContext): readonly SourceField[] {
  const { spiffeIDs, trustDomains, namespaces, serviceAccounts, ipBlocks, users } = fields;
  return [
    ...given(spiffeIDs, (patterns) =>
      ofIdentity(
        patterns.map((each) => spiffeIdCondition(each, limits)),
        limits,
      ),
    ),
    ...given(trustDomains, (names) =>
      ofIdentity(
        names.map((name) => ({ matches: trustDomainCondition(name) })),
        limits,
      ),
    ),
    ...given(namespaces, (patterns) => ofRegistration(isInNamespace(patterns), hasNamespace, workloads)),
    ...given(serviceAccounts, (patterns) => ofRegistration(isAccount(patterns, namespace), hasAccount, workloads)),
    ...given(ipBlocks, ofAddress),
    ...given(users, () => ({ ...UNKNOWN, isTold: NEVER })),
  ];
}

function given<T>(value: T | undefined, make: (value: T) => SourceField): SourceField[] {
  return value === undefined ? [] : [make(value)];
}

function ofIdentity(values: readonly Matched[], limits: RuleContext['limits']): SourceField {
  const unknown = any(...values.map((each) => each.unknown ?? NEVER));
  // Where one of several expressions was left out, none of them says who is not meant.
  const matches = anyCaller(
    values.map((each) => each.matches),
    limits,
  );
  return { matches, unknown, isTold: all(HAS_IDENTITY, not(unknown)) };
}

function ofRegistration(
  test: (metadata: WorkloadMetadata) => boolean,
  isTold: (metadata: WorkloadMetadata) => boolean,
  workloads: RuleContext['workloads'],
): SourceField {
  return {
    matches: workloads.where(test),
    unknown: workloads.unreadable,
    isTold: workloads.where(isTold),
  };
}

const hasNamespace = ({ namespace }: WorkloadMetadata): boolean => namespace !== undefined;
const hasAccount = ({ namespace, serviceAccount }: WorkloadMetadata): boolean =>
  namespace !== undefined && serviceAccount !== undefined;

function isInNamespace(patterns: readonly string[]): (metadata: WorkloadMetadata) => boolean {
  const test = anyGlobTest(patterns);
  return ({ namespace }) => namespace !== undefined && test(namespace);
}

function isAccount(patterns: readonly string[], own: string): (metadata: WorkloadMetadata) => boolean {
  const tests = patterns.map((pattern) => {
    const [name = '', namespace = own] = pattern.split('/').toReversed();
    return { isNamespace: anyGlobTest([namespace]), isName: anyGlobTest([name]) };
  });
  return ({ namespace, serviceAccount }) =>
    namespace !== undefined &&
    serviceAccount !== undefined &&
    tests.some(({ isNamespace, isName }) => isNamespace(namespace) && isName(serviceAccount));
}

function ofAddress(texts: readonly string[]): SourceField {
  const blocks = texts.map(readIpBlock).filter((block) => block !== undefined);
  const matches = any(
    ...blocks.map(({ address, prefixLength }): Condition => ({
      kind: 'address',
      prefix: formatIpAddress(address),
      length: prefixLength,
    })),
  );
  return { matches, unknown: not(HAS_ADDRESS), isTold: HAS_ADDRESS };
}

/** A pattern of SPIFFE IDs: `*` stays within its segment, `**` at the end stands for one or more segments. */
export function spiffeIdCondition(pattern: string, { maxCost }: Pick<RuleContext['limits'], 'maxCost'>): Matched {
  if (!pattern.includes('*')) return { matches: principal({ exact: pattern }) };
  const segments = pattern.slice(SCHEME.length).split('/');
  const isOpen = segments.length > 1 && segments.at(-1) === '**';
  const fixed = SCHEME + (isOpen ? segments.slice(0, -1) : segments).join('/');
  if (!fixed.includes('*')) return { matches: principal({ prefix: `${fixed}/` }) };
  const parts = fixed.split('*');
  if (fixed.length + STAR_COST * parts.length > maxCost) return UNKNOWN;
  const regex = parts.map(escaped).join('[!-.0-~]*');
  return { matches: principal({ regex: isOpen ? `${regex}/[!-~]+` : regex }) };
}

function trustDomainCondition(name: string): Condition {
  const id = `spiffe://${name}`;
  return any(principal({ exact: id }), principal({ prefix: `${id}/` }));
}
