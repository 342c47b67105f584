import { expect, test } from 'vitest';
import { createWorkloadAttestors, workloadAttestorsConfig } from '../../../../agent/workload-attest/config.ts';
import { decode } from '../../../../core/decode.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const read = (input: unknown) => decode(workloadAttestorsConfig('/etc/x'), input);

test('names alone are enough, and only what is named runs', () => {
  expect(createWorkloadAttestors(read({ unix: {}, systemd: {} }), new ManualClock()).map(({ name }) => name)).toEqual([
    'unix',
    'systemd',
  ]);
  expect(createWorkloadAttestors(read({ docker: {} }), new ManualClock()).map(({ name }) => name)).toEqual(['docker']);
});

test('sockets are paths or unix URLs, relative to the file', () => {
  const { docker } = read({ docker: { dockerSocketPath: 'unix:///var/run/docker.sock', podmanSocketPath: 'run/p.sock' } });
  expect(docker).toMatchObject({ dockerSocketPath: '/var/run/docker.sock', podmanSocketPath: '/etc/x/run/p.sock' });
});

test.each([
  [{}, ''],
  [{ unknown: {} }, 'unknown'],
  [{ unix: { discover_workload_path: true } }, 'unix.discover_workload_path'],
  [{ unix: { workloadSizeLimit: 'big' } }, 'unix.workloadSizeLimit'],
  [{ docker: { dockerSocketPath: 'tcp://1.2.3.4:2375' } }, 'docker.dockerSocketPath'],
  [{ docker: { dockerVersion: 'latest' } }, 'docker.dockerVersion'],
  [{ docker: { podmanSocketPathTemplate: '/run/user/podman.sock' } }, 'docker.podmanSocketPathTemplate'],
  [{ docker: { podmanSocketPathTemplate: '/run/%d/%d.sock' } }, 'docker.podmanSocketPathTemplate'],
  [{ docker: { podmanSocketPathTemplate: '/run/%s/%d.sock' } }, 'docker.podmanSocketPathTemplate'],
])('refuses %j', (input, path) => {
  expect(() => read(input)).toThrow(expect.objectContaining({ faults: [expect.objectContaining({ path })] }));
});
