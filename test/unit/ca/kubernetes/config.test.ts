import { describe, expect, test } from 'vitest';
import { AdminLogins } from '../../../../ca/kubernetes/admin-logins.ts';
import { adminLoginShape, bundleConfigMapShape, k8sPsatShape } from '../../../../ca/kubernetes/config.ts';
import { decode } from '../../../../core/decode.ts';
import { createSpiffeId } from '../../../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../../../spiffe/trust-domain.ts';
import { codeOf, thrownBy } from '../../../support/thrown-by.ts';

const trustDomain = parseTrustDomain('example.org');
const serviceAccounts = ['system:agent'];
const psat = (clusters: unknown) => decode(k8sPsatShape('/base'), { clusters });
const logins = (clusters: unknown) => decode(adminLoginShape('/base'), { clusters });

describe('attestors.k8sPsat', () => {
  test('has the defaults of SPIRE', () => {
    expect(psat({ main: { serviceAccounts } }).clusters.get('main')).toEqual({
      serviceAccounts,
      audience: ['spire-server'],
      allowedNodeLabelKeys: [],
      allowedPodLabelKeys: [],
      kubeconfigFile: undefined,
    });
    const given = psat({ main: { serviceAccounts, audience: [], kubeconfig: './kube' } }).clusters.get('main');
    expect(given).toMatchObject({ audience: [], kubeconfigFile: '/base/kube' });
  });

  test.each([
    ['no cluster', {}],
    ['a name that cannot stand in an ID', { 'a/b': { serviceAccounts } }],
    ['a name of dots', { '..': { serviceAccounts } }],
    ['no service account', { main: { serviceAccounts: [] } }],
    ['a service account without its namespace', { main: { serviceAccounts: ['agent'] } }],
    ['the audience of logins', { main: { serviceAccounts, audience: ['spire-server', 'countersign-admin'] } }],
    ['an unknown key', { main: { serviceAccounts, audiences: [] } }],
  ])('refuses %s', (_what, clusters) => {
    expect(codeOf(() => psat(clusters))).toBe('invalid_argument');
  });
});

describe('adminLogin', () => {
  const controller = { role: 'controller', dnsNames: ['webhook.system.svc'] };

  test('knows a login by its ID, as long as it is configured', () => {
    const { clusters } = logins({ main: { serviceAccounts: { 'system:controller': controller } } });
    const api = { get: () => Promise.reject(new Error('unused')), create: () => Promise.reject(new Error('unused')) };
    const opened = new Map([...clusters].map(([name, config]) => [name, { ...config, cluster: { name, api } }]));
    const known = new AdminLogins(trustDomain, opened);
    const idOf = (path: string) => createSpiffeId(trustDomain, path);
    expect(known.of(idOf('/spire/admin/main/system/controller'))).toEqual({
      ...controller,
      allowAdminIdentities: false,
      entryIdPrefix: 'main.',
    });
    for (const path of ['/spire/admin/other/system/controller', '/spire/admin/main/system/other', '/system/controller']) {
      expect(known.of(idOf(path))).toBeUndefined();
    }
    const foreign = createSpiffeId(parseTrustDomain('other.example'), '/spire/admin/main/system/controller');
    expect(known.of(foreign)).toBeUndefined();
  });

  test("binds controllers to a prefix of entry IDs: their cluster's, unless the login names one", () => {
    const prefixes = (clusters: unknown) =>
      [...logins(clusters).clusters.values()].flatMap(({ serviceAccounts: accounts }) =>
        [...accounts.values()].map(({ entryIdPrefix }) => entryIdPrefix),
      );
    const named = { role: 'controller', entryIdPrefix: 'canary' };
    expect(prefixes({ main: { serviceAccounts: { 'a:a': controller, 'a:b': named } }, 'eu.1': { serviceAccounts: {} } })).toEqual(
      ['main.', 'canary.'],
    );
    expect(prefixes({ 'eu.1': { serviceAccounts: { 'a:a': { role: 'admin' }, 'a:b': named } } })).toEqual(['', 'canary.']);
  });

  test.each([
    ['a cluster with a dot that names none', { 'eu.1': { serviceAccounts: { 'a:a': controller } } }],
    ['a prefix with a dot', { main: { serviceAccounts: { 'a:a': { ...controller, entryIdPrefix: 'a.b' } } } }],
    ['an empty prefix', { main: { serviceAccounts: { 'a:a': { ...controller, entryIdPrefix: '' } } } }],
    [
      'two clusters of one prefix',
      {
        main: { serviceAccounts: { 'a:a': controller } },
        other: { serviceAccounts: { 'a:a': { ...controller, entryIdPrefix: 'main' } } },
      },
    ],
  ])('refuses %s', (_what, clusters) => {
    expect(codeOf(() => logins(clusters))).toBe('invalid_argument');
  });

  test('says which login is configured at fault', async () => {
    const none = new AdminLogins(trustDomain, new Map());
    await expect(none.verify('', 'x')).rejects.toMatchObject({ code: 'failed_precondition' });
  });

  test.each([
    ['an unknown role', { 'system:controller': { role: 'root' } }],
    ['what is no DNS name', { 'system:controller': { role: 'admin', dnsNames: ['a b'] } }],
    ['what is no service account', { controller: { role: 'admin' } }],
  ])('refuses %s', (_what, accounts) => {
    expect(thrownBy(() => logins({ main: { serviceAccounts: accounts } }))).toMatchObject({ code: 'invalid_argument' });
  });
});

test('kubernetes.bundleConfigMap names a ConfigMap', () => {
  const shape = bundleConfigMapShape('/base');
  expect(decode(shape, { namespace: 'a', name: 'b' })).toEqual({ namespace: 'a', name: 'b', kubeconfigFile: undefined });
  expect(codeOf(() => decode(shape, { name: 'b' }))).toBe('invalid_argument');
});
