// Intentions for all destinations: what they deny holds for workloads that no document names, too.
import { byPrecedence, foreignField, isNamed, isPlainAllow, isPlainDeny } from './consul-intention.ts';
import type { ConsulOptions, Intention } from './consul-intention.ts';
import { certainCallers, covers, isEverybody, meets, noneOf, possibleCallers } from './consul-services.ts';
import type { ConsulService } from './consul-services.ts';
import type { DraftedPolicy } from './fitting.ts';

/**
 * Policies for what such intentions deny. To deny everybody is to want no workload without a policy: an ALLOW without rules. To deny some is
 * a DENY; it is needed only where Consul allows by default, and nothing allows what it denies.
 */
export function wideDenials(all: readonly Intention[], { defaultPolicy }: ConsulOptions): readonly DraftedPolicy[] {
  const wide = all.filter((each) => !isNamed(each));
  const total = wide.filter((each) => isPlainDeny(each) && isEverybody(each.source) && foreignField(each) === undefined);
  const baselines = total.map((each) => policyFor(each, 'intentions-deny-by-default', { action: 'ALLOW', rules: [] }));
  const others = wide.filter(
    (each) =>
      !isPlainAllow(each) && !total.includes(each) && !total.some((one) => covers(one.destination, each.destination, true)),
  );
  if (defaultPolicy === 'allow') return merged([...baselines, ...others.flatMap((each) => denialOf(each, all))]);
  for (const { field, lose } of others.filter(isPlainDeny))
    lose(field, 'not carried over', 'Consul denies by default: let the default of the CA be deny, too');
  return merged(baselines);
}

function denialOf(intention: Intention, all: readonly Intention[]): readonly DraftedPolicy[] {
  const { source, destination, spec, field, lose } = intention;
  const foreign = foreignField(intention);
  if (foreign === 'peer' || foreign === 'partition') {
    lose(`${field}.${foreign}`, 'not carried over', 'callers of other clusters are named by their trust domain: deny that');
    return [];
  }
  const sooner = all.filter(
    (each) =>
      !isPlainDeny(each) &&
      byPrecedence(each, intention) < 0 &&
      meets(each.source, source) &&
      covers(destination, each.destination, true),
  );
  // Whom an intention lets in at all of these destinations is not denied there.
  const excepted = sooner.filter((each) => isPlainAllow(each) && covers(each.destination, destination, false));
  if (excepted.length < sooner.length)
    lose(field, 'denies more', 'a DENY holds for destinations, too, at which a more exact intention lets some of them in');
  if (spec.permissions.length > 0) lose(`${field}.permissions`, 'denies more', 'at all destinations every request is denied');
  const callers = { ...possibleCallers(source), ...noneOf(excepted.map((each) => certainCallers(each.source))) };
  const rule = Object.keys(callers).length === 0 ? {} : { from: [callers] };
  return [policyFor(intention, 'intentions-deny', { action: 'DENY', rules: [rule] })];
}

function policyFor({ destination, lose }: Intention, name: string, spec: DraftedPolicy['resource']['spec']): DraftedPolicy {
  const isCluster = isEverywhere(destination);
  const kind = isCluster ? 'ClusterAuthorizationPolicy' : 'AuthorizationPolicy';
  const metadata = isCluster ? { name } : { name, namespace: destination.namespace };
  const resource = { apiVersion: 'countersign.dev/v1alpha1', kind, metadata, spec };
  return { title: 'the intentions of all services', resource, lose };
}

// A service of any namespace is named by no policy of ours: it is about all.
function isEverywhere({ namespace, isAnywhere }: ConsulService): boolean {
  return namespace === '*' || isAnywhere;
}

/** Rules of policies of the same name stand in one. */
function merged(drafts: readonly DraftedPolicy[]): readonly DraftedPolicy[] {
  const found = new Map<string, DraftedPolicy>();
  for (const draft of drafts) {
    const { kind, metadata, spec } = draft.resource;
    const key = `${kind}/${metadata.namespace ?? ''}/${metadata.name}`;
    const { resource } = found.get(key) ?? { resource: { ...draft.resource, spec: { ...spec, rules: [] } } };
    const rules = [...resource.spec.rules, ...spec.rules];
    found.set(key, { ...draft, resource: { ...resource, spec: { ...spec, rules } } });
  }
  return [...found.values()];
}
