import { array, decode, integer, literal, object, optional, record, string } from '../../core/decode.ts';
import type { Decoded } from '../../core/decode.ts';
import { anything, checkedPolicy, LossReport, naming } from './foreign.ts';
import type { Lose } from './foreign.ts';
import { fitted } from './fitting.ts';
import type { DraftedPolicy, RuleDraft } from './fitting.ts';
import { operationsOf, permission } from './consul-permissions.ts';
import { ANY_ID } from './istio-values.ts';
import type { Imported } from './losses.ts';

/** What the documents do not say. */
export interface ConsulOptions {
  /** Where services are that name no namespace, or Consul's `default`. */
  readonly namespace: string;
  /** What Consul decides where no intention is about a call: `default_policy` of its ACLs. */
  readonly defaultPolicy: 'allow' | 'deny';
}

const text = optional(string({ allowEmpty: true }), '');
const source = object({
  name: string(),
  namespace: text,
  partition: text,
  peer: text,
  samenessGroup: text,
  action: optional(literal('allow', 'deny')),
  permissions: optional(array(permission), []),
  description: text,
  precedence: optional(integer()),
  type: anything,
  legacyID: anything,
  legacyMeta: anything,
  legacyCreateTime: anything,
  legacyUpdateTime: anything,
});
const intentions = object({
  destination: object({ name: string(), namespace: text, partition: text }),
  sources: array(source),
  jwt: anything,
  meta: anything,
});

type Source = Decoded<typeof source>;

interface Service {
  readonly name: string;
  readonly namespace: string;
}

interface Intention {
  readonly destination: Service;
  readonly source: Service;
  readonly spec: Source;
  readonly field: string;
  readonly lose: Lose;
}

/**
 * Translates Consul's intentions: ServiceIntentions of Kubernetes, or config entries of kind `service-intentions` as JSON. A service is
 * the service account of the same name. Each destination becomes one ALLOW policy, in which Consul's precedence is written out: no call
 * that Consul denies is allowed by it.
 *
 * @throws IdentityError `invalid_argument` for fields that intentions do not have
 */
export function importConsul(documents: readonly object[], options: ConsulOptions): Imported {
  const report = new LossReport();
  const all = documents.flatMap((document) => intentionsOf(document, options, report));
  const named = all.filter(({ destination }) => destination.name !== '*' && destination.namespace !== '*');
  const destinations = new Map(named.map(({ destination }) => [`${destination.namespace}/${destination.name}`, destination]));
  const wide = all.filter((each) => !named.includes(each));
  for (const { spec, field, lose } of wide) {
    if (spec.action === 'deny') continue;
    lose(field, 'allows less', 'carried over to the destinations that are named in these documents');
  }
  const policies = [...destinations].map(([, destination]) => policyFor(destination, all, options, report));
  return { resources: [...fitted(policies), ...baselineOf(wide)], losses: report.losses };
}

/** Whoever denies everything to everybody wants no workload without a policy. */
function baselineOf(wide: readonly Intention[]): object[] {
  const isMeant = wide.some(
    (each) => each.spec.action === 'deny' && [each.destination.name, each.source.name].every((name) => name === '*'),
  );
  if (!isMeant) return [];
  const resource = {
    apiVersion: 'countersign.dev/v1alpha1',
    kind: 'ClusterAuthorizationPolicy',
    metadata: { name: 'intentions-deny-by-default' },
    spec: { action: 'ALLOW', rules: [] },
  };
  return [checkedPolicy('the intention of all services', resource)];
}

function intentionsOf(document: object, options: ConsulOptions, report: LossReport): Intention[] {
  const read = specOf(document);
  if (read === undefined) return [];
  const { title, spec } = read;
  const lose = report.of(title);
  const { destination, sources, jwt } = naming(title, () => decode(intentions, spec));
  if (jwt !== undefined)
    lose('spec.jwt', 'rule dropped', 'tokens are asked for by a RequestAuthentication and by `users` of a rule');
  // Whoever asks for a token is not known to let anybody in without one.
  const usable = jwt === undefined ? sources : [];
  if (usable.length === 0) return [intention(options, lose, { destination, each: NOBODY, field: 'spec.sources' })];
  return usable.map((each, index) => intention(options, lose, { destination, each, field: `spec.sources[${index}]` }));
}

/** A destination that nobody was found for is still one that has intentions. */
const NOBODY: Source = decode(source, { name: '*', action: 'deny' });

function intention(
  options: ConsulOptions,
  lose: Lose,
  { destination, each, field }: { destination: Decoded<typeof intentions>['destination']; each: Source; field: string },
): Intention {
  const place = (namespace: string): string => (namespace === '' || namespace === 'default' ? options.namespace : namespace);
  return {
    destination: { name: destination.name, namespace: place(destination.namespace) },
    source: { name: each.name, namespace: place(each.namespace) },
    spec: each,
    field,
    lose,
  };
}

function specOf(document: object): { readonly title: string; readonly spec: object } | undefined {
  const { kind, apiVersion, metadata, spec, Kind, Name, Sources, ...rest } = decode(record(anything), document);
  if (kind === 'ServiceIntentions' && String(apiVersion).startsWith('consul.hashicorp.com/')) {
    return { title: `ServiceIntentions ${String(Object(metadata).name)}`, spec: Object(spec) };
  }
  if ((Kind ?? kind) !== 'service-intentions') return undefined;
  const name = Name ?? rest['name'];
  const { Namespace, Partition, JWT, Meta } = rest;
  const destination = inLowerCase({ Name: name, Namespace, Partition });
  const written = { destination, sources: inLowerCase(Sources ?? rest['sources']), jwt: JWT, meta: Meta };
  return { title: `service-intentions ${String(name)}`, spec: written };
}

/** Config entries begin their keys with capitals, resources of Kubernetes do not. */
function inLowerCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inLowerCase);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  return Object.fromEntries(
    entries.map(([key, each]) => [
      key === 'HTTP' || key === 'JWT' ? key.toLowerCase() : key.charAt(0).toLowerCase() + key.slice(1),
      inLowerCase(each),
    ]),
  );
}

function policyFor(
  destination: Service,
  all: readonly Intention[],
  { defaultPolicy }: ConsulOptions,
  report: LossReport,
): DraftedPolicy {
  const about = all.filter((each) => covers(each.destination, destination)).sort(byPrecedence);
  const rules = about.flatMap((each, index) => ruleOf(each, about.slice(0, index)));
  const isOpen = defaultPolicy === 'allow' && !about.some(({ source: from }) => from.name === '*' && from.namespace === '*');
  const others = isOpen ? [{ spiffeIDs: ANY_ID, ...exclusionOf(about) }] : [];
  const title = `the intentions of ${destination.namespace}/${destination.name}`;
  const resource = {
    apiVersion: 'countersign.dev/v1alpha1',
    kind: 'AuthorizationPolicy',
    metadata: { name: `${destination.name}-intentions`, namespace: destination.namespace },
    spec: {
      targetRefs: [{ kind: 'ServiceAccount', name: destination.name }],
      action: 'ALLOW',
      rules: [...rules, ...others.map((clause) => ({ from: [clause] }))],
    },
  };
  return { title, resource, lose: report.of(title) };
}

function covers(one: Service, other: Service): boolean {
  return (one.name === '*' || one.name === other.name) && (one.namespace === '*' || one.namespace === other.namespace);
}

/** What names its destination more exactly decides, then what names its source more exactly; the first that does, decides alone. */
function byPrecedence(one: Intention, other: Intention): number {
  const rank = ({ destination, source: from }: Intention): number => exactness(destination) * 3 + exactness(from);
  return rank(other) - rank(one);
}

function exactness({ name, namespace }: Service): number {
  return namespace === '*' ? 0 : name === '*' ? 1 : 2;
}

function ruleOf({ source: service, spec, field, lose }: Intention, earlier: readonly Intention[]): RuleDraft[] {
  const foreign = (['partition', 'peer', 'samenessGroup'] as const).filter((key) => spec[key] !== '' && spec[key] !== 'default');
  if (foreign.length > 0) {
    if (spec.action !== 'deny')
      lose(`${field}.${foreign[0]}`, 'rule dropped', 'callers of other clusters are named by their trust domain');
    return [];
  }
  if (spec.permissions.length === 0 && spec.action !== 'allow') return [];
  const clause = { ...fieldsOf(service), ...exclusionOf(earlier.filter((each) => meets(each.source, service))) };
  const to = spec.permissions.length === 0 ? undefined : operationsOf(spec.permissions, `${field}.permissions`, lose);
  if (to?.length === 0) return [];
  return [{ from: [clause], ...(to === undefined || to.some((each) => Object.keys(each).length === 0) ? {} : { to }) }];
}

function fieldsOf({ name, namespace }: Service): object {
  if (namespace === '*') return name === '*' ? { spiffeIDs: ANY_ID } : { serviceAccounts: [`*/${name}`] };
  return name === '*' ? { namespaces: [namespace] } : { serviceAccounts: [`${namespace}/${name}`] };
}

/** Whether both may be about the same service. */
function meets(one: Service, other: Service): boolean {
  const agree = (left: string, right: string): boolean => left === '*' || right === '*' || left === right;
  return agree(one.name, other.name) && agree(one.namespace, other.namespace);
}

/** Whether it lets its source in whatever is asked for: then nothing changes when a later one does too. */
function isPlainAllow({ spec: { action, permissions, partition, peer, samenessGroup } }: Intention): boolean {
  const isHere = [partition, peer, samenessGroup].every((each) => each === '' || each === 'default');
  return isHere && action === 'allow' && permissions.length === 0;
}

/** Whoever an earlier intention is about is not decided by a later one. */
function exclusionOf(intentions: readonly Intention[]): object {
  const earlier = intentions.filter((each) => !isPlainAllow(each));
  if (earlier.length === 0) return {};
  const fields = new Map<string, Set<string>>();
  for (const { source: service } of earlier) {
    for (const [field, values] of Object.entries(fieldsOf(service))) {
      fields.set(field, new Set([...(fields.get(field) ?? []), ...values]));
    }
  }
  return { not: Object.fromEntries([...fields].map(([field, values]) => [field, [...values]])) };
}
