import { describe, expect, test } from 'vitest';

import { createReviewers } from '../../../../controller/admission/reviewers.ts';
import type { AdmissionRequest, Review } from '../../../../controller/admission/review.ts';
import { REVIEWED_KINDS } from '../../../../controller/admission/reviewed-kinds.ts';
import { FederationIndex } from '../../../../controller/federation/federation-index.ts';
import { IdentityIndex } from '../../../../controller/identity/identity-index.ts';
import { Preview } from '../../../../controller/identity/preview.ts';
import type { IdentitySettings } from '../../../../controller/identity/settings.ts';
import { EVERYTHING } from '../../../../controller/identity/trim.ts';
import { systemClock } from '../../../../core/clock.ts';
import { nodeRecord, podRecord } from '../../../../controller/sources/records.ts';
import { parseTemplate } from '../../../../controller/template/template.ts';
import { parseClusterWorkloadIdentity } from '../../../../crds/cluster-workload-identity.ts';
import { Turns } from '../../../../controller/turns.ts';
import { POLICY_DEFINITIONS, RESOURCE_KINDS } from '../../../../crds/index.ts';
import { parseTrustDomain } from '../../../../spiffe/trust-domain.ts';

const SETTINGS: IdentitySettings = {
  trustDomain: parseTrustDomain('example.org'),
  clusterName: 'main',
  clusterDomain: 'cluster.local',
  parentIdTemplate: parseTemplate(
    'spiffe://{{ .TrustDomain }}/spire/agent/k8s_psat/{{ .ClusterName }}/{{ .NodeMeta.UID }}',
    'parentIdTemplate',
  ),
  className: '',
  watchClassless: true,
  ignoreNamespaces: [/^kube-system$/],
  namespacePath: (namespace) => `/ns/${namespace}`,
  allowAdminIdentities: false,
  declaresWorkloads: false,
};

const BY_ID = {
  spiffeIDTemplate: 'spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/{{ .PodMeta.Name }}',
  podSelector: { matchLabels: { app: 'web' } },
};

/** One node, a pod `payments/web` with the label app=web and a pod `orders/db`, and reviewers that know them. */
function cluster(settings: Partial<IdentitySettings> = {}) {
  const all = { ...SETTINGS, ...settings };
  const index = new IdentityIndex(all);
  const federation = new FederationIndex(all.trustDomain);
  let synced = true;
  index.putNode('n1', nodeRecord({ metadata: { name: 'n1', uid: 'node-1' } }, EVERYTHING));
  for (const [namespace, name, app] of [
    ['payments', 'web', 'web'],
    ['orders', 'db', 'db'],
    ['kube-system', 'web', 'web'],
  ]) {
    index.putNamespace(namespace ?? '', { name: namespace ?? '', labels: {} });
    const metadata = { namespace: namespace ?? '', name: name ?? '', uid: `${namespace}-${name}`, labels: { app: app ?? '' } };
    index.putPod(
      `${namespace}/${name}`,
      podRecord({ metadata, spec: { nodeName: 'n1', serviceAccountName: 'web' } }, EVERYTHING),
    );
  }
  index.settle();
  const reviewers = createReviewers({
    settings: all,
    preview: new Preview({ index, settings: all, clock: systemClock, readWhole: () => Promise.resolve(undefined) }),
    turns: new Turns(systemClock),
    synced: () => synced,
    rivalryOf: (claim) => index.rivalryOf(claim),
    holderOf: (key) => index.desired(key)?.declarer,
    federationOf: (name) => federation.desired(name)?.precedence,
  });
  return {
    index,
    federation,
    unsync: () => (synced = false),
    review: (kind: string, spec: unknown, before?: unknown): Promise<Review> | Review => {
      const request = requestOf(kind, spec, before);
      return (
        reviewers[kind]?.(request, new AbortController().signal) ?? {
          faults: [{ field: '', message: 'no reviewer' }],
          warnings: [],
        }
      );
    },
  };
}

function requestOf(kind: string, spec: unknown, before?: unknown): AdmissionRequest {
  const known = REVIEWED_KINDS.find((each) => each.kind === kind);
  const namespace = known?.namespaced === true ? 'payments' : '';
  const objectOf = (each: unknown) => ({
    apiVersion: `${known?.group ?? ''}/v1alpha1`,
    kind,
    metadata: {
      name: 'mine',
      ...(namespace === '' ? {} : { namespace }),
      uid: 'uid-mine',
      creationTimestamp: '2026-06-01T00:00:00Z',
    },
    spec: each,
  });
  return {
    uid: '1',
    group: known?.group ?? '',
    version: 'v1alpha1',
    kind,
    operation: before === undefined ? 'CREATE' : 'UPDATE',
    name: 'mine',
    namespace,
    subresource: '',
    object: objectOf(spec),
    oldObject: before === undefined ? undefined : objectOf(before),
  };
}

/** Declares something older than what is reviewed. */
function older(kind: string, spec: unknown): unknown {
  return {
    ...Object(requestOf(kind, spec).object),
    metadata: { name: 'older', uid: 'uid-older', creationTimestamp: '2026-01-01T00:00:00Z' },
  };
}

/** An older object makes the pod `orders/db` an admin below the path of the namespace `payments`. */
function declareOperator(index: IdentityIndex, powers = { admin: true }): void {
  const spec = {
    spiffeIDTemplate: 'spiffe://example.org/ns/payments/sa/op',
    podSelector: { matchLabels: { app: 'db' } },
    ...powers,
  };
  index.putDeclaration(parseClusterWorkloadIdentity(older('ClusterWorkloadIdentity', spec)));
  index.settle();
}

test('every reviewed kind is one that the controller acts on, and the other way round', () => {
  const one = REVIEWED_KINDS.map(({ group, version, kind, plural, namespaced }) => ({
    group,
    version,
    kind,
    plural,
    namespaced,
  }));
  const other = [...RESOURCE_KINDS, ...POLICY_DEFINITIONS].map(({ type: { group, version, kind, plural, namespaced } }) => ({
    group,
    version,
    kind,
    plural,
    namespaced,
  }));
  expect(one.toSorted((a, b) => a.plural.localeCompare(b.plural))).toEqual(
    other.toSorted((a, b) => a.plural.localeCompare(b.plural)),
  );
});

describe('a declaration that selects pods', () => {
  test.each([
    ['spec.pathTemplate', { pathTemplate: 'x/{{ .NodeMeta.Name }}' }],
    ['spec.pathTemplate', { pathTemplate: '{{ with .NodeMeta.Labels }}{{ .zone }}{{ end }}' }],
    ['spec.pathTemplate', { pathTemplate: '{{ $node := .NodeSpec }}{{ $node.PodCIDR }}' }],
    ['spec.pathTemplate', { pathTemplate: '{{ range $all := . }}{{ end }}' }],
    [
      'spec.workloadSelectorTemplates[1]',
      { pathTemplate: 'x', workloadSelectorTemplates: ['k8s:container-name:a', 'k8s:container-name:{{ .NodeSpec.ProviderID }}'] },
    ],
  ])('WorkloadIdentity that reads the node is refused at %s', async (field, spec) => {
    const { faults } = await cluster().review('WorkloadIdentity', spec);
    expect(faults).toEqual([{ field, message: expect.stringContaining('may not read nodes') }]);
  });

  test.each(['ClusterWorkloadIdentity', 'ClusterSPIFFEID'])('%s that renders is accepted', async (kind) => {
    expect(await cluster().review(kind, BY_ID)).toEqual({ faults: [], warnings: [] });
  });

  test('an unknown field is named', async () => {
    const { faults } = await cluster().review('ClusterWorkloadIdentity', { ...BY_ID, spiffeIdTemplate: 'x' });
    expect(faults).toEqual([{ field: 'spec.spiffeIdTemplate', message: expect.any(String) }]);
  });

  test('every bad template is named, with line and column', async () => {
    const spec = {
      ...BY_ID,
      spiffeIDTemplate: 'spiffe://{{ .TrustDomain }}/{{ .Nothing }}',
      dnsNameTemplates: ['{{ .PodMeta.Name }}.example.org', 'a\n{{ if }}'],
      workloadSelectorTemplates: ['k8s:container-name:{{ template "x" }}'],
      jwtClaims: { team: { name: ['{{ nope }}'] } },
    };
    const { faults } = await cluster().review('ClusterWorkloadIdentity', spec);
    expect(faults.map(({ field }) => field)).toEqual([
      'spec.spiffeIDTemplate',
      'spec.dnsNameTemplates[1]',
      'spec.workloadSelectorTemplates[0]',
      'spec.jwtClaims.team.name[0]',
    ]);
    expect(faults[1]?.message).toMatch(/^2:\d+: /);
    expect(faults.every(({ message }) => /^\d+:\d+: /.test(message))).toBe(true);
  });

  test.each([
    [
      'an ID outside the trust domain',
      { spiffeIDTemplate: 'spiffe://example.net/{{ .PodMeta.Name }}' },
      'spec.spiffeIDTemplate',
      'example.net',
    ],
    [
      'an ID below /spire',
      { spiffeIDTemplate: 'spiffe://example.org/spire/{{ .PodMeta.Name }}' },
      'spec.spiffeIDTemplate',
      'reserved',
    ],
    [
      'a rendered ID outside the trust domain',
      { spiffeIDTemplate: '{{ print "spiffe://example.net/" .PodMeta.Name }}' },
      'spec.spiffeIDTemplate',
      'pod payments/web: ',
    ],
    [
      'a rendered ID below /spire',
      { spiffeIDTemplate: 'spiffe://{{ .TrustDomain }}/spire/{{ .PodMeta.Name }}' },
      'spec.spiffeIDTemplate',
      'pod payments/web: ',
    ],
    [
      'a rendered ID that is none',
      { spiffeIDTemplate: 'spiffe://{{ .TrustDomain }}/{{ index .PodMeta.Labels "none" }}' },
      'spec.spiffeIDTemplate',
      'pod payments/web: ',
    ],
    [
      'a rendered DNS name that is none',
      { dnsNameTemplates: ['{{ .PodMeta.Name }} x'] },
      'spec.dnsNameTemplates[0]',
      'pod payments/web: ',
    ],
    ['an admin', { admin: true }, 'spec.admin', 'allowAdminIdentities'],
    ['a downstream CA', { downstream: true }, 'spec.downstream', 'allowAdminIdentities'],
  ])('%s is refused', async (_what, change, field, text) => {
    const { faults } = await cluster().review('ClusterWorkloadIdentity', { ...BY_ID, ...change });
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatchObject({ field, message: expect.stringContaining(text) });
  });

  test('admin and downstream are accepted where they are allowed', async () => {
    const { faults } = await cluster({ allowAdminIdentities: true }).review('ClusterWorkloadIdentity', { ...BY_ID, admin: true });
    expect(faults).toEqual([]);
  });

  test('one that selects no pod is accepted with a warning', async () => {
    const { faults, warnings } = await cluster().review('ClusterWorkloadIdentity', {
      ...BY_ID,
      podSelector: { matchLabels: { app: 'none' } },
    });
    expect(faults).toEqual([]);
    expect(warnings).toEqual([expect.stringContaining('selects no pod')]);
  });

  test('one whose entry an older object declares is accepted with a warning that names it', async () => {
    const { index, review } = cluster();
    const kind = RESOURCE_KINDS.find(({ type }) => type.kind === 'ClusterSPIFFEID');
    if (kind?.declares !== 'identities') throw new Error('not the kind that it should be');
    index.putDeclaration(kind.parse(older('ClusterSPIFFEID', BY_ID)));
    index.settle();
    const { faults, warnings } = await review('ClusterWorkloadIdentity', BY_ID);
    expect(faults).toEqual([]);
    expect(warnings).toEqual([expect.stringMatching(/^pod payments\/web: ClusterSPIFFEID older, which is older/)]);
  });

  test('a trust domain that nothing federates with is a warning', async () => {
    const { federation, review } = cluster();
    const spec = { ...BY_ID, federatesWith: ['example.net'] };
    const { faults, warnings } = await review('ClusterWorkloadIdentity', spec);
    expect([faults, warnings]).toEqual([[], [expect.stringContaining('no FederatedTrustDomain declares example.net')]]);
    const kind = RESOURCE_KINDS.find(({ type }) => type.kind === 'FederatedTrustDomain');
    if (kind?.declares !== 'federation') throw new Error('not the kind that it should be');
    federation.put(kind.parse(older('FederatedTrustDomain', FEDERATION)));
    expect((await review('ClusterWorkloadIdentity', spec)).warnings).toEqual([]);
  });

  test('before the cluster has been read, what needs no pod is refused and the rest is accepted with a warning', async () => {
    const { unsync, review } = cluster();
    unsync();
    const good = await review('ClusterWorkloadIdentity', { ...BY_ID, dnsNameTemplates: ['{{ .PodMeta.Name }} x'] });
    expect(good).toEqual({ faults: [], warnings: [expect.stringContaining('has not read the cluster yet')] });
    const bad = await review('ClusterWorkloadIdentity', { ...BY_ID, spiffeIDTemplate: '{{' });
    expect(bad.faults).toHaveLength(1);
  });

  test('an object of another class is for another controller', async () => {
    const spec = { ...BY_ID, className: 'other', spiffeIDTemplate: 'spiffe://example.net/x', unknown: 1 };
    expect(await cluster().review('ClusterSPIFFEID', spec)).toEqual({ faults: [], warnings: [] });
    const unclassed = await cluster({ className: 'ours', watchClassless: false }).review('ClusterSPIFFEID', {
      spiffeIDTemplate: '{{',
    });
    expect(unclassed.faults).toEqual([]);
  });
});

describe('a WorkloadIdentity', () => {
  test('that renders below the path of its namespace is accepted', async () => {
    expect(await cluster().review('WorkloadIdentity', { pathTemplate: 'sa/{{ .PodSpec.ServiceAccountName }}' })).toEqual({
      faults: [],
      warnings: [],
    });
  });

  test.each([
    ['a path that leaves that of the namespace', '../{{ .PodMeta.Name }}'],
    ['a path with an empty part', 'a//{{ .PodMeta.Name }}'],
    ['a bad template', '{{ .PodMeta.Nothing }}'],
  ])('%s is refused', async (_what, pathTemplate) => {
    const { faults } = await cluster().review('WorkloadIdentity', { pathTemplate });
    expect(faults).toEqual([{ field: 'spec.pathTemplate', message: expect.any(String) }]);
  });

  test('that takes the ID of an admin workload is refused, and names who gives it', async () => {
    const { index, review } = cluster({ allowAdminIdentities: true });
    declareOperator(index);
    const { faults } = await review('WorkloadIdentity', { pathTemplate: 'sa/op' });
    expect(faults).toEqual([
      {
        field: '',
        message: expect.stringMatching(/^pod payments\/web: ClusterWorkloadIdentity older gives .* power over the CA/),
      },
    ]);
  });

  test('whose templates take too much for all its pods is refused', async () => {
    const { faults } = await cluster().review('WorkloadIdentity', { pathTemplate: 'x{{ range 24000 }}{{ end }}' });
    expect(faults).toEqual([{ field: 'spec.pathTemplate', message: expect.stringContaining('take more than 2000 steps') }]);
  });

  test('fields that it cannot have are refused', async () => {
    const { faults } = await cluster().review('WorkloadIdentity', {
      pathTemplate: 'web',
      admin: true,
      dnsNameTemplates: ['web.orders.svc'],
    });
    expect(faults.map(({ field }) => field).toSorted()).toEqual(['spec.admin', 'spec.dnsNameTemplates']);
  });

  test('that selects pods of other namespaces alone selects none', async () => {
    const { warnings } = await cluster().review('WorkloadIdentity', {
      pathTemplate: 'web',
      podSelector: { matchLabels: { app: 'db' } },
    });
    expect(warnings).toEqual([expect.stringContaining('selects no pod in namespace payments')]);
  });
});

const STATIC = {
  spiffeID: 'spiffe://example.org/vm/web',
  parentID: 'spiffe://example.org/spire/agent/join_token/1',
  selectors: ['unix:uid:1000'],
};

describe('a static entry', () => {
  test.each(['StaticIdentity', 'ClusterStaticEntry'])('%s that is right is accepted', async (kind) => {
    expect(await cluster().review(kind, STATIC)).toEqual({ faults: [], warnings: [] });
  });

  test.each([
    ['an ID outside the trust domain', { spiffeID: 'spiffe://example.net/web' }, 'spec.spiffeID'],
    ['an ID below /spire', { spiffeID: 'spiffe://example.org/spire/web' }, 'spec.spiffeID'],
    ['a parent outside the trust domain', { parentID: 'spiffe://example.net/agent' }, 'spec.parentID'],
    ['a DNS name that is none', { dnsNames: ['a b'] }, 'spec.dnsNames[0]'],
    ['an admin', { admin: true }, 'spec.admin'],
  ])('%s is refused', async (_what, change, field) => {
    const { faults } = await cluster().review('ClusterStaticEntry', { ...STATIC, ...change });
    expect(faults).toEqual([{ field, message: expect.any(String) }]);
  });

  test('that has the ID of an admin workload is refused, and one that takes the ID from another says so', async () => {
    const { index, review } = cluster({ allowAdminIdentities: true });
    const spec = { ...STATIC, spiffeID: 'spiffe://example.org/ns/payments/sa/op' };
    declareOperator(index, { admin: false });
    expect((await review('StaticIdentity', { ...spec, admin: true })).warnings).toEqual([
      expect.stringMatching(/^ClusterWorkloadIdentity older gives .*its entry would be deleted/),
    ]);
    declareOperator(index);
    expect((await review('StaticIdentity', spec)).faults).toEqual([
      { field: 'spec.spiffeID', message: expect.stringMatching(/^ClusterWorkloadIdentity older gives /) },
    ]);
    expect((await review('StaticIdentity', { ...spec, admin: true })).faults).toEqual([]);
  });

  test('that an older object declares is a warning that names it', async () => {
    const { index, review } = cluster();
    const kind = RESOURCE_KINDS.find(({ type }) => type.kind === 'ClusterStaticEntry');
    if (kind?.declares !== 'entry') throw new Error('not the kind that it should be');
    const { staticEntry } = await import('../../../../controller/identity/static-entry.ts');
    const { precedenceOf } = await import('../../../../controller/identity/declaration-store.ts');
    const declaration = kind.parse(older('ClusterStaticEntry', STATIC));
    index.putStatic(precedenceOf(declaration), staticEntry(declaration, SETTINGS));
    const { warnings } = await review('StaticIdentity', STATIC);
    expect(warnings).toEqual([expect.stringMatching(/^ClusterStaticEntry older declares the same entry .*its settings hold$/)]);
  });
});

const FEDERATION = {
  trustDomain: 'example.net',
  bundleEndpointURL: 'https://spiffe.example.net/bundle',
  bundleEndpointProfile: { type: 'https_web' },
};

describe('a trust domain to federate with', () => {
  test.each(['FederatedTrustDomain', 'ClusterFederatedTrustDomain'])('%s that is right is accepted', async (kind) => {
    expect(await cluster().review(kind, FEDERATION)).toEqual({ faults: [], warnings: [] });
  });

  test.each([
    ['the own one', { trustDomain: 'example.org' }, 'spec.trustDomain'],
    ['a bundle that is none', { trustDomainBundle: '{"keys":1}' }, 'spec.trustDomainBundle'],
  ])('%s is refused', async (_what, change, field) => {
    const { faults } = await cluster().review('FederatedTrustDomain', { ...FEDERATION, ...change });
    expect(faults.map((fault) => fault.field)).toEqual([field]);
  });

  test('that an older object declares as well is a warning that names it', async () => {
    const { federation, review } = cluster();
    const kind = RESOURCE_KINDS.find(({ type }) => type.kind === 'ClusterFederatedTrustDomain');
    if (kind?.declares !== 'federation') throw new Error('not the kind that it should be');
    federation.put(kind.parse(older('ClusterFederatedTrustDomain', FEDERATION)));
    const { warnings } = await review('FederatedTrustDomain', FEDERATION);
    expect(warnings).toEqual([expect.stringMatching(/^ClusterFederatedTrustDomain older declares .*its settings hold$/)]);
  });
});

describe('an update of an object that was bad before', () => {
  const bad = { ...BY_ID, dnsNameTemplates: ['{{ .Nope }}'], workloadSelectorTemplates: ['{{'] };

  test('may repair a part of it', async () => {
    const { faults, warnings } = await cluster().review('ClusterSPIFFEID', { ...bad, workloadSelectorTemplates: [] }, bad);
    expect(faults).toEqual([]);
    expect(warnings[0]).toMatch(/^still wrong, as before: spec\.dnsNameTemplates\[0\]: 1:\d+: /);
  });

  test('may not make it worse', async () => {
    const { faults } = await cluster().review('ClusterSPIFFEID', { ...bad, spiffeIDTemplate: 'spiffe://example.net/x' }, bad);
    expect(faults.map(({ field }) => field)).toEqual(['spec.spiffeIDTemplate']);
  });

  test('may not change one bad value into another', async () => {
    const { faults } = await cluster().review('ClusterSPIFFEID', { ...bad, dnsNameTemplates: ['{{ .Nay }}'] }, bad);
    expect(faults.map(({ field }) => field)).toEqual(['spec.dnsNameTemplates[0]']);
  });

  test('keeps what is wrong with one pod, and nothing else, out of the way', async () => {
    const before = { ...BY_ID, dnsNameTemplates: ['{{ .PodMeta.Name }} x'] };
    const after = { ...before, hint: 'web' };
    const { faults, warnings } = await cluster().review('ClusterWorkloadIdentity', after, before);
    expect([faults, warnings]).toEqual([
      [],
      [expect.stringContaining('still wrong, as before: spec.dnsNameTemplates[0]: pod payments/web: ')],
    ]);
  });
});
