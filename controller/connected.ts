import type { AdminSession } from '../runtime/admin-session.ts';
import type { Parts } from './parts.ts';
import type { Cluster } from './surroundings.ts';

/** What there is once the CA has been reached and every resource has been read. */
export interface Connected {
  readonly parts: Parts;
  readonly session: AdminSession;
  /** Undefined when resources come from a folder. */
  readonly cluster: Cluster | undefined;
}
