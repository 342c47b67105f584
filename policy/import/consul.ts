import { decode, record } from '../../core/decode.ts';
import type { Decoded } from '../../core/decode.ts';
import {
  byPrecedence,
  foreignField,
  intentionSource,
  intentionsSpec,
  isNamed,
  isPlainAllow,
  isPlainDeny,
} from './consul-intention.ts';
import type { ConsulOptions, Intention } from './consul-intention.ts';
import { operationsOf } from './consul-permissions.ts';
import { certainCallers, covers, isEverybody, meets, noneOf, possibleCallers } from './consul-services.ts';
import type { ConsulService } from './consul-services.ts';
import { wideDenials } from './consul-wide.ts';
import { fitted } from './fitting.ts';
import type { DraftedPolicy, RuleDraft } from './fitting.ts';
import { anything, LossReport, naming } from './foreign.ts';
import type { Lose } from './foreign.ts';
import type { Imported } from './losses.ts';

export type { ConsulOptions } from './consul-intention.ts';

/**
 * Translates Consul's intentions: ServiceIntentions of Kubernetes, or config entries of kind `service-intentions` as JSON. A service is
 * the service account of the same name. Each destination becomes one ALLOW policy, in which Consul's precedence is written out: no call
 * that Consul denies is allowed by it. Denials for all destinations become policies of their own.
 *
 * @throws IdentityError `invalid_argument` for fields that intentions do not have
 */
export function importConsul(documents: readonly object[], options: ConsulOptions): Imported {
  const report = new LossReport();
  const all = documents.flatMap((document) => intentionsOf(document, options, report));
  const destinations = new Map(
    all.filter(isNamed).map(({ destination }) => [`${destination.namespace}/${destination.name}`, destination]),
  );
  sayReadings(all, options);
  const policies = [...destinations].map(([, destination]) => policyFor(destination, all, options, report));
  return { resources: fitted([...policies, ...wideDenials(all, options)]), losses: report.losses };
}

/** What is not carried over as it stood wherever the destination is. */
function sayReadings(all: readonly Intention[], { namespace }: ConsulOptions): void {
  const names = all.flatMap(({ destination, source }) => [destination, source]).filter((each) => !each.isAnywhere);
  const hasNamespaces = names.some((each) => each.namespace !== '*');
  for (const each of all) {
    const { source, spec, field, lose } = each;
    if (spec === NOBODY) continue;
    const isDenial = isPlainDeny(each);
    if (!isDenial && !isNamed(each))
      lose(field, 'allows less', 'carried over to the destinations that are named in these documents');
    if (!isDenial && source.isAnywhere && source.name === '*')
      lose(field, 'allows less', `without a namespace, "*" lets in who is in ${namespace}`);
    if (isDenial && source.isAnywhere && hasNamespaces)
      lose(field, 'denies more', 'without a namespace, it denies services of every namespace');
  }
}

function intentionsOf(document: object, options: ConsulOptions, report: LossReport): Intention[] {
  const read = specOf(document);
  if (read === undefined) return [];
  const { title, spec } = read;
  const lose = report.of(title);
  const { destination, sources, jwt } = naming(title, () => decode(intentionsSpec, spec));
  if (jwt !== undefined)
    lose('spec.jwt', 'rule dropped', 'tokens are asked for by a RequestAuthentication and by `users` of a rule');
  const isElsewhere = !['', 'default'].includes(destination.partition);
  if (isElsewhere)
    lose('spec.destination.partition', 'rule dropped', 'a service of this name in another partition is not told apart');
  // Whoever asks for a token is not known to let anybody in without one.
  const usable = jwt === undefined && !isElsewhere ? sources : [];
  if (usable.length === 0) return [intention(options, lose, { destination, each: NOBODY, field: 'spec.sources' })];
  return usable.map((each, index) => intention(options, lose, { destination, each, field: `spec.sources[${index}]` }));
}

/** A destination that nobody was found for is still one that has intentions. */
const NOBODY = decode(intentionSource, { name: '*', namespace: '*', action: 'deny' });

function intention(
  options: ConsulOptions,
  lose: Lose,
  {
    destination,
    each,
    field,
  }: {
    destination: Decoded<typeof intentionsSpec>['destination'];
    each: Decoded<typeof intentionSource>;
    field: string;
  },
): Intention {
  const service = ({ name, namespace }: { name: string; namespace: string }): ConsulService => {
    const isAnywhere = namespace === '' || namespace === 'default';
    return { name, namespace: isAnywhere ? options.namespace : namespace, isAnywhere };
  };
  return { destination: service(destination), source: service(each), spec: each, field, lose };
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
  destination: ConsulService,
  all: readonly Intention[],
  { defaultPolicy }: ConsulOptions,
  report: LossReport,
): DraftedPolicy {
  const about = all.filter((each) => covers(each.destination, destination, true)).sort(byPrecedence);
  const rules = about.flatMap((each, index) =>
    covers(each.destination, destination, false) ? ruleOf(each, about.slice(0, index), defaultPolicy) : [],
  );
  const title = `the intentions of ${destination.namespace}/${destination.name}`;
  const others = defaultPolicy === 'allow' ? unlessDecided(REGISTERED, about) : undefined;
  if (others !== undefined)
    report.of(title)('default_policy', 'allows less', 'of callers that it lets in, those that are in a namespace of Kubernetes');
  const resource = {
    apiVersion: 'countersign.dev/v1alpha1',
    kind: 'AuthorizationPolicy',
    metadata: { name: `${destination.name}-intentions`, namespace: destination.namespace },
    spec: {
      targetRefs: [{ kind: 'ServiceAccount', name: destination.name }],
      action: 'ALLOW',
      rules: [...rules, ...(others === undefined ? [] : [{ from: [others] }])],
    },
  };
  return { title, resource, lose: report.of(title) };
}

/** Callers of this cluster, of which a namespace is registered. Those of peers have none. */
const REGISTERED: ConsulService = { name: '*', namespace: '*', isAnywhere: false };

function ruleOf(intention: Intention, earlier: readonly Intention[], defaultPolicy: string): RuleDraft[] {
  const { source, spec, field, lose } = intention;
  const foreign = foreignField(intention);
  if (foreign !== undefined) {
    if (spec.action !== 'deny')
      lose(`${field}.${foreign}`, 'rule dropped', 'callers of other clusters are named by their trust domain');
    return [];
  }
  if (isPlainDeny(intention)) return [];
  const clause = unlessDecided(source, earlier);
  if (clause === undefined) return [];
  if (spec.permissions.length === 0) return [{ from: [clause] }];
  if (defaultPolicy === 'allow')
    lose(`${field}.permissions`, 'allows less', 'what none of them is about is denied, though Consul allows by default');
  const to = operationsOf(spec.permissions, `${field}.permissions`, lose);
  if (to.length === 0) return [];
  return [{ from: [clause], ...(to.some((each) => Object.keys(each).length === 0) ? {} : { to }) }];
}

/** Callers that are certainly the service's, and that no earlier intention is about; undefined where there is none. */
function unlessDecided(service: ConsulService, earlier: readonly Intention[]): object | undefined {
  // Callers of peers are in no namespace that is registered here.
  const deciding = earlier.filter((each) => !isPlainAllow(each) && each.spec.peer === '' && meets(each.source, service));
  if (deciding.some((each) => isEverybody(each.source))) return undefined;
  return { ...certainCallers(service), ...noneOf(deciding.map((each) => possibleCallers(each.source))) };
}
