import { indexLabelOf, matches } from '../schema/label-selector.ts';
import type { LabelSelector, Labels } from '../schema/label-selector.ts';
import { spiffeIdTest } from '../match/spiffe-id-pattern.ts';
import type { Destination } from '../model.ts';
import type { Policy } from '../policy.ts';

/** Which destinations a policy is about. */
export interface Target {
  /** Every destination that is selected has one of these keys; see {@link keysOf}. */
  readonly keys: readonly string[];
  readonly selects: (destination: Destination) => boolean;
  /** Whether it hangs on the selectors of the workload. */
  readonly isOfPods: boolean;
  /** As `selects`, for a destination whose selectors are not known: whether it would, were they those that are asked for. */
  readonly maySelect: (destination: Destination) => boolean;
}

const POD_LABEL = 'k8s:pod-label:';
const EVERY = '*';

/** The target of a policy. */
export function targetOf(policy: Policy): Target {
  const ofPods = podTests(policy);
  const named = [...namespaceTests(policy), ...nameTests(policy)];
  const tests = [...named, ...ofPods];
  return {
    keys: indexKeys(policy),
    selects: (destination) => tests.every((test) => test(destination)),
    isOfPods: ofPods.length > 0,
    maySelect: (destination) => named.every((test) => test(destination)),
  };
}

/** Whether something is about a destination. */
export type DestinationTest = (destination: Destination) => boolean;

function namespaceTests({ name, action, namespaceSelector, namespaces }: Policy): DestinationTest[] {
  if (name.kind === 'AuthorizationPolicy') return [({ namespace }) => namespace === name.namespace];
  if (namespaceSelector === undefined) return [];
  // Where nobody has found the namespaces, DENY holds in all of them and ALLOW in none.
  if (namespaces === undefined) return [({ namespace }) => action !== 'ALLOW' && namespace !== undefined];
  const set = new Set(namespaces);
  return [({ namespace }) => namespace !== undefined && set.has(namespace)];
}

function podTests({ selector, attested }: Policy): DestinationTest[] {
  return [
    ...(selector === undefined ? [] : [selectorTest(selector)]),
    ...(attested === undefined ? [] : [({ selectors }: Destination) => attested.every((each) => selectors.has(each))]),
  ];
}

/** Whether a destination is a pod with such labels: they are compared in the form in which the workload was attested with them. */
export function selectorTest(selector: LabelSelector): DestinationTest {
  const plain = Object.entries(selector.matchLabels).map(([key, value]) => `${POD_LABEL}${key}:${value}`);
  if (selector.matchExpressions.length === 0) return ({ selectors }) => plain.every((each) => selectors.has(each));
  return ({ selectors }) => matches(selector, labelsIn(selectors));
}

function labelsIn(selectors: ReadonlySet<string>): Labels {
  const labels = [...selectors].filter((each) => each.startsWith(POD_LABEL)).map((each) => each.slice(POD_LABEL.length));
  return Object.fromEntries(labels.map((each) => [each.slice(0, each.indexOf(':')), each.slice(each.indexOf(':') + 1)]));
}

function nameTests({ targetRefs, spiffeIDs }: Policy): DestinationTest[] {
  const accounts = new Set(targetRefs?.map(({ name }) => name));
  const ids = (spiffeIDs ?? []).map(spiffeIdTest);
  return [
    ...(targetRefs === undefined ? [] : [({ serviceAccount = '' }: Destination) => accounts.has(serviceAccount)]),
    ...(spiffeIDs === undefined
      ? []
      : [({ spiffeId }: Destination) => spiffeId !== undefined && ids.some((test) => test(spiffeId))]),
  ];
}

/** The narrowest keys that a policy can be found by. */
function indexKeys(policy: Policy): readonly string[] {
  const { name, selector, attested, targetRefs, spiffeIDs, namespaceSelector, namespaces } = policy;
  const found = namespaceSelector === undefined ? undefined : namespaces;
  const scopes = name.kind === 'AuthorizationPolicy' ? [name.namespace] : found;
  const within = (texts: readonly string[]): readonly string[] =>
    scopes === undefined ? texts.map((text) => `*|${text}`) : scopes.flatMap((scope) => texts.map((text) => `${scope}|${text}`));
  if (spiffeIDs?.every((id) => !id.includes('*'))) return spiffeIDs.map((id) => `*|${id}`);
  if (targetRefs !== undefined) return within(targetRefs.map((ref) => `sa:${ref.name}`));
  if (attested?.[0] !== undefined) return within([attested[0]]);
  const label = selector === undefined ? undefined : indexLabelOf(selector);
  if (label !== undefined) return within(label.values.map((value) => `${POD_LABEL}${label.key}:${value}`));
  return within([EVERY]);
}

/** Every key under which a policy about this destination may lie. */
export function keysOf({ namespace, spiffeId, serviceAccount, selectors }: Destination): string[] {
  const scopes = namespace === undefined ? ['*'] : ['*', namespace];
  const texts = [EVERY, ...(serviceAccount === undefined ? [] : [`sa:${serviceAccount}`]), ...selectors];
  const keys = scopes.flatMap((scope) => texts.map((text) => `${scope}|${text}`));
  return spiffeId === undefined ? keys : [...keys, `*|${spiffeId.toString()}`];
}
