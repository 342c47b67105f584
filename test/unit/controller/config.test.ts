// What `--check-config` refuses in controller.yaml: each with its field and a reason.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { expect, test } from 'vitest';
import { parseControllerConfig } from '../../../controller/config.ts';
import { DecodeError } from '../../../core/decode.ts';

const MINIMAL = 'trustDomain: example.org\nca: { socket: "unix:./admin.sock" }\n';

function faultsOf(yaml: string): readonly string[] {
  try {
    parseControllerConfig(parse(MINIMAL + yaml), '/base');
    return [];
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return error.faults.map(({ path, message }) => `${path}: ${message}`);
  }
}

test.each([
  ['leaderElection: { name: Bad Name }', 'leaderElection.name: "Bad Name" is no name'],
  ['leaderElection: { namespace: a.b }', 'leaderElection.namespace: "a.b" is no name'],
  ['bundles: { configMap: { name: a b } }', 'bundles.configMap.name: "a b" is no name'],
  ['podCertificates: { signerName: nonsense }', 'podCertificates.signerName: "nonsense" is no name of a signer'],
  ['podCertificates: { signerName: local/x }', 'podCertificates.signerName: "local/x" is no name of a signer'],
  ['driftCheck: 0s', 'driftCheck: must be 100ms at least'],
  ['parentIdTemplate: "spiffe://other.test/{{ .NodeMeta.UID }}"', 'parentIdTemplate: must be a SPIFFE ID of the trust domain'],
  ['parentIdTemplate: "/agent/{{ .NodeMeta.UID }}"', 'parentIdTemplate: must be a SPIFFE ID of the trust domain'],
  ['parentIdTemplate: "spiffe://{{ .Nothing"', 'parentIdTemplate: '],
  ['workloadIdentities: { path: /ns }', 'workloadIdentities.path: must hold {namespace}'],
  ['workloadIdentities: { paths: { a: /ns } }', 'workloadIdentities.paths.a: /ns overlaps the path of the other namespaces'],
  ['workloadIdentities: { paths: { a: /ns/b } }', 'workloadIdentities.paths.a: /ns/b overlaps the path of namespace b'],
  ['workloadIdentities: { paths: { a: /ns/b/c } }', 'workloadIdentities.paths.a: /ns/b/c overlaps the path of namespace b'],
  ['workloadIdentities: { paths: { a: /x, b: /x } }', 'workloadIdentities.paths.b: /x and /x, the path of namespace a, overlap'],
  ['workloadIdentities: { paths: { a: /x, b: /x/y } }', 'workloadIdentities.paths.b: /x/y and /x, the path of namespace a'],
  ['workloadIdentities: { paths: { A: /x } }', 'workloadIdentities.paths.A: "A" is no name'],
  ['clusterName: a/b', 'clusterName: '],
  ['clusterName: eu.west', 'clusterName: "eu.west" cannot begin the IDs of entries as well'],
  ['admission: { service: a/b, webhookConfiguration: x }', 'listen.webhook: must be given'],
])('%s is refused', (yaml, fault) => {
  expect(faultsOf(yaml)).toEqual([expect.stringContaining(fault)]);
});

test.each([
  'clusterName: eu.west\nentryIdPrefix: eu-west',
  'workloadIdentities: { paths: { a: /ns/b, b: /ns/a } }',
  'workloadIdentities: { paths: { a: /ns/a/more, b: /teams/blue } }',
  'workloadIdentities: { path: "/{namespace}/x", paths: { a: /teams/y } }',
  'parentIdTemplate: "spiffe://example.org/{{ .NodeMeta.UID }}"',
  'parentIdTemplate: "{{ .NodeMeta.Annotations.id }}"',
  'bundles: { configMap: { name: bundle.example } }',
])('%s is taken', (yaml) => {
  expect(faultsOf(yaml)).toEqual([]);
});

test('the shipped configuration leaves alone just the namespaces that it names', () => {
  const file = join(import.meta.dirname, '../../../manifests/base/controller/controller.yaml');
  const { ignoreNamespaces } = parseControllerConfig(parse(readFileSync(file, 'utf8')), '/base');
  const isIgnored = (name: string): boolean => ignoreNamespaces.some((pattern) => pattern.test(name));
  expect(['kube-system', 'kube-public', 'countersign-system', 'countersign-agents'].filter((name) => !isIgnored(name))).toEqual(
    [],
  );
  expect(['my-kube-system', 'kube-system-tools', 'countersign-agents-2'].filter(isIgnored)).toEqual([]);
});
