import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { PolicyProgress } from './progress.ts';

/** What one agent acknowledges, as far as it is of interest for policy: most acknowledgements are of other things. */
export class StreamPolicyProgress {
  readonly #agentId: SpiffeId;
  readonly #progress: Pick<PolicyProgress, 'of' | 'note'>;
  /** Revisions that changed the agent's policies, and are not acknowledged; in order. */
  #pending: readonly number[] = [];

  constructor(agentId: SpiffeId, progress: Pick<PolicyProgress, 'of' | 'note'>) {
    this.#agentId = agentId;
    this.#progress = progress;
  }

  /** Notes that an answer is on its way. @param policyRevision up to which it has to be in force for its policies to be; 0: it has none */
  sent(policyRevision: number): void {
    if (policyRevision > 0) this.#pending = [...this.#pending, policyRevision].slice(-MAX_PENDING);
  }

  /** Notes what the agent has in force. */
  acknowledged(revision: number): void {
    const isKnown = this.#progress.of(this.#agentId.toString());
    const passed = this.#pending.filter((each) => each <= revision);
    if (passed.length === 0) return;
    this.#pending = this.#pending.filter((each) => each > revision);
    if (passed.some((each) => each > isKnown)) this.#progress.note(this.#agentId, revision);
  }
}

/** Of an agent that does not acknowledge; with the newest, all before are. */
const MAX_PENDING = 100;
