import type { CgroupEntry } from './cgroup.ts';

/** One attested property of a workload, such as `{ type: 'unix', value: 'uid:1000' }`; the shape of SPIRE's `types.Selector`. */
export interface Selector {
  readonly type: string;
  readonly value: string;
}

/** The file that a process executes, as `/proc/<pid>/exe` names it. */
export interface ExecutableFile {
  /** The path in the workload's own mount namespace; ` (deleted)` at its end when the file is gone. */
  readonly path: string;
  readonly device: bigint;
  readonly inode: bigint;
  readonly sizeBytes: bigint;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
}

/** What a process is at one moment, read from `/proc` while the process was held. */
export interface ProcessImage {
  readonly pid: number;
  /** Effective user and group. */
  readonly uid: number;
  readonly gid: number;
  readonly supplementaryGids: readonly number[];
  /** Undefined when the agent may not see it (another user's process and an unprivileged agent) or the process has none. */
  readonly executable: ExecutableFile | undefined;
  /** Each cgroup hierarchy's path. */
  readonly cgroups: readonly CgroupEntry[];
}

/**
 * Derives selectors of one kind from a process.
 *
 * An attestor reads what it needs by pid; the caller proves afterwards that the pid still was the workload, so an attestor
 * need not. Selectors are `type:value` with the attestor's name as type.
 */
export interface WorkloadAttestor {
  readonly name: string;
  /** How long an answer holds for a process whose image stays the same, in milliseconds. */
  readonly freshForMs: number;
  /** The selectors; none when the process is not of this attestor's kind. */
  attest(image: ProcessImage, signal: AbortSignal): readonly Selector[] | Promise<readonly Selector[]>;
  /** Ends connections that the attestor keeps. */
  close?(): void;
}
