import { IdentityError } from '../../../core/errors.ts';
import { type CgroupEntry, containerIdOf } from '../cgroup.ts';

/** The container of a pod that a process runs in, as its cgroups name it. */
export interface PodContainer {
  /**
   * The pod's UID; for a static pod the 32 hexadecimal digits that the kubelet made. Undefined where the path leaves it out:
   * a container of the agent's own pod, seen from the agent's own cgroup namespace.
   */
  readonly podUid: string | undefined;
  /** 64 lower-case hexadecimal digits. */
  readonly containerId: string;
}

/**
 * The container of a pod that a process runs in, or undefined for a process outside of pods.
 *
 * A path counts only where the kubelet put the pod: the part of it that is not an ancestor of the agent's own cgroup must be
 * the kubelet's own structure (`kubepods`, the class of service), then the pod, then the container. The same names further
 * down, below some service, user or container to which a part of the hierarchy was delegated, prove nothing. The first
 * container counts; what is below it was made within it.
 *
 * @param own the agent's own cgroups, which tell where on the machine (or in which node of kind or k3d) its kubelet works
 * @throws IdentityError `permission_denied` for a process in a pod's cgroup but in no container of it, and where hierarchies
 *   disagree
 */
export function podContainerOf(cgroups: readonly CgroupEntry[], own: readonly CgroupEntry[]): PodContainer | undefined {
  let found: PodContainer | undefined;
  let last = { path: '', ownPath: '' };
  for (const { hierarchy, path } of cgroups) {
    const ownPath = own.find((each) => each.hierarchy === hierarchy)?.path ?? '/';
    // The dozen hierarchies of cgroup v1 usually say the same.
    if (path === last.path && ownPath === last.ownPath) continue;
    last = { path, ownPath };
    const container = containerOnPath(path, ownPath);
    if (container === undefined) continue;
    if (found !== undefined) requireSame(found, container);
    found = found?.podUid === undefined ? container : found;
  }
  return found;
}

function containerOnPath(path: string, ownPath: string): PodContainer | undefined {
  const segments = path.split('/').slice(1);
  const own = ownPath.split('/').slice(1);
  const ancestors = ancestorCount(segments, own);
  // Where the agent's whole node runs in a pod of another cluster, that pod is an ancestor of all that the agent attests.
  const ownPod = own.findLastIndex((segment) => readPodSegment(segment) !== undefined);
  const next = (index: number): string => segments[index] ?? '';
  for (let index = 0; index < segments.length; index++) {
    const segment = next(index);
    const pod = index < Math.min(ancestors, ownPod) ? undefined : readPodSegment(segment);
    if (pod !== undefined) return { podUid: pod.uid, containerId: pod.containerId ?? requireContainer(next(index + 1), path) };
    if (index < ancestors || STRUCTURE.test(segment)) continue;
    // Below a parent of the agent's own root there is only the agent's own pod.
    const containerId = index > 0 && next(index - 1) === '..' ? containerIdOf(segment) : undefined;
    return containerId === undefined ? undefined : { podUid: undefined, containerId };
  }
  return undefined;
}

/** How many leading segments name ancestors of the agent's cgroup; `/..` leads to one from the root of a cgroup namespace. */
function ancestorCount(segments: readonly string[], own: readonly string[]): number {
  let count = 0;
  if (segments[0] === '..') {
    while (segments[count] === '..') count++;
    return count;
  }
  while (count < own.length && own[count] !== '' && own[count] === segments[count]) count++;
  return count;
}

const UID = String.raw`[0-9a-f]{8}([-_])[0-9a-f]{4}\2[0-9a-f]{4}\2[0-9a-f]{4}\2[0-9a-f]{12}|[0-9a-f]{32}`;
const SLICE = String.raw`(?:\w+-)*kubepods(?:-burstable|-besteffort)?`;
// The kubelet's folders above the pods, of the cgroupfs and of the systemd driver; `kubelet` where kind sets a root of its own.
const STRUCTURE = new RegExp(String.raw`^(?:kubelet|kubepods|burstable|besteffort|(?:kubelet|${SLICE})\.slice)$`);
const POD = new RegExp(`^pod(${UID})$`);
const POD_SLICE = new RegExp(String.raw`^${SLICE}-pod(${UID})\.slice$`);
// containerd that was told a systemd path without the systemd driver takes it for a name.
const POD_AND_CONTAINER = new RegExp(String.raw`^${SLICE}-pod(${UID})\.slice:[a-z][a-z-]*:([0-9a-f]{64})$`);

function readPodSegment(segment: string): { readonly uid: string; readonly containerId: string | undefined } | undefined {
  const match = POD.exec(segment) ?? POD_SLICE.exec(segment) ?? POD_AND_CONTAINER.exec(segment);
  const [, uid, , containerId] = match ?? [];
  return uid === undefined ? undefined : { uid: uid.replaceAll('_', '-'), containerId };
}

function requireContainer(segment: string, path: string): string {
  const id = containerIdOf(segment);
  if (id !== undefined) return id;
  throw new IdentityError('permission_denied', `the cgroup ${path} belongs to a pod, but to no container of it`);
}

function requireSame(one: PodContainer, other: PodContainer): void {
  const uids = [one.podUid, other.podUid].filter((uid) => uid !== undefined);
  if (one.containerId === other.containerId && uids[0] === (uids[1] ?? uids[0])) return;
  throw new IdentityError(
    'permission_denied',
    `the cgroups name two containers, ${describeContainer(one)} and ${describeContainer(other)}`,
  );
}

/** For messages. */
export function describeContainer({ podUid, containerId }: PodContainer): string {
  return podUid === undefined ? `container ${containerId}` : `container ${containerId} of the pod with UID ${podUid}`;
}
