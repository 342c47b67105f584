import { IdentityError } from '../../core/errors.ts';
import {
  type NodePublishVolumeRequest,
  type Node,
  type VolumeCapability,
  VolumeCapability_AccessMode_Mode as Mode,
} from '../../proto/gen/csi/v1/csi_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Logger } from '../../runtime/log.ts';
import { parseTargetPath } from './target-path.ts';
import type { Volumes } from './volumes.ts';

/** What {@link nodeService} needs. */
export interface NodeServiceOptions {
  readonly volumes: Volumes;
  /** The node's name, which the kubelet records for the driver. */
  readonly nodeName: string;
  readonly kubeletFolder: string;
  readonly log: Logger;
}

// What the kubelet says about the pod, where CSIDriver has `podInfoOnMount`.
const KUBELET_PREFIX = 'csi.storage.k8s.io/';

/** `csi.v1.Node`: ephemeral volumes in a pod's own specification, read-only, without options. */
export function nodeService({
  volumes,
  nodeName,
  kubeletFolder,
  log,
}: NodeServiceOptions): ServiceHandlers<typeof Node, undefined> {
  return {
    async nodePublishVolume(request) {
      checkRequest(request);
      const { podUid } = parseTargetPath(request.targetPath, kubeletFolder);
      checkContext(request.volumeContext, podUid);
      await volumes.publish(request.targetPath);
      log.debug({ podUid, volumeId: request.volumeId }, 'volume published');
      return {};
    },
    async nodeUnpublishVolume({ volumeId, targetPath }) {
      requireText(volumeId, 'volume_id');
      requireText(targetPath, 'target_path');
      await volumes.unpublish(targetPath);
      log.debug({ volumeId }, 'volume unpublished');
      return {};
    },
    nodeGetCapabilities: () => ({}),
    nodeGetInfo: () => ({ nodeId: nodeName }),
  };
}

function checkRequest({
  volumeId,
  targetPath,
  stagingTargetPath,
  volumeCapability,
  readonly,
  secrets,
}: NodePublishVolumeRequest): void {
  requireText(volumeId, 'volume_id');
  requireText(targetPath, 'target_path');
  checkCapability(volumeCapability);
  if (!readonly) throw invalid('readonly', 'set readOnly: true on the pod’s csi volume; nobody but the agent writes there');
  if (stagingTargetPath !== '') throw invalid('staging_target_path', 'volumes of this driver are not staged');
  if (Object.keys(secrets).length > 0) throw invalid('secrets', 'this driver takes no secrets');
}

function checkCapability(capability: VolumeCapability | undefined): void {
  const field = 'volume_capability';
  if (capability?.accessType.case !== 'mount') throw invalid(field, 'the volume is a folder, not a block device');
  const { fsType, mountFlags, volumeMountGroup } = capability.accessType.value;
  if (fsType !== '' || mountFlags.length > 0 || volumeMountGroup !== '') {
    throw invalid(field, 'the volume has no fsType, no mount options and no group');
  }
  const mode = capability.accessMode?.mode;
  if (mode !== Mode.SINGLE_NODE_WRITER && mode !== Mode.SINGLE_NODE_READER_ONLY) {
    throw invalid(field, 'the volume is for one pod: use it as csi in the pod’s own specification, not as a persistent volume');
  }
}

function checkContext(context: Readonly<Record<string, string>>, podUid: string): void {
  const unknown = Object.keys(context).find((name) => !name.startsWith(KUBELET_PREFIX));
  if (unknown !== undefined) throw invalid('volume_context', `the volume takes no attributes; remove "${unknown}"`);
  const ephemeral = context[`${KUBELET_PREFIX}ephemeral`];
  if (ephemeral !== undefined && ephemeral !== 'true') {
    throw invalid('volume_context', 'only ephemeral volumes, as csi in the pod’s own specification');
  }
  const uid = context[`${KUBELET_PREFIX}pod.uid`];
  if (uid !== undefined && uid !== podUid) throw invalid('volume_context', 'the path belongs to another pod than the volume');
}

function requireText(text: string, field: string): void {
  if (text === '') throw invalid(field, 'must not be empty');
}

function invalid(field: string, message: string): IdentityError {
  return new IdentityError('invalid_argument', message, { field });
}
