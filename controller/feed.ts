import { isIdentityError } from '../core/errors.ts';
import { RESOURCE_KINDS, type ResourceKind } from '../crds/index.ts';
import type { KubeObject } from '../runtime/kubernetes/object.ts';
import { ENDPOINT_SLICES, NAMESPACES, NODES, PODS, SERVICES, type ResourceType } from '../runtime/kubernetes/resource-types.ts';
import { declaredKey, refOf, type DeclaredObjects } from './declared-objects.ts';
import type { FederationIndex } from './federation/federation-index.ts';
import { precedenceOf } from './identity/declaration-store.ts';
import type { IdentityIndex } from './identity/identity-index.ts';
import type { KeptParts } from './identity/kept-parts.ts';
import { isOurClass, type IdentitySettings } from './identity/settings.ts';
import { staticEntry } from './identity/static-entry.ts';
import type { PodLatency } from './pod-latency.ts';
import type { NamespaceRecord, Problem } from './ports.ts';
import type { ObjectKind } from './sources/object-kind.ts';
import { endpointsRecord, namespaceRecord, nodeRecord, podRecord, serviceRecord } from './sources/records.ts';

/** What events of a source go into. */
export interface FeedTargets {
  readonly index: IdentityIndex;
  readonly federation: FederationIndex;
  readonly declared: DeclaredObjects;
  readonly settings: IdentitySettings;
  readonly kept: KeptParts;
  /** Called after each event. */
  readonly onEvent: () => void;
  readonly latency: Pick<PodLatency, 'placed' | 'removed'>;
  /** Who else is to know the namespaces. */
  readonly namespaces: { put(namespace: NamespaceRecord): void; remove(name: string): void };
}

/** Every kind that the controller follows, each going where it belongs. */
export function feedKinds(targets: FeedTargets): readonly ObjectKind[] {
  // What is declared comes first: it says how much of pods and nodes is kept.
  return [...RESOURCE_KINDS.map((kind) => declaringKind(kind, targets)), ...clusterKinds(targets)];
}

function clusterKinds({ index, kept, onEvent, latency, namespaces }: FeedTargets): readonly ObjectKind[] {
  const kind = <T>(type: ResourceType, read: (object: KubeObject) => T, sink: Sink<T>): ObjectKind => ({
    type,
    optional: false,
    read: (object) => {
      const value = read(object);
      return (key) => {
        sink.put(key, value);
        onEvent();
      };
    },
    remove: (key) => {
      sink.remove(key);
      onEvent();
    },
  });
  return [
    kind(NAMESPACES, namespaceRecord, {
      put: (key, it) => {
        index.putNamespace(key, it);
        namespaces.put(it);
      },
      remove: (key) => {
        index.removeNamespace(key);
        namespaces.remove(key);
      },
    }),
    kind(NODES, (object) => nodeRecord(object, kept.take('node')), {
      put: (key, it) => index.putNode(key, it),
      remove: (key) => index.removeNode(key),
    }),
    kind(SERVICES, serviceRecord, { put: (key, it) => index.putService(key, it), remove: (key) => index.removeService(key) }),
    kind(ENDPOINT_SLICES, endpointsRecord, {
      put: (key, it) => index.putEndpoints(key, it),
      remove: (key) => index.removeEndpoints(key),
    }),
    kind(PODS, (object) => podRecord(object, kept.take('pod')), {
      put: (key, it) => {
        const before = index.pod(key);
        if (it.nodeName !== undefined && !(before?.uid === it.uid && before.nodeName !== undefined)) latency.placed(key);
        index.putPod(key, it);
      },
      remove: (key) => {
        latency.removed(key);
        index.removePod(key);
      },
    }),
  ];
}

interface Sink<T> {
  readonly put: (key: string, value: T) => void;
  readonly remove: (key: string) => void;
}

function declaringKind(kind: ResourceKind, targets: FeedTargets): ObjectKind {
  const { declared, onEvent } = targets;
  const { type } = kind;
  return {
    type,
    optional: true,
    read: (object) => () => {
      const ref = refOf(type, object);
      const key = declaredKey(type, ref.namespace === '' ? ref.name : `${ref.namespace}/${ref.name}`);
      const { fault, isOurs } = declare(kind, object, { targets, key });
      const generation = object.metadata.generation ?? 0;
      declared.put({ key, type, ref, generation, isOurs, status: object['status'], fault });
      onEvent();
    },
    remove: (sourceKey) => {
      const key = declaredKey(type, sourceKey);
      withdraw(kind, key, targets);
      declared.remove(key);
      onEvent();
    },
  };
}

interface Declared {
  readonly fault: Problem | undefined;
  readonly isOurs: boolean;
}

/** Puts a declaration in force; what is wrong with it leaves the one before in force. */
function declare(
  kind: ResourceKind,
  object: KubeObject,
  { targets, key }: { readonly targets: FeedTargets; readonly key: string },
): Declared {
  try {
    const isOurs = apply(kind, object, targets);
    if (!isOurs) withdraw(kind, key, targets);
    return { fault: undefined, isOurs };
  } catch (error) {
    if (!isIdentityError(error)) throw error;
    const reason = error.code === 'permission_denied' ? 'NotAllowed' : 'Invalid';
    return { fault: { reason, message: error.message }, isOurs: true };
  }
}

/** @returns whether it is of our class */
function apply(kind: ResourceKind, object: KubeObject, { index, federation, settings }: FeedTargets): boolean {
  if (kind.declares === 'identities') {
    const declaration = kind.parse(object);
    if (!isOurClass(declaration.className, settings)) return false;
    index.putDeclaration(declaration);
  } else if (kind.declares === 'entry') {
    const declaration = kind.parse(object);
    if (!isOurClass(declaration.className, settings)) return false;
    index.putStatic(precedenceOf(declaration), staticEntry(declaration, settings));
  } else {
    const declaration = kind.parse(object);
    if (!isOurClass(declaration.className, settings)) return false;
    federation.put(declaration);
  }
  return true;
}

function withdraw({ declares }: ResourceKind, key: string, { index, federation }: FeedTargets): void {
  if (declares === 'identities') index.removeDeclaration(key);
  else if (declares === 'entry') index.removeStatic(key);
  else federation.remove(key);
}
