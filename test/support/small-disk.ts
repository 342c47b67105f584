import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file system of a few megabytes that a test may fill or make read-only. */
export interface SmallDisk extends Disposable {
  readonly path: string;
  /** Takes all space that is left. */
  fill(): void;
  /** Gives it back. */
  free(): void;
  readOnly(): void;
}

/** Why no small disk can be had here; undefined when it can. */
export function smallDiskMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may mount one';
  try {
    mountSmallDisk(1)[Symbol.dispose]();
    return undefined;
  } catch {
    return 'mounting is not allowed here';
  }
}

/** Mounts a file system in memory. @throws Error when that is not allowed */
export function mountSmallDisk(megabytes: number): SmallDisk {
  const path = mkdtempSync(join(tmpdir(), 'small-disk-'));
  mount('-t', 'tmpfs', '-o', `size=${megabytes}m,mode=700`, 'tmpfs', path);
  const ballast = join(path, 'ballast');
  return {
    path,
    fill: () => void spawnSync('sh', ['-c', `cat /dev/zero > ${ballast}`]),
    free: () => rmSync(ballast),
    readOnly: () => mount('-o', 'remount,ro', path),
    [Symbol.dispose]() {
      spawnSync('umount', ['-l', path]);
      rmdirSync(path);
    },
  };
}

function mount(...args: readonly string[]): void {
  const { status, stderr } = spawnSync('mount', [...args], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`mount ${args.join(' ')}: ${stderr}`);
}
