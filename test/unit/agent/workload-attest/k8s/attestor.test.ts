import { describe, expect, test } from 'vitest';
import type { WorkloadAttestor } from '../../../../../agent/workload-attest/attestor.ts';
import { parseCgroups } from '../../../../../agent/workload-attest/cgroup.ts';
import { createK8sAttestor, type NamespaceSource } from '../../../../../agent/workload-attest/k8s/attestor.ts';
import { readPod } from '../../../../../agent/workload-attest/k8s/pod.ts';
import { PodIndex, type PodSource } from '../../../../../agent/workload-attest/k8s/pod-index.ts';
import type { ProcessImage } from '../../../../../agent/workload-attest/process-image.ts';
import { IdentityError, isIdentityError } from '../../../../../core/errors.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';

type Five = [string, string, string, string, string];
const idOf = (digit: number): string => String(digit).repeat(64);
const UID = '2c48913c-b29f-11e7-9350-020968147796';
const OTHER = 'd488cae9-b2a0-11e7-9350-020968147796';
// Five digits make five IDs.
const [WEB, SIDECAR, INIT, DEBUG, PAUSE] = [1, 2, 3, 4, 5].map(idOf) as Five;
const never = new AbortController().signal;

/** Events by hand instead of a watch. */
class StandInPods implements PodSource {
  readonly name = 'the stand-in';
  readonly freshForMs = 1000;
  readonly index = new PodIndex();
  readonly listeners = new Set<() => void>();
  outage: Error | undefined;

  put(object: unknown): void {
    const pod = readPod(object);
    if (pod !== undefined) this.index.put(`${pod.namespace}/${pod.name}`, pod);
    this.changed();
  }

  changed(): void {
    for (const listener of this.listeners) listener();
  }

  find: PodSource['find'] = (container) => this.index.find(container);
  subscribe: PodSource['subscribe'] = (listener) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
  close(): void {}
}

const status = (name: string, id: string | null, image = `registry.example/${name}`) => ({
  name,
  image: `${image}:1`,
  imageID: `${image}@sha256:${'ab'.repeat(32)}`,
  ...(id === null ? {} : { containerID: `containerd://${id}` }),
});

interface Given {
  readonly uid?: string;
  readonly name?: string;
  readonly web?: string | null;
  readonly annotations?: object;
}

function pod({ uid = UID, name = 'web-1', web = WEB, annotations = {} }: Given = {}): unknown {
  return {
    metadata: {
      uid,
      name,
      namespace: 'shop',
      labels: { app: 'web', 'example.org/tier': 'front' },
      annotations,
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-6658', uid: 'owner-uid', controller: true }],
    },
    spec: { nodeName: 'worker-1', serviceAccountName: 'web' },
    status: {
      containerStatuses: [status('web', web)],
      initContainerStatuses: [status('setup', INIT), status('proxy', SIDECAR)],
      ephemeralContainerStatuses: [status('debugger', DEBUG)],
    },
  };
}

function processIn(uid: string, container: string): ProcessImage {
  const text = `0::/kubepods/burstable/pod${uid}/${container}\n`;
  return { pid: 42, uid: 0, gid: 0, supplementaryGids: [], executable: undefined, cgroups: parseCgroups(text), text };
}

interface Rig {
  readonly pods: StandInPods;
  readonly clock: ManualClock;
  readonly attestor: WorkloadAttestor;
}

function rig(options: { readonly namespaces?: NamespaceSource; readonly disableContainerSelectors?: boolean } = {}): Rig {
  const [pods, clock] = [new StandInPods(), new ManualClock()];
  const attestor = createK8sAttestor({ clock, pods, waitForMs: 30_000, ownCgroups: [], ...options });
  return { pods, clock, attestor };
}

async function textsOf({ attestor }: Rig, image: ProcessImage): Promise<readonly string[]> {
  return (await attestor.attest(image, never)).map(({ type, value }) => `${type}:${value}`).sort();
}

async function codeOf(kit: Rig, image: ProcessImage): Promise<unknown> {
  return textsOf(kit, image).then(
    () => 'no error',
    (error: unknown) => (isIdentityError(error) ? error.code : error),
  );
}

const OF_POD = [
  'k8s:node-name:worker-1',
  'k8s:ns:shop',
  'k8s:pod-image-count:1',
  'k8s:pod-image:registry.example/web:1',
  `k8s:pod-image:registry.example/web@sha256:${'ab'.repeat(32)}`,
  'k8s:pod-init-image-count:2',
  'k8s:pod-init-image:registry.example/proxy:1',
  `k8s:pod-init-image:registry.example/proxy@sha256:${'ab'.repeat(32)}`,
  'k8s:pod-init-image:registry.example/setup:1',
  `k8s:pod-init-image:registry.example/setup@sha256:${'ab'.repeat(32)}`,
  'k8s:pod-label:app:web',
  'k8s:pod-label:example.org/tier:front',
  'k8s:pod-name:web-1',
  'k8s:pod-owner-uid:ReplicaSet:owner-uid',
  'k8s:pod-owner:ReplicaSet:web-6658',
  `k8s:pod-uid:${UID}`,
  'k8s:sa:web',
];
const ofContainer = (name: string) => [
  `k8s:container-image:registry.example/${name}:1`,
  `k8s:container-image:registry.example/${name}@sha256:${'ab'.repeat(32)}`,
  `k8s:container-name:${name}`,
];

describe('selectors', () => {
  test.each([
    ['web', WEB],
    ['setup', INIT],
    ['proxy', SIDECAR],
    ['debugger', DEBUG],
  ])('of the pod and of its container %s', async (name, id) => {
    const kit = rig();
    kit.pods.put(pod());
    expect(await textsOf(kit, processIn(UID, id))).toEqual([...ofContainer(name), ...OF_POD].sort());
  });

  test('of a known container come at once', () => {
    const kit = rig();
    kit.pods.put(pod());
    expect(kit.attestor.attest(processIn(UID, WEB), never)).toBeInstanceOf(Array);
  });

  test('a static pod is found by the UID that the kubelet gave it, and named by the one that the API server gave', async () => {
    const kit = rig();
    const hash = '2732ca68f6358eba7703fb6f82a25c94';
    kit.pods.put(pod({ annotations: { 'kubernetes.io/config.hash': hash } }));
    expect(await textsOf(kit, processIn(hash, WEB))).toContain(`k8s:pod-uid:${UID}`);
  });

  test('a process outside of pods has none', async () => {
    const kit = rig();
    const text = '0::/user.slice/user-1000.slice/session-2.scope\n';
    expect(await textsOf(kit, { ...processIn(UID, WEB), text, cgroups: parseCgroups(text) })).toEqual([]);
  });

  test('labels of the namespace, which are waited for, too', async () => {
    const listeners = new Set<() => void>();
    let labels: Record<string, string> | undefined;
    const subscribe = (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    };
    const kit = rig({ namespaces: { outage: undefined, labelsOf: () => labels, subscribe, close: () => {} } });
    kit.pods.put(pod());
    const selectors = textsOf(kit, processIn(UID, WEB));
    labels = { team: 'payments' };
    for (const listener of listeners) listener();
    expect(await selectors).toContain('k8s:ns-label:team:payments');
  });
});

describe('a container that is not known yet', () => {
  test('is waited for until the status of its pod names it', async () => {
    const kit = rig();
    const selectors = textsOf(kit, processIn(UID, WEB));
    kit.pods.put(pod({ web: null }));
    kit.pods.put(pod());
    expect(await selectors).toContain('k8s:container-name:web');
    expect([kit.clock.timers, kit.pods.listeners.size]).toEqual([0, 0]);
  });

  test('is denied when the time is over: one that the kubelet did not make, or the pause container', async () => {
    const kit = rig();
    kit.pods.put(pod());
    const code = codeOf(kit, processIn(UID, PAUSE));
    kit.clock.advance(29_999);
    expect(kit.clock.timers).toBe(1);
    kit.clock.advance(1);
    expect(await code).toBe('permission_denied');
    expect([kit.clock.timers, kit.pods.listeners.size]).toEqual([0, 0]);
  });

  test('is unavailable when nothing is heard of the API server meanwhile', async () => {
    const kit = rig();
    kit.pods.outage = new IdentityError('unavailable', 'connection refused');
    const code = codeOf(kit, processIn(UID, WEB));
    kit.clock.advance(30_000);
    expect(await code).toBe('unavailable');
  });

  test('is waited for once by all its callers', async () => {
    const kit = rig();
    const both = [textsOf(kit, processIn(UID, WEB)), textsOf(kit, processIn(UID, WEB))];
    expect(kit.pods.listeners.size).toBe(1);
    kit.pods.put(pod());
    const [one, other] = await Promise.all(both);
    expect(one).toEqual(other);
  });

  test('goes by its pod alone where container selectors are disabled', async () => {
    const kit = rig({ disableContainerSelectors: true });
    kit.pods.put(pod({ web: null }));
    expect(await textsOf(kit, processIn(UID, WEB))).toEqual(OF_POD);
    expect(await textsOf(kit, processIn(UID, SIDECAR))).toEqual(OF_POD);
  });
});

describe('what contradicts the cgroup is refused at once', () => {
  test('a container of another pod', async () => {
    const kit = rig();
    kit.pods.put(pod());
    expect(await codeOf(kit, processIn(OTHER, WEB))).toBe('permission_denied');
  });

  test('two pods with the same container', async () => {
    const kit = rig();
    kit.pods.put(pod());
    kit.pods.put(pod({ uid: OTHER, name: 'web-2' }));
    expect(await codeOf(kit, processIn(UID, WEB))).toBe('permission_denied');
  });
});

describe('what was true no longer is', () => {
  test('a pod that is deleted, and one that takes its name', async () => {
    const kit = rig();
    kit.pods.put(pod());
    expect(await textsOf(kit, processIn(UID, WEB))).toContain(`k8s:pod-uid:${UID}`);
    kit.pods.put(pod({ uid: OTHER, web: PAUSE }));
    const old = codeOf(kit, processIn(UID, WEB));
    kit.clock.advance(30_000);
    expect(await old).toBe('permission_denied');
    expect(await textsOf(kit, processIn(OTHER, PAUSE))).toContain(`k8s:pod-uid:${OTHER}`);
    kit.pods.index.remove('shop/web-1');
    expect(kit.pods.index.size).toBe(0);
  });

  test('a container that was restarted', async () => {
    const kit = rig();
    kit.pods.put(pod());
    kit.pods.put(pod({ web: PAUSE }));
    expect(await textsOf(kit, processIn(UID, PAUSE))).toContain('k8s:container-name:web');
    const old = codeOf(kit, processIn(UID, WEB));
    kit.clock.advance(30_000);
    expect(await old).toBe('permission_denied');
  });
});

test('an object that is no pod is none, and odd parts of one are left out', () => {
  for (const object of [undefined, null, [], 'x', {}, { metadata: { uid: 'a' } }]) expect(readPod(object)).toBeUndefined();
  const odd = {
    metadata: { uid: 'u', name: 'n', namespace: 's', labels: { a: 1, b: 'c' } },
    status: { containerStatuses: [7, {}] },
  };
  expect(readPod(odd)).toMatchObject({ labels: { b: 'c' }, containers: [{ name: '' }, { containerId: undefined }] });
  for (const containerID of ['x', `containerd://${WEB.slice(1)}`, `containerd://../${WEB}`, WEB, `containerd://${WEB}\n`]) {
    const [container] = readPod({ metadata: odd.metadata, status: { containerStatuses: [{ containerID }] } })?.containers ?? [];
    expect(container?.containerId).toBeUndefined();
  }
});
