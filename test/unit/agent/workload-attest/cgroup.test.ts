import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isIdentityError } from '../../../../core/errors.ts';
import { containersOf, owningUser, parseCgroups, systemdPath } from '../../../../agent/workload-attest/cgroup.ts';

const ID = '6469646e742063686f6f736520746869732061742072616e646f6d2c207965733f';
const A = ID.slice(0, 64);
const B = A.split('').toReversed().join('');

describe('parseCgroups', () => {
  test('reads v1, named and v2 hierarchies', () => {
    expect(parseCgroups('4:memory:/a/b\n1:name=systemd:/c:d\n0::/\n')).toEqual([
      { hierarchy: '4', controllers: 'memory', path: '/a/b' },
      { hierarchy: '1', controllers: 'name=systemd', path: '/c:d' },
      { hierarchy: '0', controllers: '', path: '/' },
    ]);
  });

  test('keeps what the kernel escaped', () => {
    expect(parseCgroups('0::/a\\012b')[0]?.path).toBe('/a\\012b');
  });

  test.each(['hugetlb', '11:hugetlb', 'x:y:/z', '1:cpu:relative'])('refuses %s', (line) => {
    expect(() => parseCgroups(`0::/\n${line}\n`)).toThrow(expect.objectContaining({ code: 'internal' }));
  });

  test('any text either parses or is refused as internal', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          for (const { path } of parseCgroups(text)) containersOf(path);
        } catch (error) {
          return isIdentityError(error, 'internal');
        }
        return true;
      }),
    );
  });
});

describe('containersOf', () => {
  test.each([
    ['docker, cgroupfs driver', `/docker/${A}`, `/docker/${A}`],
    ['docker, systemd driver', `/system.slice/docker-${A}.scope`, `/system.slice/docker-${A}.scope`],
    ['within a container', `/docker/${A}/init.scope`, `/docker/${A}`],
    ['seen from another cgroup namespace', `/../../docker/${A}`, `/../../docker/${A}`],
    ['podman, systemd driver', `/machine.slice/libpod-${A}.scope/container`, `/machine.slice/libpod-${A}.scope`],
    ['podman, cgroupfs driver', `/libpod_parent/libpod-${A}`, `/libpod_parent/libpod-${A}`],
    [
      'containerd under systemd',
      `/kubepods.slice/kubepods-pod12_3.slice/cri-containerd-${A}.scope`,
      `/kubepods.slice/kubepods-pod12_3.slice/cri-containerd-${A}.scope`,
    ],
    [
      'containerd with a systemd path but no systemd driver',
      `/system.slice/containerd.service/kubepods-burstable-pod12_3.slice:cri-containerd:${A}`,
      `/system.slice/containerd.service/kubepods-burstable-pod12_3.slice:cri-containerd:${A}`,
    ],
    ['cri-o', `/kubepods.slice/crio-${A}.scope`, `/kubepods.slice/crio-${A}.scope`],
  ])('%s', (_, path, container) => {
    expect(containersOf(path)).toEqual([{ id: A, path: container }]);
  });

  test('the outermost comes first', () => {
    expect(containersOf(`/docker/${A}/docker/${B}`).map(({ id }) => id)).toEqual([A, B]);
  });

  test.each([
    ['the root', '/'],
    ['a service', '/system.slice/nginx.service'],
    ['a monitor of a container', `/machine.slice/libpod-conmon-${A}.scope`],
    ['another monitor', `/system.slice/crio-conmon-${A}.scope`],
    ['65 digits', `/docker/${A}0`],
    ['63 digits', `/docker/${A.slice(1)}`],
    ['upper case', `/docker/${A.toUpperCase()}F`.replace(/[0-9]/g, 'A')],
    ['a suffix', `/docker/${A}.service`],
    ['a deleted cgroup', `/docker/${A} (deleted)`],
    ['an escaped line break', `/docker/x\\012${A}`],
  ])('%s is none', (_, path) => {
    expect(containersOf(path)).toEqual([]);
  });
});

test('owningUser finds whose part of the hierarchy it is', () => {
  expect(owningUser(`/user.slice/user-1000.slice/user@1000.service/app.slice/docker-${A}.scope`)).toBe(1000);
  expect(owningUser(`/user.slice/user-0.slice/session-2.scope`)).toBe(0);
  expect(owningUser(`/system.slice/docker-${A}.scope`)).toBeUndefined();
});

test('systemdPath prefers the hierarchy that systemd manages', () => {
  expect(systemdPath(parseCgroups('1:name=systemd:/a\n0::/b'))).toBe('/a');
  expect(systemdPath(parseCgroups('2:cpu:/a\n0::/b'))).toBe('/b');
  expect(systemdPath(parseCgroups('2:cpu:/a'))).toBeUndefined();
});
