import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { PolicyProgress } from './progress.ts';

/** Of an agent that does not acknowledge; with the newest, all before are. */
const MAX_PENDING = 100;
/** An agent that refuses more than this is in a state in which the number does not matter. */
const MAX_REFUSED = 1000;

/** Longest reason that is kept. */
const MAX_REASON = 200;

/** What one agent acknowledges and refuses, as far as it is of interest for policy: most acknowledgements are of other things. */
export class StreamPolicyProgress {
  readonly #agentId: SpiffeId;
  readonly #progress: Pick<PolicyProgress, 'of' | 'note'>;
  /** Revisions that changed the agent's policies, and are not acknowledged; in order. */
  #pending: readonly number[] = [];
  #refused: Readonly<Record<string, number>> = {};
  #reasons: Readonly<Record<string, string>> = {};
  /** It was sent everything, and nothing of that was noted. */
  #isFresh = false;

  constructor(agentId: SpiffeId, progress: Pick<PolicyProgress, 'of' | 'note'>) {
    this.#agentId = agentId;
    this.#progress = progress;
  }

  /** Notes that an answer is on its way. @param policyRevision up to which it has to be in force for its policies to be; 0: it has none */
  sent(policyRevision: number, isSnapshot: boolean): void {
    if (isSnapshot) this.#isFresh = true;
    if (policyRevision > 0) this.#pending = [...this.#pending, policyRevision].slice(-MAX_PENDING);
  }

  /** Notes what the agent has in force. */
  acknowledged(revision: number): void {
    const passed = this.#pending.filter((each) => each <= revision);
    if (passed.length === 0) return;
    this.#pending = this.#pending.filter((each) => each > revision);
    const known = this.#progress.of(this.#agentId.toString());
    const isNew = passed.some((each) => each > known.revision);
    const refusals = Object.keys(this.#refused).length + Object.keys(known.refused).length;
    if (isNew || refusals > 0) this.#note(revision);
  }

  /** Notes that the agent could not put a policy in force, and what it said. */
  refused(key: string, revision: number, reason: string): void {
    if (Object.keys(this.#refused).length < MAX_REFUSED) {
      this.#refused = { ...this.#refused, [key]: revision };
      this.#reasons = { ...this.#reasons, [key]: printable(reason) };
    }
    // What it acknowledged already is not in force after all.
    if (this.#progress.of(this.#agentId.toString()).revision >= revision) this.#note(0);
  }

  #note(revision: number): void {
    const [refused, reasons] = [this.#refused, this.#reasons];
    this.#progress.note(this.#agentId, { revision, refused, reasons, isFresh: this.#isFresh });
    this.#refused = {};
    this.#reasons = {};
    this.#isFresh = false;
  }
}

/** An agent's text goes into statuses that people read: one line of it. */
function printable(text: string): string {
  const line = text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ').trim();
  return line.length <= MAX_REASON ? line : `${line.slice(0, MAX_REASON - 1)}…`;
}
