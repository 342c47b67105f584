// The semantics once more, written straight from the text of the design and for nothing but clarity: no index, no compilation, no
// sharing with the engine but its types. Slow on purpose.
import type { Call, CallField, DefaultAction, Decision } from '../../../policy/model.ts';
import type { Policy } from '../../../policy/policy.ts';
import type { HeaderClause, OperationClause, PathClause } from '../../../policy/resources/operation-clause.ts';
import type { RuleSpec } from '../../../policy/resources/policy-spec.ts';
import type { SourceClause, UserClause } from '../../../policy/resources/source-clause.ts';
import { CONDITIONS } from './conditions.ts';

/** What both evaluators say about a call. */
export type Answer = Pick<Decision, 'verdict' | 'reason' | 'policy' | 'rule' | 'audits'> & { dryRun?: Answer };

/**
 * Whether a condition holds; `unseen` where the enforcement point cannot tell, or the readings of what came differ; `absent` where there is no
 * such value.
 */
type Known = boolean | 'unseen' | 'absent';

/** Decides a call over all policies. */
export function decideNaively(policies: readonly Policy[], call: Call, defaultAction: DefaultAction): Answer {
  const concerned = policies.filter((policy) => selects(policy, call)).sort(inOrder);
  const enforced = concerned.filter(({ mode }) => mode === 'Enforce');
  const hasDryRun = concerned.some(({ mode, action }) => mode === 'DryRun' && action !== 'AUDIT');
  return {
    ...decideAmong(enforced, call, defaultAction),
    audits: call.refused === undefined ? matching(enforced, 'AUDIT', call) : [],
    ...(hasDryRun ? { dryRun: decideAmong(concerned, call, defaultAction) } : {}),
  };
}

function decideAmong(policies: readonly Policy[], call: Call, defaultAction: DefaultAction): Answer {
  const decides = policies.some(({ action }) => action !== 'AUDIT');
  if (call.refused !== undefined) {
    return { verdict: decides || defaultAction === 'deny' ? 'deny' : 'allow', reason: call.refused, audits: [] };
  }
  const [denied] = matching(policies, 'DENY', call);
  if (denied !== undefined) return { verdict: 'deny', reason: 'denied_by_rule', ...denied, audits: [] };
  if (!policies.some(({ action }) => action === 'ALLOW')) {
    return { verdict: defaultAction === 'deny' ? 'deny' : 'allow', reason: `default_${defaultAction}`, audits: [] };
  }
  const [allowed] = matching(policies, 'ALLOW', call);
  if (allowed !== undefined) return { verdict: 'allow', reason: 'allowed_by_rule', ...allowed, audits: [] };
  return { verdict: 'deny', reason: 'no_rule_matches', audits: [] };
}

function matching(policies: readonly Policy[], action: Policy['action'], call: Call) {
  return policies
    .filter((policy) => policy.action === action)
    .flatMap((policy) => policy.rules.map((rule, index) => ({ policy, rule, index })))
    .filter(({ policy, rule }) => ruleMatches(policy, rule, call))
    .map(({ policy, index }) => ({ policy: policy.name, rule: index }));
}

function inOrder({ name: one }: Policy, { name: other }: Policy): number {
  const key = ({ namespace, name }: Policy['name']): string => `${namespace}\u0000${name}`;
  return key(one) < key(other) ? -1 : 1;
}

function selects(
  { name, selector, attested, targetRefs, namespaceSelector, namespaces, spiffeIDs, action }: Policy,
  { destination }: Call,
): boolean {
  if (name.kind === 'AuthorizationPolicy' && destination.namespace !== name.namespace) return false;
  if (namespaceSelector !== undefined) {
    if (destination.namespace === undefined) return false;
    if (namespaces === undefined ? action === 'ALLOW' : !namespaces.includes(destination.namespace)) return false;
  }
  for (const [key, value] of Object.entries(selector?.matchLabels ?? {})) {
    if (!destination.selectors.has(`k8s:pod-label:${key}:${value}`)) return false;
  }
  for (const { key, operator, values } of selector?.matchExpressions ?? []) {
    const has = values.some((value) => destination.selectors.has(`k8s:pod-label:${key}:${value}`));
    const exists = [...destination.selectors].some((each) => each.startsWith(`k8s:pod-label:${key}:`));
    if (!{ In: has, NotIn: !has, Exists: exists, DoesNotExist: !exists }[operator]) return false;
  }
  if (attested !== undefined && !attested.every((each) => destination.selectors.has(each))) return false;
  if (targetRefs !== undefined && !targetRefs.some((ref) => ref.name === destination.serviceAccount)) return false;
  const id = destination.spiffeId?.toString();
  return spiffeIDs === undefined || (id !== undefined && spiffeIDs.some((pattern) => idPattern(pattern).test(id)));
}

function ruleMatches(policy: Policy, rule: RuleSpec, call: Call): boolean {
  const holds = (known: Known, isNegated: boolean): boolean => {
    if (known === 'unseen') return policy.action !== 'ALLOW';
    if (known === 'absent') return isNegated && policy.action !== 'ALLOW';
    return known !== isNegated;
  };
  const all = (fields: readonly Known[], isNegated: boolean): boolean => fields.every((field) => holds(field, isNegated));
  const from = rule.from ?? [];
  const to = rule.to ?? [];
  return (
    (from.length === 0 ||
      from.some(
        ({ not, ...fields }) =>
          all(sourceFields(fields, policy, call), false) && all(sourceFields(not ?? {}, policy, call), true),
      )) &&
    (to.length === 0 ||
      to.some(
        ({ not, ...fields }) => all(operationFields(fields, call), false) && all(operationFields(not ?? {}, call), true),
      )) &&
    (rule.when === undefined || holds(whenHolds(rule.when, call), false))
  );
}

const fieldOf = (call: Call, field: CallField, isPlainlyUnseen: boolean, judge: () => Known): Known =>
  isPlainlyUnseen || call.unseen?.has(field) === true ? 'unseen' : judge();

function sourceFields(clause: Partial<Omit<SourceClause, 'not'>>, policy: Policy, call: Call): Known[] {
  const { spiffeId, namespace, serviceAccount, address } = call.source;
  const fields: Known[] = [];
  const { spiffeIDs, trustDomains, namespaces, serviceAccounts, ipBlocks, users } = clause;
  const ofId = (judge: (id: string) => boolean): Known =>
    fieldOf(call, 'source.spiffeId', false, () => (spiffeId === undefined ? 'absent' : judge(spiffeId.toString())));
  if (spiffeIDs !== undefined) fields.push(ofId((id) => spiffeIDs.some((pattern) => idPattern(pattern).test(id))));
  if (trustDomains !== undefined) fields.push(ofId((id) => trustDomains.includes(id.split('/')[2] ?? '')));
  if (namespaces !== undefined) {
    const judge = () => (namespace === undefined ? 'absent' : namespaces.some((pattern) => wildcard(pattern).test(namespace)));
    fields.push(fieldOf(call, 'source.workload', false, judge));
  }
  if (serviceAccounts !== undefined) {
    const full = serviceAccounts.map((each) => (each.includes('/') ? each : `${policy.name.namespace}/${each}`));
    const judge = () =>
      namespace === undefined || serviceAccount === undefined
        ? 'absent'
        : full.some((each) => wildcard(each).test(`${namespace}/${serviceAccount}`));
    fields.push(fieldOf(call, 'source.workload', false, judge));
  }
  if (ipBlocks !== undefined)
    fields.push(
      fieldOf(call, 'source.address', address === undefined, () => ipBlocks.some((block) => inBlock(block, address ?? []))),
    );
  if (users !== undefined) {
    const isUnseen = call.request === undefined && call.user === undefined;
    fields.push(
      fieldOf(call, 'user', isUnseen, () =>
        call.user === undefined ? 'absent' : anyOf(users.map((each) => isUser(each, call))),
      ),
    );
  }
  return fields;
}

/** Bits as text, so that nothing is shared with the engine's arithmetic. */
function inBlock(block: string, address: readonly number[]): boolean {
  const bits = (bytes: readonly number[]): string => bytes.map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const [base = '', length = '128'] = block.split('/');
  if (base.includes(':')) {
    const [head = '', tail = ''] = base.split('::').map((part) =>
      part
        .split(':')
        .map((each) => each.padStart(4, '0'))
        .join(''),
    );
    const hex = Array.from(`${head}${'0'.repeat(32 - head.length - tail.length)}${tail}`);
    const wanted = hex.map((digit) => Number.parseInt(digit, 16).toString(2).padStart(4, '0')).join('');
    const own = address.map((word) => word.toString(2).padStart(32, '0')).join('');
    return address.length === 4 && own.startsWith(wanted.slice(0, Number(length)));
  }
  const [word = 0] = address;
  const own = [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255];
  return address.length === 1 && bits(own).startsWith(bits(base.split('.').map(Number)).slice(0, Number(length)));
}

function anyOf(all: readonly Known[]): Known {
  return all.includes(true) ? true : all.includes('unseen') ? 'unseen' : false;
}

/** What is said of every reading. */
function agreed(all: readonly Known[]): Known {
  return all.every((each) => each === all[0]) ? (all[0] ?? 'unseen') : 'unseen';
}

function isUser({ issuer, subjects, roles, scopes }: UserClause, { user }: Call): Known {
  const isListOfTexts = (value: unknown): boolean =>
    value === undefined || typeof value === 'string' || (Array.isArray(value) && value.every((each) => typeof each === 'string'));
  const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [value]);
  const { claims = {} } = user ?? {};
  const has = [claims['scope'], claims['scp']].flatMap((each) => (typeof each === 'string' ? each.split(' ') : list(each)));
  if (issuer !== undefined && issuer !== user?.issuer) return false;
  if (subjects !== undefined && !subjects.some((pattern) => wildcard(pattern).test(user?.subject ?? ''))) return false;
  const areRolesClear = roles === undefined || isListOfTexts(claims['roles']);
  const areScopesClear = scopes === undefined || (isListOfTexts(claims['scope']) && isListOfTexts(claims['scp']));
  if (areRolesClear && roles !== undefined && !roles.some((role) => list(claims['roles']).includes(role))) return false;
  if (areScopesClear && scopes !== undefined && !scopes.every((scope) => has.includes(scope))) return false;
  return areRolesClear && areScopesClear ? true : 'unseen';
}

function operationFields(
  { ports, hosts, methods, paths, headers, grpc }: Partial<Omit<OperationClause, 'not'>>,
  call: Call,
): Known[] {
  const { request } = call;
  const ofRequest = (field: CallField, judge: (seen: NonNullable<typeof request>) => Known): Known =>
    fieldOf(call, field, request === undefined, () => (request === undefined ? 'unseen' : judge(request)));
  const { port } = call.destination;
  const fields: Known[] = [];
  if (ports !== undefined)
    fields.push(fieldOf(call, 'destination.port', port === undefined, () => ports.some((range) => inRange(range, port ?? 0))));
  if (hosts !== undefined)
    fields.push(ofRequest('request.host', ({ host }) => hosts.some((each) => hostPattern(each).test(host))));
  if (methods !== undefined) fields.push(ofRequest('request.method', ({ method }) => methods.includes(method)));
  if (paths !== undefined) fields.push(ofRequest('request.path', ({ path }) => paths.some((each) => pathMatches(each, path))));
  for (const header of headers ?? []) {
    fields.push(ofRequest('request.headers', (seen) => headerHolds(header, seen)));
  }
  if (grpc !== undefined) {
    const judge = (seen: NonNullable<typeof request>): Known => {
      const [, ofPath = '', methodOfPath = '', more] = seen.path.split('/');
      if (ofPath === '' || methodOfPath === '' || more !== undefined) return false;
      const isMeant = grpc.some(
        ({ service = '*', method = '*' }) => wildcard(service).test(ofPath) && wildcard(method).test(methodOfPath),
      );
      return isMeant && (seen.grpc !== undefined || 'unseen');
    };
    fields.push(ofRequest('request.grpc', judge));
  }
  return fields;
}

function inRange(range: string, port: number): boolean {
  const [first = '', last = first] = range.split('-');
  return port >= Number(first) && port <= Number(last);
}

function pathMatches({ exact, prefix, suffix, template, regex: expression }: PathClause, path: string): boolean {
  const bare = (text: string): string => (text === '/' ? text : text.replace(/\/$/, ''));
  if (exact !== undefined) return path === bare(exact);
  if (prefix !== undefined) return path === bare(prefix) || path.startsWith(bare(prefix) === '/' ? '/' : `${bare(prefix)}/`);
  if (suffix !== undefined) return path.endsWith(bare(suffix));
  if (expression !== undefined) return regex(expression).test(path);
  const source = bare(template ?? '')
    .split(/(\{[^}]*\})/)
    .map((part) => (part.endsWith('=**}') ? '.+' : part.startsWith('{') ? '[^/]+' : escaped(part)));
  return regex(source.join('')).test(path);
}

function headerHolds(clause: HeaderClause, { headers, repeated }: NonNullable<Call['request']>): Known {
  const name = clause.name.toLowerCase();
  const value = headers.get(name);
  if (clause.present !== undefined || value === undefined) return headerMatches(clause, value);
  if (/[^ -~]/.test(value)) return 'unseen';
  return agreed([value, ...(repeated?.get(name) ?? [])].map((each) => headerMatches(clause, each)));
}

/** The calls that programs may see in this one. */
function readings(call: Call): readonly Call[] {
  const { request } = call;
  if (request === undefined) return [call];
  const { headers, repeated = new Map<string, string[]>(), path, grpc } = request;
  const most = Math.max(0, ...[...repeated.values()].map((values) => values.length));
  const lines = Array.from(
    { length: most },
    (_, index) => (values: readonly string[]) => values[Math.min(index, values.length - 1)],
  );
  const all = [() => undefined, ...lines].map((pick) =>
    [...headers].map(([name, value]) => [name, pick(repeated.get(name) ?? []) ?? value] as const),
  );
  const utf8 = all.map((each) => each.map(([name, value]) => [name, Buffer.from(value, 'latin1').toString('utf8')] as const));
  const [, service = '', method = '', more] = path.split('/');
  const calls = [...all, ...utf8].map((each) => ({ ...request, headers: new Map(each) }));
  const isGrpcPath = grpc === undefined && service !== '' && method !== '' && more === undefined;
  return [...calls, ...(isGrpcPath ? calls.map((each) => ({ ...each, grpc: { service, method } })) : [])].map((each) => ({
    ...call,
    request: each,
  }));
}

function headerMatches({ present, exact, prefix, suffix, regex: expression }: HeaderClause, value: string | undefined): boolean {
  if (present !== undefined) return present === (value !== undefined);
  if (value === undefined) return false;
  if (exact !== undefined) return value === exact;
  if (prefix !== undefined) return value.startsWith(prefix);
  if (suffix !== undefined) return value.endsWith(suffix);
  return expression !== undefined && regex(expression).test(value);
}

function whenHolds(text: string, call: Call): Known {
  const condition = CONDITIONS.get(text);
  if (condition === undefined) throw new Error(`no such condition in the tests: ${text}`);
  const isUnseen = condition.fields.some(
    (field) =>
      call.unseen?.has(field) === true ||
      (field.startsWith('request.') && call.request === undefined) ||
      (field === 'destination.port' && call.destination.port === undefined) ||
      (field === 'user' && call.user === undefined && call.request === undefined),
  );
  return isUnseen ? 'unseen' : agreed(readings(call).map((each) => condition.holds(each) ?? 'unseen'));
}

const escaped = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
const wildcard = remembered((pattern) => regex(pattern.split('*').map(escaped).join('.*')));
const hostPattern = remembered((pattern) => regex(pattern === '*' ? '.+' : pattern.split('*').map(escaped).join('.+')));
const idPattern = remembered((pattern) => {
  const open = pattern.endsWith('/**');
  const parts = (open ? pattern.slice(0, -3) : pattern).split('*').map(escaped);
  return regex(`${parts.join('[^/]*')}${open ? '(/[^/]+)+' : ''}`);
});

/** Making expressions is most of the work: those of the same text are made once. */
function remembered(make: (text: string) => RegExp): (text: string) => RegExp {
  const known = new Map<string, RegExp>();
  return (text) => {
    const made = known.get(text) ?? make(text);
    known.set(text, made);
    return made;
  };
}

function regex(source: string): RegExp {
  return new RegExp(`^(?:${source})$`, 's');
}
