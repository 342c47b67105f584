import { statSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { KernelError, openKernel } from '../../../runtime/kernel.ts';

describe.skipIf(process.platform !== 'linux')('kernel calls (need Linux)', () => {
  test.each([process.execPath, '/proc/self/exe', '/dev/null', '/'])('fileIdentity of %s agrees with stat', (path) => {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    expect(openKernel().fileIdentity(path)).toEqual({
      device: dev,
      inode: ino,
      sizeBytes: size,
      modifiedNs: mtimeNs,
      changedNs: ctimeNs,
    });
  });

  test('a failure has its number', () => {
    expect(() => openKernel().fileIdentity('/nowhere')).toThrow(expect.objectContaining({ code: 'internal', errno: 2 }));
    expect(() => openKernel().peerCredentials(-1)).toThrow(KernelError);
  });
});
