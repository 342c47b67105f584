import type { Snapshot } from '../../policy/compile/snapshot.ts';
import type { Destination } from '../../policy/model.ts';

/**
 * Whether a destination lets calls through while its policy is too old: every policy that decides for it says `failureMode: Open`,
 * and there is one.
 */
export function failsOpen(snapshot: Snapshot, destination: Destination): boolean {
  const deciding = snapshot
    .viewFor(destination)
    .policies.filter(({ source }) => source.mode === 'Enforce' && source.action !== 'AUDIT');
  return deciding.length > 0 && deciding.every(({ source }) => source.failureMode === 'Open');
}
