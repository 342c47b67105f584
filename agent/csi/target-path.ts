import { IdentityError } from '../../core/errors.ts';

/** Where the kubelet wants a volume, taken apart. */
export interface TargetPath {
  /** Below the kubelet's folder, down to the folder that the kubelet made. */
  readonly parents: readonly string[];
  /** The last part, which the driver makes. */
  readonly name: string;
  readonly podUid: string;
}

/**
 * Reads the path at which the kubelet wants a volume: `KUBELET/pods/UID/volumes/kubernetes.io~csi/VOLUME/mount`. No other
 * place is ever mounted or unmounted.
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseTargetPath(text: string, kubeletFolder: string): TargetPath {
  const prefix = `${kubeletFolder}/`;
  const [, podUid, volume] = TARGET.exec(text.startsWith(prefix) ? text.slice(prefix.length) : '') ?? [];
  if (podUid === undefined || volume === undefined) {
    throw new IdentityError('invalid_argument', `not a path of a pod's CSI volume below ${kubeletFolder}`, {
      field: 'target_path',
    });
  }
  return { parents: ['pods', podUid, 'volumes', 'kubernetes.io~csi', volume], name: 'mount', podUid };
}

const TARGET = /^pods\/([0-9A-Za-z][0-9A-Za-z-]{0,63})\/volumes\/kubernetes\.io~csi\/([a-z0-9][a-z0-9-]{0,62})\/mount$/;
