import type { IdentityError } from '../../core/errors.ts';
import type { ResourceStatus } from '../../crds/resource-status.ts';
import type { DeclaredObject } from '../declared-objects.ts';
import type { FederationIndex } from '../federation/federation-index.ts';
import type { FederationReconciler } from '../federation/federation-reconciler.ts';
import type { EntryReconciler } from '../entries/entry-reconciler.ts';
import type { DeclarationStats } from '../identity/declaration-stats.ts';
import type { IdentityIndex } from '../identity/identity-index.ts';
import { SUSPENDED_MESSAGE } from '../identity/render-account.ts';
import type { JsonObject, Problem } from '../ports.ts';
import { condition, type Verdict } from './condition.ts';

/** What a status is made from. */
export interface StatusInputs {
  readonly index: IdentityIndex;
  readonly entries: Pick<EntryReconciler, 'failuresOf'>;
  /** Why the CA does not take changes, when that is worth telling. */
  readonly outage: () => IdentityError | undefined;
  readonly federation: Pick<FederationIndex, 'trustDomainOf' | 'maskedBy'>;
  readonly relationships: Pick<FederationReconciler, 'failureOf' | 'isInForce'>;
  /** RFC 3339. */
  readonly now: () => string;
}

const OWN_GROUP = 'countersign.dev';
/** How many pods a message names. */
const NAMED = 3;

/** The status of an object as it is now; undefined for a kind that has none. */
export function statusOf(object: DeclaredObject, inputs: StatusInputs): JsonObject | undefined {
  const { kind } = object.ref;
  if (kind === 'ClusterFederatedTrustDomain') return undefined;
  const counts = { ...statsOf(object, inputs), ...staticOf(object, inputs) };
  if (object.type.group !== OWN_GROUP) return counts;
  const status: ResourceStatus = {
    observedGeneration: object.generation,
    conditions: [
      condition(object, 'Accepted', acceptedOf(object), inputs),
      condition(object, 'Ready', readyOf(object, inputs), inputs),
    ],
  };
  return { ...status, ...counts };
}

function statsOf({ key, ref }: DeclaredObject, { index, entries }: StatusInputs): JsonObject {
  if (!['ClusterWorkloadIdentity', 'WorkloadIdentity', 'ClusterSPIFFEID'].includes(ref.kind)) return {};
  const stats = index.stats(key) ?? NOTHING;
  return {
    stats: {
      namespacesSelected: stats.namespacesSelected,
      namespacesIgnored: stats.namespacesIgnored,
      podsSelected: stats.podsSelected,
      podEntryRenderFailures: stats.podEntryRenderFailures + stats.entriesReserved,
      entriesMasked: stats.entriesMasked,
      entriesToSet: stats.entriesToSet,
      entryFailures: entries.failuresOf(key).length,
    },
  };
}

const NOTHING: DeclarationStats = {
  namespacesSelected: 0,
  namespacesIgnored: 0,
  podsSelected: 0,
  podEntryRenderFailures: 0,
  entriesMasked: 0,
  entriesReserved: 0,
  entriesToSet: 0,
  podsWaiting: 0,
  isSuspended: false,
};

function staticOf({ key, ref, fault }: DeclaredObject, { index, entries, outage }: StatusInputs): JsonObject {
  if (ref.kind !== 'StaticIdentity' && ref.kind !== 'ClusterStaticEntry') return {};
  const counts = index.staticCounts(key);
  const isSet = counts?.entriesToSet === 1 && entries.failuresOf(key).length === 0 && outage() === undefined;
  return { rendered: fault === undefined, masked: counts?.entriesMasked === 1, set: isSet };
}

function acceptedOf({ fault }: DeclaredObject): Verdict {
  if (fault === undefined) return { status: 'True', reason: 'Valid', message: 'the specification is in order' };
  return { status: 'False', ...fault };
}

function readyOf(object: DeclaredObject, inputs: StatusInputs): Verdict {
  const { key, fault } = object;
  if (fault !== undefined) {
    const message = `${fault.message}; what was declared before, if anything, stays in force`;
    return { status: 'False', reason: fault.reason, message };
  }
  const outage = inputs.outage();
  if (outage !== undefined) {
    return {
      status: 'Unknown',
      reason: 'CaUnavailable',
      message: `the CA does not take changes at the moment: ${outage.message}`,
    };
  }
  const trustDomain = inputs.federation.trustDomainOf(key);
  if (trustDomain !== undefined) return federatedOf(key, trustDomain, inputs);
  return inputs.index.staticCounts(key) === undefined ? identitiesOf(key, inputs) : staticReadyOf(key, inputs);
}

function federatedOf(key: string, trustDomain: string, { federation, relationships }: StatusInputs): Verdict {
  const problem = federation.maskedBy(key) ?? relationships.failureOf(trustDomain);
  if (problem !== undefined) return { status: 'False', ...problem };
  if (relationships.isInForce(trustDomain)) {
    return { status: 'True', reason: 'InForce', message: `the CA federates with ${trustDomain}` };
  }
  return { status: 'Unknown', reason: 'Reconciling', message: 'the CA is being told' };
}

function staticReadyOf(key: string, { index, entries }: StatusInputs): Verdict {
  const problem = index.staticProblemOf(key) ?? entries.failuresOf(key)[0];
  if (problem !== undefined) return { status: 'False', reason: problem.reason, message: problem.message };
  return { status: 'True', reason: 'InForce', message: 'the entry is at the CA' };
}

function identitiesOf(key: string, { index, entries }: StatusInputs): Verdict {
  const stats = index.stats(key) ?? NOTHING;
  const failures = entries.failuresOf(key);
  if (failures.length > 0) return bad('EntryRefused', `the CA refused ${count(failures.length, 'entry', 'entries')}`, failures);
  if (stats.isSuspended) return { status: 'False', reason: 'Suspended', message: SUSPENDED_MESSAGE };
  if (stats.podEntryRenderFailures > 0) {
    const failed = index.problemsOf(key, NAMED, 'RenderFailed');
    return bad('RenderFailed', `${count(stats.podEntryRenderFailures, 'pod')} got no entry`, failed);
  }
  if (stats.entriesReserved > 0) {
    const what = `${count(stats.entriesReserved, 'entry', 'entries')} not made`;
    return bad('IDReserved', what, index.problemsOf(key, NAMED, 'IDReserved'));
  }
  if (stats.entriesMasked > 0) {
    return bad('Masked', `${count(stats.entriesMasked, 'entry', 'entries')} masked`, index.problemsOf(key, NAMED, 'Masked'));
  }
  if (stats.podsSelected === 0) {
    return { status: 'True', reason: 'NothingSelected', message: nothingSelected(stats, index.ignoredNamespacesOf(key)) };
  }
  const waiting = stats.podsWaiting === 0 ? '' : `; ${count(stats.podsWaiting, 'pod')} not on a node yet`;
  return { status: 'True', reason: 'InForce', message: `${count(stats.entriesToSet, 'entry', 'entries')} in force${waiting}` };
}

function nothingSelected({ namespacesSelected }: DeclarationStats, ignored: readonly string[]): string {
  if (namespacesSelected === 0) return 'it selects no namespace';
  const more = ignored.length > NAMED ? ` and ${ignored.length - NAMED} more` : '';
  const named = `${ignored.slice(0, NAMED).join(', ')}${more}`;
  if (ignored.length === namespacesSelected) {
    return `all namespaces that it selects are left alone by ignoreNamespaces in controller.yaml: ${named}`;
  }
  const where = ignored.length === 0 ? '' : `; left alone by ignoreNamespaces in controller.yaml: ${named}`;
  return `it selects no pod (that it is responsible for) in its namespaces${where}`;
}

function bad(reason: string, what: string, problems: readonly Problem[]): Verdict {
  const named = problems.slice(0, NAMED).map(({ pod, message }) => (pod === undefined ? message : `pod ${pod}: ${message}`));
  return { status: 'False', reason, message: [what, ...named].join('; ') };
}

function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}
