import { expect, test } from 'vitest';
import { createWorkloadAttestors, workloadAttestorsConfig } from '../../../../agent/workload-attest/config.ts';
import { decode } from '../../../../core/decode.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { thrownBy } from '../../../support/thrown-by.ts';

const around = { clock: new ManualClock(), log: createLogger({ level: 'fatal', name: 'test' }), environment: {} };
const read = (input: unknown) => decode(workloadAttestorsConfig('/etc/x'), input);

test('names alone are enough, and only what is named runs', () => {
  const names = (input: unknown) => createWorkloadAttestors(read(input), around).map(({ name }) => name);
  expect(names({ unix: {}, systemd: {} })).toEqual(['unix', 'systemd']);
  expect(names({ docker: {} })).toEqual(['docker']);
  expect(names({ k8s: { source: 'kubelet' } })).toEqual(['k8s']);
});

test('k8s needs to know its node, by a variable of the environment or by name', () => {
  const config = read({ k8s: {} });
  expect(thrownBy(() => createWorkloadAttestors(config, around)).code).toBe('invalid_argument');
  const environment = { MY_NODE_NAME: 'bad,spec.nodeName=other' };
  expect(thrownBy(() => createWorkloadAttestors(config, { ...around, environment })).code).toBe('invalid_argument');
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
  [{ k8s: { source: 'both' } }, 'k8s.source'],
  [{ k8s: { kubelet: { readOnlyPort: 10255 } } }, 'k8s'],
  [{ k8s: { source: 'kubelet', kubelet: { readOnlyPort: 10255, securePort: 10250 } } }, 'k8s'],
  [{ k8s: { source: 'kubelet', kubelet: { readOnlyPort: 10255, tokenFile: 't' } } }, 'k8s'],
  [{ k8s: { source: 'kubelet', kubelet: { certFile: 'c' } } }, 'k8s'],
  [{ k8s: { source: 'kubelet', kubelet: { tokenFile: 't', anonymous: true } } }, 'k8s'],
  [{ k8s: { source: 'kubelet', kubelet: { caFile: 'c', skipVerification: true } } }, 'k8s'],
  [{ k8s: { source: 'kubelet', kubelet: { securePort: 0 } } }, 'k8s.kubelet.securePort'],
  [{ docker: { dockerSocketPath: 'tcp://1.2.3.4:2375' } }, 'docker.dockerSocketPath'],
  [{ docker: { dockerVersion: 'latest' } }, 'docker.dockerVersion'],
  [{ docker: { podmanSocketPathTemplate: '/run/user/podman.sock' } }, 'docker.podmanSocketPathTemplate'],
  [{ docker: { podmanSocketPathTemplate: '/run/%d/%d.sock' } }, 'docker.podmanSocketPathTemplate'],
  [{ docker: { podmanSocketPathTemplate: '/run/%s/%d.sock' } }, 'docker.podmanSocketPathTemplate'],
])('refuses %j', (input, path) => {
  expect(() => read(input)).toThrow(expect.objectContaining({ faults: [expect.objectContaining({ path })] }));
});
