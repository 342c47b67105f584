import { IdentityError } from '../../core/errors.ts';

/** One line of `/proc/<pid>/cgroup`, see cgroups(7). */
export interface CgroupEntry {
  /** `0` is cgroup v2. */
  readonly hierarchy: string;
  /** Empty in cgroup v2. */
  readonly controllers: string;
  /** Relative to the reader's cgroup namespace; begins with `/`. */
  readonly path: string;
}

/** A container that a cgroup path runs through. */
export interface ContainerCgroup {
  /** 64 lower-case hexadecimal digits, as every engine makes them. */
  readonly id: string;
  /** The path down to the container; what follows in the whole path was made within the container. */
  readonly path: string;
}

/**
 * Reads `/proc/<pid>/cgroup`.
 *
 * The kernel writes it and the workload cannot forge it, other than `mountinfo`, which the workload's own mounts shape.
 * But a workload to which a part of the hierarchy was delegated chooses names below its own part.
 *
 * @throws IdentityError `internal` on a line that is not of the form `hierarchy:controllers:path`
 */
export function parseCgroups(text: string): readonly CgroupEntry[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(parseLine);
}

function parseLine(line: string): CgroupEntry {
  const [, hierarchy, controllers, path] = /^(\d+):([^/]*):(\/.*)$/.exec(line) ?? [];
  if (hierarchy === undefined || controllers === undefined || path === undefined) {
    throw new IdentityError('internal', `the kernel's cgroup file has a line of an unknown form: ${JSON.stringify(line)}`);
  }
  return { hierarchy, controllers, path };
}

/**
 * The containers along a cgroup path, outermost first. The outermost was named by the engine, those further in may be the
 * invention of a container to which its part of the hierarchy was delegated.
 *
 * Known forms of a path's segment: the bare ID (cgroupfs driver), `docker-ID.scope`, `libpod-ID.scope`, `crio-ID.scope`,
 * `cri-containerd-ID.scope` (systemd driver), and `SLICE:cri-containerd:ID` (containerd told a systemd path without the
 * systemd driver). A `…conmon-ID.scope` holds the container's monitor, not the container.
 */
export function containersOf(path: string): readonly ContainerCgroup[] {
  const containers: ContainerCgroup[] = [];
  let length = 0;
  for (const segment of path.split('/')) {
    length += segment.length + 1;
    const id = containerIdOf(segment);
    if (id !== undefined) containers.push({ id, path: path.slice(0, length - 1) });
  }
  return containers;
}

/** The container that one segment of a path names, in the forms of {@link containersOf}; undefined when it names none. */
export function containerIdOf(segment: string): string | undefined {
  return CONTAINER_SEGMENT.exec(segment)?.[1];
}

const CONTAINER_SEGMENT = /^(?:(?:[\w.-]+:)?(?!.*conmon-)[\w.]+(?:-[\w.]+)*[-:])?([0-9a-f]{64})(?:\.scope)?$/;

/**
 * The user to whom systemd delegated the part of the hierarchy that a path runs through: below `user@UID.service` that user
 * makes cgroups of any name.
 */
export function owningUser(path: string): number | undefined {
  const [, uid] = /\/user-(\d{1,10})\.slice\//.exec(path) ?? /\/user@(\d{1,10})\.service\//.exec(path) ?? [];
  return uid === undefined ? undefined : Number(uid);
}

/**
 * The path in the hierarchy that systemd manages: cgroup v2 where it manages that, else the `name=systemd` hierarchy of v1.
 */
export function systemdPath(cgroups: readonly CgroupEntry[]): string | undefined {
  const named = cgroups.find(({ controllers }) => controllers === 'name=systemd');
  return (named ?? cgroups.find(({ hierarchy }) => hierarchy === '0'))?.path;
}
