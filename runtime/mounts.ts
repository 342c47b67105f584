import type * as Koffi from 'koffi';
import { KernelError, loadLibrary } from './kernel.ts';

// mount(2) and umount2(2).
const MS_RDONLY = 1;
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_NOEXEC = 8;
const MS_REMOUNT = 32;
const MS_BIND = 4096;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;
const EBUSY = 16;

/** Mounting and unmounting, which Node does not offer. Each throws {@link KernelError} when the kernel refuses. */
export interface Mounts {
  /** Shows the folder `source` at the folder `target` as well (a bind mount). */
  bind(source: string, target: string): void;
  /** Makes a bind mount, named by its root, read-only, without set-uid programs, devices and execution. */
  restrict(target: string): void;
  /** Takes away what is mounted at a path, without following a link; what is in use goes when its last user is done. */
  unmount(target: string): void;
}

/**
 * The kernel's calls, bound anew; call it once.
 *
 * @throws IdentityError `failed_precondition` where the binding does not load (not Linux, no prebuilt library)
 */
export function openMounts(): Mounts {
  const { koffi, library } = loadLibrary();
  // koffi types every function as (...any) => any: the declarations are what these types say about them.
  const mount: Mount = library.func('int mount(const char *, const char *, const char *, unsigned long, const char *)');
  const umount2: Unmount = library.func('int umount2(const char *target, int flags)');
  const require = (call: string, result: number): void => {
    if (result !== 0) throw new KernelError(call, koffi.errno());
  };
  return {
    bind: (source, target) => require('mount(MS_BIND)', mount(source, target, null, MS_BIND, null)),
    restrict: (target) => require('mount(MS_REMOUNT)', mount(null, target, null, RESTRICTED, null)),
    unmount(target) {
      if (umount2(target, UMOUNT_NOFOLLOW) === 0) return;
      const errno = koffi.errno();
      if (errno !== EBUSY) throw new KernelError('umount2', errno);
      require('umount2(MNT_DETACH)', umount2(target, UMOUNT_NOFOLLOW | MNT_DETACH));
    },
  };
}

const RESTRICTED = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;

type Text = string | null;
type Mount = Koffi.KoffiFunc<(source: Text, target: string, type: Text, flags: number, data: Text) => number>;
type Unmount = Koffi.KoffiFunc<(target: string, flags: number) => number>;
