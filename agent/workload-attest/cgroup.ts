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
  const [, hierarchy, controllers, path] = /^(\d+):([^:]*):(\/.*)$/.exec(line) ?? [];
  if (hierarchy === undefined || controllers === undefined || path === undefined) {
    throw new IdentityError('internal', `the kernel's cgroup file has a line of an unknown form: ${JSON.stringify(line)}`);
  }
  return { hierarchy, controllers, path };
}
