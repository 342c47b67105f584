import type { V1CustomResourceDefinition } from '@kubernetes/client-node';

import { POLICY_DEFINITIONS, RESOURCE_KINDS } from '../../crds/index.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import { CUSTOM_RESOURCE_DEFINITIONS, type ResourceType } from '../../runtime/kubernetes/resource-types.ts';
import type { ClusterAccess } from './cluster-access.ts';
import type { Finding } from './finding.ts';
import { policyProblem, type DeclaredPolicy } from './policies.ts';

const GROUP = 'countersign.dev';
const LISTED = 20;

type Declared = DeclaredPolicy & {
  readonly status?: {
    readonly stats?: Readonly<Record<string, number>>;
    /** SPIRE's ClusterStaticEntry. */
    readonly rendered?: boolean;
    readonly masked?: boolean;
    readonly set?: boolean;
  };
};

/** Whether the definitions are served, and which resources have a problem or have not been looked at. */
export async function resourceFindings(
  cluster: Pick<ClusterAccess, 'client' | 'all'>,
  nowMs: number,
): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  const policies = POLICY_DEFINITIONS.map(({ type }) => ({
    type,
    problemOf: (object: Declared) => policyProblem(object, { type, nowMs }),
  }));
  const others = RESOURCE_KINDS.map(({ type }) => ({ type, problemOf: (object: Declared) => problemOf(object, type) }));
  for (const { type, problemOf: check } of [...others, ...policies]) {
    const definition = await cluster.client.find<V1CustomResourceDefinition & KubeObject>(CUSTOM_RESOURCE_DEFINITIONS, {
      name: `${type.plural}.${type.group}`,
    });
    if (definition === undefined) {
      // SPIRE's kinds are there only where SPIRE was.
      if (type.group === GROUP) findings.push(missing(type));
      continue;
    }
    findings.push(...(await kindFindings(cluster, type, check)));
  }
  return findings;
}

function missing({ plural, group, kind }: ResourceType): Finding {
  return { level: 'error', subject: kind, text: `${plural}.${group} is not defined`, remedy: 'kubectl apply -k crds' };
}

async function kindFindings(
  cluster: Pick<ClusterAccess, 'all'>,
  type: ResourceType,
  check: (object: Declared) => readonly Finding[],
): Promise<readonly Finding[]> {
  const objects = await cluster.all<Declared>(type);
  const bad = objects.flatMap(check);
  const more =
    bad.length > LISTED
      ? [{ level: 'error', subject: type.kind, text: `${bad.length - LISTED} more have problems` } as const]
      : [];
  const well = objects.length - bad.length;
  const summary = { level: 'ok', subject: type.kind, text: `${well} of ${objects.length} are in force` } as const;
  return [...(bad.length === 0 ? [summary] : []), ...bad.slice(0, LISTED), ...more];
}

function problemOf(object: Declared, type: ResourceType): readonly Finding[] {
  const { namespace, name = '', generation } = object.metadata;
  const subject = `${type.kind} ${namespace === undefined ? name : `${namespace}/${name}`}`;
  const remedy = `kubectl describe ${type.plural}.${type.group} ${name}${namespace === undefined ? '' : ` -n ${namespace}`}`;
  const { conditions = [], stats = {}, observedGeneration } = object.status ?? {};
  const failed = conditions.find((condition) => condition.status === 'False');
  if (failed !== undefined) return [{ level: 'error', subject, text: failed.message ?? `${failed.type} is False`, remedy }];
  const failures = (stats['podEntryRenderFailures'] ?? 0) + (stats['entryFailures'] ?? 0);
  const { rendered, masked, set } = object.status ?? {};
  if (rendered === false || (set === false && masked !== true)) {
    return [{ level: 'error', subject, text: rendered === false ? 'is not well-formed' : 'its entry is not at the CA', remedy }];
  }
  if (failures > 0) return [{ level: 'error', subject, text: `${failures} of its pods have no identity`, remedy }];
  if (type.group === GROUP && observedGeneration !== generation) {
    const text = `the controller has not looked at generation ${generation}`;
    return [{ level: 'warning', subject, text, remedy: 'if it stays so, see the controller’s log' }];
  }
  return [];
}
