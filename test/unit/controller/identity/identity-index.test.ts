import { create } from '@bufbuild/protobuf';
import { beforeEach, describe, expect, test } from 'vitest';
import { actualEntry, wireEntry } from '../../../../controller/entries/entry-wire.ts';
import { fieldsFingerprint } from '../../../../controller/identity/entry-key.ts';
import { IdentityIndex } from '../../../../controller/identity/identity-index.ts';
import { trimObject } from '../../../../controller/identity/trim.ts';
import { clusterIdentity, teamIdentity, testNode, testPod, testSettings } from '../../../support/identity-world.ts';
import { EntrySchema } from '../../../../proto/gen/spire/api/types/entry_pb.ts';
import { codeOf } from '../../../support/thrown-by.ts';

const ID = 'spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/{{ .PodMeta.Name }}';

let index: IdentityIndex;

function fresh(settings = testSettings()): void {
  index = new IdentityIndex(settings);
  index.putNode('n1', testNode('n1'));
  for (const name of ['shop', 'bank', 'ignored']) index.putNamespace(name, { name, labels: { team: name } });
}

beforeEach(() => fresh());

/** The IDs and settings that there ought to be. */
function desired(): readonly string[] {
  index.settle();
  return [...index.keys()].map((key) => index.desired(key)?.entry.spiffeId ?? '').toSorted();
}

function entries() {
  index.settle();
  return [...index.keys()].map((key) => index.desired(key)?.entry);
}

function put(pod: Parameters<typeof testPod>[0]): void {
  const record = testPod(pod);
  index.putPod(`${record.namespace}/${record.name}`, record);
}

describe('an entry', () => {
  test('has what the declaration says', () => {
    put({ name: 'web', labels: { app: 'web' } });
    index.putDeclaration(
      clusterIdentity({
        name: 'a',
        spec: {
          spiffeIDTemplate: ID,
          ttl: '1h',
          jwtTtl: '5m',
          hint: 'main',
          federatesWith: ['partner.test'],
          dnsNameTemplates: ['{{ .PodMeta.Name }}.test'],
          workloadSelectorTemplates: ['k8s:container-name:{{ .PodMeta.Name }}'],
          jwtClaims: { team: '{{ .PodMeta.Namespace }}', deep: { list: [1, '{{ .ClusterName }}'] } },
        },
      }),
    );
    expect(entries()).toEqual([
      {
        key: expect.any(String),
        spiffeId: 'spiffe://example.org/ns/shop/web',
        parentId: 'spiffe://example.org/agent/uid-n1',
        selectors: ['k8s:container-name:web', 'k8s:pod-uid:uid-web'],
        x509SvidTtlSeconds: 3600,
        jwtSvidTtlSeconds: 300,
        hint: 'main',
        federatesWith: ['partner.test'],
        admin: false,
        downstream: false,
        storeSvid: false,
        dnsNames: ['web.test'],
        jwtClaims: { team: 'shop', deep: { list: [1, 'main'] } },
      },
    ]);
  });

  test('says what the workload is in Kubernetes, where the CA keeps that', () => {
    fresh(testSettings({ declaresWorkloads: true }));
    index.putDeclaration(clusterIdentity({ name: 'a', spec: { spiffeIDTemplate: ID } }));
    put({ name: 'web' });
    const [entry] = entries();
    if (entry === undefined) throw new Error('there is no entry');
    expect(entry.workload).toEqual({ namespace: 'shop', serviceAccount: 'sa-web' });
    expect(fieldsFingerprint(entry)).not.toBe(fieldsFingerprint({ ...entry, workload: undefined }));
    const wire = create(EntrySchema, wireEntry('main.1', entry));
    expect(actualEntry(wire).fingerprint).toBe(fieldsFingerprint(entry));
  });

  test('goes with its pod, and when the pod has ended', () => {
    index.putDeclaration(clusterIdentity({ name: 'a', spec: { spiffeIDTemplate: ID } }));
    put({ name: 'one' });
    put({ name: 'two' });
    expect(desired()).toHaveLength(2);
    index.removePod('shop/one');
    put({ name: 'two', finished: true });
    expect(desired()).toEqual([]);
  });

  test('is of the pod that has the name now', () => {
    index.putDeclaration(clusterIdentity({ name: 'a', spec: { spiffeIDTemplate: ID } }));
    put({ name: 'web', uid: 'first' });
    expect(entries()[0]?.selectors).toEqual(['k8s:pod-uid:first']);
    put({ name: 'web', uid: 'second' });
    expect(entries().map((entry) => entry?.selectors)).toEqual([['k8s:pod-uid:second']]);
  });

  test('waits for the node', () => {
    index.putDeclaration(clusterIdentity({ name: 'a', spec: { spiffeIDTemplate: ID } }));
    put({ name: 'web', node: undefined });
    expect(desired()).toEqual([]);
    expect(index.problemsOfPod('shop/web')[0]?.reason).toBe('NotScheduled');
    put({ name: 'web', node: 'n2' });
    expect(desired()).toEqual([]);
    expect(index.problemsOfPod('shop/web')[0]?.reason).toBe('NodeUnknown');
    index.putNode('n2', testNode('n2'));
    expect(entries()[0]?.parentId).toBe('spiffe://example.org/agent/uid-n2');
    expect(index.problemsOfPod('shop/web')).toEqual([]);
  });

  test('stays the same object when an event changes nothing about it', () => {
    index.putDeclaration(clusterIdentity({ name: 'a', spec: { spiffeIDTemplate: ID } }));
    put({ name: 'web' });
    index.settle();
    index.takeChangedKeys();
    put({ name: 'web', annotations: { restarted: 'now' } });
    index.settle();
    expect([...index.takeChangedKeys()]).toEqual([]);
  });
});

describe('selection', () => {
  test('by labels of the pod and of the namespace', () => {
    index.putDeclaration(
      clusterIdentity({
        name: 'a',
        spec: {
          spiffeIDTemplate: ID,
          podSelector: { matchLabels: { app: 'web' } },
          namespaceSelector: { matchExpressions: [{ key: 'team', operator: 'NotIn', values: ['bank'] }] },
        },
      }),
    );
    put({ name: 'web', labels: { app: 'web' } });
    put({ name: 'api', labels: { app: 'api' } });
    put({ name: 'bank', namespace: 'bank', labels: { app: 'web' } });
    put({ name: 'ignored', namespace: 'ignored', labels: { app: 'web' } });
    expect(desired()).toEqual(['spiffe://example.org/ns/shop/web']);
    expect(index.stats('ClusterWorkloadIdentity//a')).toMatchObject({
      namespacesSelected: 2,
      namespacesIgnored: 1,
      podsSelected: 1,
      entriesToSet: 1,
    });
    index.putNamespace('bank', { name: 'bank', labels: { team: 'money' } });
    expect(desired()).toEqual(['spiffe://example.org/ns/bank/bank', 'spiffe://example.org/ns/shop/web']);
    put({ name: 'web', labels: { app: 'other' } });
    expect(desired()).toEqual(['spiffe://example.org/ns/bank/bank']);
  });

  test('a class is for the controller of that class', () => {
    const spec = { spiffeIDTemplate: ID, className: 'blue' };
    put({ name: 'web' });
    index.putDeclaration(clusterIdentity({ name: 'a', spec }));
    expect(desired()).toEqual([]);
    fresh(testSettings({ className: 'blue', watchClassless: false }));
    put({ name: 'web' });
    index.putDeclaration(clusterIdentity({ name: 'a', spec }));
    index.putDeclaration(clusterIdentity({ name: 'b', spec: { spiffeIDTemplate: 'spiffe://example.org/classless' } }));
    expect(desired()).toEqual(['spiffe://example.org/ns/shop/web']);
  });

  test('a fallback is for pods that nothing else identifies', () => {
    index.putDeclaration(
      clusterIdentity({
        name: 'fallback',
        spec: { spiffeIDTemplate: 'spiffe://example.org/fallback/{{ .PodMeta.Name }}', fallback: true },
      }),
    );
    put({ name: 'web', labels: { app: 'web' } });
    expect(desired()).toEqual(['spiffe://example.org/fallback/web']);
    index.putDeclaration(
      clusterIdentity({ name: 'web', spec: { spiffeIDTemplate: ID, podSelector: { matchLabels: { app: 'web' } } } }),
    );
    expect(desired()).toEqual(['spiffe://example.org/ns/shop/web']);
    index.putDeclaration(clusterIdentity({ name: 'web', spec: { spiffeIDTemplate: 'spiffe://elsewhere.test/x' } }));
    expect(desired()).toEqual(['spiffe://example.org/fallback/web']);
  });
});

describe('precedence', () => {
  test('the oldest object holds and masks the others', () => {
    put({ name: 'web' });
    index.putDeclaration(clusterIdentity({ name: 'young', createdAtSeconds: 20, spec: { spiffeIDTemplate: ID, hint: 'young' } }));
    expect(entries()[0]?.hint).toBe('young');
    index.putDeclaration(clusterIdentity({ name: 'old', createdAtSeconds: 10, spec: { spiffeIDTemplate: ID, hint: 'old' } }));
    expect(entries().map((entry) => entry?.hint)).toEqual(['old']);
    expect(index.stats('ClusterWorkloadIdentity//young')).toMatchObject({ entriesMasked: 1, entriesToSet: 0 });
    expect(index.problemsOfPod('shop/web')[0]).toMatchObject({
      reason: 'Masked',
      message: expect.stringContaining('ClusterWorkloadIdentity old'),
    });
    index.removeDeclaration('ClusterWorkloadIdentity//old');
    expect(entries().map((entry) => entry?.hint)).toEqual(['young']);
    expect(index.stats('ClusterWorkloadIdentity//young')).toMatchObject({ entriesMasked: 0, entriesToSet: 1 });
  });

  test('of equals the one with the lesser UID holds', () => {
    put({ name: 'web' });
    index.putDeclaration(clusterIdentity({ name: 'b', spec: { spiffeIDTemplate: ID, hint: 'b' } }));
    index.putDeclaration(clusterIdentity({ name: 'a', spec: { spiffeIDTemplate: ID, hint: 'a' } }));
    expect(entries().map((entry) => entry?.hint)).toEqual(['a']);
  });
});

describe('what is refused', () => {
  const reasonOf = (template: string): string => {
    index.putDeclaration(clusterIdentity({ name: 'a', spec: { spiffeIDTemplate: template } }));
    put({ name: 'web' });
    expect(desired()).toEqual([]);
    expect(index.stats('ClusterWorkloadIdentity//a')?.podEntryRenderFailures).toBe(1);
    return index.problemsOfPod('shop/web')[0]?.message ?? '';
  };

  test('an ID of another trust domain', () => {
    expect(reasonOf('spiffe://other.test/{{ .PodMeta.Name }}')).toContain('outside the trust domain');
  });

  test('an ID below /spire', () => {
    expect(reasonOf('spiffe://example.org/spire/{{ .PodMeta.Name }}')).toContain('reserved');
  });

  test('an ID that is none', () => {
    expect(reasonOf('spiffe://example.org/{{ .PodMeta.Labels.nothing }}/x')).toContain('no SPIFFE ID');
  });

  test('admin and downstream, unless they are allowed', () => {
    const admin = clusterIdentity({
      name: 'a',
      spec: { spiffeIDTemplate: ID, admin: true, podSelector: { matchLabels: { app: 'web' } } },
    });
    expect(codeOf(() => index.putDeclaration(admin))).toBe('permission_denied');
    fresh(testSettings({ allowAdminIdentities: true }));
    put({ name: 'web', labels: { app: 'web' } });
    index.putDeclaration(admin);
    expect(entries()[0]?.admin).toBe(true);
  });

  test('a template that is none leaves what was there', () => {
    put({ name: 'web' });
    index.putDeclaration(clusterIdentity({ name: 'a', spec: { spiffeIDTemplate: ID } }));
    const broken = clusterIdentity({ name: 'a', spec: { spiffeIDTemplate: 'spiffe://example.org/{{ .Nope' } });
    expect(codeOf(() => index.putDeclaration(broken))).toBe('invalid_argument');
    expect(desired()).toEqual(['spiffe://example.org/ns/shop/web']);
  });
});

describe('a WorkloadIdentity', () => {
  test('is for its own namespace and lies below its path', () => {
    index.putDeclaration(teamIdentity('shop', { name: 'web', spec: { pathTemplate: 'web/{{ .PodMeta.Name }}' } }));
    put({ name: 'one' });
    put({ name: 'two', namespace: 'bank' });
    expect(desired()).toEqual(['spiffe://example.org/ns/shop/web/one']);
  });

  test('cannot read the node, so that nothing of it gets into an ID; what was declared before stays', () => {
    put({ name: 'one' });
    const declare = (pathTemplate: string) => index.putDeclaration(teamIdentity('shop', { name: 'web', spec: { pathTemplate } }));
    declare('web');
    const refusal = expect.objectContaining({ code: 'permission_denied', field: 'spec.pathTemplate' });
    for (const field of ['NodeMeta.Name', 'NodeSpec.PodCIDR']) expect(() => declare(`{{ .${field} }}`)).toThrow(refusal);
    expect(desired()).toEqual(['spiffe://example.org/ns/shop/web']);
  });

  test('cannot leave its path', () => {
    put({ name: 'one', annotations: { path: '../../bank/x' } });
    index.putDeclaration(
      teamIdentity('shop', { name: 'web', spec: { pathTemplate: '{{ index .PodMeta.Annotations "path" }}' } }),
    );
    expect(desired()).toEqual([]);
  });
});

describe('names of Services', () => {
  test('are those of the Services that the pod is behind', () => {
    put({ name: 'web' });
    index.putDeclaration(
      clusterIdentity({ name: 'a', spec: { spiffeIDTemplate: ID, autoPopulateDNSNames: true, dnsNameTemplates: ['web.shop'] } }),
    );
    expect(entries()[0]?.dnsNames).toEqual(['web.shop']);
    index.putEndpoints('shop/web-abc', { namespace: 'shop', name: 'web-abc', service: 'web', podUids: ['uid-web'] });
    index.putEndpoints('bank/web', { namespace: 'bank', name: 'web', service: 'web', podUids: ['uid-web'] });
    index.putService('bank/web', { namespace: 'bank', name: 'web' });
    expect(entries()[0]?.dnsNames).toEqual(['web.shop']);
    index.putService('shop/web', { namespace: 'shop', name: 'web' });
    expect(entries()[0]?.dnsNames).toEqual(['web.shop', 'web', 'web.shop.svc', 'web.shop.svc.cluster.local']);
    index.removeService('shop/web');
    expect(entries()[0]?.dnsNames).toEqual(['web.shop']);
    index.putService('shop/web', { namespace: 'shop', name: 'web' });
    expect(entries()[0]?.dnsNames).toHaveLength(4);
    index.removeEndpoints('shop/web-abc');
    expect(entries()[0]?.dnsNames).toEqual(['web.shop']);
  });
});

describe('what is kept of pods', () => {
  test('is what the templates read', () => {
    index.putDeclaration(
      clusterIdentity({
        name: 'a',
        spec: { spiffeIDTemplate: 'spiffe://example.org/{{ .PodSpec.ServiceAccountName }}/{{ .PodMeta.Name }}' },
      }),
    );
    const { pod, node } = index.needs;
    expect(pod).toEqual({ metadata: new Set(['name']), spec: new Set(['serviceaccountname']) });
    expect(node).toEqual({ metadata: new Set(['uid']), spec: new Set() });
    expect(
      trimObject({ metadata: { name: 'a', uid: 'b' }, spec: { serviceAccountName: 'c', containers: [] } }, pod),
    ).toMatchObject({
      metadata: { name: 'a' },
      spec: { serviceAccountName: 'c' },
    });
  });

  test('an entry stays as it was until what a new template reads is there', () => {
    const trim = { metadata: new Set(['name', 'namespace']), spec: new Set<string>() };
    index.putDeclaration(clusterIdentity({ name: 'a', spec: { spiffeIDTemplate: ID } }));
    put({ name: 'web', annotations: { team: 'blue' }, trim });
    expect(desired()).toEqual(['spiffe://example.org/ns/shop/web']);
    index.putDeclaration(
      clusterIdentity({ name: 'a', spec: { spiffeIDTemplate: 'spiffe://example.org/{{ index .PodMeta.Annotations "team" }}' } }),
    );
    expect(desired()).toEqual(['spiffe://example.org/ns/shop/web']);
    put({ name: 'web', annotations: { team: 'blue' } });
    expect(desired()).toEqual(['spiffe://example.org/blue']);
  });
});

test('static entries mask and are masked like any other', () => {
  const entry = (hint: string) => ({
    key: 'spiffe://example.org/x\nspiffe://example.org/p\nunix:uid:1',
    spiffeId: 'spiffe://example.org/x',
    parentId: 'spiffe://example.org/p',
    selectors: ['unix:uid:1'],
    x509SvidTtlSeconds: 0,
    jwtSvidTtlSeconds: 0,
    federatesWith: [],
    admin: false,
    downstream: false,
    dnsNames: [],
    hint,
    storeSvid: false,
    jwtClaims: undefined,
  });
  const declarer = (name: string, createdAtMs: number) => ({
    kind: 'StaticIdentity',
    namespace: '',
    name,
    uid: name,
    createdAtMs,
    deleting: false,
  });
  index.putStatic(declarer('young', 2), entry('young'));
  index.putStatic(declarer('old', 1), entry('old'));
  expect(entries().map((each) => each?.hint)).toEqual(['old']);
  expect(index.staticProblemOf('StaticIdentity//young')?.reason).toBe('Masked');
  index.putStatic(declarer('old', 1), entry('changed'));
  expect(entries().map((each) => each?.hint)).toEqual(['changed']);
  index.removeStatic('StaticIdentity//old');
  expect(entries().map((each) => each?.hint)).toEqual(['young']);
});

test('a declaration is not looked at again because its status was written', () => {
  put({ name: 'web' });
  const declaration = clusterIdentity({ name: 'a', spec: { spiffeIDTemplate: ID } });
  const looksAgainAt = (generation: number): boolean => {
    index.takeChangedDeclarers();
    index.putDeclaration({ ...declaration, meta: { ...declaration.meta, generation } });
    return index.takeChangedDeclarers().size > 0;
  };
  expect([1, 1, 2, 2, 0, 0].map(looksAgainAt)).toEqual([true, false, true, false, true, true]);
});
