import type { PeerProcess } from '../../runtime/peer-credentials.ts';
import type { Selector } from './attestor.ts';

/** Tells the selectors of a process; one for the agent. */
export interface WorkloadAttestation {
  /**
   * The selectors of the process behind a connection, sorted and without duplicates. Call it at the start of each RPC: the
   * process may have become another program since. As long as nothing changed, the answer comes at once (no promise) and
   * is the identical array, so that a cache can be keyed by it.
   *
   * @throws IdentityError `permission_denied` when the process has ended, or is no longer the program that connected
   */
  attest(peer: PeerProcess, signal: AbortSignal): readonly Selector[] | Promise<readonly Selector[]>;
  close(): void;
}
