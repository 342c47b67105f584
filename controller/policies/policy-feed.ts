import { isIdentityError } from '../../core/errors.ts';
import { POLICY_DEFINITIONS } from '../../crds/index.ts';
import type { ResourceType } from '../../policy/schema/resource.ts';
import { declaredKey, refOf, subjectOf, type DeclaredObjects } from '../declared-objects.ts';
import { isSameSpec } from '../identity/declaration-store.ts';
import type { Problem } from '../ports.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import type { ObjectKind } from '../sources/object-kind.ts';
import type { PolicyIndex } from './policy-index.ts';
import { readPolicyObject, type PolicyObject } from './policy-object.ts';
import type { PolicyOverlaps } from './policy-overlaps.ts';
import { annotationRemarks, requireAnnotations } from './refuse-annotation.ts';

/** What events of a source go into. */
export interface PolicyTargets {
  readonly index: PolicyIndex;
  readonly overlaps: PolicyOverlaps;
  readonly declared: DeclaredObjects;
  /** Told of each object that was read, before it is declared. */
  readonly onRead: (object: PolicyObject) => void;
  /** Told what may surprise in an object that no webhook has looked at. */
  readonly onRemark?: ((about: ReturnType<typeof subjectOf>, remark: Problem) => void) | undefined;
}

/** The kinds of authorization that the controller follows. */
export function policyKinds(targets: PolicyTargets): readonly ObjectKind[] {
  return POLICY_DEFINITIONS.map(({ type }) => policyKind(type, targets));
}

function policyKind(type: ResourceType, targets: PolicyTargets): ObjectKind {
  const { index, overlaps, declared } = targets;
  return {
    type,
    optional: true,
    read: (object) => () => {
      const ref = refOf(type, object);
      const key = declaredKey(type, ref.namespace === '' ? ref.name : `${ref.namespace}/${ref.name}`);
      for (const message of annotationRemarks(object.metadata))
        targets.onRemark?.(subjectOf({ type, ref }), { reason: 'UnknownAnnotation', message });
      const fault = take({ ...object, kind: type.kind }, key, targets);
      const generation = object.metadata.generation ?? 0;
      declared.put({ key, type, ref, generation, isOurs: true, status: object['status'], fault });
    },
    remove: (sourceKey) => {
      const key = declaredKey(type, sourceKey);
      index.remove(key);
      overlaps.remove(key);
      declared.remove(key);
    },
  };
}

/** @returns why it is not in force; what it said before stays */
function take(object: KubeObject, key: string, { index, overlaps, onRead }: PolicyTargets): Problem | undefined {
  try {
    const read = readPolicyObject(object);
    requireAnnotations(read.meta);
    const before = index.object(key);
    // Labels, annotations and our own status change without the specification.
    if (before !== undefined && isSameSpec(before.meta, read.meta)) return undefined;
    onRead(read);
    index.put(read);
    if (read.policy !== undefined) overlaps.put(read.policy);
    return undefined;
  } catch (error) {
    if (!isIdentityError(error)) throw error;
    index.putUnreadable(key);
    return { reason: 'Invalid', message: error.message };
  }
}
