import { expect, test } from 'vitest';
import { csiConfig } from '../../../../agent/csi/config.ts';
import { decode } from '../../../../core/decode.ts';

const read = (input: unknown) => decode(csiConfig('/etc/x'), input);

test('the folder of the socket is enough', () => {
  expect(read({ socketFolder: 'sockets' })).toMatchObject({
    driverNames: ['csi.countersign.dev'],
    socketFolder: '/etc/x/sockets',
    kubeletFolder: '/var/lib/kubelet',
    pluginsFolder: '/var/lib/kubelet/plugins',
    registrationFolder: '/var/lib/kubelet/plugins_registry',
    nodeNameEnv: 'MY_NODE_NAME',
  });
});

test.each([
  [{}, 'socketFolder'],
  [{ socketFolder: 's', driverNames: ['../x'] }, 'driverNames[0]'],
  [{ socketFolder: 's', driverNames: ['a_b'] }, 'driverNames[0]'],
  [{ socketFolder: 's', driverNames: ['a'.repeat(64)] }, 'driverNames[0]'],
  [{ socketFolder: 's', driverName: 'csi.spiffe.io' }, 'driverName'],
  [{ socketFolder: 's', log: { level: 'loud' } }, 'log.level'],
])('refuses %j', (input, path) => {
  expect(() => read(input)).toThrow(expect.objectContaining({ faults: [expect.objectContaining({ path })] }));
});
