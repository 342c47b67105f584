import type { ResourceType } from '../../policy/schema/resource.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import type { Finding } from './finding.ts';

/** An object of one of the kinds of authorization, as the API server has it. */
export type DeclaredPolicy = KubeObject & {
  readonly status?: {
    readonly observedGeneration?: number;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason?: string;
      readonly message?: string;
      readonly lastTransitionTime?: string;
    }[];
    readonly conflictsWith?: readonly string[];
  };
};

/** Which kind, and when. */
export interface PolicyCheck {
  readonly type: ResourceType;
  readonly nowMs: number;
}

/** A policy is in force within a second; what takes longer than this does not come by itself. */
const PATIENCE_MS = 60_000;

/** What is to be said of a policy: not accepted, refused by nodes or not in force within a minute, at odds with others, not looked at. */
export function policyProblem(object: DeclaredPolicy, { type, nowMs }: PolicyCheck): readonly Finding[] {
  const { namespace, name = '', generation } = object.metadata;
  const subject = `${type.kind} ${namespace === undefined ? name : `${namespace}/${name}`}`;
  const remedy = `kubectl describe ${type.plural}.${type.group} ${name}${namespace === undefined ? '' : ` -n ${namespace}`}`;
  const { conditions = [], observedGeneration, conflictsWith = [] } = object.status ?? {};
  const of = (wanted: string) => conditions.find((condition) => condition.type === wanted);
  const [accepted, programmed] = [of('Accepted'), of('Programmed')];
  if (accepted?.status === 'False') return [{ level: 'error', subject, text: accepted.message ?? 'is not accepted', remedy }];
  if (observedGeneration !== generation) {
    const text = `the controller has not looked at generation ${generation}`;
    return [{ level: 'warning', subject, text, remedy: 'if it stays so, see the controller’s log' }];
  }
  const said = programmed?.message ?? 'nothing is said of the nodes';
  if (programmed?.reason === 'Refused') return [{ level: 'error', subject, text: said, remedy }];
  const sinceMs = nowMs - Date.parse(programmed?.lastTransitionTime ?? '');
  // Without a time it is not known to be short.
  if (programmed?.status !== 'True' && !(sinceMs < PATIENCE_MS)) {
    return [{ level: 'error', subject, text: `not in force on all nodes for more than a minute: ${said}`, remedy }];
  }
  if (conflictsWith.length === 0) return [];
  const text = `says the opposite of the same calls as ${conflictsWith.slice(0, NAMED).join(', ')}`;
  const more = conflictsWith.length > NAMED ? ` and ${conflictsWith.length - NAMED} more` : '';
  return [{ level: 'warning', subject, text: `${text}${more}`, remedy: 'countersign policy lint says which rules' }];
}

/** Policies that are named in one line. */
const NAMED = 3;
