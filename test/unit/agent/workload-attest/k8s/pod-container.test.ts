import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isIdentityError } from '../../../../../core/errors.ts';
import { parseCgroups } from '../../../../../agent/workload-attest/cgroup.ts';
import { podContainerOf } from '../../../../../agent/workload-attest/k8s/pod-container.ts';
import { codeOf } from '../../../../support/thrown-by.ts';

const UID = '2c48913c-b29f-11e7-9350-020968147796';
const UID_ = UID.replaceAll('-', '_');
const OWN_UID = 'a2830d0d-b0f0-4ff0-81b5-0ee4e299cf80';
const STATIC = '2732ca68f6358eba7703fb6f82a25c94';
const C = '9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961';
const D = '34a2062fd26c805aa8cf814cdfe479322b791f80afb9ea4db02d50375df14b41';
const NODE = '93529524695bb00d91c1f6dba692ea8d3550c3b94fb2463af7bc9ec82f992d26';
const found = { podUid: UID, containerId: C };

/** What is found on one path of cgroup v2, for an agent whose own path is `own`. */
function on(path: string, own = '/') {
  return podContainerOf(parseCgroups(`0::${path}\n`), parseCgroups(`0::${own}\n`));
}

describe('cgroups of containers that a kubelet made', () => {
  test.each([
    ['cgroupfs driver, burstable', `/kubepods/burstable/pod${UID}/${C}`],
    ['cgroupfs driver, best effort', `/kubepods/besteffort/pod${UID}/${C}`],
    ['cgroupfs driver, guaranteed', `/kubepods/pod${UID}/${C}`],
    ['cgroupfs driver, underscores', `/kubepods/pod${UID_}/${C}`],
    ['cri-o, cgroupfs driver', `/kubepods/besteffort/pod${UID}/crio-${C}`],
    ['docker desktop', `/kubepods/kubepods/besteffort/pod${UID}/${C}`],
    [
      'containerd, systemd driver, burstable',
      `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${UID_}.slice/cri-containerd-${C}.scope`,
    ],
    ['containerd, systemd driver, guaranteed', `/kubepods.slice/kubepods-pod${UID_}.slice/cri-containerd-${C}.scope`],
    ['cri-o, systemd driver', `/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${UID_}.slice/crio-${C}.scope`],
    [
      'cri-o with crun, which goes one deeper',
      `/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${UID_}.slice/crio-${C}.scope/container`,
    ],
    [
      'docker (cri-dockerd), systemd driver',
      `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${UID_}.slice/docker-${C}.scope`,
    ],
    ['containerd told a systemd path without the systemd driver', `/kubepods-besteffort-pod${UID_}.slice:cri-containerd:${C}`],
    [
      'a kubelet with a root of its own, systemd driver (kind)',
      `/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod${UID_}.slice/cri-containerd-${C}.scope`,
    ],
    ['a kubelet with a root of its own, cgroupfs driver (kind)', `/kubelet/kubepods/besteffort/pod${UID}/${C}`],
    ['a cgroup that the container made for itself', `/kubepods/burstable/pod${UID}/${C}/init.scope/worker`],
    ['docker within the container', `/kubepods/burstable/pod${UID}/${C}/docker/${D}`],
    ['a whole cluster within the container', `/kubepods/burstable/pod${UID}/${C}/kubepods/pod${OWN_UID}/${D}`],
  ])('%s', (_, path) => {
    expect(on(path)).toEqual(found);
  });

  test('a static pod has the UID that the kubelet made', () => {
    expect(on(`/kubepods/burstable/pod${STATIC}/${C}`)).toEqual({ podUid: STATIC, containerId: C });
    const slice = `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${STATIC}.slice/cri-containerd-${C}.scope`;
    expect(on(slice)).toEqual({ podUid: STATIC, containerId: C });
  });

  test('all hierarchies of cgroup v1, with others that say nothing', () => {
    const text = [
      `13:name=systemd:/docker/${NODE}/kubepods/besteffort/pod${UID}/${C}`,
      `12:pids:/docker/${NODE}/kubepods/besteffort/pod${UID}/${C}`,
      '3:misc:/',
      `0::/docker/${NODE}/system.slice/containerd.service`,
    ].join('\n');
    const own = text.replaceAll(UID, OWN_UID).replaceAll(C, D);
    expect(podContainerOf(parseCgroups(text), parseCgroups(own))).toEqual(found);
  });
});

describe('where the agent is', () => {
  const own = `/docker/${NODE}/kubepods/besteffort/pod${OWN_UID}/${D}`;
  test.each([
    ['in a node of kind', `/docker/${NODE}/kubepods/besteffort/pod${UID}/${C}`, own],
    ['in a node of kind, another class of service', `/docker/${NODE}/kubepods/pod${UID}/${C}`, own],
    [
      'in a node of kind, as a process of it',
      `/docker/${NODE}/kubepods/pod${UID}/${C}`,
      `/docker/${NODE}/system.slice/agent.service`,
    ],
    ['on the host', `/kubepods/burstable/pod${UID}/${C}`, '/system.slice/countersign-agent.service'],
    [
      'below the service of containerd',
      `/system.slice/containerd.service/kubepods-besteffort-pod${UID_}.slice:cri-containerd:${C}`,
      `/system.slice/containerd.service/kubepods-besteffort-pod${OWN_UID.replaceAll('-', '_')}.slice:cri-containerd:${D}`,
    ],
    [
      'below a root that only this kubelet has',
      `/corp.slice/corp-kubepods.slice/corp-kubepods-pod${UID_}.slice/cri-containerd-${C}.scope`,
      `/corp.slice/corp-kubepods.slice/corp-kubepods-pod${OWN_UID.replaceAll('-', '_')}.slice/cri-containerd-${D}.scope`,
    ],
    ['in a cgroup namespace, same class of service', `/../../pod${UID}/${C}`, '/'],
    ['in a cgroup namespace, another class of service', `/../../../burstable/pod${UID}/${C}`, '/'],
    ['in a cgroup namespace, systemd driver', `/../../kubepods-besteffort-pod${UID_}.slice/cri-containerd-${C}.scope`, '/'],
    [
      'in a cgroup namespace, systemd driver, another class of service',
      `/../../../kubepods-burstable.slice/kubepods-burstable-pod${UID_}.slice/crio-${C}.scope`,
      '/',
    ],
    ['in a cgroup namespace outside of pods', `/../kubepods/pod${UID}/${C}`, '/'],
  ])('%s', (_, path, ownPath) => {
    expect(on(path, ownPath)).toEqual(found);
  });

  test('in a cgroup namespace, another container of its own pod', () => {
    expect(on(`/../crio-${C}.scope`)).toEqual({ podUid: undefined, containerId: C });
    expect(on(`/../${C}/worker`)).toEqual({ podUid: undefined, containerId: C });
  });

  test('another container of its own pod, seen whole', () => {
    expect(on(`/kubepods/pod${UID}/${C}`, `/kubepods/pod${UID}/${D}`)).toEqual(found);
  });

  test('in a cluster that runs in a pod of another cluster', () => {
    const outer = `/kubepods/burstable/pod${STATIC}/${NODE}`;
    expect(on(`${outer}/kubepods/pod${UID}/${C}`, `${outer}/kubepods/besteffort/pod${OWN_UID}/${D}`)).toEqual(found);
    expect(on(`${outer}/containerd.service`, `${outer}/kubepods/pod${OWN_UID}/${D}`)).toBeUndefined();
  });
});

describe('what only looks like a pod', () => {
  test.each([
    ['outside of containers', '/user.slice/user-1000.slice/session-2.scope'],
    ['the root', '/'],
    ['a container of Docker', `/docker/${C}`],
    ['made by a user', `/user.slice/user-1000.slice/user@1000.service/kubepods/burstable/pod${UID}/${C}`],
    ['made by a service', `/system.slice/ci.service/kubepods.slice/kubepods-pod${UID_}.slice/cri-containerd-${C}.scope`],
    ['made by a service, at once', `/system.slice/ci.service/pod${UID}/${C}`],
    ['made by a service as containerd would', `/system.slice/ci.service/kubepods-pod${UID_}.slice:cri-containerd:${C}`],
    ['made in a container of Docker', `/docker/${NODE}/kubepods/burstable/pod${UID}/${C}`],
    ['made in a container of Docker, from a namespace', `/../${NODE}/kubepods/burstable/pod${UID}/${C}`, NODE],
    ['made by a service, from a namespace', `/../../../../system.slice/ci.service/kubepods/pod${UID}/${C}`],
    ['a container without a pod', `/kubepods/${C}`],
    ['a folder beside', `/kubepods/burstable/other/pod${UID}/${C}`],
    ['no UID', `/kubepods/burstable/pod1234/${C}`],
    ['a UID in upper case', `/kubepods/burstable/pod${UID.toUpperCase()}/${C}`],
    ['a UID of two spellings', `/kubepods/burstable/pod${UID.replace('-', '_')}/${C}`],
    ['a UID with more', `/kubepods/burstable/pod${UID}0/${C}`],
    ['a way up in the middle', `/system.slice/../kubepods/pod${UID}/${C}`],
  ])('%s', (_, path, container?: string) => {
    const expected = container === undefined ? undefined : { podUid: undefined, containerId: container };
    expect(on(path)).toEqual(expected);
  });

  test.each([
    ['the pod itself', `/kubepods/burstable/pod${UID}`],
    ['the monitor of a container', `/kubepods.slice/kubepods-pod${UID_}.slice/crio-conmon-${C}.scope`],
    ['a short container', `/kubepods/pod${UID}/${C.slice(1)}`],
    ['a long container', `/kubepods/pod${UID}/${C}0`],
    ['a container in upper case', `/kubepods/pod${UID}/${C.toUpperCase()}`],
    ['a folder before the container', `/kubepods/pod${UID}/x/${C}`],
    ['a way up', `/kubepods/pod${UID}/../pod${OWN_UID}/${C}`],
    ['a removed cgroup', `/kubepods/pod${UID}/${C} (deleted)`],
    ['an escaped line break', `/kubepods/pod${UID}/${C}\\012`],
  ])('a process in no container of a pod is refused: %s', (_, path) => {
    expect(codeOf(() => on(path))).toBe('permission_denied');
  });

  test('hierarchies that disagree are refused', () => {
    const one = `4:pids:/kubepods/pod${UID}/${C}`;
    for (const other of [`/kubepods/pod${UID}/${D}`, `/kubepods/pod${OWN_UID}/${C}`, `/kubepods/pod${OWN_UID}/${D}`]) {
      expect(codeOf(() => podContainerOf(parseCgroups(`${one}\n3:cpu:${other}\n`), []))).toBe('permission_denied');
    }
  });

  test('a line break in a name cannot forge a line', () => {
    expect(codeOf(() => on(`/a\n0::/kubepods/pod${UID}/${C}\nb`))).toBe('internal');
  });
});

describe('any path', () => {
  const segment = fc.oneof(
    fc.constantFrom('..', 'kubepods', 'burstable', `pod${UID}`, C, `crio-${D}.scope`, 'kubepods.slice', '', 'docker', 'a:b'),
    fc.string({ maxLength: 80 }).map((text) => text.replaceAll(/[\n/]/g, '')),
  );
  const path = fc.array(segment, { maxLength: 8 }).map((segments) => `/${segments.join('/')}`);

  test('gives a well-formed container, nothing, or a refusal', () => {
    fc.assert(
      fc.property(path, path, (one, own) => {
        try {
          const container = on(one, own);
          return container === undefined || /^[0-9a-f]{64}$/.test(container.containerId);
        } catch (error) {
          return isIdentityError(error, 'permission_denied');
        }
      }),
    );
  });

  test('below a container is that container', () => {
    fc.assert(
      fc.property(path, (below) => {
        expect(on(`/kubepods/burstable/pod${UID}/${C}${below}`)).toEqual(found);
      }),
    );
  });

  test('below a service or user is never a pod', () => {
    fc.assert(
      fc.property(path, (below) => {
        expect(on(`/system.slice/x.service${below}`)).toBeUndefined();
      }),
    );
  });

  test('a megabyte is read in no time', () => {
    expect(on(`/${'kubepods/'.repeat(100_000)}pod${UID}/${C}`)).toEqual(found);
    expect(on(`/${'a-'.repeat(500_000)}`)).toBeUndefined();
    expect(on(`/..${'/x'.repeat(300_000)}`)).toBeUndefined();
  });
});
