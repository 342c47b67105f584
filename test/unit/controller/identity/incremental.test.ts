// After any events, in any order, the index has what a computation from scratch over the same objects gives.
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileDeclaration } from '../../../../controller/identity/compiled-declaration.ts';
import { fieldsFingerprint } from '../../../../controller/identity/entry-key.ts';
import { IdentityIndex } from '../../../../controller/identity/identity-index.ts';
import { precedenceOf } from '../../../../controller/identity/declaration-store.ts';
import { staticEntry } from '../../../../controller/identity/static-entry.ts';
import { Budget } from '../../../../controller/template/budget.ts';
import { renderParentId, renderPodEntry } from '../../../../controller/identity/render-entry.ts';
import type { DesiredEntry, EndpointsRecord, NodeRecord, PodRecord } from '../../../../controller/ports.ts';
import type { IdentityDeclaration } from '../../../../crds/identity-declaration.ts';
import { parseStaticIdentity } from '../../../../crds/static-identity.ts';
import type { StaticDeclaration } from '../../../../crds/static-declaration.ts';
import { matches } from '../../../../policy/schema/label-selector.ts';
import { clusterIdentity, teamIdentity, testNode, testPod, testSettings } from '../../../support/identity-world.ts';

const settings = testSettings({ allowAdminIdentities: true });
const NAMESPACES = ['shop', 'bank', 'ignored'];
const LABELS = [{}, { app: 'a' }, { app: 'b' }, { app: 'a', tier: 'x' }];
const SELECTORS = [
  undefined,
  { matchLabels: { app: 'a' } },
  { matchLabels: { app: 'a', tier: 'x' } },
  { matchExpressions: [{ key: 'app', operator: 'In', values: ['a', 'b'] }] },
  { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['a'] }] },
];
// The same ID for several pods, an ID for each pod, one that fails without a label, and one that is not allowed.
const TEMPLATES = [
  'shared',
  '{{ .PodMeta.Name }}',
  '{{ .PodMeta.Labels.tier }}/x',
  '{{ .NodeMeta.UID }}/{{ .PodMeta.Namespace }}',
  'spire/x',
];

interface World {
  readonly pods: Map<string, PodRecord>;
  readonly nodes: Map<string, NodeRecord>;
  readonly namespaces: Map<string, Readonly<Record<string, string>>>;
  readonly services: Set<string>;
  readonly slices: Map<string, EndpointsRecord>;
  readonly declarations: Map<string, IdentityDeclaration>;
  readonly statics: Map<string, StaticDeclaration>;
}

type Event = (world: World, index: IdentityIndex) => void;

const name = fc.constantFrom('p1', 'p2', 'p3', 'p4');
const namespace = fc.constantFrom(...NAMESPACES);

const putPod: fc.Arbitrary<Event> = fc
  .record({
    namespace,
    name,
    uid: fc.constantFrom('u1', 'u2'),
    node: fc.constantFrom('n1', 'n1', 'n2', undefined),
    labels: fc.constantFrom(...LABELS),
    finished: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  })
  .map(({ uid, ...pod }) => (world, index) => {
    const record = testPod({ ...pod, uid: `${uid}-${pod.namespace}-${pod.name}` });
    const key = `${pod.namespace}/${pod.name}`;
    if (record.finished) world.pods.delete(key);
    else world.pods.set(key, record);
    index.putPod(key, record);
  });

const removePod: fc.Arbitrary<Event> = fc.tuple(namespace, name).map(([ns, pod]) => (world, index) => {
  world.pods.delete(`${ns}/${pod}`);
  index.removePod(`${ns}/${pod}`);
});

const putNode: fc.Arbitrary<Event> = fc
  .tuple(fc.constantFrom('n1', 'n2'), fc.constantFrom('x', 'y'))
  .map(([node, uid]) => (world, index) => {
    world.nodes.set(node, testNode(node, uid));
    index.putNode(node, testNode(node, uid));
  });

const putNamespace: fc.Arbitrary<Event> = fc
  .tuple(namespace, fc.constantFrom(...LABELS))
  .map(([ns, labels]) => (world, index) => {
    world.namespaces.set(ns, labels);
    index.putNamespace(ns, { name: ns, labels });
  });

const service: fc.Arbitrary<Event> = fc
  .tuple(fc.constantFrom('shop', 'bank'), fc.boolean())
  .map(([ns, isThere]) => (world, index) => {
    if (isThere) {
      world.services.add(`${ns}/web`);
      index.putService(`${ns}/web`, { namespace: ns, name: 'web' });
    } else {
      world.services.delete(`${ns}/web`);
      index.removeService(`${ns}/web`);
    }
  });

const slice: fc.Arbitrary<Event> = fc
  .tuple(fc.constantFrom('shop', 'bank'), fc.subarray(['p1', 'p2', 'p3']))
  .map(([ns, pods]) => (world, index) => {
    const record = { namespace: ns, name: 'web-1', service: 'web', podUids: pods.map((pod) => `u1-${ns}-${pod}`) };
    world.slices.set(`${ns}/web-1`, record);
    index.putEndpoints(`${ns}/web-1`, record);
  });

/** A WorkloadIdentity may not read nodes. */
function ofPods(template: string): string {
  return template.includes('.Node') ? '{{ .PodMeta.UID }}' : template;
}

const putDeclaration: fc.Arbitrary<Event> = fc
  .record({
    which: fc.constantFrom('d1', 'd2', 'd3', 't1', 't2'),
    template: fc.constantFrom(...TEMPLATES),
    podSelector: fc.constantFrom(...SELECTORS),
    namespaceSelector: fc.constantFrom(...SELECTORS),
    fallback: fc.boolean(),
    autoPopulateDNSNames: fc.boolean(),
    hint: fc.constantFrom('h1', 'h2'),
    admin: fc.constantFrom(false, false, true),
    downstream: fc.constantFrom(false, false, true),
    className: fc.constantFrom(undefined, undefined, undefined, 'foreign'),
    createdAtSeconds: fc.integer({ min: 0, max: 3 }),
  })
  .map(({ which, template, namespaceSelector, fallback, admin, downstream, createdAtSeconds, ...common }) => (world, index) => {
    // Power over the CA is for those alone that are selected.
    const isNamed = (common.podSelector !== undefined || namespaceSelector !== undefined) && !fallback;
    const powers = isNamed ? { admin, downstream } : {};
    const declaration = which.startsWith('t')
      ? teamIdentity('shop', { name: which, createdAtSeconds, spec: { ...common, pathTemplate: ofPods(template) } })
      : clusterIdentity({
          name: which,
          createdAtSeconds,
          spec: {
            ...common,
            namespaceSelector,
            fallback,
            ...powers,
            spiffeIDTemplate: `spiffe://{{ .TrustDomain }}/ns/shop/${template}`,
          },
        });
    if (declaration.className === undefined) world.declarations.set(which, declaration);
    else world.declarations.delete(which);
    index.putDeclaration(declaration);
  });

const removeDeclaration: fc.Arbitrary<Event> = fc.constantFrom('d1', 'd2', 'd3', 't1', 't2').map((which) => (world, index) => {
  world.declarations.delete(which);
  index.removeDeclaration(which.startsWith('t') ? `WorkloadIdentity/shop/${which}` : `ClusterWorkloadIdentity//${which}`);
});

// The same IDs as pods have, and in part the same entry.
const putStatic: fc.Arbitrary<Event> = fc
  .record({
    which: fc.constantFrom('s1', 's2'),
    path: fc.constantFrom('shared', 'p1'),
    pod: fc.constantFrom('p1', 'p2'),
    admin: fc.boolean(),
    downstream: fc.boolean(),
    createdAtSeconds: fc.integer({ min: 0, max: 3 }),
  })
  .map(({ which, path, pod, admin, downstream, createdAtSeconds }) => (world, index) => {
    const creationTimestamp = new Date(createdAtSeconds * 1000).toISOString();
    const declaration = parseStaticIdentity({
      apiVersion: 'countersign.dev/v1alpha1',
      kind: 'StaticIdentity',
      metadata: { name: which, uid: `uid-${which}`, creationTimestamp },
      spec: {
        spiffeID: `spiffe://example.org/ns/shop/${path}`,
        parentID: 'spiffe://example.org/agent/uid-n1',
        selectors: [`k8s:pod-uid:u1-shop-${pod}`],
        admin,
        downstream,
      },
    });
    world.statics.set(which, declaration);
    index.putStatic(precedenceOf(declaration), staticEntry(declaration, settings));
  });

const removeStatic: fc.Arbitrary<Event> = fc.constantFrom('s1', 's2').map((which) => (world, index) => {
  world.statics.delete(which);
  index.removeStatic(`StaticIdentity//${which}`);
});

// Mostly everything is worked off before the next event, so that each event has to mark what it concerns.
const settle: fc.Arbitrary<Event> = fc
  .oneof({ weight: 3, arbitrary: fc.constant(Number.POSITIVE_INFINITY) }, fc.integer({ min: 1, max: 3 }))
  .map((limit) => (_world, index) => {
    let settled = 1;
    index.settle(() => settled++ >= limit);
  });

type Meta = IdentityDeclaration['meta'];

/** The oldest first, then by UID. */
function byAge(one: Meta, other: Meta): number {
  return one.createdAtMs - other.createdAtMs || (one.uid < other.uid ? -1 : 1);
}

/** Every pod with every declaration. */
function fromScratch(world: World): ReadonlyMap<string, string> {
  const all: Wish[] = [...world.pods.values()].flatMap((pod) => wishesOf(pod, world));
  for (const declaration of world.statics.values()) all.push({ entry: staticEntry(declaration, settings), declaration });
  const wishes = new Map<string, Wish[]>();
  for (const wish of all) {
    // Of the entries with one SPIFFE ID only those with the most power may be.
    const power = Math.max(...all.filter(({ entry }) => entry.spiffeId === wish.entry.spiffeId).map(powerOf));
    if (powerOf(wish) === power) wishes.set(wish.entry.key, [...(wishes.get(wish.entry.key) ?? []), wish]);
  }
  return new Map(
    [...wishes].map(([key, rivals]) => {
      const [first] = rivals.toSorted((a, b) => byAge(a.declaration.meta, b.declaration.meta));
      return [key, first === undefined ? '' : `${first.declaration.meta.name} ${fieldsFingerprint(first.entry)}`];
    }),
  );
}

interface Wish {
  readonly entry: DesiredEntry;
  readonly declaration: Pick<IdentityDeclaration, 'meta'>;
}

function powerOf({ entry }: Wish): number {
  return entry.admin ? (entry.downstream ? 3 : 2) : entry.downstream ? 1 : 0;
}

function wishesOf(pod: PodRecord, world: World): Wish[] {
  const labels = world.namespaces.get(pod.namespace);
  const node = world.nodes.get(pod.nodeName ?? '');
  if (labels === undefined || node === undefined || pod.namespace === 'ignored') return [];
  const selected = [...world.declarations.values()].filter((declaration) => {
    const { kind, meta, namespaceSelector, podSelector } = declaration;
    const isInNamespace =
      kind === 'WorkloadIdentity'
        ? meta.namespace === pod.namespace
        : namespaceSelector === undefined || matches(namespaceSelector, labels);
    return isInNamespace && (podSelector === undefined || matches(podSelector, pod.labels));
  });
  const services = [...world.slices.values()].filter(
    ({ namespace: ns, podUids }) => ns === pod.namespace && podUids.includes(pod.uid) && world.services.has(`${ns}/web`),
  );
  const rendered = (isFallback: boolean) =>
    selected
      .filter(({ fallback }) => fallback === isFallback)
      .flatMap((declaration) => {
        try {
          const input = {
            pod,
            node,
            parentId: renderParentId(node, settings),
            services: services.map((each) => each.service),
            budget: new Budget(),
          };
          return [{ entry: renderPodEntry(compileDeclaration(declaration), input, settings), declaration }];
        } catch {
          return [];
        }
      });
  const firm = rendered(false);
  return firm.length > 0 ? firm : rendered(true);
}

test('the index has what a computation from scratch gives, and says which keys changed', () => {
  const event = fc.oneof(
    { weight: 6, arbitrary: putPod },
    { weight: 2, arbitrary: removePod },
    { weight: 2, arbitrary: putNode },
    { weight: 3, arbitrary: putNamespace },
    service,
    slice,
    { weight: 8, arbitrary: putDeclaration },
    { weight: 2, arbitrary: removeDeclaration },
    { weight: 2, arbitrary: putStatic },
    removeStatic,
    { weight: 12, arbitrary: settle },
  );
  fc.assert(
    fc.property(fc.array(event, { minLength: 10, maxLength: 80 }), (events) => {
      const world: World = {
        pods: new Map(),
        nodes: new Map(),
        namespaces: new Map(),
        services: new Set(),
        slices: new Map(),
        declarations: new Map(),
        statics: new Map(),
      };
      const index = new IdentityIndex(settings);
      for (const ns of NAMESPACES) {
        world.namespaces.set(ns, {});
        index.putNamespace(ns, { name: ns, labels: {} });
      }
      world.nodes.set('n1', testNode('n1'));
      index.putNode('n1', testNode('n1'));
      // What somebody knows who only ever looks at the keys that changed.
      const followed = new Map<string, string>();
      const follow = (): void => {
        for (const key of index.takeChangedKeys()) {
          const desired = index.desired(key);
          if (desired === undefined) followed.delete(key);
          else followed.set(key, fieldsFingerprint(desired.entry));
        }
      };
      for (const each of events) {
        each(world, index);
        follow();
      }
      index.settle();
      follow();
      const expected = fromScratch(world);
      const actual = new Map(
        [...index.keys()].map((key) => {
          const desired = index.desired(key);
          return [key, desired === undefined ? '' : `${desired.declarer.name} ${fieldsFingerprint(desired.entry)}`];
        }),
      );
      expect(sorted(actual)).toEqual(sorted(expected));
      expect(sorted(followed)).toEqual(
        sorted(new Map([...expected].map(([key, text]) => [key, text.slice(text.indexOf(' ') + 1)]))),
      );
      expect(index.entryCount).toBe(expected.size);
      for (const { meta } of world.statics.values()) {
        const held = [...expected.values()].filter((text) => text.startsWith(`${meta.name} `)).length;
        expect(index.staticCounts(`StaticIdentity//${meta.name}`)?.entriesToSet).toBe(held);
      }
      for (const { kind, meta } of world.declarations.values()) {
        const stats = index.stats(`${kind}/${meta.namespace}/${meta.name}`);
        const held = [...expected.values()].filter((text) => text.startsWith(`${meta.name} `)).length;
        expect(stats?.entriesToSet).toBe(held);
      }
    }),
    { numRuns: 400 },
  );
});

function sorted(map: ReadonlyMap<string, string>): readonly (readonly [string, string])[] {
  return [...map].toSorted(([a], [b]) => (a < b ? -1 : 1));
}
