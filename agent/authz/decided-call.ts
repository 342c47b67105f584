import type { Call } from '../../policy/model.ts';
import type { Check, Outcome } from './check.ts';

/** A call that has been answered, for whoever keeps book: decision log, metrics, recorded calls. */
export interface DecidedCall {
  readonly check: Check;
  readonly outcome: Outcome;
  /** What was decided about; absent where none could be made, such as for a path that no policy may judge. */
  readonly call?: Call | undefined;
  /** Only who the user is was asked (`/authenticate`), not what the user may do: there will be no decision about this call. */
  readonly isAuthentication?: boolean;
  /** When it was answered, milliseconds since the epoch. */
  readonly atMs: number;
  /** From being asked to the answer, what had to be fetched for it included. */
  readonly durationMs: number;
}

/** Is told of each call once it has been answered. Never throws, and never holds up the answer. */
export type DecidedCallObserver = (decided: DecidedCall) => void;
